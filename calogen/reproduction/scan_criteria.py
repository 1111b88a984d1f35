"""By which figure a scan judges, on validation showers alone, and how it is measured."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any  # the values of JSON tables

import numpy as np

from calogen.backend import keras
from calogen.config import Config, config_from_json, config_to_json, identity_of, plain_from_json, require
from calogen.errors import ConfigError, DataFormatError, DivergedError
from calogen.evaluation.merits import CovarianceMerit, DistanceMerit, Merit
from calogen.features.batches import split
from calogen.files import read_json_table, write_json
from calogen.generation.generate import generate_like
from calogen.generation.load import module_of
from calogen.metrics.distributions import Value
from calogen.observables.cells import CELL_OBSERVABLES
from calogen.observables.observable import Observable
from calogen.observables.voxels import voxel_observables
from calogen.provenance import named_seed
from calogen.showers.cells import CellGrid
from calogen.showers.geometry import Geometry
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry
from calogen.training.fit import digest, fit, select_training, validation_split

_SPLIT = 1  # seed of the folds, which are the same at every point


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """By what points are judged; the smallest figure is the best.

    Args:
        name: one of `CRITERIA`.
        observables: names of the observables that `ks` compares.
        folds: number of parts into which the showers are divided, each judging a training on the others; 1: the
            validation showers of the model's configuration judge.
        held_out: share of the showers that judges and does not train, for one fold of a model whose configuration has
            no `validation_fraction`; 0: there is none.
        seeds: number of trainings, with the seeds 1 and so on, whose mean counts.
        copies: number of generated showers for each that judges.
    """

    name: str
    observables: tuple[str, ...] = ()
    folds: int = 1
    held_out: float = 0.0
    seeds: int = 1
    copies: int = 1


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came of the trainings at one point.

    Args:
        value: the criterion, the mean over seeds and folds, with the standard error of the mean; of a single training
            with its statistical error, or NaN.
        response: mean energy of the generated showers over that of Geant4's.
        seconds: time of all trainings.
    """

    value: Value
    response: float
    seconds: float

    def to_json(self) -> dict[str, float | None]:
        """The numbers by name; an error that is not known is None."""
        error = self.value.error if np.isfinite(self.value.error) else None
        return {"value": self.value.value, "error": error, "response": self.response, "seconds": self.seconds}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "Measured":
        """What `to_json` gave.

        Raises:
            DataFormatError: it is something else.
        """
        try:
            error = float("nan") if table["error"] is None else float(table["error"])
            value = Value(float(table["value"]), error)
            return cls(value=value, response=float(table["response"]), seconds=float(table["seconds"]))
        except (KeyError, TypeError, ValueError) as fault:
            raise DataFormatError(
                f"what came of a training must have value, error, response and seconds. Received: {table!r:.200}"
            ) from fault


@dataclass(frozen=True, kw_only=True)
class Part:
    """Showers of one training: those that `fit` gets, and those that judge it."""

    training: Showers
    validation: Showers


def _ks(criterion: Criterion, geometry: Geometry) -> Merit:
    known = {item.name: item for item in _observables(geometry)}
    return DistanceMerit(tuple(known[name] for name in criterion.observables))


def _covariance(_criterion: Criterion, _geometry: Geometry) -> Merit:
    return CovarianceMerit()


CRITERIA: Mapping[str, Callable[[Criterion, Geometry], Merit]] = {"ks": _ks, "covariance": _covariance}
"""Mean KS distance of some observables; distance of the covariance matrices of the cells."""
TITLES = {"ks": "mean KS distance", "covariance": "covariance distance"}


def read_criterion(place: str, table: Mapping[str, object], geometry: Geometry, config: Config) -> Criterion:
    """The criterion that a table of a grid's file describes.

    Args:
        place: name of the file.
        table: the table [criterion].
        geometry: geometry of the showers.
        config: the starting point, which may have validation showers of its own.

    Raises:
        ConfigError: the table is not what it should be; the message names the fault.
    """
    where = f"{place}, [criterion]"
    require("name" in table, f"{where} must have a name, of {', '.join(CRITERIA)}. Received: {', '.join(table)}")
    try:
        found = plain_from_json(Criterion, asdict(Criterion(name="")) | dict(table))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    require(found.name in CRITERIA, f"{where}: name must be of {', '.join(CRITERIA)}. Received: {found.name}")
    for name in ("folds", "seeds", "copies"):
        require(getattr(found, name) >= 1, f"{where}: {name} must be 1 or more. Received: {getattr(found, name)}")
    names = [item.name for item in _observables(geometry)]
    unknown = ", ".join(name for name in found.observables if name not in names)
    require(not unknown, f"{where}: observables of {geometry.name} are {', '.join(names)}. Received: {unknown}")
    require(
        bool(found.observables) == (found.name == "ks"),
        f"{where}: ks, and nothing else, needs observables. Received: {found.name}, {len(found.observables)} of them",
    )
    own = hasattr(config, "validation_fraction")
    required = found.folds == 1 and not own
    require(
        0 < found.held_out < 1 if required else not found.held_out,
        f"{where}: held_out must be above 0 and below 1 for one fold of a model without validation_fraction, and else "
        f"not be there. Received: held_out {found.held_out:g}, folds {found.folds}, "
        f"{'with' if own else 'without'} validation_fraction",
    )
    return found


