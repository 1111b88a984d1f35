"""The experiment of the note's VAE end to end on toy showers."""

from pathlib import Path

import numpy as np
import pytest
from toy_runs import Smoke, check_provenance, check_report, launch, load, showers_of, write_showers

from calogen.claims.atlas_note_vae import TRAINED, VAE, claims
from calogen.models.atlas_note_vae import CONFIGS
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_GAN_WINDOW

SCRIPT = "atlas_note_vae"
NETWORKS = ("paper", "kl-0.01", "kl-1", "rate-0.001", "rate-1e-05", "printed")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    folder = tmp_path_factory.mktemp(SCRIPT)
    files = write_showers(folder, ATLAS_GAN_WINDOW, TRAINED)
    return Smoke(SCRIPT, folder, launch(SCRIPT, "--runs", folder / "runs", *files))


def test_every_claim_is_judged(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    found = smoke.results["claims"]
    assert [item["claim"] for item in found] == [stated.claim for stated in claims.statements.values()]
    verdicts = {item["claim"]: item["verdict"] for item in found}
    assert verdicts[claims.statements["energy_conservation"].claim] == "no verdict: smoke"
    assert verdicts[claims.statements["interaction_lengths"].claim] == "inconsistent in the paper"


def test_quantities_stand_beside_those_of_the_note(smoke: Smoke) -> None:
    found = smoke.quantities
    shares = {name: row for name, row in found.items() if name.startswith("share of the")}
    assert [row["paper"] for row in shares.values()] == [0.7, 0.6, 17.2, 19.1, 79.3, 77.6, 0.4, 0.6]
    time = found["training of the VAE, 90,000 steps"]
    assert (time["paper"], time["unit"], time["headline"]) == (2.0, "min", True)
    assert time["ours"] > 0


def test_report_and_provenance(smoke: Smoke) -> None:
    check_report(smoke)
    files = {"train": "train.h5", "test": "test.h5"}
    check_provenance(smoke, files, trained=len(NETWORKS), options={"ablation": False})
    figures = [caption.partition(":")[0] for caption in smoke.captions if caption.startswith("Fig. ")]
    assert figures[0] == "Fig. 9", "the total energy"
    assert sorted(figures) == sorted(f"Fig. {number}" for number in ("3a", "3b", "2", 7, 8, 9, 13, 14, 10, 11, 12))
    assert {row["sample"] for row in smoke.read("metrics.json")} == {VAE}
    table = smoke.results["tables"]["Table 1: hyperparameters"]
    assert table["header"][1:-1] == list(NETWORKS)
    assert "100 epochs of about 90,000 showers are 90,000 steps." in " ".join(smoke.results["remarks"])


def test_budgets_are_as_many_steps_as_the_notes() -> None:
    script = load(SCRIPT)
    paper, laptop, smoke = (script.budget(CONFIGS["paper"][0], preset, 3) for preset in ("paper", "laptop", "smoke"))
    assert (paper.epochs, paper.batch_size, paper.seed) == (100, 100, 3)
    assert laptop.epochs * (20_700 // laptop.batch_size) == pytest.approx(90_000, rel=0.02)
    assert smoke.epochs * smoke.batch_size < 100


def test_losses_are_means_of_the_last_epochs_before() -> None:
    losses = np.arange(1000.0)
    found = load(SCRIPT).loss_around(losses, 0.05)
    assert (found.value, found.error) == (44.5, pytest.approx(np.std(losses[40:50], ddof=1) / np.sqrt(10)))
    assert load(SCRIPT).loss_around(losses[:3], 1.0).value == 1.5


def test_showers_without_impact_points_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        found = showers_of(ATLAS_GAN_WINDOW, TRAINED, (2,) * len(TRAINED), seed)
        Showers(ATLAS_GAN_WINDOW, found.incident_energies, found.energies).write(tmp_path / f"{name}.h5")
    files = ["--train-data", str(tmp_path / "a.h5"), "--test-data", str(tmp_path / "b.h5")]
    monkeypatch.setattr("sys.argv", [f"{SCRIPT}.py", "--smoke", "--runs", str(tmp_path / "runs"), *files])
    script = load(SCRIPT)
    with pytest.raises(SystemExit, match="2"):
        script.execute(script.main, "", script.OPTIONS)
    assert "impact_eta" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
