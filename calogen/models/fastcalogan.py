"""FastCaloGAN: the GANs of ATLAS's AtlFast3, showers in voxels, 256 MeV to 4 TeV.

One GAN per particle and slice in eta.

Reference: ATL-SOFT-PUB-2020-006, and arXiv:2109.02551, section on FastCaloGAN (version 1); version 2 split the photon's
momenta at 4 GeV and is what took part in the CaloChallenge as BoloGAN. Numbers marked "code" are those of the public
training code (doi:10.5281/zenodo.5589623), which the papers' text leaves open.

Differences from the paper: one slice in eta, trained from random weights, not from another slice's; where the output
starts is `assumed` below.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calogen.backend import keras
from calogen.config import Paper, assumed, option, paper, require, require_above_zero, require_one_of
from calogen.features.conditions import Constant, Encoding, LinearEnergy, LogEnergy
from calogen.features.moments import Moments
from calogen.features.transforms import Chain, KineticFractions
from calogen.provenance import named_seed
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry
from calogen.training.latent import Latent
from calogen.training.layers import Initializers, start_output
from calogen.training.rates import adams, require_wgan_rates
from calogen.training.trainer import Curriculum, Draws
from calogen.training.wgan_gp import Critic, Generator, WganGp
from calogen.units import MASSES

GENERATES, CRITICS = ("generator",), ("critic",)
PAPER = Paper(
    title="Fast simulation of the ATLAS calorimeter system with Generative Adversarial Networks",
    authors="ATLAS Collaboration",
    journal="ATL-SOFT-PUB-2020-006",
    url="https://cds.cern.ch/record/2746032",
)


@dataclass(frozen=True, kw_only=True)
class FastCaloGanConfig:
    """One generator and its critic; the defaults are those of version 1 for photons."""

    particle: str = paper("photon", "one GAN for each particle", {"pion": "one GAN for each particle"})
    lowest_momentum: float = paper(2.0**8, "samples; MeV", {2.0**12: "version 2; MeV"})
    highest_momentum: float = paper(2.0**22, "samples; MeV", {2.0**12: "version 2; MeV"})
    condition: str = paper("maximum", "code: momentum / maximum", {"log": "version 2, with an unused second input"})
    latent_dim: int = paper(50, "generator", {100: "version 2, by its counts"})
    latent_distribution: str = paper("uniform", "code: -1 to 1", {"normal": "version 2"})
    latent_mean: float = paper(0.0, "code", {0.5: "version 2"})
    latent_spread: float = paper(1.0, "code", {0.5: "version 2"})
    generator_units: tuple[int, ...] = paper(
        (50, 100, 200), "generator", dict.fromkeys(((100, 200, 400), (200, 400, 800)), "version 2, by its counts")
    )
    generator_activation: str = paper("relu", "generator: after every layer, the output too", {"swish": "version 2"})
    batch_normalization: str = paper(
        "none", "generator", {"hidden": "version 2, low momenta", "all": "version 2, high momenta"}
    )
    critic_units: tuple[int, ...] = paper(
        (368, 368, 368),
        "critic: as many nodes as voxels",
        {(533, 533, 533): "critic: as many nodes as voxels", (800, 400, 200): "version 2, by its counts"},
    )
    critic_activation: str = paper("relu", "critic")
    output_start: str = assumed("data", "not stated; 'zero' bias, unit scale: a hundred times the voxels' size")
    initializer: str = paper(
        "he_normal", "code: normal of standard deviation 1 / sqrt(inputs / 2)", {"he_uniform": "version 2"}
    )
    learning_rate: float = paper(1e-4, "training")
    beta_1: float = paper(0.5, "training", {0.55: "version 2"})
    critic_steps: int = paper(5, "training")
    gradient_penalty_weight: float = paper(10.0, "training")
    batch_size: int = paper(128, "training")
    iterations: int = paper(1_000_000, "training")
    schedule: str = paper(
        "sequential", "code: start in the middle, add momenta", {"all": "version 2: all from the start"}
    )
    first_stage: float = paper(0.05, "code: 50,000 of 1,000,000 iterations on the middle momentum alone")
    next_stage: float = paper(0.02, "code: another momentum every 20,000 of 1,000,000 iterations")
    last_rate: float = option(1.0, "a constant rate", {0.1: "ours: falls along a cosine to this share"})
    average: float = option(0.0, "none", {0.99: "ours: momentum of a running average of the generator's weights"})
    seed: int = assumed(0, "ours")

    def __post_init__(self) -> None:
        require_one_of(
            self,
            particle=("photon", "pion"),
            condition=("maximum", "log"),
            batch_normalization=("none", "hidden", "all"),
            schedule=("sequential", "all"),
            output_start=("data", "zero"),
        )
        numbers = ("learning_rate", "critic_steps", "batch_size", "iterations", "lowest_momentum", "first_stage")
        require_above_zero(self, *numbers)
        require_wgan_rates(self)
        units = (*self.generator_units, *self.critic_units)
        require(min(units, default=0) >= 1, f"hidden layers need at least one unit. Received: {units}")
        low, high = self.momentum_range
        require(low < high, f"lowest_momentum must be below highest_momentum. Received: {low:g} and {high:g} MeV")

    @property
    def momentum_range(self) -> tuple[float, float]:
        """Lowest and highest momentum, MeV, both included."""
        return self.lowest_momentum, self.highest_momentum


def build_transform(config: FastCaloGanConfig, geometry: VoxelGeometry) -> Chain:
    """Gives the transform: voxels / kinetic energy, and the condition of the version."""
    mass = MASSES[config.particle]
    encodings: tuple[Encoding, ...] = (LinearEnergy(config.highest_momentum),)
    if config.condition == "log":
        encodings = (LogEnergy(*config.momentum_range, mass), Constant())
    return Chain((KineticFractions(mass),), encodings)


def build_latent(config: FastCaloGanConfig) -> Latent:
    """Gives the prior of the latent space of the version."""
    return Latent(
        dim=config.latent_dim,
        distribution=config.latent_distribution,
        mean=config.latent_mean,
        spread=config.latent_spread,
    )


def build_generator(config: FastCaloGanConfig, geometry: VoxelGeometry) -> keras.Model:
    """Gives the generator.

    Input shape:
        `latent` `[b, z]`, `condition` `[b, c]`.

    Output shape:
        `[b, v]`, voxels divided by the kinetic energy.
    """
    initializers = Initializers(config.seed, "generator", config.initializer)
    latent = keras.Input((config.latent_dim,), name="latent")
    condition = keras.Input((_condition_dim(config),), name="condition")
    hidden = keras.layers.Concatenate()([latent, condition])
    widths = (*config.generator_units, geometry.size)
    for position, units in enumerate(widths):
        hidden = keras.layers.Dense(units, kernel_initializer=initializers())(hidden)
        last = position == len(widths) - 1
        if config.batch_normalization == "all" or (config.batch_normalization == "hidden" and not last):
            hidden = keras.layers.BatchNormalization()(hidden)
        hidden = keras.layers.Activation(config.generator_activation)(hidden)
    return keras.Model({"latent": latent, "condition": condition}, hidden, name="generator")


def build_critic(config: FastCaloGanConfig, geometry: VoxelGeometry) -> keras.Model:
    """Gives the critic.

    Input shape:
        `shower` `[b, v]`, `condition` `[b, c]`.

    Output shape:
        `[b, 1]`.
    """
    initializers = Initializers(config.seed, "critic", config.initializer)
    shower = keras.Input((geometry.size,), name="shower")
    condition = keras.Input((_condition_dim(config),), name="condition")
    hidden = keras.layers.Concatenate()([shower, condition])
    for units in config.critic_units:
        hidden = keras.layers.Dense(units, config.critic_activation, kernel_initializer=initializers())(hidden)
    score = keras.layers.Dense(1, kernel_initializer=initializers())(hidden)
    return keras.Model({"shower": shower, "condition": condition}, score, name="critic")


def build(config: FastCaloGanConfig, geometry: VoxelGeometry) -> dict[str, keras.Model]:
    """Gives the networks; the generator generates."""
    return {"generator": build_generator(config, geometry), "critic": build_critic(config, geometry)}


def build_trainer(
    config: FastCaloGanConfig, geometry: VoxelGeometry, networks: dict[str, keras.Model], moments: Moments
) -> WganGp:
    """Gives the model that trains the networks; the generator starts near the features."""
    if config.output_start == "data":
        factor = 2 if config.generator_activation == "swish" else 1  # near 0 a swish is half its argument
        start_output(networks["generator"], factor * moments.mean, factor * moments.spread)
    optimizer, of_critic = adams(config, config.beta_1)
    weight = config.gradient_penalty_weight
    critic = Critic(network=networks["critic"], optimizer=of_critic, gradient_penalty_weight=weight)
    generator = Generator(network=networks["generator"], optimizer=optimizer, latent=build_latent(config))
    return WganGp(generator, [critic], critic_steps=config.critic_steps, seed=named_seed(config.seed, "noise"))


def build_schedule(config: FastCaloGanConfig, incident_energies: np.ndarray) -> Draws:
    """Gives the schedule: iterations, with the order in which momenta are added."""
    seed, curriculum = named_seed(config.seed, "noise"), build_curriculum(config, incident_energies)
    return Draws(iterations=config.iterations, batch_size=config.batch_size, seed=seed, curriculum=curriculum)


def build_curriculum(config: FastCaloGanConfig, incident_energies: np.ndarray) -> Curriculum:
    """Gives the order of momenta: the middle one, then one above and one below in turn."""
    if config.schedule == "all":
        return Curriculum(order=np.arange(len(incident_energies)))
    momenta = np.unique(incident_energies)
    middle = len(momenta) // 2
    ranks = np.array(
        [2 * (place - middle) - 1 if place > middle else 2 * (middle - place) for place in range(len(momenta))]
    )
    rank = ranks[np.searchsorted(momenta, incident_energies)]
    counts = np.searchsorted(np.sort(rank), np.sort(ranks), side="right").tolist()
    starts = [0] + [
        round(config.iterations * (config.first_stage + config.next_stage * stage)) for stage in range(len(momenta) - 1)
    ]
    return Curriculum(order=np.argsort(rank, kind="stable"), starts=tuple(starts), counts=tuple(counts))


_PHOTON = FastCaloGanConfig()
_PION = replace(_PHOTON, particle="pion", critic_units=(533, 533, 533))
_V2: dict[str, Any] = {
    "condition": "log",
    "latent_dim": 100,
    "latent_distribution": "normal",
    "latent_mean": 0.5,
    "latent_spread": 0.5,
    "initializer": "he_uniform",
    "beta_1": 0.55,
    "schedule": "all",
}
CONFIGS: dict[str, tuple[FastCaloGanConfig, VoxelGeometry]] = {
    "photon": (_PHOTON, PHOTONS_DATASET1),
    "pion": (_PION, PIONS_DATASET1),
    "photon-low-v2": (
        replace(
            _PHOTON, **_V2, highest_momentum=2.0**12, generator_units=(100, 200, 400), batch_normalization="hidden"
        ),
        PHOTONS_DATASET1,
    ),
    "photon-high-v2": (
        replace(_PHOTON, **_V2, lowest_momentum=2.0**12, generator_activation="swish", batch_normalization="all"),
        PHOTONS_DATASET1,
    ),
    "pion-v2": (
        replace(_PION, **_V2, generator_units=(200, 400, 800), critic_units=(800, 400, 200)),
        PIONS_DATASET1,
    ),
}
"""Version 1 and version 2; the challenge's BoloGAN is version 2 with the generators' widths that its counts prove."""


def _condition_dim(config: FastCaloGanConfig) -> int:
    return 2 if config.condition == "log" else 1
