"""The assessment of a model's showers: all metrics, single numbers, places in rankings.

It is written to `evaluation.json`, which reports read to compare several models.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calogen.errors import DataFormatError
from calogen.evaluation.compare import ALL_ENERGIES, Scored
from calogen.evaluation.criteria import (
    CLASSIFIERS,
    DISTANCES,
    NEIGHBOURHOODS,
    PARTICLE_GEOMETRIES,
    SEPARATION_POWER,
    criteria,
)
from calogen.evaluation.judgement import Judgement
from calogen.evaluation.submissions import Placement, rank
from calogen.files import read_json_table, write_json, write_table
from calogen.metrics.distances import MIN_SHOWERS
from calogen.metrics.distributions import FEATURE_METRICS, Value, json_matrix, json_number
from calogen.metrics.features import Feature
from calogen.metrics.histograms import Histogram
from calogen.observables.challenge import BINNINGS
from calogen.showers.geometry import Geometry

FILE_NAME = "evaluation.json"
LABEL = re.compile(r"(?!Geant4$)[^$\x00-\x1f\x7f]+")
"""Labels that a model may have: in figures, $ begins mathematics and Geant4 is the reference."""
RANKED_METRIC = "challenge_separation_power"
"""The one metric of a judgement that the challenge's tables have, too."""

Numbers = Mapping[str, Value]


