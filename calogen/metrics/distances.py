"""Distances between two samples of many observables at once, with their errors.

Fréchet and kernel physics distance (FPD, KPD) and the shares of near neighbours (precision, recall, density, coverage).
All take matrices `[n, f]`, reference first, and are repeatable by their seed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import curve_fit

from calogen.errors import ConfigError, DataFormatError
from calogen.metrics.distributions import Value
from calogen.parallel import ResultT, in_threads, num_workers
from calogen.progress import progress

MIN_SHOWERS = 10_000
"""Fewer showers than that in a sample: the distances are computed, but no place in a ranking."""

_FEWEST = 20
_BLOCK_VALUES = 2**20  # kernel values or distances that each thread holds at a time
_COPIES = 8  # of what a thread computes: its own, what waits, what is made of it
_SPREAD = (16.275, 83.725)  # percentiles; half of what lies between is the KPD's error
_BATCHES = 10  # of the error of precision, recall, density, coverage
_ROUNDING = 1e-12  # of the largest square: more than rounding changes a squared distance


def frechet_physics_distance(
    reference: np.ndarray,
    generated: np.ndarray,
    seed: int = 1,
    min_samples: int = MIN_SHOWERS,
    num_sizes: int = 10,
    num_batches: int = 20,
) -> Value:
    """Fréchet distance of normal distributions with the samples' means and covariances.

    The mean over batches is extrapolated to infinite ones: an intercept and a slope in 1/size, neither below 0, fitted
    to sizes from `min_samples` to five times that, equidistant in 1/size. The showers of a batch are drawn with
    replacement, so two samples of n showers of one distribution keep a distance that falls as 1/n: compare values of
    equal n. Of fewer showers than `min_samples`, their number takes its place.

    The fit is jetnet's: mostly it ends before its minimum, with values up to about 1e-4 too high. So the published ones
    are found.

    Args:
        reference, generated: `[n, f]` and `[m, f]`; columns are divided by the reference's largest absolute value.
        seed: of the batches.
        min_samples: the smallest size; 10,000 in the CaloChallenge.
        num_sizes: how many sizes.
        num_batches: how many batches of each size.

    Returns:
        The intercept (the challenge prints 1000 times that) and its error from the fit's residuals.

    Raises:
        DataFormatError: see `checked_pair`.

    Source: arXiv:2211.10295; jetnet.evaluation.fpd, of which these are the numbers for equal seeds.
    """
    pair = _normalised(reference, generated)
    rng = np.random.default_rng(seed)
    smallest = min(min_samples, *(len(sample) for sample in pair))
    sizes = (1 / np.linspace(1 / smallest, 1 / (5 * smallest), num_sizes)).astype(int)
    means = []
    with progress("FPD", num_sizes, "sizes") as shown:
        for size in sizes:
            batches = ([rng.choice(sample, size) for sample in pair] for _ in range(num_batches))
            workers = num_workers(num_batches, _COPIES * size * pair[0].shape[1] * 8)
            means.append(np.mean(list(in_threads(lambda batch: frechet_distance(*batch), batches, workers))))
            shown.advance()
    bounds = ([0, 0], [np.inf, np.inf])
    found, covariance = curve_fit(lambda x, intercept, slope: intercept + slope * x, 1 / sizes, means, bounds=bounds)
    return Value(float(found[0]), float(np.sqrt(covariance[0, 0])))


def frechet_distance(reference: np.ndarray, generated: np.ndarray) -> float:
    """Fréchet distance of two samples `[n, f]`, without extrapolation.

    |mu - mu'|^2 + tr(C + C' - 2 (C C')^(1/2)). With C = R R^T the last trace is the sum of the singular values of
    R^T R': real and defined for singular covariances, too.
    """
    (mean, root), (other_mean, other_root) = ((sample.mean(axis=0), _root(sample)) for sample in (reference, generated))
    traces = np.sum(root**2) + np.sum(other_root**2) - 2 * np.linalg.norm(root.T @ other_root, "nuc")
    return float(np.sum((mean - other_mean) ** 2) + traces)


def kernel_physics_distance(
    reference: np.ndarray,
    generated: np.ndarray,
    seed: int = 1,
    batch_size: int = MIN_SHOWERS,
    num_batches: int = 10,
) -> Value:
    """Squared maximum mean discrepancy with the kernel (x.y / f + 1)^4.

    Its quadratic estimate without the pairs of a shower with itself: 0 is expected for one distribution, and it can
    fall below. The showers of a batch are drawn with replacement; `batch_size` is at most the smaller sample's size.

    Args:
        reference, generated: `[n, f]` and `[m, f]`; columns are divided by the reference's largest absolute value.
        seed: of the batches.
        batch_size: showers of each sample in a batch; 10,000 in the CaloChallenge.
        num_batches: how many batches.

    Returns:
        The batches' median (the challenge prints 1000 times that), and half the distance of their percentiles 16.275
        and 83.725 (one standard deviation to each side) as error.

    Raises:
        DataFormatError: see `checked_pair`.

    Source: arXiv:2211.10295; jetnet.evaluation.kpd, of which these are the numbers for equal seeds.
    """
    pair = _normalised(reference, generated)
    size = min(batch_size, *(len(sample) for sample in pair))
    found = []
    with progress("KPD", num_batches, "batches") as shown:
        for number in range(num_batches):
            rng = np.random.default_rng(seed + 1000 * number)
            found.append(squared_mmd(*(rng.choice(sample, size) for sample in pair)))
            shown.advance()
    low, high = np.percentile(found, _SPREAD)
    return Value(float(np.median(found)), float(high - low) / 2)


def physics_distances(reference: np.ndarray, generated: np.ndarray, seed: int = 1) -> dict[str, Value]:
    """Both distances of two samples `[n, f]` and `[m, f]` by the names that results have."""
    fpd = frechet_physics_distance(reference, generated, seed=seed)
    return {"fpd": fpd, "kpd": kernel_physics_distance(reference, generated, seed=seed)}


def squared_mmd(reference: np.ndarray, generated: np.ndarray) -> float:
    """Unbiased estimate of the squared discrepancy of two samples `[n, f]`, `[m, f]`."""
    # With these columns the kernel is (x.y)^4.
    ours, theirs = (
        np.hstack([sample / np.sqrt(sample.shape[1]), np.ones((len(sample), 1))]) for sample in (reference, generated)
    )
    within = [
        (_kernel_sum(sample, sample) - np.sum(np.sum(sample**2, axis=1) ** 4)) / (len(sample) * (len(sample) - 1))
        for sample in (ours, theirs)
    ]
    return float(sum(within) - 2 * _kernel_sum(ours, theirs) / (len(ours) * len(theirs)))


@dataclass(frozen=True)
class Neighbourhoods:
    """How two samples lie among each other's near neighbours.

    A shower's ball reaches to its k-th nearest neighbour of its own sample.

    Args:
        precision: share of the generated showers inside the ball of a reference shower.
        recall: share of the reference showers inside the ball of a generated shower.
        density: mean number of the reference's balls a generated shower is in, divided by k; may exceed 1.
        coverage: share of the reference showers with a generated one inside their ball.
        num_showers: how many of each sample were used.
    """

    precision: Value
    recall: Value
    density: Value
    coverage: Value
    num_showers: int


def precision_recall_density_coverage(
    reference: np.ndarray, generated: np.ndarray, k: int = 5, seed: int = 1, max_showers: int = MIN_SHOWERS
) -> Neighbourhoods:
    """Precision, recall, density and coverage of generated showers.

    Every shower is compared with every other one, and the values depend on how many there are: of both samples the same
    number is used, that of the smaller one and at most `max_showers`, drawn by the seed. Memory: what is used of the
    two samples, in double precision, and a block of distances.

    Args:
        reference, generated: `[n, f]` and `[m, f]`, as from `log_voxels`; Euclidean distances, nothing is normalised.
        k: which neighbour is the ball's radius; 5 in the CaloChallenge.
        seed: of the showers that are used.
        max_showers: the time grows with its square.

    Returns:
        The errors are the spread over ten disjoint tenths of the showers / sqrt(10): right within a factor of 1.5.

    Raises:
        ConfigError: k or max_showers is too small.
        DataFormatError: see `checked_pair`; at least 10 (k + 2) showers are needed.

    Source: arXiv:2002.09797; numbers as prdc.compute_prdc gives them. Ours: the errors.
    """
    fewest = _BATCHES * (k + 2)
    if k < 1 or max_showers < fewest:
        raise ConfigError(
            f"k must be 1 or more and max_showers 10 (k + 2) or more. Received: k={k}, max_showers={max_showers}"
        )
    pair = checked_pair(reference, generated, fewest, np.dtype(reference.dtype))
    size, rng = min(max_showers, len(reference), len(generated)), np.random.default_rng(seed)
    ours, theirs = (sample[rng.permutation(len(sample))[:size]].astype(np.float64) for sample in pair)
    with progress("neighbours", _BATCHES + 1, "batches") as shown:
        batches = []
        for batch in zip(np.array_split(ours, _BATCHES), np.array_split(theirs, _BATCHES), strict=True):
            batches.append(_neighbourhoods(*batch, k))
            shown.advance()
        values = _neighbourhoods(ours, theirs, k)
    errors = np.std(batches, axis=0, ddof=1) / np.sqrt(_BATCHES)
    precision, recall, density, coverage = (Value(*map(float, pair)) for pair in zip(values, errors, strict=True))
    return Neighbourhoods(precision, recall, density, coverage, size)


def log_voxels(energies: np.ndarray, floor: float = 0.1) -> np.ndarray:
    """Logarithms of voxels for `precision_recall_density_coverage`, `[n, v]`.

    Args:
        energies: `[n, v]`, MeV; those below the challenge's `min_energy` set to 0.
        floor: takes the place of 0, MeV.

    Returns:
        log10(energy / MeV), float64.

    Raises:
        DataFormatError: an energy is negative or NaN.
    """
    if not (energies >= 0).all():
        raise DataFormatError(f"energies must be 0 or more. Received: {np.min(energies)} MeV")
    return np.log10(np.where(energies == 0, floor, energies), dtype=np.float64)


def checked_pair(
    reference: np.ndarray, generated: np.ndarray, min_showers: int = _FEWEST, dtype: Any = np.float64
) -> tuple[np.ndarray, np.ndarray]:
    """Two samples as matrices of one type.

    Args:
        reference, generated: `[n, f]` and `[m, f]`.
        min_showers: how many each must have.
        dtype: what they become.

    Raises:
        DataFormatError: no matrices, different columns, too few rows, numbers that are not finite.
    """
    with np.errstate(over="ignore"):
        ours, theirs = np.asarray(reference, dtype), np.asarray(generated, dtype)
    if ours.ndim != 2 or theirs.ndim != 2 or ours.shape[1] != theirs.shape[1]:
        raise DataFormatError(
            f"the samples must have shapes [n, f] and [m, f]. Received: {list(ours.shape)} and {list(theirs.shape)}"
        )
    for name, sample in (("reference", ours), ("generated", theirs)):
        if len(sample) < min_showers:
            raise DataFormatError(f"{name} must have {min_showers} showers or more. Received: {len(sample)}")
        if not np.isfinite(sample).all():
            column = int(np.argmin(np.isfinite(sample).all(axis=0)))
            raise DataFormatError(f"{name} must be finite. Received: NaN or infinity in column {column}")
    return ours, theirs


def _normalised(reference: np.ndarray, generated: np.ndarray) -> list[np.ndarray]:
    """Both divided by the reference's largest absolute values, columns of zeros by 1."""
    pair = checked_pair(reference, generated)
    largest = np.abs(pair[0]).max(axis=0)
    largest[largest == 0] = 1
    return [sample / largest for sample in pair]


def _root(sample: np.ndarray) -> np.ndarray:
    """R with R R^T = C, the covariance of a sample `[n, f]`."""
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(sample, rowvar=False)))
    # C is rounded to 1e-16 of its largest value, so its root would have a spread of 1e-8 where the sample has none.
    flat = values < 1e-8 * values[-1]
    values[flat] = np.var(sample @ vectors[:, flat], axis=0, ddof=1)
    return vectors * np.sqrt(values)


