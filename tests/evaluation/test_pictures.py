"""Averages of as many showers on both sides, at several energies, discrete or not."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers

from calogen.evaluation.pictures import MOST_ENERGIES, average_at_energies, take_pictures
from calogen.evaluation.streaming import sample_of
from calogen.reports.evaluation_figures import draw_pictures
from calogen.showers.labels import discrete_energies
from calogen.showers.sample import Showers


def continuous(number: int, seed: int) -> Showers:
    """Incident energies from 1 GeV to 1 TeV, flat in the logarithm; every voxel has a thousandth of them."""
    energies = 10.0 ** np.random.default_rng(seed).uniform(3, 6, number)
    return Showers(TINY_VOXELS, energies, np.repeat(energies[:, None] / 1000, TINY_VOXELS.size, axis=1).astype("f4"))


def test_continuous_energies_are_averaged_in_ranges_of_the_logarithm() -> None:
    """The reference's average was a single shower here, the model's that of a twentieth of its showers."""
    reference, generated = continuous(600, 1), continuous(300, 2)
    found = list(average_at_energies({"Geant4": reference, "GAN": generated}))
    assert [item.low for item in found[1:]] == [item.high for item in found[:-1]]
    assert len(found) == MOST_ENERGIES
    energies = [each.incident_energies for each in (reference, generated)]
    assert (found[0].low, found[-1].high) == pytest.approx((energies[0].min(), energies[0].max()))
    for item in found:
        inside = [np.sum((each >= item.low) & (each <= item.high)) for each in energies]
        assert item.number == min(inside) > 30
        for average in item.showers.values():
            assert item.low / 1000 < average[0] < item.high / 1000
        ratio = item.showers["GAN"] / item.showers["Geant4"]
        np.testing.assert_allclose(ratio, 1, atol=0.25)  # 7 % each, for 30 showers of a range of a factor 3


def test_each_discrete_energy_has_the_mean_of_as_many_showers_of_both() -> None:
    showers = make_showers(TINY_VOXELS, 400, 1)
    some = showers[showers.incident_energies < 2.0**13]
    generated = some[::2]
    found = list(average_at_energies({"Geant4": some, "GAN": generated}))
    assert [item.low for item in found] == [item.high for item in found] == [2.0**10, 2.0**11, 2.0**12]
    for item in found:
        chosen = [each.energies[each.incident_energies == item.low] for each in (some, generated)]
        assert item.number == len(chosen[1]) < len(chosen[0])
        np.testing.assert_allclose(item.showers["GAN"], chosen[1].mean(axis=0), rtol=1e-5)


def test_of_many_energies_some_are_averaged_from_the_first_to_the_last() -> None:
    showers = make_showers(TINY_VOXELS, 400, 1)
    found = list(average_at_energies({"Geant4": showers, "GAN": showers}))
    assert len(found) == MOST_ENERGIES < 9
    assert (found[0].low, found[-1].low) == (2.0**10, 2.0**18)


def test_labels_that_went_through_single_precision_are_the_same_energy() -> None:
    showers = make_showers(TINY_VOXELS, 100, 1)
    rounded = 10 ** np.log10(showers.incident_energies).astype(np.float32).astype(np.float64)
    found = list(average_at_energies({"Geant4": showers, "GAN": replace(showers, incident_energies=rounded)}))
    assert len(found) == MOST_ENERGIES
    for item in found:
        assert item.number == (showers.incident_energies == item.low).sum()


def test_few_showers_have_few_averages_and_none_of_nothing() -> None:
    showers = make_showers(TINY_VOXELS, 100, 1)
    pair = showers[showers.incident_energies == 2.0**12][:2]
    (found,) = average_at_energies({"Geant4": pair[:1], "GAN": pair})
    assert (found.low, found.high, found.number) == (2.0**12, 2.0**12, 1)
    np.testing.assert_array_equal(found.showers["Geant4"], pair.energies[0])
    elsewhere = replace(pair, incident_energies=2 * pair.incident_energies)
    assert list(average_at_energies({"Geant4": pair, "GAN": elsewhere})) == []


def test_models_of_as_many_showers_share_a_figure_and_captions_say_how_many() -> None:
    showers = make_showers(TINY_VOXELS, 400, 1)
    first = sample_of(showers)
    pictures = []
    for label, some in (("GAN", showers), ("VAE", showers), ("flow", showers[::2])):
        samples = {"Geant4": first, label: sample_of(some, reference=first)}
        pictures.append(take_pictures(TINY_VOXELS, samples, {"Geant4": showers, label: some}))
    drawn = {caption: figure for caption, figure in draw_pictures(pictures).items() if caption.startswith("Average")}
    assert len(drawn) == 2 * MOST_ENERGIES
    number = (showers.incident_energies == 2.0**10).sum()
    title = f"Average of {number} showers each, 1.02 GeV"
    labels = {axes.get_title("left").partition(", ")[2] for axes in drawn[title].axes}
    assert {"Geant4", "GAN", "VAE"} <= labels
    assert "flow" not in labels


@pytest.mark.parametrize(("energies", "each"), [(9, 2), (40, 1), (40, 3), (60, 3)])
def test_pictures_and_labels_agree_on_what_is_discrete(energies: int, each: int) -> None:
    """40 showers of 40 energies were continuous for averages and discrete for the response."""
    reference = continuous(energies, 1)[np.arange(energies * each) % energies]
    reference = replace(reference, energies=50 * reference.energies)  # half of the incident energy
    discrete = len(discrete_energies(reference.incident_energies)) > 0
    showers = {"Geant4": reference, "GAN": reference[:energies]}  # the reference decides for both
    first = sample_of(reference)
    samples = {"Geant4": first, "GAN": sample_of(showers["GAN"], reference=first)}
    pictures = take_pictures(TINY_VOXELS, samples, showers)
    assert {len(curve.energies) == energies for curve in pictures.curves.values()} == {discrete}
    assert all((item.low == item.high) == discrete for item in pictures.averages)


def test_response_curves_of_continuous_energies_have_common_bins() -> None:
    """Ratios to Geant4 are drawn at equal energies: with bins of its own, a model had none."""
    given = {"Geant4": continuous(200, 1), "GAN": continuous(200, 2)}
    showers = {name: replace(item, energies=50 * item.energies) for name, item in given.items()}
    first = sample_of(showers["Geant4"])
    samples = {"Geant4": first, "GAN": sample_of(showers["GAN"], reference=first)}
    curves = take_pictures(TINY_VOXELS, samples, showers).curves
    assert len(curves["Geant4"].energies) == 12
    assert set(curves["GAN"].energies) <= set(curves["Geant4"].energies)
