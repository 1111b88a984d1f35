"""Showers that are copies of others.

Of one another, of the reference, or of the showers that a model was trained on.

Equal showers are found by hashes, which stay in memory for files of any size. Copies that were rounded or converted,
and models that remember their training showers without copying them bit by bit, are told by nearest neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

from calogen.errors import DataFormatError
from calogen.metrics.distances import log_voxels, squared_distances
from calogen.metrics.distributions import Value
from calogen.showers.labels import energy_places, match_shares
from calogen.showers.sample import Showers

ALARM = "ATTENTION: "
"""How a warning begins that makes all numbers meaningless."""
_MOST = 0.5  # of a file's showers: more copies than that, and it is no model's
_MAX_NEIGHBOURS, _MAX_VALUES = 10_000, 2**25  # of each sample; voxels of one
_FEWEST = 50
_ALARM_DEVIATIONS = 4.0  # a model that remembers nothing is beyond once in 30,000 times
_CHANCE = 3e-5  # the same for empty showers
_RESAMPLINGS = 50
_ROUNDING = 1e-12  # of the largest square: more than rounding changes a squared distance
_QUERIES = 500  # showers whose originals are looked for
_NEAR = 0.1  # of the usual distance: a changed copy; real showers of ten voxels are that close once in a thousand times
_FEWEST_ORIGINALS = 10  # a model of fewer different showers has collapsed, and may be close to some by chance
_NOT_TRAINED_ON = "give a reference that was not trained on"
_ARE_COPIES = "they are a copy, and what is found is what their original has"


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


def copy_warnings(
    hashes: Mapping[str, np.ndarray], originals: tuple[str, ...] = ("reference", "second reference")
) -> list[str]:
    """What a reader has to know of copies and empty showers.

    The worst begins with `ALARM` and comes first.

    Args:
        hashes: of all showers of each sample, by name (`hash_showers`).
        originals: samples whose showers no other one should hold; of these themselves, each but those before it.
    """
    found = []
    for name, given in hashes.items():
        filled, text = given[given > 0], f"{len(given):,} {name} showers"
        empty = len(given) - len(filled)
        if not len(filled):
            found.append(f"{ALARM}all of the {text} are empty: no number says anything of a model")
            continue
        found += _too_many_empty(text, given, hashes.get("reference", given))
        repeated = len(filled) - len(np.unique(filled))
        but = f" ({empty:,} empty ones are not counted)" if empty > 1 else ""
        if repeated:
            alarm = ALARM if repeated > _MOST * len(filled) else ""
            found.append(f"{alarm}{repeated:,} of the {text} repeat others of them{but}")
        for other in _originals_of(name, originals, hashes):
            known = int(np.isin(filled, hashes[other][hashes[other] > 0]).sum())
            most = known > _MOST * len(filled)
            remedy = f": {_NOT_TRAINED_ON}" if name in originals and other == "training" else ""
            remedy = remedy or (f": {_ARE_COPIES}" if most else "")
            if known:
                found.append(f"{ALARM if most else ''}{known:,} of the {text} are showers of the {other}{but}{remedy}")
    return _sorted(found)


def near_copies(given: Showers, original: Showers, min_energy: float, seed: int) -> float:
    """Share of showers that are an original's, but for small changes.

    That is the share of them for which a shower of the original is ten times as close as for the original's own showers
    in the median, beyond the share of these. Of both, up to 500 are looked up among all others of the original. It is 0
    where chance explains it: where no shower is a copy, it is more once in 30,000 times. A model that is close to fewer
    than ten of the original's showers has collapsed; 0 for it, too.

    Args:
        given, original: showers of one geometry.
        min_energy: voxels below are empty, MeV.
        seed: of the showers that are looked up.

    Returns:
        Up to 1; 0 where one of the samples has fewer than 50 showers that are not empty.

    Source: ours. Under the null hypothesis, both kinds of showers are as likely to be close: a hypergeometric test.
    """
    rng = np.random.default_rng(seed)
    try:
        given, original = (_filled("showers", item, min_energy) for item in (given, original))
        given = given[energy_places(original.incident_energies, given.incident_energies) >= 0]
        own = match_shares(given.incident_energies, original.incident_energies, seed)
    except DataFormatError:  # too few showers, or none at the same energies
        return 0.0
    own = rng.permutation(own)[: min(_QUERIES, len(original) // 4)]
    pool, step = np.setdiff1d(np.arange(len(original)), own), _most(original)
    looked_up = given.energies[rng.permutation(len(given))[:_QUERIES]]
    queries = _log_voxels(np.concatenate([original.energies[own], looked_up]), min_energy)
    distances, places = np.full(len(queries), np.inf), np.zeros(len(queries), np.intp)
    for start in range(0, len(pool), step):
        rows = pool[start : start + step]
        closest, place = _nearest(queries, _log_voxels(original.energies[rows], min_energy))
        places = np.where(closest < distances, rows[place], places)
        distances = np.minimum(closest, distances)
    near = distances < _NEAR * np.median(distances[: len(own)])
    theirs, ours = near[: len(own)], near[len(own) :]
    chance = hypergeom.sf(ours.sum() - 1, len(near), near.sum(), len(ours))
    if chance > _CHANCE or len(np.unique(places[len(own) :][ours])) < _FEWEST_ORIGINALS:
        return 0.0
    return min(1.0, float(ours.mean() - theirs.mean()) * len(original) / len(pool))


def judge_copies(
    hashes: Mapping[str, np.ndarray],
    showers: Mapping[str, Showers],
    training: tuple[Showers, np.ndarray] | None,
    min_energy: float,
    seed: int,
) -> tuple[list[str], dict[str, "Memory"]]:
    """What a reader has to know of copies, and what is found of each model's memory, by name.

    Args:
        hashes: of all showers by name: `reference`, `second reference` if there is one; all others are generated.
        showers: of these, all or some.
        training: showers that the models were trained on, and hashes of all of them; None: not known.
        min_energy: voxels or cells below are empty, MeV; the hashes are of those above.
        seed: of the showers that are compared.
    """
    originals: tuple[str, ...] = ("reference", "second reference")
    if training is not None:
        originals, hashes = ("training", *originals), {**hashes, "training": training[1]}
        showers = {**showers, "training": training[0]}
    near = _near_copy_warnings(showers, hashes, originals, min_energy, seed)
    found, left_out, memories = [*near, *copy_warnings(hashes, originals)], [], {}
    if training is not None:
        spoilt = any(_NOT_TRAINED_ON in text for text in near)
        for name in [item for item in showers if item not in originals]:
            try:
                if spoilt:
                    raise DataFormatError(f"the reference is too close to the training file ({_NOT_TRAINED_ON})")
                learned, generated = (_filled(item, showers[item], min_energy) for item in ("training", name))
                held_out = _filled("reference", showers["reference"], min_energy, training[1])
                memories[name] = find_memory(learned, held_out, generated, min_energy, seed, name)
            except DataFormatError as error:
                left_out.append(f"memory left out: {error}")
    sentences = [memory.sentence for memory in memories.values()]
    return [*_sorted([*sentences, *found]), *dict.fromkeys(left_out)], memories


def _near_copy_warnings(
    showers: Mapping[str, Showers],
    hashes: Mapping[str, np.ndarray],
    originals: tuple[str, ...],
    min_energy: float,
    seed: int,
) -> list[str]:
    """Alarms of copies that were changed a little; hashes find the equal ones."""
    found = []
    for name in showers:
        for other in _originals_of(name, originals, showers):
            if name not in originals and other == "training":
                continue  # `find_memory` tells more
            equal = np.isin(hashes[name], hashes[other]) & (hashes[name] > 0)
            if equal.sum() > _MOST * np.count_nonzero(hashes[name]):
                continue
            looked_at = len(showers[other]) / len(hashes[other])  # of a large file, some showers are in memory
            share = near_copies(showers[name], showers[other], min_energy, seed) / looked_at
            if share > _MOST:
                verdict = _NOT_TRAINED_ON if other == "training" else _ARE_COPIES
                found.append(
                    f"{ALARM}about {100 * min(share, 1):.0f} % of the {name} showers are showers of the {other}, "
                    f"changed a little, as by rounding or another unit: {verdict}"
                )
    return found


def _too_many_empty(text: str, given: np.ndarray, reference: np.ndarray) -> list[str]:
    """A warning, if more showers are empty than in the reference and than chance allows."""
    empty, expected = (len(item) - np.count_nonzero(item) for item in (given, reference))
    total = len(given) + len(reference)
    if hypergeom.sf(empty - 1, total, empty + expected, len(given)) > _CHANCE:
        return []
    alarm, rest = (ALARM, ": no number says much of a model") if empty > _MOST * len(given) else ("", "")
    return [f"{alarm}{empty:,} of the {text} are empty, {expected:,} of the {len(reference):,} reference showers{rest}"]


def _originals_of(name: str, originals: tuple[str, ...], known: Mapping[str, object]) -> list[str]:
    """The samples whose showers a sample should not hold."""
    before = originals[: originals.index(name)] if name in originals else originals
    return [other for other in before if other in known]


def _filled(name: str, showers: Showers, min_energy: float, known: np.ndarray | None = None) -> Showers:
    """The showers that are neither empty nor among those of known hashes.

    Raises:
        DataFormatError: fewer than 50.
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

    Without memory, each of the training and reference showers is as likely as any other to be a generated shower's
    nearest neighbour, however good the model is.

    Args:
        remembered: 0 where the nearest neighbours are training showers as often as chance has it, 1 where all are; its
            error is that of chance.
        distance: median distance of generated showers to the nearest training shower, divided by that of reference
            showers.
        chance: share of nearest neighbours that are training showers by chance.
        num_generated, num_training, num_reference: how many were used.
        name: of the generated showers.
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
        """What tables show."""
        return {"remembered": self.remembered, "training_distance": self.distance}

    @property
    def sentence(self) -> str:
        """The verdict; it begins with `ALARM` where the model remembers."""
        alarm = self.remembered.value > _ALARM_DEVIATIONS * self.remembered.error
        rest = 1 - self.chance
        share, error = self.chance + rest * self.remembered.value, rest * self.remembered.error
        text = (
            f"among {self.num_training:,} showers of training and {self.num_reference:,} of the reference, the nearest "
            f"neighbour of {self.num_generated:,} {self.name} ones is of training in {100 * share:.1f} ± "
            f"{100 * error:.1f} % ({100 * self.chance:.1f} % by chance); their median distance from training is "
            f"{self.distance.value:.3f} ± {self.distance.error:.3f} of the reference's"
        )
        return f"{ALARM}the model remembers its training file: {text}" if alarm else f"no sign of memorising: {text}"


