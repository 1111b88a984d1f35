"""Slow twins of the steps in `features.transforms`: one shower and one cell at a time."""

from decimal import Decimal, localcontext

import numpy as np


def kinetic_energy(momentum: float, mass: float) -> float:
    """Square root of p^2 + m^2, minus m, in 60 decimal digits."""
    with localcontext() as context:
        context.prec = 60
        p, m = Decimal(momentum), Decimal(mass)
        return float((p * p + m * m).sqrt() - m)


def layer_fractions(
    energies: np.ndarray,
    incident_energies: np.ndarray,
    sizes: tuple[int, ...],
    scale: float,
    mass: float = 0.0,
    empty_energy: float = 0.0,
) -> np.ndarray:
    features = []
    for shower, incident in zip(energies.tolist(), incident_energies.tolist(), strict=True):
        layers, cells, start = [], [], 0
        for size in sizes:
            part = [cell if cell > 0 else empty_energy for cell in shower[start : start + size]]
            layers.append(sum(part))
            cells += [cell / layers[-1] if layers[-1] > 0 else 0.0 for cell in part]
            start += size
        total = sum(layers)
        shares = [layer / total if total > 0 else 0.0 for layer in layers]
        features.append([*cells, *shares, scale * total / kinetic_energy(incident, mass)])
    return np.array(features)


def kinetic_fractions(energies: np.ndarray, incident_energies: np.ndarray, mass: float) -> np.ndarray:
    features = []
    for shower, incident in zip(energies.tolist(), incident_energies.tolist(), strict=True):
        features.append([cell / kinetic_energy(incident, mass) for cell in shower])
    return np.array(features)


def log_energy(momentum: float, lowest: float, highest: float, mass: float) -> float:
    """Equation (1) of arXiv:2309.06515: log(k / k_min) / log(k_max / k_min)."""
    low = kinetic_energy(lowest, mass)
    return float(np.log(kinetic_energy(momentum, mass) / low) / np.log(kinetic_energy(highest, mass) / low))
