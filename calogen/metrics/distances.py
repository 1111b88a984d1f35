"""Distances between two samples of many observables at once, with their errors.

They are the Fréchet and the kernel physics distance (FPD, KPD), and precision, recall, density and coverage by near
neighbours. All take matrices `[n, f]`, the reference first; equal seeds give equal numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike
from scipy.optimize import curve_fit

from calogen.errors import ConfigError, DataFormatError
from calogen.metrics.distributions import Value
from calogen.parallel import ResultT, in_threads, num_workers
from calogen.progress import progress

MIN_SHOWERS = 10_000
"""With fewer showers in a sample the distances are computed, but get no place in a ranking."""
EMPTY = 0.1
"""Energy that takes the place of 0 in logarithms, MeV, where no filled voxel has less."""

_FEWEST = 20  # showers of a sample
_BLOCK_VALUES = 2**20  # kernel values or distances that each thread holds at a time
_COPIES = 8  # a thread's memory, in sizes of its result: waiting results and intermediate arrays count, too
_FAR = 1e3  # above such distances, the fit of the FPD would stay at its start, 1
_SPREAD = (16.275, 83.725)  # percentiles: half of their distance is the KPD's error
_BATCHES = 10  # number of batches for the errors of precision, recall, density, coverage
_ROUNDING = 1e-12  # rounding changes a squared distance by less than this share of the largest square


def frechet_physics_distance(
    reference: np.ndarray,
    generated: np.ndarray,
    seed: int = 1,
    min_samples: int = MIN_SHOWERS,
    num_sizes: int = 10,
    num_batches: int = 20,
) -> Value:
    """Fréchet distance of normal distributions with the samples' means and covariances.

    The mean over batches of a size is extrapolated to infinite size: an intercept and a slope in 1/size, neither below
    0, are fitted to sizes from `min_samples` to five times that, equidistant in 1/size. If a sample has fewer showers
    than `min_samples`, their number is the smallest size. The showers of a batch are drawn with replacement: between
    two samples of n showers of one distribution there remains a distance that falls as 1/n, so that only values of
    equal n can be compared.

    The fit is that of jetnet, with which the published values were computed: it mostly ends before its minimum, with
    values up to about 1e-4 too high.

    Args:
        reference, generated: `[n, f]` and `[m, f]`; columns are divided by the reference's largest absolute value.
        seed: seed of the batches.
        min_samples: the smallest size; 10,000 in the CaloChallenge.
        num_sizes: number of sizes.
        num_batches: number of batches of each size.

    Returns:
        The intercept (the challenge prints 1000 times that) with its error from the residuals of the fit.

    Raises:
        DataFormatError: see `checked_pair`.

    Source: arXiv:2211.10295; jetnet.evaluation.fpd, of which these are the numbers for equal seeds.
    """
    pair = checked_pair(reference, generated)
    largest = _largest(pair[0])
    rng = np.random.default_rng(seed)
    smallest = min(min_samples, *(len(sample) for sample in pair))
    sizes = (1 / np.linspace(1 / smallest, 1 / (5 * smallest), num_sizes)).astype(int)
    means = []
    with progress("FPD", num_sizes, "sizes") as shown:
        for size in sizes:
            batches = ([_draw(sample, size, rng, largest) for sample in pair] for _ in range(num_batches))
            workers = num_workers(num_batches, _COPIES * size * pair[0].shape[1] * 8)
            means.append(np.mean(list(in_threads(lambda batch: frechet_distance(*batch), batches, workers))))
            shown.advance()
    scale = means[-1] if means[-1] > _FAR else 1.0
    bounds, scaled = ([0, 0], [np.inf, np.inf]), np.array(means) / scale
    fitted, covariance = curve_fit(lambda x, intercept, slope: intercept + slope * x, 1 / sizes, scaled, bounds=bounds)
    return Value(float(scale * fitted[0]), float(scale * np.sqrt(covariance[0, 0])))


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

    The estimate leaves out the pairs of a shower with itself: for two samples of one distribution its mean is 0, and it
    can be negative. The showers of a batch are drawn with replacement.

    Args:
        reference, generated: `[n, f]` and `[m, f]`; columns are divided by the reference's largest absolute value.
        seed: seed of the batches.
        batch_size: showers of each sample in a batch, at most as many as the smaller sample has; 10,000 in the
            CaloChallenge.
        num_batches: number of batches.

    Returns:
        The median over batches (the challenge prints 1000 times that), and as error half the distance between the
        percentiles 16.275 and 83.725, which is one standard deviation of a normal distribution.

    Raises:
        DataFormatError: see `checked_pair`.

    Source: arXiv:2211.10295; jetnet.evaluation.kpd, of which these are the numbers for equal seeds.
    """
    pair = checked_pair(reference, generated)
    largest = _largest(pair[0])
    size = min(batch_size, *(len(sample) for sample in pair))
    estimates = []
    with progress("KPD", num_batches, "batches") as shown:
        for number in range(num_batches):
            rng = np.random.default_rng(seed + 1000 * number)
            estimates.append(squared_mmd(*(_draw(sample, size, rng, largest) for sample in pair)))
            shown.advance()
    low, high = np.percentile(estimates, _SPREAD)
    return Value(float(np.median(estimates)), float(high - low) / 2)


