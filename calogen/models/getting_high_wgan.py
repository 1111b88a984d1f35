"""WGAN: photon showers, 10 to 100 GeV, in 30 x 30 x 30 cells of an ILD-like calorimeter.

A constrainer, trained on Geant4's showers alone, holds the generator to the photon's energy. Variants have a
discrepancy of cell energies in the generator's loss (WGAN MMD), or a post processor behind it (WGAN PP).

Reference: arXiv:2005.05334, section 3.2 and appendix A.2; architecture in Fig. 3 (bottom), the variants in section 4.2.

Differences from the paper: what is not stated (weights of the penalty, of the constrainer and of the discrepancy, steps
of the critic, batch size, initial weights, training of the post processor) is `assumed` below, most of it from the
public code. The constrainer ends in a leaky ReLU, as the critic, since a ReLU may never give anything but 0. The
generator's last convolution has a kernel of 3 cells, as in the code: with 4 its volume would not be 30 cells wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from calogen.backend import keras
from calogen.config import Paper, assumed, paper, require, require_above_zero, require_zero_or_more
from calogen.features.conditions import LinearEnergy
from calogen.features.moments import Moments
from calogen.features.transforms import AbsoluteEnergies, Chain
from calogen.provenance import named_seed
from calogen.showers.grid import RegularGrid
from calogen.showers.grids import AHCAL_GRID, ILD_GRID
from calogen.training.constrained_wgan import ConstrainedWganGp, Constrainer
from calogen.training.discrepancies import Discrepancy, SortedKernel
from calogen.training.latent import Latent
from calogen.training.layers import Initializers
from calogen.training.post_processing import PostProcessing, build_post_processor
from calogen.training.rates import piecewise, require_rates
from calogen.training.trainer import Curriculum, Draws
from calogen.training.volumes import Convolutions, crop, dense_layers, double, leaky, normalise, start_shape, to_volume
from calogen.training.wgan_gp import Critic, Generator, WganGp
from calogen.units import GeV

GENERATES, CRITICS = ("generator", "post_processor"), ("critic",)
PAPER = Paper(
    title="Getting High: High Fidelity Simulation of High Granularity Calorimeters with High Speed",
    authors="E. Buhmann, S. Diefenbacher, E. Eren, F. Gaede, G. Kasieczka, A. Korol, K. Krüger",
    journal="Comput. Softw. Big Sci. 5 (2021) 13",
    arxiv="2005.05334",
    url="https://doi.org/10.1007/s41781-021-00056-0",
)
_CODE, _PION_CODE, _FIXED = "not stated; the public code's", "public code of arXiv:2112.09709", "no schedule"


@dataclass(frozen=True, kw_only=True)
class GettingHighWganConfig:
    """Everything that defines the networks and their training, with its sources."""

    latent_dim: int = paper(100, "A.2")
    latent_distribution: str = paper("normal", "A.2", code={"uniform": "-1 to 1"})
    first_filters: int = paper(128, "A.2: of the latent point and of the energy")
    generator_filters: tuple[int, ...] = paper((128, 64, 32), "A.2: 256 and these, 3.7M weights")
    critic_depths: tuple[int, ...] = paper((10, 6, 4, 4), "A.2: kernels (X, 2, 2)")
    critic_filters: tuple[int, ...] = paper((32, 64, 128, 1), "A.2")
    critic_units: tuple[int, ...] = paper((100, 200, 100, 75), "A.2")
    constrainer_filters: tuple[int, ...] = paper((16, 32, 16), "A.2")
    constrainer_units: tuple[int, ...] = paper((100,), "A.2")
    constrainer_slope: float = assumed(0.2, "not stated at its end; as the critic", {0.0: "the public code's ReLU"})
    slope: float = paper(0.2, "A.2")
    initial_spread: float = assumed(0.02, _CODE)
    gradient_penalty_weight: float = assumed(5.0, _CODE, {25.0: _PION_CODE})
    constrainer_weight: float = assumed(0.01, _CODE, {1.0: _PION_CODE})
    constrainer_iterations: int = paper(30_000, "A.2")
    constrainer_rate: float = paper(1e-5, "A.2")
    learning_rates: tuple[float, ...] = paper((1e-4, 1e-5, 1e-6), "A.2", code={(1e-4,): _FIXED})
    rate_starts: tuple[int, ...] = paper((50_000, 100_000), "A.2", code={(): _FIXED})
    critic_rates: tuple[float, ...] = paper((1e-5, 1e-6), "A.2", code={(1e-5,): _FIXED})
    critic_rate_starts: tuple[int, ...] = paper((50_000,), "A.2", code={(): _FIXED})
    beta_1: float = assumed(0.5, _CODE)
    beta_2: float = assumed(0.9, _CODE)
    critic_steps: int = assumed(5, _CODE, {10: _PION_CODE})
    batch_size: int = assumed(150, "131,000 updates are 20 epochs: 50 on each of three GPUs", {100: _PION_CODE})
    iterations: int = paper(131_000, "A.2", code={75_000: "main program"})
    discrepancy_weight: float = assumed(0.0, "none", {5.0: "section 4.2: WGAN MMD, as the post processor's"})
    kernel: tuple[int, ...] = paper((100, 25, 2000, 200), "3.4: n, m, N, alpha", code={(100, 50, 2000, 200): "PP"})
    post_processing: bool = paper(False, "section 4.2", {True: "WGAN PP"})
    post_filters: int = paper(128, "A.3")
    post_slope: float = assumed(0.01, _CODE)
    post_weight: float = assumed(5.0, _CODE)
    post_rate: float = assumed(5e-4, "not stated; as behind the BIB-AE", {1e-7: "the public code's"})
    post_batch_size: int = assumed(8, "not stated; as behind the BIB-AE")
    post_iterations: int = assumed(12_000, "not stated; a day of the paper's is more than a machine may have")
    seed: int = assumed(0, "ours")

    def __post_init__(self) -> None:
        build_latent(self)
        require_above_zero(self, "first_filters", "critic_steps", "batch_size", "iterations", "initial_spread")
        require_above_zero(self, "constrainer_rate", "post_rate", "post_batch_size", "post_iterations")
        require_zero_or_more(self, "gradient_penalty_weight", "constrainer_weight", "discrepancy_weight")
        require_zero_or_more(self, "constrainer_iterations", "post_weight", "slope", "constrainer_slope", "post_slope")
        betas = self.beta_1, self.beta_2
        require(all(0 <= beta < 1 for beta in betas), f"beta_1, beta_2 must be 0 or more, below 1. Received: {betas}")
        require(self.post_filters >= 2, f"post_filters must be 2 or more. Received: {self.post_filters}")
        layers = (self.generator_filters, self.critic_filters, self.critic_units, self.constrainer_filters)
        widths = [width for part in (*layers, self.constrainer_units) for width in part]
        require(all(layers) and min(widths) >= 1, f"layers need a filter or unit at least. Received: {layers}")
        depths = self.critic_depths
        require(len(depths) == len(self.critic_filters), f"critic_depths: one for each filters. Received: {depths}")
        require_rates(self.learning_rates, self.rate_starts)
        require_rates(self.critic_rates, self.critic_rate_starts)
        SortedKernel.of(self.kernel)


def build_transform(config: GettingHighWganConfig, geometry: RegularGrid) -> Chain:
    """Gives the transform: energies in MeV as they are; the condition is the energy in GeV."""
    return Chain((AbsoluteEnergies(1.0),), (LinearEnergy(GeV),))


def build_latent(config: GettingHighWganConfig) -> Latent:
    """Gives the prior of the latent space."""
    return Latent(dim=config.latent_dim, distribution=config.latent_distribution)


def build_generator(config: GettingHighWganConfig, geometry: RegularGrid) -> keras.Model:
    """Gives the generator, which doubles a volume of 4 x 4 x 4 three times.

    Input shape:
        `latent` `[b, z]`, `condition` `[b, 1]`, GeV.

    Output shape:
        `[b, v]`, MeV.
    """
    convolutions = Convolutions(_initializers(config, "generator"))
    latent, condition = keras.Input((config.latent_dim,), name="latent"), keras.Input((1,), name="condition")
    padded = tuple(size + 2 for size in geometry.shape)
    start = start_shape(padded, 2 ** len(config.generator_filters))
    parts = [convolutions.from_point(point, config.first_filters, start) for point in (condition, latent)]
    hidden = keras.layers.Concatenate()(parts)
    hidden = double(convolutions, hidden, config.generator_filters, normalise)
    hidden = keras.layers.ReLU()(convolutions(crop(hidden, padded), 1, kernel=3))
    return keras.Model({"latent": latent, "condition": condition}, keras.layers.Flatten()(hidden), name="generator")


def build_critic(config: GettingHighWganConfig, geometry: RegularGrid) -> keras.Model:
    """Gives the critic, all of whose activations, the last one too, are leaky.

    Input shape:
        `shower` `[b, v]`, MeV, `condition` `[b, 1]`, GeV.

    Output shape:
        `[b, 1]`.
    """
    convolutions = Convolutions(_initializers(config, "critic"))
    shower, condition = keras.Input((geometry.size,), name="shower"), keras.Input((1,), name="condition")
    hidden, last = to_volume(shower, geometry.shape), len(config.critic_filters) - 1
    for number, (depth, filters) in enumerate(zip(config.critic_depths, config.critic_filters, strict=True)):
        strides, padding = (1, 1, 1) if number == last else (1, 2, 2), (0, 0, 0) if number else (0, 1, 1)
        hidden = convolutions(hidden, filters, (depth, 2, 2), strides, padding)
        hidden = hidden if number == last else leaky(normalise(hidden), config.slope)
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(hidden), condition])
    hidden = dense_layers(hidden, (*config.critic_units, 1), config.slope, convolutions.initializers)
    return keras.Model({"shower": shower, "condition": condition}, hidden, name="critic")


def build_constrainer(config: GettingHighWganConfig, geometry: RegularGrid) -> keras.Model:
    """Gives the constrainer.

    Input shape:
        `shower` `[b, v]`, MeV.

    Output shape:
        `[b, 1]`, incident energy, GeV.
    """
    convolutions = Convolutions(_initializers(config, "constrainer"))
    shower = keras.Input((geometry.size,), name="shower")
    hidden, (*filters, last) = to_volume(shower, geometry.shape), config.constrainer_filters
    hidden = convolutions.normalised(hidden, filters, 3, config.slope, strides=2)
    hidden = keras.layers.Flatten()(convolutions(hidden, last, 2))
    hidden = dense_layers(hidden, config.constrainer_units, config.slope, convolutions.initializers)
    energy = dense_layers(hidden, (1,), config.constrainer_slope, convolutions.initializers)
    return keras.Model({"shower": shower}, energy, name="constrainer")


def build(config: GettingHighWganConfig, geometry: RegularGrid) -> dict[str, keras.Model]:
    """Gives the networks; those of `generates` generate."""
    networks = [part(config, geometry) for part in (build_generator, build_critic, build_constrainer)]
    if config.post_processing:
        settings = config.post_filters, config.post_slope, _initializers(config, "post_processor")
        networks.append(build_post_processor(geometry.shape, 1, *settings))
    return {network.name: network for network in networks}


def generates(config: GettingHighWganConfig) -> tuple[str, ...]:
    """Gives the names of the networks that generate: the post processor where there is one."""
    return GENERATES if config.post_processing else GENERATES[:1]


def build_trainer(
    config: GettingHighWganConfig, geometry: RegularGrid, networks: dict[str, keras.Model], moments: Moments
) -> Sequence[WganGp | PostProcessing]:
    """Gives the trainers: of the WGAN, and of the post processor where there is one."""
    adam = partial(keras.optimizers.Adam, beta_1=config.beta_1, beta_2=config.beta_2)
    of_critic = adam(piecewise(config.critic_rates, config.critic_rate_starts, config.critic_steps))
    optimizer = adam(piecewise(config.learning_rates, config.rate_starts))
    generator = Generator(network=networks["generator"], optimizer=optimizer, latent=build_latent(config))
    weight, kernel = config.gradient_penalty_weight, SortedKernel.of(config.kernel)
    critic = Critic(network=networks["critic"], optimizer=of_critic, gradient_penalty_weight=weight)
    constrainer = Constrainer(
        network=networks["constrainer"],
        optimizer=keras.optimizers.SGD(config.constrainer_rate),
        loss_weight=config.constrainer_weight,
        iterations=config.constrainer_iterations,
    )
    seed, steps = named_seed(config.seed, "noise"), config.critic_steps
    term = Discrepancy(kernel, config.discrepancy_weight)
    wgan = ConstrainedWganGp(generator, [critic], constrainer, term, critic_steps=steps, seed=seed)
    if not config.post_processing:
        return (wgan,)
    network, term = networks["post_processor"], Discrepancy(kernel, config.post_weight)
    return wgan, PostProcessing(network, adam(config.post_rate), wgan.generate_like, term, seed=seed)


def build_schedule(config: GettingHighWganConfig, incident_energies: np.ndarray) -> Sequence[Draws]:
    """Gives the iterations of each trainer, over all training showers."""
    curriculum = Curriculum(order=np.arange(len(incident_energies)))
    stages = [("noise", config.iterations, config.batch_size)]
    if config.post_processing:
        stages.append(("post", config.post_iterations, config.post_batch_size))
    return [
        Draws(iterations=iterations, batch_size=size, seed=named_seed(config.seed, name), curriculum=curriculum)
        for name, iterations, size in stages
    ]


_PAPER = GettingHighWganConfig()
_CONSTANT: dict[str, Any] = {"rate_starts": (), "critic_rate_starts": ()}
_NARROW: dict[str, Any] = {"first_filters": 32, "generator_filters": (32, 16, 8), "critic_filters": (8, 16, 32, 1)}
_RATES: dict[str, Any] = {"learning_rates": (1e-3,), "critic_rates": (1e-3,), "constrainer_rate": 1e-3}
_BUDGET: dict[str, Any] = {"batch_size": 16, "iterations": 7_900, "constrainer_iterations": 2_000}
_POST: dict[str, Any] = {"post_filters": 16, "post_iterations": 1_500}
_PIONS: dict[str, Any] = {"gradient_penalty_weight": 25.0, "constrainer_weight": 1.0, "critic_steps": 10}
_PION_RATES: dict[str, Any] = {"learning_rates": (1e-5,), "critic_rates": (1e-5,), "batch_size": 100}
CONFIGS: dict[str, tuple[GettingHighWganConfig, RegularGrid]] = {
    "paper": (_PAPER, ILD_GRID),
    "mmd": (replace(_PAPER, discrepancy_weight=5.0), ILD_GRID),
    "post-processor": (replace(_PAPER, post_processing=True), ILD_GRID),
    "laptop": (replace(_PAPER, **_CONSTANT, **_NARROW, **_RATES, **_BUDGET, **_POST), ILD_GRID),
    "pions": (replace(_PAPER, **_CONSTANT, **_PIONS, **_PION_RATES), AHCAL_GRID),
}
"""The paper's WGAN and its two variants, a narrow one for two hours on one core, and that of pions' showers."""


def _initializers(config: GettingHighWganConfig, network: str) -> Initializers:
    return Initializers(config.seed, network, "random_normal", stddev=config.initial_spread)
