"""The experiment of pions, end to end on showers that it simulates itself."""

from pathlib import Path

import pytest
from toy_runs import Smoke, check_report, launch, load

from calogen.claims.getting_high_hadronic import BIB_AE, FREE, MERIT, STEPS, WGAN, claims
from calogen.models import bib_ae, getting_high_wgan
from calogen.reproduction.experiment import Arguments
from calogen.showers.grids import AHCAL_GRID

SCRIPT = "getting_high_hadronic"
pytestmark = pytest.mark.slow  # as test_getting_high.py, with showers of other angles or particles


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    folder = tmp_path_factory.mktemp(SCRIPT)
    return Smoke(SCRIPT, folder, launch(SCRIPT, "--runs", folder / "runs", "--ablation"))


def test_every_claim_is_judged(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    found = smoke.results["claims"]
    assert [item["claim"] for item in found] == [stated.claim for stated in claims.statements.values()]
    assert {item["verdict"] for item in found} == {"no verdict: smoke"}
    assert not any(FREE in item["ours"] for item in found)  # it was trained


def test_both_models_stand_side_by_side(smoke: Smoke) -> None:
    check_report(smoke)
    assert {row["sample"] for row in smoke.read("metrics.json")} == {BIB_AE, WGAN}
    assert {row["incident_energy"] for row in smoke.read("metrics.json")} == set(STEPS)
    assert smoke.results["merit"] == MERIT
    assert smoke.quantities[MERIT]["headline"]
    assert {"Energies of the cells", "Number of hits", "Centre of gravity", "Profiles, variants"} <= set(smoke.captions)
    assert any("without definitions" in remark for remark in smoke.results["remarks"])
    data = smoke.results["provenance"]["data"]
    assert {name: row["file"] for name, row in data.items()} == {"train": "train-24.h5", "test": "test-4.h5"}
    folder = smoke.folder / "runs" / SCRIPT / "data"
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "test-4.h5", "train-24.h5"]


def test_budgets() -> None:
    script = load(SCRIPT)
    wgan, grid = getting_high_wgan.CONFIGS["pions"]
    assert grid == AHCAL_GRID
    paper = script.budget(wgan, "paper", 3)
    assert (paper.seed, paper.constrainer_weight, paper.critic_steps) == (3, 1.0, 10)
    narrow = script.budget(wgan, "laptop", 3)
    assert narrow.generator_filters == getting_high_wgan.CONFIGS["laptop"][0].generator_filters
    assert (narrow.seed, narrow.constrainer_weight, narrow.gradient_penalty_weight) == (3, 1.0, 25.0)
    chosen = Arguments(preset="laptop", seeds=(1,), runs=Path("runs"), options={"ablation": True})
    networks = script.networks(chosen)
    assert list(networks) == ["wgan", "bib_ae", "wgan-without-constrainer"]
    free, _ = networks["wgan-without-constrainer"]
    assert [script.budget(free, preset, 1).constrainer_weight for preset in ("laptop", "paper")] == [0.0, 0.0]
    assert script.budget(bib_ae.CONFIGS["pions"][0], "smoke", 1).epochs == 1
