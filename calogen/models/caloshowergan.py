"""CaloShowerGAN: photon and charged-pion showers in voxels, 256 MeV to 4 TeV.

The voxels are those of the CaloChallenge's dataset 1, ATLAS's barrel at 0.20 < |eta| < 0.25.

Reference: arXiv:2309.06515, Fig. 2, Table 2, sections 4.1 (momentum split) and 4.2 (layer-energy normalisation). The
public training code and the challenge's parameter counts say what the text leaves open.

Differences from the paper: what is not stated (batch normalisation before section 4.2's heads, start of the output,
energy of empty voxels) is `assumed` below, with the reason.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calogen.backend import keras
from calogen.config import Paper, assumed, option, paper, require, require_above_zero, require_one_of
from calogen.features.conditions import LinearEnergy, LogEnergy
from calogen.features.moments import Moments
from calogen.features.transforms import Chain, KineticFractions, LayerFractions, Mask, Noise, Step
from calogen.provenance import named_seed
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry
from calogen.training.latent import Latent
from calogen.training.layers import Initializers, ShowerHeads, SpectralDense, start_output
from calogen.training.rates import adams, require_wgan_rates
from calogen.training.trainer import Curriculum, Draws
from calogen.training.wgan_gp import Critic, Generator, WganGp
from calogen.units import MASSES

GENERATES, CRITICS = ("generator",), ("critic",)
PAPER = Paper(
    title="CaloShowerGAN, a Generative Adversarial Networks model for fast calorimeter shower simulation",
    authors="M. Faucci Giannelli and R. Zhang",
    arxiv="2309.06515",
    url="https://arxiv.org/abs/2309.06515",
)

_LOW, _UPPER = 2.0**12, 2.0**18  # momenta that two GANs share (section 4.1)


@dataclass(frozen=True, kw_only=True)
class CaloShowerGanConfig:
    """One generator and its critic; the defaults are those of the single GAN for photons."""

    particle: str = paper("photon", "section 2", {"pion": "section 2"})
    lowest_momentum: float = paper(2.0**8, "section 4.1; MeV", dict.fromkeys((_LOW, _UPPER), "section 4.1; MeV"))
    highest_momentum: float = paper(2.0**22, "section 4.1; MeV", dict.fromkeys((_LOW, _UPPER), "section 4.1; MeV"))
    normalisation: str = paper("layers", "section 4.2", {"kinetic": "section 3.2"})
    empty_energy: float = assumed(1e-4, "not stated; MeV an empty voxel counts with 'layers': the public code's")
    condition: str = paper("logarithm", "equation (1)", {"maximum": "section 3.2: FastCaloGAN's, momentum / maximum"})
    noise_energy: float = paper(0.0, "section 6: noise of 1 keV to 1 MeV on the voxels did not help; MeV")
    mask_energy: float = paper(0.0, "section 6: neither did zeroing voxels below a threshold; MeV")
    latent_dim: int = paper(100, "Table 2", {50: "section 4.1: half", 200: "Table 2: pion"})
    latent_mean: float = paper(0.5, "section 3.1")
    latent_spread: float = paper(0.5, "section 3.1")
    generator_units: tuple[int, ...] = paper(
        (100, 200, 400), "Table 2", {(50, 100, 200): "section 4.1: half", (200, 400, 800): "Table 2: pion"}
    )
    generator_activation: str = paper("swish", "Table 2", {"relu": "Table 2: pion; section 4.1: low momenta"})
    generator_initializer: str = paper("glorot_normal", "Table 2", {"he_uniform": "as its ReLU"})
    output_batch_normalization: bool = assumed(
        False, "section 4.2 does not say; the total's spread would be one number", {True: "Table 2's 261k: photons"}
    )
    output_start: str = assumed("data", "not stated; 'zero' bias, unit scale: far from the data for 1e-4 a step")
    batch_statistics: str = paper("batch", "[35]", code={"moving": "inference mode in training"})
    critic_units: tuple[int, ...] = paper((368, 368, 368), "Table 2", {(800, 400, 200): "Table 2: pion"})
    critic_slope: float = paper(0.0, "Table 2: ReLU")
    critic_initializer: str = paper("he_uniform", "Table 2")
    spectral_normalization: str = paper(
        "reparametrised", "section 3.1, [36]; 'projected' is Keras' layer", code={"none": "all but its last trainings"}
    )
    learning_rate: float = paper(1e-4, "Table 2")
    beta_1: float = paper(0.5, "Table 2")
    beta_2: float = paper(0.999, "Table 2")
    critic_steps: int = paper(8, "Table 2: D/G ratio", {5: "Table 2: pion"})
    gradient_penalty_weight: float = paper(3.0, "Table 2: lambda", {20.0: "Table 2: pion"}, {10.0: "default for pions"})
    batch_size: int = paper(1024, "Table 2")
    iterations: int = paper(1_000_000, "section 3.3", {2_000_000: "section 4.2: pion"})
    last_rate: float = option(1.0, "Table 2: a constant rate", {0.1: "ours: falls along a cosine to this share"})
    average: float = option(0.0, "none", {0.99: "ours: momentum of a running average of the generator's weights"})
    seed: int = assumed(0, "ours")

    def __post_init__(self) -> None:
        require_one_of(
            self,
            particle=("photon", "pion"),
            normalisation=("layers", "kinetic"),
            condition=("logarithm", "maximum"),
            output_start=("data", "zero"),
            batch_statistics=("batch", "moving"),
            spectral_normalization=("reparametrised", "projected", "none"),
        )
        numbers = ("latent_dim", "latent_spread", "learning_rate", "critic_steps", "batch_size", "iterations")
        require_above_zero(self, *numbers, "lowest_momentum", "empty_energy")
        require(self.noise_energy >= 0 <= self.mask_energy, "noise_energy and mask_energy must be 0 MeV or more")
        require_wgan_rates(self)
        units = (*self.generator_units, *self.critic_units)
        require(min(units, default=0) >= 1, f"hidden layers need at least one unit. Received: {units}")
        low, high = self.momentum_range
        require(low < high, f"lowest_momentum must be below highest_momentum. Received: {low:g} and {high:g} MeV")

    @property
    def momentum_range(self) -> tuple[float, float]:
        """Lowest and highest momentum, MeV, both included."""
        return self.lowest_momentum, self.highest_momentum


def build_transform(config: CaloShowerGanConfig, geometry: VoxelGeometry) -> Chain:
    """Gives the transform: normalisation of section 3.2 or 4.2; equation (1) as condition."""
    mass = MASSES[config.particle]
    steps: list[Step] = [Mask(config.mask_energy)] if config.mask_energy else []
    if config.noise_energy:
        steps.append(Noise(config.noise_energy, named_seed(config.seed, "voxels")))
    if config.normalisation == "layers":
        sizes = tuple(layer.size for layer in geometry.layers)
        steps.append(LayerFractions(sizes, mass=mass, empty_energy=config.empty_energy))
    else:
        steps.append(KineticFractions(mass))
    maximum, logarithm = LinearEnergy(config.highest_momentum), LogEnergy(*config.momentum_range, mass)
    return Chain(tuple(steps), (maximum if config.condition == "maximum" else logarithm,))


def build_latent(config: CaloShowerGanConfig) -> Latent:
    """Gives the prior of the latent space (section 3.1)."""
    return Latent(dim=config.latent_dim, mean=config.latent_mean, spread=config.latent_spread)


def build_generator(config: CaloShowerGanConfig, geometry: VoxelGeometry) -> keras.Model:
    """Gives the generator, the left half of Fig. 2; with 'layers' it ends as in section 4.2.

    Input shape:
        `latent` `[b, z]`, `condition` `[b, 1]`.

    Output shape:
        `[b, f]`: `v` voxels, with 'layers' also the fractions of `l` layers and the total.
    """
    initializers = Initializers(config.seed, "generator", config.generator_initializer)
    latent = keras.Input((config.latent_dim,), name="latent")
    condition = keras.Input((1,), name="condition")
    hidden = keras.layers.Concatenate()([latent, condition])
    for units in config.generator_units:
        hidden = keras.layers.Dense(units, kernel_initializer=initializers())(hidden)
        hidden = keras.layers.BatchNormalization()(hidden)
        hidden = keras.layers.Activation(config.generator_activation)(hidden)
    output = keras.layers.Dense(_num_features(config, geometry), kernel_initializer=initializers())(hidden)
    if config.output_batch_normalization:
        output = keras.layers.BatchNormalization()(output)
    if config.normalisation == "layers":
        output = ShowerHeads(tuple(layer.size for layer in geometry.layers))(output)
    else:
        output = keras.layers.Activation(config.generator_activation)(output)
    return keras.Model({"latent": latent, "condition": condition}, output, name="generator")


def build_critic(config: CaloShowerGanConfig, geometry: VoxelGeometry) -> keras.Model:
    """Gives the critic, the right half of Fig. 2.

    Input shape:
        `shower` `[b, f]`, `condition` `[b, 1]`.

    Output shape:
        `[b, 1]`.
    """
    initializers = Initializers(config.seed, "critic", config.critic_initializer)
    shower = keras.Input((_num_features(config, geometry),), name="shower")
    condition = keras.Input((1,), name="condition")
    hidden = keras.layers.Concatenate()([shower, condition])
    for units in config.critic_units:
        hidden = _critic_dense(config, units, initializers)(hidden)
        hidden = keras.layers.LeakyReLU(config.critic_slope)(hidden)
    score = _critic_dense(config, 1, initializers)(hidden)
    return keras.Model({"shower": shower, "condition": condition}, score, name="critic")


def build(config: CaloShowerGanConfig, geometry: VoxelGeometry) -> dict[str, keras.Model]:
    """Gives the networks; the generator generates."""
    return {"generator": build_generator(config, geometry), "critic": build_critic(config, geometry)}


def build_trainer(
    config: CaloShowerGanConfig, geometry: VoxelGeometry, networks: dict[str, keras.Model], moments: Moments
) -> WganGp:
    """Gives the model that trains the networks; the generator starts near the features."""
    if config.output_start == "data":
        _start_at_data(config, networks["generator"], moments)
    optimizer, of_critic = adams(config, config.beta_1, config.beta_2)
    weight, latent, batch = config.gradient_penalty_weight, build_latent(config), config.batch_statistics == "batch"
    critic = Critic(network=networks["critic"], optimizer=of_critic, gradient_penalty_weight=weight)
    generator = Generator(network=networks["generator"], optimizer=optimizer, latent=latent, batch_statistics=batch)
    return WganGp(generator, [critic], critic_steps=config.critic_steps, seed=named_seed(config.seed, "noise"))


def build_schedule(config: CaloShowerGanConfig, incident_energies: np.ndarray) -> Draws:
    """Gives the schedule: iterations on all showers from the start (section 3.3)."""
    seed, curriculum = named_seed(config.seed, "noise"), Curriculum(order=np.arange(len(incident_energies)))
    return Draws(iterations=config.iterations, batch_size=config.batch_size, seed=seed, curriculum=curriculum)


_HALF: dict[str, Any] = {"latent_dim": 50, "generator_units": (50, 100, 200)}
_RELU: dict[str, Any] = {"generator_activation": "relu", "generator_initializer": "he_uniform"}
_SINGLE = CaloShowerGanConfig()
_PHOTONS = {
    "photon": _SINGLE,
    "photon-low": replace(_SINGLE, highest_momentum=_LOW, **_RELU),
    "photon-medium": replace(_SINGLE, lowest_momentum=_LOW, highest_momentum=_UPPER, **_HALF),
    "photon-high": replace(_SINGLE, lowest_momentum=_UPPER, **_HALF),
    "photon-upper": replace(_SINGLE, lowest_momentum=_LOW, **_HALF),
}
_TABLE_2: dict[str, Any] = {"latent_dim": 200, "generator_units": (200, 400, 800), "critic_units": (800, 400, 200)}
_PION = replace(
    _SINGLE, particle="pion", **_TABLE_2, **_RELU, critic_steps=5, gradient_penalty_weight=20.0, iterations=2_000_000
)
_KINETIC: dict[str, Any] = {"normalisation": "kinetic", "output_batch_normalization": True}
_PION_KINETIC = replace(_PION, normalisation="kinetic", iterations=1_000_000)
_CODE: dict[str, Any] = {"batch_statistics": "moving", "spectral_normalization": "none"}
SPLITS = {1: ("photon",), 2: ("photon-low", "photon-upper"), 3: ("photon-low", "photon-medium", "photon-high")}
"""Names of the photon's configurations that together span all momenta, by their number (section 4.1)."""
CONFIGS: dict[str, tuple[CaloShowerGanConfig, VoxelGeometry]] = {
    **{name: (config, PHOTONS_DATASET1) for name, config in _PHOTONS.items()},
    **{f"{name}-kinetic": (replace(config, **_KINETIC), PHOTONS_DATASET1) for name, config in _PHOTONS.items()},
    "photon-normalised-heads": (replace(_SINGLE, output_batch_normalization=True), PHOTONS_DATASET1),
    "photon-code": (replace(_SINGLE, **_KINETIC, **_CODE), PHOTONS_DATASET1),
    "pion": (_PION, PIONS_DATASET1),
    "pion-kinetic": (_PION_KINETIC, PIONS_DATASET1),
    "pion-code": (replace(_PION_KINETIC, **_CODE, gradient_penalty_weight=10.0), PIONS_DATASET1),
}
"""The GANs with section 4.2's normalisation and with section 3.2's ("kinetic"), and the public code's choices."""


def _num_features(config: CaloShowerGanConfig, geometry: VoxelGeometry) -> int:
    return geometry.size + (len(geometry.layers) + 1 if config.normalisation == "layers" else 0)


def _start_at_data(config: CaloShowerGanConfig, generator: keras.Model, moments: Moments) -> None:
    """Scales the generator's last layers: its output begins near the features' moments."""
    mean, spread = moments.mean.copy(), moments.spread.copy()
    if config.normalisation == "layers":  # all but the total are the exponentials of a softmax
        mean[:-1], spread[:-1] = np.log(np.maximum(mean[:-1], 1e-9)), 1.0
    elif config.generator_activation == "swish":  # near 0 a swish is half its argument
        mean, spread = 2 * mean, 2 * spread
    start_output(generator, mean, spread)


def _critic_dense(config: CaloShowerGanConfig, units: int, initializers: Initializers) -> keras.layers.Layer:
    initializer = initializers()
    if config.spectral_normalization == "reparametrised":
        return SpectralDense(units, kernel_initializer=initializer)
    dense = keras.layers.Dense(units, kernel_initializer=initializer)
    return keras.layers.SpectralNormalization(dense) if config.spectral_normalization == "projected" else dense
