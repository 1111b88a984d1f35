"""GAN: photon showers, 1 to 262 GeV, in 266 cells of ATLAS's electromagnetic barrel.

A second critic sees the total energy alone.

Reference: arXiv:2210.06204, "Generative Adversarial Networks" and "Energy Critic"; architecture in Fig. 4.

Differences from the paper: what is not stated (widths and depths, weights of the main penalty and of the regulariser,
steps of the critics, batch size, learning rates, start of the output bias) is `assumed` below, most of it from the note
ATL-SOFT-PUB-2018-001; iterations are chosen by numbers instead of by eye.
"""

from dataclasses import dataclass, replace

import numpy as np

from calogen.backend import keras, tf
from calogen.config import Paper, assumed, paper, require, require_above_zero
from calogen.features.conditions import CellAlignment, CellPosition, Encoding, StandardLogEnergy
from calogen.features.moments import Moments
from calogen.features.transforms import Chain, KineticFractions
from calogen.provenance import named_seed
from calogen.showers.cells import CellGrid
from calogen.showers.windows import ATLAS_GAN_WINDOW
from calogen.training.latent import Latent
from calogen.training.layers import Initializers, Swish
from calogen.training.trainer import Curriculum, Draws
from calogen.training.wgan_gp import Critic, Generator, WganGp

GENERATES, CRITICS = ("generator",), ("critic", "energy_critic")
PAPER = Paper(
    title="Deep generative models for fast photon shower simulation in ATLAS",
    authors="ATLAS Collaboration",
    journal="Comput. Softw. Big Sci. 8 (2024) 7",
    arxiv="2210.06204",
    url="https://doi.org/10.1007/s41781-023-00106-9",
)
_SCANNED = "not stated; the note's Table 2, as good as its neighbours in experiments/scans/atlas_gan.md"


