"""Configurations whose every number carries its source, and the papers that they cite.

A configuration is a frozen, keyword-only dataclass whose fields are `paper(...)` or `assumed(...)`:

    @dataclass(frozen=True, kw_only=True)
    class ModelConfig:
        latent_dim: int = paper(5, "Table 1")
        batch_size: int = assumed(100, "not stated; best of the scan")
        seed: int = assumed(0, "ours")
"""

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, Protocol, TypeGuard, TypeVar, get_args, get_origin, runtime_checkable

from calogen.errors import ConfigError

MAX_SEED = 2**63 - 1
"""Largest seed: the largest integer that HDF5 and most other formats hold."""


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]


@runtime_checkable
class Config(Dataclass, Protocol):
    """The configuration of a model: a frozen dataclass with a seed."""

    @property
    def seed(self) -> int:
        """Seed of the weights, of the order of the showers and of the noise."""


_Value = TypeVar("_Value")
_Config = TypeVar("_Config", bound=Config)
_Dataclass = TypeVar("_Dataclass", bound=Dataclass)


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Citation of the paper that a model reproduces.

    Args:
        title, authors, journal: as the paper writes them; `journal` with volume, page and year.
        arxiv: the arXiv number alone, e.g. `2210.06204`.
        url: address at which the paper can be read, e.g. that of its DOI.
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
        kind: `paper` if the paper states the value, `assumed` if not.
        source: the place in the paper, or the reason for the choice.
    """

    name: str
    value: object
    kind: Literal["paper", "assumed"]
    source: str


def paper(
    value: _Value,
    source: str,
    others: Mapping[_Value, str] = MappingProxyType({}),
    code: Mapping[_Value, str] = MappingProxyType({}),
) -> _Value:
    """A dataclass field whose value the paper states, e.g. `paper(5, "Table 1")`.

    Args:
        source: the place where the paper states it.
        others: further values that the paper states, with their places, e.g. `{50: "section 4.1: the upper GANs"}`.
        code: values in which the paper's public code differs from its text, with their places; they count as assumed.
    """
    alternatives = {item: ("paper", place) for item, place in others.items()}
    alternatives |= {item: ("assumed", f"public code: {place}") for item, place in code.items()}
    return _sourced(value, "paper", source, alternatives)


def assumed(value: _Value, reason: str, others: Mapping[_Value, str] = MappingProxyType({})) -> _Value:
    """A dataclass field that the paper leaves open, or in which we deviate from the paper.

    Args:
        reason: why this value was chosen.
        others: further values, with the reasons for them.
    """
    return _sourced(value, "assumed", reason, {item: ("assumed", why) for item, why in others.items()})


def option(value: _Value, reason: str, others: Mapping[_Value, str] = MappingProxyType({})) -> _Value:
    """An `assumed` field that earlier versions did not have; its default is what they did.

    A configuration that was written without it is read with its default, and trainings that were interrupted before go
    on: at its default the field is no part of their identity (`identity_of`).

    Args:
        value: the default, with which networks and training are as they were.
        reason, others: as for `assumed`.
    """
    return _sourced(value, "assumed", reason, {item: ("assumed", why) for item, why in others.items()}, later=True)


def require(condition: bool, message: str) -> None:
    """Refuse, with a `ConfigError`, a configuration for which a condition does not hold."""
    if not condition:
        raise ConfigError(message)


def require_seed(seed: int) -> None:
    """Refuse, with a `ConfigError`, a seed that is not in 0..`MAX_SEED`."""
    require(0 <= seed <= MAX_SEED, f"seed must be 0 to {MAX_SEED}. Received: {seed!s:.40}")


def require_one_of(config: Dataclass, **choices: tuple[str, ...]) -> None:
    """Refuse, with a `ConfigError`, a field with none of the values that are allowed for it.

    Args:
        choices: the allowed values of each field to check, by the field's name.
    """
    for name, allowed in choices.items():
        value = getattr(config, name)
        require(value in allowed, f"{name} must be one of {allowed}. Received: {value!r}")


def require_above_zero(config: Dataclass, *names: str) -> None:
    """Refuse, with a `ConfigError`, a configuration in which a named field is not above 0."""
    for name in names:
        require(getattr(config, name) > 0, f"{name} must be above 0. Received: {getattr(config, name)}")


def require_zero_or_more(config: Dataclass, *names: str) -> None:
    """Refuse, with a `ConfigError`, a configuration with a named field below 0, or NaN."""
    for name in names:
        require(getattr(config, name) >= 0, f"{name} must be 0 or more. Received: {getattr(config, name)}")


def sources(config: Config | type[Config], original: Config | None = None) -> list[Source]:
    """Source of every value of a configuration; a value that was changed counts as assumed.

    Args:
        config: a configuration, or its class, which stands for the defaults.
        original: the paper's configuration from which `config` was made; None: the class's defaults.

    Raises:
        ConfigError: a field is neither `paper(...)` nor `assumed(...)`.
    """
    listed = []
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
        listed.append(Source(field.name, value, kind, source))
    return listed


def config_to_json(config: Config) -> dict[str, object]:
    """The values of a configuration as JSON; `config_from_json` is the inverse.

    Raises:
        ConfigError: a value is neither a number, a text, a bool, None nor a tuple of these.
    """
    return {field.name: _to_json(field.name, getattr(config, field.name)) for field in dataclasses.fields(config)}


def identity_of(config: Config) -> dict[str, object]:
    """The values that decide a training: those of `config_to_json` but options at defaults."""
    at_default = {
        field.name
        for field in dataclasses.fields(config)
        if field.metadata.get("later") and getattr(config, field.name) == field.default
    }
    return {name: value for name, value in config_to_json(config).items() if name not in at_default}


def config_from_json(cls: type[_Config], values: object) -> _Config:
    """The configuration whose values `config_to_json` wrote.

    An `option` may be missing, as earlier versions did not have it; it then has its default.

    Raises:
        ConfigError: names are unknown or missing, or a value is of another type than the field's default.
    """
    fields, table = {field.name: field for field in dataclasses.fields(cls)}, _table(cls, values)
    needed = {name for name, field in fields.items() if not field.metadata.get("later")}
    unknown, missing = sorted(set(table) - set(fields)), sorted(needed - set(table))
    if unknown or missing:
        raise ConfigError(
            f"{cls.__name__} has the values {sorted(fields)}. Received: unknown {unknown!s:.200}, missing {missing} "
            "(was it written by another version?)"
        )
    try:
        return cls(**{name: _from_json(name, value, fields[name].default) for name, value in table.items()})
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ConfigError(f"{cls.__name__} must have values of its kinds. Received: {error!s:.200}") from error


def plain_from_json(cls: type[_Dataclass], values: object) -> _Dataclass:
    """A dataclass of numbers, bools, texts or tuples of numbers, made from a JSON table.

    Raises:
        ConfigError: the values are no table, a name is unknown or missing, or a value is NaN, infinite or of another
            type than the field.
    """
    kinds, table = {field.name: field.type for field in dataclasses.fields(cls)}, _table(cls, values)
    for name, value in table.items():
        require(
            name in kinds and _is_of(value, kinds[name]),
            f"{cls.__name__} has the values {', '.join(kinds)}. Received: {name!r:.40}: {value!r:.100}",
        )
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(f"{cls.__name__} has the values {', '.join(kinds)}. Received: {error}") from error


def _table(cls: type, values: object) -> Mapping[str, object]:
    """JSON values, if they are a table."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{cls.__name__} must be a table of values. Received: {values!r:.200}")
    return values


