"""The photon script end to end on toy showers in the CaloChallenge's format."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from toy_gan import GAN_VALUES
from toy_runs import EXPERIMENTS, Smoke, check_provenance, check_report, launch, load, showers_of, write_showers

from calogen.claims.caloshowergan import PHOTONS
from calogen.evaluation.assessment import read_assessment
from calogen.evaluation.compare import ALL_ENERGIES
from calogen.evaluation.published import Published
from calogen.generation.generate import generate
from calogen.models.caloshowergan import CONFIGS
from calogen.reproduction.chi2_tables import CUT_REMARK, SHORT_REMARK
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.study import Data
from calogen.showers.voxels import PHOTONS_DATASET1

SCRIPT = "caloshowergan"
MOMENTA = (1024.0, 4096.0, 2.0**18)  # every range of the three GANs has showers: 2, 2 and 1 of the momenta
THREE = ("photon-low", "photon-medium", "photon-high")
NETWORKS = ("photon", *THREE)
STATED = PHOTONS.statements


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(SCRIPT)
    write_showers(folder, PHOTONS_DATASET1, MOMENTA)
    return folder


@pytest.fixture(scope="module")
def smoke(folder: Path) -> Smoke:
    files = ("--train-data", folder / "train.h5", "--test-data", folder / "test.h5")
    return Smoke(SCRIPT, folder, launch(SCRIPT, "--runs", folder / "runs", *files))


def test_the_claims_are_judged(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    claims = {row["claim"]: row for row in smoke.results["claims"]}
    *_, size = claims
    assert list(claims) == [stated.claim for stated in STATED.values()]
    assert claims[size]["verdict"] == "inconsistent in the paper"
    missing = " was not trained: make ablate-caloshowergan; with your own DATA this command with OPTIONS=--ablation"
    for name in ("layer_normalisation", "high_momenta", "low_gan", "label", "noise_and_masks"):
        assert claims[STATED[name].claim]["ours"].endswith(missing)
    for name in ("fastcalogan", "fastcalogan_kinetic"):
        ours = claims[STATED[name].claim]["ours"]
        assert ours.startswith("FastCaloGAN was not trained on these showers: make reproduce-fastcalogan with the same")
    for name in ("layer_0", "best_iteration", "time", "generation_seed"):
        assert "not trained" not in claims[STATED[name].claim]["ours"]
    for claim in claims:
        assert f"| {claim} |" in smoke.process.stdout


def test_the_quantities_are_those_of_one_gan_and_three(smoke: Smoke) -> None:
    found = smoke.quantities
    for title, paper in (("single GAN", 1131 / 420), ("three GANs", 845 / 476)):  # Table 4
        assert 0.5 < found[f"chi2/NDF of the total energy, {title}"]["ours"] < 1000
        scaled = found[f"chi2/NDF at the paper's statistics, {title}"]
        assert scaled["paper"] == pytest.approx(paper)
        assert f"chi2/NDF on held-out showers alone, iteration chosen by the others, {title}" in found
        assert 0.3 < found[f"chi2/NDF of Geant4 against Geant4, held-out and as many others, {title}"]["ours"] < 3
    scatter = found["scatter of chi2/NDF over generation seeds"]
    assert scatter["ours"] > 0
    assert scatter["paper"] == Published(SCRIPT).numbers["chi2_seed_error"].value
    assert len(found) == 9
    assert {row["data"] for row in found.values()} == {"train.h5, test.h5"}


def test_the_tables_are_the_papers(smoke: Smoke) -> None:
    tables = smoke.results["tables"]
    hyperparameters, chi2, times, sizes, *places = tables.values()
    assert {table["header"][0] for table in places} == {"metric"}
    assert len(places) == 2, "one GAN, three GANs"
    assert list(tables)[:4] == [
        "Table 2: hyperparameters",
        "Tables 3 and 4: chi2 of the total energy",
        "Table 5: time of one shower of the three GANs, trained up to 262 GeV",
        "Section 5.7: size of the generators",
    ]
    assert hyperparameters["header"][1:-1] == list(NETWORKS)
    rows = {row[0]: row[1:-1] for row in hyperparameters["rows"]}
    assert rows["iterations"] == ["10"] * 4
    assert rows["spectral normalization"] == ["none"] * 4
    assert rows["highest momentum"] == ["4194304.0", "4096.0", "65536.0", "4194304.0"], "the showers end at 2^18"
    counts = "trainable parameters: generator, critic"
    assert rows[counts][0] == "262,174, 410,321", "374 features for 368 voxels"
    assert [row[0] for row in chi2["rows"]] == [*NETWORKS, "three GANs", "Geant4 against Geant4"]
    values = {row[0]: row for row in chi2["rows"]}
    summed = [sum(int(values[name][column]) for name in THREE) for column in (3, 4)]
    assert summed[1] == int(values["three GANs"][4]), "4 GeV and 262 GeV count twice"
    assert summed[0] == pytest.approx(int(values["three GANs"][3]), abs=2), "rounded"
    assert [row[0] for row in times["rows"]] == ["1.02 GeV", "65.5 GeV", "1.05 TeV"]
    assert [row[2] for row in times["rows"]] == ["4.5 ± 0.2", "4.9 ± 0.2", "4.1 ± 0.2"]
    assert [row[0] for row in sizes["rows"]][:2] == ["single GAN", "three GANs"]


def test_report_provenance_and_metrics(smoke: Smoke) -> None:
    check_report(smoke)
    check_provenance(smoke, {"train": "train.h5", "test": "test.h5"}, trained=4)
    for number in (1, 2, 5, 9, 11, 12, 16):
        assert any(caption.startswith(f"Fig. {number}:") for caption in smoke.captions)
    assert [caption for caption in smoke.captions if "by iteration" in caption] == [
        f"Fig. 7: chi2/NDF by iteration, {name}" for name in NETWORKS
    ]
    for label in ("single GAN", "three GANs"):
        assert f"Correlations (Getting High, Fig. 9), {label}" in smoke.captions
        assert read_assessment(smoke.directory / "report" / "evaluations" / label).label == label
    rows = smoke.read("metrics.json")
    assert {row["incident_energy"] for row in rows} == {ALL_ENERGIES}
    assert {row["sample"] for row in rows} == {"single GAN", "three GANs"}
    assert {f"layer_{layer}_energy" for layer in (0, 1, 2, 3, 12)} <= {row["observable"] for row in rows}
    moved, *others = smoke.results["remarks"]
    assert moved.startswith("The three GANs share 4096 and 65536 MeV instead of 4096 and 262144")
    assert others[:2] == [SHORT_REMARK, CUT_REMARK], "the others are of the bundled showers"
    assert all("did not learn" in other for other in others[2:])
    (total,) = (caption for caption in smoke.captions if caption.startswith("Fig. 5:"))
    assert re.search(r"\(chi2/NDF; 1 GAN: [\d.]+, 3 GANs: [\d.]+\)$", total)


def test_the_selected_runs_generate(smoke: Smoke) -> None:
    for name, trained, empty in zip(NETWORKS, (89, 59, 30, 30), (1, 1, 0, 0), strict=True):
        about = smoke.results["provenance"]["training"]["1"][name]
        assert (about["showers"], about["showers_without_energy"]) == (trained, empty)
        assert len(list((smoke.directory / name / "snapshots").iterdir())) == 10
    paths = [smoke.directory / name / "selected" for name in THREE]
    showers = generate(paths, np.array([256.0, 4096.0, 65536.0, 2.0**22]))
    assert showers.energies.shape == (4, 368)


def end_at(momentum: float) -> Data:
    showers = showers_of(PHOTONS_DATASET1, (1024.0, max(2.0**10.5, momentum / 4), momentum), (5, 5, 5))
    return Data(train=showers, held_out=None, files={}, note="")


def test_the_upper_border_is_a_momentum_of_the_showers() -> None:
    momenta = (*(2.0**power for power in range(10, 19)), 300_000.0)
    data = Data(train=showers_of(PHOTONS_DATASET1, momenta, (5,) * 10), held_out=None, files={}, note="")
    assert load(SCRIPT).upper_border(data) == 2.0**16, "not 75,000 MeV"


def test_what_is_trained() -> None:
    script, whole = load(SCRIPT), end_at(2.0**22)
    own = Arguments(preset="paper", seeds=(1,), runs=Path("runs"), train_data=Path("own.h5"), options=GAN_VALUES)
    papers = {name: CONFIGS[name][0] for name in NETWORKS}
    assert script.papers(own) == script.ours(papers, own, whole) == papers, "untouched"
    tried = Arguments(**(vars(own) | {"options": GAN_VALUES | {"ablation": True}}))
    ablation = script.ours(script.papers(tried), tried, whole)
    assert len(ablation) == 5 + 5 + 5
    assert {ablation[f"{name}-kinetic"].normalisation for name in (*NETWORKS, "photon-upper")} == {"kinetic"}
    differing = {
        name: {key for key, value in vars(config).items() if value != vars(papers["photon"])[key]}
        for name, config in ablation.items()
    }
    assert differing["photon-maximum"] == {"condition"}
    for text, energy in (("1kev", 1e-3), ("1mev", 1.0)):
        assert differing[f"photon-noise-{text}"] == {"noise_energy"}
        assert differing[f"photon-mask-{text}"] == {"mask_energy"}
        assert ablation[f"photon-noise-{text}"].noise_energy == ablation[f"photon-mask-{text}"].mask_energy == energy


@pytest.mark.parametrize(("highest", "border"), [(20, 18), (18, 16), (17, 15), (12, 13)])
def test_the_third_gan_begins_below_the_highest_momentum(highest: int, border: int) -> None:
    """At 2^18 MeV, as in the paper, or a factor of 4 below the end; 2^12 MeV is the second one's."""
    script = load(SCRIPT)
    laptop = Arguments(preset="laptop", seeds=(1,), runs=Path("runs"), options=GAN_VALUES | {"ablation": True})
    found = script.ours(script.papers(laptop), laptop, end_at(2.0**highest))
    assert found["photon-medium"].momentum_range == (2.0**12, 2.0**border)
    assert found["photon-high-kinetic"].momentum_range == (2.0**border, 2.0**22)
    assert found["photon-low"].momentum_range == (2.0**8, 2.0**12)
    assert found["photon-maximum"].momentum_range == (2.0**8, 2.0**highest)
    assert len(found) == 5 + 5 + 5 + 1
    assert {name for name, config in found.items() if config.spectral_normalization != "none"} == {"photon-spectral"}