def parts_of(showers: Showers, criterion: Criterion, config: Config) -> Iterator[Part]:
    """The showers of every training at a point, fold by fold.

    Args:
        showers: all showers of the scan.
        criterion: number of folds, or the share that judges.
        config: configuration with the seed of the training, on which a model's own validation showers depend.

    Raises:
        ConfigError: there are too few showers.
    """
    known = select_training(showers, config)[0]
    if criterion.folds == 1:
        if not criterion.held_out:
            yield Part(training=known, validation=validation_split(known, config)[1])
            return
        training, validation = split(len(known), criterion.held_out, named_seed(_SPLIT, "folds"))
        yield Part(training=known[training], validation=known[validation])
        return
    fold = fold_of(known.incident_energies, criterion.folds)
    for number in range(criterion.folds):
        yield Part(training=known[fold != number], validation=known[fold == number])


def fold_of(incident_energies: np.ndarray, folds: int) -> np.ndarray:
    """Number of the fold of each shower, `[n]`: at random, evenly at every incident energy.

    >>> np.bincount(fold_of(np.array([1.0, 1.0, 2.0, 2.0, 2.0, 2.0]), 2)).tolist()
    [3, 3]

    Args:
        incident_energies: `[n]`, MeV.
        folds: number of folds.

    Raises:
        ConfigError: an incident energy has fewer showers than there are folds.
    """
    rng = np.random.default_rng(named_seed(_SPLIT, "folds"))
    fold = np.empty(len(incident_energies), np.int64)
    for energy in np.unique(incident_energies):
        rows = np.flatnonzero(incident_energies == energy)
        require(len(rows) >= folds, f"each of {folds} folds needs showers of {energy:g} MeV. Received: {len(rows)}")
        fold[rng.permutation(rows)] = np.arange(len(rows)) % folds
    return fold


def directory_of(trainings: Path, config: Config, criterion: Criterion, showers: Showers) -> Path:
    """Folder of all trainings with a configuration, whatever its seed, named by a hash."""
    plain = {name: value for name, value in identity_of(config).items() if name != "seed"}
    data = digest(showers, np.arange(len(showers)), sorted(showers.conditions))
    about = {"config": plain, "showers": data, "folds": criterion.folds, "held_out": criterion.held_out}
    return trainings / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def measure_point(config: Config, criterion: Criterion, showers: Showers, directory: Path) -> Measured:
    """Trains with a configuration for every seed and fold, and judges.

    What an earlier call has trained and judged is read.

    Args:
        config: the configuration; its seed does not count.
        criterion: by what the trainings are judged, and their number.
        showers: all showers of the scan.
        directory: folder of the trainings, which the caller has locked.

    Raises:
        DivergedError: a loss, a weight, or the criterion is not finite.
        CalogenError: as for `fit`.
    """
    rows = []
    for seed in range(1, criterion.seeds + 1):
        seeded = config_from_json(type(config), config_to_json(config) | {"seed": seed})
        for number, part in enumerate(parts_of(showers, criterion, seeded), 1):
            name = f"seed{seed}" + (f"-fold{number}" if criterion.folds > 1 else "")
            rows.append(_measure_training(seeded, criterion, part, directory / name))
    values = np.array([row.value.value for row in rows])
    error = rows[0].value.error if len(rows) == 1 else float(values.std(ddof=1) / np.sqrt(len(rows)))
    return Measured(
        value=Value(float(values.mean()), error),
        response=float(np.mean([row.response for row in rows])),
        seconds=sum(row.seconds for row in rows),
    )


def _measure_training(config: Config, criterion: Criterion, part: Part, directory: Path) -> Measured:
    record = directory / "criterion.json"
    identity = asdict(criterion) | {"seeds": None}
    if (known := _read_record(record, identity)) is not None:
        return known
    keras.utils.clear_session()  # else the networks of all trainings stay in memory
    run = fit(module_of(config), config, part.validation.geometry, part.training, directory)
    merit = CRITERIA[criterion.name](criterion, part.validation.geometry)
    try:
        generated = generate_like(run, part.validation, config.seed, copies=criterion.copies)
    except DataFormatError as error:  # weights may be finite, and energies not
        raise DivergedError(f"generated showers must be showers. {error}") from error
    value = merit(part.validation, generated)
    if not np.isfinite(value.value):
        raise DivergedError(f"the criterion must be a number. Received: {value.value} for seed {config.seed}")
    measured = Measured(
        value=value,
        response=_mean_response(generated) / _mean_response(part.validation),
        seconds=sum(row.get("seconds", 0.0) for row in run.history),
    )
    write_json(record, {"identity": identity, **measured.to_json()})
    return measured


def _read_record(path: Path, identity: Mapping[str, object]) -> Measured | None:
    """What came of a training before; None: nothing, or by another criterion.

    Raises:
        DataFormatError: the file holds something else.
    """
    if not path.exists():
        return None
    known = read_json_table(path)
    if known.get("identity") != json.loads(json.dumps(identity)):
        return None
    try:
        return Measured.from_json(known)
    except DataFormatError as error:
        raise DataFormatError(f"{path}: {error} (delete it to judge anew)") from error


def figure_text(value: Value) -> str:
    """A figure with its error, if that is known.

    >>> figure_text(Value(0.33961, 0.0055)), figure_text(Value(9.505e-05, float("nan")))
    ('0.3396 ± 0.0055', '9.505e-05')
    """
    return str(value)


def _mean_response(showers: Showers) -> float:
    """Mean response, averaged over the incident energies."""
    energies = np.unique(showers.incident_energies).tolist()
    return float(np.mean([showers.at(energy).response.mean() for energy in energies]))


def _observables(geometry: Geometry) -> Sequence[Observable]:
    """Observables of showers of a geometry that have one value for each shower."""
    if isinstance(geometry, CellGrid):
        return CELL_OBSERVABLES
    if isinstance(geometry, VoxelGeometry):
        return [item for item in voxel_observables(geometry) if item.counted == "showers"]
    raise ConfigError(f"a scan knows observables of cells and voxels. Received: {geometry.name}")
