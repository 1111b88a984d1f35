"""Claims of a paper, numbers beside the paper's own, and the one judge."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import resources
from typing import Any, Literal, get_args

import numpy as np

from calogen.config import Source, plain_from_json, require_one_of
from calogen.errors import ConfigError, DataFormatError
from calogen.evaluation.compare import Measurement
from calogen.evaluation.trainings import Evidence, NotDecidedError
from calogen.files import read_toml
from calogen.metrics.distributions import Value

Verdict = Literal["reproduced", "not reproduced", "undecided at this statistics", "inconsistent in the paper"]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and what became of it.

    Args:
        claim, source: what the paper claims, in one line; section or figure.
        paper, ours: the paper's words or figure; our figures, in words.
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
        paper: the paper's number, or text such as "about 5"; None where the paper gives none.
        ours, uncertainty, spread: our number, its statistical error, standard deviation over training seeds.
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
    """A table of the report: titles of the columns, and rows of texts."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Results:
    """Everything a reproduction says in words and numbers.

    Args:
        name, title, paper: the file's name, e.g. `atlas_vae`, the report's title, the citation.
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
        return {name: value for name, value in asdict(self).items() if name != "measurements"}


Finding = tuple[Sequence[Value], Mapping[str, Value | float | str]]
ClaimRule = Callable[[Evidence], Finding]
"""Evidence -> margins (positive where the claim holds, the weakest decides; none: undecided), figures for the text."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A paper's claim, as its table in the TOML file has it.

    Args:
        claim, words, source: what it says in one line of ours, the paper's words, where they stand.
        ours: our figures in words, a format string.
        needs: networks; the first that is missing, or did not learn, is told.
        groups: the same for several together, by figure.
        others: whether the chi2/NDF of the other groups are told beside one that did not learn.
        decide: which of the file's commands would decide it; empty: none.
        average: over seeds: `shared` errors, all have the same test showers, or `independent` ones.
        scatter: where that between trainings is if there is a single one; empty: there is none.
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
    """The claims of a paper: tables of `claims/<paper>.toml`, rules that its module adds.

    `[commands]` has what would decide a claim, by `decide`, and what trains a network, by its name, else `missing`.

    Raises:
        CalogenError: names the table that is not what it should be.
    """

    def __init__(self, paper: str) -> None:
        tables = read_toml(resources.files("calogen").joinpath("claims", f"{paper}.toml"))
        self.commands: dict[str, str] = {"": "", "missing": "", **tables.pop("commands", {})}
        self.statements, self.rules = dict[str, Statement](), dict[str, ClaimRule]()
        for name, values in tables.items():
            try:
                self.statements[name] = plain_from_json(Statement, values)
                require_one_of(self.statements[name], average=("shared", "independent"), decide=tuple(self.commands))
            except ConfigError as error:
                raise ConfigError(f"{paper}.toml, table [{name}]: {error}") from error

    def rule(self, *names: str) -> Callable[[ClaimRule], ClaimRule]:
        """Decorator of what judges the claims of these names."""

        def register(function: ClaimRule) -> ClaimRule:
            self.rules |= dict.fromkeys(names, function)
            return function

        return register

    def found(self, name: str, evidence: Evidence) -> Finding:
        """Margins and figures of a claim."""
        stated = self.statements[name]
        groups = {**{network: (network,) for network in stated.needs}, **stated.groups}
        return self.rules[name](replace(evidence, chi2=evidence.needed(groups, stated.others)))

    def judge(self, seeds: Sequence[Evidence]) -> tuple[Claim, ...]:
        """The claims table, averaged over the seeds that trained what a claim needs."""
        stated = self.statements.items()
        return tuple(Claim(item.claim, item.source, item.words, *self._judge(name, seeds)) for name, item in stated)

    def _judge(self, name: str, seeds: Sequence[Evidence]) -> tuple[str, Verdict]:
        """Our figures in words, and the verdict by the weakest margin."""
        stated, able, problem = self.statements[name], [], None
        for evidence in seeds:
            try:
                able.append((evidence, self.found(name, evidence)))
            except NotDecidedError as error:
                problem = problem or error
        if problem and not able:
            command = self.commands.get(problem.network or stated.decide, self.commands["missing"])
            return ": ".join(filter(None, (str(problem), command))), verdict_on(Value(np.nan, np.nan))
        if len(able) == 1 < len(seeds):
            able = [(evidence, self.found(name, replace(evidence, alone=True))) for evidence, _ in able]
        over_seeds = partial(average, independent=stated.average == "independent")
        every, shown = zip(*(found for _, found in able), strict=True)
        margins = [over_seeds(values) for values in zip(*every, strict=True)]
        verdict = verdict_on(min(margins, key=Value.significance, default=Value(np.nan, np.nan)))
        figures = {
            key: first if isinstance(first, str) else over_seeds([figures[key] + Value(0.0, 0.0) for figures in shown])
            for key, first in shown[0].items()
        }
        text = stated.ours.format(**figures)
        if len(able) == 1 and stated.scatter:
            text += f" [one training: the scatter between trainings is {stated.scatter}]"
        elif 1 < len(able) < len(seeds):
            text += f" [{len(able)} of {len(seeds)} trainings]"
        if stated.inconsistent:
            return text, "inconsistent in the paper"
        if stated.decide and verdict.startswith("undecided"):
            text += f" (would decide: {self.commands[stated.decide]})"
        return text, verdict


def average(values: Sequence[Value], independent: bool = False) -> Value:
    """Mean over seeds: only their spread averages out, as all share the test showers.

    Errors that are `independent` average out, too, or the spread stands for them if it gives more.
    """
    middle, spread = Value.repeated(values)
    between = (spread or 0.0) / float(np.sqrt(len(values)))
    return Value(middle.value, max(Value.mean(values).error, between)) if independent else middle + Value(0.0, between)


def verdict_on(evidence: Value) -> Verdict:
    """Verdict on a claim from a number that is positive where the claim holds.

    `reproduced` where it is above 0 by at least two standard errors, `not reproduced` where it is below 0 by as much,
    else (also without a value) `undecided at this statistics`.

    Example:
        >>> verdict_on(Value(0.03, 0.01)), verdict_on(Value(-0.03, 0.01)), verdict_on(Value(0.01, 0.01))
        ('reproduced', 'not reproduced', 'undecided at this statistics')
    """
    if evidence.value and abs(evidence.value) >= 2 * evidence.error:  # NaN is neither above nor below
        return "reproduced" if evidence.value > 0 else "not reproduced"
    return "undecided at this statistics"
