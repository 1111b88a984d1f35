"""Compare our LWTNN graphs with those of lwtnn's own converter, if it has any.

That converter (converters/kerasfunc2json.py of lwtnn) reads files of Keras 2 only. So a trained network is rebuilt in
tf_keras, layer by layer with the same weights, saved in the old layout, converted, and both graphs are evaluated on
random inputs. Where they differ by more than 1e-6 of the output's scale, the exit code is 2. Layers that
the converter does not know are named; without the converter nothing is compared and the exit code is 0. Needs
calogen[official].
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from calogen.command import clean_exit, parse_command_line
from calogen.errors import CalogenError, ExportError
from calogen.lwtnn.graph import Graph, format_graph, parse_graph
from calogen.lwtnn.runtime import evaluate_graph

if TYPE_CHECKING:
    from types import ModuleType

    import tf_keras

    from calogen.backend import keras, tf

TOLERANCE = 1e-6
NUM_INPUTS = 1000
TOOLS = Path(__file__).parent / "lwtnn-tools"
TensorKey = tuple[int, int, int]  # id of a layer, number of its call, number of the output
EXAMPLES = """examples:
  make lwtnn-tools                                               get the converter once
  python export/official.py                                      every run below runs/
  python export/official.py runs/atlas_vae/laptop-seed1          this run only
"""


class MissingConverterError(ExportError):
    """The official converter is not installed: nothing can be compared."""


class NotExpressibleError(ExportError):
    """The network has a layer that the official converter does not know."""


def check(model: "keras.Model", graph: Graph, tools: Path = TOOLS, input_names: Mapping[str, str] | None = None) -> str:
    """Compares, if that is possible, and gives the outcome in words.

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
        graph: our conversion of the model, with the outputs in the model's order.
        tools: the folder that holds lwtnn's `converters`.
        input_names: the name in our graph of each Keras input that has another name there.

    Raises:
        MissingConverterError: `tools` has no converter.
        NotExpressibleError: the converter does not know one of the model's layers.
        ExportError: the difference is above `TOLERANCE`, the converter fails, or tf_keras is not installed.
    """
    return largest_difference(convert_officially(model, tools), graph, input_names)


def largest_difference(official: Graph, graph: Graph, input_names: Mapping[str, str] | None = None) -> float:
    """Largest difference between two graphs on random inputs, relative to the output's scale.

    Args:
        official: the official converter's graph.
        graph: our graph.
        input_names: the name in our graph of each official input that has another name there.

    Raises:
        ExportError: the difference is above `TOLERANCE`, or the numbers of outputs differ.
    """
    rng = np.random.default_rng(0)
    arrays = {given.name: rng.standard_normal((NUM_INPUTS, len(given.variables))) for given in official.inputs}
    expected = evaluate_graph(official, arrays)
    ours = evaluate_graph(graph, {(input_names or {}).get(name, name): array for name, array in arrays.items()})
    if ours.shape != expected.shape:
        raise ExportError(f"the official graph has {expected.shape[1]} outputs. Received: ours has {ours.shape[1]}")
    difference = float(np.abs(ours - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"our graph must agree with the official converter's to {TOLERANCE:g} of the output's scale. "
            f"Received: {difference:.2e}"
        )
    return difference


def convert_officially(model: "keras.Model", tools: Path = TOOLS) -> Graph:
    """Graph by lwtnn's converter of a Keras 3 model; the inputs keep their Keras names.

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
    """Path of the converter's script.

    Raises:
        MissingConverterError: the script does not exist.
    """
    script = tools / "converters" / "kerasfunc2json.py"
    if not script.is_file():
        raise MissingConverterError(f"skipped: the official converter is not in {tools}: make lwtnn-tools")
    return script


def to_tf_keras(model: "keras.Model", dtype: str = "float32") -> "tf_keras.Model":
    """The same network in tf_keras (Keras 2), its inputs in the order of `model.inputs`.

    `layers.ShowerHeads` becomes one dense layer for each head.

    Args:
        model: a Keras 3 model with one output.
        dtype: type of the weights and of the arithmetic.

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
    """Tensors and layers of Keras 2 that stand for those of Keras 3.

    Args:
        keras2: the package tf_keras.
        dtype: type of the layers' weights.
    """

    def __init__(self, keras2: "ModuleType", dtype: str) -> None:
        self._kinds, self._dtype = keras2.layers, dtype
        self.tensors: dict[TensorKey, tf.Tensor] = {}
        self._layers: dict[str, tf_keras.layers.Layer] = {}

    def tensor(self, tensor: "keras.KerasTensor") -> "tf.Tensor":
        """The Keras 2 counterpart of a tensor, computed from those of its layer's inputs."""
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

    def layer(self, kind: str, name: str, *arguments: object, **options: object) -> "tf_keras.layers.Layer":
        """The Keras 2 layer of a name, which is built when it is first asked for."""
        if name not in self._layers:
            self._layers[name] = getattr(self._kinds, kind)(*arguments, name=name, dtype=self._dtype, **options)
        return self._layers[name]


