"""Copies are found, and models that remember are told from those that do not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers

from calogen.errors import DataFormatError
from calogen.evaluation.copies import ALARM, copy_warnings, find_memory, hash_showers, judge_copies, near_copies
from calogen.evaluation.judgement import Sample
from calogen.evaluation.streaming import sample_of
from calogen.metrics.distributions import Value
from calogen.showers.sample import Showers, concatenate


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
        f"{ALARM}60 of the 60 generated showers are showers of the reference: they are copies, so that all "
        "numbers describe their originals"
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
        "5 of the 125 generated showers repeat another one of them (20 empty ones are not counted)"
    ]
    assert copy_warnings({"generated": hashes(concatenate([showers, empty]))}) == []
    assert copy_warnings({"generated": np.repeat(given[:10], 10)})[0].startswith(f"{ALARM}90 of the 100 generated")
    assert copy_warnings({"reference": hashes(showers), "generated": hashes(empty)}) == [
        f"{ALARM}all of the 20 generated showers are empty: no number says anything about a model"
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
    assert memory.sentence.startswith("no sign of memorising: among 200 training and 200 reference showers")


def test_a_reference_with_a_quarter_of_the_training_showers_is_none() -> None:
    """They differ by less than distances are known; resampled medians of their distances would be 0."""
    training, reference, fresh = samples(200, 3)
    for number, refused in ((40, False), (130, True)):
        mixed = concatenate([reference, training[:number]])
        if refused:
            with pytest.raises(DataFormatError, match="must differ from the training showers"):
                find_memory(training, mixed, fresh, 1.0, 1)
        else:
            assert np.isfinite(find_memory(training, mixed, fresh, 1.0, 1).distance.error)


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


def hashes_of(samples: dict[str, Sample]) -> dict[str, np.ndarray]:
    return {name: sample.hashes for name, sample in samples.items() if sample.hashes is not None}


def found_in(training: Showers | None, seed: int = 1, **showers: Showers) -> tuple[list[str], dict[str, Value]]:
    """What `judge_copies` says of a reference, generated showers and a second reference."""
    named = {name.replace("_", " "): item for name, item in showers.items()}
    first = sample_of(named["reference"])
    known = {name: sample_of(item, reference=first) for name, item in named.items()}
    learned = None if training is None else (training, hashes(training))
    warnings, memories = judge_copies(hashes_of(known), named, learned, 1.0, seed)
    return warnings, memories["generated"].numbers if memories else {}


def test_a_copy_of_the_second_reference_is_called_one() -> None:
    reference, second, fresh = samples(200, 1)
    warnings, _ = found_in(None, reference=reference, second_reference=second, generated=second[::-1])
    assert warnings == [
        f"{ALARM}200 of the 200 generated showers are showers of the second reference: they are copies, so "
        "that all numbers describe their originals"
    ]
    assert found_in(None, reference=reference, second_reference=second, generated=fresh) == ([], {})
    (warning,), _ = found_in(None, reference=reference, second_reference=reference, generated=fresh)
    assert warning.startswith(f"{ALARM}200 of the 200 second reference showers are showers of the reference")


def to_mantissa(energies: np.ndarray, bits: int) -> np.ndarray:
    mantissas, exponents = np.frexp(energies)
    return np.ldexp(np.round(mantissas * 2**bits) / 2**bits, exponents)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "GeV and back": lambda energies: (energies / np.float32(1000)) * np.float32(1000),
    "float16": lambda energies: energies.clip(max=60_000).astype(np.float16),
    "12 bits": lambda energies: to_mantissa(energies, 12),
    "one part in a million": lambda energies: energies * np.float32(1.000001),
    "1 %": lambda energies: energies * np.random.default_rng(1).normal(1, 0.01, energies.shape),
}


def number_equal(first: Showers, second: Showers) -> int:
    return int(np.isin(hashes(first), hashes(second)).sum())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("number", [100, 1000])
def test_a_copy_that_was_rounded_or_converted_is_called_one(
    change: Callable[[np.ndarray], np.ndarray], number: int
) -> None:
    reference, second, fresh = samples(number, 4)
    for original in (reference, second):
        order = np.random.default_rng(2).permutation(number)
        copy = replace(original, energies=change(original.energies).astype(np.float32))[order]
        (warning,), _ = found_in(None, reference=reference, second_reference=second, generated=copy)
        name = "reference" if original is reference else "second reference"
        assert warning.startswith(ALARM)
        assert f"generated showers are showers of the {name}" in warning
        assert "changed a little" in warning or number_equal(copy, original) > number / 2
    copy = replace(reference, energies=change(reference.energies).astype(np.float32))
    warnings, _ = found_in(None, reference=reference, second_reference=copy, generated=fresh)
    assert any("second reference showers are showers of the reference" in warning for warning in warnings)
    warnings, numbers = found_in(copy, reference=reference, generated=fresh)
    assert numbers == {}
    assert "give a reference that was not trained on" in warnings[0]
    assert not any(warning.startswith("no sign") for warning in warnings)


def collapsed(showers: Showers, kind: str, seed: int) -> Showers:
    """The mean shower of each incident energy, with or without 1 % of noise, or one or three of its showers."""
    energies, rng = showers.energies.copy(), np.random.default_rng(seed)
    for energy in np.unique(showers.incident_energies):
        rows = np.flatnonzero(showers.incident_energies == energy)
        few = rng.choice(rows, {"one": 1, "three": 3}.get(kind, len(rows)))
        energies[rows] = energies[rng.choice(few, len(rows))] if len(few) < 4 else energies[rows].mean(axis=0)
        if kind == "noisy mean":
            energies[rows] *= rng.normal(1, 0.01, (len(rows), 1)).astype(np.float32)
    return replace(showers, energies=energies)


@pytest.mark.parametrize("number", [60, 200, 1000, 3000])
@pytest.mark.parametrize("kind", ["independent", "mean", "noisy mean", "one", "three"])
def test_neither_honest_nor_collapsed_models_are_called_copies(number: int, kind: str) -> None:
    """An independent sample has more than 0 once in 30,000 times; the alarm needs 0.5."""
    for seed in range(4):
        reference, generated = (make_showers(TINY_VOXELS, number, 100 + 2 * seed + part) for part in range(2))
        if kind != "independent":
            generated = collapsed(generated, kind, seed)
        assert near_copies(generated, reference, 1.0, seed) == 0


def test_of_a_large_original_some_showers_are_enough() -> None:
    """A third of the original is in memory: a third of the copies have their original there."""
    original = make_showers(TINY_VOXELS, 1500, 3)
    copy = replace(original, energies=original.energies * np.float32(1.0001))
    known = {"reference": sample_of(original), "generated": sample_of(copy)}
    for drawn, message in ((slice(500, 1000), "about "), (slice(0, 500), "about 100 %")):
        showers = {"reference": original[:500], "generated": copy[np.arange(1500)[drawn]]}
        found, _ = judge_copies(hashes_of(known), showers, None, 1.0, 1)
        assert (found == []) == (drawn.start == 500), message
    rng = np.random.default_rng(1)
    showers = {"reference": original[:500], "generated": copy[rng.permutation(1500)[:500]]}
    assert judge_copies(hashes_of(known), showers, None, 1.0, 1)[0][0].startswith(f"{ALARM}about ")


def test_no_verdict_where_the_reference_was_trained_on() -> None:
    training, _, fresh = samples(300, 8)
    for reference in (training, training[::-1], training[:100]):
        warnings, numbers = found_in(training, reference=reference, generated=fresh)
        assert warnings[0] == (
            f"{ALARM}{len(reference)} of the {len(reference)} reference showers are showers of the training file: give "
            "a reference that was not trained on"
        )
        assert numbers == {}
        assert warnings[-1].startswith("memory left out: reference must have 50 showers or more")
        assert not any(warning.startswith("no sign") for warning in warnings)


def test_a_training_file_that_holds_half_of_the_reference_is_remembered_nevertheless() -> None:
    training, other, fresh = samples(300, 9)
    reference = concatenate([training[:150], other[:150]])
    noise = np.random.default_rng(1).normal(1, 0.01, training.energies.shape).astype(np.float32)
    for generated in (training[::-1], replace(training, energies=training.energies * noise)):
        warnings, numbers = found_in(training, reference=reference, generated=generated)
        assert numbers["remembered"].value > 0.9
        assert any(text.startswith(f"{ALARM}the model remembers its training file: among 300") for text in warnings)
        assert any(
            "150 of the 300 reference showers are showers of the training file: give" in item for item in warnings
        )
    warnings, numbers = found_in(training, reference=reference, generated=fresh)
    assert abs(numbers["remembered"].value) < 4 * numbers["remembered"].error
    assert numbers["training_distance"].value == pytest.approx(1, abs=0.2)


def test_ties_and_empty_showers_are_no_evidence() -> None:
    """Half of the showers of each file are empty, or one of three that all have: remembered is 0 within chance."""
    training, reference, fresh = samples(300, 11)
    common = make_showers(TINY_VOXELS, 600, 12).at(2.0**12)[:3]
    parts = []
    for item in (training, reference, fresh):
        empty = replace(item[:300], energies=0 * item.energies[:300])
        parts.append(concatenate([item, empty, *[common[np.arange(60) % 3]]]))
    _, numbers = found_in(parts[0], reference=parts[1], generated=parts[2])
    assert abs(numbers["remembered"].value) < 4 * numbers["remembered"].error
    memory = find_memory(*(concatenate([part, common[np.arange(60) % 3]]) for part in samples(300, 13)), 1.0, 1)
    assert abs(memory.remembered.value) < 4 * memory.remembered.error


def test_more_empty_showers_than_the_reference_has_are_warned_of() -> None:
    def some(empty: int, total: int) -> np.ndarray:
        return np.concatenate([np.zeros(empty, np.uint64), np.arange(1, total - empty + 1, dtype=np.uint64)])

    given = some(10, 1000) + np.uint64(2000) * (some(10, 1000) > 0)
    assert copy_warnings({"reference": some(990, 1000), "generated": given}) == []
    assert copy_warnings({"reference": some(5, 1000), "generated": given}) == []
    most = np.where(np.arange(1000) < 990, 0, given)
    assert copy_warnings({"reference": some(0, 1000), "generated": most}) == [
        f"{ALARM}990 of the 1,000 generated showers are empty, 0 of the 1,000 reference showers: no number says much "
        "about a model"
    ]
    more = np.where(np.arange(1000) < 60, 0, given)
    assert copy_warnings({"reference": some(5, 1000), "generated": more}) == [
        "60 of the 1,000 generated showers are empty, 5 of the 1,000 reference showers"
    ]
    rng = np.random.default_rng(1)
    chance = [
        copy_warnings({"reference": rng.random(300) > 0.1, "generated": rng.random(700) > 0.1}) for _ in range(50)
    ]
    assert not any("are empty, " in text for found in chance for text in found), "once in 600 such tests"
