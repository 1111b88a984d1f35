"""Grids: their files, their points, and the grids of the repository."""

import itertools
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from toy_scan import GRID, MODEL, grid_of

from calogen.config import config_to_json
from calogen.errors import CalogenError, ConfigError, DataFormatError
from calogen.generation.load import model_module
from calogen.reproduction.experiment import PRESETS
from calogen.reproduction.scan_files import read_grid
from calogen.reproduction.scan_grid import MAX_POINTS, Grid, value_of

GRIDS = sorted((Path(__file__).parents[2] / "experiments" / "scans").glob("*.toml"))
SECOND = [path for path in GRIDS if "[finalists" in path.read_text(encoding="utf-8")]
SECOND_VALUES = "[parameters.critic_steps]\nvalues = [1, 5]"
WHOLE = '[parameters.generator_units]\nvalues = [[8]]\nsource = "x"\n'
NOTES = [path for path in GRIDS if "note" in path.stem]  # whose tables are grids


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("path", "finalists"), [*((path, False) for path in GRIDS), *((path, True) for path in SECOND)], ids=str
)
def test_every_grid_of_the_repository_is_valid(path: Path, finalists: bool, preset: str) -> None:
    grid = read_grid(path, path.stem, preset, finalists=finalists)
    points = grid.points()
    assert points[0].name == "start"
    assert len({json.dumps(config_to_json(grid.config_of(point))) for point in points}) == len(points) > 1
    assert all(grid.point_of(grid.params_of(point)).changes for point in points[1:])
    assert preset != "smoke" or len(points) < 4


def values_of(grid: Grid, name: str) -> set[object]:
    """All values of a field at some point."""
    return {value_of(grid.config_of(point), name) for point in replace(grid, trials=None).points()}


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_grid_holds_the_alternatives_of_the_configuration(path: Path) -> None:
    """Of every field that the grid varies; the tables of the note are about every field."""
    grid = read_grid(path, path.stem, "paper")
    for item in fields(type(grid.start)):
        found = values_of(grid, item.name)
        if len(found) > 1 or path in NOTES:
            assert set(item.metadata["others"]) <= found, item.name


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_grid_holds_the_configuration_that_the_paper_or_we_have_chosen(path: Path) -> None:
    grid = read_grid(path, path.stem, "paper")
    for name, parameter in grid.parameters.items():
        assert value_of(model_module(path.stem).CONFIGS["paper"][0], name) in parameter.values, name


def test_one_value_at_a_time_in_the_order_of_the_file(tmp_path: Path) -> None:
    grid = grid_of(tmp_path)
    assert [(point.name, dict(point.changes)) for point in grid.points()] == [
        ("start", {}),
        ("learning_rate 0.001", {"learning_rate": 1e-3}),
        ("critic_steps 1", {"critic_steps": 1}),
        ("both", {"learning_rate": 1e-3, "critic_steps": 1}),
    ]
    assert [point.name for point in replace(grid, trials=2).points()] == ["start", "learning_rate 0.001"]
    both = grid.points()[-1]
    assert grid.params_of(both) == {"learning_rate": 1e-3, "critic_steps": 1}
    assert grid.point_of(grid.params_of(both)).changes == both.changes
    changed = {
        name for name, value in config_to_json(grid.config_of(both)).items() if value != getattr(grid.start, name)
    }
    assert changed - {"generator_units", "critic_units", "energy_critic_units"} == {"learning_rate", "critic_steps"}


def test_grid_has_every_combination_once_in_an_order_that_more_trials_continue(tmp_path: Path) -> None:
    text = GRID.replace("[1e-4, 1e-3]", "[1e-2, 1e-3, 1e-4]").replace("[1, 5]", "[3, 5, 7]")
    grid = grid_of(tmp_path, text, sampler="grid")
    points = [tuple(grid.params_of(point).values()) for point in grid.points()]
    assert sorted(points) == sorted(itertools.product((1e-4, 1e-3, 1e-2), (3, 5, 7)))
    assert points != sorted(points)
    fewer = grid_of(tmp_path, text, sampler="grid", trials=4)
    assert [tuple(fewer.params_of(point).values()) for point in fewer.points()] == points[:4]
    assert fewer.num_points == 4


def test_a_grid_that_is_too_large_needs_trials(tmp_path: Path) -> None:
    text = GRID.replace("[1, 5]", str(list(range(1, 151)))).replace("[1e-4, 1e-3]", str(list(range(1, 100))))
    with pytest.raises(ConfigError, match=rf"{MAX_POINTS:,} points at most: give --trials.*Received: 15,000"):
        grid_of(tmp_path, text, sampler="grid").points()
    assert len(grid_of(tmp_path, text, sampler="grid", trials=7).points()) == 7
    assert len(grid_of(tmp_path, text, sampler="tpe").points()) == 1


def test_positions_of_a_tuple_are_parameters(tmp_path: Path) -> None:
    text = GRID.replace(
        "[parameters.critic_steps]\nvalues = [1, 5]", '[parameters."generator_units[0]"]\nvalues = [8, 16]'
    )
    grid = grid_of(tmp_path, text)
    point = grid.points()[2]
    assert (point.name, grid.config_of(point).generator_units) == ("generator_units[0] 16", (16,))  # type: ignore[attr-defined]


