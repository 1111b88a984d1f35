"""The figures of judged showers, in the order in which a physicist looks at them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from calogen.evaluation.assessment import Assessment
from calogen.evaluation.compare import ALL_ENERGIES, Scored
from calogen.evaluation.pictures import Average, Pictures
from calogen.evaluation.summary import energy_text
from calogen.metrics.correlations import Correlations, correlate, difference, pair_histograms
from calogen.metrics.features import Feature
from calogen.plots.correlations import draw_correlation_matrices, draw_pairs
from calogen.plots.judgement import MOST_PANELS, draw_scored, quantity_title
from calogen.plots.observables import draw_response
from calogen.plots.polar import draw_showers
from calogen.reports.page import Gallery, PageBlock
from calogen.units import GeV

_MOST_CORRELATED = 16  # observables in a matrix of correlations
_CORRELATED = ("incident_energy", "total_energy", "longitudinal_centre", "longitudinal_width", "lateral_moment")
_WHOLE, _LAYERS, _BY_ENERGY = "whole shower", "layer_energy", "response by incident energy"


def figure_sections(
    assessments: Sequence[Assessment], pictures: Sequence[Pictures], note: str = ""
) -> dict[str, tuple[PageBlock, ...]]:
    """Sections of figures: what one looks at first, every layer, single showers.

    Args:
        assessments: of one model or more, judged against one reference.
        pictures: data of the figures beside the distributions; none: these figures are left out.
        note: small print of the figures.
    """
    drawn = draw_distributions(assessments, note)
    first = {title: figure for name in (_WHOLE, _LAYERS) for title, figure in drawn.pop(name, {}).items()}
    response = drawn.pop(_BY_ENERGY, {})
    averages = _draw_averages(pictures, note)
    middle = dict([list(averages.items())[len(averages) // 2]]) if averages else {}
    more = {title: figure for title, figure in averages.items() if title not in middle}
    first |= middle | _draw_response(pictures, note) | response
    by_layer = [Gallery(figures, quantity_title(name), len(figures) > 1) for name, figures in drawn.items()]
    folded = (Gallery(more, "Average showers of other energies", True),) if more else ()
    return {
        "Total energy, layers, average shower": (Gallery(first), *folded),
        "Distributions": tuple(by_layer),
        "Single showers, correlations": (Gallery(_draw_single(pictures, note)),) if pictures else (),
    }


def draw_distributions(assessments: Sequence[Assessment], note: str = "") -> dict[str, dict[str, Figure]]:
    """Figures of every distribution by quantity, or by `whole shower`, and caption."""
    panels: dict[str, list[Mapping[str, Scored[Feature]]]] = {}
    for scored in assessments[0].judgement.scored:
        feature, energy = scored.feature, scored.incident_energy
        models = {item.label: item.judgement.find(feature.name, energy) for item in assessments}
        whole = _WHOLE if feature.layer_id is None else feature.quantity
        panels.setdefault(whole if energy == ALL_ENERGIES else _BY_ENERGY, []).append(models)
    return {name: _draw_parts(name, shown, note) for name, shown in panels.items()}


def _draw_parts(name: str, panels: Sequence[Mapping[str, Scored[Feature]]], note: str) -> dict[str, Figure]:
    """Figures of one quantity by caption, as many as its panels need."""
    title = quantity_title(name)
    if len(panels) <= MOST_PANELS:
        return {title: draw_scored(panels, note)}
    figures = {}
    for start in range(0, len(panels), MOST_PANELS):
        part = panels[start : start + MOST_PANELS]
        first, last = (next(iter(models.values())) for models in (part[0], part[-1]))
        if first.feature.layer_id is None:
            which = f"panels {start + 1} to {start + len(part)}"
        else:
            which = f"layers {first.feature.layer_id} to {last.feature.layer_id}"
        figures[f"{title}, {which}"] = draw_scored(part, note)
    return figures


def draw_pictures(pictures: Sequence[Pictures], note: str = "") -> dict[str, Figure]:
    """Figures by caption: showers in the layers, response and resolution, correlations.

    Correlations of some observables are drawn as in "Getting High", arXiv:2005.05334.

    Args:
        pictures: data of the figures, of one or more models with the same reference.
        note: small print at the bottom.
    """
    return _draw_averages(pictures, note) | _draw_response(pictures, note) | _draw_single(pictures, note)


def _draw_single(pictures: Sequence[Pictures], note: str) -> dict[str, Figure]:
    """A single shower in the layers, pairs of observables, correlations."""
    first, at = pictures[0], f"at {pictures[0].energy / GeV:.3g} GeV"
    single, features = (
        {label: value for item in pictures for label, value in getattr(item, name).items()}
        for name in ("single", "features")
    )
    reference, *labels = features
    drawn = {
        f"One shower {at}": draw_showers(first.geometry, single, note),
        "Pairs of observables (Getting High, Fig. 10)": draw_pairs(pair_histograms(features), note),
    }
    layers = [feature.name for feature in features[reference].features if feature.quantity == _LAYERS]
    known = ("incident_energy", *features[reference].names)
    names = [name for name in (*_CORRELATED, *layers) if name in known][:_MOST_CORRELATED]
    expected = _relabelled(correlate(features[reference], names))
    for label in labels:
        generated = _relabelled(correlate(features[label], names))
        matrices = draw_correlation_matrices(expected, generated, difference(expected, generated), note)
        drawn[f"Correlations (Getting High, Fig. 9), {label}"] = matrices
    return drawn


def _draw_response(pictures: Sequence[Pictures], note: str) -> dict[str, Figure]:
    """Response and resolution of all models."""
    curves = {label: curve for item in pictures for label, curve in item.curves.items()}
    if not curves:
        return {}
    reference = curves.pop(next(iter(curves)))
    return {"Response and resolution": draw_response(reference, curves, note)}


def _draw_averages(pictures: Sequence[Pictures], note: str) -> dict[str, Figure]:
    """Average showers by caption; those of as many showers are put together."""
    merged: dict[tuple[float, float, int], Average] = {}
    for item in (average for each in pictures for average in each.averages):
        key = (item.low, item.high, item.number)
        known = merged.get(key, item)
        merged[key] = replace(item, showers={**known.showers, **item.showers})
    return {
        _average_title(item): draw_showers(pictures[0].geometry, item.showers, note)
        for item in (merged[key] for key in sorted(merged))
    }


def _average_title(item: Average) -> str:
    """Caption of a figure of average showers."""
    number = f"{item.number:,} shower{'s' if item.number > 1 else ''} each"
    ends = dict.fromkeys(energy_text(energy) for energy in (item.low, item.high))
    return f"Average of {number}, {' to '.join(ends)}"


def _relabelled(matrix: Correlations) -> Correlations:
    return replace(matrix, names=tuple(name.replace("_", " ") for name in matrix.names))
