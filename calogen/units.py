"""Factors to the house units: energies in MeV, lengths in mm, times in ns, angles in rad.

Everything inside calogen is in these units; factors appear only at input, output and on axis labels:
`energy_in_gev = energy / GeV`.
"""

import numpy as np

MeV = 1.0
GeV = 1e3 * MeV

mm = 1.0

ns = 1.0

MASSES = {
    "photon": 0.0,
    "electron": 0.51099895,
    "positron": 0.51099895,
    "pion": 139.57039,
    "pion-minus": 139.57039,
    "proton": 938.27209,
}
"""Masses of the particles that can be simulated or labelled, MeV."""


def kinetic_energy(momentum: np.ndarray, mass: float) -> np.ndarray:
    """Kinetic energy of a particle, sqrt(p^2 + m^2) - m, without cancellation at small momenta.

    >>> float(kinetic_energy(np.array(256.0), MASSES["photon"]))
    256.0

    Args:
        momentum: MeV, any shape.
        mass: MeV.

    Source: arXiv:2309.06515, footnote 1.
    """
    momentum = momentum * 1.0  # squares of integers overflow
    return momentum * momentum / (np.hypot(momentum, mass) + mass)
