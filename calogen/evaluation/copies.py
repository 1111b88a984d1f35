"""Finds showers that are copies of one another, of the reference or of training showers.

Equal showers are found by hashes, which fit into memory for files of any size. Nearest neighbours tell copies that were
rounded or converted to another unit, and models that remember training showers without copying them exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from scipy.stats import hypergeom

from calogen.errors import DataFormatError
from calogen.metrics.distances import log_filled_voxels, squared_distances
from calogen.metrics.distributions import Value
from calogen.showers.labels import energy_places, match_shares
from calogen.showers.sample import Showers

ALARM = "ATTENTION: "
"""Begins a warning after which no number says anything about the model."""
_ALARM_SHARE = 0.5  # of a file's showers: if more of them are copies or empty, the warning is an alarm
_MAX_NEIGHBOURS, _MAX_VALUES = 10_000, 2**25  # showers of a sample, and their voxels, that are compared at a time
_FEWEST = 50  # showers that a sample must have for nearest neighbours to be compared
_ALARM_DEVIATIONS = 4.0  # standard errors: a model that remembers nothing is beyond them once in 30,000 times
_FALSE_ALARMS = 3e-5  # the same probability, where it is computed
_RESAMPLINGS = 50  # for the error of a ratio of medians
_HELD_OUT = 0.25  # share of the reference's showers that may equal training showers
_ROUNDING = 1e-12  # of the largest square: more than rounding changes a squared distance
_QUERIES = 500  # showers whose originals are looked for
_NEAR = 0.1  # of the usual distance: closer is a changed copy; of real showers with ten voxels, one in 1000 is closer
_FEWEST_ORIGINALS = 10  # a model of fewer different showers has collapsed, and may be close to some by chance
_NOT_TRAINED_ON = "give a reference that was not trained on"
_CALLED = {"training": "training file"}  # what warnings call samples, if not by name
_ARE_COPIES = "they are copies, so that all numbers describe their originals"


def hash_showers(energies: np.ndarray, min_energy: float) -> np.ndarray:
    """Hashes of showers, `[n]`: equal for equal showers, in every process; 0 for empty ones.

    Args:
        energies: `[n, v]`, MeV; compared in single precision.
        min_energy: voxels below it count as empty, MeV.
    """
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(np.where(energies >= np.float64(min_energy), energies, 0), np.float32)
    digests = b"".join(blake2b(row, digest_size=8).digest() for row in rows)
    hashes = np.frombuffer(digests, np.uint64).copy()
    hashes[~rows.any(axis=1)] = 0
    return hashes


def copy_warnings(
    hashes: Mapping[str, np.ndarray], originals: tuple[str, ...] = ("reference", "second reference")
) -> list[str]:
    """Warnings about copies and empty showers; those that begin with `ALARM` come first.

    Args:
        hashes: by sample, of all its showers (`hash_showers`).
        originals: samples whose showers no other sample should hold. A sample that is itself one of these is compared
            only with those before it.
    """
    warnings = []
    for name, digests in hashes.items():
        filled, text = digests[digests > 0], f"{len(digests):,} {name} showers"
        empty = len(digests) - len(filled)
        if not len(filled):
            warnings.append(f"{ALARM}all of the {text} are empty: no number says anything about a model")
            continue
        warnings += _too_many_empty(text, digests, hashes.get("reference", digests))
        repeated = len(filled) - len(np.unique(filled))
        uncounted = f" ({empty:,} empty ones are not counted)" if empty > 1 else ""
        if repeated:
            alarm = ALARM if repeated > _ALARM_SHARE * len(filled) else ""
            warnings.append(f"{alarm}{repeated:,} of the {text} repeat another one of them{uncounted}")
        for other in _originals_of(name, originals, hashes):
            copied = int(np.isin(filled, hashes[other][hashes[other] > 0]).sum())
            alarm = ALARM if copied > _ALARM_SHARE * len(filled) else ""
            spoilt = name in originals and other == "training"
            remedy = f": {_NOT_TRAINED_ON}" if spoilt else f": {_ARE_COPIES}" if alarm else ""
            if copied:
                rest = f"{uncounted}{remedy}"
                warnings.append(f"{alarm}{copied:,} of the {text} are showers of the {_CALLED.get(other, other)}{rest}")
    return _sorted(warnings)


def near_copies(sample: Showers, original: Showers, min_energy: float, seed: int) -> float:
    """Share of a sample's showers that are copies of an original's, changed a little.

    Up to 500 showers of the sample, and as many of the original itself, are looked up among the original's other
    showers. Close is a nearest neighbour at a tenth of the median distance that the original's own showers have. The
    share is that of close showers of the sample beyond that of the original's own; it is 0 if chance explains it (which
    is wrong once in 30,000 times), or if fewer than ten of the original's showers are neighbours: the model collapsed.

    Args:
        sample, original: showers of one geometry.
        min_energy: voxels below it count as empty, MeV.
        seed: of the choice of showers that are looked up.

    Returns:
        Up to 1; 0 if the sample or the original has fewer than 50 showers that are not empty.

    Source: ours. Under the null hypothesis, both kinds of showers are as likely to be close: a hypergeometric test.
    """
    rng = np.random.default_rng(seed)
    try:
        sample, original = (_filled("showers", item, min_energy) for item in (sample, original))
        sample = sample[energy_places(original.incident_energies, sample.incident_energies) >= 0]
        own = match_shares(sample.incident_energies, original.incident_energies, seed)
    except DataFormatError:  # too few showers, or none at the same energies
        return 0.0
    own = rng.permutation(own)[: min(_QUERIES, len(original) // 4)]
    pool, step = np.setdiff1d(np.arange(len(original)), own), _num_compared(original)
    looked_up = sample.energies[rng.permutation(len(sample))[:_QUERIES]]
    queries = log_filled_voxels(np.concatenate([original.energies[own], looked_up]), min_energy)
    distances, neighbours = np.full(len(queries), np.inf), np.zeros(len(queries), np.intp)
    for start in range(0, len(pool), step):
        rows = pool[start : start + step]
        closest, indices = _nearest(queries, log_filled_voxels(original.energies[rows], min_energy))
        neighbours = np.where(closest < distances, rows[indices], neighbours)
        distances = np.minimum(closest, distances)
    close = distances < _NEAR * np.median(distances[: len(own)])
    of_original, of_sample = close[: len(own)], close[len(own) :]
    chance = hypergeom.sf(of_sample.sum() - 1, len(close), close.sum(), len(of_sample))
    if chance > _FALSE_ALARMS or len(np.unique(neighbours[len(own) :][of_sample])) < _FEWEST_ORIGINALS:
        return 0.0
    return min(1.0, float(of_sample.mean() - of_original.mean()) * len(original) / len(pool))


def judge_copies(
    hashes: Mapping[str, np.ndarray],
    showers: Mapping[str, Showers],
    training: tuple[Showers, np.ndarray] | None,
    min_energy: float,
    seed: int,
) -> tuple[list[str], dict[str, "Memory"]]:
    """Warnings about copies, and each model's `Memory` of its training showers by sample.

    Args:
        hashes: by sample, of all its showers, with this `min_energy`: `reference`, `second reference` if there is one,
            and generated samples.
        showers: by sample, all or some of its showers.
        training: showers that the models were trained on, and hashes of all of them; None: they are not known.
        min_energy: voxels or cells below it count as empty, MeV.
        seed: of the choice of showers that are compared.
    """
    originals: tuple[str, ...] = ("reference", "second reference")
    if training is not None:
        originals, hashes = ("training", *originals), {**hashes, "training": training[1]}
        showers = {**showers, "training": training[0]}
    near = _near_copy_warnings(showers, hashes, originals, min_energy, seed)
    warnings, left_out, memories = [*near, *copy_warnings(hashes, originals)], [], {}
    if training is not None:
        trained_on_reference = any(_NOT_TRAINED_ON in text for text in near)
        for name in [item for item in showers if item not in originals]:
            try:
                if trained_on_reference:
                    raise DataFormatError(f"the reference is too close to the training file ({_NOT_TRAINED_ON})")
                learned, generated = (_filled(item, showers[item], min_energy) for item in ("training", name))
                held_out = _filled("reference", showers["reference"], min_energy, training[1])
                memories[name] = find_memory(learned, held_out, generated, min_energy, seed, name)
            except DataFormatError as error:
                left_out.append(f"memory left out: {error}")
    sentences = [memory.sentence for memory in memories.values()]
    return [*_sorted([*sentences, *warnings]), *dict.fromkeys(left_out)], memories


def _near_copy_warnings(
    showers: Mapping[str, Showers],
    hashes: Mapping[str, np.ndarray],
    originals: tuple[str, ...],
    min_energy: float,
    seed: int,
) -> list[str]:
    """Alarms about copies that were changed a little; hashes find those that were not."""
    warnings = []
    for name in showers:
        for other in _originals_of(name, originals, showers):
            if name not in originals and other == "training":
                continue  # `find_memory` says more about these
            equal = np.isin(hashes[name], hashes[other]) & (hashes[name] > 0)
            if equal.sum() > _ALARM_SHARE * np.count_nonzero(hashes[name]):
                continue
            in_memory = len(showers[other]) / len(hashes[other])  # the share of the file's showers that were read
            share = near_copies(showers[name], showers[other], min_energy, seed) / in_memory
            if share > _ALARM_SHARE:
                verdict = _NOT_TRAINED_ON if other == "training" else _ARE_COPIES
                warnings.append(
                    f"{ALARM}about {100 * min(share, 1):.0f} % of the {name} showers are showers of the "
                    f"{_CALLED.get(other, other)}, changed a little, as by rounding or another unit: {verdict}"
                )
    return warnings


def _too_many_empty(text: str, hashes: np.ndarray, reference: np.ndarray) -> list[str]:
    """A warning if more showers are empty than chance allows, given the reference's share."""
    empty, expected = (len(item) - np.count_nonzero(item) for item in (hashes, reference))
    total = len(hashes) + len(reference)
    if hypergeom.sf(empty - 1, total, empty + expected, len(hashes)) > _FALSE_ALARMS:
        return []
    alarm, rest = (ALARM, ": no number says much about a model") if empty > _ALARM_SHARE * len(hashes) else ("", "")
    return [f"{alarm}{empty:,} of the {text} are empty, {expected:,} of the {len(reference):,} reference showers{rest}"]


