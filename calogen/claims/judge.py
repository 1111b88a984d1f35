"""Claims of a paper, numbers beside its own, and the one judge."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from calogen.config import Source
from calogen.errors import DataFormatError
from calogen.evaluation.compare import Measurement
from calogen.metrics.distributions import Value

Verdict = Literal["reproduced", "not reproduced", "undecided at this statistics", "inconsistent in the paper"]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and what became of it.

    Args:
        claim: what the paper claims, in one line.
        source: section or figure.
        paper: the paper's words or figure.
        ours: our figure, in words.
        verdict: see `judge`.
    """

    claim: str
    source: str
    paper: str
    ours: str
    verdict: Verdict

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise DataFormatError(f"verdict must be one of {get_args(Verdict)}. Received: {self.verdict!r}")


@dataclass(frozen=True)
class Quantity:
    """A number of the paper beside ours.

    Args:
        name, unit: what it is.
        paper: the paper's number, or text such as "about 5"; None where the paper gives none.
        ours: our number.
        uncertainty: statistical uncertainty of `ours`.
        spread: standard deviation over training seeds.
        data: which showers `ours` comes from.
        headline: whether README shows it.
    """

    name: str
    unit: str
    paper: float | str | None
    ours: float | None
    uncertainty: float | None = None
    spread: float | None = None
    data: str = ""
    headline: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Args:
        header: titles of the columns.
        rows: texts.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Results:
    """Everything a reproduction says in words and numbers.

    Args:
        name: e.g. `atlas_vae`; also the file's name.
        title: of the report.
        paper: citation.
        claims, quantities: see there.
        provenance: seed, commit, versions, device, wall time, data and their hashes.
        measurements: the metrics, for the report and `metrics.json`.
        tables: further ones, by caption.
        deviations: sources of the configuration's values; the report lists those that the paper does not state.
        remarks: further deviations, one sentence each (simulation, missing noise ...).
    """

    name: str
    title: str
    paper: str
    claims: tuple[Claim, ...]
    quantities: tuple[Quantity, ...]
    provenance: Mapping[str, Any]
    measurements: tuple[Measurement, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    deviations: tuple[Source, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What `experiments/results/<name>.json` holds: all but the measurements."""
        values = asdict(self)
        values.pop("measurements")
        return values


def judge(evidence: Value, threshold: float = 2.0) -> Verdict:
    """Verdict on a claim from a number that is positive where the claim holds.

    `reproduced` where it is above 0 by at least `threshold` standard errors, `not reproduced` where it is below 0 by as
    much, else (also without a value) `undecided at this statistics`.

    Example:
        >>> judge(Value(0.03, 0.01)), judge(Value(-0.03, 0.01)), judge(Value(0.01, 0.01))
        ('reproduced', 'not reproduced', 'undecided at this statistics')
    """
    margin = threshold * evidence.error
    if evidence.value > 0 and evidence.value >= margin:
        return "reproduced"
    if evidence.value < 0 and evidence.value <= -margin:
        return "not reproduced"
    return "undecided at this statistics"
