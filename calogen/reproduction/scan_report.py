"""What comes of a scan: a table, Optuna's plots, a page, and the table that is published."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast  # Any: the values of a provenance

import matplotlib as mpl
import numpy as np
import optuna
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.visualization import matplotlib as plots

from calogen.config import sources
from calogen.files import atomic_path, write_table, write_text
from calogen.generation.load import module_of
from calogen.plots.style import style, write_figure
from calogen.process import tell
from calogen.progress import clock
from calogen.reports.page import Cell, DataTable, Gallery, Page, PageBlock, PageVerdict, number_text, write_page
from calogen.reports.reproduction import flat_rows
from calogen.reproduction.scan_criteria import TITLES, figure_text
from calogen.reproduction.scan_grid import Grid, value_of, value_text
from calogen.reproduction.scan_study import Outcome

_IN_A_ROW = 6  # panels of hyperparameters in one figure
_MIN_VALUES = 4  # different figures from which importances can be told


def scan_frame(grid: Grid, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row for each trial.

    Returns:
        `trial`, `point`, the value of every name of the grid (tuples as JSON), `criterion` with its `error`,
        `response`, `seeds`, `folds`, `seconds`, `state`, `reason`.
    """
    rows = []
    for outcome in outcomes:
        found = outcome.measured
        measured = {} if found is None else found.to_json()
        rows.append(
            {
                "trial": outcome.number,
                "point": outcome.point.name,
                **outcome.params,
                "criterion": measured.get("value"),
                "error": measured.get("error"),
                "response": measured.get("response"),
                "seeds": grid.criterion.seeds,
                "folds": grid.criterion.folds,
                "seconds": None if found is None else round(found.seconds, 1),
                "state": outcome.state,
                "reason": outcome.reason,
            }
        )
    return pd.DataFrame(rows)


def write_frame(folder: Path, frame: pd.DataFrame) -> None:
    """Writes `scan.csv`, and `scan.parquet` where pyarrow is installed."""
    write_table(folder / "scan.csv", frame)
    if find_spec("pyarrow") is None:
        tell("scan.parquet is not written: pip install pyarrow")
        return
    with atomic_path(folder / "scan.parquet") as temporary:
        frame.to_parquet(temporary, index=False)


def draw_study(study: optuna.Study, grid: Grid) -> dict[str, Figure]:
    """Optuna's own plots of the complete trials, by caption."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.value is not None]
    varied = [name for name in grid.names if len({str(trial.params.get(name)) for trial in trials}) > 1]
    target = TITLES[grid.criterion.name]
    figures: dict[str, Figure] = {}
    drawn: Axes | np.ndarray
    if not trials:
        return figures
    with _optunas_look():
        drawn = plots.plot_optimization_history(study, target_name=target)
        figures["Optimisation history: every trial, and the best so far"] = _figure(drawn, (7.0, 4.0))
        if varied:
            drawn = plots.plot_parallel_coordinate(study, varied, target_name=target)
            caption = "Parallel coordinates: a line for each trial through its values, dark where the figure is small"
            figures[caption] = _figure(drawn, (3.0 + 1.3 * len(varied), 5.0))
        groups = [varied[first : first + _IN_A_ROW] for first in range(0, len(varied), _IN_A_ROW)]
        for number, names in enumerate(groups, 1):
            drawn = plots.plot_slice(study, names, target_name=target)
            for axes in _axes(drawn):
                axes.tick_params("x", labelrotation=60)  # else numbers overlap
            part = f", {number} of {len(groups)}" if len(groups) > 1 else ""
            figures[f"Slices{part}: the figure against each hyperparameter"] = _figure(drawn, (2.4 * len(names), 4.0))
        if varied and len({trial.value for trial in trials}) >= _MIN_VALUES:
            evaluator = PedAnovaImportanceEvaluator()
            drawn = plots.plot_param_importances(study, evaluator=evaluator, params=varied, target_name=target)
            caption = (
                "Importances: how much the best tenth of the trials differs from all, by hyperparameter (PED-ANOVA)"
            )
            figures[caption] = _figure(drawn, (7.0, 1.5 + 0.35 * len(varied)))
    return figures


def write_report(
    folder: Path, grid: Grid, outcomes: Sequence[Outcome], figures: Mapping[str, Figure], about: Mapping[str, Any]
) -> Path:
    """Writes the plots (PNG and SVG) and the page; gives the path of `report.html`.

    Args:
        folder: folder of the study.
        grid: what the scan visits.
        outcomes: all trials.
        figures: figures by caption.
        about: provenance, with `note` on the showers and `command`.
    """
    for caption, figure in figures.items():
        name = caption.partition(":")[0].lower().replace(",", "").replace(" ", "-")
        for suffix in ("png", "svg"):
            write_figure(figure, folder / f"{name}.{suffix}")
    title = f"Scan of {grid.model}: {grid.sampler}"
    sections: dict[str, tuple[PageBlock, ...]] = {
        "Figures": (Gallery(figures),) if figures else (),
        "Trials": (_trials_table(grid, outcomes),),
        "Grid": _grid_tables(grid),
        "Provenance": (DataTable("What was run, where and on what", ("item", "value"), tuple(flat_rows(about))),),
    }
    return write_page(folder / "report", Page(title, str(about["note"]), _verdict(grid, outcomes), sections))


def publish_table(path: Path, grid: Grid, outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> None:
    """Writes the table of a scan as Markdown, with `path`'s name, and as CSV beside it."""
    counted = [outcome for outcome in outcomes if outcome.counts]
    header = ("point", TITLES[grid.criterion.name], "response over Geant4's")
    rows = [
        (
            outcome.point.name,
            _figure_text(outcome),
            number_text(outcome.measured.response if outcome.measured else None, 4),
        )
        for outcome in counted
    ]
    number = grid.criterion.seeds * grid.criterion.folds
    trainings = "One training of each point." if number == 1 else f"Means of {number} trainings, with their error."
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    text = f"# Scan of {grid.model}\n\nMade by `{about['command']}`. {about['note']}. {trainings}\n\n"
    write_text(path, text + "\n".join(lines) + "\n")
    write_table(path.with_suffix(".csv"), scan_frame(grid, counted))


