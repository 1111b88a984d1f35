"""Observables of showers by name, and tables of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from calogen.metrics.distributions import OBSERVABLE_METRICS
from calogen.showers.sample import Showers


@dataclass(frozen=True)
class Observable:
    """A shower observable and how a paper shows it.

    Args:
        name: e.g. `shower_depth`.
        function: showers -> `[n]`.
        label: of the axis, without unit (mathtext).
        unit: of the axis; empty for a pure number.
        scale: the axis shows function / scale, e.g. `GeV`.
        figures: the paper's figure by incident energy in MeV, e.g. `{65536.0: "5a"}`; empty: the paper shows none.
        noise_free: those of the figures that have noise and cross-talk in the paper; ours have none.
        log_axis: whether bins are equidistant in the logarithm; values of 0 are then underflow.
        tail: the share of the reference that, on either side, may lie in the two outermost bins or beyond.
        metrics: names of the `METRICS` that compare it; each draws the whole sample a few hundred times.
        counted: what `function` has a value for.
    """

    name: str
    function: Callable[[Showers], np.ndarray]
    label: str
    unit: str = ""
    scale: float = 1.0
    figures: Mapping[float, str] = field(default_factory=dict)
    noise_free: frozenset[str] = frozenset()
    log_axis: bool = False
    tail: float = 0.01
    metrics: tuple[str, ...] = OBSERVABLE_METRICS
    counted: str = "showers"

    def values(self, showers: Showers) -> np.ndarray:
        """The observable in the axis' unit, `[n]`; NaN where it is not defined.

        It may be a view of the showers' energies: not to be changed.
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
    """Observables with a paper's figures.

    Args:
        observables: those that are shown.
        figures: the paper's figure by the observable's name and the incident energy, MeV.
        noise_free: figures that have noise in the paper; ours have none.
    """
    return tuple(replace(item, figures=figures.get(item.name, {}), noise_free=noise_free) for item in observables)


@dataclass(frozen=True)
class Observed:
    """A table of named observables whose columns are computed when they are asked for."""

    showers: Showers
    observables: Sequence[Observable]

    @property
    def incident_energies(self) -> np.ndarray:
        """Incident energies, `[n]`, MeV."""
        return self.showers.incident_energies

    def __getitem__(self, name: str) -> np.ndarray:
        """One observable by its name."""
        return {item.name: item for item in self.observables}[name].values(self.showers)
