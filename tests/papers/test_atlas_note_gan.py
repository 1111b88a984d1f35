"""The experiment of the note's GAN end to end on toy showers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_runs import Smoke, check_report, launch, load, showers_of, write_showers

from calogen.claims.atlas_note_gan import claims
from calogen.claims.atlas_note_vae import GAN, TRAINED, VAE
from calogen.models import atlas_note_gan, atlas_note_vae
from calogen.reproduction.experiment import Arguments
from calogen.showers.windows import ATLAS_GAN_WINDOW

SCRIPT = "atlas_note_gan"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    folder = tmp_path_factory.mktemp(SCRIPT)
    files = write_showers(folder, ATLAS_GAN_WINDOW, TRAINED)
    return Smoke(SCRIPT, folder, launch(SCRIPT, "--runs", folder / "runs", *files))


def test_every_claim_is_judged(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    found = smoke.results["claims"]
    assert [item["claim"] for item in found] == [stated.claim for stated in claims.statements.values()]
    assert {item["verdict"] for item in found} == {"no verdict: smoke"}


def test_both_models_stand_side_by_side(smoke: Smoke) -> None:
    found = smoke.quantities
    shares = [row["paper"] for name, row in found.items() if name.startswith("share of the")]
    assert shares == [0.7, 0.8, 0.6, 17.2, 19.8, 19.1, 79.3, 78.1, 77.6, 0.4, 0.5, 0.6]
    assert {row["sample"] for row in smoke.read("metrics.json")} == {GAN, VAE}
    time = found["training of the GAN, 700,000 iterations"]
    assert (time["paper"], time["unit"], time["headline"]) == (7.0, "h", True)


def test_the_report_has_the_notes_figures_and_tables(smoke: Smoke) -> None:
    check_report(smoke)
    figures = [caption.partition(":")[0] for caption in smoke.captions if caption.startswith("Fig. ")]
    assert figures[0] == "Fig. 9", "the total energy"
    assert sorted(figures) == sorted(f"Fig. {number}" for number in range(4, 15))
    hyperparameters, seeds, variants = smoke.results["tables"].values()
    assert hyperparameters["header"][1:-1] == ["paper", "gauss", "relu", "vae"]
    assert [row[0] for row in variants["rows"]] == ["Geant4", "paper", "gauss", "relu"]
    assert [row[0] for row in seeds["rows"]] == ["1"]


@pytest.mark.slow
def test_two_seeds_and_everything_that_table_2_compares(tmp_path: Path) -> None:
    """The seed whose covariance matrices are nearest has the metrics, the first one the other networks."""
    files = write_showers(tmp_path, ATLAS_GAN_WINDOW, TRAINED)
    process = launch(SCRIPT, "--seeds", "2", "--ablation", "--runs", tmp_path / "runs", *files)
    assert process.returncode == 0, process.stderr
    results = json.loads((tmp_path / "runs" / SCRIPT / "smoke-report" / f"{SCRIPT}.json").read_text(encoding="utf-8"))
    hyperparameters, seeds, variants = results["tables"].values()
    assert hyperparameters["header"][1:-1] == [*atlas_note_gan.CONFIGS, "vae"]
    assert sorted(row[0] for row in variants["rows"]) == sorted(["Geant4", *atlas_note_gan.CONFIGS])
    (chosen,) = (row[0] for row in seeds["rows"] if row[2])
    assert [row[0] for row in seeds["rows"]] == ["1", "2"]
    assert any(f"nearest with seed {chosen}," in remark for remark in results["remarks"])


def test_the_seed_with_the_nearest_covariance_is_shown() -> None:
    script = load(SCRIPT)
    table = script.seed_table([0.3, 0.1, 0.2], (1, 2, 3))
    assert [row[2] for row in table.rows] == ["", "chosen", ""]


def test_what_is_trained_and_how_long() -> None:
    script = load(SCRIPT)
    given = Arguments(preset="smoke", seeds=(1,), runs=None, options={"ablation": False})  # type: ignore[arg-type]
    assert list(script.networks(given)) == ["paper", "gauss", "relu", "vae"]
    every = script.networks(replace(given, options={"ablation": True}))
    assert list(every) == [*atlas_note_gan.CONFIGS, "vae"]
    gan, vae = atlas_note_gan.CONFIGS["paper"][0], atlas_note_vae.CONFIGS["paper"][0]
    assert script.budget(gan, "paper", 0) == gan
    assert script.budget(vae, "paper", 0) == vae
    assert script.budget(gan, "laptop", 4) == replace(gan, iterations=60_000, seed=4)
    assert script.budget(vae, "laptop", 4) == replace(vae, epochs=430, seed=4)


def test_ablations_have_a_row_each() -> None:
    """Twice as much energy: twice the response, the same resolution, four times the covariance."""
    script, showers = load(SCRIPT), showers_of(ATLAS_GAN_WINDOW, TRAINED, (20,) * len(TRAINED))
    data = script.Data(train=showers, held_out=None, files={}, note="", compared=showers)
    twice = replace(data.reference, energies=2 * data.reference.energies)
    geant4, same, other = script.variant_table({"same": data.reference, "twice": twice}, data).rows
    assert (geant4[2:], float(same[1])) == (same[2:], 0.0)
    assert float(other[1]) > 0
    first, second = (float(row[2].split()[0]) for row in (same, other))
    assert second == pytest.approx(2 * first, rel=0.01)
    assert np.isclose(*(float(row[3].split()[0]) for row in (same, other)))
