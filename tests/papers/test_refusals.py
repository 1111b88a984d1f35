"""What the experiments with GANs refuse before they train."""

from pathlib import Path

import pytest
from conftest import Refused
from toy_runs import showers_of

from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry

LOW, HIGH = (1024.0, 4096.0, 8192.0), (1024.0, 4096.0, 2.0**18)
FEW = "several different showers of each momentum; at {} MeV"


@pytest.mark.parametrize(
    ("script", "geometry", "momenta", "counts", "message"),
    [
        (
            "caloshowergan",
            PIONS_DATASET1,
            (1024.0,),
            (5,),
            r"photons_dataset1 must have shape \[n, 368\], .* Received: \[5, 533\]",
        ),
        (
            "caloshowergan",
            PHOTONS_DATASET1,
            (1024.0, 4096.0),
            (5, 5),
            r"showers with energy at 8192\.\.4194304 MeV. Received: showers at 1024, 4096 MeV",
        ),
        ("caloshowergan", PHOTONS_DATASET1, HIGH, (5, 5, 1), FEW.format(262144)),
        (
            "caloshowergan",
            PHOTONS_DATASET1,
            (128.0, *HIGH),
            (5, 5, 5, 5),
            r"single GAN needs momenta within 256\.\.4194304 MeV. Received: 128 MeV",
        ),
        (
            "caloshowergan_pions",
            PHOTONS_DATASET1,
            LOW,
            (5, 5, 5),
            r"pions_dataset1 must have shape \[n, 533\], n above 0. Received: \[15, 368\]",
        ),
        ("caloshowergan_pions", PIONS_DATASET1, LOW, (5, 1, 5), FEW.format(4096)),
        ("fastcalogan", PIONS_DATASET1, LOW, (5, 1, 5), FEW.format(4096)),
        ("fastcalogan", PHOTONS_DATASET1, LOW, (1, 5, 5), FEW.format(1024)),
    ],
)
def test_files_that_cannot_train_are_refused(
    script: str,
    geometry: VoxelGeometry,
    momenta: tuple[float, ...],
    counts: tuple[int, ...],
    message: str,
    tmp_path: Path,
    refused: Refused,
) -> None:
    showers_of(geometry, momenta, counts).write(tmp_path / "wrong.h5")
    refused(script, message)
