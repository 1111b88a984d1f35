from pathlib import Path

import numpy as np
import pytest

from calogen.athena.depths import NOTE, file_name, mean_depths, write_depths
from calogen.athena.folder import MARK
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1


def test_depths_are_those_of_the_simulation() -> None:
    photons, pions = (
        mean_depths(particle, geometry.layer_ids)
        for particle, geometry in (("photon", PHOTONS_DATASET1), ("pion", PIONS_DATASET1))
    )
    assert list(photons) == [0, 1, 2, 3, 12]
    assert list(pions) == [0, 1, 2, 3, 12, 13, 14]
    assert all(0.1 < depth < 0.9 for depth in (*photons.values(), *pions.values()))
    assert pions[2] > photons[2]  # a photon of 65 GeV has its maximum at the beginning of the second layer
    assert mean_depths("electron", [2]) == {2: photons[2]}
    assert mean_depths("proton", [2, 8]) == {2: pions[2], 8: 0.5}


def test_the_file_is_what_the_class_reads(tmp_path: Path) -> None:
    """It draws each branch of a TTree into 100 bins from 0.01 to 1 and takes the mean."""
    uproot = pytest.importorskip("uproot")
    path = tmp_path / file_name(22, 20)
    assert path.relative_to(tmp_path).as_posix() == "rootFiles/pid22_E65536_eta_20_25_validation.root"
    write_depths(path, {0: 0.01, 2: 0.3, 12: 0.75})
    with uproot.open(path) as file:
        assert file.classnames() == {f"{MARK};1": "TObjString", "rootTree;1": "TTree"}
        assert str(file[MARK]) == NOTE
        assert file["rootTree"].keys() == ["extrapWeight_0", "extrapWeight_2", "extrapWeight_12"]
        for layer, depth in {0: 0.01, 2: 0.3, 12: 0.75}.items():
            values = file["rootTree"][f"extrapWeight_{layer}"].array(library="np")
            assert np.histogram(values, 100, (0.01, 1))[0].sum() == len(values) > 0
            assert values.mean() == pytest.approx(depth)
    assert MARK.encode() in path.read_bytes()
