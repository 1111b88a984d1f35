import numpy as np
import pytest
from scipy import stats

from calogen.errors import ConfigError, DataFormatError
from calogen.training.latent import EncodedLatent, Latent

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


def correlated(seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of two numbers, of which the first is the condition's and the second anything but normal."""
    rng = np.random.default_rng(seed)
    condition = rng.uniform(10, 100, (number, 1)).astype(np.float32)
    first = condition[:, 0] / 30 - 2 + 0.3 * rng.standard_normal(number)
    second = first + rng.choice([-2.0, 2.0], number) + 0.5 * rng.standard_normal(number)
    return np.stack([first, second], axis=1).astype(np.float32), condition


def encoded(number: int = 4000, **options: float) -> EncodedLatent:
    return EncodedLatent(*correlated(1, number), dim=5, **options)  # type: ignore[arg-type]


def test_codes_keep_their_mean_and_covariance() -> None:
    """The smoothed bootstrap neither widens nor narrows, whatever the width."""
    codes, condition = correlated(1, 4000)
    for width in (0.0, 0.2, 0.7, 1.0):
        sampler = EncodedLatent(codes, condition, dim=5, width=width, condition_width=0.0)
        points = sampler.draw(100_000, 2, np.repeat(condition, 25, axis=0))
        # a standard deviation is some 0.01 of 100,000 points
        np.testing.assert_allclose(points[:, :2].mean(axis=0), codes.mean(axis=0), atol=0.04)
        np.testing.assert_allclose(np.cov(points[:, :2].T), np.cov(codes.T), rtol=0.03)
        np.testing.assert_allclose(np.cov(points[:, 2:].T), np.eye(3), atol=0.03)


def test_codes_follow_their_condition_and_keep_their_shape() -> None:
    sampler, (codes, condition) = encoded(20_000), correlated(3, 20_000)
    for energy in (20.0, 60.0, 90.0):
        points = sampler.draw(2000, 4, np.full((2000, 1), energy, np.float32))
        near = codes[np.abs(condition[:, 0] - energy) < 1]
        assert points[:, 0].mean() == pytest.approx(near[:, 0].mean(), abs=0.1)
        first, second = points[:, 0], points[:, 1] - points[:, 0]
        assert np.corrcoef(first, points[:, 1])[0, 1] > 0.05, "numbers of a code go together"
        assert np.mean(np.abs(second) < 0.7) < 0.1, "between both peaks there are few codes, unlike in a normal"
        # by chance below 1e-4 for one of ten thousand seeds; the kernel's width shifts it by much less
        assert stats.ks_2samp(points[:, 1].astype(float), near[:, 1].astype(float)).statistic < 0.12


def test_without_widths_points_are_codes_of_their_own_condition() -> None:
    condition = np.repeat(np.array([[1.0], [2.0], [4.0]], np.float32), 50, axis=0)
    codes = np.arange(150.0, dtype=np.float32)[:, None]
    sampler = EncodedLatent(codes, condition, dim=1, width=0.0, condition_width=0.0)
    asked = np.repeat(np.array([[4.0], [1.0]], np.float32), 5000, axis=0)
    points = np.rint(sampler.draw(10_000, 1, asked)[:, 0]).astype(int)
    # a code stays unused with probability (1 - 1/50)^5000 < 1e-43
    assert set(points[:5000]) == set(range(100, 150))
    assert set(points[5000:]) == set(range(50))


def test_single_draws_are_those_of_a_block() -> None:
    sampler = encoded(200)
    condition = np.linspace(20, 90, 30, dtype=np.float32)[:, None]
    random = np.random.default_rng(7)
    single = [sampler.draw(1, random, row[None]) for row in condition]
    np.testing.assert_array_equal(np.concatenate(single), sampler.draw(30, 7, condition))
    assert sampler.draw(30, 7, condition).dtype == np.float32


def test_the_sampler_is_its_arrays() -> None:
    sampler = encoded(100, width=0.3, condition_width=0.1)
    again = EncodedLatent.from_arrays(sampler.arrays)
    condition = np.full((9, 1), 33.0, np.float32)
    np.testing.assert_array_equal(again.draw(9, 1, condition), sampler.draw(9, 1, condition))


def test_a_constant_code_and_a_constant_condition_are_no_trouble() -> None:
    sampler = EncodedLatent(np.ones((5, 2), np.float32), np.ones((5, 1), np.float32), dim=2)
    np.testing.assert_allclose(sampler.draw(4, 1, np.ones((4, 1), np.float32)), 1.0, atol=1e-6)


@pytest.mark.parametrize("condition", [None, np.ones((3, 1)), np.ones((4, 2))])
def test_a_condition_is_needed(condition: np.ndarray | None) -> None:
    with pytest.raises(ConfigError, match=r"codes need conditions of shape \(4, 1\)"):
        encoded(20).draw(4, 1, condition)


@pytest.mark.parametrize(
    "changed",
    [
        {"codes": np.ones((3, 2))},
        {"codes": np.ones(20)},
        {"codes": np.full((20, 2), np.nan)},
        {"codes": np.ones((20, 2), int)},
        {"codes": np.ones((20, 6))},
        {"conditions": np.full((20, 1), np.inf)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed: dict[str, np.ndarray]) -> None:
    arrays = {**encoded(20).arrays, **changed}
    with pytest.raises(DataFormatError, match="needs finite codes"):
        EncodedLatent.from_arrays(arrays)


def test_widths_are_shares() -> None:
    with pytest.raises(ConfigError, match="widths must be 0..1"):
        encoded(20, width=1.2)
