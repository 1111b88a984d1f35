"""A network that changes the energies of a generator's cells, and its training.

It has convolutions of 1 x 1 x 1 cells only, so that it changes the energy of a cell but hardly its place.
"""

from collections.abc import Callable

from calogen.backend import keras, tf
from calogen.features.batches import Batch
from calogen.training.discrepancies import Discrepancy
from calogen.training.layers import Initializers
from calogen.training.trainer import BatchOf, KerasTrainer
from calogen.training.volumes import Shape, dense_layers, leaky, normalise, to_volume

Source = Callable[[Batch, tf.Tensor], tf.Tensor]
"""A function that gives the showers `[b, v]` to be changed, for Geant4's batch and the seed `[2]` of the noise."""


def build_post_processor(
    shape: Shape, condition_dim: int, filters: int, slope: float, initializers: Initializers
) -> keras.Model:
    """Gives the network, whose convolutions of single cells are products with matrices.

    Args:
        shape: numbers of layers and cells of a shower.
        filters: number of channels; half as many tell the total energy and the condition.
        slope: slope of the leaky ReLU below zero.

    Input shape:
        `shower` `[b, v]`, `condition` `[b, c]`.

    Output shape:
        `[b, v]`.

    What the total energy and the condition add is the same in all cells of a channel, and the normalisation behind it
    takes just this away: in the paper's network they change the showers by rounding only.

    Source: arXiv:2005.05334, section 3.5 and appendix A.3.
    """

    def dense(units: int, use_bias: bool = True) -> keras.layers.Dense:
        return keras.layers.Dense(units, use_bias=use_bias, kernel_initializer=initializers())

    shower = keras.Input((shape[0] * shape[1] * shape[2],), name="shower")
    condition = keras.Input((condition_dim,), name="condition")
    told = keras.layers.Concatenate()([Total()(shower), condition])
    told = dense_layers(told, (filters // 2,) * 3, slope, initializers)
    hidden = leaky(normalise(dense(filters)(to_volume(shower, shape))), slope)
    # the same as one product behind a concatenation, which would repeat the few numbers for every cell
    everywhere = keras.layers.Reshape((1, 1, 1, filters))(dense(filters, use_bias=False)(told))
    hidden = leaky(normalise(keras.layers.Add()([dense(filters)(hidden), everywhere])), slope)
    for _ in range(2):
        hidden = leaky(normalise(dense(filters)(hidden)), slope)
    hidden = dense(1, use_bias=False)(leaky(dense(filters)(hidden), slope))
    outputs = keras.layers.Flatten()(hidden)
    return keras.Model({"shower": shower, "condition": condition}, outputs, name="post_processor")


@keras.saving.register_keras_serializable("calogen")
class Total(keras.layers.Layer):
    """Sum over all cells.

    Input shape:
        `[b, v]`.

    Output shape:
        `[b, 1]`.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Gives the sum."""
        return tf.reduce_sum(inputs, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Gives the input's shape with 1 as the last size."""
        return (*input_shape[:-1], 1)


class PostProcessing(KerasTrainer):
    """A stage in which the post processor alone learns, behind networks that do not.

    The loss is the mean squared change of a cell, and the weighted discrepancy from Geant4's showers.

    Args:
        network: network {"shower": [b, v], "condition": [b, c]} -> [b, v].
        optimizer: its optimizer, which several stages may share.
        source: gives the showers that the network gets.
        discrepancy: the discrepancy with its weight; 0: the network learns to change nothing.

    Source: arXiv:2005.05334, section 3.5.
    """

    term_names = ("loss", "change", "discrepancy")
    batches_per_step = 1
    jit = False

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        source: Source,
        discrepancy: Discrepancy,
        *,
        seed: int,
    ) -> None:
        super().__init__("post_processing", (network,), (optimizer,), seed)
        self.network, self._source, self._discrepancy = network, source, discrepancy
        self.compile(optimizer=optimizer, jit_compile=False)
        if not optimizer.built:
            optimizer.build(network.trainable_variables)
        self.built = True

    def call(self, batch: Batch, training: bool = False) -> tf.Tensor:
        """Gives the changed showers `[b, v]`."""
        return self.network(batch, training=training)

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step for Keras' `fit` and gives the running means of the terms."""
        return self.average(self._step(batch))

    def step(self, batch: BatchOf) -> dict[str, tf.Tensor]:
        """Takes one step of the optimizer and gives the terms before it."""
        return self._step(batch(tf.constant(0)))

    def _step(self, batch: Batch) -> dict[str, tf.Tensor]:
        shower = tf.stop_gradient(self._source(batch, self.step_seed()))
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            changed = self.network({"shower": shower, "condition": batch["condition"]}, training=True)
            change = tf.reduce_mean(tf.square(changed - shower))
            compared = changed if self._discrepancy.weight else tf.stop_gradient(changed)
            discrepancy = self._discrepancy.kernel(compared, batch["shower"])
            loss = change + self._discrepancy.weight * discrepancy
            total = loss / self.num_replicas
        self.optimizer.apply(tape.gradient(total, variables), variables)
        return {"loss": loss, "change": change, "discrepancy": discrepancy}
