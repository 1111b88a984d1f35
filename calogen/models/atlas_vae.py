"""VAE: photon showers, 1 to 262 GeV, in 276 cells of ATLAS's electromagnetic barrel.

Reference: arXiv:2210.06204, "Variational Autoencoders" and "Data Reparametrisation"; architecture in Fig. 3.

The configuration "drawn" trains as the paper's; its showers are drawn from p(x|z), as the paper says but does not show.

Differences from the paper: what is not stated (batch size, learning rate, weight of the divergence, encoding of the
photon energy, floor of the feature weights, start of the output bias) is `assumed` below, with the reason.
"""

from dataclasses import dataclass

import numpy as np

from calogen.backend import keras
from calogen.config import Paper, assumed, option, paper, require, require_above_zero, require_one_of
from calogen.features.conditions import Encoding, LinearEnergy, LogEnergy
from calogen.features.moments import Moments
from calogen.features.transforms import AbsoluteEnergies, Chain, LayerFractions, Step
from calogen.provenance import named_seed
from calogen.showers.cells import CellGrid
from calogen.showers.windows import ATLAS_VAE_WINDOW
from calogen.training.latent import Latent
from calogen.training.layers import Initializers
from calogen.training.losses import inverse_spread
from calogen.training.residuals import Residuals
from calogen.training.trainer import Epochs
from calogen.training.vae import Vae

PAPER = Paper(
    title="Deep generative models for fast photon shower simulation in ATLAS",
    authors="ATLAS Collaboration",
    journal="Comput. Softw. Big Sci. 8 (2024) 7",
    arxiv="2210.06204",
    url="https://doi.org/10.1007/s41781-023-00106-9",
)


@dataclass(frozen=True, kw_only=True)
class AtlasVaeConfig:
    """Everything that defines the model and its training, with its sources."""

    latent_dim: int = paper(5, "Fig. 3")
    encoder_units: tuple[int, ...] = paper((281, 500, 100, 50), "Fig. 3")
    decoder_units: tuple[int, ...] = paper((50, 100, 500, 281), "Fig. 3")
    hidden_activation: str = paper("tanh", "Fig. 3")
    output_activation: str = paper("sigmoid", "Fig. 3")
    inputs: str = paper("fractions", "Data Reparametrisation; 'absolute' is what it replaced")
    absolute_constant: float = assumed(262_144.0, "not stated; MeV, the highest training energy: cells stay below 1")
    response_scale: float = paper(1.0, "Data Reparametrisation: total over photon energy, nothing else")
    renormalise: bool = assumed(False, "not stated whether decoded fractions are made to sum to one; both are measured")
    decode: str = option("mean", "'sampling x from p(x|z)' is all that is stated", {"sample": "with fitted residuals"})
    noise_dim: int = option(10, "ours, with decode='sample': layers' fractions, response, 5 components of the cells")
    latent_sampler: str = option("prior", "Variational Autoencoders", {"posterior": "ours: density of the codes"})
    condition: str = assumed("log", "not stated; nine energies that double come out equidistant")
    feature_weights: str = paper("inverse_spread", "Data Reparametrisation: 1 / standard deviation; 'equal' to compare")
    spread_floor: float = assumed(1e-3, "not stated; without it strips that are rarely hit rule the loss")
    output_bias: str = assumed("mean", "not stated; with 'zero' the encoder dies in the first epoch")
    kl_weight: float = assumed(1e-4, "only '(0, 1]' is stated; from 1e-2 on the posterior collapses (the scan)")
    optimizer: str = paper("adam", "Variational Autoencoders")
    learning_rate: float = assumed(3e-4, "not stated; best of experiments/scans/atlas_vae_final.md")
    batch_size: int = assumed(100, "not stated ('mini-batch'); best of experiments/scans/atlas_vae_final.md")
    epochs: int = paper(1000, "Variational Autoencoders")
    keep: str = paper("best", "Challenges: the epoch with the smallest objective is the best")
    validation_fraction: float = assumed(0.1, "not stated")
    seed: int = assumed(0, "ours")

    def __post_init__(self) -> None:
        require_one_of(
            self,
            inputs=("fractions", "absolute"),
            condition=("log", "linear"),
            feature_weights=("inverse_spread", "equal"),
            output_bias=("mean", "zero"),
            decode=("mean", "sample"),
            latent_sampler=("prior", "posterior"),
            keep=("best", "last"),
        )
        numbers = ("absolute_constant", "response_scale", "spread_floor", "learning_rate")
        require_above_zero(self, "latent_dim", "noise_dim", "batch_size", "epochs", *numbers)
        units = (*self.encoder_units, *self.decoder_units)
        require(min(units, default=0) >= 1, f"hidden layers need at least one unit. Received: {units}")
        require(self.inputs == "fractions" or self.decode == "mean", "decode='sample' needs inputs='fractions'")
        require(0 <= self.kl_weight <= 1, f"kl_weight must be 0..1. Received: {self.kl_weight}")
        fraction = self.validation_fraction
        require(0 < fraction < 1, f"validation_fraction must be above 0 and below 1. Received: {fraction}")


def build_transform(config: AtlasVaeConfig, geometry: CellGrid) -> Chain:
    """Gives the unfitted transform: 276 cells -> 281 fractions; condition: photon energy."""
    sizes = tuple(layer.size for layer in geometry.layers)
    step: Step = LayerFractions(sizes, config.response_scale, config.renormalise)
    if config.inputs == "absolute":
        step = AbsoluteEnergies(config.absolute_constant)
    encoding: Encoding = LogEnergy() if config.condition == "log" else LinearEnergy()
    return Chain((step,), (encoding,))


