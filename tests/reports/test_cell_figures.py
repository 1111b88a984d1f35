"""Figures of judged showers of cells."""

from conftest import make_showers

from calogen.evaluation.cells import cell_table_of, compare_cells
from calogen.reports.cell_figures import draw_cells
from calogen.showers.sample import concatenate
from calogen.showers.windows import ATLAS_VAE_WINDOW


def test_each_energy_has_its_layers_average_shower_and_shapes() -> None:
    reference, model = (make_showers(ATLAS_VAE_WINDOW, 300, seed) for seed in (1, 2))
    reference, model = (concatenate([item.at(4096.0), item.at(65536.0)]) for item in (reference, model))
    expected = cell_table_of(reference)
    samples = {"VAE": cell_table_of(model), "GAN": cell_table_of(model.at(65536.0))}
    comparisons = {energy: compare_cells(expected, samples, energy) for energy in (4096.0, 65536.0)}
    drawn = draw_cells(expected, samples, comparisons, "toy")
    kinds = ("Energy in the layers", "Average shower", "Shapes")
    assert [*drawn] == [
        "Total energy",
        *(f"{kind} at {energy}" for energy in ("4.1 GeV", "65.5 GeV") for kind in kinds),
        "Response and resolution",
    ]
    assert [ax.get_title(loc="left") for ax in drawn["Total energy"].axes[::2]] == ["4.1 GeV", "65.5 GeV"]
    legends = {
        name: [text.get_text() for text in figure.legends[0].get_texts()]
        for name, figure in drawn.items()
        if figure.legends
    }
    assert legends["Shapes at 4.1 GeV"] == ["Geant4", "VAE"]
    assert legends["Shapes at 65.5 GeV"] == ["Geant4", "VAE", "GAN"]
    assert len(drawn["Average shower at 65.5 GeV"].axes) == 2 * 2 * 4, "eta and phi of four layers, with ratios"
    assert all(figure.get_supxlabel() == "toy" for figure in drawn.values())
