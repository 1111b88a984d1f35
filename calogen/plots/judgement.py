"""Figures of judged showers: distributions above their ratios, response and resolution."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from calogen.evaluation.compare import ALL_ENERGIES, Scored
from calogen.evaluation.summary import energy_text
from calogen.metrics.features import Feature
from calogen.plots.observables import draw_comparison, set_height
from calogen.plots.style import add_legend, build_figure, style

COLUMNS = 4
MOST_PANELS = 16
"""Largest number of panels of a figure; of more features the worst ones are drawn."""

_TITLES = {
    "total_energy": "total energy [MeV]",
    "response": "total / incident energy",
    "incident_energy": "incident energy [MeV]",
    "layer_energy": "energy [MeV]",
    "centroid_eta": "centre in eta [mm]",
    "centroid_phi": "centre in phi [mm]",
    "centroid_r": "centre in r [mm]",
    "width_eta": "width in eta [mm]",
    "width_phi": "width in phi [mm]",
    "width_r": "width in r [mm]",
    "sparsity": "sparsity (share of empty voxels)",
    "voxel_energy": "voxel energy [MeV]",
    "longitudinal_centre": "longitudinal centre [number of the layer]",
    "longitudinal_width": "longitudinal width [layers]",
    "lateral_moment": "second lateral moment [mm²]",
    "num_hits": "number of hits",
    "maximum_fraction": "share of the largest voxel",
    "energy_fraction": "share of the energy",
    "inner_fraction": "share of the innermost ring",
    "containment_radius": "radius with 90 % of the energy [mm]",
}
_SHOWN = "separation_power"


def feature_title(feature: Feature) -> str:
    """Title of a feature in tables and on axes.

    >>> feature_title(Feature("width_eta", 2))
    'width in eta [mm], layer 2'
    """
    title = _TITLES.get(feature.quantity, feature.quantity.replace("_", " "))
    return title if feature.layer_id is None else f"{title}, layer {feature.layer_id}"


def draw_scored(scored: Sequence[Mapping[str, Scored[Feature]]], note: str = "") -> Figure:
    """Draws distributions of features, each above the ratio generated / reference.

    Args:
        scored: one feature at one incident energy for each panel, by the label of the model that generated.
        note: small print at the bottom.
    """
    badness = [max(item.numbers_of()[_SHOWN].value for item in models.values()) for models in scored]
    chosen = sorted(range(len(scored)), key=lambda number: -badness[number])[:MOST_PANELS]
    shown = [scored[number] for number in sorted(chosen)]
    with style():
        figure, panels = build_figure(len(shown), (3, 1), note, columns=COLUMNS)
        for (ax, ratio_ax), models in zip(panels, shown, strict=True):
            first = next(iter(models.values()))
            reference = first.histograms["reference"]
            generated = {label: item.histograms["generated"] for label, item in models.items()}
            artists = draw_comparison(ax, ratio_ax, reference, generated)
            logarithmic = first.feature.quantity.endswith("_energy")
            ratio_ax.set(xlabel=feature_title(first.feature), xscale="log" if logarithmic else "linear")
            voxels = first.feature.quantity == "voxel_energy"
            ax.set_ylabel(f"Share of {'voxels' if voxels else 'showers'} / bin")
            set_height(ax, [reference, *generated.values()], log_scale=voxels)
            at = "" if first.incident_energy == ALL_ENERGIES else f"{energy_text(first.incident_energy)}: "
            ax.set_title(at + _caption([*models.values()]), fontsize=7.5)
        add_legend(figure, [drawn[0] for drawn in artists.values()])
    return figure


def _caption(models: Sequence[Scored[Feature]]) -> str:
    """The separation power of each model, in the order of the legend; of one, with error."""
    (first, *further), floor = (item.numbers_of()[_SHOWN] for item in models), models[0].second_reference
    shown = [f"{1000 * first.value:.3g}" + ("" if further else f" ± {1000 * first.error:.1g}")]
    shown += [f"{1000 * item.value:.3g}" for item in further]
    return f"1000 S = {', '.join(shown)}" + (f" (Geant4 {1000 * floor[_SHOWN].value:.2g})" if floor else "")
