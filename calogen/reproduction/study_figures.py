"""Figures of a study, as an experiment lists them: title -> what is drawn."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from matplotlib.figure import Figure

from calogen.evaluation.iterations import ALL
from calogen.lwtnn.describe import boxes
from calogen.plots.networks import draw_network
from calogen.plots.observables import draw_observables
from calogen.plots.training import draw_iterations, draw_statistics
from calogen.reproduction.chi2_tables import chi2_sum
from calogen.reproduction.networks import dense_graph
from calogen.reproduction.study import Data, Outcome

Drawing = Callable[[str, Outcome, Data], Mapping[str, Figure]]
"""(title, outcome of one training seed, showers) -> figures by caption; none where there is nothing to draw."""

_COLUMNS = 4


def draw_study(figures: Mapping[str, Drawing], outcome: Outcome, data: Data) -> dict[str, Figure]:
    """The figures of an experiment by caption.

    Args:
        figures: what is drawn, by title; functions of this module with their arguments (`functools.partial`).
        outcome: of one training seed.
        data: showers.
    """
    found: dict[str, Figure] = {}
    for title, drawing in figures.items():
        found |= drawing(title, outcome, data)
    return found


def statistics(title: str, _: Outcome, data: Data) -> dict[str, Figure]:
    """Numbers of showers."""
    return {title: draw_statistics({label: part.counts for label, part in data.samples.items()}, data.note)}


def network(title: str, outcome: Outcome, _: Data, *, name: str) -> dict[str, Figure]:
    """The layers of a generator."""
    return {f"{title}, {name}": draw_network(boxes(dense_graph(outcome.networks[name].run.generator)))}


def iterations(title: str, outcome: Outcome, data: Data, *, names: Sequence[str]) -> dict[str, Figure]:
    """The figure of merit by iteration, a figure for each network."""
    found = {}
    for name in dict.fromkeys(names):
        test = outcome.tests[name]
        chosen = int(np.flatnonzero(test.scans[ALL].iterations == test.iteration)[0])
        found[f"{title}, {name}"] = draw_iterations(test.scans[ALL], data.note, chosen)
    return found


def distributions(title: str, outcome: Outcome, data: Data, *, names: str) -> dict[str, Figure]:
    """Observables of all incident energies together, whose names match a pattern."""
    found = [item for name, item in outcome.comparisons.together.items() if fnmatchcase(name, names)]
    return {title: draw_observables(found, data.note, log_scale=True)}


def distributions_by_energy(title: str, outcome: Outcome, data: Data, *, names: str) -> dict[str, Figure]:
    """The same at the incident energies of the observables' own figures."""
    panels = [
        item
        for energy, comparison in outcome.comparisons.by_energy.items()
        for name, item in comparison.items()
        if fnmatchcase(name, names) and energy in item.feature.figures
    ]
    return {title: draw_observables(panels, data.note, columns=_COLUMNS, log_scale=True)} if panels else {}


def total_energy(title: str, outcome: Outcome, data: Data, *, groups: Mapping[str, Sequence[str]]) -> dict[str, Figure]:
    """The total energy at each momentum, with chi2/NDF by group of networks."""
    tests = {label: [outcome.tests[name] for name in names] for label, names in groups.items()}
    added = ", ".join(f"{label}: {chi2_sum(group).per_ndf:.1f}" for label, group in tests.items())
    panels, captions = [], []
    for momentum, comparison in outcome.comparisons.by_energy.items():
        lines = ["chi2/NDF"]
        for label, group in tests.items():
            found = [test.chi2[momentum] for test in group if momentum in test.chi2]
            lines += [f"{label}: {found[0].per_ndf:.1f}"] if found else []
        panels.append(comparison["total_energy"])
        captions.append("\n".join(lines))
    figure = draw_observables(panels, data.note, columns=_COLUMNS, captions=captions)
    return {f"{title} (chi2/NDF; {added})": figure}
