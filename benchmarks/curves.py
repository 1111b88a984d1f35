r"""Quality of a GAN's showers against the CPU time of its training.

    python experiments/caloshowergan.py --preset long --bfloat16 --only photon
    python experiments/caloshowergan.py --preset long --bfloat16 --only photon --recipe ratio-3-average
    python benchmarks/curves.py paper=runs/caloshowergan/long-seed1/photon \
        ours=runs/caloshowergan-ratio-3-average/long-seed1/photon --published 2.7 --figure curves.png

Every curve is a name and the folder of a trained run with saved iterations, of which --points are measured; a
measured one is kept in the folder (curve.json) and not measured again. All figures (chi2/NDF, FPD, AUCs) are
those of the bundled held-out
showers, which do not train. chi2/NDF is scaled to the CaloChallenge's numbers of showers, so that the paper's value, a
line at --published, may stand beside it. The showers are those of a simplified stack: compare the slope, not the digit.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from recipes import distances, showers_of

from calogen.config import require
from calogen.errors import CalogenError
from calogen.evaluation.merits import Chi2Merit
from calogen.files import read_json_table, write_json
from calogen.generation.generate import generate_like
from calogen.generation.load import list_snapshots, load_run, load_snapshot
from calogen.locks import directory_lock
from calogen.metrics.chi2 import ROUNDS, total
from calogen.plots.style import Drawn, add_legend, build_figure, sample_styles, style, write_figure
from calogen.progress import progress
from calogen.reproduction.chi2_selection import challenge_showers
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry
from calogen.training.run import TrainedRun

RULE = "caloshowergan"
CHI2 = "chi2_per_ndf"
TITLES = {
    CHI2: r"$\chi^2$ / NDF at the paper's statistics",
    "fpd": "FPD",
    "auc_high": "AUC of high-level features",
    "auc_low": "AUC of voxels",
}


def main() -> None:
    """Measures, prints and draws everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="*", metavar="NAME=DIR", help="name of a curve, and folder of its trained run")
    parser.add_argument("--points", type=int, default=8, help="iterations of each run (default: %(default)s)")
    parser.add_argument("--published", type=float, help="the paper's chi2/NDF: a line")
    parser.add_argument("--no-classifiers", action="store_true", help="leave out the AUCs, a minute for each point")
    parser.add_argument("--csv", type=Path, help="write the table to this file")
    parser.add_argument("--figure", type=Path, help="draw the curves into this file, .png, .pdf or .svg")
    arguments = parser.parse_args()
    if not arguments.curves:
        print("curves: nothing to measure, as no trained run is named (--help tells how to train some)")
        return
    try:
        table = run(arguments)
    except CalogenError as error:
        sys.exit(str(error))
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)
    if arguments.figure:
        write_figure(draw(table, arguments.published), arguments.figure)


def run(arguments: argparse.Namespace) -> pd.DataFrame:
    """Measures what is not measured yet, and gives a row for each curve and iteration.

    Raises:
        CalogenError: a curve has no folder with a trained run and saved iterations.
    """
    require(arguments.points >= 1, f"--points must be 1 or more. Received: {arguments.points}")
    rows = []
    for text in arguments.curves:
        name, equals, folder = text.partition("=")
        require(bool(name and equals and folder), f"a curve must be NAME=DIR. Received: {text}")
        with directory_lock(Path(folder), wait=0):
            measured = measure(Path(folder), arguments.points, classifiers=not arguments.no_classifiers)
        rows += [{"curve": name, **row} for row in measured]
    return pd.DataFrame(rows)


def measure(directory: Path, points: int, *, classifiers: bool) -> list[dict[str, Any]]:
    """Rows of one training: CPU seconds, iteration and figures of its saved iterations."""
    trained = load_run(directory)
    require(
        isinstance(trained.geometry, VoxelGeometry), f"curves are for networks on voxels. Received: {trained.model}"
    )
    held_out = showers_of((trained.config, cast(VoxelGeometry, trained.geometry)), first=False).held_out
    assert held_out is not None
    seconds, record = seconds_at(trained.history), directory / f"curve{'-classifiers' * classifiers}.json"
    known: dict[str, Any] = read_json_table(record) if record.exists() else {}
    wanted = spread(list_snapshots(directory, "iteration"), points)
    with progress(f"measuring {directory.name}", len(wanted), "points") as bar:
        for iteration in wanted:
            if str(iteration) not in known:
                snapshot = load_snapshot(trained, directory, "iteration", iteration)
                known[str(iteration)] = figures(snapshot, held_out, classifiers)
                write_json(record, known)
            bar.advance(1)
    return [{"cpu_seconds": seconds[number], "iteration": number, **known[str(number)]} for number in wanted]


def figures(snapshot: TrainedRun, held_out: Showers, classifiers: bool) -> dict[str, float]:
    """chi2/NDF at the paper's statistics and the distances of one iteration's showers."""
    generated = generate_like(snapshot, held_out, snapshot.config.seed)
    parts = Chi2Merit(RULE).by_energy(held_out, generated, ROUNDS)
    numbers = {energy: int((held_out.incident_energies == energy).sum()) for energy in parts}
    scaled = [part.at_statistics(numbers[energy], challenge_showers(energy)) for energy, part in parts.items()]
    return {CHI2: total(scaled).per_ndf, **distances(held_out, generated, classifiers)}


def seconds_at(history: Sequence[Mapping[str, float]]) -> dict[int, float]:
    """CPU seconds that the training had taken at each of its checkpoints, by iteration.

    Raises:
        ConfigError: the training has not measured them.
    """
    require(all("cpu_seconds" in row for row in history), "the run's history must have cpu_seconds: train it anew")
    sums = np.cumsum([row["cpu_seconds"] for row in history])
    return dict(zip([int(row["iteration"]) for row in history], sums.tolist(), strict=True))


def spread(saved: Sequence[int], points: int) -> list[int]:
    """Some of the saved iterations, about equally far apart on a logarithmic axis."""
    require(len(saved) > 0, "a curve needs a run with saved iterations. Received: none")
    places = np.geomspace(saved[0], saved[-1], points) if points > 1 else [saved[-1]]
    return sorted({saved[int(np.argmin(np.abs(np.array(saved) - place)))] for place in places})


def draw(table: pd.DataFrame, published: float | None) -> Figure:
    """The curves, a panel for each figure of merit, over CPU seconds."""
    shown = [name for name in TITLES if name in table]
    names = list(dict.fromkeys(table["curve"]))
    note = "Held-out showers: Geant4 with data-free models in a simplified stack."
    labels: list[Drawn] = []
    with style():
        figure, panels = build_figure(len(shown), (1,), note)
        for (ax,), quantity in zip(panels, shown, strict=True):
            drawn: list[Drawn] = []
            for name, look in sample_styles(names).items():
                rows = table[table["curve"] == name]
                drawn += ax.plot(rows["cpu_seconds"], rows[quantity], marker="o", markersize=3, label=name, **look)
            if quantity == CHI2 and published:
                drawn.append(ax.axhline(published, color="0.4", linestyle=":", label="published"))
            ax.set(title=TITLES[quantity], xlabel="CPU time of the training (s)", xscale="log")
            if not quantity.startswith("auc"):
                ax.set_yscale("log")
            labels = drawn if quantity == shown[0] else labels
        add_legend(figure, labels)
    return figure


if __name__ == "__main__":
    main()
