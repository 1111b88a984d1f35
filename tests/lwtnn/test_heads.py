import keras
import numpy as np
import pytest

from calogen.errors import ExportError
from calogen.lwtnn import heads
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Graph, format_graph, parse_graph
from calogen.lwtnn.heads import denormalise
from calogen.lwtnn.runtime import Forward, evaluate_graph
from calogen.training.layers import ShowerHeads

DATASET1 = {"photon": (8, 160, 190, 5, 5), "pion": (8, 100, 100, 5, 150, 160, 10)}


def _logits(layer_sizes: tuple[int, ...], units: tuple[int, ...] = (7, 30), seed: int = 1) -> keras.Model:
    """A network whose last layer gives logits of some size, and totals of both signs."""
    rng = np.random.default_rng(seed)
    latent, condition = keras.Input((4,), name="latent"), keras.Input((1,), name="condition")
    hidden = keras.layers.Concatenate()([latent, condition])
    for width in units:
        hidden = keras.layers.Dense(width, "silu")(hidden)
    model = keras.Model([latent, condition], keras.layers.Dense(sum(layer_sizes) + len(layer_sizes) + 1)(hidden))
    for variable in model.weights:
        variable.assign(rng.normal(0.0, 2.0 / np.sqrt(variable.shape[0]), variable.shape))
    bias, totals = model.layers[-1].bias, evaluate_graph(convert(model), _inputs())[:, -1]
    bias.assign(np.append(bias.numpy()[:-1], bias.numpy()[-1] - np.median(totals)))
    return model


def _inputs(number: int = 200) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {"latent": rng.standard_normal((number, 4)), "condition": rng.random((number, 1))}


def _expected(logits: np.ndarray, layer_sizes: tuple[int, ...]) -> np.ndarray:
    """Voxel fraction x layer fraction x ReLU(total), in float64."""
    parts = np.split(logits, np.cumsum((*layer_sizes, len(layer_sizes))), axis=1)
    *voxels, layers = (np.exp(part - part.max(axis=1, keepdims=True)) for part in parts[:-1])
    energies = layers / layers.sum(axis=1, keepdims=True) * np.maximum(parts[-1], 0)
    fractions = [part / part.sum(axis=1, keepdims=True) for part in voxels]
    return np.concatenate([part * energies[:, [i]] for i, part in enumerate(fractions)], axis=1)


def _by_voxel(graph: Graph, values: np.ndarray) -> np.ndarray:
    result = np.full_like(values, np.nan)
    result[:, [int(label.removeprefix("out_")) for label in graph.output().labels]] = values
    return result


@pytest.mark.parametrize("layer_sizes", [(1,), (3, 1), (2, 3, 1, 4), (40, 2, 50), *DATASET1.values()])
def test_the_graph_multiplies_voxel_layer_and_total(layer_sizes: tuple[int, ...]) -> None:
    logits = convert(_logits(layer_sizes))
    graph = parse_graph(format_graph(denormalise(logits, layer_sizes)))  # as lwtnn reads it, with nine digits
    inputs = _inputs()
    expected = _expected(evaluate_graph(logits, inputs), layer_sizes)
    totals = expected.sum(axis=1)
    assert 5 < (totals == 0).sum() < 195
    assert totals.max() > 1
    found = _by_voxel(graph, evaluate_graph(graph, inputs))
    assert np.abs(found - expected).max() < 1e-6 * np.median(totals[totals > 0])
    lit = totals > 0.1
    assert (np.abs(found - expected).max(axis=1)[lit] / totals[lit]).max() < 1e-6
    assert (found[totals == 0] == 0).all()
    assert {node.type for node in graph.nodes} <= {"input", "concatenate", "feed_forward"}  # what lwtnn 2.13 knows


@pytest.mark.parametrize(
    ("particle", "units", "evaluations"), [("photon", (100, 200, 400), 4), ("pion", (200, 400, 800), 6)]
)
def test_the_trunk_runs_less_often_than_there_are_heads(
    particle: str, units: tuple[int, ...], evaluations: int
) -> None:
    layer_sizes = DATASET1[particle]
    graph = denormalise(convert(_logits(layer_sizes, units)), layer_sizes)
    trunk = [index for index, size in graph.sizes.items() if size == units[-1]]
    assert sum(trunk[0] in node.sources for node in graph.nodes if node.type != "input") == evaluations
    assert evaluations < len(layer_sizes) + 2


def test_a_trunk_of_any_cost_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    layer_sizes, inputs = (2, 3, 4), _inputs()
    logits = convert(_logits(layer_sizes))
    expected, counts = _expected(evaluate_graph(logits, inputs), layer_sizes), []
    for exponential in (0, 50, 10**9):
        monkeypatch.setattr(heads, "_EXPONENTIAL", exponential)
        graph = denormalise(logits, layer_sizes)
        np.testing.assert_allclose(_by_voxel(graph, evaluate_graph(graph, inputs)), expected, atol=1e-7)
        counts.append(len(graph.nodes))
    assert len(set(counts)) > 1


def test_logits_behind_other_nodes_keep_their_numbers() -> None:
    a, b = keras.Input((4,), name="latent"), keras.Input((1,), name="condition")
    shared = keras.layers.Dense(3, "tanh")(a)
    hidden = keras.layers.Concatenate()([shared, b, keras.layers.Dense(2, "relu")(shared)])
    model = keras.Model([a, b], keras.layers.BatchNormalization()(keras.layers.Dense(6, use_bias=False)(hidden)))
    logits = convert(model)
    graph = denormalise(logits, (2, 1))
    expected = _expected(evaluate_graph(logits, _inputs()), (2, 1))
    np.testing.assert_allclose(_by_voxel(graph, evaluate_graph(graph, _inputs())), expected, atol=1e-8)


def test_what_does_not_end_in_logits_is_refused() -> None:
    latent = keras.Input((4,), name="latent")
    dense = keras.layers.Dense(6)(latent)
    for output in (ShowerHeads((2, 1))(dense), keras.layers.Dense(6, "relu")(latent), keras.layers.Dense(5)(latent)):
        with pytest.raises(ExportError, match="a linear dense layer of 6 numbers"):
            denormalise(convert(keras.Model(latent, output)), (2, 1))


def test_numbers_of_the_layer_energies_are_hidden() -> None:
    graph = denormalise(convert(_logits((2, 3))), (2, 3))
    labels = graph.output().labels
    assert sorted(labels) == [f"out_{i}" for i in range(5)]
    assert graph.sizes[graph.output().node_index] == 7


def test_one_shower_at_a_time_is_as_exact() -> None:
    graph, inputs = denormalise(convert(_logits((2, 3))), (2, 3)), _inputs(20)
    exact, rounded = Forward(graph), Forward(graph, dtype=np.float32)
    rows = [{name: values[i] for name, values in inputs.items()} for i in range(20)]
    expected = evaluate_graph(graph, inputs)
    np.testing.assert_allclose([exact(row) for row in rows], expected, rtol=1e-7, atol=1e-9)
    assert np.abs([rounded(row) for row in rows] - expected).max() > 1e-4  # why it is not float32
