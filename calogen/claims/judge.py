"""Claims of a paper and their verdicts, and the results of a reproduction as a whole."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import resources
from typing import Literal, TypeVar, get_args

import numpy as np
import pandas as pd

from calogen.config import Source, plain_from_json, require_one_of
from calogen.errors import ConfigError, DataFormatError
from calogen.evaluation.compare import Measurement, measurement_table
from calogen.evaluation.trainings import Evidence, NotDecidedError
from calogen.files import read_toml
from calogen.metrics.distributions import Value, json_number

Verdict = Literal[
    "reproduced", "not reproduced", "undecided at this statistics", "inconsistent in the paper", "no verdict: smoke"
]
NO_VERDICT: Verdict = "no verdict: smoke"
"""Stands for the verdicts of the preset smoke, which trains for seconds and so says nothing of the paper's claims."""


@dataclass(frozen=True)
class Claim:
    """A claim of a paper with our verdict on it.

    Args:
        claim: the claim in one line.
        source: section or figure of the paper.
        paper: the paper's words or number.
        ours: our numbers, in words.
        verdict: whether our numbers reproduce the claim.
    """

    claim: str
    source: str
    paper: str
    ours: str
    verdict: Verdict

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise DataFormatError(f"verdict must be one of {get_args(Verdict)}. Received: {self.verdict!r}")


def without_verdict(claim: Claim) -> Claim:
    """The claim of a run that says nothing of it; that the paper contradicts itself stays."""
    return claim if claim.verdict == "inconsistent in the paper" else replace(claim, verdict=NO_VERDICT)


@dataclass(frozen=True)
class Quantity:
    """A number of a paper beside ours.

    Args:
        name, unit: name and unit of both numbers.
        paper: the paper's number, or a text such as "about 5"; None: the paper gives none.
        ours: our number; here, as for the two others, NaN becomes None: a network that gives nothing has no width.
        uncertainty: statistical error of our number.
        spread: standard deviation of our number over training seeds.
        data: showers from which our number was computed.
        headline: whether the published tables show the numbers.
    """

    name: str
    unit: str
    paper: float | str | None
    ours: float | None
    uncertainty: float | None = None
    spread: float | None = None
    data: str = ""
    headline: bool = False

    def __post_init__(self) -> None:
        for name in ("ours", "uncertainty", "spread"):
            number = getattr(self, name)
            object.__setattr__(self, name, None if number is None else json_number(number))


def quantity(
    name: str,
    unit: str,
    known: Sequence[Value],
    data: str,
    *,
    paper: float | str | None = None,
    headline: bool = False,
) -> Quantity:
    """The mean over training seeds of a number, which may be undefined.

    Args:
        known: the number of each training seed.
        name, unit, data, paper, headline: as for `Quantity`.
    """
    value, spread = Value.repeated(known)
    return Quantity(name, unit, paper, value.value, value.error, spread, data, headline)


@dataclass(frozen=True)
class Table:
    """A table of the report: titles of the columns, and rows of texts."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Results:
    """Results of a reproduction, in words and numbers.

    Args:
        name: name of the results' file, e.g. `atlas_vae`.
        title: title of the report.
        paper: citation of the paper.
        claims, quantities: claims and numbers of the paper with ours.
        provenance: seed, commit, versions, device, wall time, data and their hashes.
        measurements: metrics for the report and `metrics.json`.
        tables: further tables by caption.
        deviations: sources of the configuration's values; the report lists those that the paper does not state.
        remarks: sentences on further deviations, e.g. in the simulation.
        merit: name of the quantity that stands for the paper in the summary of all papers.
    """

    name: str
    title: str
    paper: str
    claims: tuple[Claim, ...]
    quantities: tuple[Quantity, ...]
    provenance: Mapping[str, object]
    measurements: tuple[Measurement, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    deviations: tuple[Source, ...] = ()
    remarks: tuple[str, ...] = ()
    merit: str = ""

    def to_frames(self) -> dict[str, pd.DataFrame]:
        """Tables of the `claims`, the `quantities` and the `metrics`, a row for each."""
        return {
            "claims": pd.DataFrame([asdict(item) for item in self.claims]),
            "quantities": pd.DataFrame([asdict(item) for item in self.quantities]),
            "metrics": measurement_table(self.measurements),
        }

    def to_json(self) -> dict[str, object]:
        """Contents of `experiments/results/<name>.json`: all but the measurements."""
        return {name: value for name, value in asdict(self).items() if name != "measurements"}


Finding = tuple[Sequence[Value], Mapping[str, Value | float | str]]
"""Margins of a claim, and the numbers for its text, by name.

