"""VAE of 2018: photon showers, 1 to 260 GeV, in 266 cells of ATLAS's barrel.

Reference: ATL-SOFT-PUB-2018-001, section 4.1; architecture in Fig. 2, loss in equations (1) to (5), Table 1.

Differences from the paper: equation (1) has the logarithm of the standard deviation, with which it is no divergence:
that of the variance is meant (`divergence`). What is not stated (whether the squared error is summed over the cells,
encoding of the photon energy, which of two initialisers in bold is meant, which layer has which weight) is `assumed`
below. An epoch of the paper has about 90,000 showers.
"""

from dataclasses import dataclass, replace

import numpy as np

from calogen.backend import keras, tf
from calogen.config import Paper, assumed, paper, require, require_above_zero, require_one_of
from calogen.features.conditions import StandardLogEnergy
from calogen.features.moments import Moments
from calogen.features.transforms import Chain, KineticFractions
from calogen.provenance import named_seed
from calogen.showers.cells import CellGrid
from calogen.showers.windows import ATLAS_GAN_WINDOW
from calogen.training.latent import Latent
from calogen.training.layers import Initializers
from calogen.training.trainer import Epochs
from calogen.training.vae import Vae

GENERATES = ("decoder",)
PAPER = Paper(
    title="Deep generative models for fast shower simulation in ATLAS",
    authors="ATLAS Collaboration",
    journal="ATL-SOFT-PUB-2018-001",
    url="https://cds.cern.ch/record/2630433",
)
_TRIED = "Table 1: another value that was tried"
_SUM = "not stated; over the cells, as the likelihood's logarithm: with the mean the layers' shares alone are learned"
_KERNELS = ("zeros", "ones", "random_normal", "random_uniform", "truncated_normal", "variance_scaling", "glorot_normal")
"""Table 1: initializers of the kernels."""
_KERAS_2 = "not stated; Keras 2.0.8 adds 1e-8 to the root, Keras 3 adds epsilon under it"


@dataclass(frozen=True, kw_only=True)
class AtlasNoteVaeConfig:
    """Everything that defines the networks and their training, with its sources."""

    latent_dim: int = paper(10, "Table 1")
    encoder_units: tuple[int, ...] = paper((200, 150, 100, 50), "Table 1")
    decoder_units: tuple[int, ...] = paper((50, 100, 150, 200), "Table 1, in the order of Fig. 2")
    hidden_activation: str = paper("elu", "Fig. 2", dict.fromkeys(("relu", "selu", "leaky_relu", "prelu"), _TRIED))
    output_activation: str = paper("sigmoid", "Fig. 2")
    kernel_initializer: str = assumed("variance_scaling", "Table 1 has two in bold", {"glorot_normal": "the other one"})
    bias_initializer: str = assumed("ones", "Table 1 has two in bold", {"glorot_normal": "the other one"})
    reconstruction: str = assumed("sum", _SUM, {"mean": "as Keras' mean squared error"})
    reconstruction_weight: float = paper(1.0, "Table 1")
    kl_weight: float = paper(1e-4, "Table 1", dict.fromkeys((1.0, 1e-2), "Table 1: within its range"))
    divergence: str = assumed("variance", "equation (1) prints log(sigma), 'printed', which is smallest at 0.7 sigma")
    total_weight: float = paper(1e-2, "Table 1")
    layer_weights: tuple[float, ...] = assumed((8e-2, 6e-1, 2e-1, 1e-1), "Table 1's; which is whose is not stated")
    optimizer: str = paper("rmsprop", "Table 1", dict.fromkeys(("adam", "adagrad", "adadelta", "nadam"), _TRIED))
    epsilon: float = assumed(1e-16, _KERAS_2, {1e-7: "the default of Keras 3"})
    learning_rate: float = paper(1e-4, "Table 1", dict.fromkeys((1e-2, 1e-3, 1e-5), "Table 1: within its range"))
    batch_size: int = paper(100, "Table 1", dict.fromkeys((50, 150, 1000), _TRIED))
    epochs: int = paper(100, "section 4.1, of about 90,000 showers")
    seed: int = assumed(0, "ours")

    def __post_init__(self) -> None:
        require_one_of(
            self,
            hidden_activation=("elu", "relu", "selu", "leaky_relu", "prelu"),
            kernel_initializer=_KERNELS,
            bias_initializer=("ones", "zeros", "glorot_normal"),
            reconstruction=("sum", "mean"),
            divergence=("variance", "printed"),
            optimizer=("rmsprop", "adam", "adagrad", "adadelta", "nadam"),
        )
        require_above_zero(self, "latent_dim", "epsilon", "learning_rate", "batch_size", "epochs")
        units = (*self.encoder_units, *self.decoder_units)
        require(min(units, default=0) >= 1, f"hidden layers need at least one unit. Received: {units}")
        weights = (self.reconstruction_weight, self.kl_weight, self.total_weight, *self.layer_weights)
        require(min(weights) >= 0, f"weights must be 0 or more. Received: {weights}")


