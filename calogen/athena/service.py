"""Athena's service for showers in cells, `DNNCaloSimSvc` with the tag `GANv0`.

The service takes a photon's kinetic energy, and eta and phi where it enters the barrel's middle layer. It looks for the
cell there, draws 300 normal numbers, shifts and scales energy and position by numbers that are written into it, and
tells in which quarter of the front layer's cell, in phi, and in which half of the back layer's, in eta, the cell lies.
Output k times the kinetic energy is added to cell k of the 266 around the impact cell, which it orders by layer, eta
and phi.

For eta below 0 all is mirrored: cells are counted from eta = 0 outwards, the distance in eta has the other sign, and
cells are in the order of falling eta. The network therefore sees the photon at -eta, and phi as it is.

Source: ISF_FastCaloSimServices/src/DNNCaloSimSvc.cxx of Athena.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calogen.errors import DataFormatError, ExportError
from calogen.features.conditions import Encoding, Quantity, Term
from calogen.lwtnn.graph import Graph, Variable
from calogen.lwtnn.runtime import evaluate_graph
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry

NAME, TAG = "DNNCaloSimSvc", "GANv0"
FILE = "DNNCaloSim_GAN_nn_v0.json"
"""The name of the network's file that the service looks for unless it is told another."""
LATENT, LATENT_DIM = "Z", 300
"""The input of normal numbers, mean 0 and standard deviation 1, and how many of them the service draws."""
LOWEST = 10.0
"""Kinetic energy, MeV, below which the service simulates nothing."""
_ETA, _PHI = ("impact_eta", 0.025), ("impact_phi", np.pi / 128)  # the middle layer's cells
LAYERS = (
    (0, 7, 3, 0.025, np.pi / 32),
    (1, 56, 3, 0.003125, np.pi / 32),
    (2, 7, 7, 0.025, np.pi / 128),
    (3, 4, 7, 0.05, np.pi / 128),
)
"""The 266 cells by layer: its number, cells in eta and in phi, their sizes; centred on the impact cell's eta."""
NUM_CELLS = sum(num_eta * num_phi for _, num_eta, num_phi, *_ in LAYERS)


@dataclass(frozen=True)
class Given:
    """A number that the service gives a network, (quantity - mean) / spread."""

    node: str
    variable: str
    mean: float = 0.0
    spread: float = 1.0

    def as_term(self, term: Term) -> Variable:
        """Gives offset and scale that turn the number into a column of a network's condition."""
        return Variable(self.variable, (self.mean - term.offset) / self.spread, self.spread / term.scale)


GIVEN: Mapping[Quantity, Given] = {
    ("log-energy", 0.0): Given("E_true", "0", 9.70406053, 1.76099569),
    ("distance", *_ETA): Given("ripos", "0", 3.47603256e-05, 0.00722316),
    ("distance", *_PHI): Given("ripos", "1", -5.42153684e-05, 0.00708241),
    **{("place", *_PHI, 4, place): Given("pconfig", str(place)) for place in range(4)},
    **{("place", *_ETA, 2, place): Given("econfig", str(1 - place)) for place in range(2)},
}
"""What the service tells of a photon; the two halves of the back layer's cell are numbered from the outer one."""


def variables_of(encodings: Sequence[Encoding]) -> list[tuple[str, Variable]]:
    """Gives for each column of a condition the service's input, and the variable there.

    Raises:
        ExportError: the service does not tell what a column tells.
    """
    found = []
    for encoding in encodings:
        for term in encoding.terms:
            if term.quantity not in GIVEN:
                raise ExportError(
                    f"{NAME} gives a photon's log energy, its place in the middle layer's cell, and the place of this "
                    f"cell in those of front and back. Received: {type(encoding).__name__} ({_text(term.quantity)})"
                )
            given = GIVEN[term.quantity]
            found.append((given.node, given.as_term(term)))
    return found


def require_window(geometry: Geometry) -> None:
    """Refuse, with an `ExportError`, cells that are not the service's."""
    cells = [
        (layer.id, *layer.shape, getattr(layer, "eta_size", 0.0), getattr(layer, "phi_size", 0.0))
        for layer in geometry.layers
    ]
    anchors = {getattr(layer, "eta_anchor", 0.0) or getattr(layer, "eta_size", 0.0) for layer in geometry.layers}
    if (
        geometry.kind != "CellGrid"
        or len(cells) != len(LAYERS)
        or anchors != {_ETA[1]}
        or not np.allclose(cells, LAYERS)
    ):
        raise ExportError(
            f"{NAME} fills 7x3 + 56x3 + 7x7 + 4x7 cells, centred in eta on the middle layer's impact cell. "
            f"Received: {geometry.name}, {' + '.join('x'.join(map(str, layer.shape)) for layer in geometry.layers)}"
        )


def mirrored(photons: Conditions) -> Conditions:
    """Gives the photons that the network sees: those with eta below 0 at -eta."""
    eta, phi = _impact(photons)
    return Conditions(photons.incident_energies, {**photons.others, "impact_eta": np.abs(eta), "impact_phi": phi})


def inputs_of(photons: Conditions, noise: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Gives the service's inputs: for each node its variables `[n]` by name.

    Args:
        photons: kinetic energies, MeV, and `impact_eta` and `impact_phi`.
        noise: `[n, 300]`, standard normal.
    """
    (eta, phi), inputs = _impact(photons), {LATENT: {str(place): column for place, column in enumerate(noise.T)}}
    outwards = np.abs(eta)
    index_eta, index_phi = np.floor(outwards / _ETA[1]), np.floor(phi / _PHI[1])
    values = {
        "E_true": [np.log(photons.incident_energies)],
        "ripos": [outwards - (index_eta + 0.5) * _ETA[1], phi - (index_phi + 0.5) * _PHI[1]],
        "pconfig": [index_phi % 4 == place for place in range(4)],
        "econfig": [(index_eta + 1) % 2 == place for place in range(2)],
    }
    scales = {(given.node, given.variable): (given.mean, given.spread) for given in GIVEN.values()}
    for node, columns in values.items():
        inputs[node] = {}
        for place, column in enumerate(columns):
            mean, spread = scales[node, str(place)]
            inputs[node][str(place)] = (column - mean) / spread
    return inputs


def energies_of(graph: Graph, photons: Conditions, noise: np.ndarray) -> np.ndarray:
    """Gives what the service adds to its cells, `[n, 266]`, MeV, in their order.

    Args:
        graph: the network, as read from its file.
        photons, noise: as for `inputs_of`.
    """
    outputs, labels = evaluate_graph(graph, inputs_of(photons, noise)), graph.output().labels
    places = {label: place for place, label in enumerate(labels)}
    if any(str(cell) not in places for cell in range(NUM_CELLS)):
        raise ExportError(f"{NAME} reads outputs 0 to {NUM_CELLS - 1}. Received: {labels[0]} to {labels[-1]}")
    energies = outputs[:, [places[str(cell)] for cell in range(NUM_CELLS)]] * photons.incident_energies[:, None]
    return np.where(photons.incident_energies[:, None] < LOWEST, 0.0, energies)


def _impact(photons: Conditions) -> tuple[np.ndarray, np.ndarray]:
    if not {"impact_eta", "impact_phi"} <= set(photons.others):
        raise DataFormatError(f"photons must have impact_eta and impact_phi. Received: {sorted(photons.others)}")
    return photons.others["impact_eta"].astype(np.float64), photons.others["impact_phi"].astype(np.float64)


def _text(quantity: Quantity) -> str:
    return " ".join(item if isinstance(item, str) else f"{item:g}" for item in quantity)
