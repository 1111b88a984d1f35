"""Compare our LWTNN graphs with those of lwtnn's own converter, where it has any.

That converter (converters/kerasfunc2json.py of lwtnn) reads files of Keras 2 only. So a trained network is rebuilt in
tf_keras, layer by layer with the same weights, saved in the old layout, converted, and both graphs are evaluated on
random inputs. Where they differ by more than 1e-6 of the output's scale, the exit code is 2. What the converter cannot
express is said by name; where it is not there, nothing is compared and the exit code is 0. Needs calogen[official].
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from calogen.command import clean_exit, parse_command_line
from calogen.errors import CalogenError, ExportError
from calogen.lwtnn.graph import Graph, format_graph, parse_graph
from calogen.lwtnn.runtime import evaluate

if TYPE_CHECKING:
    from calogen.backend import keras

TOLERANCE = 1e-6
NUM_INPUTS = 1000
TOOLS = Path(__file__).parent / "lwtnn-tools"
EXAMPLES = """examples:
  make lwtnn-tools                                               get the converter once
  python export/official.py                                      every run below runs/
  python export/official.py runs/atlas_vae/laptop-seed1          this run only
"""


class MissingConverterError(ExportError):
    """There is no official converter: nothing can be compared."""


class NotExpressibleError(ExportError):
    """The network has a layer that the official converter does not know."""


def check(model: "keras.Model", graph: Graph, tools: Path = TOOLS, input_names: Mapping[str, str] | None = None) -> str:
    """Compares where that is possible, and says in words what came out.

    Args:
        model, graph, tools, input_names: as in `compare`.

    Raises:
        ExportError: the graphs differ, the converter fails on what it should express, or tf_keras is not installed.
    """
    try:
        difference = compare(model, graph, tools, input_names)
    except (MissingConverterError, NotExpressibleError) as error:
        return str(error)
    return f"largest relative difference to the official converter {difference:.1e}"


def compare(
    model: "keras.Model", graph: Graph, tools: Path = TOOLS, input_names: Mapping[str, str] | None = None
) -> float:
    """Largest difference between our graph and the official one, of the output's scale.

    Args:
        model: a Keras 3 model.
        graph: its conversion, with the model's outputs in the model's order.
        tools: the folder that holds lwtnn's `converters`.
        input_names: the graph's name of each Keras input, where they differ.

    Raises:
        MissingConverterError: `tools` has no converter.
        NotExpressibleError: the converter does not know one of the model's layers.
        ExportError: the difference is above `TOLERANCE`, the converter fails, or tf_keras is not installed.
    """
    return largest_difference(convert_officially(model, tools), graph, input_names)


def largest_difference(official: Graph, graph: Graph, input_names: Mapping[str, str] | None = None) -> float:
    """Largest difference between two graphs on random inputs, relative to the output's scale.

    Args:
        official: the converter's.
        graph: ours.
        input_names: our name of each input, where they differ.

    Raises:
        ExportError: the difference is above `TOLERANCE`, or the numbers of outputs differ.
    """
    rng = np.random.default_rng(0)
    arrays = {given.name: rng.standard_normal((NUM_INPUTS, len(given.variables))) for given in official.inputs}
    expected = evaluate(official, arrays)
    found = evaluate(graph, {(input_names or {}).get(name, name): array for name, array in arrays.items()})
    if found.shape != expected.shape:
        raise ExportError(f"the official graph has {expected.shape[1]} outputs. Received: ours has {found.shape[1]}")
    difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"our graph must agree with the official converter's to {TOLERANCE:g} of the output's scale. "
            f"Received: {difference:.2e}"
        )
    return difference


def convert_officially(model: "keras.Model", tools: Path = TOOLS) -> Graph:
    """What lwtnn's converter makes of a Keras 3 model; the inputs have their Keras names.

    Raises:
        MissingConverterError, NotExpressibleError, ExportError: as in `compare`.
    """
    converter = find_converter(tools)
    network = to_tf_keras(model, "float64")  # in float32 it rounds batch normalisation, up to 5e-7 of the output
    with TemporaryDirectory() as name:
        # another name than *.weights.h5: that suffix selects a layout which the converter does not read
        architecture, weights, variables = (Path(name) / file for file in ("network.json", "network.h5", "inputs.json"))
        architecture.write_text(network.to_json(), encoding="utf-8")
        network.save_weights(weights)
        template = json.loads(_run(converter, architecture, weights))
        for given, tensor in zip(template["inputs"], network.inputs, strict=True):
            given["name"] = tensor.name
        variables.write_text(json.dumps(template), encoding="utf-8")
        return parse_graph(_run(converter, architecture, weights, variables))


def find_converter(tools: Path) -> Path:
    """The converter's script.

    Raises:
        MissingConverterError: there is none.
    """
    script = tools / "converters" / "kerasfunc2json.py"
    if not script.is_file():
        raise MissingConverterError(f"skipped: the official converter is not in {tools}: make lwtnn-tools")
    return script


def to_tf_keras(model: "keras.Model", dtype: str = "float32") -> Any:
    """The same network in tf_keras (Keras 2), its inputs in the order of `model.inputs`.

    `layers.ShowerHeads` becomes one dense layer for each head.

    Args:
        model: a Keras 3 model with one output.
        dtype: of weights and arithmetic.

    Raises:
        NotExpressibleError: a layer that the official converter does not know.
        ExportError: tf_keras is not installed.
    """
    try:
        import tf_keras
    except ImportError as error:
        raise ExportError(f"tf_keras is needed: pip install 'calogen[official]' ({error})") from error
    if len(model.outputs) != 1:
        raise _refusal(model, f"it has {len(model.outputs)} outputs")
    rebuilt = _Rebuilt(tf_keras, dtype)
    for tensor in model.inputs:
        rebuilt.tensors[_key(tensor)] = tf_keras.Input((tensor.shape[1],), name=tensor.name, dtype=dtype)
    inputs = list(rebuilt.tensors.values())
    return tf_keras.Model(inputs, rebuilt.tensor(model.outputs[0]))


class _Rebuilt:
    """Tensors and layers of Keras 2 for those of Keras 3.

    Args:
        keras2: the package.
        dtype: of the layers.
    """

    def __init__(self, keras2: Any, dtype: str) -> None:
        self._kinds, self._dtype = keras2.layers, dtype
        self.tensors: dict[tuple, Any] = {}
        self._layers: dict[str, Any] = {}

    def tensor(self, tensor: Any) -> Any:
        """The counterpart of a tensor, from those of the tensors it was made of."""
        key = _key(tensor)
        if key not in self.tensors:
            layer, node_index, _ = tensor._keras_history
            kind, call = type(layer).__name__, layer._inbound_nodes[node_index]
            if call.arguments.kwargs.get("training"):
                raise _refusal(layer, "it is called with training=True")
            if kind not in _HANDLERS:
                raise _refusal(layer, _REASONS.get(kind, "it has no such layer"))
            self.tensors[key] = _HANDLERS[kind](self, layer, [self.tensor(source) for source in call.input_tensors])
        return self.tensors[key]

    def layer(self, kind: str, name: str, *arguments: Any, **options: Any) -> Any:
        """A layer of Keras 2: the same one whenever a layer of Keras 3 is called."""
        if name not in self._layers:
            self._layers[name] = getattr(self._kinds, kind)(*arguments, name=name, dtype=self._dtype, **options)
        return self._layers[name]


def _dense(build: _Rebuilt, layer: Any, sources: list[Any]) -> Any:
    if not layer.use_bias:
        raise _refusal(layer, "it has no bias")
    dense = build.layer("Dense", layer.name, layer.units, _activation(layer))
    result = dense(*sources)
    dense.set_weights(layer.get_weights())
    return result


def _batch_normalization(build: _Rebuilt, layer: Any, sources: list[Any]) -> Any:
    if not (layer.scale and layer.center):
        raise _refusal(layer, "it has no gamma or no beta")
    normalization = build.layer("BatchNormalization", layer.name, epsilon=layer.epsilon)
    result = normalization(*sources)
    normalization.set_weights(layer.get_weights())
    return result


def _shower_heads(build: _Rebuilt, layer: Any, sources: list[Any]) -> Any:
    """The converter cannot slice: a dense layer of ones and zeros picks each head's numbers."""
    sizes = (*layer.layer_sizes, len(layer.layer_sizes), 1)
    picks, heads = np.split(np.eye(sum(sizes)), np.cumsum(sizes)[:-1], axis=1), []
    for number, pick in enumerate(picks):
        function = "relu" if number == len(sizes) - 1 else "softmax"
        dense = build.layer("Dense", f"{layer.name}_{number}", pick.shape[1], function)
        heads.append(dense(*sources))
        dense.set_weights([pick, np.zeros(pick.shape[1])])
    return build.layer("Concatenate", layer.name)(heads)


