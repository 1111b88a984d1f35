import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import preprocessing as slow

from calogen.errors import ConfigError, DataFormatError
from calogen.features.conditions import Column, Constant, LinearEnergy, LogEnergy
from calogen.features.transforms import (
    AbsoluteEnergies,
    Chain,
    KineticFractions,
    LayerFractions,
    Logarithm,
    Mask,
    Noise,
)
from calogen.showers.conditions import Conditions
from calogen.showers.sample import Showers
from calogen.units import MASSES

SIZES = (2, 3, 1)
PION = MASSES["pion"]
MASS = st.sampled_from([0.0, PION])
# zeros often, so that whole layers and whole showers are empty
CELLS = hnp.arrays(np.float64, (4, 6), elements=st.just(0.0) | st.floats(1e-3, 1e6))
INCIDENT = hnp.arrays(np.float64, 4, elements=st.floats(1.0, 1e6))


@given(CELLS, INCIDENT, st.floats(0.1, 2.0), st.booleans())
def test_fractions_come_back_exactly(cells: np.ndarray, incident: np.ndarray, scale: float, renormalise: bool) -> None:
    step = LayerFractions(SIZES, scale, renormalise)
    restored = step.inverse(step.forward(cells, incident), incident)
    np.testing.assert_allclose(restored, cells, rtol=1e-12)
    assert (restored[cells == 0] == 0).all()


@given(CELLS, INCIDENT, MASS, st.booleans())
def test_fractions_with_an_energy_of_empty_cells_come_back(
    cells: np.ndarray, incident: np.ndarray, mass: float, renormalise: bool
) -> None:
    step = LayerFractions(SIZES, 1.0, renormalise, mass=mass, empty_energy=1e-4)
    features = step.forward(cells, incident)
    assert (features > 0).all(), "no softmax has to reach zero"
    restored = step.inverse(features, incident)
    np.testing.assert_allclose(restored, np.where(cells > 0, cells, 1e-4), rtol=1e-12)


@given(CELLS, INCIDENT, st.floats(0.1, 2.0), MASS, st.sampled_from([0.0, 1e-4, 2.0]))
def test_fractions_equal_their_slow_twin(
    cells: np.ndarray, incident: np.ndarray, scale: float, mass: float, empty_energy: float
) -> None:
    fast = LayerFractions(SIZES, scale, mass=mass, empty_energy=empty_energy).forward(cells, incident)
    np.testing.assert_allclose(
        fast, slow.layer_fractions(cells, incident, SIZES, scale, mass, empty_energy), rtol=1e-12
    )


@given(CELLS, INCIDENT, MASS)
def test_kinetic_fractions_equal_their_slow_twin_and_come_back(
    cells: np.ndarray, incident: np.ndarray, mass: float
) -> None:
    step = KineticFractions(mass)
    features = step.forward(cells, incident)
    np.testing.assert_allclose(features, slow.kinetic_fractions(cells, incident, mass), rtol=1e-12)
    restored = step.inverse(features, incident)
    np.testing.assert_allclose(restored, cells, rtol=1e-12)
    assert (restored[cells == 0] == 0).all()


def test_negative_kinetic_fractions_become_zero_and_the_total_stays() -> None:
    features = np.array([[-0.25, 0.375, 0.125], [0.25, 0.5, -0.0], [-0.5, 0.25, 0.125]], np.float32)
    energies = KineticFractions().inverse(features, np.full(3, 1000.0))
    np.testing.assert_array_equal(energies, [[0.0, 187.5, 62.5], [250.0, 500.0, 0.0], [0.0, 0.0, 0.0]])
    assert energies.dtype == np.float32


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


