"""Files of showers against a reference file: every number, and what figures need.

The histogram metrics read files of any size. Classifiers, distances and pictures need showers in memory: of larger
files, they take a random part.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from calogen.config import require
from calogen.errors import DataFormatError
from calogen.evaluation.assessment import LABEL, Assessment, of_too_few, particle_of
from calogen.evaluation.copies import judge_copies
from calogen.evaluation.criteria import CLASSIFIERS, DISTANCES, NEIGHBOURHOODS
from calogen.evaluation.judgement import OWN_BINNING, Sample, default_min_energy, judge_samples, require_comparable
from calogen.evaluation.pictures import Pictures, take_pictures
from calogen.evaluation.streaming import read_hashes, read_sample, sample_of
from calogen.evaluation.submissions import reference_warning
from calogen.metrics.distances import MIN_SHOWERS, log_voxels, physics_distances, precision_recall_density_coverage
from calogen.metrics.distributions import Value
from calogen.observables.challenge import ClassifierInput, classifier_inputs, high_level_inputs
from calogen.provenance import collect, file_record
from calogen.showers.files import Files, Reading, ShowerFile, paths_of, read_some
from calogen.showers.geometry import Geometry, require_kind
from calogen.showers.labels import require_energies
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry

KINDS: tuple[ClassifierInput, ...] = ("low", "low-normed", "high")
"""What the classifiers see."""
_LAYERS, _SHAPES = 45, {"2": (16, 9), "3": (50, 18)}  # of data sets 2 and 3: bins in alpha and r


@dataclass(frozen=True, kw_only=True)
class Options:
    """How showers are judged.

    Args:
        binning: one of the challenge's data sets, or `reference`; None: that of the geometry.
        min_energy: voxels below are empty, MeV; None: the binning's.
        repetitions: trainings of each classifier; 0: no classifier.
        trainings: file that keeps the result of each training for the next call; None: nothing is kept.
        max_showers: of each file, for what needs them in memory; None: 121,000 or 512 MiB of them.
        seed: of everything random.
        tolerant: whether files may have slightly negative voxels and rounded incident energies (`Reading`).
        match_energies: whether to leave out showers, so that energies have the reference's shares.
    """

    binning: str | None = None
    min_energy: float | None = None
    repetitions: int = 3
    trainings: Path | None = None
    max_showers: int | None = None
    seed: int = 1
    tolerant: bool = False
    match_energies: bool = False

    def __post_init__(self) -> None:
        threshold = self.min_energy
        require(threshold is None or 0 < threshold < np.inf, f"min_energy must be above 0 MeV. Received: {threshold}")
        require(self.repetitions >= 0, f"repetitions must be 0 or more. Received: {self.repetitions}")
        require((self.max_showers or 2) >= 2, f"max_showers must be 2 or more. Received: {self.max_showers}")


@dataclass(frozen=True)
class _Loaded:
    """A file's features, and some of its showers."""

    sample: Sample
    showers: Showers

    @property
    def particle(self) -> str:
        return particle_of(self.showers.geometry)

    @property
    def binning(self) -> str:
        return default_binning(self.showers.geometry)


def default_binning(geometry: Geometry) -> str:
    """The challenge's bins for its own geometries, else those of the reference."""
    particle = particle_of(geometry)
    if particle:
        return f"1-{particle}s"
    shapes = [(layer.num_alpha, layer.num_r) for layer in geometry.layers]
    return next((name for name, shape in _SHAPES.items() if shapes == [shape] * _LAYERS), OWN_BINNING)


@dataclass(frozen=True)
class Reference:
    """A reference that models are compared with, one after the other.

    Args:
        geometry: of the showers.
        options: how models are judged.
        provenance: of what is computed with it.
        warning: why places among the published models do not hold with it; empty where they do.
        first: the reference.
        second: the second reference.
        training: showers that the models were trained on, and hashes of all of them.
    """

    geometry: VoxelGeometry
    options: Options
    provenance: Mapping[str, Any]
    warning: str
    first: _Loaded
    second: _Loaded | None
    training: tuple[Showers, np.ndarray] | None = None

    @cached_property
    def floor(self) -> tuple[Mapping[str, Value], frozenset[str]]:
        """Single numbers of the second reference, found once; and why some are missing."""
        return ({}, frozenset()) if self.second is None else _numbers(self.first, self.second, self.options)


def read_reference(
    path: Files,
    geometry: VoxelGeometry,
    second_reference: Files | None = None,
    options: Options | None = None,
    training: Files | None = None,
) -> Reference:
    """Read what all models are compared with.

    Args:
        path: a file of the CaloChallenge's format; as all inputs, it may be several, which are read as one.
        geometry: of its voxels.
        second_reference: an independent file of the same kind, for the floor beside each number.
        options: how; None: by default.
        training: a file of the same kind that the models were trained on, to tell whether they remember it.

    Raises:
        CalogenError: a file that is missing, damaged or foreign; incident energies that differ; no such binning.
    """
    options = options or Options()
    given = {"reference": path, "second_reference": second_reference, "training": training}
    files = {name: paths_of(item) for name, item in given.items() if item}
    about = collect(options.seed, files) | {"options": asdict(replace(options, trainings=None))}
    first, second = _load(path, geometry, options), None
    if second_reference is not None:
        second = _load(second_reference, geometry, options, first)
        require_comparable("second_reference", first.sample, second.sample)
    learned = None
    if training is not None:
        reading = _reading(replace(options, match_energies=False), first)
        hashes = read_hashes(training, geometry, _threshold(geometry, options), reading)
        learned = read_some(training, geometry, options.max_showers, options.seed, reading), hashes
    warning = _reference_warning(paths_of(path), particle_of(geometry))
    return Reference(geometry, options, about, warning, first, second, learned)


