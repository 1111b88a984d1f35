from collections.abc import Callable
from types import ModuleType

import keras
import numpy as np
import pytest
from toy_grid_networks import SMALL_GENERATORS, random_grid_run, small_grid_run

from calogen.athena.closure import in_float64, keras_energies
from calogen.athena.onnx import evaluate_onnx
from calogen.athena.onnx_volumes import OUTPUT, volumes_to_onnx
from calogen.errors import ExportError
from calogen.features.transforms import AbsoluteEnergies, KineticFractions
from calogen.lwtnn.convert import convert
from calogen.models import bib_ae, getting_high_gan, getting_high_wgan
from calogen.showers.conditions import Conditions
from calogen.showers.grids import AHCAL_GRID, ILD_ANGULAR_GRID
from calogen.training.run import TrainedRun
from calogen.training.volumes import ZeroPadding, normalise

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'calogen[export]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'calogen[export]'")

layers = keras.layers
RANDOM = np.random.default_rng(1)
VOLUME = RANDOM.normal(size=(3, 4, 5, 6, 2)).astype(np.float32)
Build = Callable[[keras.KerasTensor], keras.KerasTensor]


def conditions_of(run: TrainedRun, number: int) -> Conditions:
    """From 10 to 100 GeV, at 40 to 90 degrees."""
    return Conditions(
        np.linspace(1e4, 1e5, number), {name: np.linspace(0.7, 1.57, number) for name in run.transform.needs}
    )


def deviation(run: TrainedRun, number: int, changed: float = 1.0) -> float:
    """Of a cell from Keras in float64, by the shower's energy; `changed` is a factor on the latent points."""
    conditions, latent = conditions_of(run, number), run.latent.draw(number, 1)
    model = volumes_to_onnx(run.generator, run.transform.steps)
    onnx.checker.check_model(model, full_check=True)
    given = {"latent": changed * latent, "condition": run.transform.condition(conditions)}
    found = evaluate_onnx(model, given)
    exact = in_float64(run.generator)
    expected = keras_energies(exact, run.transform, latent.astype(np.float64), conditions, clip=False)
    assert found.shape == expected.shape == (number, run.geometry.size)
    assert found.dtype == np.float32
    assert found.min() >= 0
    totals = expected.sum(axis=1, keepdims=True)
    assert totals.min() > 0
    return float((np.abs(found - expected) / totals).max())


VARIANTS = [
    ("gan", {}, 1),
    ("wgan", {}, 2),
    ("wgan", {"post_processing": True}, 2),
    ("bib-ae", {"post_processing": False}, 1),
    ("bib-ae", {}, 1),
    ("bib-ae", {"angles": True}, 1),
]


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(("name", "values", "num_transposed"), VARIANTS)
def test_generators_are_those_of_keras(name: str, values: dict[str, bool], num_transposed: int, number: int) -> None:
    run = small_grid_run(name, **values)
    assert deviation(run, number) < 1e-5
    assert deviation(run, number, changed=1.1) > 1e-5
    model = volumes_to_onnx(run.generator, run.transform.steps)
    width = run.transform.condition_dim
    inputs = {item.name: item.type.tensor_type.shape.dim[1].dim_value for item in model.graph.input}
    assert inputs == {"latent": 5, "condition": width}
    assert [item.type.tensor_type.shape.dim[0].dim_param for item in model.graph.input] == ["batch", "batch"]
    assert [item.name for item in model.graph.output] == [OUTPUT]
    assert [node.op_type for node in model.graph.node].count("Transpose") == num_transposed


@pytest.mark.parametrize(("name", "grid"), [("bib-ae", ILD_ANGULAR_GRID), ("wgan", AHCAL_GRID), ("gan", AHCAL_GRID)])
def test_other_grids_are_those_of_keras(name: str, grid: object) -> None:
    values = {"angles": True} if grid is ILD_ANGULAR_GRID else {}
    assert deviation(small_grid_run(name, grid=grid, **values), 1) < 1e-5  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name"), [(getting_high_gan, "code"), (getting_high_wgan, "post-processor"), (bib_ae, "code")]
)
def test_generators_of_the_papers_sizes_are_those_of_keras(model: ModuleType, name: str) -> None:
    run = random_grid_run(model, *model.CONFIGS[name])
    assert run.generates == model.GENERATES
    found = deviation(run, 2)
    assert found < 1e-5
    assert found < 1e-3 * deviation(run, 2, changed=1.1), "each of 27,000 cells has little of the energy"