def test_whole_tuples_are_parameters(tmp_path: Path) -> None:
    text = GRID.replace(
        "[parameters.critic_steps]\nvalues = [1, 5]", "[parameters.generator_units]\nvalues = [[8], [4, 2]]"
    )
    grid = grid_of(tmp_path, text)
    point = grid.points()[2]
    assert (point.name, grid.config_of(point).generator_units) == ("generator_units 4-2", (4, 2))  # type: ignore[attr-defined]
    assert grid.params_of(point)["generator_units"] == "[4, 2]"
    assert grid.point_of(grid.params_of(point)).changes == {"generator_units": (4, 2)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[start]", "[begin]\n[start]", r"toy\.toml knows budget, criterion, .*Received: begin"),
        ("[start]", "[start", r"must be a file in TOML\. Received: .*line 4"),
        ('"one-at-a-time"', '"random"', r"sampler must be one of one-at-a-time, grid, tpe\. Received: random"),
        ('config = "paper"', 'config = "page"', r"\[start\]: config must be of paper, one-critic.*Received: page"),
        (
            "latent_dim = 4",
            "latentdim = 4",
            r"\[start\]: AtlasGanConfig has the fields.*Received: latentdim",
        ),
        ("latent_dim = 4", "seed = 4", r"\[start\]: AtlasGanConfig has the fields.*Received: seed"),
        ("latent_dim = 4", "latent_dim = -4", r"\[start\]: latent_dim must be above 0\. Received: -4"),
        ("iterations = 3 ", 'iterations = "3" ', r"\[budget\.smoke\]: iterations must be of type int\. Received: '3'"),
        ("iterations = 3 }", "iterations = 3 }\nseed = 2", r"\[budget\.smoke\]: .*seeds.*Received: 'seed': 2"),
        ("[budget.smoke]", "[budget.small]", r"must have the table \[budget\.smoke\]\. Received: small"),
        ('"ks"', '"chi2"', r"\[criterion\]: name must be of ks, covariance\. Received: chi2"),
        ('"front_energy"', '"first_energy"', r"observables of atlas_gan_window are presampler.*Received: first_energy"),
        ('name = "ks"', 'name = "covariance"', r"ks, and nothing else, needs observables\. Received: covariance, 2"),
        ('name = "ks"', 'name = "ks"\nfold = 2', r"\[criterion\]: Criterion has the values.*Received: 'fold': 2"),
        ('name = "ks"', 'name = "ks"\nfolds = 0', r"\[criterion\]: folds must be 1 or more\. Received: 0"),
        (
            'name = "ks"',
            'name = "ks"\nheld_out = 0.1',
            r"held_out must be .*Received: held_out 0.1, folds 1, with ",
        ),
        ('name = "ks"\n', "", r"\[criterion\] must have a name, of ks, covariance"),
        (
            "[1e-4, 1e-3]",
            "[1e-4, -1e-3]",
            r"\[parameters\.learning_rate\]: learning_rate must be above 0",
        ),
        ("[1e-4, 1e-3]", "[]", r"\[parameters\.learning_rate\]: values must be a list of some\. Received: \[\]"),
        ("[1e-4, 1e-3]", "3", r"\[parameters\.learning_rate\]: values must be a list of some\. Received: 3"),
        ('[1, 5]\nsource = "a toy"', "[1, 5]", r"\[parameters\.critic_steps\]: source must say where"),
        ("critic_steps]\nvalues", "critic_step]\nvalues", r"\[parameters\.critic_step\]: .*Received: critic_step"),
        ("critic_steps]\nvalues", '"generator_units[1]"]\nvalues', r"Received: generator_units\[1\]"),
        ("learning_rate = 1e-3, critic_steps = 1", "", r'\[variants\."both"\] must have changes'),
        (
            "critic_steps = 1 }",
            "critic_steps = 0 }",
            r'\[variants\."both"\]: critic_steps must be above 0',
        ),
        ("[criterion]", '[showers]\nenergies = ["1"]\n[criterion]', r"\[showers\]: .*Received: 'energies': \['1'\]"),
        ('time"', 'time"\nshowers = 3', r"toy\.toml: showers must be a table\. Received: 3"),
        (
            SECOND_VALUES,
            WHOLE + '[parameters."generator_units[0]"]\nvalues = [8]',
            r"generator_units must be changed as a whole or by position\. Received: .* and generator_units\[0\]",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GRID
    with pytest.raises((ConfigError, DataFormatError), match=message):
        grid_of(tmp_path, GRID.replace(old, new, 1))


def test_finalists_have_tables_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(GRID)
    first, second = (read_grid(path, MODEL, "smoke", finalists=which) for which in (False, True))
    assert [point.name for point in second.points()] == ["start", "critic_steps 2"]
    assert (second.start, second.criterion) == (first.start, first.criterion)
    path.write_text(GRID[: GRID.index("[finalists")])
    with pytest.raises(ConfigError, match=r"must have the table \[finalists\]"):
        read_grid(path, MODEL, "smoke", finalists=True)


def test_no_file_and_no_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(CalogenError, match="nowhere.toml"):
        read_grid(tmp_path / "nowhere.toml", MODEL, "smoke")
    (tmp_path / "toy.toml").write_text(GRID)
    with pytest.raises(CalogenError, match="model must be one of .*Received: 'atlas'"):
        read_grid(tmp_path / "toy.toml", "atlas", "smoke")
    with pytest.raises(ConfigError, match="a grid without parameters takes the sampler one-at-a-time. Received: tpe"):
        grid_of(tmp_path, GRID.partition("[parameters.learning_rate]")[0], sampler="tpe")