def _of_blocks(function: Callable[[slice], ResultT], num_rows: int, num_columns: int) -> Iterator[ResultT]:
    """Results of a function of rows, in order, for blocks of `_BLOCK_VALUES` values."""
    step = max(1, _BLOCK_VALUES // num_columns)
    blocks = [slice(start, start + step) for start in range(0, num_rows, step)]
    return in_threads(function, blocks, num_workers(len(blocks), _COPIES * step * num_columns * 8))


def _kernel_sum(first: np.ndarray, second: np.ndarray) -> float:
    """Sum of (x.y)^4 over all pairs."""

    def block_sum(rows: slice) -> float:
        products = first[rows] @ second.T
        np.square(products, out=products)
        return float(np.vdot(products, products))

    return sum(_of_blocks(block_sum, len(first), len(second)), 0.0)


def _neighbourhoods(reference: np.ndarray, generated: np.ndarray, k: int) -> tuple[float, float, float, float]:
    """Precision, recall, density, coverage."""
    radii, other_radii = _squared_radii(reference, k), _squared_radii(generated, k)
    balls = np.zeros(len(generated), int)
    recalled, covered = [], []
    for rows, squares in squared_distances(reference, generated):
        inside = squares < radii[rows, None]
        balls += np.count_nonzero(inside, axis=0)
        covered.append(inside.any(axis=1))
        recalled.append((squares < other_radii).any(axis=1))
    shares = np.mean(balls > 0), np.mean(np.concatenate(recalled)), np.mean(np.concatenate(covered))
    return float(shares[0]), float(shares[1]), float(np.mean(balls)) / k, float(shares[2])


def _squared_radii(sample: np.ndarray, k: int) -> np.ndarray:
    """Squared distance to the k-th neighbour, `[n]`.

    A little less, so that rounding cannot let in a shower at just this distance.
    """
    # The nearest one is the shower itself. A view would keep the whole block.
    found = [np.partition(squares, k, axis=1)[:, k].copy() for _, squares in squared_distances(sample, sample)]
    return np.concatenate(found) - _ROUNDING * np.max(np.sum(sample**2, axis=1))


def squared_distances(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the first sample, and their squared distances to the second, `[b, m]`."""
    squares, other_squares = (np.sum(sample**2, axis=1) for sample in (first, second))
    scaled = -2 * second.T

    def block(rows: slice) -> tuple[slice, np.ndarray]:
        found = first[rows] @ scaled
        found += squares[rows, None]
        found += other_squares
        return rows, found

    yield from _of_blocks(block, len(first), len(second))
