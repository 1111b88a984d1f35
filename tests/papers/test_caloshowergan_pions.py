"""The pion script end to end on toy showers in the CaloChallenge's format."""

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from toy_gan import GAN_VALUES, network_test
from toy_runs import Smoke, check_provenance, check_report, launch, load, showers_of, write_showers

from calogen.claims.caloshowergan import PIONS
from calogen.evaluation.compare import ALL_ENERGIES
from calogen.evaluation.iterations import ALL, IterationScan
from calogen.generation.generate import generate
from calogen.models.caloshowergan import CONFIGS
from calogen.observables import voxels
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.networks import Comparisons
from calogen.showers.voxels import PIONS_DATASET1

SCRIPT = "caloshowergan_pions"
MOMENTA = (512.0, 4096.0, 8192.0)  # claims look at the first and the last one


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    folder = tmp_path_factory.mktemp(SCRIPT)
    files = write_showers(folder, PIONS_DATASET1, MOMENTA)
    return Smoke(SCRIPT, folder, launch(SCRIPT, "--runs", folder / "runs", "--cluster", "local:1", *files))


def test_the_network_was_trained_by_a_worker(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    assert f"pion of smoke-seed1 is done: {smoke.directory / 'pion.log'}" in smoke.process.stderr
    assert f"calogen export {smoke.directory}" in (smoke.directory / "pion.log").read_text(), "the worker's last words"
    assert "iterations" not in smoke.process.stderr.partition("is done")[2], "this process trains nothing"


def test_the_claims_are_judged(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    claims = {row["claim"]: row for row in smoke.results["claims"]}
    assert [words.claim for words in PIONS.statements.values()] == list(claims)[: len(PIONS.statements)]
    missing = {name for name, words in PIONS.statements.items() if "was not trained" in claims[words.claim]["ours"]}
    assert missing == {"layer_normalisation", "splitting", "fastcalogan", "fastcalogan_kinetic"}
    assert "make reproduce-fastcalogan" in claims[PIONS.statements["fastcalogan"].claim]["ours"]
    assert "make ablate-caloshowergan" in claims[PIONS.statements["splitting"].claim]["ours"]


def test_the_quantities_and_tables(smoke: Smoke) -> None:
    found = smoke.quantities
    assert found["chi2/NDF at the paper's statistics, pion GAN"]["paper"] == pytest.approx(542 / 420)  # Table 4
    assert 0.5 < found["chi2/NDF of the total energy, pion GAN"]["ours"] < 1000
    half = found["chi2/NDF of the total energy, pion GAN after 10 iterations"]
    assert half["paper"] is None, "the paper's is after a million"
    assert half["ours"] >= found["chi2/NDF of the total energy, pion GAN"]["ours"] > 0
    assert len(found) == 5
    tables = smoke.results["tables"]
    assert [name.split(":")[0] for name in tables][:5] == [
        "Table 2",
        "Table 4",
        "Table 5",
        "Table 6",
        "Section 5.7",
    ]
    _, chi2, one, batches, sizes, places = tables.values()
    assert len(places["rows"]) > 5
    assert [row[0] for row in chi2["rows"]] == ["pion", "pion, half", "Geant4 against Geant4"]
    assert [row[-1].split("= ")[-1] for row in chi2["rows"]] == ["1.3", "1.5", "1 is expected"]
    assert [row[0] for row in one["rows"]] == ["1.02 GeV", "65.5 GeV", "1.05 TeV"]
    assert [row[2] for row in one["rows"]] == ["6.2 ± 0.2", "6.3 ± 0.3", "6.3 ± 0.3"]
    assert [row[0] for row in batches["rows"]] == ["1", "10", "100", "1,000", "10,000"]
    assert [row[2] for row in batches["rows"]][-1].startswith("70.8 ±")
    assert sizes["rows"][0][2] == "5.6"


def test_report_and_provenance(smoke: Smoke) -> None:
    check_report(smoke)
    check_provenance(smoke, {"train": "train.h5", "test": "test.h5"}, trained=1)
    numbers = [int(caption.split()[1].rstrip(":")) for caption in smoke.captions if caption.startswith("Fig. ")]
    assert sorted(numbers) == [1, 2, 6, 8, 10, 13, 14, 15, 16, 17]
    assert {row["sample"] for row in smoke.read("metrics.json")} == {"pion GAN"}


def test_the_selected_run_generates(smoke: Smoke) -> None:
    showers = generate(smoke.directory / "pion" / "selected", np.array([256.0, 8192.0, 2.0**22]))
    assert showers.energies.shape == (3, 533)
    assert len(list((smoke.directory / "pion" / "snapshots").iterdir())) == 20


def test_what_is_trained() -> None:
    script = load(SCRIPT)
    own = Arguments(preset="paper", seeds=(1,), runs=Path("runs"), options=GAN_VALUES)
    assert script.ours(script.papers(own), own) == {"pion": CONFIGS["pion"][0]}
    laptop = Arguments(**(vars(own) | {"preset": "laptop", "options": GAN_VALUES | {"ablation": True}}))
    ablation = script.ours(script.papers(laptop), laptop)
    assert list(ablation) == ["pion", "pion-kinetic", "pion-low", "pion-upper"]
    assert [config.momentum_range for config in ablation.values()] == [
        *[(2.0**8, 2.0**22)] * 2, (2.0**8, 2.0**12), (2.0**12, 2.0**22),
    ]  # fmt: skip
    assert [config.iterations for config in ablation.values()] == [2_000_000, 1_000_000, 1_000_000, 1_000_000]
    assert {config.spectral_normalization for config in ablation.values()} == {"none"}


def test_the_shares_of_narrow_showers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 1 mm; showers without a width do not count."""
    script, showers = load(SCRIPT), make_showers(TINY_VOXELS, 100)
    widths = {12: np.append(np.full(5, 0.5), np.full(95, 1.0)), 13: np.append(np.full(15, 0.9), np.full(85, 9.0))}
    narrow = {12: np.append(np.full(20, 0.0), np.full(80, 50.0)), 13: np.append(np.full(99, 50.0), np.nan)}

    def width(sample: object, layer_id: int, axis: voxels.Axis) -> np.ndarray:
        assert axis == "eta"
        return (widths if sample is showers else narrow)[layer_id]

    monkeypatch.setattr(script, "voxel_width", width)
    generated = {"pion GAN": make_showers(TINY_VOXELS, 100, 2)}
    compared = Comparisons(reference=showers, generated=generated, by_energy={}, together={})
    geant4, ours = script.narrow_shares(compared)
    assert (geant4.value, ours.value) == pytest.approx((0.1, 0.1))
    assert geant4.error == pytest.approx(np.sqrt(0.05 * 0.95 / 100 + 0.15 * 0.85 / 100) / 2)
    assert ours.error == pytest.approx(np.sqrt(0.2 * 0.8 / 100) / 2)


@pytest.mark.parametrize("given", [(1,), (1, 2)], ids=["one seed", "two seeds"])
def test_half_of_the_iterations(given: tuple[int, ...]) -> None:
    """28 degrees of freedom; the best of the first half has chi2/NDF 3, of all 1, times the seed."""
    tests = []
    for seed in given:
        scan = IterationScan(
            np.array([500_000, 1_000_000, 2_000_000]), np.array([256.0]),
            seed * np.array([[112.0], [84.0], [28.0]]), np.full((3, 1), 28),
        )  # fmt: skip
        tests.append(network_test({ALL: scan}))
    found = load(SCRIPT).half_way(tests, "toy")
    assert found.name == "chi2/NDF of the total energy, pion GAN after 1,000,000 iterations"
    assert found.paper == pytest.approx(628 / 420)
    assert found.ours == pytest.approx(3.0 * np.mean(given))
    assert found.spread == (None if len(given) == 1 else pytest.approx(np.sqrt(4.5)))


def test_the_papers_figures() -> None:
    """Figs. 6, 10, 13-17; momenta are powers of two from 2^8 to 2^22 MeV."""
    figures = {item.name: dict(item.figures) for item in load(SCRIPT).OBSERVABLES}
    assert {int(number) for item in figures.values() for number in item.values()} == {6, 10, *range(13, 18)}
    assert {name for name, item in figures.items() if not item} == set(), "all are shown"
    momenta = {momentum for item in figures.values() for momentum in item} - {ALL_ENERGIES}
    assert momenta == {2.0**power for power in range(8, 23)} == set(figures["total_energy"])
    fifteen = {name: item for name, item in figures.items() if "15" in item.values()}
    assert list(fifteen) == ["layer_12_eta_width", "layer_13_eta_width"]
    assert fifteen["layer_13_eta_width"] == {ALL_ENERGIES: "14"} | dict.fromkeys(
        (512.0, 4096.0, 8192.0, 65536.0, 1048576.0), "15"
    )
    assert figures["voxel_energy"] == {ALL_ENERGIES: "16", 512.0: "17", 32768.0: "17", 2097152.0: "17"}


@pytest.mark.slow
def test_the_ablation_compares_normalisations_and_two_gans(tmp_path: Path) -> None:
    showers_of(PIONS_DATASET1, MOMENTA, (30, 30, 30), 1).write(tmp_path / "train.h5")
    files = ("--train-data", tmp_path / "train.h5")
    smoke = Smoke(SCRIPT, tmp_path, launch(SCRIPT, "--runs", tmp_path / "runs", "--ablation", *files))
    assert smoke.process.returncode == 0, smoke.process.stderr
    check_provenance(smoke, {"train": "train.h5"}, trained=4, ablation=True)
    rows = smoke.results["tables"]["Table 4: chi2 of the total energy"]["rows"]
    names = ["pion", "pion, half", "pion-kinetic", "pion-low", "pion-upper", "two pion GANs", "Geant4 against Geant4"]
    assert [row[0] for row in rows] == names
    assert {row[0]: row[-1] for row in rows}["pion-kinetic"] == "1.9", "the paper gives no chi2"
    assert {"chi2/NDF of the total energy, pion-kinetic", "chi2/NDF of the total energy, two pion GANs"} <= set(
        smoke.quantities
    )
    assert any(caption.startswith("Figs. 4 and 6: ") for caption in smoke.captions)
    claims = {row["claim"]: row["ours"] for row in smoke.results["claims"]}
    missing = [name for name, words in PIONS.statements.items() if "was not trained" in claims[words.claim]]
    assert missing == ["fastcalogan", "fastcalogan_kinetic"]
