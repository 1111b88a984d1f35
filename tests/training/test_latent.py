import numpy as np
import pytest
from scipy import stats

from calogen.errors import ConfigError
from calogen.training.latent import Latent

LATENTS = {
    "standard": (Latent(dim=4), stats.norm()),
    "normal": (Latent(dim=4, mean=0.5, spread=0.25), stats.norm(0.5, 0.25)),
    "uniform": (Latent(dim=4, distribution="uniform", mean=2.0, spread=0.5), stats.uniform(1.5, 1.0)),
}


@pytest.mark.parametrize("name", LATENTS)
def test_points_follow_their_distribution_in_every_dimension(name: str) -> None:
    latent, expected = LATENTS[name]
    points = latent.draw(20_000, seed=1)
    assert (points.shape, points.dtype) == ((20_000, 4), np.float32)
    # by chance below 1e-6 for one of a million seeds
    assert min(stats.kstest(column, expected.cdf).pvalue for column in points.T.astype(np.float64)) > 1e-6
    # six standard deviations of a coefficient without correlation
    assert np.abs(np.corrcoef(points.T) - np.eye(4)).max() < 6 / np.sqrt(20_000)


def test_points_are_a_function_of_the_seed() -> None:
    for latent, _ in LATENTS.values():
        np.testing.assert_array_equal(latent.draw(50, 3), latent.draw(50, 3))
        assert (latent.draw(50, 3) != latent.draw(50, 4)).all()


def test_the_uniform_distribution_has_half_width_spread() -> None:
    points = LATENTS["uniform"][0].draw(20_000, seed=2)
    # either end stays empty by 1e-3 of the width with probability (1 - 1e-3)^80000 < 1e-34
    assert 1.5 <= points.min() < 1.501
    assert 2.499 < points.max() <= 2.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dim": 0}, "dimension of at least 1. Received: 0"),
        ({"distribution": "cauchy"}, "distribution must be one of .* Received: 'cauchy'"),
        ({"spread": 0.0}, "spread must be above 0"),
        ({"spread": float("nan")}, "spread must be above 0"),
    ],
)
def test_nonsense_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Latent(**{"dim": 3} | values)
