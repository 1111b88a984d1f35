"""Numbers and names beyond all bounds: refused before anything is computed, in one line, exit code 2."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from toy_gan import make_gan

from calogen.cli import main as cli
from calogen.command import clean_exit
from calogen.config import MAX_SEED
from calogen.errors import ConfigError
from calogen.generation import generate as generation
from calogen.provenance import seed_streams
from calogen.reproduction.experiment import Arguments, execute, open_run, parse_arguments
from calogen.reproduction.scan import scan
from calogen.showers.sample import Showers
from calogen.simulation.request import Request

LONG = "x" * 300
DIGITS = "9" * 23
Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """The last line of a command's error; it ends with code 2, computes nothing and leaves nothing."""
    make_showers(TINY_VOXELS, 40).write(tmp_path / "showers.h5")
    (tmp_path / "graph.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    def last_line(program: Callable[[], None], *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        with pytest.raises(SystemExit) as ended:
            program()
        assert ended.value.code == 2
        assert sorted(tmp_path.rglob("*")) == before
        lines = capsys.readouterr().err.splitlines()
        assert "Traceback" not in " ".join(lines)
        assert len(lines[-1]) < 1500
        return lines[-1]

    return last_line


@pytest.mark.parametrize("seed", [DIGITS, str(MAX_SEED + 1), "-1", "1e3"])
@pytest.mark.parametrize(
    "command",
    [
        "simulate --energies 1024 --output a.h5",
        "generate run --energies 1024 --output a.h5",
        "evaluate --reference showers.h5 --generated showers.h5 --output a",
    ],
)
def test_seeds_have_64_bits(refused: Refused, command: str, seed: str) -> None:
    assert "Invalid value for '--seed'" in refused(cli.main, *command.split(), "--seed", seed)


@pytest.mark.parametrize("arguments", [["--seed", DIGITS], ["--seeds", "1e11"], ["--seeds", str(10**11)]])
def test_experiments_know_as_many_seeds(refused: Refused, arguments: list[str]) -> None:
    line = refused(lambda: execute(lambda _: pytest.fail("nothing may be computed"), ""), *arguments)
    assert re.search(rf"Invalid value for '{arguments[0]}': ", line), line


def test_a_scan_knows_as_many_seeds(refused: Refused) -> None:
    grids = Path(__file__).parents[2] / "experiments" / "scans"
    assert "Invalid value for '--seeds'" in refused(lambda: scan("", grids), "atlas_vae", "--seeds", str(10**11))


def test_the_largest_seed_works(tmp_path: Path) -> None:
    gans = [make_gan(256.0, 4096.0, 1.0), make_gan(4096.0, 65536.0, 1.0)]
    showers = generation.generate(gans, np.array([1024.0, 8192.0]), MAX_SEED)
    showers.write(tmp_path / "a.h5")
    assert Showers.read(tmp_path / "a.h5", TINY_VOXELS).attributes["seed"] == MAX_SEED
    assert seed_streams(MAX_SEED, "train")
    assert Request(output=tmp_path / "a.h5", energies=(1024.0,), seed=MAX_SEED)
    assert parse_arguments("", ["--seed", str(MAX_SEED)]).seeds == (MAX_SEED,)
    for refuse in (lambda seed: generation.generate(gans, np.ones(1), seed), lambda seed: seed_streams(seed, "a")):
        with pytest.raises(ConfigError, match=f"seed must be 0 to {MAX_SEED}. Received: {MAX_SEED + 1}"):
            refuse(MAX_SEED + 1)


@pytest.mark.parametrize("number", ["1000000000000", "1" + "0" * 30])
def test_more_showers_than_can_be_made_are_refused(
    refused: Refused, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate = refused(cli.main, *f"simulate --energies 1024,2048 --output a.h5 --showers {number}".split())
    assert "a production may have 1,000,000 chunks" in simulate
    monkeypatch.setattr("calogen.generation.production.load_run", lambda path: make_gan(256.0, 4096.0, 1.0))
    monkeypatch.setattr(generation, "engine", lambda *_: pytest.fail("nothing may be computed"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=10**12, free=10**9))
    line = refused(cli.main, *f"generate run --energies 1024,2048 --output a.h5 --showers {number}".split())
    assert re.search(r"cannot write a.h5: it needs at least .* MB more. Received: 1,000 MB of free space", line), line


@pytest.mark.parametrize(
    "command",
    [
        f"simulate --energies 1024 --output {LONG}",
        f"simulate --energies 1024 --output a.h5 --extend {LONG}",
        f"simulate --energies 1024 --output a.h5 --particle {LONG}",
        f"download {LONG}",
        f"download calochallenge-photons --output {LONG}",
        f"generate {LONG} --energies 1024 --output a.h5",
        f"generate run --energies 1024 --output {LONG}",
        f"generate run --energies {LONG} --output a.h5",
        f"evaluate --reference {LONG} --generated showers.h5 --output a",
        f"evaluate --reference showers.h5 --generated {LONG} --output a",
        f"evaluate --reference showers.h5 --generated {LONG}=showers.h5 --generated b=showers.h5 --output a",
        f"evaluate --reference showers.h5 --generated showers.h5 --second-reference {LONG} --output a",
        f"evaluate --reference showers.h5 --generated showers.h5 --geometry {LONG} --output a",
        f"evaluate --reference showers.h5 --generated showers.h5 --output {LONG}",
        f"evaluate --reference showers.h5 --generated showers.h5 --binning {LONG} --output a",
        f"report {LONG}",
        f"report . --tables {LONG}",
        f"report . {LONG}",
        f"report . . --output {LONG}",
        f"inspect {LONG}",
        f"inspect {LONG}.json",
        f"inspect graph.json --draw {LONG}.png",
        f"inspect showers.h5 --window {LONG}",
    ],
)
def test_names_of_300_letters_are_refused(refused: Refused, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calogen.evaluation.judging.assess", lambda *_: pytest.fail("nothing may be computed"))
    monkeypatch.setattr(
        generation,
        "load_run",
        lambda path, load=generation.load_run: make_gan(256, 4096, 1) if path.name == "run" else load(path),
    )
    monkeypatch.setattr(generation, "engine", lambda *_: pytest.fail("nothing may be computed"))
    assert refused(cli.main, *command.split()).startswith(("calogen: error: ", "Error: "))


@pytest.mark.parametrize("option", ["--runs", "--results"])
def test_directories_of_experiments_are_tried_before_the_work(refused: Refused, option: str) -> None:
    def experiment(arguments: Arguments) -> None:
        with open_run("toy", "smoke", 1, arguments.runs):
            pytest.fail("nothing may be computed")

    line = refused(lambda: execute(experiment, ""), option, LONG)
    assert line.startswith("program: error: cannot write ")
    assert line.endswith("choose a shorter name")


def _allocate() -> None:
    np.empty(2**62, np.uint8)


def _allocate_with_tensorflow() -> None:
    import tensorflow as tf

    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]\nhint: more")


def _open() -> None:
    Path(LONG).read_bytes()


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (_allocate, r"out of memory: ask for less at once, or for more memory \(Unable to allocate 4.00 EiB"),
        (_allocate_with_tensorflow, r"out of memory: .* \(OOM when allocating tensor with shape\[9,9\]\)"),
        (_open, "cannot use x+: File name too long"),
    ],
)
def test_what_the_machine_cannot_do_is_one_line(refused: Refused, fail: Callable[[], None], message: str) -> None:
    def program() -> None:
        with clean_exit("program"):
            fail()

    assert re.match(f"program: error: {message}", refused(program))
