"""The service's rules against its slow twin, which knows a list of cells and nothing else."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from reference import dnn_service as twin

from calogen.athena import service
from calogen.errors import DataFormatError, ExportError
from calogen.features.conditions import CellAlignment, Column, Constant, Encoding, LinearEnergy, LogEnergy
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Graph, GraphOutput, format_graph, parse_graph
from calogen.lwtnn.inputs import rebuilt_input
from calogen.lwtnn.runtime import evaluate_graph
from calogen.models.atlas_gan import CONFIGS, build_transform
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.conditions import Conditions
from calogen.showers.windows import ATLAS_GAN_WINDOW, ATLAS_VAE_WINDOW
from calogen.units import MASSES

_RNG = np.random.default_rng(5)
_SIZE_PHI = 2 * np.pi / 256
POINTS = [  # every alignment on both sides of eta = 0, and at every boundary of phi
    (side * (index_eta + _RNG.uniform(0.01, 0.99)) * 0.025, (index_phi + _RNG.uniform(0.01, 0.99)) * _SIZE_PHI)
    for side in (1, -1)
    for index_eta in (8, 9, 25)
    for index_phi in (0, 1, 62, 127, 128, 255, -1, -2, -4, -127, -128)
]


def _photons() -> Conditions:
    eta, phi = np.array(POINTS).T
    return Conditions(np.geomspace(20.0, 2e6, len(POINTS)), {"impact_eta": eta, "impact_phi": phi})


def _network(encodings: tuple[Encoding, ...]) -> Graph:
    """A network that gives its condition, with the service's inputs, as it is read from a file."""
    condition = keras.Input((sum(item.dim for item in encodings),), name="condition")
    graph = convert(keras.Model(condition, keras.layers.Identity()(condition)))
    return parse_graph(format_graph(rebuilt_input(graph, "condition", service.variables_of(encodings))))


@pytest.mark.parametrize(("eta", "phi"), POINTS[::4])
def test_cells_are_in_the_order_of_our_window(eta: float, phi: float) -> None:
    """Cell k of the service is cell k of the window around (|eta|, phi), mirrored where eta is below 0."""
    _, found = twin.hit(eta, phi)
    places = []
    for layer in ATLAS_GAN_WINDOW.layers:
        (first_eta,), (first_phi,) = layer.first_cell([abs(eta)], [phi])
        places += [
            (layer.id, (first_eta + at_eta + 0.5) * layer.eta_size, (first_phi + at_phi + 0.5) * layer.phi_size)
            for at_eta in range(layer.num_eta)
            for at_phi in range(layer.num_phi)
        ]
    assert [cell.layer for cell in found] == [place[0] for place in places]
    np.testing.assert_allclose([cell.eta * np.sign(eta) for cell in found], [place[1] for place in places])
    turns = np.array([cell.phi - place[2] for cell, place in zip(found, places, strict=True)]) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-12)


def test_inputs_are_those_of_the_service() -> None:
    noise, photons = np.random.default_rng(1).standard_normal((len(POINTS), 300)), _photons()
    ours = service.inputs_of(photons, noise)
    for row, (eta, phi) in enumerate(POINTS):
        expected = twin.inputs(twin.hit(eta, phi)[0], photons.incident_energies[row], eta, phi, noise[row])
        assert ours.keys() == expected.keys()
        for node, variables in expected.items():
            assert {name: column[row] for name, column in ours[node].items()} == pytest.approx(variables, abs=1e-9)


@pytest.mark.parametrize("name", ["paper", "without-position"])
def test_a_network_sees_what_it_was_trained_on(name: str) -> None:
    """The service's numbers become the columns of the training, for the photon on the side of positive eta."""
    fitted = build_transform(*CONFIGS[name]).fit(Conditions(np.geomspace(700.0, 1e5, 100), _given(100)))
    graph, photons = _network(fitted.encodings), _photons()
    noise = np.zeros((len(POINTS), 300))
    expected = fitted.columns(service.mirrored(photons))
    for given in (service.inputs_of(photons, noise), _twin_inputs(photons, noise)):
        np.testing.assert_allclose(evaluate_graph(graph, given), expected, atol=1e-9)
    assert [item.name for item in graph.inputs] == ["E_true", *["ripos"] * (name == "paper"), "pconfig", "econfig"]
    assert len(np.unique(expected[:, -6:], axis=0)) == 8  # every alignment


