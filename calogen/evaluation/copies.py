"""Showers that are copies of others.

Of one another, of the reference, or of the showers that a model was trained on.

Equal showers are found by hashes, which stay in memory for files of any size. Whether a model remembers its training
showers without copying them bit by bit is told by nearest neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calogen.errors import DataFormatError
from calogen.evaluation.distances import checked_pair, log_voxels, squared_distances
from calogen.evaluation.judgement import Sample
from calogen.evaluation.metrics import Value
from calogen.labels import energy_places
from calogen.showers import Showers

ALARM = "ATTENTION: "
"""How a warning begins that makes all numbers meaningless."""
_MOST = 0.5  # of a file's showers: more copies than that, and it is no model's
_MAX_NEIGHBOURS, _MAX_VALUES = 10_000, 2**25  # of each sample; voxels of one
_FEWEST = 50
_ALARM_DEVIATIONS = 4.0  # a model that remembers nothing is beyond once in 30,000 times
_RESAMPLINGS = 50


def hash_showers(energies: np.ndarray, min_energy: float) -> np.ndarray:
    """Numbers that are equal for equal showers, `[n]`; 0 for empty ones.

    Each process has its own.

    Args:
        energies: `[n, v]`, MeV; taken in single precision.
        min_energy: voxels below are empty, MeV.
    """
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(np.where(energies >= np.float64(min_energy), energies, 0), np.float32)
    found = np.fromiter((hash(row.tobytes()) for row in rows), np.int64, len(rows)).view(np.uint64)
    found[~rows.any(axis=1)] = 0
    return found


def copy_warnings(hashes: Mapping[str, np.ndarray], originals: tuple[str, ...] = ("reference",)) -> list[str]:
    """What a reader has to know of copies among showers.

    The worst begins with `ALARM` and comes first.

    Args:
        hashes: of all showers of each sample, by name (`hash_showers`).
        originals: samples whose showers no other one should hold.
    """
    found = []
    for name, given in hashes.items():
        filled, text = given[given > 0], f"{len(given):,} {name} showers"
        empty = len(given) - len(filled)
        if not len(filled):
            found.append(f"{ALARM}all of the {text} are empty: no number says anything of a model")
            continue
        repeated = len(filled) - len(np.unique(filled))
        but = f" ({empty:,} empty ones are not counted)" if empty > 1 else ""
        if repeated:
            alarm = ALARM if repeated > _MOST * len(filled) else ""
            found.append(f"{alarm}{repeated:,} of the {text} repeat others of them{but}")
        for other in originals:
            if other == name or other not in hashes:
                continue
            known = int(np.isin(filled, hashes[other][hashes[other] > 0]).sum())
            if known > _MOST * len(filled):
                found.append(
                    f"{ALARM}{known:,} of the {text} are showers of the {other}{but}: they are a copy, and what is "
                    "found is what their original has"
                )
            elif known:
                found.append(f"{known:,} of the {text} are showers of the {other}{but}")
    return sorted(found, key=lambda text: not text.startswith(ALARM))


def judge_copies(
    samples: Mapping[str, Sample],
    reference: Showers,
    generated: Showers,
    training: tuple[Showers, np.ndarray] | None,
    seed: int,
) -> tuple[list[str], dict[str, Value]]:
    """What a reader has to know of copies and changes, and the numbers of `Memory`.

    Args:
        samples: by name: `reference`, `generated` and, if there is one, `second reference`.
        reference, generated: showers of these.
        training: showers that the model was trained on, and hashes of all of them; None: not known.
        seed: of the showers that are compared.
    """
    hashes = {name: sample.hashes for name, sample in samples.items() if sample.hashes is not None}
    notes = [f"{name}: {note}" for name, sample in samples.items() for note in sample.notes]
    if training is None:
        return [*copy_warnings(hashes), *notes], {}
    found = copy_warnings(hashes | {"training": training[1]}, ("training", "reference"))
    try:
        memory = find_memory(training[0], reference, generated, samples["reference"].min_energy, seed)
    except DataFormatError as error:
        return [*found, *notes, f"memory left out: {error}"], {}
    found = sorted([memory.sentence, *found], key=lambda text: not text.startswith(ALARM))
    return [*found, *notes], {"remembered": memory.remembered, "training_distance": memory.distance}


@dataclass(frozen=True)
class Memory:
    """Whether a model remembers its training showers.

    Without memory, each of the training and reference showers is as likely as any other to be a generated shower's
    nearest neighbour, however good the model is.

    Args:
        remembered: 0 where the nearest neighbours are training showers as often as chance has it, 1 where all are; its
            error is that of chance.
        distance: median distance of generated showers to the nearest training shower, divided by that of reference
            showers.
        chance: share of nearest neighbours that are training showers by chance.
        num_generated, num_training, num_reference: how many were used.
    """

    remembered: Value
    distance: Value
    chance: float
    num_generated: int
    num_training: int
    num_reference: int

    @property
    def sentence(self) -> str:
        """The verdict; it begins with `ALARM` where the model remembers."""
        alarm = self.remembered.value > _ALARM_DEVIATIONS * self.remembered.error
        rest = 1 - self.chance
        share, error = self.chance + rest * self.remembered.value, rest * self.remembered.error
        text = (
            f"among {self.num_training:,} showers of training and {self.num_reference:,} of the reference, the nearest "
            f"neighbour of {self.num_generated:,} generated ones is of training in {100 * share:.1f} ± "
            f"{100 * error:.1f} % ({100 * self.chance:.1f} % by chance); their median distance from training is "
            f"{self.distance.value:.3f} ± {self.distance.error:.3f} of the reference's"
        )
        return f"{ALARM}the model remembers its training file: {text}" if alarm else f"no sign of memorising: {text}"


def find_memory(training: Showers, reference: Showers, generated: Showers, min_energy: float, seed: int) -> Memory:
    """Compare generated showers' nearest neighbours in training file and reference.

    Neighbours are looked for at the same incident energy: of continuous ones, in up to 50 bins between quantiles of the
    reference. So the two files may have other shares of energies.

    Args:
        training, reference, generated: showers of one geometry; the reference's are not among the training's.
        min_energy: voxels below are empty, MeV.
        seed: of the showers that are used: at most 10,000 of each sample, fewer of more than 3,355 voxels.

    Raises:
        DataFormatError: fewer than 50 showers in one of the samples, or at the reference's incident energies.

    Source: ours. Under the null hypothesis, which of the pooled showers are training showers is a random choice at each
    energy, whose variance is exact.
    """
    most = max(_FEWEST, min(_MAX_NEIGHBOURS, _MAX_VALUES // reference.geometry.size))
    rng = np.random.default_rng(seed)
    rows, places = [], []
    for sample in (training, reference, generated):
        place = energy_places(reference.incident_energies, sample.incident_energies)
        chosen = np.sort(rng.permutation(np.flatnonzero(place >= 0))[:most])
        energies = sample.energies[chosen]
        rows.append(log_voxels(np.where(energies >= np.float64(min_energy), energies, 0)))
        places.append(place[chosen])
    for others in rows[1:]:
        checked_pair(rows[0], others, _FEWEST)
    found, distances = np.zeros((0, 4)), []
    for place in np.unique(places[2]):
        learned, held_out, queries = (values[at == place] for values, at in zip(rows, places, strict=True))
        if len(learned) and len(held_out):
            (to_training, first), (to_reference, second) = (_nearest(queries, item) for item in (learned, held_out))
            nearer, sizes = to_training < to_reference, np.array([len(learned), len(held_out)])
            hubs = np.bincount(np.where(nearer, first, len(learned) + second))
            found = np.vstack([found, [nearer.sum(), *_chance(hubs, *sizes.tolist()), len(queries)]])
            distances.append((to_training, _nearest(held_out, learned)[0]))
    if not len(found):
        raise DataFormatError(
            "training and generated showers must have the reference's incident energies. Received: none"
        )
    seen, expected, variance, number = found.sum(axis=0)
    remembered = Value((seen - expected) / (number - expected), float(np.sqrt(variance)) / (number - expected))
    ours, theirs = (np.concatenate(parts) for parts in zip(*distances, strict=True))
    distance = _ratio_of_medians(ours, theirs, rng)
    return Memory(remembered, distance, float(expected / number), *map(len, (rows[2], rows[0], rows[1])))


def _chance(hubs: np.ndarray, num_training: int, num_reference: int) -> tuple[float, float]:
    """Mean and variance of the number of nearest neighbours that train, by chance.

    Args:
        hubs: of how many showers each pooled one is the nearest, those of none may be missing.
        num_training, num_reference: in the pool.
    """
    number, total = num_training + num_reference, float(hubs.sum())
    share = num_training / number
    spread = float(np.sum(hubs.astype(np.float64) ** 2)) - total**2 / number
    return share * total, share * (1 - share) * number / (number - 1) * spread


def _nearest(queries: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest point, and which one that is, `[n]` each."""
    found = [(squares.min(axis=1), squares.argmin(axis=1)) for _, squares in squared_distances(queries, points)]
    squares, places = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return np.sqrt(squares.clip(min=0)), places


def _ratio_of_medians(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> Value:
    """Median / median, and its spread as the showers are drawn again."""
    if not np.median(second):
        raise DataFormatError("the reference's showers must differ from the training showers. Received: equal ones")
    drawn = [
        np.median(rng.choice(first, len(first))) / np.median(second[rng.integers(len(second), size=len(second))])
        for _ in range(_RESAMPLINGS)
    ]
    return Value(float(np.median(first) / np.median(second)), float(np.std(drawn, ddof=1)))
