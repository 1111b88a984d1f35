"""Configurations whose every number carries its source, and the papers that they cite.

A configuration is a frozen, keyword-only dataclass whose fields are `paper(...)` or `assumed(...)`:

    @dataclass(frozen=True, kw_only=True)
    class Config:
        latent_dim: int = paper(5, "Table 1")
        batch_size: int = assumed(100, "not stated; best of the scan")
"""

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin

from calogen.errors import ConfigError

Config = TypeVar("Config")

MAX_SEED = 2**63 - 1
"""Largest seed: the largest integer that HDF5 and most other formats hold."""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Citation of the paper that a model reproduces.

    Args:
        title, authors, journal: as the paper writes them; `journal` with volume, page and year.
        arxiv: the number alone, e.g. `2210.06204`.
        url: where to read it, e.g. the DOI's address.
    """

    title: str
    authors: str
    journal: str = ""
    arxiv: str = ""
    url: str = ""

    def __str__(self) -> str:
        arxiv = self.arxiv and f"arXiv:{self.arxiv}"
        return ", ".join(part for part in (self.authors, f'"{self.title}"', self.journal, arxiv, self.url) if part)


@dataclass(frozen=True)
class Source:
    """Where one value of a configuration comes from.

    Args:
        name, value: the field.
        kind: `paper` if the paper states the value, `assumed` if not.
        source: the place in the paper, or the reason for the choice.
    """

    name: str
    value: Any
    kind: Literal["paper", "assumed"]
    source: str


def paper(
    value: Any,
    source: str,
    others: Mapping[Any, str] = MappingProxyType({}),
    code: Mapping[Any, str] = MappingProxyType({}),
) -> Any:
    """A dataclass field whose value the paper states, e.g. `paper(5, "Table 1")`.

    Args:
        value: the default.
        source: where the paper states it.
        others: further values that it states, with their sources, e.g. `{50: "section 4.1: the upper GANs"}`.
        code: values of its public code where the two differ, with their places: they count as assumed.
    """
    known = {item: ("paper", where) for item, where in others.items()}
    known |= {item: ("assumed", f"public code: {where}") for item, where in code.items()}
    return _sourced(value, "paper", source, known)


def assumed(value: Any, reason: str, others: Mapping[Any, str] = MappingProxyType({})) -> Any:
    """A dataclass field that the paper leaves open or we deviate from, and the reason why.

    Args:
        value: the default.
        reason: why.
        others: further values, with their reasons.
    """
    return _sourced(value, "assumed", reason, {item: ("assumed", why) for item, why in others.items()})


def require(condition: bool, message: str) -> None:
    """Refuse a configuration (for `__post_init__`).

    Raises:
        ConfigError: with the message, where the condition does not hold.
    """
    if not condition:
        raise ConfigError(message)


def require_seed(seed: int) -> None:
    """Refuse a seed that is not in 0..`MAX_SEED`.

    Raises:
        ConfigError: names it.
    """
    require(0 <= seed <= MAX_SEED, f"seed must be 0 to {MAX_SEED}. Received: {seed!s:.40}")


def require_one_of(config: Any, **choices: tuple[str, ...]) -> None:
    """Refuse a configuration with another value than the choices of a field.

    Raises:
        ConfigError: names the first such field.
    """
    for name, allowed in choices.items():
        value = getattr(config, name)
        require(value in allowed, f"{name} must be one of {allowed}. Received: {value!r}")


def require_above_zero(config: Any, *names: str) -> None:
    """Refuse a configuration with a field that is not above 0.

    Raises:
        ConfigError: names the first such field.
    """
    for name in names:
        require(getattr(config, name) > 0, f"{name} must be above 0. Received: {getattr(config, name)}")


def sources(config: Any, original: Any = None) -> list[Source]:
    """Source of every value of a configuration or its class; a changed value is assumed.

    Args:
        config: a configuration, or its class.
        original: the paper's configuration that it was made of; None: the class's defaults.

    Raises:
        ConfigError: a field is neither `paper(...)` nor `assumed(...)`.
    """
    found = []
    for field in dataclasses.fields(config):
        if "kind" not in field.metadata:
            raise ConfigError(f"{field.name} must be paper(...) or assumed(...). Received: a plain field")
        value = field.default if isinstance(config, type) else getattr(config, field.name)
        expected = value if original is None else getattr(original, field.name)
        kind, source = field.metadata["kind"], field.metadata["source"]
        if expected != field.default and expected in field.metadata["others"]:
            kind, source = field.metadata["others"][expected]
        elif original is None:
            expected = field.default
        if kind == "paper" and value != expected:
            kind, source = "assumed", f"changed; the paper has {expected!r} ({source})"
        found.append(Source(field.name, value, kind, source))
    return found


def config_to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values; `config_from_json` gives it back.

    Raises:
        ConfigError: a value that is neither a number, text, bool, None nor a tuple of these.
    """
    return {field.name: _to_json(field.name, getattr(config, field.name)) for field in dataclasses.fields(config)}