def _originals_of(name: str, originals: tuple[str, ...], known: Mapping[str, object]) -> list[str]:
    """The samples whose showers a sample should not hold."""
    before = originals[: originals.index(name)] if name in originals else originals
    return [other for other in before if other in known]


def _filled(name: str, showers: Showers, min_energy: float, known: np.ndarray | None = None) -> Showers:
    """The showers that are not empty and whose hashes are not `known`.

    Raises:
        DataFormatError: there are fewer than 50.
    """
    hashes = hash_showers(showers.energies, min_energy)
    chosen = (hashes > 0) & ~np.isin(hashes, [] if known is None else known)
    if chosen.sum() < _FEWEST:
        which = "not empty" if known is None else f"neither empty nor of the training file ({_NOT_TRAINED_ON})"
        raise DataFormatError(f"{name} must have {_FEWEST} showers or more that are {which}. Received: {chosen.sum()}")
    return showers[np.flatnonzero(chosen)]


def _sorted(warnings: list[str]) -> list[str]:
    return sorted(warnings, key=lambda text: not text.startswith(ALARM))


@dataclass(frozen=True)
class Memory:
    """Whether a model remembers its training showers.

    The nearest neighbour of a generated shower is looked for among training and reference showers. If the model has no
    memory, each of them is as likely as any other to be it, however good the model is.

    Args:
        remembered: 0 if neighbours are training showers as often as by chance, 1 if all of them are; its error is the
            standard deviation by chance.
        distance: median distance of the generated showers from the nearest training shower, divided by that of the
            reference showers.
        chance: share of neighbours that are training showers by chance.
        num_generated, num_training, num_reference: numbers of showers that were used.
        name: what sentences call the generated showers.
    """

    remembered: Value
    distance: Value
    chance: float
    num_generated: int
    num_training: int
    num_reference: int
    name: str = "generated"

    @property
    def numbers(self) -> dict[str, Value]:
        """The numbers that tables show, by name."""
        return {"remembered": self.remembered, "training_distance": self.distance}

    @property
    def sentence(self) -> str:
        """The verdict in words; it begins with `ALARM` if the model remembers."""
        alarm = self.remembered.value > _ALARM_DEVIATIONS * self.remembered.error
        rest = 1 - self.chance
        share, error = self.chance + rest * self.remembered.value, rest * self.remembered.error
        text = (
            f"among {self.num_training:,} training and {self.num_reference:,} reference showers, the nearest neighbour "
            f"is a training shower for {100 * share:.1f} ± {100 * error:.1f} % of {self.num_generated:,} {self.name} "
            f"showers ({100 * self.chance:.1f} % by chance); their median distance from training showers is "
            f"{self.distance.value:.3f} ± {self.distance.error:.3f} times that of the reference showers"
        )
        return f"{ALARM}the model remembers its training file: {text}" if alarm else f"no sign of memorising: {text}"


