"""Assessment of generated showers: every metric and number, and the data of the figures.

Metrics of features and distances use all showers of files of any size. Classifiers, neighbourhoods and pictures need
the showers in memory: of larger files, they use a random part.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from calogen.config import require
from calogen.errors import DataFormatError
from calogen.evaluation.assessment import LABEL, Assessment, particle_of, unranked_names
from calogen.evaluation.copies import judge_copies
from calogen.evaluation.criteria import CLASSIFIERS, DISTANCES, NEIGHBOURHOODS
from calogen.evaluation.judgement import OWN_BINNING, Sample, default_min_energy, judge_samples, require_comparable
from calogen.evaluation.pictures import Pictures, take_pictures
from calogen.evaluation.streaming import read_hashes, read_sample, sample_of
from calogen.evaluation.submissions import reference_warning
from calogen.files import FigureFormat
from calogen.metrics.distances import (
    MIN_SHOWERS,
    log_filled_voxels,
    physics_distances,
    precision_recall_density_coverage,
)
from calogen.metrics.distributions import Value
from calogen.observables.challenge import ClassifierInput, classifier_inputs, high_level_inputs
from calogen.provenance import collect, file_record
from calogen.showers.files import Files, Reading, ShowerFile, paths_of, read_some
from calogen.showers.geometry import Geometry, require_kind
from calogen.showers.labels import require_energies
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry

KINDS: tuple[ClassifierInput, ...] = ("low", "low-normed", "high")
"""Inputs of the classifiers: one classifier is trained for each."""
_LAYERS, _SHAPES = 45, {"2": (16, 9), "3": (50, 18)}  # of data sets 2 and 3: layers; bins in alpha and in r


@dataclass(frozen=True, kw_only=True)
class Options:
    """How showers are judged.

    Args:
        binning: one of the challenge's data sets, or `reference`; None: that of the geometry (`default_binning`).
        min_energy: voxels below it count as empty, MeV; None: the binning's.
        repetitions: how often each classifier is trained; 0: no classifiers.
        trainings: file that keeps the result of each training for the next call; None: nothing is kept.
        max_showers: how many showers of each file are kept in memory; None: 121,000, or as many as 512 MiB hold.
        seed: of all random numbers.
        tolerant: whether files may have slightly negative voxels and rounded incident energies (`Reading`).
        match_energies: whether to leave out showers so that the incident energies have the reference's shares.
        figures: format of the files of all figures beside the page; None: the page alone holds them.
        latex: whether to write a table for papers, too, in LaTeX.
    """

    binning: str | None = None
    min_energy: float | None = None
    repetitions: int = 3
    trainings: Path | None = None
    max_showers: int | None = None
    seed: int = 1
    tolerant: bool = False
    match_energies: bool = False
    figures: FigureFormat | None = None
    latex: bool = False

    def __post_init__(self) -> None:
        threshold = self.min_energy
        require(threshold is None or 0 < threshold < np.inf, f"min_energy must be above 0 MeV. Received: {threshold}")
        require(self.repetitions >= 0, f"repetitions must be 0 or more. Received: {self.repetitions}")
        require((self.max_showers or 2) >= 2, f"max_showers must be 2 or more. Received: {self.max_showers}")


@dataclass(frozen=True)
class _Loaded:
    """The features of all showers of a file, and the showers that are kept in memory."""

    sample: Sample
    showers: Showers

    @property
    def particle(self) -> str:
        return particle_of(self.showers.geometry)

    @property
    def binning(self) -> str:
        return default_binning(self.showers.geometry)


def default_binning(geometry: Geometry) -> str:
    """Name of the bins: the challenge's for its own geometries, calogen's for others."""
    particle = particle_of(geometry)
    if particle:
        return f"1-{particle}s"
    shapes = [(layer.num_alpha, layer.num_r) for layer in geometry.layers]
    return next((name for name, shape in _SHAPES.items() if shapes == [shape] * _LAYERS), OWN_BINNING)


@dataclass(frozen=True)
class Reference:
    """A reference that is read once and with which models are compared one after the other.

    Args:
        geometry: of the showers.
        options: how models are judged.
        provenance: seed, commit, versions, device, options, and the files' hashes.
        warning: why places among the published models are for orientation only; empty if they hold.
        first: the reference.
        second: the second reference; None: there is none.
        training: showers that the models were trained on, and hashes of all of them; None: they are not known.
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
        """Numbers of the second reference, computed once, and sentences on why some are missing."""
        return ({}, frozenset()) if self.second is None else _numbers(self.first, self.second, self.options)


def read_reference(
    path: Files,
    geometry: VoxelGeometry,
    second_reference: Files | None = None,
    options: Options | None = None,
    training: Files | None = None,
) -> Reference:
    """Read the files that all models are compared with.

    Args:
        path: a file of showers in the CaloChallenge's format; here, as for all files, several may stand for one.
        geometry: of its voxels.
        second_reference: an independent file of the same kind, for the floor beside each number.
        options: how models are judged; None: the default options.
        training: a file of the same kind that the models were trained on, to tell whether they remember it.

    Raises:
        CalogenError: a file is missing, damaged or foreign; incident energies differ; the binning is not known.
    """
    options = options or Options()
    given = {"reference": path, "second_reference": second_reference, "training": training}
    files = {name: paths_of(item) for name, item in given.items() if item}
    provenance = collect(options.seed, files) | {"options": _judging(options)}
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
    return Reference(geometry, options, provenance, warning, first, second, learned)