def best_of(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The complete trial with the smallest figure; None: there is none."""
    complete = [outcome for outcome in outcomes if outcome.measured is not None]
    return min(complete, key=lambda outcome: outcome.measured.value.value if outcome.measured else np.inf, default=None)


def summary_text(grid: Grid, outcomes: Sequence[Outcome]) -> str:
    """The best trials and the numbers of trials, for a terminal."""
    complete = [outcome for outcome in outcomes if outcome.measured is not None]
    complete.sort(key=lambda outcome: outcome.measured.value.value if outcome.measured else np.inf)
    lines = [f"{_figure_text(outcome):20} {outcome.point.name}" for outcome in complete[:5]]
    counts = ", ".join(f"{number} {state}" for state, number in _numbers(outcomes).items())
    return "\n".join([f"{TITLES[grid.criterion.name]} of the best of {counts}:", *lines])


def _numbers(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Numbers of trials by state, without those that were run again."""
    states = [outcome.state for outcome in outcomes if outcome.counts]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def _figure_text(outcome: Outcome) -> str:
    """The figure with its error; why there is none."""
    return figure_text(outcome.measured.value) if outcome.measured else outcome.state


def _verdict(grid: Grid, outcomes: Sequence[Outcome]) -> PageVerdict:
    best, title = best_of(outcomes), TITLES[grid.criterion.name]
    facts = [(f"trials {state}", str(number)) for state, number in _numbers(outcomes).items()]
    facts += [("seeds", str(grid.criterion.seeds)), ("folds", str(grid.criterion.folds))]
    spent = sum(outcome.measured.seconds for outcome in outcomes if outcome.measured)
    facts.append(("training", clock(spent)))
    if best is None:
        return PageVerdict("No trial is complete", "bad", tuple(facts))
    return PageVerdict(f"{title} {_figure_text(best)}: {best.point.name}", "", tuple(facts))


def _trials_table(grid: Grid, outcomes: Sequence[Outcome]) -> DataTable:
    header = ("point", TITLES[grid.criterion.name], "response over Geant4's", "training", "trial", "state")
    rows = []
    for outcome in outcomes:
        found = outcome.measured
        figure = Cell(_figure_text(outcome), sort=found.value.value) if found else "-"
        rows.append(
            (
                outcome.point.name,
                figure,
                number_text(found.response, 4) if found else "-",
                Cell(clock(found.seconds), sort=found.seconds) if found else "-",
                str(outcome.number),
                Cell(outcome.state, tone="bad" if outcome.state == "failed" else "", note=outcome.reason),
            )
        )
    return DataTable(
        "Every trial, in the order of the queue; the point says what differs from the start", header, tuple(rows)
    )


def _grid_tables(grid: Grid) -> tuple[DataTable, ...]:
    values = tuple(
        (name, value_text(value_of(grid.start, name)), ", ".join(map(value_text, item.values)), item.source)
        for name, item in grid.parameters.items()
    )
    original = next(config for config, _ in module_of(grid.start).CONFIGS.values())
    start = tuple((item.name, value_text(item.value), item.kind, item.source) for item in sources(grid.start, original))
    tables = [DataTable("The starting point", ("value", "ours", "kind", "source"), start)]
    if values:
        tables.insert(0, DataTable("Hyperparameters", ("name", "start", "values", "source"), values))
    return tuple(tables)


@contextmanager
def _optunas_look() -> Iterator[None]:
    """Settings for Optuna's plots, which set some of matplotlib's for good, and warn."""
    plt.switch_backend("agg")
    with style(), mpl.rc_context({"figure.constrained_layout.use": True}), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # the plots have been there since version 2.2
        warnings.filterwarnings("ignore", "Target and region quantiles", UserWarning)  # of equal trials
        yield


def _axes(drawn: Axes | np.ndarray) -> list[Axes]:
    """The axes that Optuna's functions give, one or several."""
    return [drawn] if isinstance(drawn, Axes) else list(drawn.flat)


def _figure(drawn: Axes | np.ndarray, size: tuple[float, float]) -> Figure:
    """The figure of Optuna's axes, in a size of ours, taken out of pyplot."""
    figure = cast(Figure, _axes(drawn)[0].get_figure())
    plt.close(figure)
    figure.set_size_inches(size)
    return figure