Each margin is positive where a condition of the claim holds; the weakest margin decides. Without margins the claim is
undecided.
"""
ClaimRule = Callable[[Evidence], Finding]
"""Function that decides a claim."""
_Rule = TypeVar("_Rule", bound=ClaimRule)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A claim of a paper, as a table of the TOML file has it.

    Args:
        claim: the claim in one line of our own.
        words: the paper's words.
        source: where they stand in the paper.
        ours: text with our numbers, a format string.
        needs: networks that the rule needs; the text names the first one that is missing or did not learn.
        groups: sets of networks that the rule needs together, by the name of their number.
        others: whether the text also gives the chi2/NDF of the other groups if one did not learn.
        decide: the file's command that would decide the claim; empty: none.
        average: whether errors of seeds are `shared`, as all seeds have one test sample, or `independent`.
        scatter: the text's remark on the scatter between trainings if there is a single one; empty: none.
        inconsistent: whether the paper contradicts itself.
    """

    claim: str
    words: str
    source: str
    ours: str
    needs: tuple[str, ...] = ()
    groups: dict = field(default_factory=dict)
    others: bool = False
    decide: str = ""
    average: str = "shared"
    scatter: str = "not in the errors"
    inconsistent: bool = False


class Claims:
    """Claims of a paper: statements of `claims/<paper>.toml`, rules of the paper's module.

    The table `[commands]` of the file has commands by name: those that a statement's `decide` means, and those that
    train a network, by the network's name, or by `missing` for any other network.

    Args:
        paper: name of the file.
        shared: name of a file with further claims, which come first: those that other parts of the paper share; empty:
            there is none.

    Raises:
        CalogenError: a table of a file is wrong; the message names it.
    """

    def __init__(self, paper: str, shared: str = "") -> None:
        folder = resources.files("calogen").joinpath("claims")
        tables = read_toml(folder.joinpath(f"{shared}.toml")) if shared else {}
        tables |= read_toml(folder.joinpath(f"{paper}.toml"))
        self.paper, self.shared = paper, shared
        self.commands: dict[str, str] = {"": "", "missing": "", **tables.pop("commands", {})}
        self.statements, self.rules = dict[str, Statement](), dict[str, ClaimRule]()
        for name, values in tables.items():
            try:
                self.statements[name] = plain_from_json(Statement, values)
                require_one_of(self.statements[name], average=("shared", "independent"), decide=tuple(self.commands))
            except ConfigError as error:
                raise ConfigError(f"{paper}.toml, table [{name}]: {error}") from error

    def rule(self, *names: str) -> Callable[[_Rule], _Rule]:
        """Decorator of the rule that decides the claims of these names."""

        def register(function: _Rule) -> _Rule:
            self.rules |= dict.fromkeys(names, function)
            return function

        return register

    def finding(self, name: str, evidence: Evidence) -> Finding:
        """Margins and numbers of a claim."""
        stated = self.statements[name]
        groups = {**{network: (network,) for network in stated.needs}, **stated.groups}
        return self.rules[name](replace(evidence, chi2=evidence.needed(groups, stated.others)))

    def judge(self, seeds: Sequence[Evidence]) -> tuple[Claim, ...]:
        """Claims with verdicts, from averages over the seeds that trained the networks."""
        stated = self.statements.items()
        return tuple(Claim(item.claim, item.source, item.words, *self._judge(name, seeds)) for name, item in stated)

    def _judge(self, name: str, seeds: Sequence[Evidence]) -> tuple[str, Verdict]:
        """Text with our numbers, and the verdict by the weakest margin."""
        stated, findings, problem = self.statements[name], [], None
        for evidence in seeds:
            try:
                findings.append((evidence, self.finding(name, evidence)))
            except NotDecidedError as error:
                problem = problem or error
        if problem and not findings:
            command = self.commands.get(problem.network or stated.decide, self.commands["missing"])
            text, undecided = ": ".join(filter(None, (str(problem), command))), verdict_on(Value(np.nan, np.nan))
            return text, "inconsistent in the paper" if stated.inconsistent else undecided
        if len(findings) == 1 < len(seeds):
            findings = [(evidence, self.finding(name, replace(evidence, alone=True))) for evidence, _ in findings]
        over_seeds = partial(average, independent=stated.average == "independent")
        all_margins, all_numbers = zip(*(finding for _, finding in findings), strict=True)
        margins = [over_seeds(values) for values in zip(*all_margins, strict=True)]
        verdict = verdict_on(min(margins, key=Value.significance, default=Value(np.nan, np.nan)))
        means = {key: _mean([row[key] for row in all_numbers], over_seeds) for key in all_numbers[0]}
        text = stated.ours.format(**means)
        if len(findings) == 1 and stated.scatter:
            text += f" [one training: the scatter between trainings is {stated.scatter}]"
        elif 1 < len(findings) < len(seeds):
            text += f" [{len(findings)} of {len(seeds)} trainings]"
        if stated.inconsistent:
            return text, "inconsistent in the paper"
        if stated.decide and verdict.startswith("undecided"):
            text += f" (would decide: {self.commands[stated.decide]})"
        return text, verdict