@dataclass(frozen=True)
class Assessment:
    """How well a file of generated showers agrees with a reference file.

    Args:
        label: what tables call the model.
        geometry: name of the showers' geometry.
        particle: `photon` or `pion` if the geometry is that of the challenge's data set 1, otherwise empty.
        judgement: every metric of every feature.
        numbers: numbers of the showers as a whole: those of `criteria` by name (`auc_low`, `fpd`, `precision` ...), and
            others such as `jsd_low` and `auc_low-normed`.
        floor: these numbers for the second reference in place of the generated showers.
        warnings: what a reader has to know before reading the numbers.
        provenance: seed, commit, versions, device, files and their hashes.
        drawn: how many showers the classifiers and `NEIGHBOURHOODS` saw, by sample; empty: all showers.
    """

    label: str
    geometry: str
    particle: str
    judgement: Judgement
    numbers: Numbers
    floor: Numbers
    warnings: tuple[str, ...]
    provenance: Mapping[str, Any]
    drawn: Mapping[str, int] = field(default_factory=dict)

    def worst(self, number: int = 5, metric: str = "separation_power") -> list[Scored[Feature]]:
        """The features with the largest values of a metric, worst first."""
        scored = [item for item in self.judgement.scored if item.incident_energy == ALL_ENERGIES]
        finite = [item for item in scored if math.isfinite(item.numbers_of()[metric].value)]
        return sorted(finite, key=lambda item: -item.numbers_of()[metric].value)[:number]

    def placements(self) -> list[Placement]:
        """The model's places among the challenge's submissions, one for each metric.

        There are none if the voxels or the threshold are not the challenge's. Separation powers have a place only in
        the challenge's bins, other numbers only if they were computed from enough showers (`unranked_names`).

        A place is found from the excess over a floor. For separation powers, that is what Geant4 would have with as
        many showers as the generated file; for other numbers, it is the second reference's number, provided that this
        sample is not smaller than the generated one: smaller samples have larger distances.
        """
        if not self.particle:
            return []
        judgement, sizes = self.judgement, self.judgement.num_showers
        if judgement.min_energy != BINNINGS[f"1-{self.particle}s"].min_energy:
            return []
        drawn = {**sizes, **self.drawn}
        known = set(criteria(self.particle)) - unranked_names(sizes, drawn)
        floor: dict[str, Value] = {}
        for names, seen in ((DISTANCES, sizes), (CLASSIFIERS, drawn)):
            if seen.get("second_reference", 0) >= seen["generated"]:
                floor |= {name: value for name, value in self.floor.items() if name in names}
        if _compared(drawn, "second_reference") == _compared(drawn):
            floor |= {name: value for name, value in self.floor.items() if name in NEIGHBOURHOODS}
        if judgement.binning != f"1-{self.particle}s":
            known = {name for name in known if not name.startswith(SEPARATION_POWER)}
        scored = [item for item in judgement.scored if item.incident_energy == ALL_ENERGIES]
        ours = {SEPARATION_POWER + item.feature.name: item.numbers_of()[RANKED_METRIC] for item in scored}
        floor |= {SEPARATION_POWER + item.feature.name: _separation_floor(item) for item in scored}
        finite = [
            {name: value for name, value in given.items() if name in known and math.isfinite(value.value)}
            for given in (ours | dict(self.numbers), floor)
        ]
        return rank(self.particle, *finite)

    def rows(self) -> list[dict[str, Any]]:
        """A row of plain JSON values for each metric; `numbers` have the quantity `showers`."""
        columns = {"quantity": "showers", "layer": None, "incident_energy": None, "undefined": None}
        rows = [row for item in self.judgement.scored for row in scored_rows(item)]
        return rows + _rows(columns, self.numbers, self.floor)

    def to_frame(self) -> pd.DataFrame:
        """The `rows` as a table."""
        return pd.json_normalize(self.rows(), sep="_").astype({"layer": "Int64"})

    def write(self, directory: str | Path) -> None:
        """Write `evaluation.json`; `metrics.json` and `metrics.csv` with a row for each metric."""
        write_json(Path(directory) / "metrics.json", self.rows())
        write_table(Path(directory) / "metrics.csv", self.to_frame())
        write_json(Path(directory) / FILE_NAME, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, from which `from_json` makes the assessment again."""
        judgement = self.judgement
        return {
            "label": self.label,
            "geometry": self.geometry,
            "particle": self.particle,
            "numbers": number_pairs(self.numbers),
            "floor": number_pairs(self.floor),
            "warnings": list(self.warnings),
            "provenance": dict(self.provenance),
            "judgement": {
                "binning": judgement.binning,
                "min_energy": judgement.min_energy,
                "num_showers": dict(judgement.num_showers),
                "scored": [_scored_to_json(item) for item in judgement.scored],
                "layer_correlations": {name: json_matrix(matrix) for name, matrix in judgement.correlations.items()},
            },
            "drawn": dict(self.drawn),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Assessment":
        """The assessment from the values that `to_json` gave.

        Raises:
            DataFormatError: the values are not such ones.
        """
        try:
            json.dumps(value, allow_nan=False)  # refuses infinite numbers, wherever they stand
            given = value["judgement"]
            correlations = {name: _matrix(rows) for name, rows in given["layer_correlations"].items()}
            judgement = Judgement(
                str(given["binning"]),
                _finite(given["min_energy"]),
                {str(name): _count(number) for name, number in given["num_showers"].items()},
                tuple(_scored_from_json(item) for item in given["scored"]),
                correlations,
            )
            label, geometry, particle = (str(value[name]) for name in ("label", "geometry", "particle"))
            numbers, floor = (number_values(value[name]) for name in ("numbers", "floor"))
            warnings, provenance = tuple(map(str, value["warnings"])), dict(value["provenance"])
            _require_whole(label, judgement, provenance)
            drawn = value.get("drawn", {})  # evaluations of earlier versions do not have it
            drawn = {str(name): _count(number) for name, number in drawn.items()}
            return cls(label, geometry, particle, judgement, numbers, floor, warnings, provenance, drawn)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataFormatError(f"an evaluation must hold what to_json writes. Received: {error!r:.200}") from error


def read_assessment(directory: str | Path) -> Assessment:
    """Read the `evaluation.json` of a directory.

    Raises:
        DataFormatError: the file is missing or damaged.
    """
    path = Path(directory) / FILE_NAME
    if not path.is_file():
        raise DataFormatError(f"{directory} must hold {FILE_NAME}, which calogen evaluate writes. Received: none")
    try:
        return Assessment.from_json(read_json_table(path))
    except DataFormatError as error:
        raise DataFormatError(f"{path}: {error}") from error


def scored_rows(item: Scored[Feature]) -> list[dict[str, Any]]:
    """A row of plain JSON values for each metric of a feature; undefined numbers become None."""
    columns = {
        "quantity": item.feature.quantity,
        "layer": item.feature.layer_id,
        "incident_energy": item.incident_energy or None,
        "undefined": item.undefined,
    }
    return _rows(columns, item.numbers_of(), item.second_reference)


def _rows(columns: Mapping[str, Any], numbers: Numbers, floors: Numbers) -> list[dict[str, Any]]:
    """A row for each number, with its floor where there is one, and with the given columns."""
    rows = []
    for metric, value in numbers.items():
        given = {"value": value.value, "error": value.error}
        if metric in floors:
            given |= {"floor": floors[metric].value, "floor_error": floors[metric].error}
        rows.append({**columns, "metric": metric} | {name: json_number(number) for name, number in given.items()})
    return rows


def unranked_names(sizes: Mapping[str, int], drawn: Mapping[str, int]) -> frozenset[str]:
    """Names of the numbers that have no place, as they come from too few showers.

    The challenge uses 10,000 showers or more. With fewer, AUCs are smaller, FPD and KPD larger. `NEIGHBOURHOODS` depend
    on the number of showers, too, but have a place if there is a floor from as many showers.

    Args:
        sizes: numbers of showers of `reference`, `generated` and, if there is one, `second_reference`.
        drawn: how many of these the classifiers and neighbourhoods saw.
    """
    found: set[str] = set(DISTANCES) if _compared(sizes) < MIN_SHOWERS else set()
    if _compared(drawn) < MIN_SHOWERS:
        found |= set(CLASSIFIERS)
        found |= set(NEIGHBOURHOODS) if _compared(drawn, "second_reference") != _compared(drawn) else set()
    return frozenset(found)


def _compared(sizes: Mapping[str, int], sample: str = "generated") -> int:
    """How many showers of the reference, and of a sample, `NEIGHBOURHOODS` compare."""
    return min(sizes["reference"], sizes.get(sample, 0), MIN_SHOWERS)


def particle_of(geometry: Geometry) -> str:
    """`photon` or `pion` if the voxels are those of the challenge's data set 1, else empty."""
    return next((name for name, known in PARTICLE_GEOMETRIES.items() if known.layers == geometry.layers), "")


def _separation_floor(item: Scored[Feature]) -> Value:
    """Separation power of Geant4 against itself with as many showers as were generated.

    It is the second reference's, corrected for the number of showers; without one, what fluctuations alone give
    (`Scored.expected`).

    Returns:
        NaN if neither is known.
    """
    expected, second = item.expected, item.second_reference.get(RANKED_METRIC)
    if second is None or not {"generated", "second_reference"} <= set(expected):
        return second or expected.get("generated", Value(math.nan, math.nan))
    return Value(second.value + expected["generated"].value - expected["second_reference"].value, second.error)


def _require_whole(label: str, judgement: Judgement, provenance: Mapping[str, Any]) -> None:
    samples = {"reference", "generated"}
    whole = samples <= set(judgement.num_showers) and bool(judgement.scored)
    for item in judgement.scored:
        floor = not item.second_reference or set(FEATURE_METRICS) <= set(item.second_reference)
        whole &= samples <= set(item.histograms) and set(FEATURE_METRICS) <= set(item.numbers_of()) and floor
    whole &= LABEL.fullmatch(label) is not None
    if not whole or not isinstance(provenance.get("data", {}), dict):
        raise ValueError("samples, metrics or files are missing, or the label is not allowed")


def _scored_to_json(item: Scored[Feature]) -> dict[str, Any]:
    histograms = {
        name: {"counts": histogram.counts.tolist(), "undefined": histogram.undefined}
        for name, histogram in item.histograms.items()
    }
    return {
        "quantity": item.feature.quantity,
        "layer": item.feature.layer_id,
        "incident_energy": item.incident_energy,
        "edges": next(iter(item.histograms.values())).edges.tolist(),
        "histograms": histograms,
        "measured": number_pairs(item.numbers_of()),
        "floor": number_pairs(item.second_reference),
        "expected": number_pairs(item.expected),
        "coarse": item.coarse,
    }


def _scored_from_json(value: Mapping[str, Any]) -> Scored[Feature]:
    edges = np.array([_finite(edge) for edge in value["edges"]])
    histograms = {
        str(name): Histogram(edges, np.array([_count(number) for number in item["counts"]]), _count(item["undefined"]))
        for name, item in value["histograms"].items()
    }
    layer = value["layer"]
    feature = Feature(str(value["quantity"]), None if layer is None else int(layer))
    measured, floor = number_values(value["measured"]), number_values(value["floor"])
    expected = number_values(value.get("expected", {}))
    coarse = value.get("coarse")  # evaluations of earlier versions do not
    return Scored(
        feature,
        _finite(value["incident_energy"]),
        histograms,
        {"generated": measured} | ({"second_reference": floor} if floor else {}),
        expected=expected,
        coarse=None if coarse is None else _count(coarse),
    )


def number_pairs(numbers: Numbers) -> dict[str, list[float | None]]:
    """Numbers as JSON has them: value and error by name, None for what is not finite."""
    return {name: [json_number(value.value), json_number(value.error)] for name, value in numbers.items()}


def number_values(pairs: Mapping[str, Any]) -> dict[str, Value]:
    """Numbers from what `number_pairs` gave."""
    return {str(name): Value(_number(value), _number(error)) for name, (value, error) in pairs.items()}


def _matrix(rows: Iterable[Iterable[object]]) -> np.ndarray:
    return np.array([[_number(number) for number in row] for row in rows], np.float64)


def _number(number: object) -> float:
    return math.nan if number is None else _finite(number)


def _count(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**53:
        raise ValueError(f"no count: {number!r:.100}")
    return number


def _finite(number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError(f"no finite number: {number!r:.100}")
    return float(number)
