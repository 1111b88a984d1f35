"""GAN: photon showers, 10 to 100 GeV, in 30 x 30 x 30 cells of an ILD-like calorimeter.

Reference: arXiv:2005.05334, section 3.1 and appendix A.1; architecture in Fig. 3 (top).

Differences from the paper: the widths of the discriminator are those of its public code, as the 257 and 128 nodes of
the text would give 3.0M weights instead of 2.0M; the first transposed convolution has no activation, as in the code,
and the scales of batch normalisation start at 1. What is not stated (batch size, decay of the moments, initial weights)
is `assumed` below.
"""

from dataclasses import dataclass, replace

import numpy as np

from calogen.backend import keras
from calogen.config import Paper, assumed, paper, require, require_above_zero, require_one_of, require_zero_or_more
from calogen.features.conditions import LinearEnergy
from calogen.features.moments import Moments
from calogen.features.transforms import AbsoluteEnergies, Chain
from calogen.provenance import named_seed
from calogen.showers.grid import RegularGrid
from calogen.showers.grids import ILD_GRID
from calogen.training.gan import Gan
from calogen.training.latent import Latent
from calogen.training.layers import Initializers
from calogen.training.trainer import Curriculum, Draws
from calogen.training.volumes import (
    Convolutions,
    batch_normalise,
    crop,
    dense_layers,
    double,
    leaky,
    start_shape,
    to_volume,
)
from calogen.training.wgan_gp import Generator
from calogen.units import GeV

GENERATES = ("generator",)
PAPER = Paper(
    title="Getting High: High Fidelity Simulation of High Granularity Calorimeters with High Speed",
    authors="E. Buhmann, S. Diefenbacher, E. Eren, F. Gaede, G. Kasieczka, A. Korol, K. Krüger",
    journal="Comput. Softw. Big Sci. 5 (2021) 13",
    arxiv="2005.05334",
    url="https://doi.org/10.1007/s41781-021-00056-0",
)
_CODE = "not stated; the public code's"


@dataclass(frozen=True, kw_only=True)
class GettingHighGanConfig:
    """Everything that defines the networks and their training, with its sources."""

    latent_dim: int = paper(100, "A.1")
    latent_distribution: str = paper("uniform", "A.1: from -1 to 1")
    generator_filters: tuple[int, ...] = paper(
        (128, 64, 32, 16), "A.1: 1.5M weights", code={(256, 128, 64, 32): "4.4M weights"}
    )
    discriminator_filters: tuple[int, ...] = assumed((32, 64, 128, 256, 128), f"{_CODE}, 2.0M weights as in A.1")
    discriminator_units: tuple[int, ...] = assumed((64,), "the public code's, 2.0M weights as in A.1")
    slope: float = paper(0.2, "A.1")
    initial_spread: float = assumed(0.02, _CODE)
    learning_rate: float = paper(2e-5, "A.1", code={1e-5: "main program"})
    beta_1: float = assumed(0.5, _CODE)
    new_fakes: bool = paper(True, "A.1", code={False: "the discriminator's showers train the generator, too"})
    batch_size: int = assumed(46, "125,000 updates are 6 epochs of 950,000 showers", {32: "the public code's"})
    iterations: int = paper(125_000, "A.1")
    seed: int = assumed(0, "ours")

    def __post_init__(self) -> None:
        require_one_of(self, latent_distribution=("uniform", "normal"))
        numbers = ("latent_dim", "initial_spread", "learning_rate", "batch_size", "iterations")
        require_above_zero(self, *numbers)
        require_zero_or_more(self, "slope")
        require(0 <= self.beta_1 < 1, f"beta_1 must be 0 or more, below 1. Received: {self.beta_1}")
        widths = (*self.generator_filters, *self.discriminator_filters, *self.discriminator_units)
        require(min(widths) >= 1, f"layers need at least one filter or unit. Received: {widths}")
        require(len(self.generator_filters) >= 2, f"generator_filters: 2 or more. Received: {self.generator_filters}")
        require(
            len(self.discriminator_filters) >= 2,
            f"discriminator_filters must be 2 or more. Received: {self.discriminator_filters}",
        )


def build_transform(config: GettingHighGanConfig, geometry: RegularGrid) -> Chain:
    """Gives the transform: energies in MeV as they are; the condition is the energy in GeV."""
    return Chain((AbsoluteEnergies(1.0),), (LinearEnergy(GeV),))


def build_latent(config: GettingHighGanConfig) -> Latent:
    """Gives the prior of the latent space."""
    return Latent(dim=config.latent_dim, distribution=config.latent_distribution)


