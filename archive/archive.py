"""Keeps what the tables need of trained runs, small enough for the history: python archive.py FROM TO.

FROM: folder of runs (name/preset-seed/network), TO: folder that gets them. Weights are those of the chosen snapshot
alone; the checkpoint has zeros, the other snapshots are empty files (their figures are in selection.json).
"""
import io, json, shutil, sys, zipfile
from pathlib import Path
import numpy as np

def zeros(source: Path, target: Path) -> None:
    with np.load(source) as content:
        arrays = {k: (content[k] if k == "about" else np.zeros_like(content[k])) for k in content.files}
    np.savez_compressed(target, **arrays)

source, target = map(Path, sys.argv[1:3])
for selected in sorted(source.rglob("selected/selection.json")):
    run = selected.parent.parent
    here = target / run.relative_to(source)
    if (here / "checkpoint.npz").exists():
        continue
    (here / "snapshots").mkdir(parents=True)
    for name in ("selection.json", "untrained.json", "provenance.json"):
        if (run / name).exists():
            shutil.copy(run / name, here / name)
    chosen = json.loads(selected.read_text())
    number = int(chosen.get("iteration", chosen.get("epoch")))
    for path in (run / "snapshots").iterdir():
        (here / "snapshots" / path.name).touch()
        if int(path.stem.split("-")[1]) == number:
            shutil.copy(path, here / "snapshots" / path.name)
    zeros(run / "checkpoint.npz", here / "checkpoint.npz")
    print(here, number)