def physics_distances(reference: np.ndarray, generated: np.ndarray, seed: int = 1) -> dict[str, Value]:
    """FPD and KPD of two samples `[n, f]` and `[m, f]`, by their names in results."""
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
    """Precision, recall, density and coverage of a generated sample.

    The ball of a shower reaches as far as its k-th nearest neighbour in its own sample.

    Args:
        precision: share of the generated showers inside the ball of a reference shower.
        recall: share of the reference showers inside the ball of a generated shower.
        density: mean number of reference showers whose ball a generated shower is in, divided by k; may exceed 1.
        coverage: share of the reference showers whose ball contains a generated shower.
        num_showers: number of showers of each sample that were used.
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

    Every shower is compared with every other one, and the values depend on the number of showers. An equal number is
    drawn from both samples: the size of the smaller one, but at most `max_showers`. Memory is needed for the drawn
    showers in double precision and for a block of distances.

    Args:
        reference, generated: `[n, f]` and `[m, f]`, as from `log_voxels`; Euclidean distances, nothing is normalised.
        k: the distance to the k-th neighbour is the radius of a ball; 5 in the CaloChallenge.
        seed: seed of the drawn showers.
        max_showers: largest number of showers of a sample; the time grows with its square.

    Returns:
        The values; their errors, right within a factor of 1.5, are the spread over ten disjoint tenths of the showers /
        sqrt(10).

    Raises:
        ConfigError: k or max_showers is too small.
        DataFormatError: as `checked_pair`, or fewer than 10 (k + 2) showers.

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


def log_filled_voxels(energies: np.ndarray, min_energy: float) -> np.ndarray:
    """Logarithms as of `log_voxels`, where voxels below `min_energy`, MeV, are empty."""
    return log_voxels(np.where(energies >= np.float64(min_energy), energies, 0), min(EMPTY, min_energy))


def log_voxels(energies: np.ndarray, floor: float = EMPTY) -> np.ndarray:
    """Logarithms of voxels for `precision_recall_density_coverage`, `[n, v]`.

    Args:
        energies: energies of voxels, `[n, v]`, MeV; those below the challenge's `min_energy` should be 0.
        floor: energy that takes the place of 0, MeV; not above that of the smallest voxel, or distances are not
            those of the energies' order.

    Returns:
        log10(energy / MeV), float64.

    Raises:
        DataFormatError: an energy is negative or NaN.
    """
    if not (energies >= 0).all():
        raise DataFormatError(f"energies must be 0 or more. Received: {np.min(energies)} MeV")
    return np.log10(np.where(energies == 0, floor, energies), dtype=np.float64)


def checked_pair(
    reference: np.ndarray, generated: np.ndarray, min_showers: int = _FEWEST, dtype: DTypeLike = np.float64
) -> tuple[np.ndarray, np.ndarray]:
    """Two samples as matrices of one type, checked for their shapes and values.

    Args:
        reference, generated: `[n, f]` and `[m, f]`.
        min_showers: number of showers that each sample must have at least.
        dtype: type of the matrices to return.

    Raises:
        DataFormatError: the samples are no matrices of equal width, have too few rows or numbers that are not finite.
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


def _largest(reference: np.ndarray) -> np.ndarray:
    """The largest absolute value of each column, or 1 where that is 0, `[f]`."""
    largest = np.maximum(reference.max(axis=0), -reference.min(axis=0))
    largest[largest == 0] = 1
    return largest


def _draw(sample: np.ndarray, size: int, rng: np.random.Generator, largest: np.ndarray) -> np.ndarray:
    """A batch of a sample, with replacement, `[b, f]`; its columns are divided by `largest`.

    The sample itself, which may have millions of rows, is not copied; `choice` would do so unless rows are contiguous.
    """
    return np.ascontiguousarray(sample[rng.choice(len(sample), size)]) / largest


def _root(sample: np.ndarray) -> np.ndarray:
    """Matrix R for which R R^T is the covariance C of a sample `[n, f]`."""
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(sample, rowvar=False)))
    # C is rounded to 1e-16 of its largest value, so its root would have a spread of 1e-8 where the sample has none.
    flat = values < 1e-8 * values[-1]
    values[flat] = np.var(sample @ vectors[:, flat], axis=0, ddof=1)
    return vectors * np.sqrt(values)


def _of_blocks(function: Callable[[slice], ResultT], num_rows: int, num_columns: int) -> Iterator[ResultT]:
    """Gives in order the results of a function of rows, for blocks of `_BLOCK_VALUES` values."""
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
    """Precision, recall, density and coverage of two samples `[n, f]`."""
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
    """Squared distance of each shower to its k-th neighbour, `[n]`.

    It is made a little smaller, so that by rounding no shower at just this distance lies inside.
    """
    # Neighbour 0 is the shower itself. The copy lets the whole block's memory go.
    radii = [np.partition(squares, k, axis=1)[:, k].copy() for _, squares in squared_distances(sample, sample)]
    return np.concatenate(radii) - _ROUNDING * np.max(np.sum(sample**2, axis=1))


def squared_distances(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Gives rows of the first sample and their squared distances to the second, `[b, m]`."""
    squares, other_squares = (np.sum(sample**2, axis=1) for sample in (first, second))
    scaled = -2 * second.T

    def block(rows: slice) -> tuple[slice, np.ndarray]:
        distances = first[rows] @ scaled
        distances += squares[rows, None]
        distances += other_squares
        return rows, distances

    yield from _of_blocks(block, len(first), len(second))