def network_of(build: Build, shape: tuple[int, ...] = VOLUME.shape[1:]) -> keras.Model:
    """Of vectors, as a generator, with random weights."""
    vector = keras.Input((int(np.prod(shape)),), name="x")
    network = keras.Model(vector, layers.Flatten()(build(layers.Reshape(shape)(vector))))
    for variable in network.variables:
        noise = RANDOM.normal(size=variable.shape)
        variable.assign(1.0 + np.abs(noise) if variable.name == "moving_variance" else noise)
    return network


def _twice(layer: keras.Layer, volume: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Add()([layer(volume), layers.Activation("tanh")(layer(volume))])


GOOD: dict[str, Build] = {
    "of one cell's size": layers.Conv3D(3, 1),
    "with even kernels": layers.Conv3D(3, (2, 3, 4), padding="same", activation="relu"),
    "with strides": layers.Conv3D(3, 3, (1, 2, 3), padding="same", use_bias=False),
    "without padding": layers.Conv3D(3, (2, 1, 3), 2, activation="tanh"),
    "transposed": layers.Conv3DTranspose(3, 4, 2, padding="same"),
    "transposed, odd": layers.Conv3DTranspose(3, 3, 2, padding="same", activation="sigmoid"),
    "transposed, with gaps": layers.Conv3DTranspose(3, 2, 3, padding="same"),
    "transposed, whole": layers.Conv3DTranspose(3, (1, 2, 4), (2, 2, 3), padding="valid"),
    "dense": layers.Dense(3, activation="relu"),
    "padded": ZeroPadding((2, 0, 1)),
    "cropped": layers.Cropping3D(((1, 0), (0, 2), (2, 1))),
    "rectified": lambda x: layers.ReLU()(layers.Dense(2)(layers.LeakyReLU(negative_slope=0.3)(x))),
    "batch normalisation alone": layers.BatchNormalization(),
    "batch normalisation of a product": lambda x: layers.BatchNormalization()(layers.Conv3D(3, 2)(x)),
    "batch normalisation of a transposed one": lambda x: layers.BatchNormalization(scale=False)(
        layers.Conv3DTranspose(3, 2, 2, use_bias=False)(x)
    ),
    "batch normalisation behind an activation": lambda x: layers.BatchNormalization(center=False)(
        layers.Conv3D(3, 2, activation="relu")(x)
    ),
    "layer normalisation": lambda x: normalise(layers.Dense(3)(x)),
    "layer normalisation without weights": layers.LayerNormalization(axis=(-4, -3, -2), center=False, scale=False),
    "channels beside channels": lambda x: layers.Concatenate()([x, layers.Dense(3)(x)]),
    "layers behind layers": lambda x: layers.Concatenate(axis=1)([x, layers.Dense(2)(x)]),
    "products": lambda x: layers.Multiply()([x, layers.Dense(1)(x), x]),
    "sums": lambda x: normalise(layers.Add()([x, layers.Dense(2)(x)])),
    "another shape": layers.Reshape((3, 2, 2, 20)),
    "a layer used twice": lambda x: _twice(layers.Dense(2), x),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_layer_is_that_of_keras(name: str) -> None:
    network = network_of(GOOD[name])
    vectors = VOLUME.reshape(3, -1)
    expected = in_float64(network)(vectors.astype(np.float64)).numpy()
    model = volumes_to_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(evaluate_onnx(model, {"x": vectors}), expected, atol=2e-5 * np.abs(expected).max())


def test_what_normalisation_removes_does_not_round_the_rest() -> None:
    def build(volume: keras.KerasTensor) -> keras.KerasTensor:
        everywhere = layers.Reshape((1, 1, 1, 2))(layers.Dense(2, name="large")(layers.Flatten()(volume)))
        return normalise(layers.Add()([volume, everywhere]))

    network, vectors = network_of(build), VOLUME.reshape(3, -1)
    large = network.get_layer("large")
    large.bias.assign([1e6, -3e6])
    model = volumes_to_onnx(network)
    assert "Gemm" not in [node.op_type for node in model.graph.node]
    expected = in_float64(network)(vectors.astype(np.float64)).numpy()
    np.testing.assert_allclose(evaluate_onnx(model, {"x": vectors}), expected, atol=1e-5)
    assert np.abs(network(vectors).numpy() - expected).max() > 1e-2, "Keras in float32 rounds"


def test_steps_of_the_transform_are_undone() -> None:
    network, vectors = network_of(layers.Dense(1)), VOLUME.reshape(3, -1)
    model = volumes_to_onnx(network, (AbsoluteEnergies(250.0),))
    expected = AbsoluteEnergies(250.0).inverse(network(vectors).numpy(), np.ones(3))
    np.testing.assert_allclose(evaluate_onnx(model, {"x": vectors}), expected, rtol=1e-4, atol=1e-2)
    with pytest.raises(ExportError, match="KineticFractions cannot be undone in ONNX"):
        volumes_to_onnx(network, (KineticFractions(),))


class Doubled(layers.Dense):
    """Not what its base class computes."""

    def call(self, inputs: object) -> object:
        return 2 * super().call(inputs)


BAD: list[tuple[Build, str]] = [
    (layers.MaxPooling3D(name="pool"), r"MaxPooling3D 'pool' cannot be converted: this converter does not know it"),
    (Doubled(2, name="mine"), r"Doubled 'mine' cannot be converted: this converter does not know it; build .* Dense, "),
    (keras.ops.sin, r"Sin '.*' cannot be converted"),
    (layers.Conv3D(2, 2, dilation_rate=2), r"Conv3D '.*it has dilation_rate=\(2, 2, 2\); build it with .*\(1, 1, 1\)"),
    (layers.Conv3D(2, 2, activation="gelu"), r"its activation is gelu.*train with one of linear, relu"),
    (layers.ReLU(max_value=6.0), r"it has max_value=6"),
    (layers.LayerNormalization(), r"LayerNormalization '.*it has axis=.*build it with axis=\(1, 2, 3\)"),
    (layers.BatchNormalization(axis=1), r"it has axis=1; build it with axis=-1"),
    (layers.Dense(2, dtype="mixed_bfloat16"), r"Dense '.*its result is bfloat16"),
    (lambda x: layers.Dropout(0.5)(x, training=True), r"called with training=True"),
    (layers.Reshape((24, 10)), r"Reshape '.*its result has the shape \(None, 24, 10\)"),
    (lambda x: layers.Add()([layers.Dense(2)(layers.Flatten()(x)), x]), r"Add '.*it joins vectors and volumes"),
]


@pytest.mark.parametrize(("build", "message"), BAD)
def test_what_is_unknown_is_refused_by_name(build: Build, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        volumes_to_onnx(network_of(build))


def test_a_network_has_one_output_a_vector() -> None:
    x = keras.Input((4,), name="x")
    volume = layers.Reshape((1, 2, 2, 1))(x)
    with pytest.raises(ExportError, match=r"must end in a vector"):
        volumes_to_onnx(keras.Model(x, volume))
    with pytest.raises(ExportError, match=r"functional models with one output"):
        volumes_to_onnx(keras.Model(x, [layers.Dense(1)(x), layers.Dense(1)(x)]))


@pytest.mark.parametrize("name", SMALL_GENERATORS)
def test_lwtnn_refuses_volumes_by_name(name: str) -> None:
    with pytest.raises(ExportError, match=r"Conv\w+ '\w+' cannot be converted: lwtnn has no 3-D convolution.*ONNX"):
        convert(small_grid_run(name).generator, ["latent", "condition"])