def _dense(build: _Rebuilt, layer: "keras.Layer", sources: "list[tf.Tensor]") -> "tf.Tensor":
    if not layer.use_bias:
        raise _refusal(layer, "it has no bias")
    dense = build.layer("Dense", layer.name, layer.units, _activation(layer))
    result = dense(*sources)
    dense.set_weights(layer.get_weights())
    return result


def _batch_normalization(build: _Rebuilt, layer: "keras.Layer", sources: "list[tf.Tensor]") -> "tf.Tensor":
    if not (layer.scale and layer.center):
        raise _refusal(layer, "it has no gamma or no beta")
    normalization = build.layer("BatchNormalization", layer.name, epsilon=layer.epsilon)
    result = normalization(*sources)
    normalization.set_weights(layer.get_weights())
    return result


def _shower_heads(build: _Rebuilt, layer: "keras.Layer", sources: "list[tf.Tensor]") -> "tf.Tensor":
    """The converter cannot slice: a dense layer of ones and zeros picks each head's numbers."""
    sizes = (*layer.layer_sizes, len(layer.layer_sizes), 1)
    picks, heads = np.split(np.eye(sum(sizes)), np.cumsum(sizes)[:-1], axis=1), []
    for number, pick in enumerate(picks):
        function = "relu" if number == len(sizes) - 1 else "softmax"
        dense = build.layer("Dense", f"{layer.name}_{number}", pick.shape[1], function)
        heads.append(dense(*sources))
        dense.set_weights([pick, np.zeros(pick.shape[1])])
    return build.layer("Concatenate", layer.name)(heads)


def _plain(build: _Rebuilt, layer: "keras.Layer", sources: "list[tf.Tensor]") -> "tf.Tensor":
    if getattr(layer, "axis", -1) not in (-1, 1):
        raise _refusal(layer, f"its axis is {layer.axis}")
    return build.layer(type(layer).__name__, layer.name)(sources if len(sources) > 1 else sources[0])


def _activation_layer(build: _Rebuilt, layer: "keras.Layer", sources: "list[tf.Tensor]") -> "tf.Tensor":
    return build.layer("Activation", layer.name, _activation(layer))(*sources)


def _leaky_relu(build: _Rebuilt, layer: "keras.Layer", sources: "list[tf.Tensor]") -> "tf.Tensor":
    return build.layer("LeakyReLU", layer.name, alpha=float(layer.negative_slope))(*sources)


def _dropout(build: _Rebuilt, layer: "keras.Layer", sources: "list[tf.Tensor]") -> "tf.Tensor":
    return build.layer("Dropout", layer.name, layer.rate)(*sources)


# By name, since importing Keras takes seconds and --help does not need it.
_HANDLERS: "dict[str, Callable[[_Rebuilt, keras.Layer, list[tf.Tensor]], tf.Tensor]]" = {
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


def _activation(layer: "keras.Layer") -> str:
    name = getattr(layer.activation, "__name__", str(layer.activation))
    if name not in _ACTIVATIONS:
        reason = "another function in Keras 2" if name == "hard_sigmoid" else "none it knows"
        raise _refusal(layer, f"its activation is {name}, {reason}")
    return _ACTIVATIONS[name]


def _key(tensor: "keras.KerasTensor") -> TensorKey:
    layer, node_index, tensor_index = tensor._keras_history
    return id(layer), node_index, tensor_index


def _refusal(layer: "keras.Layer", reason: str) -> NotExpressibleError:
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

    Without a converter, the only line says so.

    Args:
        folders: runs, or folders of runs; none: what `calogen export` takes by default.
        tools: the folder that holds lwtnn's `converters`.

    Raises:
        ExportError: a run cannot be read, a graph differs, the converter fails, or there are no runs. A network that
            LWTNN cannot express, as of a regular grid, is named, and is no fault.
    """
    try:
        find_converter(tools)
    except MissingConverterError as error:
        print(error)
        return
    from calogen.athena.export import find_sets  # their import takes seconds, and --help does not need them
    from calogen.generation.load import load_run
    from calogen.generation.pretrained import exported_folders

    found = [folder for named in (folders or (None,)) for folder in exported_folders(named)]
    failed = []
    for run in sorted({run for folder in found for run_set in find_sets(folder) for run in run_set.directories}):
        try:
            print(f"{run}: {_outcome(load_run(run).generator, tools)}", flush=True)
        except CalogenError as error:
            failed.append(f"{run}: {error}")
    if failed:
        raise ExportError("; ".join(failed))


def _outcome(generator: "keras.Model", tools: Path) -> str:
    """The comparison of a run's generator in words, or why there is nothing to compare."""
    from calogen.lwtnn.convert import convert

    try:
        graph = convert(generator)
    except ExportError as error:
        return f"not an LWTNN network: {error}"
    return check(generator, parse_graph(format_graph(graph)), tools)  # as it would be read from a file


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the runs that the command line names."""
    runs, tools = parse_command_line(_read_options, __doc__, EXAMPLES, arguments)
    with clean_exit("official"):
        check_runs(*runs, tools=tools)


def _read_options(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Runs, folders of runs, or pretrained networks; by default runs.")
    ] = None,
    tools: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds lwtnn's converters.")] = TOOLS,
) -> tuple[list[Path], Path]:
    return runs or [], tools


if __name__ == "__main__":
    main()
