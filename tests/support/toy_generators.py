"""Generators as after training, for the tests of what exports them."""

from dataclasses import replace
from types import ModuleType

import keras
import numpy as np
from conftest import TINY_VOXELS
from toy_gan import CONFIG

from calogen.athena.interface import VoxelGenerator
from calogen.models import caloshowergan
from calogen.models.caloshowergan import CaloShowerGanConfig


def perturbed(network: keras.Model) -> keras.Model:
    """The network, every bias and all of batch normalisation away from where they start."""
    rng = np.random.default_rng(2)
    for variable in network.weights:
        if any(word in variable.path for word in ("gamma", "beta", "moving", "bias")):
            positive = "gamma" in variable.path or "variance" in variable.path
            variable.assign(rng.uniform(0.5 if positive else -1.0, 2.0 if positive else 1.0, variable.shape))
    return network


def full_size_generator(model: ModuleType, name: str) -> keras.Model:
    """The network of a published configuration that takes noise, `perturbed`."""
    networks = model.build(*model.CONFIGS[name]).values()
    return perturbed(next(net for net in networks if any(tensor.name == "latent" for tensor in net.inputs)))


def tiny_generator(low: float, high: float, config: CaloShowerGanConfig = CONFIG) -> VoxelGenerator:
    """A generator of photons in the tiny voxels for these momenta, MeV; its biases are not 0."""
    config = replace(config, lowest_momentum=low, highest_momentum=high)
    model = caloshowergan.build_generator(config, TINY_VOXELS)
    model.layers[-2].bias.assign(np.linspace(-1, 1, model.layers[-2].units))
    return VoxelGenerator(
        model=model,
        transform=caloshowergan.build_transform(config, TINY_VOXELS),
        latent=caloshowergan.build_latent(config),
        geometry=TINY_VOXELS,
        particle="photon",
        momentum_range=config.momentum_range,
    )
