"""The command line of `calogen evaluate`: several files after an option, and what cells take."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from toy_commands import page_of

from calogen.cli import main as cli
from calogen.errors import ConfigError, DataFormatError
from calogen.evaluation.judging import Options
from calogen.observables.cells import CELL_OBSERVABLES
from calogen.reports.evaluate_cells import evaluate_cells
from calogen.showers.sample import Showers, concatenate
from calogen.showers.windows import ATLAS_VAE_WINDOW

QUICK = Options(repetitions=0)
TOLERANT = replace(QUICK, tolerant=True)

Calogen = Callable[..., int]


@pytest.fixture
def calogen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calogen:
    """What `calogen evaluate` with these arguments exits with, in a folder of four files of voxels."""
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        make_showers(TINY_VOXELS, 20, number).write(f"part{number}.h5")

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["calogen", "evaluate", "--output", "out", *arguments])
        with pytest.raises(SystemExit) as found:
            cli.main()
        return int(found.value.code or 0)

    return run


def test_options_take_several_files(calogen: Calogen, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fake(*arguments: Any) -> str:
        asked.append(arguments)
        return "page"

    monkeypatch.setattr("calogen.reports.evaluate.evaluate_voxels", fake)
    several = ["part0.h5", "part1.h5"]
    two = tuple(map(Path, several))
    options = ["--tolerant", "--second-reference", *several, "--training", *several, "--seed", "7", "--classifiers=0"]
    options += ["--figures", "pdf"]
    assert calogen("--reference", *several, "--generated", "A=part2.h5", "part3.h5", *options) == 0
    (reference, generated, _, second, _, settings, training) = asked.pop()
    assert (reference, second, training) == (two, two, two)
    assert generated == {"A": (Path("part2.h5"),), "part3": (Path("part3.h5"),)}
    assert (settings.tolerant, settings.seed, settings.repetitions, settings.figures) == (True, 7, 0, "pdf")
    assert calogen("--reference=part0.h5", "part1.h5", "--reference", "part2.h5", "--generated", "part3.h5") == 0
    assert asked[0][0] == (*two, Path("part2.h5"))
    assert asked[0][5].repetitions == 3


def test_options_of_one_value_take_one(calogen: Calogen, capsys: pytest.CaptureFixture[str]) -> None:
    files = "--reference", "part0.h5", "--generated", "part1.h5"
    for more in (["--seed", "1", "2"], ["--tolerant", "part2.h5"], ["--geometry", "a.xml", "b.xml"]):
        assert calogen(*files, *more) == 2
        assert "unexpected extra argument" in capsys.readouterr().err
    assert calogen("--reference", "--generated", "part1.h5") == 2


def test_help_says_so(calogen: Calogen, capsys: pytest.CaptureFixture[str]) -> None:
    assert calogen("--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "take one file, several (a.h5 b.h5, part*.h5) or a quoted pattern ('part*.h5')" in shown


def test_what_cells_do_not_take_is_named(calogen: Calogen, capsys: pytest.CaptureFixture[str]) -> None:
    make_showers(ATLAS_VAE_WINDOW, 20).write("cells.h5")
    few = ["--match-energies", "--classifiers", "0", "--min-energy", "1"]
    more = [*few, "--max-showers", "9", "--second-reference", "cells.h5"]  # of which cells take two
    assert calogen("--reference", "cells.h5", "--generated", "cells.h5", *more) == 2
    named = "Received: --min-energy, --max-showers, --match-energies\n"  # and no other one
    assert named in capsys.readouterr().err


def test_cells_and_voxels_are_named(calogen: Calogen, capsys: pytest.CaptureFixture[str]) -> None:
    make_showers(ATLAS_VAE_WINDOW, 20).write("cells.h5")
    voxels, both = "part0.h5", ["part0.h5", "cells.h5"]
    for reference, *generated in (both, reversed(both), [voxels, *both]):
        assert calogen("--reference", reference, "--generated", *generated) == 2
        assert "Received: cells in cells.h5; voxels in part0.h5" in capsys.readouterr().err


def cells(path: str, showers: Showers, negative: int = 0, noise: Any = 1.0) -> Path:
    """A file of cells, some of them slightly negative, with noisy labels."""
    energies = showers.energies.astype(float)
    energies[:negative, 5] = -1.0
    with h5py.File(path, "w") as file:
        file["incident_energies"], file["cells"] = (showers.incident_energies * noise)[:, None], energies
    return Path(path)


def quick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One observable, without its picture, in a folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("calogen.evaluation.cells.CELL_OBSERVABLES", CELL_OBSERVABLES[:1])
    monkeypatch.setattr("calogen.reports.evaluate_cells.draw_cells", lambda *_: {})


def test_changes_of_all_files_of_cells_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(tmp_path, monkeypatch)
    both = make_showers(ATLAS_VAE_WINDOW, 700, 1).at(65536.0)
    first, second = both[::2], both[1::2]
    reference = cells("reference.h5", first)
    noise = np.resize([1, 1 + 3e-7], 10)
    generated = cells("a.h5", second[:10], 2), cells("b.h5", second[10:20], 3, noise), cells("c.h5", second[20:])
    page = page_of(evaluate_cells(reference, {"VAE": generated}, tmp_path / "out", options=TOLERANT))
    assert "VAE: set to 0 were 5 negative energies in 5 showers" in page
    assert "VAE: 5 incident energies were off the reference" in page
    foreign = cells("d.h5", second, noise=np.resize([1, 1 + 4e-4], len(second)))
    message = rf"VAE must have the reference's 1 inc.* Received: {len(second) // 2} showers at 1 others.*--tolerant"
    with pytest.raises(DataFormatError, match=message):
        evaluate_cells(reference, {"VAE": foreign}, tmp_path / "out", options=QUICK)
    evaluate_cells(reference, {"VAE": foreign}, tmp_path / "out", options=TOLERANT)


def test_changed_copies_of_cells_are_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(tmp_path, monkeypatch)
    reference, honest = (make_showers(ATLAS_VAE_WINDOW, 600, seed).at(65536.0) for seed in (1, 2))
    reference.write("reference.h5")
    honest.write("honest.h5")
    rounded = reference.energies.astype(np.float16, casting="unsafe").astype(np.float32)
    Showers(ATLAS_VAE_WINDOW, reference.incident_energies, rounded)[::-1].write("rounded.h5")
    files = {"VAE": Path("honest.h5"), "GAN": Path("rounded.h5")}
    page = page_of(evaluate_cells(Path("reference.h5"), files, tmp_path / "out", options=QUICK))
    assert "ATTENTION: about 100 % of the GAN showers are showers of the reference, changed a little" in page
    assert "of the VAE showers are" not in page


def test_a_training_file_of_cells_tells_what_a_model_remembers(
    calogen: Calogen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(tmp_path, monkeypatch)
    for seed, name in enumerate(("reference", "training", "VAE")):
        make_showers(ATLAS_VAE_WINDOW, 600, seed).at(65536.0).write(f"{name}.h5")
    training = Showers.read("training.h5", ATLAS_VAE_WINDOW)
    noise = np.random.default_rng(1).normal(1, 0.01, training.energies.shape).astype(np.float32)
    replace(training, energies=training.energies * noise).write("GAN.h5")
    other = replace(training, incident_energies=training.incident_energies * 2)
    concatenate([training, other]).write("training.h5")  # at energies that the reference lacks, too
    options = ["--reference", "reference.h5", "--generated", "VAE.h5", "GAN.h5"]
    assert calogen(*options, "--training", "training.h5") == 0
    page = Path("out/report.md").read_text()
    assert re.search(rf"neighbour is a training shower for 100\.0 ± \S+ % of {len(training)} GAN showers", page)
    assert page.count("ATTENTION: the model remembers its training file") == 2  # in the title and as a remark
    assert page.count("no sign of memorising") == 1
    found = {item["name"]: item["ours"] for item in json.loads(Path("out/observables.json").read_text())["quantities"]}
    assert found["Remembered of the training file (0: nothing), GAN"] > 0.9
    assert found["Remembered of the training file (0: nothing), VAE"] < 0.5
    assert '"training.h5"' in Path("out/observables.json").read_text()
    assert calogen(*options, "--training", "reference.h5") == 0
    page = Path("out/report.md").read_text()
    assert "reference showers are showers of the training file: give a reference that was not trained on" in page


def test_labels_of_cells_are_those_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(tmp_path, monkeypatch)
    for label in ("reference", "second reference", "training"):
        with pytest.raises(ConfigError, match=f"labels of models must be other words.*LABEL=FILE.*Received: {label}"):
            evaluate_cells(Path("a.h5"), {label: Path("b.h5")}, tmp_path / "out", options=QUICK, training=Path("c.h5"))
    with pytest.raises(DataFormatError, match="a.h5"):  # where nothing trains, the word is free
        evaluate_cells(Path("a.h5"), {"training": Path("b.h5")}, tmp_path / "out", options=QUICK)
