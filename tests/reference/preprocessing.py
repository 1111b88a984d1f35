"""Slow twin of `LayerFractions`: one shower and one cell at a time, as the paper writes it."""

import numpy as np


def layer_fractions(
    energies: np.ndarray, incident_energies: np.ndarray, sizes: tuple[int, ...], scale: float
) -> np.ndarray:
    features = []
    for shower, incident in zip(energies.tolist(), incident_energies.tolist(), strict=True):
        layers, cells, start = [], [], 0
        for size in sizes:
            part = shower[start : start + size]
            layers.append(sum(part))
            cells += [cell / layers[-1] if layers[-1] > 0 else 0.0 for cell in part]
            start += size
        total = sum(layers)
        shares = [layer / total if total > 0 else 0.0 for layer in layers]
        features.append([*cells, *shares, scale * total / incident])
    return np.array(features)
