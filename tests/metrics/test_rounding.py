"""Numbers as figures, tables and texts show them."""

import numpy as np
import pytest

from calogen.metrics.distributions import Value, rounded


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1000.0, 1.4e-13, "1,000"),
        (29.5, 20.3, "30 ± 20"),
        (1234.5, 150.0, "1,230 ± 150"),
        (0.5, 0.0996, "0.50 ± 0.10"),
        (-0.004, 0.0512, "-0.004 ± 0.051"),
        (-0.01, 1.5, "0.0 ± 1.5"),
        (3.21e-8, 4.4e-9, "3.21e-8 ± 0.44e-8"),
        (15678.0, np.nan, "15,678"),
        (0.123456, 0.0, "0.1235"),
        (0.0, 0.0, "0"),
        (0.0, 2.5, "0.0 ± 2.5"),
        (9999.6, np.nan, "10,000"),
        (-99999.6, 0.0, "-100,000"),
        (np.nan, 0.1, "nan"),
        (np.inf, np.inf, "inf"),
    ],
)
def test_a_number_is_rounded_to_two_digits_of_its_error(value: float, error: float, text: str) -> None:
    assert rounded(value, error) == str(Value(value, error)) == text


@pytest.mark.parametrize(("value", "digits", "text"), [(999.7, 3, "1,000"), (99.6, 2, "100"), (9.96, 2, "10")])
def test_a_number_that_gains_a_digit_has_no_exponent(value: float, digits: int, text: str) -> None:
    assert rounded(value, digits=digits) == text
