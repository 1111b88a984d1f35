"""Programs that run networks of cells: as Athena's service does, and those that no class takes."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from athena_exports import build_programs, call, load_compare
from keras import layers
from toy_cells import make_cell_gan, make_cell_network

from calogen.athena import cells, service
from calogen.athena.export import export_set, find_sets
from calogen.features.conditions import CellAlignment, Encoding, LinearEnergy, LogEnergy, StandardLogEnergy
from calogen.features.transforms import AbsoluteEnergies, KineticFractions, LayerFractions, Step
from calogen.showers.windows import ATLAS_GAN_WINDOW, ATLAS_VAE_WINDOW
from calogen.training.run import save_run

PHOTONS = """
1000 0.21 0.001
65536.5,-0.21,3.1415
2e5, 0.24, -3.1415

262144 -0.24 6.2
9.5 0.31 1
512 1.29 -0.01
512 -0.11 -7
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs, built with warnings as errors."""
    return build_programs(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def program(programs: Path) -> Path:
    return programs / "calogen_cells"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export directory of a tiny GAN."""
    folder = tmp_path_factory.mktemp("export")
    save_run(folder / "runs" / "atlas_gan" / "smoke-seed1", make_cell_gan())
    (item,) = find_sets(folder / "runs")
    export_set(item, folder / "out")
    return folder / "out" / item.name


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_compare()


@pytest.mark.needs_lwtnn
def test_python_gives_the_same_showers_in_the_same_cells(
    program: Path, export: Path, script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photons.txt").write_text(PHOTONS)
    files = ("--output", "showers.csv", "--noise", "noise.csv", "--cells", "cells.csv")
    done = call(program, export / service.FILE, "photons.txt", "--seed", "5", *files, cwd=tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "showers.csv: 7 showers\n")
    script.main([str(export), str(tmp_path / "showers.csv"), str(tmp_path / "noise.csv")])
    printed = capsys.readouterr().out
    assert printed.startswith("7 showers: ")
    assert float(printed.split()[4]) < 1e-12
    showers = np.loadtxt(tmp_path / "showers.csv", delimiter=",", skiprows=1)
    assert (showers.shape, np.unique(showers[4, 3:]).tolist()) == ((7, 3 + 266), [0.0])  # less than 10 MeV
    assert (showers[[0, 1, 2, 3, 5, 6], 3:] > 0).all()
    cells = np.loadtxt(tmp_path / "cells.csv", delimiter=",").reshape(7, 266, 4)
    for row, (_, eta, phi) in enumerate(showers[:, :3]):
        expected = []
        for layer in ATLAS_GAN_WINDOW.layers:
            (first_eta,), (first_phi,) = layer.first_cell([abs(eta)], [phi])
            etas = (first_eta + np.arange(layer.num_eta) + 0.5) * layer.eta_size * np.sign(eta)
            phis = (first_phi + np.arange(layer.num_phi) + 0.5) * layer.phi_size
            expected += [(row, layer.id, at_eta, at_phi) for at_eta in etas for at_phi in phis]
        np.testing.assert_allclose(cells[row, :, :3], [place[:3] for place in expected], atol=1e-9)
        turns = (cells[row, :, 3] - [place[3] for place in expected]) / (2 * np.pi)
        np.testing.assert_allclose(turns, np.rint(turns), atol=1e-9)


@pytest.mark.needs_lwtnn
def test_the_seed_fixes_the_showers(program: Path, export: Path, tmp_path: Path) -> None:
    (tmp_path / "photons.txt").write_text("1000 0.21 0.001\n" * 3)
    texts = []
    for seed in ("1", "1", "2"):
        assert call(program, export / service.FILE, "photons.txt", "--seed", seed, cwd=tmp_path).returncode == 0
        texts.append((tmp_path / "showers.csv").read_text())
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0].splitlines())) == 4


BAD: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "name a network and a file of photons"),
    "no photons": (["net"], "name a network and a file of photons"),
    "three": (["net", "good.txt", "more"], "unknown argument more"),
    "option": (["net", "good.txt", "--momentum"], "unknown argument --momentum"),
    "missing": (["net", "none.txt"], "cannot read the photons in none.txt"),
    "empty": (["net", "empty.txt"], "empty.txt must hold a photon on each line. Received: none"),
    "two": (["net", "two.txt"], "two.txt, line 2: energy above 0 MeV, eta and phi. Received: 5 6"),
    "negative": (["net", "negative.txt"], "negative.txt, line 1: energy above 0 MeV"),
    "text": (["net", "text.txt"], "text.txt, line 1: each word must be a number. Received: x"),
    "one file": (["net", "good.txt", "--noise", "showers.csv"], "must be different files"),
    "same cells": (["net", "good.txt", "--noise", "a", "--cells", "a"], "must be different files"),
    "network": (["none.json", "good.txt"], "cannot read the network none.json"),
    "no graph": (["bad.json", "good.txt"], "bad.json: .*is it an LWTNN graph?"),
    "plain": (["plain", "good.txt"], "was the network exported for this service?"),
    "outside": (["net", "far.txt"], "no cell of the barrel at eta 2.0"),
    "at the end": (["net", "end.txt"], "cells around eta 1.38.* instead of 266"),
}


