"""A model's place among the CaloChallenge's published submissions, metric by metric.

The published numbers are in `data/calochallenge_<particle>s.json`; each file names its source. Geant4 against Geant4 is
the floor of a ranking and has no place in it.

Source: arXiv:2410.21611 and its tables of results, without the correlations of layer energies and the multi-class
classifier's cross-check; the rules of the ranking are ours.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from calogen.errors import DataFormatError
from calogen.evaluation.criteria import SEPARATION_POWER, Criterion, criteria, layers_of, require_criteria, with_means
from calogen.files import read_json_table
from calogen.metrics.distributions import Value
from calogen.showers.download import DATASETS

_THRESHOLD = 2.0  # standard errors: values that are further apart differ
_MOST_NAMES = 4  # more submissions are counted in a remark, not named


@dataclass(frozen=True)
class Submission:
    """A model that took part, or Geant4 against itself.

    Args:
        name: as the challenge writes it.
        numbers: those that the source states, by the names of `criteria`. An error that it does not state is NaN.
    """

    name: str
    numbers: Mapping[str, Value]


@dataclass(frozen=True)
class Ranking:
    """The published submissions in the order of one metric.

    Args:
        metric: name of the metric.
        criterion: which of its values are good.
        published: names and values of the submissions, best first.
        floor: the value of Geant4 against Geant4; None: the source states none.
    """

    metric: str
    criterion: Criterion
    published: tuple[tuple[str, Value], ...]
    floor: Value | None

    def place(self, ours: Value, own_floor: Value | None = None) -> "Placement":
        """The place of a value among the published ones; an error of NaN counts as none.

        Ranked is the excess over Geant4 against itself, ours over `own_floor` and the published values over the
        published floor, as distances grow with fewer showers for models and for Geant4 alike.

        Args:
            ours: the model's value.
            own_floor: the value of Geant4 against Geant4 with as many showers; None: the published floor is used.

        Raises:
            DataFormatError: the value is not finite, or its error is negative or infinite.
        """
        if not math.isfinite(ours.value) or ours.error < 0 or math.isinf(ours.error):
            raise DataFormatError(f"{self.metric} must be finite with an error of 0 or more. Received: {ours}")
        own_floor = None if self.floor is None else own_floor
        floor = own_floor or self.floor
        excess = self.criterion.excess(ours.value, floor)
        differences = {
            name: Value(excess - self.criterion.excess(value.value, self.floor), _joint(ours, value, own_floor))
            for name, value in self.published
        }
        kinds = {name: _verdict(difference) for name, difference in differences.items()}
        alike = tuple(name for name, kind in kinds.items() if kind == "alike")
        ahead = sum(difference.value > 0 for difference in differences.values())
        best = 1 + sum(kind == "worse" for kind in kinds.values())
        against = None if floor is None else _verdict(Value(excess, _joint(ours, floor)))
        return Placement(self, ours, ahead + 1, (best, best + len(alike)), alike, against, own_floor)


def _joint(*values: Value | None) -> float:
    """The error of a sum or difference of values; an error of NaN counts as none."""
    return math.hypot(*(value.error for value in values if value is not None and math.isfinite(value.error)))


def _verdict(excess: Value) -> Literal["better", "alike", "worse"]:
    if abs(excess.value) <= _THRESHOLD * excess.error:
        return "alike"
    return "worse" if excess.value > 0 else "better"


@dataclass(frozen=True)
class Placement:
    """The place of a model in one ranking.

    Args:
        ranking: of the published submissions.
        ours: the model's value.
        position: 1 for the best; `position - 1` submissions have a smaller excess, whatever the errors are.
        places: the best and the worst place that two standard errors allow.
        alike: submissions that two standard errors do not tell apart from the model. As the published errors are the
            spread of single trainings (see the source), not the error of their mean, the list is rather too long.
        against_floor: how the model compares with Geant4 against Geant4; None: this is not known.
        own_floor: the value of Geant4 against Geant4 with as many showers.
    """

    ranking: Ranking
    ours: Value
    position: int
    places: tuple[int, int]
    alike: tuple[str, ...]
    against_floor: Literal["better", "alike", "worse"] | None
    own_floor: Value | None = None

    @property
    def text(self) -> str:
        """The places that the errors allow, e.g. `1 to 4 of 13`."""
        return f"{' to '.join(dict.fromkeys(map(str, self.places)))} of {len(self.ranking.published) + 1}"

    @property
    def remark(self) -> str:
        """What the place alone does not tell, in words; often empty."""
        alike = ", ".join(self.alike) if len(self.alike) <= _MOST_NAMES else f"{len(self.alike)} submissions"
        parts = [f"cannot be told apart from {alike}"] if self.alike else []
        if self.against_floor == "alike":
            parts.append("as good as Geant4 against itself")
        if self.against_floor == "better":
            parts.append("better than Geant4 against itself: check what it was trained on and compared with")
        return "; ".join(parts)


@dataclass(frozen=True)
class ChallengeTable:
    """The challenge's table of one particle.

    Args:
        particle: `photon` or `pion`.
        source: where the numbers are published.
        geant4: numbers of Geant4 against Geant4.
        submissions: in the source's order.
    """

    particle: str
    source: str
    geant4: Submission
    submissions: tuple[Submission, ...]

    def ranking(self, metric: str) -> Ranking:
        """The ranking of the submissions that have a value of this metric.

        Raises:
            DataFormatError: the metric is unknown, or no submission has a value of it.
        """
        known = criteria(self.particle)
        require_criteria([metric], known)
        floor = self.geant4.numbers.get(metric)
        published = [(item.name, item.numbers[metric]) for item in self.submissions if metric in item.numbers]
        if not published:
            raise DataFormatError(f"no submission of {self.source} has {metric}")
        published.sort(key=lambda pair: known[metric].badness(pair[1].value, floor))
        return Ranking(metric, known[metric], tuple(published), floor)


def read_submissions(particle: str, path: str | Path | None = None) -> ChallengeTable:
    """The published numbers of one particle, completed by means over layers.

    Args:
        particle: `photon` or `pion`.
        path: another file in the format of the bundled one; None: the bundled file.

    Raises:
        DataFormatError: the particle is neither; the file is missing or damaged.
    """
    layers_of(particle)
    if path is not None:
        return _published(read_json_table(path), particle, str(path))
    name = f"calochallenge_{particle}s.json"
    with resources.as_file(resources.files("calogen").joinpath("data", name)) as bundled:
        return _published(read_json_table(bundled), particle, name)


def rank(particle: str, ours: Mapping[str, Value], own_floor: Mapping[str, Value] | None = None) -> list[Placement]:
    """A model's places among the submissions, one for each metric of which it has a value.

    Args:
        particle: `photon` or `pion`.
        ours: the model's values by the names of `criteria`; means over layers are added if all layers are there.
        own_floor: values of Geant4 against Geant4 with as many showers, by the same names.

    Raises:
        DataFormatError: another particle, an unknown metric, a value that is not finite.

    Example:
        >>> place = rank("pion", {"auc_low": Value(0.677, 0.004)})[0]
        >>> place.position, place.alike
        (2, ('DNN CaloSim', 'CaloDiffusion'))
    """
    known = criteria(particle)
    require_criteria(ours, known)
    published, floor = read_submissions(particle), with_means(particle, own_floor or {})
    values = with_means(particle, ours)
    return [published.ranking(name).place(values[name], floor.get(name)) for name in known if name in values]


class PlainTable(NamedTuple):
    """A table of plain texts, which terminals, Markdown and HTML show in their own ways."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def placement_table(placements: Iterable[Placement]) -> PlainTable:
    """A row for each metric: our value, its places, the best submission, Geant4, a remark."""
    rows, placements = [], list(placements)
    with_own = any(item.own_floor for item in placements)
    for item in placements:
        criterion, (leader, best) = item.ranking.criterion, item.ranking.published[0]
        floor = "-" if item.ranking.floor is None else criterion.text(item.ranking.floor)
        shown = [criterion.text(item.ours), item.text, f"{criterion.text(best)} ({leader})", floor]
        if with_own:
            shown.append(criterion.text(item.own_floor) if item.own_floor else "-")
        rows.append((criterion.title, *shown, item.remark))
    geant4 = ("Geant4", "Geant4 here") if with_own else ("Geant4",)
    return PlainTable(("metric", "ours", "places", "best submission", *geant4, "remark"), tuple(rows))


