"""The command of a scan: tables, plots, reports and wrong command lines."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from toy_scan import GRID, end, grid_of, measured, study_of, task_of

from calogen.errors import DataFormatError, DivergedError
from calogen.reproduction import scan_report, scan_workers
from calogen.reproduction.scan import scan
from calogen.reproduction.scan_criteria import Measured


class Values:
    """A stand-in for `measure_point`, by the values of the configuration."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, diverging: float = 1e-3) -> None:
        self.measured: list[tuple[float, int]] = []
        self.diverging = diverging
        monkeypatch.setattr(scan_workers, "measure_point", self.measure)

    def measure(self, config: Any, _criterion: object, _showers: object, _directory: Path) -> Measured:
        self.measured.append((config.learning_rate, config.critic_steps))
        if config.learning_rate == self.diverging:
            raise DivergedError("losses and weights must stay finite.\nReceived: {'loss': nan}")
        return measured(config.critic_steps / 8)


def command(folder: Path, *options: str) -> None:
    """The command line of a scan of the toy showers, in this process."""
    grid_of(folder)
    task_of(folder, grid_of(folder))
    files = (
        "--train-data",
        str(folder / "train.h5"),
        "--grid",
        str(folder / "toy.toml"),
        "--runs",
        str(folder / "runs"),
    )
    scan("A scan.", folder / "scans", ["atlas-gan", "--smoke", "--workers", "0", *files, *options])


def test_command_writes_table_plots_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = Values(monkeypatch)
    command(tmp_path, "--trials", "2", "--results", str(tmp_path / "results"))
    assert values.measured == [(1e-4, 5), (1e-3, 5)]
    command(tmp_path, "--results", str(tmp_path / "results"))
    assert values.measured == [(1e-4, 5), (1e-3, 5), (1e-4, 1), (1e-3, 1)]
    folder = tmp_path / "runs" / "scans" / "atlas_gan" / "smoke" / "one-at-a-time"
    table = pd.read_csv(folder / "scan.csv")
    assert list(table) == [
        *("trial", "point", "learning_rate", "critic_steps", "criterion", "error", "response", "seeds", "folds"),
        *("seconds", "state", "reason"),
    ]
    assert table.point.tolist() == ["start", "learning_rate 0.001", "critic_steps 1", "both"]
    assert table.criterion.tolist()[::2] == [0.625, 0.125]
    assert table.state.tolist() == ["complete", "failed", "complete", "failed"]
    assert table.reason[1] == "losses and weights must stay finite. Received: {'loss': nan}"
    assert {path.name for path in folder.glob("*.*g")} >= {
        f"{name}.{suffix}"
        for name in ("optimisation-history", "parallel-coordinates", "slices")
        for suffix in ("png", "svg")
    }
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert "mean KS distance 0.12 ± 0.10: critic_steps 1" in page
    assert page.count("<figure") == 3
    published = (tmp_path / "results" / "atlas_gan.md").read_text(encoding="utf-8")
    assert "| critic_steps 1 | 0.12 ± 0.10 | 1 |" in published
    assert "| both | failed | - |" in published
    assert pd.read_csv(tmp_path / "results" / "atlas_gan.csv").equals(table)
    output = capsys.readouterr()
    assert output.out.splitlines()[-2:] == [f"table: {folder / 'scan.csv'}", f"report: {folder / 'report/report.html'}"]
    assert "trial 2, critic_steps 1: mean KS distance 0.12 ± 0.10, 0:00:02; 3 of 4 trials, 0:00:0" in output.err


def test_optunas_plots_of_every_hyperparameter_that_varies(tmp_path: Path) -> None:
    values = {
        "batch_size": "[8, 4]",
        "activity_weight": "[1e-5, 0.0]",
        "latent_dim": "[4, 2]",
        "critic_slope": "[0.3, 0.1]",
    }
    values |= {"learning_rate": "[1.0, 2.0]", "critic_steps": "[1, 5]", "critic_units": "[[8], [4]]"}
    tables = [f'[parameters.{name}]\nvalues = {listed}\nsource = "a toy"' for name, listed in values.items()]
    grid = grid_of(tmp_path, GRID[: GRID.index("[parameters")] + "\n".join(tables))
    study = study_of(tmp_path, grid)
    study.fill()
    for number in range(grid.num_points):
        end(study, 1.0 + number)
    rc = dict(mpl.rcParams)
    figures = scan_report.draw_study(study.study, grid)
    assert dict(mpl.rcParams) == rc
    assert [caption.partition(":")[0] for caption in figures] == [
        *("Optimisation history", "Parallel coordinates", "Slices, 1 of 2", "Slices, 2 of 2", "Importances"),
    ]
    history, parallel, slices, rest, importances = figures.values()
    assert len(history.axes[0].collections[0].get_offsets()) == grid.num_points == 9
    assert {text.get_text() for text in parallel.axes[0].get_xticklabels()} == {"mean KS distance", *grid.names}
    labels = {axes.get_xlabel() for figure in (slices, rest) for axes in figure.axes}
    assert labels >= set(grid.names)
    assert {text.get_text() for text in importances.axes[0].get_yticklabels()} == set(grid.names)


