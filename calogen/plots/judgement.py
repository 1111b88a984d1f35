"""Figures of judged showers: distributions above their ratios, response and resolution."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from calogen.evaluation.compare import ALL_ENERGIES, Scored
from calogen.evaluation.summary import energy_text
from calogen.metrics.features import Feature
from calogen.plots.observables import draw_comparison, set_height
from calogen.plots.style import add_legend, build_figure, style, wrapped

COLUMNS = 4
MOST_PANELS = 16
"""Largest number of panels of a figure that can be read."""
_WIDTH, _CAPTION_SIZE = 2.5, 7.5  # of a panel, inches; of its caption's letters, points

_TITLES = {
    "total_energy": "total energy [MeV]",
    "response": "total / incident energy",
    "incident_energy": "incident energy [MeV]",
    "layer_energy": "energy [MeV]",
    "centroid_eta": "centre in η [mm]",
    "centroid_phi": "centre in φ [mm]",
    "centroid_r": "centre in r [mm]",
    "width_eta": "width in η [mm]",
    "width_phi": "width in φ [mm]",
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
    **{f"{name}_third": f"share of the energy, {name} third of the layers" for name in ("first", "second", "last")},
    "containment_radius": "radius with 90 % of the energy [mm]",
}
_SHOWN = "separation_power"
_ENERGIES, _STEEP = "_energy", ("centroid_", "width_")  # quantities by their names' ends and beginnings


def feature_title(feature: Feature) -> str:
    """Title of a feature in tables and on axes.

    >>> feature_title(Feature("width_eta", 2))
    'width in η [mm], layer 2'
    """
    title = _TITLES.get(feature.quantity, feature.quantity.replace("_", " "))
    return title if feature.layer_id is None else f"{title}, layer {feature.layer_id}"


def quantity_title(quantity: str) -> str:
    """Title of a quantity of all layers, without a unit.

    >>> quantity_title("width_eta"), quantity_title("layer_energy")
    ('Width in η', 'Energy of the layers')
    """
    title = "energy of the layers" if quantity == "layer_energy" else _TITLES.get(quantity, quantity.replace("_", " "))
    return (title[0].upper() + title[1:]).partition(" [")[0]


def draw_scored(scored: Sequence[Mapping[str, Scored[Feature]]], note: str = "") -> Figure:
    """Draws distributions of features, each above the ratio generated / reference.

    As the CaloChallenge draws them, shares of energies, centres and widths have a logarithmic axis.

    Args:
        scored: one feature at one incident energy for each panel, by the label of the model that generated.
        note: small print at the bottom.
    """
    with style():
        figure, panels = build_figure(len(scored), (3, 1), note, columns=COLUMNS)
        for (ax, ratio_ax), models in zip(panels, scored, strict=True):
            first = next(iter(models.values()))
            reference = first.histograms["reference"]
            generated = {label: item.histograms["generated"] for label, item in models.items()}
            floor = first.histograms.get("second_reference")
            artists = draw_comparison(ax, ratio_ax, reference, generated, floor)
            quantity = first.feature.quantity
            title = wrapped(feature_title(first.feature), _WIDTH)
            ratio_ax.set(xlabel=title, xscale="log" if quantity.endswith(_ENERGIES) else "linear")
            ax.set_ylabel(f"Share of {'voxels' if quantity == 'voxel_energy' else 'showers'} / bin")
            log_scale = quantity.endswith(_ENERGIES) or quantity.startswith(_STEEP)
            set_height(ax, [reference, *generated.values()], log_scale)
            at = "" if first.incident_energy == ALL_ENERGIES else f"{energy_text(first.incident_energy)}: "
            caption = wrapped(at + _caption([*models.values()]), _WIDTH, _CAPTION_SIZE)
            ax.set_title(caption, fontsize=_CAPTION_SIZE)
        add_legend(figure, [drawn[0] for drawn in artists.values()])
    return figure


def _caption(models: Sequence[Scored[Feature]]) -> str:
    """The models' separation powers, in the legend's order, and the floor."""
    shown, floor = [str(1000 * item.numbers_of()[_SHOWN]) for item in models], models[0].second_reference
    return f"1000 S = {', '.join(shown)}" + (f" (floor {1000 * floor[_SHOWN]})" if floor else "")
