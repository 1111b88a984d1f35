"""The experiment of inclined photons, end to end on a few toy showers."""

from pathlib import Path

import numpy as np
import pytest
from toy_runs import Smoke, check_report, launch, load

from calogen.claims.getting_high_angular import ANGLES, BIB_AE, MERIT, STEPS, claims
from calogen.models import bib_ae
from calogen.showers.grids import ILD_ANGULAR_GRID
from calogen.showers.sample import Showers

SCRIPT = "getting_high_angular"
pytestmark = pytest.mark.slow  # as test_getting_high.py, with showers of other angles or particles


def inclined(angles: np.ndarray, energies: np.ndarray, seed: int) -> Showers:
    """Hits around inclined axes, 20 of each GeV."""
    rng, depth = np.random.default_rng(seed), np.array([layer.depth for layer in ILD_ANGULAR_GRID.layers])
    images = np.zeros((len(angles), *ILD_ANGULAR_GRID.shape), np.float32)
    for image, angle, energy in zip(images, angles, energies, strict=True):
        hits = int(energy / 50)
        layer = np.clip(rng.gamma(6.0, 2.0, hits), 0, 29).astype(int)
        x = 6 + depth[layer] / np.tan(np.deg2rad(angle)) / 5.0 + rng.normal(0, 2, hits)
        z = 15 + rng.normal(0, 2, hits)
        place = layer, np.clip(x, 0, 59).astype(int), np.clip(z, 0, 29).astype(int)
        np.add.at(image, place, rng.exponential(0.6, hits))
    return Showers(ILD_ANGULAR_GRID, energies, images.reshape(len(images), -1), {"angle": np.deg2rad(angles)})


def points(number: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Angles and energies of some showers at each point of the figures."""
    return np.repeat(ANGLES, len(STEPS) * number), np.tile(np.repeat(STEPS, number), len(ANGLES))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    folder, rng = tmp_path_factory.mktemp(SCRIPT), np.random.default_rng(1)
    inclined(rng.uniform(40, 90, 24), rng.uniform(1e4, 1e5, 24), 2).write(folder / "train.h5")
    inclined(*points(), 3).write(folder / "test.h5")
    files = ("--train-data", folder / "train.h5", "--test-data", folder / "test.h5")
    return Smoke(SCRIPT, folder, launch(SCRIPT, "--runs", folder / "runs", *files))


def test_every_claim_is_judged(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    found = smoke.results["claims"]
    assert [item["claim"] for item in found] == [stated.claim for stated in claims.statements.values()]
    assert {item["verdict"] for item in found} == {"no verdict: smoke"}


def test_the_report_has_the_slides_figures(smoke: Smoke) -> None:
    check_report(smoke)
    assert {row["sample"] for row in smoke.read("metrics.json")} == {BIB_AE}
    assert "axis_angle" in {row["observable"] for row in smoke.read("metrics.json")}
    captions = {caption.replace("&#39;", "'") for caption in smoke.captions}
    for start in ("Results: angle of the axis", "Results: visible energy", "60 degrees: single showers"):
        assert any(caption.startswith(start) for caption in captions), start
    spectra = [caption for caption in captions if caption.startswith("Results: energies of the cells, ")]
    assert sorted(caption.split(", ")[-1] for caption in spectra) == ["40 degrees", "60 degrees", "85 degrees"]
    assert smoke.quantities[MERIT]["headline"]
    assert any("do not define the principal component analysis" in remark for remark in smoke.results["remarks"])


def test_budgets() -> None:
    script, (angular, _) = load(SCRIPT), bib_ae.CONFIGS["angular"]
    paper = script.budget(angular, "paper", 3)
    assert (paper.seed, paper.angles, paper.epochs) == (3, True, 35)
    narrow = script.budget(angular, "laptop", 3)
    assert (narrow.angles, narrow.encoder_filters) == (True, bib_ae.CONFIGS["laptop"][0].encoder_filters)
    samples = script.samples("laptop")
    assert [samples[f"test-{angle:.0f}"]["angles"] for angle in ANGLES] == [(angle, angle) for angle in ANGLES]
    assert len({sample["seed"] for sample in samples.values()}) == 4


def test_an_angle_that_is_missing_is_named_before_a_training(tmp_path: Path) -> None:
    angles, energies = points()
    inclined(angles, energies, 1).write(tmp_path / "train.h5")
    inclined(np.where(angles == 60.0, 61.0, angles), energies, 2).write(tmp_path / "test.h5")
    files = ("--train-data", tmp_path / "train.h5", "--test-data", tmp_path / "test.h5")
    done = launch(SCRIPT, "--runs", tmp_path / "runs", *files)
    assert done.returncode == 2
    message = (
        f"{tmp_path / 'test.h5'} must hold showers to compare with, two or more of 60 degrees at 20 GeV. Received: 0"
    )
    assert message in done.stderr.splitlines()[-1]
