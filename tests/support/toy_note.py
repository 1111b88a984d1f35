"""Made-up evidence for the claims of ATLAS's note of 2018, with which all of them hold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from calogen.claims.atlas_note_gan import ACTIVATIONS, GAUSS, RELU, SIGMOID
from calogen.claims.atlas_note_vae import GAN, GEANT4, LAYERS, MID, OBSERVABLES, SHOWN, TRAINED, VAE
from calogen.evaluation.compare import Comparison, Scored
from calogen.evaluation.summary import ResponseCurve
from calogen.evaluation.trainings import Evidence
from calogen.metrics.distributions import Floor, Value
from calogen.metrics.histograms import Histogram, Profile

EDGES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
METRICS = {"ks": 0.1, "rms_ratio": 1.3, "mean_ratio": 1.1}
"""Values of the metrics of every observable, for both models."""


def curve(mean: float = 0.98, resolution: float = 0.1, error: float = 0.001) -> ResponseCurve:
    """The same mean response and resolution at every trained energy."""
    count = len(TRAINED)
    spread = (Value(mean * resolution, error),) * count
    return ResponseCurve(np.array(TRAINED), (Value(mean, error),) * count, spread, (Value(resolution, error),) * count)


def profile(inner: float, outer: float) -> Profile:
    """Two inner and two outer bins."""
    return Profile(EDGES, np.array([outer, inner, inner, outer]), np.full(4, 1e-3))


def comparison(changes: Mapping[tuple[str, str], Value]) -> Comparison:
    """Metrics of all observables at 65 GeV; `changes` are by observable and metric."""
    histogram, found = Histogram.fill(np.ones(2), np.array([0.0, 2.0])), {}
    for item in OBSERVABLES:
        values = {name: changes.get((item.name, name), Value(value, 0.01)) for name, value in METRICS.items()}
        numbers = {VAE: values, GAN: values}
        floors = dict.fromkeys(numbers, dict.fromkeys(values, Floor(0.0, 0.0, 0.0)))
        found[item.name] = Scored(item, MID, dict.fromkeys(("reference", *numbers), histogram), numbers, floors)
    return found


def evidence(changes: Mapping[tuple[str, str], Value] | None = None, **fields: Any) -> Evidence:
    """Evidence with which every claim holds, but for changed metrics and other `values`."""
    samples = (GEANT4, VAE, GAN)
    shifts = dict(zip(SHOWN, (-9.0, -3.0, -1.0), strict=True))
    keys = [(layer, axis) for layer in LAYERS for axis in ("eta", "phi")]
    values = {
        "curves": {GEANT4: curve(), VAE: curve(0.985, 0.15), GAN: curve(0.975, 0.12)},
        "depths": {
            label: {energy: Value(100 + shift * (label != GEANT4), 0.1) for energy, shift in shifts.items()}
            for label in samples
        },
        "shares": {label: {layer: Value(25.0, 0.1) for layer in LAYERS} for label in samples},
        "tails": {
            label: {layer: Value(0.05 if label == GEANT4 else 0.09, 0.005) for layer in LAYERS} for label in samples
        },
        "profiles": {
            label: {key: profile(1.0, 1.0) if label == GEANT4 else profile(1.1, 1.3) for key in keys}
            for label in samples
        },
        "front_from_cell": {label: profile(1.0, 1.0) if label == GEANT4 else profile(1.4, 1.4) for label in samples},
        "above": {label: Value(0.1, 0.01) for label in samples},
        "correlations": {VAE: Value(0.3, 0.01), GAN: Value(0.2, 0.01)},
        "minutes": 2.5,
        "updates": 90_000.0,
        "weights": {1e-4: Value(0.1, 0.01), 1e-2: Value(0.3, 0.01), 1.0: Value(0.5, 0.01)},
        "rates": {
            1e-4: (Value(0.05, 1e-3), Value(0.01, 1e-4), Value(30.0, 1.0)),
            1e-3: (Value(0.03, 1e-3), Value(0.02, 1e-4), Value(20.0, 1.0)),
        },
        "printed": {"ks": Value(0.2, 0.01), "spread": Value(1.4, 0.1)},
        "eta_widths": {
            GEANT4: {"front": Value(1.0, 0.001), "middle": Value(2.0, 0.001)},
            **{label: {"front": Value(1.1, 0.01), "middle": Value(2.2, 0.01)} for label in (SIGMOID, GAUSS)},
            RELU: {"front": Value(0.7, 0.01), "middle": Value(2.6, 0.01)},
        },
        "activation_curves": dict(zip(ACTIVATIONS, (curve(0.97), curve(1.0, 0.11), curve(0.94)), strict=True)),
        "seed_curves": [curve(0.97), curve(0.971), curve(0.972)],
    }
    return Evidence(comparisons={MID: comparison(changes or {})}, values=values | fields)


def at_first(values: Sequence[float]) -> dict[float, Value]:
    """Mean depths at 4, 65 and 262 GeV, mm."""
    return {energy: Value(value, 0.1) for energy, value in zip(SHOWN, values, strict=True)}