@given(CELLS, st.sampled_from([(1e-10, 1.0), (1e-10, 1e10), (3e-7, 7.0)]), st.sampled_from([np.float32, np.float64]))
def test_logarithms_come_back(cells: np.ndarray, constants: tuple[float, float], dtype: type) -> None:
    values, incident = cells / 1e6, np.ones(4)
    step = Logarithm(*constants)
    features = step.forward(values, incident).astype(dtype)
    floor, factor = constants
    np.testing.assert_allclose(features, np.log10(factor * np.where(values > floor, values, floor)), rtol=1e-6)
    restored = step.inverse(features, incident)
    assert restored.dtype == dtype
    certain = np.abs(values / floor - 1) > 1e-5  # within the rounding of float32 a value may be the floor
    expected = np.where(values > floor, values, 0.0)
    np.testing.assert_allclose(restored[certain], expected[certain], rtol=1e-4 if dtype is np.float32 else 1e-12)
    assert (restored[values == 0] == 0).all()


def test_logarithms_of_any_size_give_finite_values_and_nan_stays() -> None:
    values = Logarithm().inverse(np.array([[-np.inf, -1e30, 0.0, 1e30, np.inf, np.nan]], np.float32), np.ones(1))
    np.testing.assert_allclose(values[0], [0.0, 0.0, 1.0, 1e30, 1e30, np.nan], rtol=1e-6)
    for constants in ((0.0, 1.0), (1e-10, -1.0), (1e-10, np.inf)):
        with pytest.raises(ConfigError, match="floor and factor above 0"):
            Logarithm(*constants)


def test_noise_is_uniform_and_its_mean_is_taken_away_again() -> None:
    values, incident = np.full((400, 100), 5.0), np.full(400, 256.0)
    step = Noise(0.5, seed=3)
    noise = step.forward(values, incident) - values
    assert noise.min() >= 0
    assert noise.max() <= 0.5
    # mean and standard deviation of a uniform distribution, within 5 standard errors
    np.testing.assert_allclose(noise.mean(), 0.25, atol=5 * 0.5 / np.sqrt(12 * noise.size))
    np.testing.assert_allclose(noise.std(), 0.5 / np.sqrt(12), rtol=0.02)
    np.testing.assert_array_equal(step.forward(values, incident), values + noise)
    assert (Noise(0.5, seed=4).forward(values, incident) != values + noise).any()
    np.testing.assert_allclose(
        step.inverse(np.array([[0.1, 0.25, 3.0]], np.float32), incident[:1]), [[0, 0, 2.6]], rtol=1e-6
    )


def test_a_mask_empties_voxels_in_training_only() -> None:
    step, values = Mask(0.1), np.array([[0.0, 0.05, 0.1, 2.0]])
    np.testing.assert_array_equal(step.forward(values, np.ones(1)), [[0.0, 0.0, 0.1, 2.0]])
    np.testing.assert_array_equal(step.inverse(values, np.ones(1)), values)


@pytest.mark.parametrize("kind", [AbsoluteEnergies, Noise, Mask])
@pytest.mark.parametrize("energy", [0.0, -1.0, float("nan"), float("inf")])
def test_steps_with_an_energy_need_one_above_zero(kind: type, energy: float) -> None:
    with pytest.raises(ConfigError, match=f"{kind.__name__} needs an energy above 0 MeV"):
        kind(energy)


def test_encodings_span_the_training_energies() -> None:
    energies = np.array([1024.0, 16384.0, 262144.0])
    np.testing.assert_allclose(
        LogEnergy().fit(Conditions(energies)).forward(Conditions(energies))[:, 0], [0.0, 0.5, 1.0]
    )
    np.testing.assert_allclose(
        LinearEnergy().fit(Conditions(energies)).forward(Conditions(energies))[:, 0], [1 / 256, 1 / 16, 1.0]
    )
    one = LogEnergy().fit(Conditions(energies[:1]))
    np.testing.assert_allclose(one.forward(Conditions(energies[:1])), [[0.0]])


@pytest.mark.parametrize("mass", [0.0, PION])
def test_given_limits_stay_and_are_labelled_0_and_1(mass: float) -> None:
    low, high = 2.0**8, 2.0**22
    seen = np.array([2.0**10, 2.0**15])
    encoding = LogEnergy(low, high, mass).fit(Conditions(seen))
    assert encoding == LogEnergy(low, high, mass)
    np.testing.assert_allclose(encoding.forward(Conditions(np.array([low, high]))), [[0.0], [1.0]], atol=1e-15)
    expected = [[slow.log_energy(momentum, low, high, mass)] for momentum in seen.tolist()]
    np.testing.assert_allclose(encoding.forward(Conditions(seen)), expected, rtol=1e-12)


