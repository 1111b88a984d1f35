import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from toy_commands import run, run_both, steps

from calogen.cli.train import parse_values
from calogen.errors import CalogenError, ConfigError, DataFormatError, GeometryError
from calogen.files import read_json
from calogen.generation.load import load_run
from calogen.showers.bundled import bundled_for
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1
from calogen.showers.windows import ATLAS_GAN_WINDOW, ATLAS_VAE_WINDOW

SMALL = ("--set", "encoder_units=[8]", "--set", "decoder_units=[8]", "--set", "batch_size=20")
BINS = (
    '<Bins><Bin pid="22" etaMin="20" etaMax="25" name="tiny"><Layer id="0" r_edges="0,5,10" n_bin_alpha="1"/>'
    '<Layer id="1" r_edges="0,3,9" n_bin_alpha="4"/></Bin></Bins>'
)


def stored_cells(number: int, seed: int = 0) -> Showers:
    showers = make_showers(ATLAS_BARREL_STORED, number, seed)
    impact = {"impact_eta": np.full(number, 0.2125), "impact_phi": np.full(number, 0.01)}
    return Showers(ATLAS_BARREL_STORED, showers.incident_energies, showers.energies, impact)


def test_a_model_of_cells_is_trained_and_goes_on(tmp_path: Path) -> None:
    stored_cells(60).write(tmp_path / "a.h5")
    stored_cells(60, seed=1).write(tmp_path / "b.h5")
    files = ("--train-data", str(tmp_path / "a.h5"), "--train-data", str(tmp_path / "b.h5"))
    command = ("train", "atlas-vae", *files, *SMALL, "--set", "epochs=2", "--output", str(tmp_path / "run"))
    out, told = run_both(*command)
    assert out.strip() == str(tmp_path / "run")
    assert told.startswith("training atlas-vae (paper): 2 epochs on up to 120 showers of a.h5, b.h5, into ")
    assert [words[:3] for words in steps(told)] == [
        ["calogen", "generate", str(tmp_path / "run")],
        ["calogen", "export", str(tmp_path / "run")],
    ]
    trained = load_run(tmp_path / "run")
    assert trained.geometry == ATLAS_VAE_WINDOW
    assert (trained.config.epochs, trained.config.encoder_units, len(trained.history)) == (2, (8,), 2)
    assert read_json(tmp_path / "run" / "provenance.json")["showers"] == 108  # a tenth validates
    assert run(*command).strip() == str(tmp_path / "run")
    assert load_run(tmp_path / "run").history == trained.history
    with pytest.raises(CalogenError, match="differs in keep"):
        run(*command, "--set", "keep=last")


def test_a_model_of_voxels_is_trained_on_another_grid(tmp_path: Path) -> None:
    (tmp_path / "bins.xml").write_text(BINS)
    make_showers(TINY_VOXELS, 80).write(tmp_path / "a.h5")
    options = ("--geometry", str(tmp_path / "bins.xml"), "--train-data", str(tmp_path / "a.h5"), "--bfloat16")
    settings = ("--set", "iterations=3", "--set", "batch_size=8", "--set", "schedule=all")
    run("train", "fastcalogan", "--config", "photon", *options, *settings, "--output", str(tmp_path / "run"))
    trained = load_run(tmp_path / "run")
    assert trained.geometry.size == TINY_VOXELS.size
    assert (trained.config.iterations, trained.config.schedule) == (3, "all")


def test_a_slice_of_several_is_chosen(tmp_path: Path) -> None:
    (bins,) = re.findall("<Bin .*</Bin>", BINS, re.DOTALL)
    other = re.sub('etaMin="[^"]*" etaMax="[^"]*"', 'etaMin="25" etaMax="30"', bins)
    first = re.sub('etaMin="[^"]*" etaMax="[^"]*"', 'etaMin="20" etaMax="25"', bins).replace("3,9", "3,6,9")
    (tmp_path / "bins.xml").write_text(f"<Bins>{first}{other}</Bins>")
    make_showers(TINY_VOXELS, 80).write(tmp_path / "a.h5")
    options = ("--geometry", str(tmp_path / "bins.xml"), "--train-data", str(tmp_path / "a.h5"), "--eta", "25")
    settings = ("--set", "iterations=2", "--set", "batch_size=8", "--set", "schedule=all")
    run("train", "fastcalogan", "--config", "photon", *options, *settings, "--output", str(tmp_path / "run"))
    assert load_run(tmp_path / "run").geometry.size == TINY_VOXELS.size


def test_parse_values() -> None:
    given = ["epochs=20", "units=[50, 100]", "keep=last", "rate=1e-4", "renormalise=true", "note=a=b"]
    assert parse_values(given) == {
        "epochs": 20,
        "units": [50, 100],
        "keep": "last",
        "rate": 1e-4,
        "renormalise": True,
        "note": "a=b",
    }
    for text in ("epochs", "=3", "epochs=", ""):
        with pytest.raises(ConfigError, match="--set needs NAME=VALUE"):
            parse_values([text])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("nothing",), DataFormatError, "model must be one of .*atlas_vae"),
        (
            ("atlas-vae", "--config", "none"),
            ConfigError,
            "--config must be one of paper, drawn, absolute. Received: none",
        ),
        (("atlas-vae", "--set", "epoch=3"), ConfigError, "--set knows the values .*epochs.* Received: epoch"),
        (("atlas-vae", "--set", "epochs=many"), ConfigError, "epochs must be of type int"),
        (("atlas-vae", "--set", "epochs=0"), ConfigError, "epochs must be above 0"),
        (("fastcalogan", "--geometry", "none.xml"), ConfigError, "--geometry needs --train-data"),
        (
            ("fastcalogan", "--geometry", "none.xml", "--train-data", "photons.h5"),
            GeometryError,
            "none.xml is not a readable binning file",
        ),
        (("atlas-vae", "--geometry", "none.xml"), ConfigError, "--geometry is of voxels"),
        (("fastcalogan", "--eta", "25"), ConfigError, "--eta chooses a slice in the file of --geometry"),
        (("atlas-vae", "--bfloat16"), ConfigError, "--bfloat16 is for critics"),
        (("atlas-vae", "--set", "hidden_activation=nope"), ConfigError, "must be known to Keras.*nope"),
        (("atlas-vae", "--set", "optimizer=nope"), ConfigError, "must be known to Keras.*nope"),
        (("atlas-vae", "--set", "epochs=null"), ConfigError, "epochs must be of type int"),
        (("fastcalogan", "--config", "pion", "--train-data", "photons.h5"), GeometryError, "533"),
        (("fastcalogan", "--train-data", "gev.h5"), DataFormatError, "gev.h5: energies must be in MeV"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    arguments: tuple[str, ...],
    error: type[CalogenError],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    showers = make_showers(PHOTONS_DATASET1, 5)
    showers.write(tmp_path / "photons.h5")
    replace(showers, energies=showers.energies / 1000).write(tmp_path / "gev.h5")
    with pytest.raises(error, match=message):
        run("train", *arguments, "--output", "run")


def test_bundled_showers_fit_the_geometry() -> None:
    found = [bundled_for(grid).name for grid in (ATLAS_VAE_WINDOW, ATLAS_GAN_WINDOW, PHOTONS_DATASET1, PIONS_DATASET1)]
    assert found == ["photons_train.h5", "photons_train.h5", "photons_train.h5", "pions_train.h5"]
    with pytest.raises(DataFormatError, match="training data must be given for tiny"):
        bundled_for(TINY_VOXELS)
