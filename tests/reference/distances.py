"""Slow twins of calogen.metrics.distances: pair by pair, and with the matrix square root as it is written."""

import numpy as np
from scipy.linalg import sqrtm


def frechet_distance(first, second):
    """|mu - mu'|^2 + tr(C + C' - 2 (C C')^(1/2))."""
    means = [sample.mean(axis=0) for sample in (first, second)]
    covariances = [np.atleast_2d(np.cov(sample.T)) for sample in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    return float(np.sum((means[0] - means[1]) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root))


def frechet_distances(reference, generated, min_samples, num_batches, seed):
    """Sizes and the mean distances of their batches, both in the reference's largest values."""
    largest, rng = np.abs(reference).max(axis=0), np.random.default_rng(seed)
    sizes = [int(1 / x) for x in np.linspace(1 / min_samples, 1 / (5 * min_samples), 10)]
    means = []
    for size in sizes:
        values = []
        for _ in range(num_batches):
            first = (reference / largest)[rng.choice(len(reference), size)]
            second = (generated / largest)[rng.choice(len(generated), size)]
            values.append(frechet_distance(first, second))
        means.append(np.mean(values))
    return np.array(sizes), np.array(means)


def kernel(first, second):
    return (sum(x * y for x, y in zip(first, second, strict=True)) / len(first) + 1) ** 4


def squared_mmd(first, second):
    """Means of the kernel over all pairs of different showers."""
    n, m = len(first), len(second)
    ours = sum(kernel(first[i], first[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    theirs = sum(kernel(second[i], second[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return ours + theirs - 2 * sum(kernel(x, y) for x in first for y in second) / (n * m)


def radius(sample, index, k):
    """Distance of a shower to its k-th nearest neighbour."""
    return sorted(np.linalg.norm(sample[index] - other) for i, other in enumerate(sample) if i != index)[k - 1]


def neighbourhoods(reference, generated, k):
    """Precision, recall, density, coverage, from their definitions."""
    radii = [radius(reference, i, k) for i in range(len(reference))]
    others = [radius(generated, j, k) for j in range(len(generated))]
    distances = [[np.linalg.norm(x - y) for y in generated] for x in reference]
    rows, columns = range(len(reference)), range(len(generated))
    precision = np.mean([any(distances[i][j] < radii[i] for i in rows) for j in columns])
    recall = np.mean([any(distances[i][j] < others[j] for j in columns) for i in rows])
    density = np.mean([sum(distances[i][j] < radii[i] for i in rows) / k for j in columns])
    coverage = np.mean([any(distances[i][j] < radii[i] for j in columns) for i in rows])
    return precision, recall, density, coverage