def build_latent(config: AtlasVaeConfig) -> Latent:
    """Gives the prior of the latent space, standard normal, with noise for p(x|z) behind it."""
    return Latent(dim=config.latent_dim + _noise_dim(config))


def build_encoder(config: AtlasVaeConfig, geometry: CellGrid) -> keras.Model:
    """Gives the encoder, the left half of Fig. 3.

    Input shape:
        `shower` `[b, f]`, `condition` `[b, 1]`.

    Output shape:
        `mean` and `log_variance`, `[b, z]`.
    """
    initializers = Initializers(config.seed, "encoder", "glorot_uniform")
    shower = keras.Input((_num_features(config, geometry),), name="shower")
    condition = keras.Input((1,), name="condition")
    hidden = _hidden_layers([shower, condition], config.encoder_units, config, initializers)
    mean = keras.layers.Dense(config.latent_dim, kernel_initializer=initializers(), name="mean")(hidden)
    log_variance = keras.layers.Dense(config.latent_dim, kernel_initializer=initializers(), name="log_variance")(hidden)
    outputs = {"mean": mean, "log_variance": log_variance}
    return keras.Model({"shower": shower, "condition": condition}, outputs, name="encoder")


def build_decoder(config: AtlasVaeConfig, geometry: CellGrid) -> keras.Model:
    """Gives the decoder, the right half of Fig. 3.

    Input shape:
        `latent` `[b, z]`, `condition` `[b, 1]`.

    Output shape:
        `[b, f]` in 0..1; where x is drawn from p(x|z), features may lie outside.
    """
    initializers, noise_dim = Initializers(config.seed, "decoder", "glorot_uniform"), _noise_dim(config)
    latent = keras.Input((config.latent_dim + noise_dim,), name="latent")
    condition = keras.Input((1,), name="condition")
    code = latent[:, : config.latent_dim] if noise_dim else latent
    hidden = _hidden_layers([code, condition], config.decoder_units, config, initializers)
    output = keras.layers.Dense(
        _num_features(config, geometry), config.output_activation, kernel_initializer=initializers(), name="shower"
    )(hidden)
    if noise_dim:
        energies = len(geometry.layers) + 1
        limits = f"{energies} or more, at most {_num_features(config, geometry)}"
        require(energies <= noise_dim <= _num_features(config, geometry), f"noise_dim must be {limits}: {noise_dim}")
        output = Residuals(energies, name="residuals")([output, latent[:, config.latent_dim :], condition])
    return keras.Model({"latent": latent, "condition": condition}, output, name="decoder")


def build(config: AtlasVaeConfig, geometry: CellGrid) -> dict[str, keras.Model]:
    """Gives the networks; the decoder generates."""
    return {"encoder": build_encoder(config, geometry), "decoder": build_decoder(config, geometry)}


GENERATES = ("decoder",)


def build_trainer(
    config: AtlasVaeConfig, geometry: CellGrid, networks: dict[str, keras.Model], moments: Moments
) -> Vae:
    """Gives the compiled model that trains the networks.

    Args:
        config: configuration, with loss and optimizer.
        geometry: geometry of the showers.
        networks: networks from `build`; the decoder's output bias is set by this function.
        moments: mean and spread of the `f` features of the training showers.
    """
    decoder = networks["decoder"]
    if config.output_bias == "mean":
        mean = np.clip(moments.mean, 1e-6, 1 - 1e-6)
        decoder.get_layer("shower").bias.assign(np.log(mean / (1 - mean)))
    weights = np.ones(len(moments), np.float32)
    if config.feature_weights == "inverse_spread":
        weights, _ = inverse_spread(moments.spread, config.spread_floor)
    seed = named_seed(config.seed, "noise")
    optimizer = keras.optimizers.get({"class_name": config.optimizer, "config": {}})
    optimizer.learning_rate = config.learning_rate
    return Vae(networks["encoder"], decoder, weights, config.kl_weight, seed, optimizer)


def build_schedule(config: AtlasVaeConfig, incident_energies: np.ndarray) -> Epochs:
    """Gives the schedule: epochs over all training showers."""
    seed = named_seed(config.seed, "order")
    return Epochs(epochs=config.epochs, batch_size=config.batch_size, seed=seed, keep=config.keep)


CONFIGS: dict[str, tuple[AtlasVaeConfig, CellGrid]] = {
    "paper": (AtlasVaeConfig(), ATLAS_VAE_WINDOW),
    "drawn": (AtlasVaeConfig(renormalise=True, decode="sample", latent_sampler="posterior"), ATLAS_VAE_WINDOW),
    # absolute features are a thousand times smaller: settings of their own, the best of experiments/scans/atlas_vae.md
    "absolute": (
        AtlasVaeConfig(inputs="absolute", spread_floor=1e-6, kl_weight=1e-5, batch_size=400, learning_rate=1e-3),
        ATLAS_VAE_WINDOW,
    ),
}


def _noise_dim(config: AtlasVaeConfig) -> int:
    return config.noise_dim if config.decode == "sample" else 0


def _num_features(config: AtlasVaeConfig, geometry: CellGrid) -> int:
    return geometry.size + (len(geometry.layers) + 1 if config.inputs == "fractions" else 0)


def _hidden_layers(
    inputs: list[keras.KerasTensor], units: tuple[int, ...], config: AtlasVaeConfig, initializers: Initializers
) -> keras.KerasTensor:
    hidden = keras.layers.Concatenate()(inputs)
    for width in units:
        hidden = keras.layers.Dense(width, config.hidden_activation, kernel_initializer=initializers())(hidden)
    return hidden
