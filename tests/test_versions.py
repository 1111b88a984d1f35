"""`make test-versions`: its constraints, and the whole of it with stand-ins for Python, pip and pytest."""

import shutil
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import versions

STAND_IN = """#!/bin/sh
# A Python 3.{minor}: makes environments that hold itself, and says what else it was asked for.
case "$*" in
  "-c import sys"*) echo 3.{minor};;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python";;
  "-m pip "*) while [ "$1" != --constraint ]; do shift; done; echo "constraints: $(cat "$2" | tr '\\n' ' ')";;
  "-m pytest "*) echo "{result}"; case "{result}" in *failed*) exit 1;; esac;;
  *) echo 1 2 3 4;;
esac
"""


def test_constraints_are_the_lower_bounds() -> None:
    setup = ConfigParser()
    setup["options"] = {"install_requires": "\nnumpy>=2.2,<3\nai-edge-litert>=2.1,<3"}
    setup["options.extras_require"] = {
        "geant4": '\n# a comment\ngeant4-pybind==0.1.3; sys_platform == "linux"',
        "gpu": "\ntensorflow[and-cuda]>=2.21,<2.22",
        "dev": "\ncalogen[export,geant4]\njax>=0.5",
    }
    assert versions.lowest(setup) == [
        "ai-edge-litert==2.1",
        'geant4-pybind==0.1.3; sys_platform == "linux"',
        "jax==0.5",
        "numpy==2.2",
        "tensorflow==2.21",
    ]


def test_every_requirement_of_the_package_is_constrained() -> None:
    setup = versions.read_setup()
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    lines = [line for text in texts for line in text.splitlines() if line and not line.startswith(("#", "calogen["))]
    names = {line.split(">")[0].split("=")[0].split("[")[0] for line in lines}
    assert {line.split("==")[0] for line in versions.lowest(setup)} == names
    assert versions.minors(setup) == ["3.11", "3.12", "3.13"]


@pytest.fixture
def pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with the stand-ins that a test puts there, and a pyenv without versions."""
    (tmp_path / "bin").mkdir()
    for name in ("cat", "cp", "mkdir", "tr"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path / "bin"


def put(path: Path, minor: int, result: str = "7 passed") -> None:
    """Writes a stand-in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STAND_IN.format(minor=minor, result=result))
    path.chmod(0o755)


def test_every_python_that_is_found_is_tested_twice(
    pythons: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(pythons / "python3.12", 12, "1 failed, 6 passed")
    put(tmp_path / "pyenv/versions/3.13.0/bin/python3", 13)
    assert versions.main(tmp_path / "made") == 1
    table = [line.split() for line in capsys.readouterr().out.splitlines()[-6:]]
    assert [line[:2] for line in table[1:]] == [
        *(["3.11", "-"], ["3.12", "newest"], ["3.12", "lowest"], ["3.13", "newest"], ["3.13", "lowest"])
    ]
    assert " ".join(table[1][3:]) == "skipped: no python3.11 in PATH or among pyenv's"
    assert " ".join(table[2][2:]) == "1 2 3 4 tests failed: 1 failed, 6 passed"
    assert " ".join(table[5][2:]) == "1 2 3 4 ok: 7 passed"
    logs = {path.stem: path.read_text().splitlines() for path in (tmp_path / "made").glob("*.log")}
    assert logs["3.13-newest"] == ["constraints:  ", "7 passed"]
    assert logs["3.13-lowest"][0].split()[1:] == " ".join(versions.lowest(versions.read_setup())).split()


def test_nothing_found_is_a_failure(pythons: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert versions.main(tmp_path / "made") == 1
    assert capsys.readouterr().out.count("skipped") == 3


def test_passing_everywhere_is_a_success(pythons: Path, tmp_path: Path) -> None:
    put(pythons / "python3.11", 11)
    put(pythons / "python3.12", 99)  # another Python under this name, as pyenv's shims may be
    assert versions.main(tmp_path / "made") == 0
    assert not (tmp_path / "made" / "3.12-newest").exists()


def test_this_python_is_among_the_promised() -> None:
    assert f"3.{sys.version_info.minor}" in versions.minors(versions.read_setup())
