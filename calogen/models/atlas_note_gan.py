"""GAN of 2018: photon showers, 1 to 260 GeV, in 266 cells of ATLAS's barrel.

Reference: ATL-SOFT-PUB-2018-001, section 4.2; architecture in Fig. 4, loss in equation (6), Table 2.

Differences from the paper: what is not stated (distribution of the latent space, scale of the energies in the
condition, slope of the hidden activation, how the regulariser sums over a batch, what two activations in a row are) is
`assumed` below. All training showers are used, not 5 % of them; the paper's 5 % are about 4,500.
"""

from dataclasses import dataclass, replace

import numpy as np

from calogen.backend import keras
from calogen.config import Paper, assumed, paper, require, require_above_zero, require_one_of
from calogen.features.conditions import CellAlignment, Encoding, LinearEnergy, LogEnergy
from calogen.features.moments import Moments
from calogen.features.transforms import Chain, KineticFractions, Logarithm, Step
from calogen.provenance import named_seed
from calogen.showers.cells import CellGrid
from calogen.showers.windows import ATLAS_GAN_WINDOW
from calogen.training.latent import Latent
from calogen.training.layers import Initializers
from calogen.training.trainer import Curriculum, Draws
from calogen.training.wgan_gp import Critic, Generator, WganGp

GENERATES, CRITICS = ("generator",), ("critic",)
PAPER = Paper(
    title="Deep generative models for fast shower simulation in ATLAS",
    authors="ATLAS Collaboration",
    journal="ATL-SOFT-PUB-2018-001",
    url="https://cds.cern.ch/record/2630433",
)

_OUTPUTS = {  # activations of the generator's output; two have a dense layer between them (a sigmoid is never negative)
    "sigmoid": ("sigmoid",),
    "relu": ("relu",),
    "gauss": ("gauss",),
    "sigmoid-relu": ("sigmoid", "relu"),
    "clipped-relu": ("clipped-relu",),
    "softmax": ("softmax",),
    "softmax-relu": ("softmax", "relu"),
    "linear": ("linear",),
}
_TABLE_2 = "Table 2: another value that was tried"


