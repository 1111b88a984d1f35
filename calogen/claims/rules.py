"""Sums, differences and texts of numbers with errors, for the judging of claims."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from calogen.metrics.distributions import Value


def texts(values: Mapping[str, Value]) -> dict[str, str]:
    """Numbers as claims show them, e.g. `1.16 ± 0.04`."""
    return {
        key: _rounded(item.value, 3) + (f" ± {_rounded(item.error, 1)}" if item.error else "")
        for key, item in values.items()
    }


def _rounded(value: float, digits: int) -> str:
    """Significant digits without an exponent: 1000 epochs, not 1e+03."""
    return f"{float(f'{value:.{digits}g}'):.12g}"


def significance(value: Value) -> float:
    """Standard errors above 0, by which the weakest condition decides; 0 if nothing is known."""
    return value.value / max(value.error, 1e-9) if np.isfinite([value.value, value.error]).all() else 0.0


def difference(larger: Value, smaller: Value) -> Value:
    """larger - smaller; the errors are taken as independent."""
    return Value(larger.value - smaller.value, float(np.hypot(larger.error, smaller.error)))


def mean(values: Sequence[Value]) -> Value:
    """Mean of values with independent errors."""
    errors = np.array([value.error for value in values])
    return Value(float(np.mean([value.value for value in values])), float(np.sqrt((errors**2).sum()) / len(values)))


def over_seeds(values: Sequence[Value]) -> tuple[Value, float | None]:
    """Mean with its statistical error; standard deviation over seeds (None for one seed)."""
    spread = float(np.std([value.value for value in values], ddof=1)) if len(values) > 1 else None
    return Value(float(np.mean([v.value for v in values])), float(np.mean([v.error for v in values]))), spread


def combined(values: Sequence[Value]) -> Value:
    """Mean over seeds; only their spread averages out, as all share the test showers."""
    average, spread = over_seeds(values)
    return Value(average.value, float(np.hypot(average.error, (spread or 0.0) / np.sqrt(len(values)))))


def independent(values: Sequence[Value]) -> Value:
    """Mean over seeds whose errors have nothing in common, or their spread if it gives more."""
    average, (_, spread) = mean(values), over_seeds(values)
    return Value(average.value, max(average.error, (spread or 0.0) / float(np.sqrt(len(values)))))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> Value:
    """Spearman's rank correlation and the error that independent values have.

    NaN for a constant.
    """
    if len(first) < 3 or not (np.ptp(first) and np.ptp(second)):
        return Value(np.nan, np.nan)
    return Value(float(stats.spearmanr(first, second).statistic), 1 / float(np.sqrt(len(first) - 1)))
