"""An export in the true class: `TFCSEnergyAndHitGANV2` of a built FastCaloSim.

FASTCALOSIM_DIR is where FastCaloSim was installed, with `include/FastCaloSim/Core` and `lib*/libFastCaloSim.so`; the
Python that runs ROOT is that of FASTCALOSIM_PYTHON, or else this one. ROOT gets a process of its own: its compiler and
TensorFlow's do not share one.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY_VOXELS
from toy_gan import CONFIG
from toy_generators import tiny_generator

from calogen.athena import depths, radial
from calogen.athena.bundle import build_bundle

pytestmark = [
    pytest.mark.needs_fastcalosim,
    pytest.mark.skipif(
        not os.environ.get("FASTCALOSIM_DIR"), reason="FASTCALOSIM_DIR does not say where FastCaloSim is installed"
    ),
]

# What the class does when an experiment's software loads a folder. A slice of its own tells what it has read.
PROGRAM = r"""
import glob, json, os, sys
import ROOT
prefix, folder, slices = os.environ["FASTCALOSIM_DIR"], sys.argv[1], json.loads(sys.argv[2])
ROOT.gROOT.SetBatch(True)
(library, *_) = sorted(glob.glob(os.path.join(prefix, "lib*", "libFastCaloSim*.so")))
assert ROOT.gSystem.Load(library) >= 0, library
ROOT.gInterpreter.AddIncludePath(os.path.join(prefix, "include"))
for name in ("TFCSEnergyAndHitGANV2", "TFCSGANEtaSlice", "TFCSGANXMLParameters"):
    assert ROOT.gInterpreter.Declare(f'#include "FastCaloSim/Core/{name}.h"'), name
found = []
for pid, eta in slices:
    gan = ROOT.TFCSEnergyAndHitGANV2("gan", "gan")
    loaded = bool(gan.initializeNetwork(pid, eta, folder))
    layers = [layer for layer in range(24) if gan.is_match_calosample(layer)]
    parameters = ROOT.TFCSGANXMLParameters()
    parameters.InitialiseFromXML(pid, (2 * eta + 5) // 2, folder)
    part = ROOT.TFCSGANEtaSlice(pid, eta, eta + 5, parameters)
    loaded = loaded and bool(part.LoadGAN()) and bool(part.IsGanCorrectlyLoaded())
    weights = {int(item.first): float(item.second) for item in part.GetExtrapolatorWeights()}
    fits = {int(item.first): len(item.second) for item in part.GetFitResults()}
    noise, version = int(parameters.GetLatentSpaceSize()), int(parameters.GetGANVersion())
    found.append({"loaded": loaded, "layers": layers, "weights": weights, "fits": fits, "noise": noise,
                  "version": version})
print("FOUND " + json.dumps(found))
"""


def _read_by_the_class(folder: Path, slices: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """What the class finds of each particle (number) and slice (100 times the lower edge)."""
    python = os.environ.get("FASTCALOSIM_PYTHON", sys.executable)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", PROGRAM, str(folder), json.dumps(slices)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    return json.loads(line.removeprefix("FOUND "))


def _export(folder: Path, eta: int, latent_dim: int) -> None:
    """Photons of a slice, from networks that nobody has trained; the radial histograms are of their own showers."""
    bundle = build_bundle([tiny_generator(2.0**6, 2.0**22, replace(CONFIG, latent_dim=latent_dim))], eta)
    names = radial.file_name(22, eta), depths.file_name(22, eta)
    written = [folder.parent / f"{number}.root" for number in range(2)]
    radial.write_radial(written[0], bundle.generate(np.full(50, radial.MOMENTUM), seed=1))
    depths.write_depths(written[1], depths.mean_depths("photon", TINY_VOXELS.layer_ids))
    more = {name: path.read_bytes() for name, path in zip(names, written, strict=True)}
    assert bundle.write(folder, {}, more) == ()


def test_the_class_loads_every_slice_of_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("uproot")
    folder = tmp_path / "export"
    for eta, latent_dim in ((20, 3), (25, 5)):
        _export(folder, eta, latent_dim)
    found = _read_by_the_class(folder, [(22, 20), (22, 25)])
    for slot, latent_dim in zip(found, (3, 5), strict=True):
        assert slot["loaded"]
        assert slot["layers"] == list(TINY_VOXELS.layer_ids)
        assert (slot["noise"], slot["version"]) == (latent_dim, 2)
        assert {int(key): number for key, number in slot["fits"].items()} == {
            layer.id: layer.num_r for layer in TINY_VOXELS.layers
        }
        expected = depths.mean_depths("photon", TINY_VOXELS.layer_ids)
        assert {int(key): weight for key, weight in slot["weights"].items()} == pytest.approx(expected)