@dataclass(frozen=True, kw_only=True)
class AtlasNoteGanConfig:
    """Everything that defines the networks and their training, with its sources."""

    latent_dim: int = paper(300, "Fig. 4")
    latent_distribution: str = assumed("normal", "not stated; as in ATLAS's later paper")
    hidden_layers: int = paper(3, "Table 2", dict.fromkeys((1, 5, 10), _TABLE_2))
    hidden_units: int = paper(128, "Table 2", dict.fromkeys((64, 512, 1024), _TABLE_2))
    hidden_activation: str = paper("leaky_relu", "Table 2", {"selu": _TABLE_2})
    slope: float = assumed(0.3, "not stated; the default of Keras 2.0.8")
    output_activation: str = paper("sigmoid", "Fig. 4", dict.fromkeys(_OUTPUTS, _TABLE_2))
    activity_weight: float = paper(
        1e-5, "Table 2; summed over the batch (Keras 2.0.8)", dict.fromkeys((0.0, 1e-2), _TABLE_2)
    )
    initializer: str = paper("glorot_uniform", "Table 2", {"lecun_normal": _TABLE_2})
    preprocessing: str = paper(
        "energy", "Table 2: over the photon's energy", dict.fromkeys(("logarithm", "logarithm-1e10"), _TABLE_2)
    )
    one_sided: bool = paper(False, "Table 2: two-sided penalty", {True: _TABLE_2})
    gradient_penalty_weight: float = paper(10.0, "Table 2", dict.fromkeys((0.0, 20.0), _TABLE_2))
    critic_steps: int = paper(5, "Table 2: training ratio", dict.fromkeys((20, 10, 3, 1), _TABLE_2))
    learning_rate: float = paper(5e-5, "Table 2", dict.fromkeys((5e-6, 1e-5, 1e-6, 1e-7), _TABLE_2))
    beta_1: float = assumed(0.9, "not stated; the default of Keras")
    batch_size: int = paper(64, "Table 2", {1024: _TABLE_2})
    iterations: int = paper(
        700_000, "50,000 epochs of about 4,500 showers, in batches of 64, five of them for an iteration"
    )
    seed: int = assumed(0, "ours")

    def __post_init__(self) -> None:
        require_one_of(
            self,
            latent_distribution=("normal", "uniform"),
            hidden_activation=("leaky_relu", "selu"),
            output_activation=tuple(_OUTPUTS),
            preprocessing=("energy", "logarithm", "logarithm-1e10"),
        )
        numbers = ("latent_dim", "hidden_layers", "hidden_units", "learning_rate", "critic_steps", "batch_size")
        require_above_zero(self, *numbers, "iterations")
        for name in ("activity_weight", "gradient_penalty_weight"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more. Received: {getattr(self, name)}")


def build_transform(config: AtlasNoteGanConfig, geometry: CellGrid) -> Chain:
    """Gives the transform: cells over the photon's energy or logarithms, and the condition.

    The condition is the energy and its logarithm, each 1 at the highest, and a bit for each alignment of the impact
    cell: four in phi within the front layer's cell, two in eta within the back layer's.
    """
    middle, front, back = (geometry.layers[position] for position in (2, 1, 3))
    steps: tuple[Step, ...] = (KineticFractions(),)
    if config.preprocessing != "energy":
        steps = (*steps, Logarithm(factor=1e10 if config.preprocessing == "logarithm-1e10" else 1.0))
    encodings: tuple[Encoding, ...] = (
        LinearEnergy(),
        LogEnergy(),
        CellAlignment("impact_phi", middle.phi_size, round(front.phi_size / middle.phi_size)),
        CellAlignment("impact_eta", middle.eta_size, round(back.eta_size / middle.eta_size)),
    )
    return Chain(steps, encodings)


def build_latent(config: AtlasNoteGanConfig) -> Latent:
    """Gives the prior of the latent space."""
    return Latent(dim=config.latent_dim, distribution=config.latent_distribution)


def build_generator(config: AtlasNoteGanConfig, geometry: CellGrid) -> keras.Model:
    """Gives the generator.

    Input shape:
        `latent` `[b, z]`, `condition` `[b, c]`.

    Output shape:
        `[b, v]`: cell over photon energy, or its logarithm.
    """
    initializers = Initializers(config.seed, "generator", config.initializer)
    latent = keras.Input((config.latent_dim,), name="latent")
    condition = keras.Input((build_transform(config, geometry).condition_dim,), name="condition")
    hidden = _hidden_layers([latent, condition], config, initializers)
    for activation in _OUTPUTS[config.output_activation]:
        hidden = keras.layers.Dense(geometry.size, kernel_initializer=initializers())(hidden)
        hidden = _activated(hidden, activation)
    return keras.Model({"latent": latent, "condition": condition}, hidden, name="generator")


def build_critic(config: AtlasNoteGanConfig, geometry: CellGrid) -> keras.Model:
    """Gives the critic, which the note calls discriminator.

    Input shape:
        `shower` `[b, v]`, `condition` `[b, c]`.

    Output shape:
        `[b, 1]`.
    """
    initializers = Initializers(config.seed, "critic", config.initializer)
    shower = keras.Input((geometry.size,), name="shower")
    condition = keras.Input((build_transform(config, geometry).condition_dim,), name="condition")
    hidden = _hidden_layers([shower, condition], config, initializers)
    score = keras.layers.Dense(1, kernel_initializer=initializers())(hidden)
    return keras.Model({"shower": shower, "condition": condition}, score, name="critic")


def build(config: AtlasNoteGanConfig, geometry: CellGrid) -> dict[str, keras.Model]:
    """Gives the networks; the generator generates."""
    return {"generator": build_generator(config, geometry), "critic": build_critic(config, geometry)}


def build_trainer(
    config: AtlasNoteGanConfig, geometry: CellGrid, networks: dict[str, keras.Model], moments: Moments
) -> WganGp:
    """Gives the trainer of the networks."""
    optimizer, of_critic = (keras.optimizers.Adam(config.learning_rate, beta_1=config.beta_1) for _ in networks)
    critic = Critic(
        network=networks["critic"],
        optimizer=of_critic,
        gradient_penalty_weight=config.gradient_penalty_weight,
        one_sided=config.one_sided,
    )
    generator = Generator(
        network=networks["generator"],
        optimizer=optimizer,
        latent=build_latent(config),
        activity_weight=config.activity_weight,
    )
    return WganGp(generator, [critic], critic_steps=config.critic_steps, seed=named_seed(config.seed, "noise"))


def build_schedule(config: AtlasNoteGanConfig, incident_energies: np.ndarray) -> Draws:
    """Gives the schedule: iterations over all training showers, of which the last is kept."""
    curriculum = Curriculum(order=np.arange(len(incident_energies)))
    seed = named_seed(config.seed, "noise")
    return Draws(iterations=config.iterations, batch_size=config.batch_size, seed=seed, curriculum=curriculum)


_PAPER = AtlasNoteGanConfig()
_VARIANTS = {
    **{name: replace(_PAPER, output_activation=name) for name in _OUTPUTS if name not in ("sigmoid", "linear")},
    "selu": replace(_PAPER, hidden_activation="selu", initializer="lecun_normal"),
    "one-sided": replace(_PAPER, one_sided=True),
    "logarithm-1e10": replace(_PAPER, preprocessing="logarithm-1e10", output_activation="linear"),
    # logarithms below 0: the regulariser would draw every cell to the photon's whole energy
    "logarithm": replace(_PAPER, preprocessing="logarithm", output_activation="linear", activity_weight=0.0),
}
CONFIGS: dict[str, tuple[AtlasNoteGanConfig, CellGrid]] = {
    name: (config, ATLAS_GAN_WINDOW) for name, config in {"paper": _PAPER, **_VARIANTS}.items()
}
"""The paper's GAN, and GANs of which one value is another of Table 2."""


def _hidden_layers(
    inputs: list[keras.KerasTensor], config: AtlasNoteGanConfig, initializers: Initializers
) -> keras.KerasTensor:
    hidden = keras.layers.Concatenate()(inputs)
    for _ in range(config.hidden_layers):
        hidden = keras.layers.Dense(config.hidden_units, kernel_initializer=initializers())(hidden)
        if config.hidden_activation == "selu":
            hidden = keras.layers.Activation("selu")(hidden)
        else:
            hidden = keras.layers.LeakyReLU(negative_slope=config.slope)(hidden)
    return hidden


def _activated(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    if name == "gauss":
        return keras.ops.exp(-keras.ops.square(tensor))
    if name == "clipped-relu":
        return keras.layers.ReLU(max_value=1.0)(tensor)
    return keras.layers.Activation(name)(tensor)