def require_judgeable(reference: Reference, generated: Files, label: str) -> None:
    """Refuse, without reading its showers, a file or a label that `assess` would refuse.

    Raises:
        ConfigError: no label.
        CalogenError: a file that is missing, damaged or foreign; incident energies that differ.
    """
    require(
        LABEL.fullmatch(label) is not None, f"labels must be printable, without $ and not Geant4. Received: {label!r}"
    )
    with ShowerFile(generated, reference.geometry, reading=_reading(reference.options, reference.first)) as file:
        require_energies(label, reference.first.sample.incident_energies, file.incident_energies)


def assess(reference: Reference, generated: Files, label: str) -> tuple[Assessment, Pictures]:
    """Judge a file of generated showers by everything there is.

    Args:
        reference: what it is compared with.
        generated: a file of the CaloChallenge's format, or several.
        label: what tables call the model.

    Raises:
        CalogenError: a file that is missing, damaged or foreign; incident energies that differ.
    """
    require_judgeable(reference, generated, label)
    about = reference.provenance
    about = {**about, "data": {**about["data"], "generated": file_record(paths_of(generated))}}
    second = _load(generated, reference.geometry, reference.options, reference.first)
    return _assess(reference, second, label, about)


def reference_of(showers: Showers, options: Options) -> Reference:
    """What `read_reference` gives, for showers in memory, which rank for orientation only.

    Raises:
        GeometryError: they have no voxels.
    """
    geometry = require_kind(showers.geometry, VoxelGeometry, "showers to judge must have voxels")
    first = _Loaded(sample_of(showers, _threshold(geometry, options)), showers)
    warning = "the reference is not the CaloChallenge's file: the places are for orientation only"
    warning = warning if particle_of(geometry) else ""
    return Reference(geometry, options, {}, warning, first, None)


def assess_showers(
    reference: Reference, generated: Showers, label: str, provenance: Mapping[str, Any]
) -> tuple[Assessment, Pictures]:
    """What `assess` gives, for showers in memory.

    Raises:
        DataFormatError: incident energies that differ.
    """
    threshold = _threshold(reference.geometry, reference.options)
    sample = sample_of(generated, threshold, reference.first.sample)
    return _assess(reference, _Loaded(sample, generated), label, provenance)


def _load(path: Files, geometry: VoxelGeometry, options: Options, reference: _Loaded | None = None) -> _Loaded:
    reading, first = _reading(options, reference), None if reference is None else reference.sample
    sample = read_sample(path, geometry, _threshold(geometry, options), first, True, reading)
    return _Loaded(sample, read_some(path, geometry, options.max_showers, options.seed, reading))


def _reading(options: Options, reference: _Loaded | None) -> Reading:
    energies = None if reference is None else reference.sample.incident_energies
    return Reading(options.tolerant, options.seed if options.match_energies else None, energies)


def _reference_warning(paths: tuple[Path, ...], particle: str) -> str:
    if len(paths) == 1:
        return reference_warning(paths[0], particle) if particle else ""
    return f"the reference is {len(paths)} files, that of published numbers is one: places are for orientation only"


def _threshold(geometry: VoxelGeometry, options: Options) -> float:
    default = default_min_energy(options.binning or default_binning(geometry))
    return default if options.min_energy is None else options.min_energy


def _assess(
    reference: Reference, generated: _Loaded, label: str, provenance: Mapping[str, Any]
) -> tuple[Assessment, Pictures]:
    """Assessment and pictures of generated showers."""
    geometry, options, first = reference.geometry, reference.options, reference.first
    loaded = {"reference": first, "generated": generated}
    loaded |= {"second reference": reference.second} if reference.second else {}
    samples = {name: item.sample for name, item in loaded.items()}
    showers = {name: item.showers for name, item in loaded.items()}
    third = samples.get("second reference")
    binning = options.binning or default_binning(geometry)
    judgement = judge_samples(first.sample, generated.sample, third, binning, options.seed)
    floor, missing = reference.floor
    numbers, more = _numbers(first, generated, options)
    hashes = {name: sample.hashes for name, sample in samples.items() if sample.hashes is not None}
    known, memory = judge_copies(hashes, showers, reference.training, first.sample.min_energy, options.seed)
    numbers |= {name: value for found in memory.values() for name, value in found.numbers.items()}
    notes = [f"{name}: {note}" for name, sample in samples.items() for note in sample.notes]
    warnings = [*known, *notes, *([reference.warning] if reference.warning else [])]
    warnings += [*_warnings(reference, generated), *sorted(missing | more)]
    particle = particle_of(geometry)
    drawn = {name.replace(" ", "_"): len(item) for name, item in showers.items()}
    found = Assessment(label, geometry.name, particle, judgement, numbers, floor, tuple(warnings), provenance, drawn)
    loaded = {"Geant4": first, label: generated}
    samples = {name: item.sample for name, item in loaded.items()}
    return found, take_pictures(geometry, samples, {name: item.showers for name, item in loaded.items()})