def _given(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {"impact_eta": rng.uniform(0.2, 0.25, number), "impact_phi": rng.uniform(-3, 3, number)}


def _twin_inputs(photons: Conditions, noise: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    rows = []
    for row, (eta, phi) in enumerate(POINTS):
        rows.append(twin.inputs(twin.hit(eta, phi)[0], photons.incident_energies[row], eta, phi, noise[row]))
    return {
        node: {name: np.array([row[node][name] for row in rows]) for name in variables}
        for node, variables in rows[0].items()
    }


@pytest.mark.parametrize("place", range(2))
def test_alignments_are_offsets_of_the_larger_cells(place: int) -> None:
    """A bit stands for the distance of the back layer's cells from the impact cell, whatever it is called."""
    alignment = CellAlignment("impact_eta", 0.025, 2)
    _, variable = service.variables_of([alignment])[place]
    for eta, phi in POINTS:
        impact, cells = twin.hit(eta, phi)
        given = twin.inputs(impact, 1000.0, eta, phi, np.zeros(0))
        back = [(abs(cell.eta) - abs(impact.eta)) / 0.025 for cell in cells if cell.layer == 3]
        bits = alignment.forward(Conditions(np.ones(1), {"impact_eta": np.array([abs(eta)])}))[0]
        assert min(back) == pytest.approx(-3.5 if bits[0] else -2.5)
        assert given["econfig"][variable.name] == bits[place]


def test_offsets_and_scales_turn_one_standardisation_into_the_other() -> None:
    variables = service.variables_of([LogEnergy(lowest=1024.0, highest=262144.0)])
    ((node, variable),) = variables
    assert (node, variable.name) == ("E_true", "0")
    for energy, expected in ((1024.0, 0.0), (262144.0, 1.0)):
        given = (np.log(energy) - 9.70406053) / 1.76099569
        assert (given + variable.offset) * variable.scale == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("encoding", "received"),
    [
        (LinearEnergy(highest=1e5), r"LinearEnergy \(energy\)"),
        (LogEnergy(lowest=1e3, highest=1e5, mass=MASSES["pion"]), r"LogEnergy \(log-energy 139"),
        (Constant(0.0), r"Constant \(one\)"),
        (Column("impact_eta"), r"Column \(value impact_eta\)"),
        (CellAlignment("impact_eta", 0.025, 4), r"CellAlignment \(place impact_eta 0.025 4 0\)"),
        (CellAlignment("impact_phi", 0.025, 4), r"CellAlignment \(place impact_phi 0.025 4 0\)"),
    ],
)
def test_what_the_service_does_not_tell_is_refused(encoding: Encoding, received: str) -> None:
    with pytest.raises(ExportError, match=rf"gives a photon's log energy, .*Received: {received}"):
        service.variables_of([encoding])


def test_other_cells_are_refused() -> None:
    service.require_window(ATLAS_GAN_WINDOW)
    shifted = tuple(replace(layer, eta_anchor=0.05) for layer in ATLAS_GAN_WINDOW.layers)
    for geometry in (ATLAS_VAE_WINDOW, ATLAS_BARREL_STORED, replace(ATLAS_GAN_WINDOW, layers=shifted)):
        with pytest.raises(ExportError, match=r"fills 7x3 \+ 56x3 .*Received: atlas"):
            service.require_window(geometry)


def test_outputs_are_shares_of_the_energy_and_less_than_10_mev_gives_nothing() -> None:
    latent = keras.Input((1,), name="Z")
    graph = convert(keras.Model(latent, keras.layers.Dense(266, bias_initializer="ones")(latent)))
    graph = replace(graph, inputs=(replace(graph.inputs[0], variables=(_first(graph),)),))
    photons = Conditions(
        np.array([9.9, 10.0, 2000.0]), {name: np.full(3, 0.2) for name in ("impact_eta", "impact_phi")}
    )
    noise = np.zeros((3, 300))
    with pytest.raises(ExportError, match="reads outputs 0 to 265. Received: out_0 to out_265"):
        service.energies_of(graph, photons, noise)
    (output,) = graph.outputs.values()
    labels = tuple(map(str, reversed(range(266))))
    named = replace(graph, outputs={"out": GraphOutput(output.node_index, labels)})
    np.testing.assert_array_equal(
        service.energies_of(named, photons, noise)[:, [0, 265]], [[0, 0], [10, 10], [2000, 2000]]
    )
    with pytest.raises(DataFormatError, match="photons must have impact_eta and impact_phi"):
        service.energies_of(named, Conditions(np.ones(1)), noise[:1])


def _first(graph: Graph) -> object:
    return replace(graph.inputs[0].variables[0], name="0")
