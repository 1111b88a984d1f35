"""An observable of showers, and tables whose columns are observables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from calogen.metrics.distributions import OBSERVABLE_METRICS
from calogen.showers.sample import Showers


@dataclass(frozen=True)
class Observable:
    """An observable of showers, and how figures show it.

    Args:
        name: name of the observable, e.g. `shower_depth`.
        function: function from showers to the observable, `[n]`.
        label: label of the axis without unit (mathtext).
        unit: unit of the axis; empty for a pure number.
        scale: unit's size: the axis shows function / scale, e.g. `GeV`.
        figures: number of the paper's figure by incident energy, MeV, e.g. `{65536.0: "5a"}`.
        noise_free: numbers of figures that in the paper have noise and cross-talk, which our showers have not.
        log_axis: whether bins are equidistant in the logarithm; values of 0 are then underflow.
        tail: share of the reference that may lie, on each side, in the two outermost bins or beyond.
        edges: edges of the bins; empty: the reference chooses them.
        metrics: names of the `METRICS` that compare it; each draws the whole sample a few hundred times.
        counted: what has one value each: `showers`, `voxels` or `hits`.
    """

    name: str
    function: Callable[[Showers], np.ndarray] = field(repr=False)  # its address would differ between processes
    label: str
    unit: str = ""
    scale: float = 1.0
    figures: Mapping[float, str] = field(default_factory=dict)
    noise_free: frozenset[str] = frozenset()
    log_axis: bool = False
    tail: float = 0.01
    edges: tuple[float, ...] = ()
    metrics: tuple[str, ...] = OBSERVABLE_METRICS
    counted: str = "showers"

    def values(self, showers: Showers) -> np.ndarray:
        """The observable in the unit of the axis, `[n]`; NaN where it is not defined.

        The array may be a view of the showers' energies, so it must not be changed.
        """
        values = self.function(showers)
        return values if self.scale == 1.0 else values / self.scale

    @property
    def axis_label(self) -> str:
        """Label with unit."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label


def numbered(
    observables: Iterable[Observable],
    figures: Mapping[str, Mapping[float, str]],
    noise_free: frozenset[str] = frozenset(),
) -> tuple[Observable, ...]:
    """Observables with the numbers of a paper's figures.

    Args:
        observables: observables that the paper shows.
        figures: number of the figure by the observable's name and by the incident energy, MeV.
        noise_free: numbers of figures that in the paper have noise, which our showers have not.
    """
    return tuple(replace(item, figures=figures.get(item.name, {}), noise_free=noise_free) for item in observables)


@dataclass(frozen=True)
class Observed:
    """A table of observables whose columns are computed when they are read."""

    showers: Showers
    observables: Sequence[Observable]

    @property
    def incident_energies(self) -> np.ndarray:
        """Incident energies, `[n]`, MeV."""
        return self.showers.incident_energies

    def __getitem__(self, name: str) -> np.ndarray:
        """One observable by its name."""
        return {item.name: item for item in self.observables}[name].values(self.showers)