def require_judgeable(reference: Reference, generated: Files, label: str) -> None:
    """Refuse a label or a file that `assess` would refuse, without reading its showers.

    Raises:
        ConfigError: the label is not allowed.
        CalogenError: the file is missing, damaged or foreign; incident energies differ.
    """
    require(
        LABEL.fullmatch(label) is not None, f"labels must be printable, without $ and not Geant4. Received: {label!r}"
    )
    with ShowerFile(generated, reference.geometry, reading=_reading(reference.options, reference.first)) as file:
        require_energies(label, reference.first.sample.incident_energies, file.incident_energies)


def assess(reference: Reference, generated: Files, label: str) -> tuple[Assessment, Pictures]:
    """Judge a file of generated showers; gives all numbers and the data of the figures.

    Args:
        reference: what the showers are compared with.
        generated: a file in the CaloChallenge's format, or several.
        label: what tables call the model.

    Raises:
        CalogenError: the file is missing, damaged or foreign; incident energies differ.
    """
    require_judgeable(reference, generated, label)
    known = reference.provenance
    provenance = {**known, "data": {**known["data"], "generated": file_record(paths_of(generated))}}
    loaded = _load(generated, reference.geometry, reference.options, reference.first)
    return _assess(reference, loaded, label, provenance)


def reference_of(showers: Showers, options: Options) -> Reference:
    """A `Reference` of showers in memory; places with it are for orientation only.

    Raises:
        GeometryError: the showers have no voxels.
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
        DataFormatError: the incident energies differ from the reference's.
    """
    threshold = _threshold(reference.geometry, reference.options)
    sample = sample_of(generated, threshold, reference.first.sample)
    return _assess(reference, _Loaded(sample, generated), label, provenance)


def _load(path: Files, geometry: VoxelGeometry, options: Options, reference: _Loaded | None = None) -> _Loaded:
    reading, first = _reading(options, reference), None if reference is None else reference.sample
    sample = read_sample(path, geometry, _threshold(geometry, options), first, True, reading)
    return _Loaded(sample, read_some(path, geometry, options.max_showers, options.seed, reading))


def _judging(options: Options) -> dict[str, object]:
    """The options that decide numbers, for the provenance."""
    known = {name: value for name, value in asdict(options).items() if name not in ("figures", "latex")}
    return known | {"trainings": None}


def _reading(options: Options, reference: _Loaded | None) -> Reading:
    energies = None if reference is None else reference.sample.incident_energies
    return Reading(options.tolerant, options.seed if options.match_energies else None, energies)


def _reference_warning(paths: tuple[Path, ...], particle: str) -> str:
    if len(paths) == 1:
        return reference_warning(paths[0], particle) if particle else ""
    return f"the reference is {len(paths)} files, the challenge's is a single one: places are for orientation only"


def _threshold(geometry: VoxelGeometry, options: Options) -> float:
    default = default_min_energy(options.binning or default_binning(geometry))
    return default if options.min_energy is None else options.min_energy


def _assess(
    reference: Reference, generated: _Loaded, label: str, provenance: Mapping[str, Any]
) -> tuple[Assessment, Pictures]:
    """Assessment and pictures of showers that are loaded; see `assess`."""
    geometry, options, first = reference.geometry, reference.options, reference.first
    loaded = {"reference": first, "generated": generated}
    loaded |= {"second reference": reference.second} if reference.second else {}
    samples = {name: item.sample for name, item in loaded.items()}
    showers = {name: item.showers for name, item in loaded.items()}
    second = samples.get("second reference")
    binning = options.binning or default_binning(geometry)
    judgement = judge_samples(first.sample, generated.sample, second, binning, options.seed)
    floor, missing_floor = reference.floor
    numbers, missing = _numbers(first, generated, options)
    hashes = {name: sample.hashes for name, sample in samples.items() if sample.hashes is not None}
    copies, memories = judge_copies(hashes, showers, reference.training, first.sample.min_energy, options.seed)
    numbers |= {name: value for memory in memories.values() for name, value in memory.numbers.items()}
    notes = [f"{name}: {note}" for name, sample in samples.items() for note in sample.notes]
    warnings = [*copies, *notes, *([reference.warning] if reference.warning else [])]
    warnings += [*_warnings(reference, generated), *sorted(missing_floor | missing)]
    particle = particle_of(geometry)
    drawn = {name.replace(" ", "_"): len(item) for name, item in showers.items()}
    result = Assessment(label, geometry.name, particle, judgement, numbers, floor, tuple(warnings), provenance, drawn)
    shown = {"Geant4": first, label: generated}
    samples = {name: item.sample for name, item in shown.items()}
    return result, take_pictures(geometry, samples, {name: item.showers for name, item in shown.items()})


