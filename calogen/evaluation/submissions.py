"""A model's place among the CaloChallenge's published submissions, metric by metric.

The numbers lie in `data/calochallenge_<particle>s.json`, each file with its source. Geant4's own row is the floor of a
ranking and never has a place.

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

_THRESHOLD = 2.0  # standard errors
_MOST_NAMES = 4  # of submissions in a remark


@dataclass(frozen=True)
class Submission:
    """A model that took part, or Geant4 against itself.

    Args:
        name: as the challenge writes it.
        numbers: by the names of `criteria`; what the source lacks is missing. An error is NaN where it states none.
    """

    name: str
    numbers: Mapping[str, Value]


@dataclass(frozen=True)
class Ranking:
    """The published submissions in the order of one metric.

    Args:
        metric: its name.
        criterion: what is good in it.
        published: names and values, best first.
        floor: Geant4 against Geant4; None where the source has none.
    """

    metric: str
    criterion: Criterion
    published: tuple[tuple[str, Value], ...]
    floor: Value | None

    def place(self, ours: Value, own_floor: Value | None = None) -> "Placement":
        """Where a value stands; an error of NaN counts as none.

        What is ranked is the excess over Geant4 against itself: ours over `own_floor`, the published values over the
        published floor. Fewer showers have larger distances, of models and of Geant4 alike.

        Args:
            ours: the value.
            own_floor: Geant4 against Geant4 with as many showers; None: the published floor, as if it held here.

        Raises:
            DataFormatError: no finite value, or an error below 0.
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
    """The error of a sum or difference; one of NaN counts as none."""
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
        position: 1 is best; as many submissions as `position - 1` are better, by their excess alone.
        places: the best and the worst place that the errors allow: two standard errors.
        alike: submissions between these, which cannot be told apart from it. The published errors are the spread of
            single trainings (see the source), not that of their mean, so that this is rather too long a list.
        against_floor: the same comparison with Geant4's own value; None where there is none.
        own_floor: Geant4 against Geant4 with as many showers.
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
        """What the place alone does not tell, in words."""
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
        source: where the numbers stand.
        geant4: Geant4 against Geant4.
        submissions: in the source's order.
    """

    particle: str
    source: str
    geant4: Submission
    submissions: tuple[Submission, ...]

    def ranking(self, metric: str) -> Ranking:
        """The submissions that have a number, in its order.

        Raises:
            DataFormatError: an unknown metric, or one that no submission has.
        """
        known = criteria(self.particle)
        require_criteria([metric], known)
        floor = self.geant4.numbers.get(metric)
        found = [(item.name, item.numbers[metric]) for item in self.submissions if metric in item.numbers]
        if not found:
            raise DataFormatError(f"no submission of {self.source} has {metric}")
        found.sort(key=lambda pair: known[metric].badness(pair[1].value, floor))
        return Ranking(metric, known[metric], tuple(found), floor)


def read_submissions(particle: str, path: str | Path | None = None) -> ChallengeTable:
    """The published numbers of `photon` or `pion`, with the means over layers.

    Args:
        particle: which.
        path: another file of the same format; None: the bundled one.

    Raises:
        DataFormatError: another particle; no such file, or a damaged one.
    """
    layers_of(particle)
    if path is not None:
        return _published(read_json_table(path), particle, str(path))
    name = f"calochallenge_{particle}s.json"
    with resources.as_file(resources.files("calogen").joinpath("data", name)) as bundled:
        return _published(read_json_table(bundled), particle, name)


def rank(particle: str, ours: Mapping[str, Value], own_floor: Mapping[str, Value] | None = None) -> list[Placement]:
    """Places of a model among the published ones, for each metric that it has a value for.

    Args:
        particle: `photon` or `pion`.
        ours: values by the names of `criteria`; means over layers are added where all layers are there.
        own_floor: the same of Geant4 against Geant4 with as many showers.

    Raises:
        DataFormatError: another particle, an unknown metric, a value that is not finite.

    Example:
        >>> place = rank("pion", {"auc_low": Value(0.677, 0.004)})[0]
        >>> place.position, place.alike
        (2, ('DNN CaloSim', 'CaloDiffusion'))
    """
    known = criteria(particle)
    require_criteria(ours, known)
    published, given, floor = (
        read_submissions(particle),
        with_means(particle, ours),
        with_means(particle, own_floor or {}),
    )
    return [published.ranking(name).place(given[name], floor.get(name)) for name in known if name in given]


class PlainTable(NamedTuple):
    """A table as texts: what a terminal, Markdown and HTML make theirs from."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def placement_table(placements: Iterable[Placement]) -> PlainTable:
    """A row for each metric: ours, its places, the best submission, Geant4, the remark."""
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


def notes(placements: Iterable[Placement]) -> list[str]:
    """What a reader of these places has to know, each once."""
    return list(dict.fromkeys(item.ranking.criterion.note for item in placements if item.ranking.criterion.note))


def reference_warning(path: str | Path, particle: str) -> str:
    """Why places do not hold with this reference file; empty where it is the challenge's.

    Raises:
        DataFormatError: another particle, or the file cannot be read.
    """
    found, reference = _challenge_name(path, particle), f"dataset_1_{particle}s_2.hdf5"
    if found == reference:
        return ""
    what = "not a file of the CaloChallenge" if found is None else "the CaloChallenge's training file"
    return (
        f"the reference {Path(path).name} is {what}; the published numbers were measured against {reference}: the "
        "places below are for orientation only"
    )


def _challenge_name(path: str | Path, particle: str) -> str | None:
    layers_of(particle)
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataFormatError(f"cannot read {path}: {error.strerror}") from error
    names = [name for name, md5 in DATASETS[f"calochallenge-{particle}s"].items() if md5 == f"md5:{digest}"]
    return names[0] if names else None


def _published(content: Mapping[str, Any], particle: str, where: str) -> ChallengeTable:
    """The table from a file's content."""
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
            for quantity, found in content.items():
                layers = {f"_{layer}": found[layer] for layer in found} if isinstance(found, dict) else {"": found}
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
