"""Learning rates that fall in a training, as functions of the optimizer's step."""

from collections.abc import Sequence
from typing import TypeAlias

from calogen.backend import keras
from calogen.config import require

Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


def require_rates(rates: Sequence[float], starts: Sequence[int]) -> None:
    """Refuse, with a `ConfigError`, rates that do not fit the steps at which they start."""
    rising = all(before < after for before, after in zip((0, *starts), starts, strict=False))
    fits = len(rates) == len(starts) + 1 and min(rates, default=0) > 0 and rising
    require(fits, f"rates must be above 0, and all but the first need rising starts. Received: {rates} from {starts}")


def piecewise(rates: Sequence[float], starts: Sequence[int], steps: int = 1) -> Rate:
    """Gives a rate that is constant from each start to the next.

    Args:
        rates: the rates, one more than starts.
        starts: iterations at which all rates but the first start.
        steps: number of the optimizer's steps in an iteration.
    """
    require_rates(rates, starts)
    if not starts:
        return rates[0]
    # Keras uses a rate up to and including its boundary, counted from 0
    return keras.optimizers.schedules.PiecewiseConstantDecay([start * steps - 1 for start in starts], list(rates))


def falling(rate: float, factor: float, steps: int) -> Rate:
    """Gives a rate that is multiplied by a factor after every so many steps, e.g. an epoch's."""
    require(rate > 0 and 0 < factor <= 1, f"a rate must be above 0, its factor 0..1. Received: {rate}, {factor}")
    require(steps >= 1, f"a rate must fall after a step at least. Received: {steps}")
    return keras.optimizers.schedules.ExponentialDecay(rate, steps, factor, staircase=True)