def find_memory(
    training: Showers, reference: Showers, generated: Showers, min_energy: float, seed: int, name: str = "generated"
) -> Memory:
    """Count how often generated showers are closest to a training or to a reference shower.

    Neighbours have the same incident energy; continuous energies are grouped in up to 50 bins between quantiles of the
    reference. So training and reference showers may be distributed over the energies in different shares.

    Args:
        training, reference, generated: showers of one geometry, none empty; no reference shower is a training shower.
        min_energy: voxels below it count as empty, MeV.
        seed: of the choice of showers: at most 10,000 of each sample, fewer if they have more than 3,355 voxels.
        name: what sentences call the generated showers.

    Raises:
        DataFormatError: a sample has fewer than 50 showers at the reference's incident energies.

    Source: ours. Under the null hypothesis, it is a random choice, at each energy, which of the training and reference
    showers are called training showers; its variance is known exactly.
    """
    rng = np.random.default_rng(seed)
    inputs, bins = [], []
    for kind, sample in (("reference", reference), ("training", training), (name, generated)):
        energy_bins = energy_places(reference.incident_energies, sample.incident_energies)
        chosen = rng.permutation(np.flatnonzero(energy_bins >= 0))[: _num_compared(reference)]
        if len(chosen) < _FEWEST:
            raise DataFormatError(
                f"{kind} must have {_FEWEST} showers or more at the reference's incident energies. "
                f"Received: {len(chosen)}"
            )
        inputs.append(log_filled_voxels(sample.energies[chosen], min_energy))
        bins.append(energy_bins[chosen])
    counts, distances = np.zeros((0, 4)), []
    for energy_bin in np.unique(bins[2]):
        held_out, learned, queries = (values[at == energy_bin] for values, at in zip(inputs, bins, strict=True))
        if len(learned) and len(held_out):
            (to_training, first), (to_reference, second) = (_nearest(queries, item) for item in (learned, held_out))
            sizes = np.array([len(learned), len(held_out)])
            # Of equally close showers, the first counts; their order is random: by rows and, here, by ranks.
            ranks, reference_ranks = (np.sort(rng.random(size)) for size in sizes)
            tied = (to_training == to_reference) & (ranks[first] < reference_ranks[second])
            nearer = (to_training < to_reference) | tied
            hubs = np.bincount(np.where(nearer, first, len(learned) + second))
            counts = np.vstack([counts, [nearer.sum(), *_by_chance(hubs, *sizes.tolist()), len(queries)]])
            distances.append((to_training, _nearest(held_out, learned)[0]))
    if not len(counts):
        raise DataFormatError(
            "training and generated showers must have the reference's incident energies. Received: none"
        )
    seen, expected, variance, number = counts.sum(axis=0)
    remembered = Value((seen - expected) / (number - expected), float(np.sqrt(variance)) / (number - expected))
    of_generated, of_reference = (np.concatenate(parts) for parts in zip(*distances, strict=True))
    distance = _ratio_of_medians(of_generated, of_reference, rng)
    num_reference, num_training, num_generated = map(len, inputs)
    return Memory(remembered, distance, float(expected / number), num_generated, num_training, num_reference, name)


