"""The script of the ATLAS GAN end to end on toy showers, with the VAE and the ablations."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_showers
from toy_runs import Smoke, check_provenance, check_report, launch, load

from calogen.claims.atlas_gan import GAN, SINGLE, WITHOUT_POSITION, claims
from calogen.claims.atlas_vae import COMPARED, TRAINED, VAE
from calogen.errors import DataFormatError, GeometryError
from calogen.evaluation.iterations import ALL, SHORTLIST
from calogen.files import read_json
from calogen.generation.generate import generate
from calogen.generation.load import load_run
from calogen.models.atlas_gan import CONFIGS
from calogen.models.atlas_vae import CONFIGS as VAE_CONFIGS
from calogen.reproduction.experiment import Arguments
from calogen.showers.cells import ATLAS_BARREL_STORED, CellGrid
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_GAN_WINDOW, ATLAS_VAE_WINDOW, in_geometry

SCRIPT = "atlas_gan"


def sample(geometry: CellGrid, energies: tuple[float, ...], count: int, seed: int) -> Showers:
    """`count` photon-like showers at each energy, with impact points and Geant4's time."""
    incident = np.repeat(energies, count)
    showers = make_showers(geometry, len(incident), seed)
    cells = showers.energies * (incident / showers.incident_energies)[:, None].astype(np.float32)
    rng = np.random.default_rng(seed)
    impact = {"impact_eta": rng.uniform(0.2, 0.25, len(incident)), "impact_phi": rng.uniform(0, 6.28, len(incident))}
    return Showers(geometry, incident, cells, {"cpu_seconds": 2e-5 * incident, **impact})


def write(folder: Path, geometry: CellGrid) -> tuple[str | Path, ...]:
    """Training and test showers, as options of the script."""
    sample(geometry, TRAINED, 160, 1).write(folder / "train.h5")
    sample(geometry, tuple(sorted({*TRAINED, *COMPARED})), 12, 2).write(folder / "test.h5")
    return ("--train-data", folder / "train.h5", "--test-data", folder / "test.h5")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    folder = tmp_path_factory.mktemp(SCRIPT)
    files = write(folder, ATLAS_BARREL_STORED)
    return Smoke(SCRIPT, folder, launch(SCRIPT, "--runs", folder / "runs", "--ablation", *files))


