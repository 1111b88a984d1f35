"""The experiment of GAN, WGAN and BIB-AE in 30 x 30 x 30 cells, end to end on a few bundled showers."""

from pathlib import Path

import pytest
from toy_runs import Smoke, check_report, launch, load

from calogen.claims.getting_high import BIB_AE, GAN, STEPS, WGAN, claims
from calogen.models import bib_ae, getting_high_gan, getting_high_wgan
from calogen.reproduction.experiment import Arguments
from calogen.showers.bundled import bundled
from calogen.showers.grids import ILD_GRID
from calogen.showers.public import write_public
from calogen.showers.sample import Showers, concatenate

SCRIPT = "getting_high"


def write_photons(folder: Path) -> tuple[str | Path, ...]:
    """A few showers of each bundled file, as options of the script."""
    files: tuple[str | Path, ...] = ()
    starts = range(0, 2000, 250)  # of each step's showers in their file
    rows = {"train": [slice(128)], "test": [slice(32)], "steps": [slice(start, start + 4) for start in starts]}
    for (name, parts), option in zip(rows.items(), ("--train-data", "--test-data", "--steps"), strict=True):
        path = bundled(f"ild_photons_{name}")
        concatenate([Showers.read(path, ILD_GRID, part) for part in parts]).write(folder / f"{name}.h5")
        files += (option, folder / f"{name}.h5")
    return files


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    folder = tmp_path_factory.mktemp(SCRIPT)
    files = write_photons(folder)
    return Smoke(SCRIPT, folder, launch(SCRIPT, "--runs", folder / "runs", *files))


@pytest.mark.slow
def test_variants_and_seeds_on_files_in_the_public_layout(tmp_path: Path) -> None:
    """The training showers are a file of the group `30x30`; the second seed trains no variants."""
    files = list(write_photons(tmp_path))
    public = tmp_path / "public.h5"
    write_public(tmp_path / "train.h5", public)
    files[files.index("--train-data") + 1] = public
    done = launch(SCRIPT, "--runs", tmp_path / "runs", *files, "--ablation", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    smoke = Smoke(SCRIPT, tmp_path, done)
    trained = [
        {path.name for path in (tmp_path / f"runs/getting_high/smoke-seed{seed}").iterdir() if path.is_dir()}
        for seed in (1, 2)
    ]
    assert trained[1] == {"gan", "wgan", "bib_ae"}
    assert trained[0] == trained[1] | {"wgan-mmd", "wgan-post-processor"}
    assert len(smoke.results["claims"]) == len(claims.statements)


def test_every_claim_is_judged(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    found = smoke.results["claims"]
    assert [item["claim"] for item in found] == [stated.claim for stated in claims.statements.values()]
    assert {item["verdict"] for item in found} == {"no verdict: smoke"}


def test_all_models_stand_side_by_side(smoke: Smoke) -> None:
    check_report(smoke)
    found = smoke.quantities
    differences = [found[f"mean difference of the correlation coefficients, {label}"] for label in (GAN, WGAN, BIB_AE)]
    assert [row["paper"] for row in differences] == [0.058, 0.187, 0.132]
    assert {row["sample"] for row in smoke.read("metrics.json")} == {GAN, WGAN, BIB_AE}
    assert {row["incident_energy"] for row in smoke.read("metrics.json")} <= set(STEPS)
    figures = {caption.partition(":")[0] for caption in smoke.captions if caption.startswith("Fig. ")}
    assert figures == {f"Fig. {number}" for number in (2, 5, 6, 7, 8, 9, 10, 11)}
    times = smoke.results["tables"]["Table 1: time of a shower"]["rows"]
    assert [row[0] for row in times] == ["Geant4", GAN, WGAN, BIB_AE]


def test_budgets() -> None:
    script = load(SCRIPT)
    mmd, _ = getting_high_wgan.CONFIGS["mmd"]
    paper = script.budget(mmd, "paper", 3)
    assert (paper.seed, paper.iterations, paper.discrepancy_weight) == (3, 131_000, 5.0)
    narrow = script.budget(mmd, "laptop", 3)
    assert (narrow.seed, narrow.discrepancy_weight, narrow.post_processing) == (3, 5.0, False)
    assert narrow.generator_filters == getting_high_wgan.CONFIGS["laptop"][0].generator_filters
    assert script.budget(getting_high_gan.CONFIGS["paper"][0], "laptop", 1).iterations == 2_400
    assert script.budget(bib_ae.CONFIGS["paper"][0], "smoke", 1).epochs == 1


def test_networks_of_the_ablation() -> None:
    script = load(SCRIPT)
    few = Arguments(preset="smoke", seeds=(1,), runs=Path("runs"), options={"ablation": False})
    assert list(script.networks(few)) == ["gan", "wgan", "bib_ae"]
    more = Arguments(preset="smoke", seeds=(1,), runs=Path("runs"), options={"ablation": True})
    assert list(script.networks(more))[3:] == ["wgan-mmd", "wgan-post-processor"]


@pytest.mark.parametrize("missing", ["--test-data", "--steps"])
def test_three_files_go_together(missing: str, tmp_path: Path) -> None:
    files = ["--train-data", tmp_path / "train.h5", "--test-data", tmp_path / "test.h5", "--steps", tmp_path / "s.h5"]
    position = files.index(missing)
    done = launch(SCRIPT, "--runs", tmp_path / "runs", *files[:position], *files[position + 2 :])
    assert done.returncode == 2
    assert "--train-data, --test-data and --steps go together" in done.stderr.splitlines()[-1]