@dataclass(frozen=True, kw_only=True)
class AtlasGanConfig:
    """Everything that defines the networks and their training, with its sources."""

    latent_dim: int = paper(300, "Fig. 4")
    impact_position: bool = paper(True, "Modelling of Particle Impact Position", {False: "models without it: worse"})
    generator_units: tuple[int, ...] = assumed((128, 128, 128), _SCANNED)
    critic_units: tuple[int, ...] = assumed((128, 128, 128), _SCANNED)
    critic_slope: float = assumed(0.3, "not stated; the default of Keras 2.0.8")
    energy_critic: bool = paper(True, "Energy Critic", {False: "Energy Critic: a single critic"})
    energy_critic_units: tuple[int, ...] = assumed((128, 128, 128), "not stated; as the critic")
    initializer: str = assumed("glorot_uniform", "not stated; the note's Table 2")
    output_start: str = assumed("data", "not stated; 'zero' bias lets every cell have half of the photon's energy")
    gradient_penalty_weight: float = assumed(
        10.0,
        _SCANNED,
        dict.fromkeys((1e-8, 1e-13), "Energy Critic: what a single critic was tried with"),
    )
    energy_penalty_weight: float = paper(1e-8, "Energy Critic")
    energy_loss_weight: float = paper(1e-6, "Energy Critic: loss ratio 1 : 1e-6")
    activity_weight: float = assumed(1e-5, f"{_SCANNED}; summed over the batch as in Keras 2.0.8")
    learning_rate: float = assumed(1e-4, "not stated; of four the best in experiments/scans/atlas_gan.md")
    critic_steps: int = assumed(5, _SCANNED)
    batch_size: int = assumed(64, f"{_SCANNED}: 128 and 256 are 2 to 4 % better")
    iterations: int = paper(
        3_500_000, "25,000 epochs of half of nearly 90,000 showers, in batches of 64, five of them for an iteration"
    )
    validation_fraction: float = paper(0.5, "about half of the showers train")
    seed: int = assumed(0, "ours")

    def __post_init__(self) -> None:
        require_above_zero(self, "latent_dim", "learning_rate", "critic_steps", "batch_size", "iterations")
        for name in ("gradient_penalty_weight", "energy_penalty_weight", "energy_loss_weight", "activity_weight"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more. Received: {getattr(self, name)}")
        units = (*self.generator_units, *self.critic_units, *self.energy_critic_units)
        require(min(units, default=0) >= 1, f"hidden layers need at least one unit. Received: {units}")
        require(self.output_start in ("data", "zero"), f"output_start: data or zero. Received: {self.output_start}")
        fraction = self.validation_fraction
        require(0 < fraction < 1, f"validation_fraction must be above 0 and below 1. Received: {fraction}")


def build_transform(config: AtlasGanConfig, geometry: CellGrid) -> Chain:
    """Gives the transform: cells over the photon's energy, and the condition.

    The condition is the logarithm of the energy, the impact position in the middle layer's cell (eta, phi), and one bit
    for each alignment of that cell: four in phi within the front layer's cell, two in eta within the back layer's.
    """
    middle, front, back = (geometry.layers[position] for position in (2, 1, 3))
    eta, phi = ("impact_eta", middle.eta_size), ("impact_phi", middle.phi_size)
    positions = (CellPosition(*eta), CellPosition(*phi)) if config.impact_position else ()
    alignments = (
        CellAlignment(*phi, round(front.phi_size / middle.phi_size)),
        CellAlignment(*eta, round(back.eta_size / middle.eta_size)),
    )
    encodings: tuple[Encoding, ...] = (StandardLogEnergy(), *positions, *alignments)
    return Chain((KineticFractions(),), encodings)


def build_latent(config: AtlasGanConfig) -> Latent:
    """Gives the latent space: standard normal."""
    return Latent(dim=config.latent_dim)


def build_generator(config: AtlasGanConfig, geometry: CellGrid) -> keras.Model:
    """Gives the generator.

    Input shape:
        `latent` `[b, z]`, `condition` `[b, c]`.

    Output shape:
        `[b, v]`, cell over photon energy, in 0..1.
    """
    initializers = Initializers(config.seed, "generator", config.initializer)
    latent = keras.Input((config.latent_dim,), name="latent")
    condition = keras.Input((build_transform(config, geometry).condition_dim,), name="condition")
    hidden = keras.layers.Concatenate()([latent, condition])
    for units in config.generator_units:
        hidden = Swish()(keras.layers.Dense(units, kernel_initializer=initializers())(hidden))
    output = keras.layers.Dense(geometry.size, "sigmoid", kernel_initializer=initializers(), name="shower")(hidden)
    return keras.Model({"latent": latent, "condition": condition}, output, name="generator")


def build_critic(config: AtlasGanConfig, geometry: CellGrid, name: str, num_features: int) -> keras.Model:
    """Gives one of the two critics.

    Input shape:
        `shower` `[b, num_features]`, `condition` `[b, c]`.

    Output shape:
        `[b, 1]`.
    """
    initializers = Initializers(config.seed, name, config.initializer)
    shower = keras.Input((num_features,), name="shower")
    condition = keras.Input((build_transform(config, geometry).condition_dim,), name="condition")
    hidden = keras.layers.Concatenate()([shower, condition])
    for units in config.critic_units if name == "critic" else config.energy_critic_units:
        hidden = keras.layers.Dense(units, kernel_initializer=initializers())(hidden)
        hidden = keras.layers.LeakyReLU(negative_slope=config.critic_slope)(hidden)
    score = keras.layers.Dense(1, kernel_initializer=initializers())(hidden)
    return keras.Model({"shower": shower, "condition": condition}, score, name=name)


def build(config: AtlasGanConfig, geometry: CellGrid) -> dict[str, keras.Model]:
    """Gives the networks; the generator generates."""
    return {
        "generator": build_generator(config, geometry),
        "critic": build_critic(config, geometry, "critic", geometry.size),
        "energy_critic": build_critic(config, geometry, "energy_critic", 1),
    }


def build_trainer(
    config: AtlasGanConfig, geometry: CellGrid, networks: dict[str, keras.Model], moments: Moments
) -> WganGp:
    """Gives the trainer of the networks; the generator starts at the cells' mean energies."""
    generator = networks["generator"]
    if config.output_start == "data":
        mean = np.clip(moments.mean, 1e-6, 1 - 1e-6)
        generator.get_layer("shower").bias.assign(np.log(mean / (1 - mean)))
    critics = [
        Critic(
            network=networks["critic"],
            optimizer=keras.optimizers.RMSprop(config.learning_rate),
            gradient_penalty_weight=config.gradient_penalty_weight,
        ),
        Critic(
            network=networks["energy_critic"],
            optimizer=keras.optimizers.RMSprop(config.learning_rate),
            gradient_penalty_weight=config.energy_penalty_weight,
            loss_weight=config.energy_loss_weight,
            view=_total,
        ),
    ]
    return WganGp(
        Generator(
            network=generator,
            optimizer=keras.optimizers.RMSprop(config.learning_rate),
            latent=build_latent(config),
            activity_weight=config.activity_weight,
        ),
        critics if config.energy_critic else critics[:1],
        critic_steps=config.critic_steps,
        seed=named_seed(config.seed, "noise"),
    )


def build_schedule(config: AtlasGanConfig, incident_energies: np.ndarray) -> Draws:
    """Gives the iterations, over all training showers."""
    curriculum = Curriculum(order=np.arange(len(incident_energies)))
    seed = named_seed(config.seed, "noise")
    return Draws(iterations=config.iterations, batch_size=config.batch_size, seed=seed, curriculum=curriculum)


_PAPER = AtlasGanConfig()
CONFIGS: dict[str, tuple[AtlasGanConfig, CellGrid]] = {
    "paper": (_PAPER, ATLAS_GAN_WINDOW),
    "one-critic": (replace(_PAPER, energy_critic=False), ATLAS_GAN_WINDOW),
    "one-critic-1e-8": (replace(_PAPER, energy_critic=False, gradient_penalty_weight=1e-8), ATLAS_GAN_WINDOW),
    "one-critic-1e-13": (replace(_PAPER, energy_critic=False, gradient_penalty_weight=1e-13), ATLAS_GAN_WINDOW),
    "without-position": (replace(_PAPER, impact_position=False), ATLAS_GAN_WINDOW),
}
"""The paper's GAN, a single critic with three weights of its penalty, and a GAN that knows no impact position."""


def _total(shower: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(shower, axis=-1, keepdims=True)
