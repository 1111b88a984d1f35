"""BIB-AE: photon showers, 10 to 100 GeV, in 27,000 cells of an ILD-like calorimeter.

Reference: arXiv:2005.05334, sections 3.3 to 3.5 and appendix A.3, architecture in Fig. 4. Inclined photons and pions:
arXiv:2112.09709, and slides that show both.

Differences from the paper: the encoder's last hidden layer has 768 nodes instead of 32, with which it would have 32M
weights, not 35M; critic and difference critic have one penalty together, on the decoded shower; transposed convolutions
are aligned as in Keras, one cell apart from PyTorch's; pions have the photons' post processor; the last epoch is kept,
not one by an unstated figure of merit. What is not stated is `assumed` below, most of it from the public code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calogen.backend import keras
from calogen.config import Paper, assumed, paper, require, require_above_zero, require_one_of
from calogen.features.conditions import Column, LinearEnergy
from calogen.features.moments import Moments
from calogen.features.transforms import AbsoluteEnergies, Chain
from calogen.provenance import named_seed
from calogen.showers.grid import RegularGrid
from calogen.showers.grids import AHCAL_GRID, ILD_ANGULAR_GRID, ILD_GRID
from calogen.training.critic_autoencoder import Autoencoder, CodeTerms, CriticAutoencoder, build_latent_critic
from calogen.training.discrepancies import Discrepancy, SortedKernel
from calogen.training.latent import Latent
from calogen.training.layers import Initializers
from calogen.training.post_processing import PostProcessing, build_post_processor
from calogen.training.rates import falling
from calogen.training.trainer import Epochs
from calogen.training.volumes import Convolutions, crop, dense_layers, leaky, normalise, start_shape, to_volume
from calogen.training.wgan_gp import Critic
from calogen.units import GeV

GENERATES, CRITICS = ("decoder", "post_processor"), ("critic", "latent_critic")
PAPER = Paper(
    title="Getting High: High Fidelity Simulation of High Granularity Calorimeters with High Speed",
    authors="E. Buhmann, S. Diefenbacher, E. Eren, F. Gaede, G. Kasieczka, A. Korol, K. Krüger",
    journal="Comput. Softw. Big Sci. 5 (2021) 13",
    arxiv="2005.05334",
    url="https://doi.org/10.1007/s41781-021-00056-0",
)
_CODE, _PION_CODE = "not stated; the public code's", "public code of arXiv:2112.09709"


@dataclass(frozen=True, kw_only=True)
class BibAeConfig:
    """Everything that defines the networks and their training, with its sources."""

    angles: bool = paper(False, "section 2: perpendicular", {True: "slides: 40 to 90 degrees"})
    code_dim: int = paper(24, "A.3")
    noise_dim: int = paper(488, "A.3")
    encoder_filters: tuple[int, ...] = paper((8, 16, 32, 64), "A.3")
    encoder_units: tuple[int, ...] = assumed((4000, 768), "35M weights, as in A.3", {(4000, 32): "A.3: 32M weights"})
    decoder_units: tuple[int, ...] = paper((768, 4000), "A.3")
    grown_filters: tuple[int, ...] = paper((8, 8, 16, 8), "A.3: before, after and between two transposed convolutions")
    decoder_filters: tuple[int, ...] = paper((8, 16, 32), "A.3", code={(16, 32, 16): "36,218,496 weights"})
    critic_filters: tuple[int, ...] = paper((128, 128, 128), "A.3")
    stream_units: int = paper(64, "A.3")
    critic_units: tuple[int, ...] = paper((128, 128, 128), "A.3", code={(256, 256, 256): "4,762,753 weights"})
    latent_critic_units: tuple[int, ...] = paper((50, 100, 50), "A.3")
    slope: float = assumed(0.2, _CODE)
    small_slope: float = assumed(0.01, f"{_CODE}: difference, latent critic, post processor")
    kl_weight: float = assumed(0.05, _CODE, {0.1: _PION_CODE})
    discrepancy_weight: float = assumed(100.0, _CODE)
    alphas: tuple[float, ...] = assumed((1.0, 0.01), _CODE)
    with_noise: bool = assumed(False, "section 3.3: of the code", {True: "the public code's: its kernels are 0"})
    critic_weights: tuple[float, ...] = assumed((1.0, 100.0), f"{_CODE}: of showers, of the code")
    gradient_penalty_weight: float = assumed(10.0, _CODE)
    critic_steps: int = paper(5, "A.3")
    learning_rates: tuple[float, ...] = paper((5e-4, 2e-3), "A.3: and of the latent critic", {(5e-5, 2e-4): _PION_CODE})
    rate_factor: float = paper(0.95, "A.3: after each epoch", {0.97: _PION_CODE})
    betas: tuple[float, ...] = assumed((0.5, 0.9), _CODE)
    batch_size: int = assumed(8, f"{_CODE}, on each of several GPUs", {16: _PION_CODE})
    epochs: int = paper(35, "A.3", {100: _PION_CODE}, code={1000: "main program"})
    post_processing: bool = paper(True, "section 3.5", {False: "section 4.2: BIB-AE without it"})
    post_filters: int = paper(128, "A.3")
    post_weight: float = assumed(5.0, _CODE)
    post_rate: float = assumed(5e-4, "A.3: the encoder's, from its start", {8.3e-5: "as it is after 35 epochs"})
    kernel: tuple[int, ...] = paper((100, 25, 2000, 200), "section 3.4: n, m, N, alpha")
    post_epochs: tuple[int, ...] = paper((1, 3), "A.3: without and with the discrepancy", code={(100, 900): "program"})
    latent_sampler: str = paper("prior", "section 3.3", {"posterior": "slides: kernel density of the latent space"})
    seed: int = assumed(0, "ours")

    def __post_init__(self) -> None:
        require_one_of(self, latent_sampler=("prior", "posterior"))
        numbers = {name: value for name, value in vars(self).items() if type(value) in (int, float)}
        require_above_zero(self, *(name for name in numbers if not name.endswith(("seed", "weight", "slope"))))
        require(all(value >= 0 for value in numbers.values()), f"numbers must be 0 or more. Received: {numbers}")
        require(max(self.betas) < 1, f"betas must be below 1. Received: {self.betas}")
        require(self.post_filters >= 2, f"post_filters must be 2 or more. Received: {self.post_filters}")
        layers = [value for value in vars(self).values() if isinstance(value, tuple)]
        require(all(min(part, default=0) > 0 for part in layers), f"layers need a filter or unit. Received: {layers}")
        for name in ("grown_filters", "post_epochs", "learning_rates", "critic_weights", "betas"):
            values, number = getattr(self, name), 4 if name == "grown_filters" else 2
            require(len(values) == number, f"{name} must be {number} values. Received: {values}")
        falling(1.0, self.rate_factor, steps=1)
        SortedKernel.of(self.kernel)


def build_transform(config: BibAeConfig, geometry: RegularGrid) -> Chain:
    """Gives the transform: energies in MeV as they are; conditions in GeV, maybe degrees."""
    angle = (Column("angle", 0.0, np.pi / 180),) if config.angles else ()
    return Chain((AbsoluteEnergies(1.0),), (LinearEnergy(GeV), *angle))


def build_latent(config: BibAeConfig) -> Latent:
    """Gives the prior of code and noise, standard normal."""
    return Latent(dim=config.code_dim + config.noise_dim)


def build_encoder(config: BibAeConfig, geometry: RegularGrid) -> keras.Model:
    """Gives the encoder.

    Input shape:
        `shower` `[b, v]`, MeV, `condition` `[b, c]`.

    Output shape:
        `mean` and `log_variance`, `[b, k]`.
    """
    convolutions, inputs = _convolutions(config, "encoder"), _inputs(config, shower=geometry.size)
    hidden, (*filters, last) = to_volume(inputs["shower"], geometry.shape), config.encoder_filters
    hidden = convolutions.normalised(hidden, filters, 4, config.slope, strides=2, padding=2)
    hidden = convolutions.normalised(hidden, (last,), 3, config.slope, padding=1)
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(hidden), inputs["condition"]])
    initializers, names = convolutions.initializers, ("mean", "log_variance")
    hidden = dense_layers(hidden, config.encoder_units, config.slope, initializers)
    dense = [keras.layers.Dense(config.code_dim, kernel_initializer=initializers(), name=name) for name in names]
    return keras.Model(inputs, {layer.name: layer(hidden) for layer in dense}, name="encoder")


def build_decoder(config: BibAeConfig, geometry: RegularGrid) -> keras.Model:
    """Gives the decoder, whose volume grows from 10 to 30 and 60 cells and shrinks to 30.

    Input shape:
        `latent` `[b, z]`, code and noise, `condition` `[b, c]`.

    Output shape:
        `[b, v]`, MeV.
    """
    convolutions, inputs = _convolutions(config, "decoder"), _inputs(config, latent=build_latent(config).dim)
    start, (first, middle, most, least) = start_shape(geometry.shape, 3), config.grown_filters
    units, slope = (*config.decoder_units, int(np.prod(start)) * first), config.slope
    hidden = keras.layers.Concatenate()([inputs["latent"], inputs["condition"]])
    hidden = keras.layers.Reshape((*start, first))(dense_layers(hidden, units, slope, convolutions.initializers))
    hidden = crop(convolutions.transposed(hidden, middle, 3, strides=3), geometry.shape)
    hidden = convolutions.transposed(leaky(normalise(hidden), slope), most, 3, strides=2)
    hidden = convolutions.normalised(leaky(normalise(hidden), slope), (least,), 2, slope, strides=2)
    hidden = convolutions.normalised(hidden, config.decoder_filters, 3, slope, padding=1)
    shower = keras.layers.Flatten()(keras.layers.ReLU()(convolutions(hidden, 1, 3, padding=1)))
    return keras.Model(inputs, shower, name="decoder")


def build_critic(config: BibAeConfig, geometry: RegularGrid) -> keras.Model:
    """Gives the critic of a shower beside the original one, with its four streams.

    Input shape:
        `shower` and `original` `[b, v]`, MeV, `condition` `[b, c]`.

    Output shape:
        `[b, 1]`.
    """
    convolutions, slope = _convolutions(config, "critic"), config.slope
    inputs = _inputs(config, shower=geometry.size, original=geometry.size)
    streams, (*filters, last) = [], config.critic_filters
    for seen in (inputs["shower"], keras.ops.log1p(inputs["shower"])):
        hidden = convolutions.normalised(to_volume(seen, geometry.shape), filters, 3, slope, strides=2)
        streams.append((keras.layers.Flatten()(leaky(convolutions(hidden, last, 3), slope)), slope))
    difference = keras.layers.Subtract()([inputs["shower"], inputs["original"]])
    streams += [(difference, config.small_slope), (inputs["condition"], slope)]
    initializers, units = convolutions.initializers, (config.stream_units,)
    hidden = keras.layers.Concatenate()([dense_layers(part, units, own, initializers) for part, own in streams])
    hidden = dense_layers(hidden, config.critic_units, slope, initializers)
    return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer=initializers())(hidden), name="critic")


def build(config: BibAeConfig, geometry: RegularGrid) -> dict[str, keras.Model]:
    """Gives the networks; those of `generates` generate."""
    networks = [part(config, geometry) for part in (build_encoder, build_decoder, build_critic)]
    initializers = _convolutions(config, "latent_critic").initializers
    networks.append(build_latent_critic(config.latent_critic_units, config.small_slope, initializers))
    if config.post_processing:
        settings = config.post_filters, config.small_slope, _convolutions(config, "post_processor").initializers
        networks.append(build_post_processor(geometry.shape, 1 + config.angles, *settings))
    return {network.name: network for network in networks}


def generates(config: BibAeConfig) -> tuple[str, ...]:
    """Gives the names of the networks that generate: the post processor where there is one."""
    return GENERATES if config.post_processing else GENERATES[:1]


def build_trainer(
    config: BibAeConfig, geometry: RegularGrid, networks: dict[str, keras.Model], moments: Moments
) -> Sequence[CriticAutoencoder | PostProcessing]:
    """Gives the trainers: of the autoencoder, and of the post processor's two stages."""

    def adam(rate: float, updates: int = 1) -> keras.optimizers.Adam:
        batches = max(1, moments.num_showers // config.batch_size)
        return keras.optimizers.Adam(falling(rate, config.rate_factor, updates * batches), *config.betas)

    seed, steps = named_seed(config.seed, "noise"), config.critic_steps
    penalty, rate = config.gradient_penalty_weight, config.learning_rates[0]
    critics = [
        Critic(network=networks[name], optimizer=adam(own, steps), gradient_penalty_weight=penalty, loss_weight=weight)
        for name, own, weight in zip(CRITICS, config.learning_rates, config.critic_weights, strict=True)
    ]
    coder = Autoencoder(networks["encoder"], networks["decoder"], adam(rate))
    code = CodeTerms(config.kl_weight, config.discrepancy_weight, config.alphas, config.with_noise)
    autoencoder = CriticAutoencoder(coder, code, critics, critic_steps=steps, seed=seed)
    if not config.post_processing:
        return (autoencoder,)
    network, optimizer, kernel = networks["post_processor"], adam(config.post_rate), SortedKernel.of(config.kernel)
    terms = [Discrepancy(kernel, weight) for weight in (0.0, config.post_weight)]
    stages = [PostProcessing(network, optimizer, autoencoder.reconstruct, term, seed=seed) for term in terms]
    return autoencoder, *stages


def build_schedule(config: BibAeConfig, incident_energies: np.ndarray) -> Sequence[Epochs]:
    """Gives the epochs of each trainer, of which the last is kept."""
    stages = (config.epochs, *(config.post_epochs if config.post_processing else ()))
    seed, size = named_seed(config.seed, "order"), config.batch_size
    return [Epochs(epochs=epochs, batch_size=size, seed=seed + i, keep="last") for i, epochs in enumerate(stages)]


_PAPER = BibAeConfig()
_CODER: dict[str, Any] = {"noise_dim": 40, "encoder_filters": (4, 8, 16, 32), "encoder_units": (400, 96)}
_DECODER: dict[str, Any] = {"decoder_units": (96, 400), "grown_filters": (4, 4, 8, 4), "decoder_filters": (4, 8, 16)}
_OTHERS: dict[str, Any] = {"critic_filters": (16, 16, 16), "post_filters": 16}
_PION_CODER: dict[str, Any] = {"kl_weight": 0.1, "batch_size": 16, "epochs": 100}
_PION_RATES: dict[str, Any] = {"learning_rates": (5e-5, 2e-4), "post_rate": 5e-5, "rate_factor": 0.97}
CONFIGS: dict[str, tuple[BibAeConfig, RegularGrid]] = {
    "paper": (_PAPER, ILD_GRID),
    "code": (replace(_PAPER, decoder_filters=(16, 32, 16), critic_units=(256, 256, 256)), ILD_GRID),
    "laptop": (replace(_PAPER, **_CODER, **_DECODER, **_OTHERS), ILD_GRID),
    "angular": (replace(_PAPER, angles=True), ILD_ANGULAR_GRID),
    "pions": (replace(_PAPER, **_PION_CODER, **_PION_RATES), AHCAL_GRID),
}
"""The paper's network, that of its public code, a narrow one for two hours on one core; inclined photons; pions."""


def _inputs(config: BibAeConfig, **sizes: int) -> dict[str, keras.KerasTensor]:
    sizes["condition"] = 1 + config.angles
    return {name: keras.Input((size,), name=name) for name, size in sizes.items()}


def _convolutions(config: BibAeConfig, network: str) -> Convolutions:
    return Convolutions(Initializers(config.seed, network, "variance_scaling", scale=1 / 3, distribution="uniform"))
