"""Maximum mean discrepancies: distances of two samples by means of a Gaussian kernel."""

from collections.abc import Sequence
from dataclasses import dataclass

from calogen.backend import tf
from calogen.config import require


def mean_discrepancy(one: tf.Tensor, other: tf.Tensor, alpha: float) -> tf.Tensor:
    """Squared maximum mean discrepancy with the kernel exp(-alpha |x - y|^2).

    Args:
        one, other: samples of `n` points each, `[..., n, z]`; further axes are further pairs of samples.

    Returns:
        `[...]`, 0 for equal samples; each point is compared with itself, too.

    Source: arXiv:2005.05334, equations (10) and (11).
    """

    def mean_kernel(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        distances = tf.reduce_sum(tf.square(first[..., :, None, :] - second[..., None, :, :]), axis=-1)
        return tf.reduce_mean(tf.exp(-alpha * distances), axis=(-2, -1))

    return mean_kernel(one, one) + mean_kernel(other, other) - 2.0 * mean_kernel(one, other)


def latent_discrepancy(codes: tf.Tensor, prior: tf.Tensor, alphas: Sequence[float]) -> tf.Tensor:
    """Discrepancy between codes of showers and points of the prior, summed over kernels.

    Args:
        codes, prior: `[b, z]`.
        alphas: alpha of each kernel.
    """
    return tf.add_n([mean_discrepancy(codes, prior, alpha) for alpha in alphas])


@dataclass(frozen=True, kw_only=True)
class SortedKernel:
    """Discrepancy of the cell energies of two showers, which compares similar ones only.

    The cells of each shower are sorted by energy, the largest first. A window moves over them, and in every place the
    energies inside it are compared; the mean over places and showers is the result.

    Args:
        window: number of energies in the window, `n`.
        stride: number of cells by which the window moves, `m`.
        reach: number of cells at which the window may begin, `N`; it has `N / m` places if there are enough cells.
        alpha: width of the kernel, 1 / MeV^2.

    Source: arXiv:2005.05334, section 3.4.
    """

    window: int
    stride: int
    reach: int
    alpha: float

    def __post_init__(self) -> None:
        for name in ("window", "stride", "reach", "alpha"):
            value = getattr(self, name)
            require(value > 0, f"{name} of a SortedKernel must be above 0. Received: {value}")

    @classmethod
    def of(cls, numbers: Sequence[int]) -> "SortedKernel":
        """Gives the discrepancy with the four arguments in their order."""
        require(len(numbers) == 4, f"a SortedKernel has four numbers: n, m, N and alpha. Received: {tuple(numbers)}")
        window, stride, reach, alpha = numbers
        return cls(window=window, stride=stride, reach=reach, alpha=alpha)

    def __call__(self, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """Gives the mean over showers `[b, v]`, whose energies are in MeV."""
        return tf.reduce_mean(mean_discrepancy(self._windows(one), self._windows(other), self.alpha))

    def _windows(self, showers: tf.Tensor) -> tf.Tensor:
        """Sorted energies in every place of the window, `[b, places, window, 1]`."""
        size = min(self.window, showers.shape[-1])
        last = (self.reach - 1) // self.stride * self.stride
        largest = tf.math.top_k(showers, min(last + size, showers.shape[-1])).values
        return tf.signal.frame(largest, size, self.stride)[..., None]


@dataclass(frozen=True)
class Discrepancy:
    """A discrepancy of cell energies and its weight in a loss.

    Args:
        kernel: the discrepancy.
        weight: its factor; 0: it does not count.
    """

    kernel: SortedKernel
    weight: float
