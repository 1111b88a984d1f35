import numpy as np
import pytest

from calogen.errors import DataFormatError
from calogen.features.moments import ROWS_PER_BLOCK, moments, moments_of_blocks


@pytest.mark.parametrize("num_showers", [1, 7, ROWS_PER_BLOCK, 2 * ROWS_PER_BLOCK + 5])
def test_moments_are_numpys_in_double_precision(num_showers: int) -> None:
    rng = np.random.default_rng(1)
    scales = np.geomspace(1e-6, 1e3, 12)
    features = (rng.normal(1.0, 1e-3, (num_showers, 12)) * scales).astype(np.float32)
    found = moments(features)
    np.testing.assert_allclose(found.mean, features.mean(axis=0, dtype=np.float64), rtol=1e-13)
    np.testing.assert_allclose(found.spread, features.std(axis=0, dtype=np.float64), rtol=1e-10, atol=0)
    assert found.mean.dtype == found.spread.dtype == np.float64
    assert len(found) == 12


def test_a_constant_feature_has_no_spread() -> None:
    """In single precision the mean of many is another number than each: a spread of 1e-3 and more came of that."""
    found = moments(np.full((100_000, 2), 0.1, np.float32))
    assert found.spread.tolist() == [0.0, 0.0]
    assert found.mean.tolist() == [np.float64(np.float32(0.1))] * 2


def test_the_same_blocks_give_the_same_bits_from_wherever_they_come() -> None:
    features = np.random.default_rng(2).lognormal(0, 2, (10_000, 5)).astype(np.float32)
    cut = [features[start : start + ROWS_PER_BLOCK] for start in range(0, len(features), ROWS_PER_BLOCK)]
    for one, other in ((moments(features), moments_of_blocks(iter(cut))),):
        assert one.mean.tobytes() == other.mean.tobytes()
        assert one.spread.tobytes() == other.spread.tobytes()


def test_no_showers_have_no_moments() -> None:
    with pytest.raises(DataFormatError, match="one shower at least"):
        moments(np.zeros((0, 3), np.float32))
