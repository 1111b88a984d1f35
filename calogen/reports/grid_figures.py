"""The figures of judged showers of regular grids, in the order of looking at them."""

from collections.abc import Mapping
from functools import partial

from matplotlib.figure import Figure

from calogen.evaluation.compare import Comparison
from calogen.evaluation.grids import GridTable
from calogen.evaluation.summary import energy_text
from calogen.observables.grid import HIT_SPECTRUM
from calogen.plots.grids import draw_grid_profiles, draw_projections
from calogen.plots.observables import draw_observables


def draw_grids(
    reference: GridTable, samples: Mapping[str, GridTable], comparisons: Mapping[float, Comparison], note: str = ""
) -> dict[str, Figure]:
    """Figures by caption: spectrum of the hits, observables, profiles, showers.

    Args:
        reference: showers of Geant4.
        samples: other showers, by label.
        comparisons: of the samples with the reference, by incident energy, MeV.
        note: small print of the figures.
    """
    drawn: dict[str, Figure] = {}
    draw = partial(draw_observables, note=note, labels=[*samples])
    for energy, compared in comparisons.items():
        at = energy_text(energy)
        spectrum = [item for name, item in compared.items() if name == HIT_SPECTRUM.name]
        others = [item for name, item in compared.items() if name != HIT_SPECTRUM.name]
        if spectrum:
            drawn[f"Energies of the cells at {at}"] = draw(spectrum, log_scale=True)
        if others:
            drawn[f"Observables at {at}"] = draw(others)
        present = {label: item.at(energy) for label, item in samples.items()}
        profiles = {label: item.profiles for label, item in present.items() if len(item)}
        drawn[f"Profiles at {at}"] = draw_grid_profiles({"Geant4": reference.at(energy).profiles, **profiles}, note)
    examples = {"Geant4": reference, **samples}
    means = {label: item.examples.energies.mean(axis=0, dtype=float) for label, item in examples.items()}
    drawn["Average shower"] = draw_projections(reference.grid, means, note)
    singles = {label: item.examples.energies[len(item.examples) // 2] for label, item in examples.items()}
    drawn["Single showers"] = draw_projections(reference.grid, singles, note)
    return drawn