def test_the_ablation_takes_no_file_of_one_particle(folder: Path) -> None:
    data = f"DATA={folder / 'train.h5'}"
    command = ["make", "-C", str(EXPERIMENTS.parent), "--no-print-directory", "ablate-caloshowergan", data, "READY="]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.startswith("ablate-caloshowergan takes no DATA: it has photons and pions. One of them: ")
    assert "--ablation" not in process.stdout


def test_the_papers_figures() -> None:
    """Figs. 5, 9, 11, 12, 16; momenta are powers of two from 2^8 to 2^22 MeV."""
    figures = {item.name: dict(item.figures) for item in load(SCRIPT).OBSERVABLES}
    assert {int(number) for item in figures.values() for number in item.values()} == {5, 9, 11, 12, 16}
    assert {name for name, item in figures.items() if not item} == set(), "all are shown"
    momenta = {momentum for item in figures.values() for momentum in item} - {ALL_ENERGIES}
    assert momenta == {2.0**power for power in range(8, 23)} == set(figures["total_energy"])


@pytest.mark.slow
def test_the_ablation_trains_what_the_paper_tried(folder: Path, tmp_path: Path) -> None:
    files = ("--train-data", folder / "train.h5", "--test-data", folder / "test.h5")
    smoke = Smoke(SCRIPT, tmp_path, launch(SCRIPT, "--runs", tmp_path / "runs", "--ablation", *files))
    assert smoke.process.returncode == 0, smoke.process.stderr
    claims = {row["claim"]: row["ours"] for row in smoke.results["claims"]}
    missing = [claim for claim, ours in claims.items() if "not trained" in ours]
    assert missing == [STATED[name].claim for name in ("fastcalogan", "fastcalogan_kinetic")]
    rows = smoke.results["tables"]["Tables 3 and 4: chi2 of the total energy"]["rows"]
    published = {row[0]: row[-1] for row in rows if "= " in row[-1]}
    assert published["two GANs"] == "Sum: 863 / 448 = 1.9"
    assert published["three GANs, kinetic"] == "Sum: 1187 / 476 = 2.5"
    assert len(smoke.results["provenance"]["training"]["1"]) == 16
