import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference.preprocessing import layer_fractions

from calogen.errors import ConfigError, DataFormatError
from calogen.preprocessing import AbsoluteEnergies, Chain, LayerFractions, LinearEnergy, LogEnergy
from calogen.showers import Showers

SIZES = (2, 3, 1)
# zeros often, so that whole layers and whole showers are empty
CELLS = hnp.arrays(np.float64, (4, 6), elements=st.just(0.0) | st.floats(1e-3, 1e6))
INCIDENT = hnp.arrays(np.float64, 4, elements=st.floats(1.0, 1e6))


@given(CELLS, INCIDENT, st.floats(0.1, 2.0), st.booleans())
def test_fractions_come_back_exactly(cells: np.ndarray, incident: np.ndarray, scale: float, renormalise: bool) -> None:
    step = LayerFractions(SIZES, scale, renormalise)
    restored = step.inverse(step.forward(cells, incident), incident)
    np.testing.assert_allclose(restored, cells, rtol=1e-12)
    assert (restored[cells == 0] == 0).all()


@given(CELLS, INCIDENT, st.floats(0.1, 2.0))
def test_fractions_equal_their_slow_twin(cells: np.ndarray, incident: np.ndarray, scale: float) -> None:
    fast = LayerFractions(SIZES, scale).forward(cells, incident)
    np.testing.assert_allclose(fast, layer_fractions(cells, incident, SIZES, scale), rtol=1e-12)


@given(hnp.arrays(np.float32, (3, 10), elements=st.floats(0, 1, width=32)))
def test_renormalised_showers_have_the_decoded_total_and_layer_shares(features: np.ndarray) -> None:
    incident = np.full(3, 1000.0)
    energies = LayerFractions(SIZES, renormalise=True).inverse(features, incident).astype(np.float64)
    alive = [(features[:, start:stop] > 1e-3).any(axis=1) for start, stop in ((0, 2), (2, 5), (5, 6))]
    full = np.all(alive, axis=0) & (features[:, 6:9].sum(axis=1) > 1e-3)
    np.testing.assert_allclose(energies.sum(axis=1)[full], 1000.0 * features[full, 9], rtol=1e-5, atol=1e-30)
    shares = np.add.reduceat(energies, [0, 2, 5], axis=1)[full]
    expected = features[full, 6:9] / features[full, 6:9].sum(axis=1, keepdims=True, dtype=np.float64)
    np.testing.assert_allclose(shares, expected * energies.sum(axis=1)[full][:, None], rtol=1e-4, atol=1e-25)


def test_decoded_fractions_are_taken_as_they_are_by_default() -> None:
    features = np.array([[0.5, 0.0, 0.25, 0.25, 0.0, 1.0, 0.5, 0.25, 0.0, 0.8]])
    energies = LayerFractions(SIZES).inverse(features, np.array([1000.0]))
    np.testing.assert_allclose(energies, [[200.0, 0.0, 50.0, 50.0, 0.0, 0.0]])


def test_negative_features_give_no_negative_energies() -> None:
    features = -np.ones((1, 10))
    assert (LayerFractions(SIZES).inverse(features, np.array([10.0])) >= 0).all()
    assert (AbsoluteEnergies(5.0).inverse(features, np.array([10.0])) >= 0).all()


@given(CELLS, st.floats(1.0, 1e6))
def test_absolute_energies_come_back(cells: np.ndarray, constant: float) -> None:
    step, incident = AbsoluteEnergies(constant), np.ones(4)
    np.testing.assert_allclose(step.inverse(step.forward(cells, incident), incident), cells, rtol=1e-12)


def test_encodings_span_the_training_energies() -> None:
    energies = np.array([1024.0, 16384.0, 262144.0])
    np.testing.assert_allclose(LogEnergy().fit(energies, {}).forward(energies, {})[:, 0], [0.0, 0.5, 1.0])
    np.testing.assert_allclose(LinearEnergy().fit(energies, {}).forward(energies, {})[:, 0], [1 / 256, 1 / 16, 1.0])
    one = LogEnergy().fit(energies[:1], {})
    np.testing.assert_allclose(one.forward(energies[:1], {}), [[0.0]])


def test_an_encoding_must_be_fitted() -> None:
    for encoding in (LogEnergy(), LinearEnergy()):
        with pytest.raises(ConfigError, match="must be fitted"):
            encoding.forward(np.ones(2), {})


@pytest.mark.parametrize(("sizes", "scale"), [((), 1.0), ((0, 2), 1.0), ((2,), 0.0), ((2,), float("nan"))])
def test_nonsense_is_refused(sizes: tuple[int, ...], scale: float) -> None:
    with pytest.raises(ConfigError, match="layer sizes of at least 1"):
        LayerFractions(sizes, scale)


def test_wrong_widths_are_refused() -> None:
    with pytest.raises(DataFormatError, match=r"shape \[n, 6\]. Received: \[2, 5\]"):
        LayerFractions(SIZES).forward(np.ones((2, 5)), np.ones(2))
    with pytest.raises(DataFormatError, match=r"shape \[n, 10\]. Received: \[2, 6\]"):
        LayerFractions(SIZES).inverse(np.ones((2, 6)), np.ones(2))


def test_a_chain_survives_json_and_gives_the_showers_back(tiny_showers: Showers) -> None:
    sizes = tuple(layer.size for layer in tiny_showers.geometry.layers)
    chain = Chain((LayerFractions(sizes, 0.5), AbsoluteEnergies(2.0)), (LogEnergy(), LinearEnergy())).fit(tiny_showers)
    again = Chain.from_json(json.loads(json.dumps(chain.to_json())))
    assert again == chain
    features = again.forward(tiny_showers)
    assert features.dtype == np.float32
    restored = again.inverse(features, tiny_showers.incident_energies, tiny_showers.geometry)
    np.testing.assert_allclose(restored.energies, tiny_showers.energies, rtol=1e-5)
    assert again.condition(tiny_showers.incident_energies).shape == (len(tiny_showers), again.condition_dim)


@pytest.mark.parametrize(
    "value",
    [
        {"steps": []},
        {"steps": [{"name": "eval"}], "encodings": []},
        {"steps": [{"constant": 1.0}], "encodings": []},
        {"steps": [{"name": "AbsoluteEnergies", "factor": 1.0}], "encodings": []},
    ],
)
def test_foreign_json_is_refused(value: dict) -> None:
    with pytest.raises(DataFormatError):
        Chain.from_json(value)
