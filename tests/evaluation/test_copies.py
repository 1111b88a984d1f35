"""Copies are found, and models that remember are told from those that do not."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers

from calogen.errors import DataFormatError
from calogen.evaluation.copies import ALARM, copy_warnings, find_memory, hash_showers
from calogen.showers import Showers, concatenate


def hashes(showers: Showers) -> np.ndarray:
    return hash_showers(showers.energies, 1.0)


def test_hashes_are_equal_for_equal_showers_alone() -> None:
    energies = make_showers(TINY_VOXELS, 500, 1).energies
    found = hash_showers(energies, 1.0)
    assert len(np.unique(found)) == 500
    below = np.where(energies < 1, energies / 2, energies)
    for same in (energies.astype(np.float64), np.asfortranarray(energies), below):
        np.testing.assert_array_equal(hash_showers(same, 1.0), found)
    np.testing.assert_array_equal(hash_showers(energies[::-1], 1.0), found[::-1])
    moved = energies.copy()
    moved[7] = np.nextafter(moved[7], np.float32(np.inf))
    assert np.flatnonzero(hash_showers(moved, 1.0) != found).tolist() == [7]
    assert hash_showers(np.array([[0.5, 0.0], [2.0, 0.0]]), 1.0)[0] == 0
    assert hash_showers(np.array([[0.5, 0.0], [2.0, 0.0]]), 1.0)[1] > 0


def test_a_copy_of_the_reference_is_called_one() -> None:
    reference, other = hashes(make_showers(TINY_VOXELS, 100, 1)), hashes(make_showers(TINY_VOXELS, 100, 2))
    assert copy_warnings({"reference": reference, "generated": other}) == []
    found = copy_warnings({"reference": reference, "generated": reference[:60]})
    assert found == [
        f"{ALARM}60 of the 60 generated showers are showers of the reference: they are a copy, and what is found is "
        "what their original has"
    ]
    some = np.concatenate([other, reference[:3]])
    assert copy_warnings({"reference": reference, "generated": some}) == [
        "3 of the 103 generated showers are showers of the reference"
    ]
    assert "of the 100 second reference showers are showers of the reference" in "".join(
        copy_warnings({"reference": reference, "second reference": reference, "generated": other})
    )


def test_showers_that_repeat_are_counted_and_empty_ones_apart() -> None:
    showers = make_showers(TINY_VOXELS, 100, 1)
    empty = replace(showers[:20], energies=0 * showers.energies[:20])
    given = hashes(concatenate([showers, showers[:5], empty]))
    assert copy_warnings({"generated": given}) == [
        "5 of the 125 generated showers repeat others of them (20 empty ones are not counted)"
    ]
    assert copy_warnings({"generated": hashes(concatenate([showers, empty]))}) == []
    assert copy_warnings({"generated": np.repeat(given[:10], 10)})[0].startswith(f"{ALARM}90 of the 100 generated")
    assert copy_warnings({"reference": hashes(showers), "generated": hashes(empty)}) == [
        f"{ALARM}all of the 20 generated showers are empty: no number says anything of a model"
    ]


def samples(number: int, seed: int) -> list[Showers]:
    return [make_showers(TINY_VOXELS, number, 10 * seed + part) for part in range(3)]


def test_a_model_that_remembers_nothing_is_within_chance() -> None:
    """Of 40 independent samples, deviations / error have mean 0 and spread 1 (within 4 of their own errors)."""
    found = [find_memory(*samples(200, seed), 1.0, seed).remembered for seed in range(40)]
    pulls = np.array([value.value / value.error for value in found])
    assert abs(pulls.mean()) < 4 / np.sqrt(40)
    assert 0.55 < pulls.std(ddof=1) < 1.45
    other = make_showers(TINY_VOXELS, 200, 999)
    bad = replace(other, energies=other.energies * np.float32(3))
    memory = find_memory(*samples(200, 50)[:2], bad, 1.0, 1)
    assert abs(memory.remembered.value) < 4 * memory.remembered.error, "a bad model is none that remembers"
    assert memory.sentence.startswith("no sign of memorising: among 200 showers of training and 200 of the")


def test_a_model_that_remembers_is_found_without_copies() -> None:
    training, reference, fresh = samples(600, 7)
    noise = np.random.default_rng(1).normal(1, 0.01, training.energies.shape).astype(np.float32)
    remembered = replace(training, energies=training.energies * noise)
    memory = find_memory(training, reference, remembered, 1.0, 1)
    assert memory.remembered.value > 0.9
    assert memory.distance.value < 0.5
    assert memory.sentence.startswith(f"{ALARM}the model remembers its training file: among")
    partly = find_memory(training, reference, concatenate([fresh, remembered[:150]]), 1.0, 1)
    assert partly.remembered.value == pytest.approx(0.2, abs=4 * partly.remembered.error)
    assert partly.remembered.value > 4 * partly.remembered.error


def test_training_showers_of_other_energies_do_not_count() -> None:
    """Half of the training file is at energies that the reference lacks; nothing is remembered."""
    training, reference, fresh = samples(400, 3)
    more = make_showers(TINY_VOXELS, 400, 99)
    training = concatenate([training, replace(more, incident_energies=more.incident_energies * 4096)])
    memory = find_memory(training, reference, fresh, 1.0, 1)
    assert memory.num_training == 400
    assert abs(memory.remembered.value) < 4 * memory.remembered.error


def test_what_cannot_be_told_is_refused() -> None:
    training, reference, fresh = samples(200, 5)
    with pytest.raises(DataFormatError, match="must have 50 showers or more"):
        find_memory(training, reference, fresh[:20], 1.0, 1)
    with pytest.raises(DataFormatError, match="must differ from the training showers"):
        find_memory(reference, reference, fresh, 1.0, 1)
