"""What the benchmarks compute of their times; the times themselves are nobody's test."""

import ast
import importlib
import re
import runpy
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from toy_commands import load_script

from calogen.errors import ConfigError
from calogen.generation.production import blocks_per_task
from calogen.training.latent import BLOCK_SHOWERS

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def generation() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / "generation.py"))


def figures(generation: dict[str, Any], ours: float, **libraries: float) -> Any:
    """Times of 1000 photons; the weights are read in 0.1 s."""
    seconds = {("ours", "photon", 1000): ours, ("model.predict", "photon", 1000): 9.0}
    seconds |= {(f"products by {name}", "photon", 1000): value for name, value in libraries.items()}
    return generation["Figures"]({"photon": 1e6}, seconds | {("products by NumPy", "photon", -1): 0.1})


@pytest.mark.parametrize(
    ("ours", "libraries", "limit"),
    [
        (2.0, {"NumPy": 1.0, "TensorFlow": 1.5, "LiteRT": 1.2}, 1.0),
        (2.0, {"NumPy": 3.0, "TensorFlow": 1.5}, 1.5),  # where NumPy is slow the share was 3 / 2
        (2.0, {"NumPy": 3.0, "TensorFlow": 2.5, "LiteRT": 2.2}, 2.0),  # ours does these products, too
        (2.0, {"NumPy": 0.01}, 0.1),  # the weights have to be read
        (0.05, {"NumPy": 0.01}, 0.05),
    ],
)
def test_the_limit_of_generation_is_the_fastest_at_hand(
    generation: dict[str, Any], ours: float, libraries: dict[str, float], limit: float
) -> None:
    found = figures(generation, ours, **libraries)
    assert found.limit("photon", 1000) == limit
    share = 1 / found.ours_over("limit", "photon", 1000)
    assert share == limit / ours <= 1
    assert found.library("photon", 1000) == f"products by {min(libraries, key=lambda name: libraries[name])}"


