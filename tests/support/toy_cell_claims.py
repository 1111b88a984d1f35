"""Made results of trainings on ATLAS's cells, from which claims are judged."""

from collections.abc import Mapping

import numpy as np

from calogen.claims.atlas_vae import COMPARED, TRAINED
from calogen.evaluation.compare import Comparison, Scored
from calogen.evaluation.summary import ResponseCurve
from calogen.metrics.distributions import Floor, Value
from calogen.metrics.histograms import Histogram
from calogen.observables.cells import CELL_OBSERVABLES
from calogen.reproduction.timing import Costs

COSTS = Costs(
    geant4_seconds={8192.0: 0.2, 262144.0: 6.0},
    one_by_one_seconds=1e-4,
    batch_seconds=1e-5,
    json_bytes=4_000_000,
    weight_bytes=1_100_000,
    added_bytes=7_000_000,
    origin="timed here",
)


def curve(mean: dict[float, float] | None = None, spread: dict[float, float] | None = None) -> ResponseCurve:
    """A response of 0.95 with a spread of 0.1, but for what is given by energy."""
    energies = sorted({*TRAINED, *COMPARED})
    means = [Value((mean or {}).get(energy, 0.95), 0.002) for energy in energies]
    spreads = [Value((spread or {}).get(energy, 0.1), 0.002) for energy in energies]
    resolutions = [Value(s.value / m.value, 0.002) for m, s in zip(means, spreads, strict=True)]
    return ResponseCurve(np.array(energies), tuple(means), tuple(spreads), tuple(resolutions))


def comparison(energy: float, metrics: Mapping[tuple[str, str, str, float], Value]) -> Comparison:
    """A comparison with metrics by (metric, sample, observable, energy)."""
    histogram = Histogram.fill(np.ones(2), np.array([0.0, 2.0]))
    found = {}
    for item in CELL_OBSERVABLES:
        numbers: dict[str, dict[str, Value]] = {}
        for (metric, sample, name, at), value in metrics.items():
            if (name, at) == (item.name, energy):
                numbers.setdefault(sample, {})[metric] = value
        floors = {sample: dict.fromkeys(values, Floor(0.0, 0.0, 0.0)) for sample, values in numbers.items()}
        histograms = dict.fromkeys(("reference", *numbers), histogram)
        found[item.name] = Scored(item, energy, histograms, numbers, floors)
    return found