@pytest.mark.needs_lwtnn
@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_line(name: str, program: Path, export: Path, tmp_path: Path) -> None:
    words, message = BAD[name]
    places = {"net": export / service.FILE, "plain": export / "generator.json"}
    texts = {
        "good.txt": "1000 0.21 0.1\n",
        "empty.txt": "\n",
        "two.txt": "1 2 3\n5 6\n",
        "negative.txt": "-1 2 3\n",
        "text.txt": "x 2 3\n",
        "far.txt": "1000 2.0 0.1\n",
        "end.txt": "1000 1.39 0.1\n",
        "bad.json": "{}",
    }
    for file, text in texts.items():
        (tmp_path / file).write_text(text)
    before = sorted(tmp_path.iterdir())
    done = call(program, *(places.get(word, word) for word in words), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(f"calogen_cells: error: .*{message}.*\n", done.stderr), done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.needs_lwtnn
def test_help_explains_all_options(program: Path) -> None:
    done = call(program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(option in done.stdout for option in ("NETWORK", "PHOTONS", "--seed", "--output", "--cells", "--noise"))


SIZES = tuple(layer.size for layer in ATLAS_VAE_WINDOW.layers)
TRANSFORMS: dict[str, tuple[Step, Sequence[Encoding], str]] = {
    "fractions": (LayerFractions(SIZES, 0.5), [LogEnergy()], "sigmoid"),
    "fractions scaled to one": (LayerFractions(SIZES, renormalise=True), [LogEnergy(mass=139.57039)], "sigmoid"),
    "momenta": (LayerFractions(SIZES, mass=139.57039), [StandardLogEnergy(), LinearEnergy()], "sigmoid"),
    "kinetic energies": (KineticFractions(), [StandardLogEnergy()], "silu"),
    "kinetic energies of momenta": (KineticFractions(139.57039), [LogEnergy()], "silu"),
    "one constant": (AbsoluteEnergies(1e5), [LinearEnergy()], "silu"),
}


def _decoder(folder: Path, step: Step, encodings: Sequence[Encoding], activation: str) -> Path:
    """The export of a network of cells that no class takes."""
    size = sum(SIZES) + (len(SIZES) + 1 if isinstance(step, LayerFractions) else 0)
    hidden = [layers.Dense(6, "tanh"), layers.Dense(size, activation)]
    built = cells.build_cells(make_cell_network(encodings, hidden, steps=(step,), geometry=ATLAS_VAE_WINDOW))
    folder.mkdir()
    (folder / built.networks[0].file).write_text(built.networks[0].text)
    (folder / "manifest.json").write_text(json.dumps(built.about))
    return folder


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "PER_ENERGY", 100)


@pytest.mark.needs_lwtnn
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_decoder_that_no_class_takes_gives_the_same_showers(
    name: str, programs: Path, script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _decoder(tmp_path / "export", *TRANSFORMS[name])
    (tmp_path / "energies.txt").write_text("1000\n65536.5\n262144\n" * 20)
    files = ("--output", "showers.csv", "--noise", "noise.csv")
    done = call(programs / "calogen_athena", folder, "--momenta", "energies.txt", *files, cwd=tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "showers.csv: 60 showers\n")
    showers = np.loadtxt(tmp_path / "showers.csv", delimiter=",", skiprows=1)
    assert showers.shape == (60, 1 + 276)
    assert showers.min() >= 0.0
    assert len(np.unique(showers.sum(axis=1))) == 60
    script.main([str(folder), str(tmp_path / "showers.csv"), str(tmp_path / "noise.csv")])
    assert float(capsys.readouterr().out.split()[4]) < 1e-12
    lines = (tmp_path / "showers.csv").read_text().splitlines()
    lines[2] = ",".join([*lines[2].split(",")[:-1], "1e6"])
    (tmp_path / "showers.csv").write_text("\n".join(lines))
    with pytest.raises(SystemExit):
        script.main([str(folder), str(tmp_path / "showers.csv"), str(tmp_path / "noise.csv")])


@pytest.mark.needs_lwtnn
@pytest.mark.usefixtures("few")
def test_what_no_program_can_run_is_one_line(programs: Path, export: Path, tmp_path: Path) -> None:
    alignment = CellAlignment("impact_eta", 0.025, 2)
    folder = _decoder(tmp_path / "export", KineticFractions(), [LogEnergy(), alignment], "sigmoid")
    fewer = _decoder(tmp_path / "fewer", *TRANSFORMS["fractions"])
    about = json.loads((fewer / "manifest.json").read_text())
    about["transform"]["steps"][0]["layer_sizes"].pop()
    (fewer / "manifest.json").write_text(json.dumps(about))
    for given, message in (
        (folder, "name must be one of LogEnergy, StandardLogEnergy, LinearEnergy. Received: CellAlignment"),
        (fewer, "output.size must be that of cells, layers and total. Received: 281"),
        (export, "networks for DNNCaloSimSvc are run by calogen_cells"),
    ):
        done = call(programs / "calogen_athena", given, "--momentum", "1000", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"calogen_athena: error: {given / 'manifest.json'}: {message}\n"
    assert not (tmp_path / "showers.csv").exists()