def build_transform(config: AtlasNoteVaeConfig, geometry: CellGrid) -> Chain:
    """Gives the transform: cells over the photon's energy; the condition is its logarithm."""
    return Chain((KineticFractions(),), (StandardLogEnergy(),))


def build_latent(config: AtlasNoteVaeConfig) -> Latent:
    """Gives the prior of the latent space, standard normal."""
    return Latent(dim=config.latent_dim)


def build_encoder(config: AtlasNoteVaeConfig, geometry: CellGrid) -> keras.Model:
    """Gives the encoder, the left half of Fig. 2.

    Input shape:
        `shower` `[b, v]`, `condition` `[b, 1]`.

    Output shape:
        `mean` and `log_variance`, `[b, z]`.
    """
    shower = keras.Input((geometry.size,), name="shower")
    condition = keras.Input((1,), name="condition")
    dense = _DenseLayers(config, "encoder")
    hidden = dense.hidden([shower, condition], config.encoder_units)
    outputs = {name: dense(config.latent_dim, name=name)(hidden) for name in ("mean", "log_variance")}
    return keras.Model({"shower": shower, "condition": condition}, outputs, name="encoder")


def build_decoder(config: AtlasNoteVaeConfig, geometry: CellGrid) -> keras.Model:
    """Gives the decoder, the right half of Fig. 2.

    Input shape:
        `latent` `[b, z]`, `condition` `[b, 1]`.

    Output shape:
        `[b, v]`, cell over photon energy, in 0..1.
    """
    latent = keras.Input((config.latent_dim,), name="latent")
    condition = keras.Input((1,), name="condition")
    dense = _DenseLayers(config, "decoder")
    hidden = dense.hidden([latent, condition], config.decoder_units)
    output = dense(geometry.size, config.output_activation, name="shower")(hidden)
    return keras.Model({"latent": latent, "condition": condition}, output, name="decoder")


def build(config: AtlasNoteVaeConfig, geometry: CellGrid) -> dict[str, keras.Model]:
    """Gives the networks; the decoder generates."""
    require(
        len(config.layer_weights) == len(geometry.layers),
        f"layer_weights must be one for each of {len(geometry.layers)} layers. Received: {config.layer_weights}",
    )
    return {"encoder": build_encoder(config, geometry), "decoder": build_decoder(config, geometry)}


def build_trainer(
    config: AtlasNoteVaeConfig, geometry: CellGrid, networks: dict[str, keras.Model], moments: Moments
) -> Vae:
    """Gives the trainer of the networks."""
    return NoteVae(config, geometry, networks)


