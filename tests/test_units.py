import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import preprocessing as slow

from calogen.units import MASSES, kinetic_energy

MOMENTA = st.floats(1e-3, 1e7)


@given(MOMENTA, st.sampled_from(sorted(MASSES)))
def test_kinetic_energy_equals_its_twin_of_sixty_digits(momentum: float, particle: str) -> None:
    expected = slow.kinetic_energy(momentum, MASSES[particle])
    np.testing.assert_allclose(kinetic_energy(np.array(momentum), MASSES[particle]), expected, rtol=1e-14)


@given(MOMENTA)
def test_without_mass_it_is_the_momentum(momentum: float) -> None:
    assert kinetic_energy(np.array([momentum]), 0.0)[0] == pytest.approx(momentum, rel=1e-15)


def test_limits_of_slow_and_fast_particles() -> None:
    mass = MASSES["pion"]
    np.testing.assert_allclose(kinetic_energy(np.array(1e-3), mass), 1e-6 / (2 * mass), rtol=1e-10)
    np.testing.assert_allclose(kinetic_energy(np.array(1e9), mass), 1e9 - mass, rtol=1e-13)
    # a 3-4-5 triangle
    np.testing.assert_allclose(kinetic_energy(np.array([3.0, 4.0]), 4.0), [1.0, np.sqrt(32.0) - 4.0], rtol=1e-15)


def test_the_pion_of_the_lowest_momentum() -> None:
    # sqrt(256^2 + 139.57039^2) - 139.57039 by hand
    assert float(kinetic_energy(np.array(256.0), MASSES["pion"])) == pytest.approx(152.00446, abs=1e-5)
