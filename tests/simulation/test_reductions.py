"""What detectors' showers become; Geant4 itself is in `test_production.py`."""

import numpy as np
import pytest

from calogen.errors import ConfigError
from calogen.showers.sparse import SparseShowers
from calogen.simulation.reductions import DETECTOR_NAMES, Imaging, Projective, default_settings, reduction


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_every_detector_has_a_reduction(name: str) -> None:
    found = reduction(name, default_settings(name).get("particle", "photon"))
    assert found.detector.name == name
    assert set(found.aim(np.random.default_rng(1))) == set(found.aims)
    assert found.size > 100
    assert "units" in found.attributes


def test_angles_are_drawn_in_their_range_and_stored_in_rad() -> None:
    found = reduction("ild-angular", "photon")
    assert isinstance(found, Imaging)
    angles = np.array([found.aim(np.random.default_rng(seed))["angle"] for seed in range(200)])
    assert np.deg2rad(40) < angles.min() < np.deg2rad(43)
    assert np.deg2rad(87) < angles.max() < np.pi / 2
    assert reduction("ild", "photon").aims == ()
    assert reduction("ild", "photon", angles=(60.0, 60.0)).aims == ("angle",)


def test_a_sparse_shower_stays_what_it_is() -> None:
    shower = SparseShowers(np.array([2]), np.array([5, 9]), np.ones(2, np.float32))
    assert reduction("ild", "photon").reduce(shower, {}) == {"hits": shower}  # type: ignore[arg-type]


def test_pions_have_voxels_of_their_own() -> None:
    photon, pion = (reduction("atlas-barrel", particle) for particle in ("photon", "pion"))
    assert isinstance(photon, Projective)
    assert isinstance(pion, Projective)
    assert photon.geometry != pion.geometry
    with pytest.raises(ConfigError, match="must be one of atlas-barrel"):
        reduction("cms", "photon")
