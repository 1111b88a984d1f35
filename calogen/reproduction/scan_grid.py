"""Grids of hyperparameters: the points that a scan visits."""

import itertools
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TypeGuard

from calogen.config import Config, config_from_json, config_to_json, require
from calogen.errors import ConfigError
from calogen.reproduction.scan_criteria import Criterion
from calogen.showers.geometry import Geometry

SAMPLERS = ("one-at-a-time", "grid", "tpe")
"""One value at a time against the starting point; all combinations; Optuna's tree-structured Parzen estimator."""
MAX_POINTS = 10_000
"""Number of points that a scan visits at most; of a larger grid `--trials` are drawn."""

_NAME = re.compile(r"(\w+?)(?:\[(\d+)\])?")
_TRIALS = 30  # of tpe, unless the file or the command line says another number
_ORDER = 1  # seed of the order in which a grid is visited

Choice = bool | int | float | str | None
"""A value as Optuna takes it; a tuple becomes JSON text."""


@dataclass(frozen=True)
class Parameter:
    """Values of one hyperparameter, and where they come from."""

    values: tuple[object, ...]
    source: str


@dataclass(frozen=True)
class Point:
    """A place in the grid.

    Args:
        name: what it differs in from the starting point, or the name of a variant.
        changes: values of the fields that differ, by their names in the grid.
    """

    name: str
    changes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a scan visits.

    Args:
        model: name of the model's module.
        start: the starting point, with the budget of the preset.
        geometry: geometry of the showers.
        parameters: hyperparameters by name.
        variants: changes of several fields at once, by name.
        criterion: by what a point is judged.
        energies: incident energies of the showers that count, MeV; empty: all.
        sampler: one of `SAMPLERS`.
        trials: number of trials; None: all points, or 30 of tpe.
    """

    model: str
    start: Config
    geometry: Geometry
    parameters: Mapping[str, Parameter]
    variants: Mapping[str, Mapping[str, object]]
    criterion: Criterion
    energies: tuple[float, ...]
    sampler: str
    trials: int | None

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that some point may change: names of fields, or of positions in them."""
        further = () if self.sampler != "one-at-a-time" else self.variants.values()
        return tuple(dict.fromkeys([*self.parameters, *itertools.chain(*further)]))

    @property
    def choices(self) -> dict[str, list[Choice]]:
        """Values of each name, as Optuna takes them; numbers are in order."""
        further = () if self.sampler != "one-at-a-time" else self.variants.values()
        choices: dict[str, list[Choice]] = {}
        for name in self.names:
            known = self.parameters.get(name, Parameter((), "")).values
            given = [value_of(self.start, name), *known, *(item[name] for item in further if name in item)]
            values = list(dict.fromkeys(map(encode, given)))
            choices[name] = [*sorted(values)] if _are_numbers(values) else values
        return choices

    @property
    def num_points(self) -> int:
        """Number of trials of a complete scan."""
        if self.sampler == "one-at-a-time":
            return len(self._one_at_a_time())
        size = prod(len(choices) for choices in self.choices.values())
        return min(size, self.trials or (_TRIALS if self.sampler == "tpe" else size))

    def points(self) -> list[Point]:
        """The points in the order of their visits; of tpe the first, the starting point.

        Raises:
            ConfigError: there are more than `MAX_POINTS`.
        """
        require(
            self.num_points <= MAX_POINTS,
            f"a scan visits {MAX_POINTS:,} points at most: give --trials, or --sampler one-at-a-time. Received: "
            f"{self.num_points:,}",
        )
        if self.sampler == "tpe":
            return [Point("start")]
        if self.sampler == "one-at-a-time":
            return self._one_at_a_time()
        return [self.point_of(params) for params in itertools.islice(shuffled(self.choices), self.num_points)]

    def params_of(self, point: Point) -> dict[str, Choice]:
        """A point as Optuna knows it: the value of every name."""
        config = self.config_of(point)
        return {name: encode(value_of(config, name)) for name in self.names}

    def point_of(self, params: Mapping[str, Choice]) -> Point:
        """The point that has these values; its name is made of what differs from the start."""
        changes = {
            name: decode(params[name], value_of(self.start, name))
            for name in self.names
            if params[name] != encode(value_of(self.start, name))
        }
        named = ", ".join(f"{name} {value_text(value)}" for name, value in changes.items())
        return Point(named or "start", changes)

    def config_of(self, point: Point) -> Config:
        """The configuration at a point.

        Raises:
            ConfigError: the configuration refuses these values together.
        """
        return changed(self.start, point.changes)

    def _one_at_a_time(self) -> list[Point]:
        """The start, each other value of each parameter, the variants; equal ones once."""
        single = [
            Point(f"{name} {value_text(value)}", {name: value})
            for name, parameter in self.parameters.items()
            for value in parameter.values
        ]
        named = [Point(name, changes) for name, changes in self.variants.items()]
        known: dict[str, Point] = {}
        for point in [Point("start"), *single, *named]:
            known.setdefault(json.dumps(config_to_json(self.config_of(point))), point)
        return list(known.values())[: self.trials]


