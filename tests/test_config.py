import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calogen.config import (
    Paper,
    Source,
    assumed,
    config_from_json,
    config_to_json,
    identity_of,
    option,
    paper,
    require,
    sources,
)
from calogen.errors import ConfigError
from calogen.files import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Config:
    units: tuple[int, ...] = paper((50, 100), "Table 1")
    edges: tuple[tuple[float, float], ...] = paper(((0.0, 1.5), (2.0, 3.0)), "Section 2")
    learning_rate: float = assumed(1e-3, "not stated; Adam's default")
    activation: str = paper("tanh", "Section 4")
    renormalise: bool = assumed(False, "not stated")
    floor: float | None = assumed(None, "none in the paper")

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, f"learning_rate must be above 0. Received: {self.learning_rate}")


def test_every_value_has_its_source() -> None:
    found = sources(Config())
    assert found[0] == Source("units", (50, 100), "paper", "Table 1")
    assert found[2] == Source("learning_rate", 1e-3, "assumed", "not stated; Adam's default")
    assert [source.name for source in found] == [field.name for field in dataclasses.fields(Config)]
    assert sources(Config) == found


def test_a_value_changed_from_the_papers_is_assumed() -> None:
    changed = sources(Config(units=(5,)))[0]
    assert (changed.kind, changed.value) == ("assumed", (5,))
    assert changed.source == "changed; the paper has (50, 100) (Table 1)"


def test_other_values_of_the_paper_have_their_sources() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Variants:
        units: tuple[int, ...] = paper((50,), "Table 1", {(100,): "Table 2"})
        rate: float = assumed(1e-3, "not stated", {1e-4: "not stated; slower"})

    assert [(item.kind, item.source) for item in sources(Variants(units=(100,), rate=1e-4))] == [
        ("paper", "Table 2"),
        ("assumed", "not stated; slower"),
    ]
    assert sources(Variants(units=(7,)))[0].kind == "assumed"


def test_values_without_source_are_refused() -> None:
    @dataclass(frozen=True)
    class Plain:
        size: int = 1

    with pytest.raises(ConfigError, match="size must be paper"):
        sources(Plain())
    with pytest.raises(ConfigError, match="needs a source"):
        paper(1, " ")


def test_configs_are_frozen_keyword_only_and_checked() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().learning_rate = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        Config((1,))  # type: ignore[misc]
    with pytest.raises(ConfigError, match="must be above 0"):
        Config(learning_rate=-1.0)


@given(
    st.builds(
        Config,
        units=st.lists(st.integers()).map(tuple),
        edges=st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2)).map(tuple),
        learning_rate=st.floats(min_value=1e-300, max_value=1e300),
        activation=st.text(),
        renormalise=st.booleans(),
        floor=st.none() | st.floats(0, 1),
    )
)
def test_json_round_trip(config: Config) -> None:
    assert config_from_json(Config, json.loads(json.dumps(config_to_json(config)))) == config


def test_file_round_trip(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", config_to_json(Config()))
    assert config_from_json(Config, read_json(tmp_path / "config.json")) == Config()


def test_whole_numbers_become_floats_where_the_default_is_one() -> None:
    config = config_from_json(Config, config_to_json(Config()) | {"learning_rate": 1})
    assert isinstance(config.learning_rate, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent": 1}, r"unknown \['latent'\], missing \[\]"),
        ({"activation": None, "learning_rate": "1"}, "learning_rate must be of type float. Received: '1'"),
        ({"units": 5}, "units must be of type tuple. Received: 5"),
        ({"learning_rate": 0}, "must be above 0"),
    ],
)
def test_json_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_json(Config, config_to_json(Config()) | change)


def test_missing_values_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"missing \['activation', 'edges'"):
        config_from_json(Config, {"units": [1]})


@dataclass(frozen=True, kw_only=True)
class Later(Config):
    average: float = option(0.0, "none", {0.99: "ours"})


def test_an_option_may_be_missing_and_is_no_part_of_the_identity_at_its_default() -> None:
    earlier = config_to_json(Config(units=(7,)))
    assert config_from_json(Later, earlier) == Later(units=(7,))
    assert identity_of(Later(units=(7,))) == earlier == identity_of(Config(units=(7,)))
    changed = Later(units=(7,), average=0.99)
    assert identity_of(changed) == earlier | {"average": 0.99} == config_to_json(changed)
    assert config_to_json(Later()) == config_to_json(Config()) | {"average": 0.0}


@pytest.mark.parametrize("value", [[1], {"a": 1}, object()])
def test_values_without_json_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="activation must be a number"):
        config_to_json(Config(activation=value))


def test_citation() -> None:
    cited = Paper(title="T", authors="A. and B.", journal="J 1 (2022) 2", arxiv="2210.06204")
    assert str(cited) == 'A. and B., "T", J 1 (2022) 2, arXiv:2210.06204'
