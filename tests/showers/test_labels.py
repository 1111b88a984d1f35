"""Labels that went through other codes are the labels that they were."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calogen.errors import DataFormatError
from calogen.showers.labels import (
    discrete_energies,
    energy_places,
    has_energy,
    match_shares,
    require_energies,
    require_known_energies,
    require_label_unit,
    snap,
    within,
)

ENERGIES = 2.0 ** np.arange(8, 23)
EXACT = np.repeat(ENERGIES, 4)


def through_log10(labels: np.ndarray) -> np.ndarray:
    """What the public diffusion codes write: the power of ten of a float32 logarithm."""
    return 10 ** np.log10(labels.astype(np.float32))


def test_labels_that_went_through_a_logarithm_are_the_references() -> None:
    noisy = through_log10(EXACT)
    assert (noisy != EXACT).any()
    np.testing.assert_array_equal(snap(noisy, EXACT), EXACT)
    others = np.array([1000.0, 1025.0])
    np.testing.assert_array_equal(snap(others, EXACT), others)


def test_half_precision_needs_the_flag() -> None:
    noisy = EXACT[EXACT < 2**15] * (1 + 5e-4)
    np.testing.assert_array_equal(snap(noisy, EXACT), noisy)
    np.testing.assert_array_equal(snap(noisy, EXACT, 1e-3), EXACT[EXACT < 2**15])


def test_labels_of_one_file_gather_at_their_energies() -> None:
    noise = np.resize([1e-7, 0, -1e-7, 2e-7], len(EXACT))
    found = snap(EXACT * (1 + noise))
    np.testing.assert_array_equal(discrete_energies(found)[:8], ENERGIES[:8])
    assert len(np.unique(found)) == len(ENERGIES)
    np.testing.assert_allclose(found, EXACT, rtol=1e-6)
    assert snap(np.array([1023.9999, 1024.0001] * 3)).tolist() == [1024.0] * 6


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_exact_and_continuous_labels_stay_what_they_are(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    for labels in (rng.choice(EXACT, number), np.exp(rng.uniform(7, 14, 100 + number))):
        assert snap(labels) is labels
        assert snap(labels, labels) is labels
        if len(labels) > 10:  # fewer may all be close to one by chance
            assert snap(labels, np.exp(rng.uniform(7, 14, 200))) is labels, "continuous references have no labels"


@pytest.mark.parametrize("labels", [[], [np.nan, 1.0], [np.inf, 1.0], [-1.0, 1.0], [0.0, 1.0]])
def test_what_is_no_energy_stays(labels: list[float]) -> None:
    given = np.array(labels)
    assert snap(given, EXACT) is given


def test_a_chain_of_close_labels_is_continuous() -> None:
    labels = np.repeat(1e4 * (1 + 9e-6 * np.arange(40)), 3)
    assert snap(labels) is labels


def test_energies_are_found_exactly_or_closely() -> None:
    labels = np.array([1024.0, 1024.0001, 2048.0001])
    assert has_energy(labels, 1024.0).tolist() == [True, False, False]
    assert has_energy(labels, 2048.0).tolist() == [False, False, True]
    assert not has_energy(labels, 4096.0).any()
    assert within(np.array([255.99, 255.9999, 4096.001, 4097.0]), 256, 4096).tolist() == [False, True, True, False]


def test_labels_in_gev_are_named() -> None:
    for reference in (EXACT, np.geomspace(1e3, 1e6, 300)):
        require_label_unit("GAN", reference, reference)
        with pytest.raises(DataFormatError, match=r"GAN must have incident energies in MeV. Received: .*GeV .*by 1000"):
            require_label_unit("GAN", reference, reference / 1000)


@pytest.mark.parametrize("discrete", [True, False])
def test_matched_shares_are_the_references(discrete: bool) -> None:
    rng = np.random.default_rng(1)
    reference = rng.choice(ENERGIES[:3], 900, p=[0.5, 0.3, 0.2]) if discrete else rng.uniform(1e3, 1e5, 900)
    labels = rng.choice(ENERGIES[:4], 5000) if discrete else 1e5 * rng.random(5000) ** 2
    chosen = match_shares(reference, labels, 1)
    np.testing.assert_array_equal(chosen, match_shares(reference, labels, 1))
    assert (np.diff(chosen) > 0).all()
    assert not np.array_equal(chosen, match_shares(reference, labels, 2))
    edges = np.append(ENERGIES[:3], np.inf) if discrete else np.quantile(reference, np.linspace(0, 1, 11))
    counts = [np.histogram(values, edges)[0] for values in (reference, labels[chosen])]
    np.testing.assert_allclose(counts[1] / len(chosen), counts[0] / 900, atol=2e-3 if discrete else 1e-2)
    assert len(chosen) > 1000, "as many as possible"
    assert len(match_shares(reference, reference, 1)) == 900
    with pytest.raises(DataFormatError, match="needed at the reference's .* MeV. Received: none"):
        match_shares(reference, labels[labels > np.median(reference)], 1)


@pytest.mark.parametrize(("number", "each"), [(51, 40), (5000, 3), (20_000, 1)])
def test_any_number_of_energies_survives_a_logarithm(number: int, each: int) -> None:
    known = np.repeat(np.round(np.geomspace(1e3, 4e6, number), 2), each)
    noisy = through_log10(known)
    assert (noisy != known).any()
    np.testing.assert_array_equal(snap(noisy, known), known)
    assert snap(known, known) is known
    foreign = np.append(noisy, [1.5, 2.5])
    np.testing.assert_array_equal(snap(foreign, known)[-2:], [1.5, 2.5])
    continuous = np.exp(np.random.default_rng(1).uniform(7, 15, 3000))
    if number < 1000:
        assert snap(continuous, known) is continuous, "those close to an energy are so by chance"


def test_a_million_continuous_labels_stay_the_very_same() -> None:
    reference, labels = np.random.default_rng(1).uniform(1e3, 1e6, (2, 10**6))
    start = time.monotonic()
    assert snap(labels, reference) is labels
    assert time.monotonic() - start < 5


def test_tolerance_ends_half_way_between_energies() -> None:
    known = np.repeat(1000 * 1.0004 ** np.arange(80), 5)
    noisy = known * (1 + 1.5e-4)
    np.testing.assert_array_equal(snap(noisy, known, 1e-3), known)
    assert snap(noisy, known) is noisy


def test_labels_at_the_ends_of_bins_are_inside() -> None:
    reference = np.geomspace(1e3, 1e6, 2000)
    noisy = reference * np.resize([1 + 3e-7, 1 - 3e-7], 2000)
    np.testing.assert_array_equal(energy_places(reference, noisy), energy_places(reference, reference))
    np.testing.assert_array_equal(energy_places(reference, reference[[0, -1]] * [1 - 3e-7, 1 + 3e-7]), [0, 49])


def test_gev_is_named_though_an_energy_is_foreign() -> None:
    with pytest.raises(DataFormatError, match="in MeV.*the reference's in GeV"):
        require_label_unit("GAN", EXACT, np.append(EXACT / 1000, 3.0))
    require_label_unit("GAN", EXACT, np.append(EXACT, 3000.0))


def test_foreign_energies_are_counted_and_have_a_remedy() -> None:
    message = r"the reference's 15 incident energies. Received: 4 showers at 1 others, as 257.0 MeV$"
    with pytest.raises(DataFormatError, match=message):
        require_known_energies("GAN", EXACT, np.append(EXACT[4:], [257.0] * 4), ENERGIES)
    with pytest.raises(DataFormatError, match="Received: 60 showers at 15 others.*--tolerant takes those"):
        require_known_energies("GAN", EXACT, EXACT * 1.0004, ENERGIES)


def test_shares_of_many_energies_survive_a_logarithm() -> None:
    known = np.repeat(np.round(np.geomspace(1e3, 4e6, 60), 2), 2000)
    noisy = through_log10(known)
    with pytest.raises(DataFormatError, match="cumulative shares differ"):
        require_energies("GAN", known, noisy)
    require_energies("GAN", known, snap(noisy, known))