def with_choices(grid: Grid, *, sampler: str | None, trials: int | None, seeds: int | None) -> Grid:
    """The grid with what the command line says instead of the file; None: as in the file.

    Raises:
        ConfigError: a sampler other than `one-at-a-time`, and no parameters.
    """
    criterion = grid.criterion if seeds is None else replace(grid.criterion, seeds=seeds)
    chosen = replace(grid, sampler=sampler or grid.sampler, trials=trials or grid.trials, criterion=criterion)
    require_consistent("--sampler", chosen)
    return chosen


def value_of(config: Config, name: str) -> object:
    """The value of a field, or of a position in it."""
    known, position = _split(name)
    value = getattr(config, known)
    return value if position is None else value[position]


def changed(config: Config, changes: Mapping[str, object]) -> Config:
    """A configuration with other values of some names.

    Raises:
        ConfigError: a name is no field, or no position in it, or the configuration refuses a value.
    """
    plain = config_to_json(config)
    for name, value in changes.items():
        known, position = _split(name)
        before = plain.get(known)
        there = known in plain and (position is None or (isinstance(before, list) and position < len(before)))
        require(
            there and known != "seed",
            f"{type(config).__name__} has the fields {', '.join(item for item in plain if item != 'seed')}. "
            f"Received: {name}",
        )
        new = list(value) if isinstance(value, tuple) else value
        if position is not None and isinstance(before, list):
            new = [*before[:position], new, *before[position + 1 :]]
        plain[known] = new
    return config_from_json(type(config), plain)


def encode(value: object) -> Choice:
    """A value as Optuna takes it."""
    if isinstance(value, tuple):
        return json.dumps(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"a value must be a number, text, bool or a tuple of these. Received: {value!r:.100}")


def decode(choice: Choice, like: object) -> object:
    """The value that was encoded; `like` is another one of the same kind."""
    return tuple(json.loads(choice)) if isinstance(like, tuple) and isinstance(choice, str) else choice


def value_text(value: object) -> str:
    """A value as names of points show it.

    >>> value_text((50, 100)), value_text(1e-4), value_text(True)
    ('50-100', '0.0001', 'true')
    """
    if isinstance(value, tuple | list):
        return "-".join(map(value_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def require_consistent(place: str, grid: Grid) -> None:
    """Refuse a grid of which a scan could not make points."""
    require(
        grid.sampler in SAMPLERS, f"{place}: sampler must be one of {', '.join(SAMPLERS)}. Received: {grid.sampler}"
    )
    require(grid.trials is None or grid.trials > 0, f"{place}: trials must be above 0. Received: {grid.trials}")
    require(
        bool(grid.parameters) or grid.sampler == "one-at-a-time",
        f"{place}: a grid without parameters takes the sampler one-at-a-time. Received: {grid.sampler}",
    )
    names = {*grid.parameters, *itertools.chain(*grid.variants.values())}
    for name in sorted(names):
        known, position = _split(name)
        require(
            position is None or known not in names,
            f"{place}: {known} must be changed as a whole or by position. Received: {known} and {name}",
        )


def shuffled(choices: Mapping[str, Sequence[Choice]]) -> Iterator[dict[str, Choice]]:
    """All combinations in an order of chance, which for more trials only goes on."""
    size, rng = prod(map(len, choices.values())), random.Random(_ORDER)
    seen: set[int] = set()
    while len(seen) < size:
        number = rng.randrange(size)
        if number in seen:
            continue
        seen.add(number)
        params = {}
        for name, values in choices.items():
            number, position = divmod(number, len(values))
            params[name] = values[position]
        yield params


def _split(name: str) -> tuple[str, int | None]:
    """A field and a position in it, if the name has one."""
    match = _NAME.fullmatch(name)
    return (name, None) if match is None else (match[1], None if match[2] is None else int(match[2]))


def _is_number(value: object) -> TypeGuard[int | float]:
    return type(value) in (int, float)


def _are_numbers(values: Sequence[object]) -> TypeGuard[list[int | float]]:
    return all(map(_is_number, values))
