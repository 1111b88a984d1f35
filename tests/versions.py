"""The tests on every Python that is found, with the newest and with the lowest versions that setup.cfg allows.

Each pair has an environment of its own in .venv-versions/, made or brought up to date here, and a log beside it. The
lowest versions are those of the packages that setup.cfg names: what these need themselves is the newest they take. An
interpreter is looked for in PATH and among pyenv's. `make test-versions` runs this; it takes hours.
"""

import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("numpy", "scipy", "keras", "tensorflow")
"""Whose versions the table shows."""
PYTEST = ("-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-m", "not slow", "-p", "no:cacheprovider")


def read_setup(path: Path = ROOT / "setup.cfg") -> ConfigParser:
    """The package's declaration."""
    setup = ConfigParser()
    setup.read(path, encoding="utf-8")
    return setup


def lowest(setup: ConfigParser) -> list[str]:
    """Constraints, as pip reads them, that hold every requirement of setup.cfg at its lower bound."""
    lines = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    bounds = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])?[>=]=(?P<version>[\d.]+)[^;]*(?P<marker>;.*)?")
    found = [bounds.fullmatch(line) for text in lines for line in text.splitlines()]
    return sorted({f"{match['name']}=={match['version']}{match['marker'] or ''}" for match in found if match})


def minors(setup: ConfigParser) -> list[str]:
    """Versions of Python that setup.cfg promises: 3.11 and so on."""
    found = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", setup["options"]["python_requires"])
    assert found is not None
    return [f"3.{minor}" for minor in range(int(found[1]), int(found[2]))]


def interpreter(minor: str) -> Path | None:
    """A Python of this version, the newest of pyenv's if it is not in PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    paths = sorted(pyenv.glob(f"{minor}.[0-9]*/bin/python3"), key=lambda path: -int(path.parts[-3].split(".")[2]))
    for path in (shutil.which(f"python{minor}"), *paths):
        # pyenv has a python3.12 in PATH that may only say how to install it.
        if path and output(path, "import sys; print(*sys.version_info[:2], sep='.')") == minor:
            return Path(path)
    return None


def output(python: Path | str, code: str) -> str:
    """What a Python prints; nothing if it fails or is not there."""
    try:
        return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def run(python: Path, name: str, constraints: list[str], folder: Path) -> tuple[str, str]:
    """Makes an environment and runs the tests in it.

    Returns:
        What came of it ("ok" at its begin: all passed), and the versions of `PACKAGES`.
    """
    home, log = folder / name, folder / f"{name}.log"
    (folder / f"{name}.txt").write_text("\n".join(constraints) + "\n")
    pip = ["-m", "pip", "install", "--disable-pip-version-check", "--upgrade", "--upgrade-strategy", "eager"]
    ours = home / "bin" / "python"
    steps = {
        "environment": [python, "-m", "venv", home],
        "installation": [ours, *pip, "--constraint", folder / f"{name}.txt", "--editable", f"{ROOT}[dev]"],
        "tests": [ours, *PYTEST],
    }
    outcome = "ok"
    with log.open("w", encoding="utf-8") as file:
        for step, command in steps.items():
            print(f"{name}: {step} (log: {log})", flush=True)
            if subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, check=False).returncode:
                outcome = f"{step} failed"
                break
    last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
    code = f"from importlib.metadata import version; print(*map(version, {PACKAGES}))"
    return f"{outcome}: {last}", output(ours, code)


def main(folder: Path = ROOT / ".venv-versions") -> int:
    """Tests every pair, prints a table, gives the exit code: 1 if one failed or none was tested."""
    folder.mkdir(exist_ok=True)
    setup = read_setup()
    rows: list[tuple[str, ...]] = [("python", "versions", " ".join(PACKAGES), "outcome")]
    for minor in minors(setup):
        python = interpreter(minor)
        if python is None:
            rows.append((minor, "-", "-", f"skipped: no python{minor} in PATH or among pyenv's"))
            continue
        for kind, constraints in (("newest", []), ("lowest", lowest(setup))):
            outcome, versions = run(python, f"{minor}-{kind}", constraints, folder)
            rows.append((minor, kind, versions, outcome))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print(*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3], sep="  ")
    outcomes = [row[3] for row in rows[1:] if not row[3].startswith("skipped")]
    return int(not outcomes or not all(outcome.startswith("ok") for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
