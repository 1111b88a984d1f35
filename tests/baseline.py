"""Every number that a user sees, written down, so that a rebuilt house can be held against the one before.

    python tests/baseline.py write baseline.json     (before; minutes on two cores)
    python tests/baseline.py write now.json          (after)
    python tests/baseline.py compare baseline.json now.json

`write` runs every experiment with the preset smoke, and `calogen evaluate` on the bundled showers, as processes of
their own. It keeps digests of weights and of generated showers (of the arrays, not of the files) and each number of
every JSON file. `compare` prints what differs, and by how much; its exit code is 1 then. Times, memory, versions, paths
and commits are left out. Digests are equal only on the same machine with the same number of threads: one, here.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ONE_THREAD = {"CALOGEN_CORES": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
OTHER_EACH_TIME = re.compile(
    r"second|\btime|_time|wall|memory|peak|commit|dirty|version|platform|cpu|device|\bms\b|speed|faster|sha256|file"
    r"|threads|per shower",
    re.IGNORECASE,
)
"""Keys and texts that are of the machine and of the moment."""
GENERATE = """
import hashlib, sys
from pathlib import Path
import numpy as np
try:
    from calogen.generation.generate import generate
    from calogen.generation.load import load_run
except ImportError:  # before the rooms
    from calogen.generation import generate, load_run
run = load_run(Path(sys.argv[1]))
low, high = run.momentum_range or (2.0**10, 2.0**18)
print("showers", hashlib.sha256(generate(run, np.geomspace(low, high, 300), seed=3).energies.tobytes()).hexdigest(), 0)
for name in sorted(run.networks):
    arrays = run.networks[name].get_weights()
    total = sum(float(abs(array).sum()) for array in arrays)
    print(name, hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest(), total)
"""
CELLS = """
import sys
import numpy as np
from calogen.showers.bundled import bundled, read_showers
showers = read_showers(bundled("photons_test"))
showers[np.isin(showers.incident_energies, (4096.0, 65536.0))].write(sys.argv[1])
"""
COMMAND = """
from calogen.cli.main import main
main()
"""


def call(*command: str | Path) -> str:
    """What a Python process prints; it runs with this checkout and one thread."""
    about = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, env=about, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    return done.stdout


def leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Texts and numbers of a JSON value by their place in it, without those that are of the moment."""
    if OTHER_EACH_TIME.search(where) or (isinstance(value, str) and OTHER_EACH_TIME.search(value)):
        return
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{where}/{name}")
    elif isinstance(value, list):
        names = [item.get("name", item.get("claim", "")) if isinstance(item, dict) else "" for item in value]
        for place, (name, item) in enumerate(zip(names, value, strict=True)):
            yield from leaves(item, f"{where}/{name or place}")
    else:
        yield where, value


def read(folder: Path, part: Path) -> dict[str, Any]:
    """Leaves of every JSON file of a part of the folder, digests of every run in it."""
    found: dict[str, Any] = {}
    for file in sorted(part.rglob("*.json")):
        where = file.relative_to(folder).as_posix()
        if file.name != "provenance.json":
            found |= dict(leaves(json.loads(file.read_text("utf-8")), where))
        if file.name == "transform.json":
            for line in call("-c", GENERATE, file.parent).splitlines():
                name, digest, total = line.split()
                found[f"{where}#{name}"] = f"{digest[:16]} {total}"
    return found


def write(path: Path, folder: Path) -> None:
    """Runs in the folder what has not run there yet, and writes what it gave."""
    data = ROOT / "calogen" / "data"
    for script in sorted((ROOT / "experiments").glob("*.py")):
        print(script.stem, flush=True)
        call(script, "--preset", "smoke", "--seeds", "1", "--runs", folder / script.stem)
    pairs = {"pions": (data / "pions_test.h5", data / "pions_train.h5")}
    asked = {
        "cells": (folder / "atlas_vae" / "atlas_vae" / "smoke-seed1", "4096,65536", "300"),
        "photons": (
            folder / "fastcalogan" / "fastcalogan" / "smoke-seed1" / "photon" / "selected",
            "256:262144:x2",
            "40",
        ),
    }
    for kind, (run, energies, number) in asked.items():
        pairs[kind] = folder / f"{kind}_geant4.h5", folder / f"{kind}.h5"
        more = ["--energies", energies, "--showers", number, "--output", pairs[kind][1]]
        call("-c", COMMAND, "generate", run, *more)
    call("-c", CELLS, pairs["cells"][0])
    pairs["photons"] = data / "photons_train.h5", pairs["photons"][1]
    for kind, (reference, generated) in pairs.items():
        print("evaluate", kind, flush=True)
        files = ["--reference", reference, "--generated", f"other={generated}", "--output", folder / f"of-{kind}"]
        few = ["--match-energies", "--classifiers", "1", "--max-showers", "600"] if kind != "cells" else []
        call("-c", COMMAND, "evaluate", *files, *few)
    found = read(folder, folder)
    path.write_text(json.dumps(found, indent=0, sort_keys=True), "utf-8")
    print(f"{len(found)} numbers, texts and digests in {path}")


def compare(before: Path, after: Path) -> int:
    """Prints what differs between two baselines; gives the exit code."""
    first, second = (json.loads(path.read_text("utf-8")) for path in (before, after))
    different = 0
    for name in sorted({*first, *second}):
        one, other = first.get(name, "missing"), second.get(name, "missing")
        if json.dumps(one) == json.dumps(other):  # NaN is equal to NaN here
            continue
        different += 1
        numbers = all(isinstance(value, int | float) for value in (one, other))
        print(f"{name}: {one} -> {other}" + (f" ({abs(other - one) / max(abs(one), 1e-300):.1e})" if numbers else ""))
    print(f"{different} of {len(first)} differ")
    return int(different > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("write")
    one.add_argument("path", type=Path)
    one.add_argument("--folder", type=Path, help="where it runs; what is there is not run again")
    two = commands.add_parser("compare")
    two.add_argument("before", type=Path)
    two.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "write" and given.folder is None:
        with tempfile.TemporaryDirectory() as name:
            write(given.path, Path(name))
    elif given.command == "write":
        write(given.path, given.folder)
    else:
        sys.exit(compare(given.before, given.after))