def _numbers(first: _Loaded, second: _Loaded, options: Options) -> tuple[dict[str, Value], frozenset[str]]:
    """Distances, neighbourhoods and classifiers of two samples; and why some are missing."""
    found: dict[str, Value] = {}
    missing: set[str] = set()
    for compute in (_distances, _neighbourhoods, *([_classifiers] if options.repetitions else [])):
        try:
            found |= compute(first, second, options)
        except DataFormatError as error:
            missing.add(f"{compute.__name__.strip('_')} left out: {error}")
    return found, frozenset(missing)


def _distances(first: _Loaded, second: _Loaded, options: Options) -> dict[str, Value]:
    ours, theirs = (high_level_inputs(item.sample.features) for item in (first, second))
    return physics_distances(ours, theirs, options.seed)


def _neighbourhoods(first: _Loaded, second: _Loaded, options: Options) -> dict[str, Value]:
    rng = np.random.default_rng(options.seed)
    size = min(MIN_SHOWERS, len(first.showers), len(second.showers))  # what is compared: more need not be made ready
    chosen = (item.showers.energies[np.sort(rng.permutation(len(item.showers))[:size])] for item in (first, second))
    ours, theirs = (log_voxels(np.where(given >= first.sample.min_energy, given, 0)) for given in chosen)
    near = precision_recall_density_coverage(ours, theirs, seed=options.seed)
    return {name: getattr(near, name) for name in NEIGHBOURHOODS}


def _classifiers(first: _Loaded, second: _Loaded, options: Options) -> dict[str, Value]:
    from calogen.metrics.classifier import BY_PARTICLE, CHALLENGE, classify

    config = BY_PARTICLE.get(first.particle, CHALLENGE)
    small_voxels = (options.binning or first.binning) != OWN_BINNING  # the challenge's way with the challenge's bins
    found: dict[str, Value] = {}
    for kind in KINDS:
        ours, theirs = (
            classifier_inputs(item.showers, kind, first.sample.min_energy, small_voxels).astype(np.float32)
            for item in (first, second)
        )
        score = classify(
            ours,
            theirs,
            repetitions=options.repetitions,
            config=config,
            seed=options.seed,
            trainings=options.trainings,
        )
        found |= {f"auc_{kind}": score.auc, f"jsd_{kind}": score.jsd}
    return found


def floor_warnings(second: int, generated: int) -> list[str]:
    """Whether a second reference of so many showers is a floor for so many generated ones."""
    if second >= generated:
        return []
    return [
        f"the second reference has {second:,} showers, the generated file {generated:,}: its distances are too large "
        "for a floor, as those of fewer showers are"
    ]


def _warnings(reference: Reference, generated: _Loaded) -> list[str]:
    """What a reader has to know before the numbers."""
    found: list[str] = []
    first, second = reference.first, generated
    sizes = [len(item.sample.features) for item in (first, second)]
    if reference.second:
        found += floor_warnings(len(reference.second.sample.features), sizes[1])
    taken = min(len(item.showers) for item in (first, second))
    if first.particle:
        found += _unranked(reference, generated, min(sizes), taken)
    if taken < min(sizes):
        found.append(f"classifiers and neighbourhoods took {taken:,} of the showers, drawn at random")
    return found


def _unranked(reference: Reference, generated: _Loaded, whole: int, taken: int) -> list[str]:
    """Which numbers are of too few showers for a place.

    The smaller sample has `whole` showers, of which classifiers and neighbourhoods see `taken`.
    """
    loaded = {"reference": reference.first, "generated": generated}
    loaded |= {"second_reference": reference.second} if reference.second else {}
    drawn = {name: len(item.showers) for name, item in loaded.items()}
    unranked = of_too_few({name: len(item.sample.features) for name, item in loaded.items()}, drawn)
    unranked -= set() if reference.options.repetitions else set(CLASSIFIERS)
    texts = {
        DISTANCES: f"FPD and KPD of {whole:,}",
        CLASSIFIERS: f"AUCs of {taken:,}",
        NEIGHBOURHOODS: f"neighbourhoods of {taken:,} without a second reference of as many",
    }
    first, *others = [text for names, text in texts.items() if unranked & set(names)] or [""]
    if not first:
        return []
    text = f"{first} showers are not ranked: the challenge takes {MIN_SHOWERS:,} or more"
    text += f"; nor are {' and '.join(others)}" if others else ""
    if whole < MIN_SHOWERS:
        text += (
            ". Separation powers are ranked by what they have more than two samples of Geant4 of these numbers of "
            "showers would have"
        )
    return [text]