def _by_chance(hubs: np.ndarray, num_training: int, num_reference: int) -> tuple[float, float]:
    """Mean and variance, by chance, of the number of neighbours that are training showers.

    Args:
        hubs: for each training and reference shower, how often it is the nearest; those that never are may be missing.
        num_training, num_reference: numbers of these showers.
    """
    number, total = num_training + num_reference, float(hubs.sum())
    share = num_training / number
    spread = float(np.sum(hubs.astype(np.float64) ** 2)) - total**2 / number
    return share * total, share * (1 - share) * number / (number - 1) * spread


def _nearest(queries: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest point, and the index of this point, `[n]` each.

    Distances that rounding errors explain are 0.
    """
    blocks = [(squares.min(axis=1), squares.argmin(axis=1)) for _, squares in squared_distances(queries, points)]
    squares, indices = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    unit = _ROUNDING * (1 + np.max(np.sum(queries**2, axis=1)))
    return np.sqrt(unit * np.round(squares.clip(min=0) / unit)), indices


def _num_compared(showers: Showers) -> int:
    """How many showers of this geometry are compared with others at a time."""
    return max(_FEWEST, min(_MAX_NEIGHBOURS, _MAX_VALUES // showers.geometry.size))


def _ratio_of_medians(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> Value:
    """Ratio of the medians; its error is the spread over bootstrap samples of the showers."""
    if not np.quantile(second, _HELD_OUT):  # resampled medians must not be 0 either
        raise DataFormatError("the reference's showers must differ from the training showers. Received: equal ones")
    drawn = [
        np.median(rng.choice(first, len(first))) / np.median(second[rng.integers(len(second), size=len(second))])
        for _ in range(_RESAMPLINGS)
    ]
    return Value(float(np.median(first) / np.median(second)), float(np.std(drawn, ddof=1)))
