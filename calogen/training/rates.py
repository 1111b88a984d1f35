"""Learning rates that fall with the optimizer's step, and optimizers with them."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

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


def sinking(rate: float, last: float, steps: int) -> Rate:
    """Gives a rate that falls along half a cosine to the share `last` of itself."""
    require(rate > 0 and 0 < last <= 1, f"a rate must be above 0, its last share 0..1. Received: {rate}, {last}")
    return rate if last == 1 else keras.optimizers.schedules.CosineDecay(rate, steps, alpha=last)


class WganRates(Protocol):
    """What a WGAN's configuration says of its two optimizers."""

    @property
    def learning_rate(self) -> float:
        """Rate at the start."""

    @property
    def last_rate(self) -> float:
        """Share of it at the end; 1: the rate is constant."""

    @property
    def average(self) -> float:
        """Momentum of the running average of the generator's weights; 0: there is none."""

    @property
    def critic_steps(self) -> int:
        """Steps of the critics in an iteration."""

    @property
    def iterations(self) -> int:
        """Number of iterations."""


def require_wgan_rates(config: WganRates) -> None:
    """Refuse, with a `ConfigError`, rates and averages that make no sense."""
    require(0 <= config.average < 1, f"average must be 0 or more, below 1. Received: {config.average}")
    sinking(config.learning_rate, config.last_rate, 1)


def adams(config: WganRates, *betas: float) -> tuple[keras.optimizers.Adam, keras.optimizers.Adam]:
    """Gives Adam for a generator, and Adam for its critics.

    Both rates sink to the share `last_rate` of `learning_rate` over all iterations. The generator's keeps a running
    average of its weights if `average`, the momentum of that average, is above 0.
    """
    average, steps = config.average, config.iterations
    rates = [sinking(config.learning_rate, config.last_rate, number) for number in (steps, steps * config.critic_steps)]
    averaging = {"use_ema": True, "ema_momentum": average} if average else {}
    return keras.optimizers.Adam(rates[0], *betas, **averaging), keras.optimizers.Adam(rates[1], *betas)
