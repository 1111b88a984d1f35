"""Correlation matrices side by side, and pairs of observables in two dimensions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from calogen.metrics.correlations import Correlations, PairHistograms
from calogen.metrics.features import Feature
from calogen.plots.judgement import feature_title
from calogen.plots.style import legend_label, new_figure, style

_UNDEFINED = "0.8"  # grey, where there is no coefficient
_LABEL_SIZE = 0.13  # space of a label, inches
_LEAST, _MOST = 3.0, 8.0  # limits of a panel's side, inches
_LEAST_LIMIT = 0.1  # least range of the colours of differences, so that small differences are pale


def draw_correlation_matrices(
    reference: Correlations, generated: Correlations, difference: Correlations, note: str = ""
) -> Figure:
    """Draws the coefficients of the reference, of the generated sample, and their difference.

    Positive numbers are red, negative ones blue; grey means that there is no coefficient.

    Args:
        reference, generated: coefficients of both samples.
        difference: their difference, from `metrics.correlations.difference`.
        note: small print at the bottom.

    Source: Fig. 9 of arXiv:2005.05334.
    """
    number = len(reference.names)
    side = float(np.clip(_LABEL_SIZE * number, _LEAST, _MOST))
    shown = range(0, number, int(np.ceil(_LABEL_SIZE * number / side)))
    largest = np.abs(difference.values[np.isfinite(difference.values)]).max(initial=_LEAST_LIMIT)
    mean = f"generated - Geant4, mean absolute value {difference.mean_absolute.value:.3f}"
    with style():
        figure = new_figure((3 * (side + 1.2) + 1.2, side + 2.0), note)
        panels = figure.subplots(1, 3, sharey=True)
        drawn = (("Geant4", reference, 1.0), ("generated", generated, 1.0), (mean, difference, float(largest)))
        for ax, (title, item, limit) in zip(panels, drawn, strict=True):
            image = ax.imshow(item.values, cmap="RdBu_r", vmin=-limit, vmax=limit)
            ax.set_facecolor(_UNDEFINED)
            ax.set_title(title)
            names = [item.names[position] for position in shown]
            ax.set_xticks(shown, names, rotation=90, fontsize=7)
            ax.set_yticks(shown, names, fontsize=7)
            figure.colorbar(image, ax=ax, shrink=0.8)
    return figure


def draw_pairs(pairs: Sequence[PairHistograms], note: str = "") -> Figure:
    """Draws 2-D histograms: a row for each pair of observables, a column for each sample.

    Args:
        pairs: histograms of the pairs, all of the same samples; a row has one colour scale.
        note: small print at the bottom.

    Source: Fig. 10 of arXiv:2005.05334.
    """
    samples = list(pairs[0].counts)
    with style():
        figure = new_figure((3.6 * len(samples) + 0.8, 3.2 * len(pairs) + 0.35), note)
        panels = figure.subplots(len(pairs), len(samples), sharex="row", sharey="row", squeeze=False)
        for row, item in zip(panels, pairs, strict=True):
            _draw_row(list(row), item, samples)
    return figure


def _draw_row(row: list[Axes], item: PairHistograms, samples: Sequence[str]) -> None:
    """Draws the histograms of one pair of observables for all samples."""
    shares = {sample: item.shares(sample) for sample in samples}
    filled = np.concatenate([values[values > 0] for values in shares.values()])
    norm = LogNorm(filled.min(), max(filled.max(), filled.min() * 1.01)) if len(filled) else LogNorm(0.1, 1)
    for ax, sample in zip(row, samples, strict=True):
        filled_bins = np.ma.masked_equal(shares[sample].T, 0)
        image = ax.pcolormesh(*item.edges, filled_bins, norm=norm, cmap="viridis")
        outside = 1 - shares[sample].sum()
        ax.set_title(legend_label(sample) + (f" ({outside:.1%} outside)" if outside > 5e-4 else ""))
        scales = ["log" if logarithmic else "linear" for logarithmic in item.logarithmic]
        ax.set(xscale=scales[0], yscale=scales[1], xlabel=feature_title(Feature(item.names[0])))
    row[0].set_ylabel(feature_title(Feature(item.names[1])))
    row[0].figure.colorbar(image, ax=row, label="Share of showers / bin")