def _plain(build: _Rebuilt, layer: Any, sources: list[Any]) -> Any:
    if getattr(layer, "axis", -1) not in (-1, 1):
        raise _refusal(layer, f"its axis is {layer.axis}")
    return build.layer(type(layer).__name__, layer.name)(sources if len(sources) > 1 else sources[0])


def _activation_layer(build: _Rebuilt, layer: Any, sources: list[Any]) -> Any:
    return build.layer("Activation", layer.name, _activation(layer))(*sources)


def _leaky_relu(build: _Rebuilt, layer: Any, sources: list[Any]) -> Any:
    return build.layer("LeakyReLU", layer.name, alpha=float(layer.negative_slope))(*sources)


def _dropout(build: _Rebuilt, layer: Any, sources: list[Any]) -> Any:
    return build.layer("Dropout", layer.name, layer.rate)(*sources)


# by name: Keras takes seconds to import, and --help does without
_HANDLERS: dict[str, Callable[[_Rebuilt, Any, list[Any]], Any]] = {
    "Dense": _dense,
    "BatchNormalization": _batch_normalization,
    "ShowerHeads": _shower_heads,
    "Concatenate": _plain,
    "Add": _plain,
    "Softmax": _plain,
    "Flatten": _plain,
    "Activation": _activation_layer,
    "LeakyReLU": _leaky_relu,
    "Dropout": _dropout,
}
_REASONS = {
    "ReLU": "it has no such layer (but Activation('relu'))",
    "Multiply": "it has no product, and neither has LWTNN",
    "Functional": "it has no nested models",
    "Sequential": "it has no nested models",
    "Swish": "it reads a number from the layer's configuration, not from its weights",
}
_ACTIVATIONS = {name: name for name in ("linear", "relu", "sigmoid", "softmax", "tanh", "elu")} | {"silu": "swish"}