def test_table_as_parquet_where_it_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    monkeypatch.setattr(scan_report, "find_spec", lambda _: True)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda self, path, index: written.append(path) or path.touch())
    scan_report.write_frame(tmp_path, pd.DataFrame({"a": [1]}))
    assert written
    assert (tmp_path / "scan.parquet").exists()


def test_scan_without_a_complete_trial_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Values(monkeypatch, diverging=1e-4)
    with pytest.raises(SystemExit) as ended:
        command(tmp_path, "--trials", "1")
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("scan: error: all 1 trials failed; the first: losses and weights must stay finite.")
    assert "No trial is complete" in next(tmp_path.rglob("report.md")).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["atlas"], 2, "PAPER must be one of atlas_gan, .*or have a --grid. Received: atlas"),
        (["atlas-vae", "--sampler", "random"], 2, "Invalid value for '--sampler'"),
        (["atlas-vae", "--trials", "0"], 2, "Invalid value for '--trials'"),
        (["atlas-vae", "--grid", "nowhere.toml"], 2, "cannot read nowhere.toml"),
        (["atlas-vae", "--train-data", "nowhere.h5"], 2, "nowhere.h5"),
        (["atlas-vae", "--results", "/dev/null/x"], 2, "cannot write /dev/null/x/atlas_vae.md"),
        (["atlas-vae", "--options", "'"], 2, "--options must be words as in a shell"),
        ([], 2, "Missing argument 'PAPER'"),
    ],
)
def test_wrong_command_lines_are_refused(
    options: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    grids = Path(__file__).parents[2] / "experiments" / "scans"
    with pytest.raises(SystemExit) as ended:
        scan("A scan.", grids, options)
    assert ended.value.code == code
    assert re.search(message, " ".join(capsys.readouterr().err.split()))
    assert not list(tmp_path.rglob("journal.log"))


def test_showers_of_other_energies_are_refused(tmp_path: Path) -> None:
    grid = replace(grid_of(tmp_path), energies=(2048.0,))
    with pytest.raises(DataFormatError, match="train.h5 must hold showers of some of 2048 MeV. Received: none"):
        task_of(tmp_path, grid).open()
    assert len(task_of(tmp_path, replace(grid, energies=(4096.0,))).open()[1]) == 120


def test_bundled_showers_are_read_where_no_others_are_given(tmp_path: Path) -> None:
    data = scan_workers.Data(every=100)
    showers, note = data.read(grid_of(tmp_path))
    assert (showers.geometry.name, note) == (
        "atlas_gan_window",
        "Geant4 11.4 with data-free models, simplified stack, no noise; all bundled showers",
    )
    first = replace(data, first_edition=True).read(grid_of(tmp_path))[0]
    assert 2 * len(first) < len(showers) < 600


def test_workers_of_a_cluster_have_the_command_of_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Values(monkeypatch)
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("calogen.reproduction.scan.run_elsewhere", lambda *given: asked.append(given))
    monkeypatch.setattr(
        "sys.argv", ["scan.py", "atlas-gan", "--smoke", "--cluster", "c.yaml", "--results=here", "--workers", "2"]
    )
    command(tmp_path, "--cluster", "c.yaml", "--workers", "2", "--trials", "2")
    ((where, commands, unit),) = asked
    folder = tmp_path / "runs" / "scans" / "atlas_gan" / "smoke" / "one-at-a-time"
    assert (where, unit) == ("c.yaml", "workers")
    assert isinstance(commands, dict)
    assert [path.relative_to(folder).as_posix() for path in commands] == ["worker-1.log", "worker-2.log"]
    assert [words[2:] for words in commands.values()] == [["atlas-gan", "--preset", "smoke", "--workers", "0"]] * 2