def test_a_mass_alone_leaves_the_limits_to_the_showers() -> None:
    momenta = np.array([256.0, 512.0, 4096.0])
    encoding = LogEnergy(mass=PION).fit(Conditions(momenta))
    assert encoding == LogEnergy(256.0, 4096.0, PION)
    expected = slow.log_energy(512.0, 256.0, 4096.0, PION)
    assert 0 < expected < np.log(2) / np.log(16) + 0.1
    np.testing.assert_allclose(encoding.forward(Conditions(momenta))[:, 0], [0.0, expected, 1.0], atol=1e-12)


def test_a_given_highest_energy_stays() -> None:
    encoding = LinearEnergy(2.0**22).fit(Conditions(np.array([256.0])))
    np.testing.assert_array_equal(encoding.forward(Conditions(np.array([256.0, 2.0**22]))), [[2.0**-14], [1.0]])


def test_a_constant_is_one_column_without_fitting() -> None:
    np.testing.assert_array_equal(Constant(0.25).forward(Conditions(np.ones(3))), np.full((3, 1), 0.25))
    chain = Chain((KineticFractions(),), (LinearEnergy(4.0), Constant()))
    assert chain.condition_dim == 2
    np.testing.assert_array_equal(chain.condition(np.array([1.0, 4.0])), [[0.25, 0.0], [1.0, 0.0]])


def test_an_encoding_must_be_fitted() -> None:
    for encoding in (LogEnergy(), LinearEnergy()):
        with pytest.raises(ConfigError, match="must be fitted"):
            encoding.forward(Conditions(np.ones(2)))


@pytest.mark.parametrize(("sizes", "scale"), [((), 1.0), ((0, 2), 1.0), ((2,), 0.0), ((2,), float("nan"))])
def test_nonsense_is_refused(sizes: tuple[int, ...], scale: float) -> None:
    with pytest.raises(ConfigError, match="layer sizes of at least 1"):
        LayerFractions(sizes, scale)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_masses_and_empty_energies_below_zero_are_refused(value: float) -> None:
    for options in ({"mass": value}, {"empty_energy": value}):
        with pytest.raises(ConfigError, match="mass and empty_energy of 0 MeV or more"):
            LayerFractions(SIZES, **options)
    with pytest.raises(ConfigError, match="KineticFractions needs a mass of 0 MeV or more"):
        KineticFractions(value)


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


def test_every_step_and_encoding_survives_json() -> None:
    steps = (LayerFractions(SIZES, mass=PION, empty_energy=1e-4), KineticFractions(PION), AbsoluteEnergies(3.0))
    chain = Chain(
        (*steps, Noise(0.1, 2), Mask(0.2)), (LogEnergy(256.0, 4096.0, PION), LinearEnergy(2.0), Constant(0.5))
    )
    assert Chain.from_json(json.loads(json.dumps(chain.to_json()))) == chain


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


def test_a_column_is_a_condition_moved_and_scaled() -> None:
    given = Conditions(np.array([1.0, 2.0]), {"impact_eta": np.array([0.2, 0.25]), "other": np.zeros(2)})
    chain = Chain((), (LogEnergy(1.0, 2.0), Column("impact_eta", 0.2, 0.05))).fit(given)
    np.testing.assert_allclose(chain.condition(given), [[0.0, 0.0], [1.0, 1.0]], atol=1e-6)
    assert chain.needs == ("impact_eta",)
    assert Chain.from_json(json.loads(json.dumps(chain.to_json()))) == chain
    with pytest.raises(DataFormatError, match="the model needs impact_eta of each shower.* Received: none"):
        chain.condition(np.array([1.0, 2.0]))
    with pytest.raises(ConfigError, match="finite offset and scale"):
        Column("impact_eta", 0.0, 0.0)