def _activation(layer: Any) -> str:
    name = getattr(layer.activation, "__name__", str(layer.activation))
    if name not in _ACTIVATIONS:
        reason = "another function in Keras 2" if name == "hard_sigmoid" else "none it knows"
        raise _refusal(layer, f"its activation is {name}, {reason}")
    return _ACTIVATIONS[name]


def _key(tensor: Any) -> tuple:
    layer, node_index, tensor_index = tensor._keras_history
    return id(layer), node_index, tensor_index


def _refusal(layer: Any, reason: str) -> NotExpressibleError:
    return NotExpressibleError(
        f"not expressible by the official converter: {type(layer).__name__} {layer.name!r}: {reason}"
    )


def _run(converter: Path, *files: Path) -> str:
    command = [sys.executable, "-B", str(converter), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExportError(f"the official converter failed: {reason}")
    return done.stdout


def check_runs(*folders: Path, tools: Path = TOOLS) -> None:
    """Compares every trained run in some folders, and prints a line for each.

    Where there is no converter, that is the only line.

    Args:
        folders: runs, or folders of runs.
        tools: the folder that holds lwtnn's `converters`.

    Raises:
        ExportError: a run cannot be read, a graph differs, the converter fails, or there are no runs.
    """
    try:
        find_converter(tools)
    except MissingConverterError as error:
        print(error)
        return
    from calogen.athena.export import find_sets  # seconds: --help does without
    from calogen.generation.load import load_run
    from calogen.lwtnn.convert import convert

    failed = []
    for run in sorted({run for folder in folders for found in find_sets(folder) for run in found.directories}):
        try:
            generator = load_run(run).generator
            graph = parse_graph(format_graph(convert(generator)))  # as it is in the file
            print(f"{run}: {check(generator, graph, tools)}", flush=True)
        except CalogenError as error:
            failed.append(f"{run}: {error}")
    if failed:
        raise ExportError("; ".join(failed))


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the runs that the command line names."""
    runs, tools = parse_command_line(_read_options, __doc__, EXAMPLES, arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's greetings
    with clean_exit("official"):
        check_runs(*runs, tools=tools)


def _read_options(
    runs: Annotated[list[Path] | None, typer.Argument(help="Runs, or folders of runs; by default runs.")] = None,
    tools: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds lwtnn's converters.")] = TOOLS,
) -> tuple[list[Path], Path]:
    return runs or [Path("runs")], tools


if __name__ == "__main__":
    main()
