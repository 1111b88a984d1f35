import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from conftest import TINY_VOXELS
from keras import KerasTensor, layers
from toy_commands import load_script
from toy_gan import CONFIG
from toy_generators import full_size_generator, perturbed
from toy_grid_networks import small_grid_run

from calogen.errors import ExportError
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import format_graph, parse_graph
from calogen.lwtnn.runtime import evaluate_graph
from calogen.models import atlas_vae, caloshowergan, fastcalogan
from calogen.training.layers import ShowerHeads, Swish
from calogen.training.run import assemble_run, save_run

tf_keras = pytest.importorskip("tf_keras", reason="needs tf_keras: pip install 'calogen[official]'")

SCRIPT = Path(__file__).parents[1] / "export" / "official.py"
TOOLS = Path(os.environ.get("CALOGEN_LWTNN_TOOLS", SCRIPT.parent / "lwtnn-tools"))
needs_converter = pytest.mark.skipif(
    not (TOOLS / "converters" / "kerasfunc2json.py").is_file(),
    reason="needs lwtnn's converter: make lwtnn-tools, or CALOGEN_LWTNN_TOOLS=<folder with converters/>",
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script(SCRIPT)


def _model(function: Callable[[KerasTensor], KerasTensor]) -> keras.Model:
    keras.utils.set_random_seed(3)
    x = keras.Input((4,), name="x")
    return perturbed(keras.Model(x, function(x)))


def _inputs(model: keras.Model, number: int = 100) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {tensor.name: rng.standard_normal((number, tensor.shape[1]), np.float32) for tensor in model.inputs}


def _shared(x: KerasTensor) -> KerasTensor:
    dense = layers.Dense(4, activation="tanh")
    return layers.Concatenate()([dense(dense(x)), x, dense(layers.Add()([x, dense(x)]))])


GOOD: dict[str, Callable[[KerasTensor], KerasTensor]] = {
    **{
        name: lambda x, name=name: layers.Dense(5, activation=name)(x)  # type: ignore[misc]
        for name in ["linear", "relu", "sigmoid", "softmax", "tanh", "elu", "silu"]
    },
    "normalised": lambda x: layers.Activation("silu")(layers.BatchNormalization(epsilon=0.1)(layers.Dense(3)(x))),
    "leaky": lambda x: layers.LeakyReLU(negative_slope=0.15)(layers.Dense(3)(x)),
    "skipped": lambda x: layers.Softmax()(layers.Dense(3)(layers.Flatten()(layers.Dropout(0.5)(x)))),
    "shared": _shared,
    "heads": lambda x: ShowerHeads((3, 1, 2))(layers.Dense(10)(x)),
    "normalised heads": lambda x: ShowerHeads((2, 1))(layers.BatchNormalization()(layers.Dense(6)(x))),
}
GENERATORS = {
    "FastCaloGAN 1": (fastcalogan, "photon"),
    "FastCaloGAN 2 low": (fastcalogan, "photon-low-v2"),
    "FastCaloGAN 2 high": (fastcalogan, "photon-high-v2"),
    "CaloShowerGAN photon": (caloshowergan, "photon"),
    "CaloShowerGAN pion": (caloshowergan, "pion"),
    "CaloShowerGAN kinetic": (caloshowergan, "photon-kinetic"),
    "ATLAS VAE": (atlas_vae, "paper"),
}
MODELS: dict[str, Callable[[], keras.Model]] = {
    **{name: lambda function=function: _model(function) for name, function in GOOD.items()},
    **{name: lambda given=given: full_size_generator(*given) for name, given in GENERATORS.items()},
}


@pytest.mark.parametrize("name", MODELS)
def test_rebuilt_networks_give_the_same(name: str, script: ModuleType) -> None:
    model = MODELS[name]()
    rebuilt, inputs = script.to_tf_keras(model), _inputs(model)
    assert [tensor.name for tensor in rebuilt.inputs] == [tensor.name for tensor in model.inputs]
    arrays = list(inputs.values())
    found = rebuilt(arrays if len(arrays) > 1 else arrays[0]).numpy()
    expected = model(inputs if len(arrays) > 1 else arrays[0]).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
    assert type(rebuilt).__module__.startswith("tf_keras.")


@needs_converter
@pytest.mark.parametrize("name", MODELS)
def test_official_converter_agrees(name: str, script: ModuleType) -> None:
    model = MODELS[name]()
    names = {tensor.name: f"node_{number}" for number, tensor in enumerate(model.inputs)}
    graph = parse_graph(format_graph(convert(model, names)))
    assert script.compare(model, graph, TOOLS, names) < 1e-7  # nine digits in our file


@needs_converter
def test_official_graph_is_that_of_the_network(script: ModuleType) -> None:
    model = full_size_generator(caloshowergan, "photon")
    official = script.convert_officially(model, TOOLS)
    assert [given.name for given in official.inputs] == [tensor.name for tensor in model.inputs]
    assert [node.type for node in official.nodes].count("feed_forward") > len(convert(model).layers)  # not folded
    inputs = _inputs(model)
    expected = model(inputs).numpy()
    assert np.abs(evaluate_graph(official, inputs) - expected).max() < 1e-5 * np.abs(expected).max()


@needs_converter
def test_a_wrong_weight_is_seen(script: ModuleType) -> None:
    model = _model(GOOD["tanh"])
    graph = convert(model)
    assert script.check(model, graph, TOOLS).startswith("largest relative difference to the official converter ")
    model.weights[0].assign(model.weights[0].numpy() * 1.001)
    for function in (script.compare, script.check):
        with pytest.raises(ExportError, match="must agree"):
            function(model, graph, TOOLS)


def test_difference_of_two_graphs(script: ModuleType) -> None:
    model = _model(GOOD["tanh"])
    graph = convert(model)
    assert script.largest_difference(graph, convert(model, {"x": "node_0"}), {"x": "node_0"}) == 0.0
    weights = model.weights[0].numpy()
    model.weights[0].assign(weights * (1 + 5e-7))
    assert 0 < script.largest_difference(convert(model), graph) <= 1e-6
    model.weights[0].assign(weights * (1 + 5e-5))
    with pytest.raises(ExportError, match=r"must agree .* to 1e-06 of the output's scale. Received: \d"):
        script.largest_difference(convert(model), graph)
    with pytest.raises(ExportError, match="official graph has 3 outputs. Received: ours has 5"):
        script.largest_difference(convert(_model(GOOD["normalised"])), convert(model))


def _nested(x: KerasTensor) -> KerasTensor:
    inner = keras.Input((4,))
    return keras.Model(inner, layers.Dense(2)(inner), name="layer")(x)


BAD: dict[str, Callable[[KerasTensor], KerasTensor]] = {
    r"ReLU 'layer': it has no such layer \(but Activation": layers.ReLU(name="layer"),
    "ELU 'layer': it has no such layer": layers.ELU(name="layer"),
    "Dense 'layer': it has no bias": layers.Dense(2, use_bias=False, name="layer"),
    "Dense 'layer': its activation is gelu, none it knows": layers.Dense(2, activation="gelu", name="layer"),
    "Dense 'layer': its activation is hard_sigmoid, another function in Keras 2": layers.Dense(
        2, activation="hard_sigmoid", name="layer"
    ),
    "Activation 'layer': its activation is leaky_relu": layers.Activation("leaky_relu", name="layer"),
    "Normalization 'layer': it has no gamma or no beta": layers.BatchNormalization(scale=False, name="layer"),
    "BatchNormalization 'layer': it has no gamma": layers.BatchNormalization(center=False, name="layer"),
    "Multiply 'layer': it has no product, and neither has LWTNN": lambda x: layers.Multiply(name="layer")([x, x]),
    "Functional 'layer': it has no nested models": _nested,
    "Swish 'layer': it reads a number from the layer's config": Swish(name="layer"),
    "Concatenate 'layer': its axis is 0": lambda x: layers.Concatenate(axis=0, name="layer")([x, x]),
    "Dropout 'layer': it is called with training=True": lambda x: layers.Dropout(0.5, name="layer")(x, training=True),
}


@pytest.mark.parametrize("message", BAD)
def test_what_the_converter_cannot_express_is_named(message: str, script: ModuleType) -> None:
    model = _model(lambda x: layers.Dense(2)(BAD[message](layers.Dense(4)(x))))
    said = f"^not expressible by the official converter: .*{message}"
    with pytest.raises(script.NotExpressibleError, match=said):
        script.to_tf_keras(model)


@needs_converter
def test_what_cannot_be_compared_is_said(script: ModuleType) -> None:
    model = _model(layers.ReLU(name="layer"))
    said = script.check(model, convert(model), TOOLS)
    assert said.startswith("not expressible by the official converter: ReLU 'layer'")
    with pytest.raises(script.NotExpressibleError):
        script.compare(model, convert(model), TOOLS)


def test_several_outputs_are_refused(script: ModuleType) -> None:
    x = keras.Input((2,))
    with pytest.raises(script.NotExpressibleError, match="it has 2 outputs"):
        script.to_tf_keras(keras.Model(x, [layers.Dense(1)(x), layers.Dense(1)(x)]))


KERAS_2: dict[str, Callable[[Any], Any]] = {
    "ReLU": tf_keras.layers.ReLU(),
    "no bias": tf_keras.layers.Dense(2, use_bias=False),
    "gelu": tf_keras.layers.Dense(2, activation="gelu"),
    "no gamma": tf_keras.layers.BatchNormalization(scale=False),
    "product": lambda x: tf_keras.layers.Multiply()([x, x]),
    "nested": tf_keras.Sequential([tf_keras.layers.Dense(2)]),
}


@needs_converter
@pytest.mark.parametrize("name", KERAS_2)
def test_the_converter_fails_on_what_is_refused(name: str, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    x = tf_keras.Input((4,), name="x")
    network = tf_keras.Model(x, tf_keras.layers.Dense(2)(KERAS_2[name](x)))
    monkeypatch.setattr(script, "to_tf_keras", lambda model, dtype: network)
    with pytest.raises(ExportError, match=r"the official converter failed: \w*Error"):
        script.convert_officially(None, TOOLS)


def test_a_missing_converter_is_said_and_nothing_else(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _model(GOOD["relu"])
    line = f"skipped: the official converter is not in {tmp_path}: make lwtnn-tools"
    assert script.check(model, convert(model), tmp_path) == line
    with pytest.raises(script.MissingConverterError):
        script.compare(model, convert(model), tmp_path)
    script.main([str(tmp_path / "no runs"), "--tools", str(tmp_path)])
    assert capsys.readouterr() == (line + "\n", "")


def test_missing_tf_keras_is_named(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(ExportError, match=r"tf_keras is needed: pip install 'calogen\[official\]'"):
        script.to_tf_keras(_model(GOOD["relu"]))


def _write_run(directory: Path) -> Path:
    networks = caloshowergan.build(CONFIG, TINY_VOXELS)
    transform = caloshowergan.build_transform(CONFIG, TINY_VOXELS)
    save_run(directory, assemble_run(caloshowergan, CONFIG, TINY_VOXELS, networks, transform))
    return directory


@needs_converter
def test_command_line(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _write_run(tmp_path / "runs" / "gan" / "seed1" / "photon" / "selected")
    arguments = [str(tmp_path / "runs"), str(run), "--tools", str(TOOLS)]
    script.main(arguments)
    out, err = capsys.readouterr()
    assert out.startswith(f"{run}: largest relative difference to the official converter ")
    assert (out.count("\n"), err) == (1, "")
    monkeypatch.setattr(script, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit) as exit_info:
        script.main(arguments)
    assert exit_info.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"official: error: {run}: our graph must agree")


def test_networks_that_lwtnn_cannot_express_are_named_and_no_fault(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converter = tmp_path / "tools" / "converters" / "kerasfunc2json.py"
    converter.parent.mkdir(parents=True)
    converter.touch()
    run = tmp_path / "runs" / "gan"
    save_run(run, small_grid_run("gan"))
    script.check_runs(tmp_path / "runs", tools=tmp_path / "tools")
    assert capsys.readouterr().out.startswith(f"{run}: not an LWTNN network: ")
    damaged = _write_run(tmp_path / "runs" / "damaged")
    (damaged / "generator.keras").write_text("damaged")
    with pytest.raises(ExportError, match=rf"^{damaged}: .*generator.keras must be a Keras model file"):
        script.check_runs(tmp_path / "runs", tools=tmp_path / "tools")


@needs_converter
def test_one_bad_run_does_not_hide_the_others(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [_write_run(tmp_path / f"seed{seed}") for seed in (1, 2)]
    (runs[0] / "generator.keras").write_text("damaged")
    with pytest.raises(ExportError, match=rf"^{runs[0]}: .*generator.keras must be a Keras model file"):
        script.check_runs(tmp_path, tools=TOOLS)
    assert capsys.readouterr().out.startswith(f"{runs[1]}: largest relative difference")
    with pytest.raises(ExportError, match="must hold a trained run"):
        script.check_runs(tmp_path / "none", tools=TOOLS)