def test_every_claim_is_judged_and_every_network_trained(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    assert len(smoke.results["claims"]) == len(claims.statements)
    assert not any("there is no" in item["ours"] for item in smoke.results["claims"])
    labels = {GAN, VAE, WITHOUT_POSITION, *SINGLE.values()}
    assert {row["sample"] for row in smoke.read("metrics.json")} == labels
    critics = smoke.results["tables"]["One critic or two"]
    assert {row[0] for row in critics["rows"]} == labels - {VAE}
    assert f"resolution at 65.54 GeV, {VAE}" in smoke.quantities
    assert smoke.quantities["training, 3,500,000 iterations"]["paper"] == 79.0


def test_one_network_is_trained_alone(tmp_path: Path) -> None:
    done = launch(SCRIPT, "--runs", tmp_path / "runs", "--only", "paper", *write(tmp_path, ATLAS_GAN_WINDOW))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / SCRIPT / "smoke-seed1"
    trained, following = done.stdout.splitlines()
    assert trained.startswith("paper: trained 15 iterations (the paper: 3,500,000), iteration ")
    assert trained.endswith(f" against Geant4: {folder / 'paper' / 'selected'}")
    assert following == f"next: calogen export {folder}"
    assert [item.name for item in folder.iterdir() if item.is_dir()] == ["paper"]


def test_report_and_provenance(smoke: Smoke) -> None:
    smoke.process.stdout = smoke.process.stdout.rsplit("for Athena: ", 1)[0]
    check_report(smoke)
    check_provenance(smoke, {"train": "train.h5", "test": "test.h5"}, 6, {"ablation": True})
    for number in (4, 5, 6, 7, 8, 10, 11, 12, 13, 14):
        assert any(f"Fig. {number}:" in caption for caption in smoke.captions), number
    assert {"Epoch picking", "Fig. 9a: response and resolution", "Losses of the trainings"} <= set(smoke.captions)


def test_hyperparameters_of_two_models_stand_in_one_table(smoke: Smoke) -> None:
    table = smoke.results["tables"]["Hyperparameters"]
    place = table["header"].index("vae")
    rows = {row[0]: row for row in table["rows"]}
    assert rows["critic steps"][1] == "5"
    assert rows["critic steps"][place] == "-"
    assert rows["epochs"][1] == "-"
    assert rows["epochs"][place] == "3"
    assert rows["trainable parameters: generator, critic, energy_critic"][1] == "107,021, 68,481, 34,561"
    assert rows["trainable parameters: generator, critic, energy_critic"][place].startswith("encoder 276,183, decoder")


def test_the_picked_iteration_is_the_first_of_the_shortlist(smoke: Smoke) -> None:
    table = smoke.results["tables"]["Epoch picking: shortlisted iterations"]
    assert len(table["rows"]) == 2, "a tenth of 15 saved iterations, rounded"
    picked = smoke.directory / "paper" / "selected"
    assert f"{read_json(picked / 'selection.json')['iteration']:,}" == table["rows"][0][0]
    assert [float(row[-1]) for row in table["rows"]] == sorted(float(row[-1]) for row in table["rows"])
    covariances = [float(row[1]) for row in table["rows"]]
    assert all(0 < value < 1 for value in covariances)


def test_the_picked_run_generates_in_its_window(smoke: Smoke) -> None:
    test = Showers.read(smoke.folder / "test.h5", ATLAS_BARREL_STORED)
    run = load_run(smoke.directory / "paper" / "selected")
    showers = generate(run, in_geometry(test, ATLAS_GAN_WINDOW).given.only(run.transform.needs), 1)
    assert showers.geometry == ATLAS_GAN_WINDOW
    assert showers.energies.min() > 0


def test_a_file_in_the_gans_window_trains_the_gan_alone(tmp_path: Path) -> None:
    files = write(tmp_path, ATLAS_GAN_WINDOW)
    alone = Smoke(SCRIPT, tmp_path, launch(SCRIPT, "--runs", tmp_path / "runs", "--seeds", "2", *files))
    assert alone.process.returncode == 0, alone.process.stderr
    results = json.loads((tmp_path / "runs" / SCRIPT / "smoke-report" / f"{SCRIPT}.json").read_text())
    texts = {item["claim"]: item["ours"] for item in results["claims"]}
    assert (
        texts["the GAN's mean energy is better than the VAE's"] == "there is no VAE: it needs a file with all 297 cells"
    )
    assert not any(VAE in row["name"] for row in results["quantities"])
    spreads = [row["spread"] for row in results["quantities"] if row["name"].endswith(f", {GAN}")]
    assert len(spreads) == 10
    assert all(spread > 0 for spread in spreads)


def test_what_lacks_impact_points_is_refused_before_the_training(tmp_path: Path) -> None:
    script, files = load(SCRIPT), write(tmp_path, ATLAS_BARREL_STORED)
    showers = Showers.read(files[3], ATLAS_BARREL_STORED)
    replace(showers, conditions={}).write(files[3])
    given = Arguments(preset="smoke", seeds=(1,), runs=tmp_path, train_data=Path(files[1]), test_data=Path(files[3]))
    with pytest.raises(DataFormatError, match="impact_eta, impact_phi"):
        script.read_data(given)


def test_other_windows_than_the_gans_are_refused(tmp_path: Path) -> None:
    script = load(SCRIPT)
    files = write(tmp_path, ATLAS_GAN_WINDOW)
    given = Arguments(preset="smoke", seeds=(1,), runs=tmp_path, train_data=Path(files[1]), test_data=Path(files[3]))
    arguments = replace(given, options={"ablation": False})
    data = script.read_data(arguments)
    assert data.train.geometry == ATLAS_GAN_WINDOW
    assert list(script.networks(arguments, data)) == ["paper"]
    sample(ATLAS_VAE_WINDOW, TRAINED, 2, 1).write(tmp_path / "train.h5")
    with pytest.raises(GeometryError, match=r"train.h5.*\[n, 297\]"):
        script.read_data(arguments)


@pytest.mark.parametrize(("preset", "iterations", "fraction"), [("laptop", 80_000, 0.1), ("paper", 3_500_000, 0.5)])
def test_budgets(preset: str, iterations: int, fraction: float) -> None:
    script, paper = load(SCRIPT), CONFIGS["paper"][0]
    found = script.budget(paper, preset, 3)
    assert found == replace(paper, iterations=iterations, validation_fraction=fraction, seed=3)
    epochs = {"laptop": 160, "paper": 1000}[preset]
    assert script.budget(VAE_CONFIGS["paper"][0], preset, 3) == replace(VAE_CONFIGS["paper"][0], epochs=epochs, seed=3)


def test_the_kolmogorov_smirnov_distance_is_measured_but_does_not_pick() -> None:
    selection = load(SCRIPT).SELECTION
    assert set(selection.merits) - {ALL, *selection.ranked} == {"mean KS distance"}
    assert SHORTLIST not in selection.merits
    assert selection.on_validation