def config_from_json(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """The configuration that `config_to_json` turned into JSON.

    Raises:
        ConfigError: unknown or missing names, or a value of another type than the default's.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    require(isinstance(values, Mapping), f"{cls.__name__} must be a table of values. Received: {values!r:.200}")
    unknown, missing = sorted(set(values) - set(fields)), sorted(set(fields) - set(values))
    if unknown or missing:
        raise ConfigError(
            f"{cls.__name__} has the values {sorted(fields)}. Received: unknown {unknown!s:.200}, missing {missing} "
            "(was it written by another version?)"
        )
    try:
        return cls(**{name: _from_json(name, value, fields[name].default) for name, value in values.items()})
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ConfigError(f"{cls.__name__} must have values of its kinds. Received: {error!s:.200}") from error


def plain_from_json(cls: type[Config], values: Any) -> Config:
    """A dataclass of numbers, bools, texts or tuples of numbers, from a JSON table.

    Raises:
        ConfigError: no table, unknown or missing names, a value of another type than the field's, NaN or infinity.
    """
    kinds = {field.name: field.type for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    require(isinstance(values, Mapping), f"{cls.__name__} must be a table of values. Received: {values!r:.200}")
    for name, value in values.items():
        require(
            name in kinds and _is_of(value, kinds[name]),
            f"{cls.__name__} has the values {', '.join(kinds)}. Received: {name!r:.40}: {value!r:.100}",
        )
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return cls(**given)
    except TypeError as error:
        raise ConfigError(f"{cls.__name__} has the values {', '.join(kinds)}. Received: {error}") from error


def _sourced(value: Any, kind: str, source: str, others: Mapping[Any, tuple[str, str]]) -> Any:
    require(bool(source.strip()), f"the value {value!r} needs a source. Received: an empty one")
    return dataclasses.field(default=value, metadata={"kind": kind, "source": source, "others": others})


def _to_json(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_json(name, item) for item in value]
    require(
        value is None or type(value) in (bool, int, float, str),
        f"{name} must be a number, text, bool, None or a tuple of these. Received: {type(value).__name__}",
    )
    return value


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of an annotated type."""
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_is_of(item, get_args(kind)[0]) for item in value)
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is kind


def _from_json(name: str, value: Any, default: Any) -> Any:
    if isinstance(value, list):
        first = default[0] if isinstance(default, tuple) and default else None
        value = tuple(_from_json(name, item, first) for item in value)
    if type(value) in (int, float):
        require(abs(value) <= sys.float_info.max, f"{name} must be a finite number. Received: {value!r:.40}")
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    fits = value is None or default is None or type(value) is type(default)
    require(fits, f"{name} must be of type {type(default).__name__}. Received: {value!r:.200}")
    return value
