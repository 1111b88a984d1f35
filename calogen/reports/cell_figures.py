"""The figures of judged showers of cells, in the order in which one looks at them."""

from collections.abc import Mapping
from functools import partial

from matplotlib.figure import Figure

from calogen.evaluation.cells import CellTable
from calogen.evaluation.compare import Comparison
from calogen.evaluation.summary import energy_text
from calogen.observables.cells import average_showers
from calogen.plots.observables import draw_observables, draw_response
from calogen.plots.showers import draw_average_shower

_TOTAL, _LAYER = "total_energy", "_energy"  # an observable's name, and the end of those of the layers' energies


def draw_cells(
    reference: CellTable, samples: Mapping[str, CellTable], comparisons: Mapping[float, Comparison], note: str = ""
) -> dict[str, Figure]:
    """Figures by caption: total energy, layers, average showers, shapes, response.

    Args:
        reference: showers of Geant4.
        samples: other showers, by label.
        comparisons: of the samples with the reference, by incident energy, MeV.
        note: small print of the figures.
    """
    draw = partial(draw_observables, note=note, labels=[*samples])
    totals = [item[_TOTAL] for item in comparisons.values() if _TOTAL in item]
    drawn = {"Total energy": draw(totals)} if totals else {}
    examples = {label: item.examples for label, item in {"Geant4": reference, **samples}.items()}
    for energy, compared in comparisons.items():
        at = energy_text(energy)
        layers = [item for name, item in compared.items() if name.endswith(_LAYER) and name != _TOTAL]
        shapes = [item for name, item in compared.items() if not name.endswith(_LAYER)]
        present = {label: item for label, item in examples.items() if energy in item.incident_energies}
        averages = average_showers(present, energy)
        if layers:
            drawn[f"Energy in the layers at {at}"] = draw(layers)
        drawn[f"Average shower at {at}"] = draw_average_shower(averages, note)
        if shapes:
            drawn[f"Shapes at {at}"] = draw(shapes)
    curves = {label: item.response_curve for label, item in samples.items()}
    drawn["Response and resolution"] = draw_response(reference.response_curve, curves, note)
    return drawn