def find_memory(
    training: Showers, reference: Showers, generated: Showers, min_energy: float, seed: int, name: str = "generated"
) -> Memory:
    """Compare generated showers' nearest neighbours in training file and reference.

    Neighbours are looked for at the same incident energy: of continuous ones, in up to 50 bins between quantiles of the
    reference. So the two files may have other shares of energies.

    Args:
        training, reference, generated: showers of one geometry, none empty; no reference shower is a training shower.
        min_energy: voxels below are empty, MeV.
        seed: of the showers that are used: at most 10,000 of each sample, fewer of more than 3,355 voxels.
        name: what sentences call the generated showers.

    Raises:
        DataFormatError: fewer than 50 showers in one of the samples, or at the reference's incident energies.

    Source: ours. Under the null hypothesis, which of the pooled showers are training showers is a random choice at each
    energy, whose variance is exact.
    """
    rng = np.random.default_rng(seed)
    rows, places = [], []
    for kind, sample in (("reference", reference), ("training", training), (name, generated)):
        place = energy_places(reference.incident_energies, sample.incident_energies)
        chosen = rng.permutation(np.flatnonzero(place >= 0))[: _most(reference)]  # in random order, see below
        if len(chosen) < _FEWEST:
            raise DataFormatError(
                f"{kind} must have {_FEWEST} showers or more at the reference's incident energies. "
                f"Received: {len(chosen)}"
            )
        rows.append(_log_voxels(sample.energies[chosen], min_energy))
        places.append(place[chosen])
    found, distances = np.zeros((0, 4)), []
    for place in np.unique(places[2]):
        held_out, learned, queries = (values[at == place] for values, at in zip(rows, places, strict=True))
        if len(learned) and len(held_out):
            (to_training, first), (to_reference, second) = (_nearest(queries, item) for item in (learned, held_out))
            sizes = np.array([len(learned), len(held_out)])
            # Of equally close showers, each is as likely to be the nearest as any other.
            ranks, others = (np.sort(rng.random(size)) for size in sizes)
            tied = (to_training == to_reference) & (ranks[first] < others[second])
            nearer = (to_training < to_reference) | tied
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
    return Memory(remembered, distance, float(expected / number), len(rows[2]), len(rows[1]), len(rows[0]), name)


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
    """Distance to the nearest point, and which one that is, `[n]` each.

    0 where it is less than rounding errors.
    """
    found = [(squares.min(axis=1), squares.argmin(axis=1)) for _, squares in squared_distances(queries, points)]
    squares, places = (np.concatenate(parts) for parts in zip(*found, strict=True))
    unit = _ROUNDING * (1 + np.max(np.sum(queries**2, axis=1)))
    return np.sqrt(unit * np.round(squares.clip(min=0) / unit)), places


def _most(showers: Showers) -> int:
    """How many showers are compared with others at a time."""
    return max(_FEWEST, min(_MAX_NEIGHBOURS, _MAX_VALUES // showers.geometry.size))


def _log_voxels(energies: np.ndarray, min_energy: float) -> np.ndarray:
    """What distances are taken of, `[n, v]`."""
    return log_voxels(np.where(energies >= np.float64(min_energy), energies, 0))


def _ratio_of_medians(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> Value:
    """Median / median, and its spread as the showers are drawn again."""
    if not np.median(second):
        raise DataFormatError("the reference's showers must differ from the training showers. Received: equal ones")
    drawn = [
        np.median(rng.choice(first, len(first))) / np.median(second[rng.integers(len(second), size=len(second))])
        for _ in range(_RESAMPLINGS)
    ]
    return Value(float(np.median(first) / np.median(second)), float(np.std(drawn, ddof=1)))
