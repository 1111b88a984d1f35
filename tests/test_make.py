"""What `make` hands to the programs that it runs, told by a stand-in for the environment's Python."""

import configparser
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from calogen.reproduction.experiment import LONG, PRESETS

ROOT = Path(__file__).parents[1]
SCAN = ROOT / "experiments" / "scan.py"
EXPERIMENTS = sorted({*(ROOT / "experiments").glob("*.py")} - {SCAN})
GRIDS = sorted((ROOT / "experiments" / "scans").glob("*.toml"))
STAND_IN = """#!{python} -IS
import json, os, sys
with open({log!r}, "a") as file:
    print(json.dumps([sys.argv[1:], dict(os.environ)]), file=file)
"""
TEXTS = (
    *("a b", "$HOME", "$$x", "$(touch made)", "$(shell touch made)", "${{DATA}}", ";touch made;", "`touch made`"),
    *(
        "'",
        'it\'s "q"',
        "a#b",
        "\\#",
        "back\\slash\\",
        "%",
        "a=b:c",
        "*",
        "~",
        "-x",
        "trailing ",
        "two\nlines",
        "é|&<>!",
    ),
)
"""Values that mean something to make or a shell."""


@dataclass(frozen=True)
class Checkout:
    """A copy of what `make` reads, whose environments record how they are called."""

    folder: Path

    def make(self, *arguments: str, **environment: str) -> list[tuple[list[str], dict[str, str]]]:
        """Arguments and environments of the programs that make ran."""
        log = self.folder / "log.jsonl"
        log.write_text("")
        self.run(*arguments, check=True, **environment)
        return [(arguments, environment) for arguments, environment in map(json.loads, log.read_text().splitlines())]

    def run(self, *arguments: str, check: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs make without the variables of the make that runs these tests."""
        command = ["make", "--no-print-directory", *arguments]
        clean = {name: value for name, value in os.environ.items() if name in ("HOME", "PATH", "LANG")}
        return subprocess.run(
            command, cwd=self.folder, env=clean | environment, capture_output=True, text=True, check=check
        )

    def experiments(self, *arguments: str, **environment: str) -> list[list[str]]:
        """Command lines of the experiments, without the interpreter."""
        return [found for found, _ in self.make(*arguments, **environment) if found[0].startswith("experiments/")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder = tmp_path / "a $checkout"
    names = [path.relative_to(ROOT / "experiments") for path in (*EXPERIMENTS, *GRIDS, SCAN)]
    for name in (*names, "results/x.json"):
        (folder / "experiments" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "experiments" / name).touch()
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name in ("python", "calogen", "ruff", "mypy"):
        stand_in(folder / ".venv" / "bin" / name, folder / "log.jsonl")
    (folder / ".venv" / ".ready").touch()
    return Checkout(folder)


def stand_in(path: Path, log: Path) -> None:
    """Writes a program that records its arguments and its environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STAND_IN.format(python=sys.executable, log=str(log)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_help_explains_every_target(checkout: Checkout) -> None:
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony is not None
    explained = {line.split()[0] for line in checkout.run("help").stdout.splitlines() if line.strip()}
    targets = re.sub(r"\\\n", "", phony[1])
    for name, shown in (("$(REPRODUCE)", "reproduce-<paper>"), ("$(SCAN)", "scan-<paper>")):
        targets = targets.replace(name, shown)
    assert set(targets.split()) <= explained


def test_every_preset_is_explained(checkout: Checkout) -> None:
    pages = (checkout.run("help").stdout, (ROOT / "docs" / "commands.md").read_text(encoding="utf-8"))
    for preset in (*PRESETS, LONG):
        assert all(re.search(rf"PRESET=.*\b{preset}\b", page) for page in pages), preset


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_is_a_target(path: Path, checkout: Checkout) -> None:
    (found,) = checkout.experiments(f"reproduce-{path.stem.replace('_', '-')}", "PRESET=smoke", "SEEDS=2")
    assert found == [f"experiments/{path.name}", "--preset=smoke", "--seeds=2", "--runs=runs"]


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_grid_is_a_target(path: Path, checkout: Checkout) -> None:
    name = path.stem.replace("_", "-")
    (found,) = checkout.experiments(f"scan-{name}")
    assert found == ["experiments/scan.py", name, "--preset=laptop", "--runs=runs"]


def test_a_scan_is_no_reproduction_and_takes_no_test_showers(checkout: Checkout) -> None:
    assert "reproduce-scan" not in checkout.run("help").stdout
    given = ("SEEDS=4", "WORKERS=2", "RESULTS=x y", "DATA=$HOME", "OPTIONS=--sampler tpe", "PRESET=smoke")
    (found,) = checkout.experiments("scan-atlas-vae", *given)
    assert found[1:] == [
        *("atlas-vae", "--preset=smoke", "--runs=runs/own", "--seeds=4", "--workers=2", "--results=x y"),
        *("--train-data=$HOME", "--options=--sampler tpe"),
    ]
    for name in ("TEST_DATA", "GEOMETRY"):
        refused = checkout.run("scan-atlas-vae", f"{name}=x")
        assert f"scan-atlas-vae takes no {name}: " in refused.stderr


def test_your_own_showers_have_runs_of_their_own(checkout: Checkout) -> None:
    files = ("DATA=/tmp/my file.h5", "TEST_DATA=/tmp/other file.h5")
    (own,) = checkout.experiments("reproduce-caloshowergan", *files, "PRESET=paper")
    given = ["--train-data=/tmp/my file.h5", "--test-data=/tmp/other file.h5"]
    expected = ["experiments/caloshowergan.py", "--preset=paper", "--seeds=1"]
    assert own == [*expected, "--runs=runs/own", *given]
    (bundled,) = checkout.experiments("reproduce-caloshowergan", "PRESET=paper")
    assert bundled == [*expected, "--runs=runs"]
    (elsewhere,) = checkout.experiments("reproduce-caloshowergan", *files, "PRESET=paper", "RUNS=my runs")
    assert elsewhere == [*expected, "--runs=my runs", *given]


def test_a_slice_has_voxels_for_training_and_a_place_in_the_export(checkout: Checkout) -> None:
    files = ("DATA=eta25.h5", "GEOMETRY=my binning.xml", "ETA=25")
    training, export = checkout.make("reproduce-caloshowergan", "export-lwtnn", "RUN=runs/own", *files)
    assert training[0][-3:] == ["--train-data=eta25.h5", "--geometry=my binning.xml", "--eta=25"]
    assert export[0] == ["export", "--output=export/out", "--eta=25", "--", "runs/own"]
    (alone,) = checkout.experiments("reproduce-caloshowergan", "ETA=25")  # the paper's voxels are of many slices
    assert not any("eta" in word for word in alone)


def test_the_ablation_is_of_photons_and_pions(checkout: Checkout) -> None:
    found = checkout.experiments("ablate-caloshowergan", "OPTIONS=--bfloat16 $(touch made)", "SEEDS=3", "RUNS=$HOME")
    assert [line[0] for line in found] == ["experiments/caloshowergan.py", "experiments/caloshowergan_pions.py"]
    for line in found:
        assert line[1:] == [
            *("--preset=laptop", "--seeds=3", "--runs=$HOME", "--options=--ablation --bfloat16 $(touch made)")
        ]
    assert [line[-1] for line in checkout.experiments("ablate-caloshowergan")] == ["--options=--ablation "] * 2
    assert not list(checkout.folder.rglob("made"))
    refused = checkout.run("ablate-caloshowergan", "DATA=x';touch made;'")
    assert "ablate-caloshowergan takes no DATA" in refused.stderr
    assert not list(checkout.folder.rglob("made"))


@pytest.mark.parametrize("given_by", ["command line", "environment"])
def test_texts_arrive_as_they_are(given_by: str, checkout: Checkout) -> None:
    """On its command line make takes leading spaces away from a value, before it reads the Makefile; none is here."""
    flags = ("preset", "seeds", "runs", "results", "train-data", "test-data", "geometry", "eta", "options")
    names = ("PRESET", "SEEDS", "RUNS", "RESULTS", "DATA", "TEST_DATA", "OPTIONS", "RUN", "WORKERS")
    names += ("GEOMETRY", "ETA", "INTO", "ONLY")
    for text in TEXTS:
        targets, given = ("reproduce-fastcalogan", "export-lwtnn", "simulate"), dict.fromkeys(names, text)
        if given_by == "environment":
            calls = [arguments for arguments, _ in checkout.make(*targets, **given)]
        else:
            calls = [arguments for arguments, _ in checkout.make(*targets, *(f"{name}={text}" for name in names))]
        assert calls[0] == ["experiments/fastcalogan.py", *(f"--{flag}={text}" for flag in flags)]
        exported = [f"--eta={text}", f"--into={text}", f"--only={text}"]
        assert calls[1] == ["export", "--output=export/out", *exported, "--", text]
        workers = [arguments[arguments.index("--workers") + 1] for arguments in calls[2:] if "--workers" in arguments]
        assert len(workers) > 3
        assert set(workers) == {text}
    assert not list(checkout.folder.parent.rglob("made"))


def test_the_official_converter_is_asked_after_the_export(checkout: Checkout) -> None:
    _, official = checkout.make("export-lwtnn", "RUN=my runs", "CHECK=official")
    assert official[0] == ["export/official.py", "--", "my runs"]
    for text in TEXTS:
        refused = checkout.run("export-lwtnn", "RUN=x", f"CHECK={text}")
        assert refused.returncode == 2
        assert f"CHECK must be official. Received: {text}" in refused.stderr
    assert not list(checkout.folder.parent.rglob("made"))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["EXTRA", "VENV"])
def test_texts_that_become_names_of_targets_are_checked(name: str, text: str, checkout: Checkout) -> None:
    """Both are parts of a target's name."""
    found = checkout.run("-n", "install", f"{name}={text}")
    if (name, text) != ("VENV", "-x"):
        assert f"*** {name} must be" in found.stderr
        assert found.returncode == 2
    assert not list(checkout.folder.rglob("made"))


def test_extras_are_those_of_the_package(checkout: Checkout) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = re.search(r"^EXTRAS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert extras is not None
    assert extras[1].split() == sorted({*setup["options.extras_require"]} - {"dev"})
    assert "'.[dev,gpu,bench]'" in checkout.run("-n", "install", "EXTRA=gpu,bench").stdout


@pytest.mark.parametrize("name", ["my python; touch made", "$(touch made)", "it's"])
def test_the_python_of_the_environment(name: str, checkout: Checkout) -> None:
    path = checkout.folder / name
    stand_in(path, checkout.folder / "log.jsonl")
    (checkout.folder / ".venv" / ".ready").unlink()
    calls = [arguments for arguments, _ in checkout.make("install", f"PYTHON=./{name}")]
    assert calls[1] == ["-m", "venv", ".venv"]
    assert calls[2][-1] == ".[dev]"
    assert not list(checkout.folder.rglob("made"))
    (checkout.folder / ".venv" / ".ready").unlink()
    refused = checkout.run("install", "PYTHON=no python")
    assert "calogen needs Python 3.11, 3.12 or 3.13: make PYTHON=" in refused.stderr
    assert refused.returncode == 2


def test_foreign_environments_stay_outside(checkout: Checkout) -> None:
    """What LCG and Athena set, and a pip that installs for the user."""
    foreign = {
        "PYTHONPATH": "/cvmfs/x",
        "PYTHONHOME": "/cvmfs",
        "PIP_USER": "1",
        "PIP_TARGET": "/x",
        "PIP_PREFIX": "/x",
    }
    (checkout.folder / ".venv" / ".ready").unlink()
    stand_in(checkout.folder / "python", checkout.folder / "log.jsonl")
    for target in ("install", "test", "lint", "tables", "reproduce-atlas-vae", "test-versions"):
        calls = checkout.make(target, "PYTHON=./python", **foreign)
        assert calls
        for _, environment in calls:
            assert not {*foreign} & {*environment}
            assert environment["PYTHONNOUSERSITE"] == "1"


def test_foreign_environments_stay_outside_of_cluster_jobs(checkout: Checkout) -> None:
    shutil.copy(ROOT / "experiments" / "slurm.sh", checkout.folder / "experiments")
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": "/cvmfs/x", "PYTHONHOME": "/cvmfs"}
    subprocess.run(["sh", "experiments/slurm.sh", "atlas_vae"], cwd=checkout.folder, env=clean, check=True)
    arguments, environment = json.loads((checkout.folder / "log.jsonl").read_text())
    assert arguments == ["experiments/atlas_vae.py", "--preset", "paper"]
    assert not {"PYTHONPATH", "PYTHONHOME"} & {*environment}
    assert environment["PYTHONNOUSERSITE"] == "1"
    text = (ROOT / "experiments" / "htcondor.sub").read_text(encoding="utf-8")
    line = re.search(r'^environment = "(.*)"$', text, re.MULTILINE)
    assert line is not None
    entries = dict(entry.split("=", maxsplit=1) for entry in line[1].split())
    assert entries == {"PYTHONPATH": "", "PYTHONHOME": "", "PYTHONNOUSERSITE": "1"}
    code = "import json, site, sys; print(json.dumps([sys.path, site.ENABLE_USER_SITE]))"
    found, without = (
        subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True).stdout
        for given in (entries, {"PYTHONNOUSERSITE": "1"})
    )
    assert found == without  # Python takes an empty variable for none
    assert not json.loads(found)[1]