def _sourced(
    value: _Value, kind: str, source: str, others: Mapping[_Value, tuple[str, str]], *, later: bool = False
) -> _Value:
    require(bool(source.strip()), f"the value {value!r} needs a source. Received: an empty one")
    return dataclasses.field(default=value, metadata={"kind": kind, "source": source, "others": others, "later": later})


def _to_json(name: str, value: object) -> object:
    if isinstance(value, tuple):
        return [_to_json(name, item) for item in value]
    require(
        value is None or type(value) in (bool, int, float, str),
        f"{name} must be a number, text, bool, None or a tuple of these. Received: {type(value).__name__}",
    )
    return value


def _is_of(value: object, kind: object) -> bool:
    """Whether a JSON value is of an annotated type."""
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_is_of(item, get_args(kind)[0]) for item in value)
    if kind is float:
        return _is_number(value) and abs(value) <= sys.float_info.max
    return type(value) is kind


def _is_number(value: object) -> TypeGuard[int | float]:
    return type(value) in (int, float)  # a bool is no number


def _from_json(name: str, value: object, default: object) -> object:
    if isinstance(value, list):
        first = default[0] if isinstance(default, tuple) and default else None
        value = tuple(_from_json(name, item, first) for item in value)
    if _is_number(value):
        require(abs(value) <= sys.float_info.max, f"{name} must be a finite number. Received: {value!r:.40}")
        value = float(value) if isinstance(default, float) else value
    fits = default is None or type(value) is type(default)
    require(fits, f"{name} must be of type {type(default).__name__}. Received: {value!r:.200}")
    return value