@pytest.mark.parametrize(("products", "marked"), [(3.0, ["ours"]), (2.0, ["ours"]), (1.9, [])])
def test_a_share_of_one_is_marked(
    products: float, marked: list[str], generation: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The products alone took as long as the step that has them: the machine was busy."""
    found = figures(generation, 2.0, NumPy=products)
    whole = {(way, network, 0): time for (way, network, n), time in found.seconds.items() if n == 1000}
    found = generation["Figures"](found.flops, found.seconds | whole)
    generation["print_network"]("photon", found, [1000])
    lines = [line for line in capsys.readouterr().out.splitlines() if "run again on an idle one" in line]
    assert [line.split()[1] for line in lines if line.startswith("1000")] == marked


@pytest.mark.parametrize("script", ["atlas_vae.py", "wgan_training.py"])
def test_training_marks_a_share_of_one(script: str) -> None:
    doubt = runpy.run_path(str(BENCHMARKS / script))["doubt"]
    assert (doubt(0.999), "idle" in doubt(1.0)) == ("", True)


def test_products_are_no_way_to_generate(generation: dict[str, Any]) -> None:
    found = figures(generation, 2.0, NumPy=1.0, TensorFlow=1.5)
    assert found.ways("photon", 1000) == ["ours", "model.predict"]
    assert found.ours_over("best", "photon", 1000) == pytest.approx(2 / 9)
    every = {name for name in generation["SCRIPTS"] if name.startswith("products")}
    assert every == set(generation["PRODUCTS"])
    assert every.isdisjoint(generation["WAYS"])


def test_the_products_of_a_wgan_iteration() -> None:
    script = runpy.run_path(str(BENCHMARKS / "wgan_training.py"))
    shapes = script["products"](10)
    generator, critic = ([a * b for a, b in pairwise(w)] for w in widths(script))
    step = sum(generator) + 4 * sum(critic) + 2 * sum(critic[1:]) + 4 * sum(critic[:-1]) - critic[0]
    last = 2 * sum(generator) + sum(generator[1:]) + 2 * sum(critic)
    assert sum(m * k * n for m, k, n in shapes) == 10 * (script["CONFIG"].critic_steps * step + last)
    seconds = {"ours": 2.0, "PyTorch eager": 0.1, "products by NumPy": 3.0, "products by TensorFlow": 1.5}
    assert script["limit"](seconds) == 1.5
    assert script["limit"](seconds | {"ours": 1.0}) == 1.0
    assert script["limit"]({"ours": 2.0, "products by NumPy": 1.0}) == 1.0


def widths(script: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return script["GENERATOR_WIDTHS"], script["CRITIC_WIDTHS"]


def test_the_products_of_a_vae_step() -> None:
    script = runpy.run_path(str(BENCHMARKS / "atlas_vae.py"))
    shapes, size = script["step_products"](), script["BATCH_SIZE"]
    kernels = [
        [tuple(v.shape) for v in network.weights if v.ndim == 2]
        for network in script["build"](script["CONFIG"], script["GEOMETRY"]).values()
    ]
    numbers = sum(3 * a * b for network in kernels for a, b in network) - sum(a * b for (a, b), *_ in kernels)
    assert sum(m * k * n for m, k, n in shapes) == size * numbers
    libraries, ours = [np.array([3.0, 1.0]), np.array([2.0, 4.0])], np.array([2.5, 0.5])
    assert script["limit"](libraries, ours).tolist() == [2.0, 0.5]
    assert all(seconds > 0 for seconds in script["product_seconds"]([(30, 20, 10)] * 3, repeats=1))


@pytest.fixture(scope="module")
def getting_high() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / "getting_high.py"))


STEPS = {"ours": 2.0, "Keras": 2.5, "PyTorch": 1.8}
SHOWERS = {"ours": 0.2, "Keras": 0.5, "PyTorch": 0.4, "onnxruntime": 0.1}


def report(script: dict[str, Any], name: str, **calls: dict[str, float]) -> dict[str, float]:
    """Figures of made-up seconds; a step needs half a second of arithmetic, a shower 0.05 s."""
    seconds = {(name, way, call): value for call, times in calls.items() for way, value in times.items()}
    return script["report"](name, seconds, {"step": 50.0, "shower": 5.0}, 100.0)


def test_ratios_of_getting_high(getting_high: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    found = report(getting_high, "wgan", step=STEPS, shower=SHOWERS)
    expected = {
        "step, ours, CPU ms": 2000.0,
        "step, Keras, CPU ms": 2500.0,
        "step, PyTorch, CPU ms": 1800.0,
        "step, ours over Keras (at least 1.3)": 1.25,
        "step, ours over PyTorch (at least 1)": 0.9,
        "step, ours, share of the arithmetic limit": 0.25,
        "shower, ours, CPU ms": 200.0,
        "shower, Keras, CPU ms": 500.0,
        "shower, PyTorch, CPU ms": 400.0,
        "shower, onnxruntime, CPU ms": 100.0,
        "shower, ours over Keras": 2.5,
        "shower, ours over PyTorch": 2.0,
        "shower, ours over onnxruntime": 0.5,
        "shower, ours over the fastest other way (at least 1)": 0.5,
        "shower, ours, share of the arithmetic limit": 0.25,
    }
    assert found == pytest.approx({f"wgan {text}": value for text, value in expected.items()})
    assert verdicts(capsys) == {
        "wgan step, ours over Keras (at least 1.3)": "missed",
        "wgan step, ours over PyTorch (at least 1)": "missed",
        "wgan shower, ours over the fastest other way (at least 1)": "missed",
    }


def verdicts(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The last words of the printed lines with a bar; no other line has one."""
    lines = [line.rsplit(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    return {line[0]: line[-1] for line in lines if line[-1] in ("met", "missed") or "at least" in " ".join(line)}


@pytest.mark.parametrize(
    ("name", "way", "ratio", "text"),
    [
        ("gan", "Keras", 1.3, "at least 1.3) met"),
        ("bib-ae", "Keras", 1.3, "at least 1.3) met"),
        ("bib-ae", "Keras", 1.29, "at least 1.3) missed"),
        ("bib-ae", "PyTorch", 1.0, "at least 1) met"),
        ("bib-ae", "PyTorch", 0.99, "at least 1) missed"),
    ],
)
def test_bars_of_getting_high(
    getting_high: dict[str, Any], capsys: pytest.CaptureFixture[str], name: str, way: str, ratio: float, text: str
) -> None:
    report(getting_high, name, step={"ours": 1.0, way: ratio})
    bar, verdict = text.rsplit(maxsplit=1)
    assert verdicts(capsys) == {f"{name} step, ours over {way} ({bar}": verdict}


def test_without_other_ways_there_is_no_ratio(getting_high: dict[str, Any]) -> None:
    alone = report(getting_high, "gan", step={"ours": 2.0}, shower={"ours": 0.2})
    assert not [text for text in alone if "over" in text]
    assert report(getting_high, "gan", step={"Keras": 2.0}) == {}


def test_products_of_layers(getting_high: dict[str, Any]) -> None:
    products_of, layers = getting_high["products_of"], keras.layers
    volume, vector = keras.Input((4, 5, 6, 2)), keras.Input((7,))
    cases = [
        (layers.Conv3D(3, (1, 2, 3), padding="same"), volume, (1 * 2 * 3 * 2 * 3) * (4 * 5 * 6)),
        (layers.Conv3D(3, 2, strides=2), volume, (2**3 * 2 * 3) * (2 * 2 * 3)),
        (layers.Conv3DTranspose(3, 2, strides=2), volume, (2**3 * 2 * 3) * (4 * 5 * 6)),  # each cell of its input
        (layers.Dense(3), vector, 7 * 3),
        (layers.Dense(3), volume, (2 * 3) * (4 * 5 * 6)),
        (layers.Flatten(), volume, 0),
    ]
    for layer, tensor, products in cases:
        layer(tensor)
        assert products_of(layer) == products


def test_operations_of_steps_and_showers(getting_high: dict[str, Any]) -> None:
    """Networks of one dense layer, which have 2, 4, 8 ... operations a pass."""

    def build(config: object, grid: object) -> dict[str, keras.Model]:
        names = ["generator", "discriminator", "critic", "constrainer", "encoder", "decoder", "post_processor"]
        return {name: dense(2**power) for power, name in enumerate(names)}

    def dense(width: int) -> keras.Model:
        inputs = keras.Input((1,))
        return keras.Model(inputs, keras.layers.Dense(width)(inputs))

    config = SimpleNamespace(critic_steps=5)
    model = SimpleNamespace(CONFIGS={"tiny": (config, None)}, build=build, GENERATES=("decoder", "post_processor"))
    operations, showers = getting_high["operations"], 3
    expected = {
        "gan": 4 * 2 + 8 * 4,
        "wgan": 5 * (2 + 12 * 8 + 3 * 16) + 3 * 2 + 2 * 8 + 3 * 16,
        "bib-ae": 3 * (32 + 64) + (5 * 12 + 2) * 8,
        "post-processor": 32 + 64 + 3 * 128,
    }
    for name, step in expected.items():
        assert operations(name, model, "tiny", showers) == {"step": showers * step, "shower": 64 + 128}


@pytest.mark.parametrize("path", sorted(BENCHMARKS.rglob("*.py")), ids=lambda path: str(path.relative_to(BENCHMARKS)))
def test_names_that_benchmarks_import_exist(path: Path) -> None:
    """Those of the subfolders run in processes of their own, which no other test starts."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "calogen":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_recipes_are_compared_with_the_papers_seed_by_seed() -> None:
    recipes = load_script(BENCHMARKS / "recipes.py")
    rows = [
        {"recipe": recipe, "seed": seed, "iterations": 10, "chi2_per_ndf": 1.0 + excess, "floor": 1.0}
        for recipe, excesses in (("paper", (4.0, 2.0)), ("average", (2.0, 0.5)))
        for seed, excess in enumerate(excesses, 1)
    ]
    table = recipes.summary(pd.DataFrame(rows))
    assert table["excess"].to_dict() == {"paper": 3.0, "average": 1.25}
    assert table["ratio"].to_dict() == {"paper": 1.0, "average": pytest.approx((0.5 + 0.25) / 2)}
    assert "ratio" not in recipes.summary(pd.DataFrame(rows[2:]))


def test_every_recipe_is_a_configuration_of_a_model(tmp_path: Path) -> None:
    recipes = load_script(BENCHMARKS / "recipes.py")
    built, refused = set(), []
    for model in recipes.MODELS:
        for recipe in recipes.NAMES:
            try:
                assert recipes.Trial(model, "photon", recipe, 3, tmp_path).config.seed == 3
                built.add((model, recipe))
            except ConfigError as error:
                refused.append(f"{recipe}: {error}")
    assert all(text.startswith("label") or "needs a model with" in text for text in refused)
    assert {recipe for _, recipe in built} == set(recipes.NAMES)
    assert len(built) > 1.5 * len(recipes.NAMES)


def test_only_networks_that_meet_above_the_bundled_momenta_meet_lower() -> None:
    recipes = load_script(BENCHMARKS / "recipes.py")
    ranges = {
        (model, name): recipes.network_of(model, name)[0].momentum_range
        for model, name in (
            ("caloshowergan", "photon-medium"),
            ("caloshowergan", "photon-high-kinetic"),
            ("caloshowergan", "photon"),
            ("fastcalogan", "photon-high-v2"),
        )
    }
    assert [*ranges.values()] == [(4096.0, 65536.0), (65536.0, 2.0**22), (256.0, 2.0**22), (4096.0, 2.0**22)]


def test_curves_have_the_time_of_each_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    curves = load_script(BENCHMARKS / "curves.py")
    history = [{"iteration": 10.0 * number, "cpu_seconds": float(number)} for number in (1, 2, 3)]
    assert curves.seconds_at(history) == {10: 1.0, 20: 3.0, 30: 6.0}
    with pytest.raises(ConfigError, match="must have cpu_seconds"):
        curves.seconds_at([{"iteration": 10.0}])
    assert curves.spread([10, 20, 40, 50, 80], 4) == [10, 20, 40, 80]
    assert curves.spread([10, 20], 1) == [20]
    rows = [{"curve": name, "cpu_seconds": time, "fpd": 1 / time} for name in ("a", "b") for time in (1.0, 2.0)]
    figure = curves.draw(pd.DataFrame(rows).assign(chi2_per_ndf=3.0), 2.7)
    lines = [line for part in figure.subfigs for axes in part.axes for line in axes.get_lines()]
    assert len(lines) == 2 + 1 + 2, "two curves and the published value; two curves"
    np.testing.assert_allclose(lines[-1].get_xydata(), [[1, 1], [2, 0.5]])


def test_a_schedule_breaks_where_the_scheduler_is_always_busy() -> None:
    """Cores that never wait, and so many that all of them do."""
    scaling = load_script(BENCHMARKS / "scaling.py")
    known = scaling.Measured(block=10.0, task=0.01, messages=6, sent=500, stored=10**6, joined=1e9)
    total = 100_000 * BLOCK_SHOWERS

    def number(lines: list[str], pattern: str) -> float:
        (found,) = re.findall(pattern, "\n".join(lines), re.MULTILINE)
        return float(found.replace(",", ""))

    few, many = scaling.schedule(known, total, 100), scaling.schedule(known, total, 10**6)
    size = blocks_per_task(100_000)
    limit = size * known.block / known.task
    assert number(few, r"it would break at ([\d,]+) cores") == pytest.approx(limit, rel=0.01)
    assert number(few, r"^time: ([\d,]+) s") == pytest.approx(100_000 * 10 / 100, rel=0.05)
    assert number(few, r"use of the cores: (\d+)%") >= 95
    assert number(many, r"^time: ([\d,]+) s") >= 100_000 / size * known.task


def test_every_model_is_timed_on_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No model is left out; figures of two of them, whose features lie in a file, are finite."""
    device = load_script(BENCHMARKS / "device.py")
    assert set(device.MODELS) == {path.stem for path in (BENCHMARKS.parent / "calogen" / "models").glob("[a-z]*.py")}
    words = ["--model", "atlas_note_vae", "--model", "caloshowergan", "--seconds", "0.01", "--from-files", "--bfloat16"]
    monkeypatch.setattr("sys.argv", ["device.py", *words, "--csv", str(tmp_path / "device.csv")])
    device.main()
    table = pd.read_csv(tmp_path / "device.csv")
    assert table["training"].tolist() == ["atlas_note_vae (paper)", "caloshowergan (photon)"]
    assert np.isfinite(table.drop(columns="training").to_numpy(float)).all()
    assert (table["waiting"] > 0).all()