def ranking_notes(placements: Iterable[Placement]) -> list[str]:
    """Notes on the metrics of these places, which a reader has to know; each note once."""
    return list(dict.fromkeys(item.ranking.criterion.note for item in placements if item.ranking.criterion.note))


def reference_warning(path: str | Path, particle: str) -> str:
    """Why places with this reference are for orientation only; empty if they are not.

    Raises:
        DataFormatError: another particle, or the file cannot be read.
    """
    name, reference = _challenge_name(path, particle), f"dataset_1_{particle}s_2.hdf5"
    if name == reference:
        return ""
    what = "not a file of the CaloChallenge" if name is None else "the CaloChallenge's training file"
    return (
        f"the reference {Path(path).name} is {what}; the published numbers were measured against {reference}: the "
        "places below are for orientation only"
    )


def _challenge_name(path: str | Path, particle: str) -> str | None:
    """The name that the challenge gives to this file, by its hash; None for any other file."""
    layers_of(particle)
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataFormatError(f"cannot read {path}: {error.strerror}") from error
    names = [name for name, md5 in DATASETS[f"calochallenge-{particle}s"].items() if md5 == f"md5:{digest}"]
    return names[0] if names else None


def _published(content: Mapping[str, Any], particle: str, where: str) -> ChallengeTable:
    """The table that a file's content describes."""
    try:
        if content["particle"] != particle:
            raise DataFormatError(f"{where} must be of particle {particle}. Received: {content['particle']!r}")
        source = str(content["source"])
        geant4, *others = (_submission(item, particle) for item in (content["geant4"], *content["submissions"]))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise DataFormatError(
            f"{where} must hold particle, source, geant4 and submissions, each with name and numbers. "
            f"Received: {error!r:.200}; install calogen again if the file is its own"
        ) from error
    if len({item.name for item in others}) < len(others) or not others:
        raise DataFormatError(f"{where} must hold submissions of different names. Received: {[o.name for o in others]}")
    return ChallengeTable(particle, source, geant4, tuple(others))


def _submission(item: Mapping[str, Any], particle: str) -> Submission:
    numbers: dict[str, Any] = {}
    for name, content in item["numbers"].items():
        if name == "separation_power":
            for quantity, given in content.items():
                layers = {f"_{layer}": given[layer] for layer in given} if isinstance(given, dict) else {"": given}
                numbers |= {SEPARATION_POWER + quantity + layer: number for layer, number in layers.items()}
        else:
            numbers[name] = content
    unknown = set(numbers) - set(criteria(particle))
    if unknown or not isinstance(item["name"], str):
        raise ValueError(f"{item['name']} with {sorted(unknown)}")
    values = {name: _value(name, number) for name, number in numbers.items()}
    return Submission(item["name"], MappingProxyType(with_means(particle, values)))


def _value(name: str, number: float | list[float]) -> Value:
    value, error = number if isinstance(number, list) else (number, math.nan)
    plain = all(isinstance(part, int | float) and not isinstance(part, bool) for part in (value, error))
    if not plain or not math.isfinite(value) or (isinstance(number, list) and not 0 <= error < math.inf):
        raise ValueError(f"{name}: {number}")
    return Value(float(value), float(error))
