"""Slow twin of a WGAN-GP critic: one shower, unit and derivative at a time.

All in float64. Between two kinks a network with ReLU is linear, so its central differences are exact but for rounding.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np


def dense_forward(
    kernels: Sequence[np.ndarray], biases: Sequence[np.ndarray], slopes: Sequence[float], inputs: Sequence[float]
) -> list[float]:
    """A network of dense layers for one vector; `slopes` are the hidden layers' below zero."""
    values = [float(value) for value in inputs]
    for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        outputs = []
        for unit in range(kernel.shape[1]):
            output = float(bias[unit])
            for value, weight in zip(values, kernel[:, unit], strict=True):
                output += value * float(weight)
            if number < len(slopes) and output <= 0:
                output *= slopes[number]
            outputs.append(output)
        values = outputs
    return values


def finite_differences(function: Callable[[np.ndarray], float], point: np.ndarray, step: float) -> np.ndarray:
    """Central differences of a function of an array of any shape."""
    gradient = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        above, below = point.astype(np.float64), point.astype(np.float64)
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (2 * step)
    return gradient


def gradient_penalty(gradients: np.ndarray) -> float:
    """Mean of (|gradient| - 1)^2 of gradients `[b, f]`."""
    total = 0.0
    for gradient in gradients.tolist():
        total += (math.sqrt(sum(component * component for component in gradient)) - 1.0) ** 2
    return total / len(gradients)


def penalty_of(
    score: Callable[[list[float]], float], showers: np.ndarray, conditions: np.ndarray, step: float = 1e-6
) -> float:
    """Penalty of a critic at showers `[b, f]`: the conditions `[b, c]` stay as they are."""
    gradients = []
    for shower, condition in zip(showers, conditions.tolist(), strict=True):
        gradients.append(finite_differences(lambda x, c=condition: score([*x.tolist(), *c]), shower, step))
    return gradient_penalty(np.array(gradients))


def critic_total(
    score: Callable[[list[float]], float],
    batch: tuple[np.ndarray, np.ndarray, np.ndarray],
    fractions: np.ndarray,
    weight: float,
) -> tuple[float, float, float]:
    """Wasserstein loss, penalty, and loss + weight x penalty of (real, fake, condition)."""
    real, fake, condition = (np.asarray(array, np.float64) for array in batch)
    loss, between = 0.0, []
    for row, fraction in enumerate(fractions.ravel().tolist()):
        loss += score([*fake[row], *condition[row]]) - score([*real[row], *condition[row]])
        between.append(fraction * real[row] + (1 - fraction) * fake[row])
    penalty = penalty_of(score, np.array(between), condition)
    return loss / len(real), penalty, loss / len(real) + weight * penalty