def largest(values: Sequence[Value]) -> Value:
    """The largest of some values; one that is not defined if there is any."""
    return max(values, key=lambda item: (np.isnan(item.value), item.value))


def average(values: Sequence[Value], independent: bool = False) -> Value:
    """Mean over training seeds, with an error.

    As all seeds share the test showers, their errors do not average out; the spread between seeds does. Errors that
    are `independent` average out; the spread takes their place where it is larger.
    """
    middle, spread = Value.repeated(values)
    between = (spread or 0.0) / float(np.sqrt(len(values)))
    return Value(middle.value, max(Value.mean(values).error, between)) if independent else middle + Value(0.0, between)


def _mean(rows: Sequence[Value | float | str], over_seeds: Callable[[Sequence[Value]], Value]) -> Value | str:
    """The mean over seeds of a number in a claim's text; a text is the first seed's."""
    first = rows[0]
    if isinstance(first, str):
        return first
    if not isinstance(first, Value) and all(row == first for row in rows):
        rows = rows[:1]  # the mean of equal numbers would differ by rounding
    return over_seeds([row + Value(0.0, 0.0) for row in rows if not isinstance(row, str)])


def verdict_on(evidence: Value) -> Verdict:
    """Verdict on a claim from a number that is positive where the claim holds.

    It is `reproduced` if the number is above 0 by at least two standard errors, `not reproduced` if it is below 0 by
    as much, and otherwise, or if there is no number, `undecided at this statistics`.

    Example:
        >>> verdict_on(Value(0.03, 0.01)), verdict_on(Value(-0.03, 0.01)), verdict_on(Value(0.01, 0.01))
        ('reproduced', 'not reproduced', 'undecided at this statistics')
    """
    if evidence.value and abs(evidence.value) >= 2 * evidence.error:  # NaN is neither above nor below
        return "reproduced" if evidence.value > 0 else "not reproduced"
    return "undecided at this statistics"