def _numbers(first: _Loaded, second: _Loaded, options: Options) -> tuple[dict[str, Value], frozenset[str]]:
    """Distances, neighbourhoods and classifiers' scores, and why some of them are missing."""
    numbers: dict[str, Value] = {}
    missing: set[str] = set()
    for compute in (_distances, _neighbourhoods, *([_classifiers] if options.repetitions else [])):
        try:
            numbers |= compute(first, second, options)
        except DataFormatError as error:
            missing.add(f"{compute.__name__.strip('_')} left out: {error}")
    return numbers, frozenset(missing)


def _distances(first: _Loaded, second: _Loaded, options: Options) -> dict[str, Value]:
    ours, theirs = (high_level_inputs(item.sample.features) for item in (first, second))
    return physics_distances(ours, theirs, options.seed)


def _neighbourhoods(first: _Loaded, second: _Loaded, options: Options) -> dict[str, Value]:
    rng = np.random.default_rng(options.seed)
    size = min(MIN_SHOWERS, len(first.showers), len(second.showers))  # no more showers are compared
    chosen = (item.showers.energies[np.sort(rng.permutation(len(item.showers))[:size])] for item in (first, second))
    ours, theirs = (log_filled_voxels(given, first.sample.min_energy) for given in chosen)
    metrics = precision_recall_density_coverage(ours, theirs, seed=options.seed)
    return {name: getattr(metrics, name) for name in NEIGHBOURHOODS}


def _classifiers(first: _Loaded, second: _Loaded, options: Options) -> dict[str, Value]:
    from calogen.metrics.classifier import BY_PARTICLE, CHALLENGE, start_classifying

    config = BY_PARTICLE.get(first.particle, CHALLENGE)
    small_voxels = (options.binning or first.binning) != OWN_BINNING  # kept with the challenge's bins, as it keeps them
    started = {}
    for kind in KINDS:  # workers train all kinds side by side
        ours, theirs = (
            classifier_inputs(item.showers, kind, first.sample.min_energy, small_voxels).astype(np.float32)
            for item in (first, second)
        )
        started[kind] = start_classifying(
            ours, theirs, repetitions=options.repetitions, config=config, seed=options.seed, trainings=options.trainings
        )
    scores: dict[str, Value] = {}
    for kind, finish in started.items():
        score = finish()
        scores |= {f"auc_{kind}": score.auc, f"jsd_{kind}": score.jsd}
    return scores


def floor_warnings(num_second: int, num_generated: int) -> list[str]:
    """A warning if the second reference has too few showers to be a floor of generated ones."""
    if num_second >= num_generated:
        return []
    return [
        f"the second reference has {num_second:,} showers, the generated file {num_generated:,}: distances are larger "
        "with fewer showers, so that those of the second reference are too large for a floor"
    ]


def _warnings(reference: Reference, generated: _Loaded) -> list[str]:
    """Warnings about numbers of showers that limit what the results mean."""
    warnings: list[str] = []
    samples = reference.first, generated
    sizes = [len(item.sample.features) for item in samples]
    if reference.second:
        warnings += floor_warnings(len(reference.second.sample.features), sizes[1])
    num_seen = min(len(item.showers) for item in samples)
    if reference.first.particle:
        warnings += _unranked(reference, generated, min(sizes), num_seen)
    if num_seen < min(sizes):
        text = f"classifiers and neighbourhoods (precision, recall, density, coverage) saw {num_seen:,} of the showers"
        warnings.append(f"{text}, drawn at random")
    return warnings


def _unranked(reference: Reference, generated: _Loaded, num_showers: int, num_seen: int) -> list[str]:
    """A warning that names the numbers that have no place, as they come from too few showers.

    Args:
        num_showers: of the smaller of the two samples.
        num_seen: how many of these classifiers and neighbourhoods saw.
    """
    loaded = {"reference": reference.first, "generated": generated}
    loaded |= {"second_reference": reference.second} if reference.second else {}
    drawn = {name: len(item.showers) for name, item in loaded.items()}
    unranked = unranked_names({name: len(item.sample.features) for name, item in loaded.items()}, drawn)
    unranked -= set() if reference.options.repetitions else set(CLASSIFIERS)
    texts = {
        DISTANCES: f"FPD and KPD of {num_showers:,}",
        CLASSIFIERS: f"AUCs of {num_seen:,}",
        NEIGHBOURHOODS: f"neighbourhoods of {num_seen:,} without a second reference of as many",
    }
    first, *others = [text for names, text in texts.items() if unranked & set(names)] or [""]
    if not first:
        return []
    text = f"{first} showers are not ranked: the challenge takes {MIN_SHOWERS:,} or more"
    text += f"; nor are {' and '.join(others)}" if others else ""
    if num_showers < MIN_SHOWERS:
        text += ". Separation powers are ranked by their excess over those of two Geant4 samples of these sizes"
    return [text]
