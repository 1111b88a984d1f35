"""What the benchmarks compute of their times; the times themselves are nobody's test."""

import ast
import importlib
import runpy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


@pytest.mark.parametrize("path", sorted(BENCHMARKS.rglob("*.py")), ids=lambda path: str(path.relative_to(BENCHMARKS)))
def test_names_that_benchmarks_import_exist(path: Path) -> None:
    """Those of the subfolders run in processes of their own, which no other test starts."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "calogen":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
