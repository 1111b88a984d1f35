"""Figures of a study.

An experiment lists them as data: the title of a figure and the function of this module that draws it.
"""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from matplotlib.figure import Figure

from calogen.evaluation.iterations import ALL
from calogen.evaluation.summary import response_curve
from calogen.lwtnn.describe import boxes
from calogen.observables.cells import Axis, average_showers
from calogen.observables.impact import profile_around_impact
from calogen.plots.networks import draw_network
from calogen.plots.observables import draw_observables, draw_response
from calogen.plots.showers import draw_average_shower
from calogen.plots.training import draw_iterations, draw_statistics
from calogen.reproduction.chi2_tables import chi2_sum
from calogen.reproduction.networks import dense_graph
from calogen.reproduction.study import Data, Outcome

Drawing = Callable[[str, Outcome, Data], Mapping[str, Figure]]
"""(title, outcome of one training seed, showers) -> figures by caption, none if there is nothing to draw."""

_COLUMNS = 4


def draw_study(figures: Mapping[str, Drawing], outcome: Outcome, data: Data) -> dict[str, Figure]:
    """Draws the figures of an experiment.

    Args:
        figures: functions of this module by title; `functools.partial` gives them their further arguments.
        outcome: outcome of one training seed.
        data: showers of the study.

    Returns:
        The figures by caption.
    """
    drawn: dict[str, Figure] = {}
    for title, drawing in figures.items():
        drawn |= drawing(title, outcome, data)
    return drawn


def statistics_figure(title: str, _: Outcome, data: Data) -> dict[str, Figure]:
    """Number of showers at each incident energy, for training and held-out showers."""
    return {title: draw_statistics({label: part.counts for label, part in data.samples.items()}, data.note)}


def network_figure(title: str, outcome: Outcome, _: Data, *, name: str) -> dict[str, Figure]:
    """Layers of the generator of a network."""
    return {f"{title}, {name}": draw_network(boxes(dense_graph(outcome.networks[name].run.generator)))}


def iteration_figures(title: str, outcome: Outcome, data: Data, *, names: Sequence[str]) -> dict[str, Figure]:
    """Figure of merit against iteration: one figure for each network of the names."""
    figures = {}
    for name in dict.fromkeys(names):
        test = outcome.tests[name]
        chosen = int(np.flatnonzero(test.scans[ALL].iterations == test.iteration)[0])
        figures[f"{title}, {name}"] = draw_iterations(test.scans[ALL], data.note, chosen)
    return figures


def distribution_figure(title: str, outcome: Outcome, data: Data, *, names: str) -> dict[str, Figure]:
    """Observables at all energies together; `names` is a pattern such as `layer_*_energy`."""
    panels = [item for name, item in outcome.comparisons.together.items() if fnmatchcase(name, names)]
    return {title: draw_observables(panels, data.note, log_scale=True)}


def distribution_figure_by_energy(title: str, outcome: Outcome, data: Data, *, names: str) -> dict[str, Figure]:
    """Observables at the incident energies of the paper's figures; `names` is a pattern."""
    panels = [
        item
        for energy, comparison in outcome.comparisons.by_energy.items()
        for name, item in comparison.items()
        if fnmatchcase(name, names) and energy in item.feature.figures
    ]
    return {title: draw_observables(panels, data.note, columns=_COLUMNS, log_scale=True)} if panels else {}


def panels_figure(
    title: str, outcome: Outcome, data: Data, *, panels: Sequence[tuple[str, float]]
) -> dict[str, Figure]:
    """Observables at single incident energies, a panel for each pair of name and energy, MeV."""
    compared = outcome.comparisons.by_energy
    return {title: draw_observables([compared[energy][name] for name, energy in panels], data.note)}


def response_figure(title: str, outcome: Outcome, data: Data) -> dict[str, Figure]:
    """Mean response and resolution against incident energy."""
    compared = outcome.comparisons
    curves = {label: response_curve([showers]) for label, showers in compared.generated.items()}
    return {title: draw_response(response_curve([compared.reference]), curves, data.note)}


def average_figure(
    title: str, outcome: Outcome, data: Data, *, incident_energy: float, axis: Axis
) -> dict[str, Figure]:
    """Average energy of the cells by their distance from the impact point."""
    samples = {"Geant4": outcome.comparisons.reference, **outcome.comparisons.generated}
    layers = average_showers(samples, incident_energy, profile_around_impact)
    return {title: draw_average_shower(layers, data.note, (axis,), "point")}


def total_energy_figure(
    title: str, outcome: Outcome, data: Data, *, groups: Mapping[str, Sequence[str]]
) -> dict[str, Figure]:
    """Total energy at each momentum, with the chi2/NDF of each group of networks."""
    tests = {label: [outcome.tests[name] for name in names] for label, names in groups.items()}
    added = ", ".join(f"{label}: {chi2_sum(group).per_ndf:.1f}" for label, group in tests.items())
    panels, captions = [], []
    for momentum, comparison in outcome.comparisons.by_energy.items():
        lines = ["chi2/NDF"]
        for label, group in tests.items():
            known = [test.chi2[momentum] for test in group if momentum in test.chi2]
            lines += [f"{label}: {known[0].per_ndf:.1f}"] if known else []
        panels.append(comparison["total_energy"])
        captions.append("\n".join(lines))
    figure = draw_observables(panels, data.note, columns=_COLUMNS, captions=captions)
    return {f"{title} (chi2/NDF; {added})": figure}
