"""Files of grids: what a scan varies, by which figure it judges, how long it trains.

A grid is a file in TOML, whose every value is checked before the first training:

    sampler = "one-at-a-time"           # what `--sampler` is by default
    [start]
    config = "paper"                    # a configuration of the model, and changes of it
    changes = { learning_rate = 1e-3 }
    [criterion]
    name = "ks"                         # the other settings: `scan_criteria.Criterion`
    observables = ["total_energy"]
    [budget.smoke]                      # and likewise laptop and paper: changes, seeds, folds, trials
    changes = { epochs = 2 }
    [parameters.kl_weight]              # a field of the configuration; "layer_weights[0]" is the first of a tuple
    values = [1e-2, 1e-3]
    source = "where the paper has it"
    [variants."small and fast"]         # several fields at once
    changes = { batch_size = 400, learning_rate = 3e-3 }
    [finalists]                         # a second grid with tables of its own; it inherits what is neither
                                        # parameters nor variants
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from calogen.config import Config, Dataclass, plain_from_json, require
from calogen.errors import ConfigError, DataFormatError
from calogen.files import read_text
from calogen.generation.load import model_module
from calogen.reproduction.scan_criteria import read_criterion
from calogen.reproduction.scan_grid import SAMPLERS, Grid, Parameter, changed, require_consistent, value_of
from calogen.showers.geometry import Geometry

_ROOT = {"sampler", "start", "showers", "criterion", "budget", "parameters", "variants", "finalists"}
_OWN = ("parameters", "variants")  # what finalists do not inherit

_Plain = TypeVar("_Plain", bound=Dataclass)


def read_grid(path: Path, model: str, preset: str, *, finalists: bool = False) -> Grid:
    """Reads a grid.

    Args:
        path: the file.
        model: name of a module in `calogen.models`.
        preset: whose budget is taken.
        finalists: whether to take the second grid of the file.

    Raises:
        DataFormatError: there is no such file, it is no TOML, or there is no such model.
        ConfigError: a table, a key, a field or a value is not what it should be; the message names it.
    """
    try:
        root = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise DataFormatError(f"{path} must be a file in TOML. Received: {error}") from error
    tables = _Tables(path.name, root)
    tables.require_known("", root, _ROOT)
    if finalists:
        require("finalists" in root, f"{path.name} must have the table [finalists]. Received: {', '.join(root)}")
        second = tables.table("finalists")
        tables.require_known("finalists", second, _ROOT - {"finalists"})
        kept = {key: value for key, value in root.items() if key not in (*_OWN, "finalists")}
        tables = _Tables(f"{path.name}, [finalists]", {**kept, **second})
    start, geometry = _read_start(tables, model)
    budgets = tables.table("budget")
    require(preset in budgets, f"{tables.name} must have the table [budget.{preset}]. Received: {', '.join(budgets)}")
    budget, where = tables.table("budget", preset), f"budget.{preset}"
    limits = tables.plain(_Limits, where, {key: value for key, value in budget.items() if key != "changes"})
    start = tables.changed(where, start, tables.table("budget", preset, "changes"))
    own = {name: number for name in ("seeds", "folds") if (number := getattr(limits, name))}
    criterion = read_criterion(tables.name, {**tables.table("criterion"), **own}, geometry, start)
    grid = Grid(
        model=model,
        start=start,
        geometry=geometry,
        parameters=_read_parameters(tables, start),
        variants=_read_variants(tables, start),
        criterion=criterion,
        energies=tables.plain(_Showers, "showers", tables.table("showers")).energies,
        sampler=str(tables.root.get("sampler", SAMPLERS[0])),
        trials=limits.trials or None,
    )
    require_consistent(tables.name, grid)
    return grid


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """The table [budget.<preset>] without its changes; 0: what stands elsewhere."""

    seeds: int = 0
    folds: int = 0
    trials: int = 0


@dataclass(frozen=True, kw_only=True)
class _Showers:
    """The table [showers]."""

    energies: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A table [parameters.<name>] without its values."""

    source: str = ""


class _Tables:
    """Tables of a file, and what is said where they are wrong."""

    def __init__(self, name: str, root: Mapping[str, object]) -> None:
        self.name, self.root = name, root

    def table(self, *keys: str) -> Mapping[str, object]:
        """The table at this place; empty: there is none."""
        found: object = self.root
        for number, key in enumerate(keys, 1):
            found = found.get(key, {}) if isinstance(found, Mapping) else {}
            where = ".".join(keys[:number])
            require(isinstance(found, Mapping), f"{self.name}: {where} must be a table. Received: {found!r:.100}")
        return found if isinstance(found, Mapping) else {}

    def require_known(self, where: str, table: Mapping[str, object], known: set[str]) -> None:
        """Refuse a key that nothing reads."""
        unknown = ", ".join(sorted(set(table) - known))
        place = f"{self.name}, [{where}]" if where else self.name
        require(not unknown, f"{place} knows {', '.join(sorted(known))}. Received: {unknown}")

    def plain(self, cls: type[_Plain], where: str, table: Mapping[str, object]) -> _Plain:
        """`plain_from_json`, with the place in the message of an error."""
        try:
            return plain_from_json(cls, table)
        except ConfigError as error:
            raise ConfigError(f"{self.name}, [{where}]: {error}") from error

    def changed(self, where: str, config: Config, changes: Mapping[str, object]) -> Config:
        """`changed`, with the place in the message of an error."""
        try:
            return changed(config, changes)
        except ConfigError as error:
            raise ConfigError(f"{self.name}, [{where}]: {error}") from error


def _read_start(tables: _Tables, model: str) -> tuple[Config, Geometry]:
    configs = model_module(model).CONFIGS
    table = tables.table("start")
    tables.require_known("start", table, {"config", "changes"})
    name = str(table.get("config", next(iter(configs))))
    require(name in configs, f"{tables.name}, [start]: config must be of {', '.join(configs)}. Received: {name}")
    config, geometry = configs[name]
    return tables.changed("start", config, tables.table("start", "changes")), geometry


def _read_parameters(tables: _Tables, start: Config) -> dict[str, Parameter]:
    parameters = {}
    for name in tables.table("parameters"):
        table, where = tables.table("parameters", name), f"parameters.{name}"
        values = table.get("values")
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{tables.name}, [{where}]: values must be a list of some. Received: {values!r:.100}")
        about = tables.plain(_Source, where, {key: value for key, value in table.items() if key != "values"})
        require(
            bool(about.source.strip()),
            f"{tables.name}, [{where}]: source must say where the values come from, in words",
        )
        read = [value_of(tables.changed(where, start, {name: value}), name) for value in values]
        parameters[name] = Parameter(tuple(read), about.source)
    return parameters


def _read_variants(tables: _Tables, start: Config) -> dict[str, dict[str, object]]:
    variants = {}
    for name in tables.table("variants"):
        where = f'variants."{name}"'
        tables.require_known(where, tables.table("variants", name), {"changes"})
        changes = tables.table("variants", name, "changes")
        require(bool(changes), f"{tables.name}, [{where}] must have changes. Received: none")
        config = tables.changed(where, start, changes)
        variants[name] = {field: value_of(config, field) for field in changes}
    return variants