class NoteVae(Vae):
    """A VAE whose loss has terms of the total energy and of the layers' shares, too.

    Args:
        config: configuration, with the weights of the loss.
        geometry: geometry whose layers have shares.
        networks: encoder and decoder.

    Source: ATL-SOFT-PUB-2018-001, equations (1) to (5).
    """

    term_names = ("loss", "reconstruction", "kl", "total", "layers")

    def __init__(self, config: AtlasNoteVaeConfig, geometry: CellGrid, networks: dict[str, keras.Model]) -> None:
        settings = {"learning_rate": config.learning_rate}
        settings |= {"epsilon": config.epsilon} if config.optimizer == "rmsprop" else {}  # elsewhere beside the root
        optimizer = keras.optimizers.get({"class_name": config.optimizer, "config": settings})
        seed, equal = named_seed(config.seed, "noise"), np.ones(geometry.size, np.float32)
        super().__init__(networks["encoder"], networks["decoder"], equal, config.kl_weight, seed, optimizer)
        self._config, self._layer_sizes = config, [layer.size for layer in geometry.layers]

    def terms(self, batch: dict[str, tf.Tensor], noise_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gives the loss and its parts of a batch, with the noise of a seed `[2]`."""
        config = self._config
        mean, log_variance, decoded = self.reconstruct(batch, noise_seed)
        logarithm = log_variance if config.divergence == "variance" else 0.5 * log_variance
        layers, decoded_layers = self._layer_energies(batch["shower"]), self._layer_energies(decoded)
        total, decoded_total = (tf.reduce_sum(item, axis=-1, keepdims=True) for item in (layers, decoded_layers))
        shares = tf.math.divide_no_nan(layers, total) - tf.math.divide_no_nan(decoded_layers, decoded_total)
        squares = tf.square(batch["shower"] - decoded)
        over_cells = tf.reduce_sum if config.reconstruction == "sum" else tf.reduce_mean
        parts = {
            "reconstruction": tf.reduce_mean(over_cells(squares, axis=-1)),
            "kl": tf.reduce_mean(tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - logarithm - 1.0, axis=-1)),
            "total": tf.reduce_mean(tf.abs(total - decoded_total)),
            "layers": tf.reduce_mean(tf.reduce_sum(config.layer_weights * tf.abs(shares), axis=-1)),
        }
        weights = (config.reconstruction_weight, config.kl_weight, config.total_weight, 1.0)
        loss = tf.add_n([weight * value for weight, value in zip(weights, parts.values(), strict=True)])
        return {"loss": loss, **parts}

    def _layer_energies(self, showers: tf.Tensor) -> tf.Tensor:
        parts = tf.split(showers, self._layer_sizes, axis=-1)
        return tf.stack([tf.reduce_sum(part, axis=-1) for part in parts], axis=-1)


def build_schedule(config: AtlasNoteVaeConfig, incident_energies: np.ndarray) -> Epochs:
    """Gives the schedule: epochs over all training showers, of which the last is kept."""
    seed = named_seed(config.seed, "order")
    return Epochs(epochs=config.epochs, batch_size=config.batch_size, seed=seed, keep="last")


_PAPER = AtlasNoteVaeConfig()
CONFIGS: dict[str, tuple[AtlasNoteVaeConfig, CellGrid]] = {
    name: (config, ATLAS_GAN_WINDOW)
    for name, config in {
        "paper": _PAPER,
        **{f"kl-{weight:g}": replace(_PAPER, kl_weight=weight) for weight in (1.0, 1e-2)},
        **{f"rate-{rate:g}": replace(_PAPER, learning_rate=rate) for rate in (1e-2, 1e-3, 1e-5)},
        "printed": replace(_PAPER, divergence="printed"),
        "mean": replace(_PAPER, reconstruction="mean"),
        "glorot": replace(_PAPER, kernel_initializer="glorot_normal", bias_initializer="glorot_normal"),
    }.items()
}
"""The paper's VAE, weights and rates as in Fig. 3, the printed divergence, and what else the paper may mean."""


class _DenseLayers:
    """Dense layers of one network, with the configuration's initialisers."""

    def __init__(self, config: AtlasNoteVaeConfig, network: str) -> None:
        self._kernels = Initializers(config.seed, network, config.kernel_initializer)
        self._biases = Initializers(config.seed, f"{network} biases", config.bias_initializer)
        self._bias, self._activation = config.bias_initializer, config.hidden_activation

    def __call__(self, units: int, activation: str | None = None, name: str | None = None) -> keras.layers.Dense:
        """Gives the next layer."""
        bias = self._biases() if self._bias == "glorot_normal" else self._bias
        return keras.layers.Dense(
            units, activation, name=name, kernel_initializer=self._kernels(), bias_initializer=bias
        )

    def hidden(self, inputs: list[keras.KerasTensor], widths: tuple[int, ...]) -> keras.KerasTensor:
        """Gives the output of hidden layers behind the inputs."""
        hidden = keras.layers.Concatenate()(inputs)
        for units in widths:
            if self._activation == "prelu":
                hidden = keras.layers.PReLU()(self(units)(hidden))
            else:
                hidden = self(units, self._activation)(hidden)
        return hidden