def build_generator(config: GettingHighGanConfig, geometry: RegularGrid) -> keras.Model:
    """Gives the generator, which doubles a volume of 4 x 4 x 4 three times.

    Input shape:
        `latent` `[b, z]`, `condition` `[b, 1]`, GeV.

    Output shape:
        `[b, v]`, MeV.
    """
    convolutions = Convolutions(_initializers(config, "generator"))
    latent = keras.Input((config.latent_dim,), name="latent")
    condition = keras.Input((1,), name="condition")
    padded = tuple(size + 2 for size in geometry.shape)
    first, *filters = config.generator_filters
    start = start_shape(padded, 2 ** len(filters))
    hidden = convolutions.from_point(keras.layers.Multiply()([latent, condition]), first, start)
    hidden = double(convolutions, hidden, filters, batch_normalise)
    hidden = keras.layers.ReLU()(convolutions(crop(hidden, padded), 1, kernel=3))
    shower = keras.layers.Flatten()(hidden)
    return keras.Model({"latent": latent, "condition": condition}, shower, name="generator")


def build_discriminator(config: GettingHighGanConfig, geometry: RegularGrid) -> keras.Model:
    """Gives the discriminator.

    Input shape:
        `shower` `[b, v]`, MeV, `condition` `[b, 1]`, GeV.

    Output shape:
        `[b, 1]`, the probability that Geant4 made the shower.
    """
    initializers = _initializers(config, "discriminator")
    convolutions = Convolutions(initializers)
    shower = keras.Input((geometry.size,), name="shower")
    condition = keras.Input((1,), name="condition")
    first, *filters, last = config.discriminator_filters
    hidden = leaky(convolutions(to_volume(shower, geometry.shape), first, 3, strides=2, padding=3), config.slope)
    for width in filters:
        hidden = leaky(batch_normalise(convolutions(hidden, width, 3, strides=2, padding=1)), config.slope)
    hidden = convolutions(hidden, last, 3, strides=2)
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(hidden), condition])
    hidden = dense_layers(hidden, config.discriminator_units, config.slope, initializers)
    hidden = keras.layers.Dense(1, kernel_initializer=initializers())(hidden)
    probability = keras.layers.Activation("sigmoid")(hidden)
    return keras.Model({"shower": shower, "condition": condition}, probability, name="discriminator")


def build(config: GettingHighGanConfig, geometry: RegularGrid) -> dict[str, keras.Model]:
    """Gives the networks; the generator generates."""
    return {"generator": build_generator(config, geometry), "discriminator": build_discriminator(config, geometry)}


def build_trainer(
    config: GettingHighGanConfig, geometry: RegularGrid, networks: dict[str, keras.Model], moments: Moments
) -> Gan:
    """Gives the trainer of the networks."""
    settings = {"learning_rate": config.learning_rate, "beta_1": config.beta_1}
    optimizer, of_discriminator = (keras.optimizers.Adam(**settings) for _ in networks)
    generator = Generator(network=networks["generator"], optimizer=optimizer, latent=build_latent(config))
    seed = named_seed(config.seed, "noise")
    return Gan(generator, networks["discriminator"], of_discriminator, seed=seed, new_fakes=config.new_fakes)


def build_schedule(config: GettingHighGanConfig, incident_energies: np.ndarray) -> Draws:
    """Gives the iterations, over all training showers."""
    curriculum = Curriculum(order=np.arange(len(incident_energies)))
    seed = named_seed(config.seed, "noise")
    return Draws(iterations=config.iterations, batch_size=config.batch_size, seed=seed, curriculum=curriculum)


_PAPER = GettingHighGanConfig()
CONFIGS: dict[str, tuple[GettingHighGanConfig, RegularGrid]] = {
    name: (config, ILD_GRID)
    for name, config in {
        "paper": _PAPER,
        "code": replace(
            _PAPER, generator_filters=(256, 128, 64, 32), learning_rate=1e-5, new_fakes=False, batch_size=32
        ),
        "laptop": replace(
            _PAPER,
            generator_filters=(64, 32, 16, 8),
            discriminator_filters=(8, 16, 32, 64, 32),
            discriminator_units=(16,),
            learning_rate=2e-4,
            batch_size=32,
            iterations=12_600,
        ),
    }.items()
}
"""The paper's GAN, that of its public code, and a narrow one for two hours on one core."""


def _initializers(config: GettingHighGanConfig, network: str) -> Initializers:
    return Initializers(config.seed, network, "random_normal", stddev=config.initial_spread)
