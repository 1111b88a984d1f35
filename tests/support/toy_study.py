"""Tests of toy networks, and a study of three of them."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import keras
import numpy as np
from conftest import TINY_VOXELS
from toy_gan import CONFIG, network_test, toy_showers

from calogen.evaluation.compare import ALL_ENERGIES, compare_showers
from calogen.evaluation.iterations import ALL, HELD_OUT, TRAIN, IterationScan, NetworkTest
from calogen.metrics.chi2 import Chi2
from calogen.models.fastcalogan import FastCaloGanConfig
from calogen.observables.observable import Observable
from calogen.observables.voxels import voxel_observables
from calogen.reproduction.networks import Comparisons, StudyNetwork
from calogen.reproduction.study import Data, Outcome
from calogen.showers.voxels import PHOTONS_DATASET1
from calogen.training.run import TrainedRun


def scan(momenta: list[float], chi2: list[float], ndf: int) -> IterationScan:
    """Iterations 1000, 2000 ..., with one chi2 at all momenta."""
    number = np.arange(1, len(chi2) + 1)
    shape = (len(chi2), len(momenta))
    return IterationScan(
        1000 * number, np.array(momenta), np.tile(np.array(chi2)[:, None], shape[1]), np.full(shape, ndf)
    )


def made(name: str, momenta: list[float], chi2: float, *, held_out: bool = True, floor: bool = True) -> NetworkTest:
    """28 degrees of freedom, 500 showers and the error 1/28 at every momentum; the second iteration is the best."""
    scans = {ALL: scan(momenta, [3 * chi2, chi2], 28)}
    if held_out:
        scans |= {TRAIN: scan(momenta, [9.0, 4.0], 28), HELD_OUT: scan(momenta, [100.0, 30.0], 20)}
    return network_test(
        scans,
        name,
        chi2=dict.fromkeys(momenta, Chi2(chi2, 28, 1.0)),
        floor=dict.fromkeys(momenta, Chi2(14.0, 28, 4.0)) if floor else {},
        num_showers=dict.fromkeys(momenta, 500),
        num_held_out=dict.fromkeys(momenta, 250),
    )


def network_of(config: Any, test: NetworkTest) -> StudyNetwork:
    """With a small generator."""
    latent, condition = keras.Input((3,), name="latent"), keras.Input((1,), name="condition")
    joined = keras.layers.Concatenate()([latent, condition])
    generator = keras.Model({"latent": latent, "condition": condition}, keras.layers.Dense(2)(joined))
    model = "fastcalogan" if isinstance(config, FastCaloGanConfig) else "caloshowergan"
    run = SimpleNamespace(config=config, model=model, geometry=TINY_VOXELS, generator=generator)
    return StudyNetwork(cast(TrainedRun, run), test)


MOMENTA = (1024.0, 2048.0, 4096.0)


def observables() -> list[Observable]:
    """Those of layers 0 and 1, without metrics; the width in eta at 1 GeV, the voxels at 2 and 4 GeV."""
    names = {"total_energy", "voxel_energy", "layer_0_energy", "layer_1_energy"}
    names |= {f"layer_1_{axis}_{kind}" for axis in ("eta", "phi") for kind in ("centroid", "width")}
    alone = {"layer_1_eta_width": (1024.0,), "voxel_energy": (2048.0, 4096.0), "total_energy": MOMENTA}
    return [
        replace(item, metrics=(), figures={ALL_ENERGIES: "x"} | dict.fromkeys(alone.get(item.name, ()), "x"))
        for item in voxel_observables(PHOTONS_DATASET1)
        if item.name in names
    ]


def toy_outcome() -> Outcome:
    """Of two GANs and one, with pictures of the two."""
    reference, generated = toy_showers(60, 1), {"GANs": toy_showers(60, 2)}
    by_energy = {
        momentum: compare_showers(reference, generated, observables(), energy=momentum) for momentum in MOMENTA
    }
    comparisons = Comparisons(
        reference=reference,
        generated=generated,
        by_energy=by_energy,
        together=compare_showers(reference, generated, observables()),
    )
    tests = {
        "low": made("low", [1024.0, 2048.0], 56.0),
        "upper": made("upper", [2048.0, 4096.0], 42.0),
        "single": made("single", list(MOMENTA), 84.0),
    }
    configs = {
        "low": CONFIG,
        "upper": replace(CONFIG, latent_dim=7),
        "single": replace(CONFIG, highest_momentum=2.0**13),
    }
    networks = {name: network_of(configs[name], test) for name, test in tests.items()}
    return Outcome(networks=networks, comparisons=comparisons, provenance={"low": {"training_seconds": 1.5}})


DATA = Data(train=toy_showers(60, 1), held_out=toy_showers(20, 3), files={"train": Path("a")}, note="toy showers")
