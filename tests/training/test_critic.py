from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import gradient_penalty as slow

from calogen.training.critic import dense_chain, taped_gradient
from calogen.training.layers import SpectralDense
from calogen.training.losses import gradient_penalty

Dense, Relu, Leaky = keras.layers.Dense, keras.layers.ReLU, keras.layers.LeakyReLU
SHOWER_DIM, CONDITION_DIM = 5, 2
SLOPE = 0.25  # exact in every precision


def plain(units: int, activation: Any = None, **options: Any) -> keras.layers.Layer:
    return Dense(units, activation, **options)


def spectral(units: int, activation: Any = None, **options: Any) -> keras.layers.Layer:
    return SpectralDense(units, activation, **options)


def projected(units: int, activation: Any = None, **options: Any) -> keras.layers.Layer:
    return keras.layers.SpectralNormalization(Dense(units, activation, **options), dtype=options.get("dtype"))


KINDS = {function.__name__: function for function in (plain, spectral, projected)}
Body = Callable[[Any, Any, Any], Any]


def make_critic(body: Body, dtype: str = "float32") -> keras.Model:
    """A critic of concatenate(shower, condition), shower and condition."""
    shower = keras.Input((SHOWER_DIM,), name="shower", dtype=dtype)
    condition = keras.Input((CONDITION_DIM,), name="condition", dtype=dtype)
    together = keras.layers.Concatenate(dtype=dtype)([shower, condition])
    return keras.Model({"shower": shower, "condition": condition}, body(together, shower, condition))


def make_dense_critic(
    kind: str, dtype: str, *, use_bias: bool = True, activation: str = "relu", calls: int = 2
) -> keras.Model:
    """A dense critic 7-6-4-1 with random biases after some training calls."""

    def body(hidden: Any, *_: Any) -> Any:
        for number, units in enumerate((6, 4)):
            options = {"use_bias": use_bias, "dtype": dtype, "kernel_initializer": initializer(number)}
            inside = activation if activation in ("relu", "leaky_relu") else None
            hidden = KINDS[kind](units, inside, **options)(hidden)
            if activation == "ReLU layer":
                hidden = Relu(negative_slope=SLOPE, dtype=dtype)(hidden)
            elif activation == "LeakyReLU layer":
                hidden = Leaky(SLOPE, dtype=dtype)(hidden)
            elif activation == "Activation layer":
                hidden = keras.layers.Activation("relu", dtype=dtype)(hidden)
        return KINDS[kind](1, use_bias=use_bias, dtype=dtype, kernel_initializer=initializer(2))(hidden)

    network = make_critic(body, dtype)
    rng = np.random.default_rng(11)
    for variable in network.trainable_variables:
        if variable.name == "bias":
            variable.assign(rng.normal(size=variable.shape))
    for _ in range(calls):
        network(inputs_of(dtype), training=True)
    return network


def initializer(seed: int) -> keras.initializers.Initializer:
    return keras.initializers.HeUniform(seed=seed)


def inputs_of(dtype: str = "float32", num_rows: int = 32) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(4)
    widths = {"shower": SHOWER_DIM, "condition": CONDITION_DIM}
    return {name: tf.constant(rng.normal(size=(num_rows, width)), dtype) for name, width in widths.items()}


def penalty_and_gradients(
    network: keras.Model, gradient: Callable[[], tf.Tensor]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The penalty, and what it gives for every kernel and bias."""
    variables = network.trainable_variables
    with tf.GradientTape() as tape:
        penalty = gradient_penalty(gradient())
    found = tape.gradient(penalty, variables)
    pairs = zip(variables, found, strict=True)
    return penalty.numpy(), {
        variable.path: np.zeros(variable.shape) if value is None else np.asarray(value) for variable, value in pairs
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "use_bias", "activation", "tolerance"),
    [
        ("float64", True, "relu", 1e-12),
        ("float64", False, "Activation layer", 1e-12),
        ("float64", True, "LeakyReLU layer", 1e-12),
        ("float64", False, "ReLU layer", 1e-12),
        ("float64", True, "leaky_relu", 1e-7),  # its slope of 0.2 is rounded to float32
        ("float32", True, "LeakyReLU layer", 1e-5),
        ("float32", False, "relu", 1e-5),
    ],
)
def test_the_gradient_by_hand_equals_double_back_propagation(
    kind: str, dtype: str, use_bias: bool, activation: str, tolerance: float
) -> None:
    network, inputs = make_dense_critic(kind, dtype, use_bias=use_bias, activation=activation), inputs_of(dtype)
    chain = dense_chain(network)
    assert chain is not None
    by_hand = chain.input_gradient(tf.concat([inputs["shower"], inputs["condition"]], axis=1))
    np.testing.assert_allclose(
        by_hand, taped_gradient(network, **inputs), atol=tolerance * np.abs(by_hand).max(), rtol=tolerance
    )
    ours, our_gradients = penalty_and_gradients(
        network, lambda: chain.input_gradient(tf.concat([inputs["shower"], inputs["condition"]], axis=1))
    )
    theirs, their_gradients = penalty_and_gradients(network, lambda: taped_gradient(network, **inputs))
    assert ours == pytest.approx(theirs, rel=tolerance)
    assert len(our_gradients) == (6 if use_bias else 3)
    for path, expected in their_gradients.items():
        assert np.any(expected) == path.endswith("kernel"), "a bias only shifts the kinks"
        np.testing.assert_allclose(our_gradients[path], expected, atol=tolerance * np.abs(expected).max(), err_msg=path)


@pytest.mark.parametrize("kind", ["plain", "spectral"])
def test_the_penalty_equals_its_slow_twin(kind: str) -> None:
    network = make_dense_critic(kind, "float64", activation="LeakyReLU layer", calls=30)
    inputs = inputs_of("float64", 6)
    layers = [layer for layer in network.layers if isinstance(layer, Dense | SpectralDense)]
    biases = [layer.bias.numpy() for layer in layers]
    kernels = [layer.kernel.numpy() for layer in layers]
    if kind == "spectral":
        kernels = [kernel / np.linalg.svd(kernel)[1][0] for kernel in kernels]

    def score(values: list[float]) -> float:
        return slow.dense_forward(kernels, biases, (SLOPE, SLOPE), values)[0]

    expected = slow.penalty_of(score, inputs["shower"].numpy(), inputs["condition"].numpy())
    chain = dense_chain(network)
    assert chain is not None
    by_hand = chain.input_gradient(tf.concat([inputs["shower"], inputs["condition"]], axis=1))
    # 30 power iterations leave some 1e-6 of the smaller singular values
    assert float(gradient_penalty(by_hand)) == pytest.approx(expected, rel=1e-9 if kind == "plain" else 1e-4)
    assert float(gradient_penalty(taped_gradient(network, **inputs))) == pytest.approx(float(gradient_penalty(by_hand)))


def test_a_linear_critic_has_the_penalty_of_its_length() -> None:
    network = make_critic(lambda hidden, *_: Dense(1, dtype="float64")(hidden), "float64")
    weights = np.array([[0.5], [-1.0], [2.0], [0.0], [1.5], [7.0], [9.0]])  # the last two are the condition's
    network.layers[-1].kernel.assign(weights)
    gradient = taped_gradient(network, **inputs_of("float64"))
    np.testing.assert_array_equal(gradient, np.tile(weights[:SHOWER_DIM].T, (32, 1)))
    assert float(gradient_penalty(gradient)) == pytest.approx((np.sqrt(7.5) - 1) ** 2, rel=1e-14)


def test_a_critic_linear_in_its_range_has_it_by_hand_too() -> None:
    network = make_critic(lambda hidden, *_: Dense(1)(Dense(3, "relu")(hidden)))
    first, last = network.layers[-2:]
    kernel = np.zeros((7, 3), np.float32)
    kernel[:SHOWER_DIM, 0], kernel[:, 1] = [3.0, 0.0, -4.0, 0.0, 0.0], 100.0
    first.kernel.assign(kernel)
    first.bias.assign([1000.0, -1e6, 0.0])  # always on, always off
    last.kernel.assign([[0.6], [5.0], [5.0]])
    chain = dense_chain(network)
    assert chain is not None
    gradient = chain.input_gradient(tf.concat(list(inputs_of().values()), axis=1))
    assert float(gradient_penalty(gradient)) == pytest.approx((3.0 - 1) ** 2, rel=1e-6)


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_critic_without_gradient_gives_a_finite_derivative(by_hand: bool) -> None:
    network = make_critic(lambda hidden, *_: Dense(1)(Dense(3, "relu")(hidden)))
    network.layers[-2].bias.assign([-1e6] * 3)
    inputs, chain = inputs_of(), dense_chain(network)
    assert chain is not None
    together = tf.concat([inputs["shower"], inputs["condition"]], axis=1)
    penalty, gradients = penalty_and_gradients(
        network, lambda: chain.input_gradient(together) if by_hand else taped_gradient(network, **inputs)
    )
    assert penalty == 1.0
    assert all((value == 0).all() for value in gradients.values())


def test_the_chain_follows_the_kernels_as_they_train() -> None:
    network, inputs = make_dense_critic("spectral", "float32"), inputs_of()
    chain = dense_chain(network)
    assert chain is not None
    network.set_weights([0.5 - weight for weight in network.get_weights()])
    by_hand = chain.input_gradient(tf.concat([inputs["shower"], inputs["condition"]], axis=1))
    np.testing.assert_allclose(by_hand, taped_gradient(network, **inputs), rtol=1e-4, atol=1e-6)


def test_half_precision_is_that_of_the_layers() -> None:
    inputs = inputs_of()
    network = make_critic(
        lambda hidden, *_: Dense(1, dtype="mixed_bfloat16")(Dense(8, "relu", dtype="mixed_bfloat16")(hidden))
    )
    chain = dense_chain(network)
    assert chain is not None
    assert chain.dtype == "bfloat16"
    by_hand = chain.input_gradient(tf.concat([inputs["shower"], inputs["condition"]], axis=1))
    assert by_hand.dtype == tf.float32
    taped = taped_gradient(network, **inputs)
    np.testing.assert_allclose(by_hand, taped, atol=0.05 * float(tf.reduce_max(tf.abs(taped))))


class Doubled(Dense):
    """A dense layer that is none."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return 2 * super().call(inputs)


class Shifted(Relu):
    """A ReLU that is none."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return super().call(inputs - 1.0)


def two_outputs(hidden: Any, *_: Any) -> Any:
    inside = Dense(6, "relu")(hidden)
    return [Dense(1)(inside), Dense(1)(inside)]


def hidden_output(hidden: Any, *_: Any) -> Any:
    inside = Dense(1, "relu")(hidden)
    return [inside, Dense(1)(inside)]


def skip_connection(hidden: Any, *_: Any) -> Any:
    return Dense(1)(keras.layers.Add()([hidden, Dense(7, "relu")(hidden)]))


def second_look(hidden: Any, shower: Any, _: Any) -> Any:
    return Dense(1)(keras.layers.Concatenate()([Dense(6, "relu")(hidden), shower]))


def used_twice(hidden: Any, *_: Any) -> Any:
    inner = Dense(6, "relu")
    return Dense(1)(inner(inner(Dense(6, "relu")(hidden))))


def einsum(units: int, activation: Any = None) -> keras.layers.Layer:
    return keras.layers.EinsumDense("ab,bc->ac", units, activation)


OTHERS: dict[str, Body] = {
    "linear": lambda h, *_: Dense(1)(h),
    "two linear layers": lambda h, *_: Dense(1)(Dense(6)(h)),
    "tanh": lambda h, *_: Dense(1)(Dense(6, "tanh")(h)),
    "tanh layer": lambda h, *_: Dense(1)(keras.layers.Activation("tanh")(Dense(6)(h))),
    "an activation with parameters": lambda h, *_: Dense(1)(keras.layers.PReLU()(Dense(6)(h))),
    "an activation as a layer": lambda h, *_: Dense(1)(Dense(6, Leaky(0.1))(h)),
    "ReLU with a ceiling": lambda h, *_: Dense(1)(Relu(6.0)(Dense(6)(h))),
    "ReLU with a threshold": lambda h, *_: Dense(1)(Relu(threshold=0.5)(Dense(6)(h))),
    "a subclass of ReLU": lambda h, *_: Dense(1)(Shifted()(Dense(6)(h))),
    "two activations": lambda h, *_: Dense(1)(Leaky(0.5)(Dense(6, "relu")(h))),
    "an activation first": lambda h, *_: Dense(1)(Dense(6, "relu")(Relu()(h))),
    "an activated score": lambda h, *_: Dense(1, "relu")(Dense(6, "relu")(h)),
    "an activated score by a layer": lambda h, *_: Relu()(Dense(1)(Dense(6, "relu")(h))),
    "two scores": lambda h, *_: Dense(2)(Dense(6, "relu")(h)),
    "two outputs": two_outputs,
    "an output before the last": hidden_output,
    "skip connection": skip_connection,
    "the shower once more": second_look,
    "a layer used twice": used_twice,
    "a subclass of Dense": lambda h, *_: Dense(1)(Doubled(6, "relu")(h)),
    "a subclass of Dense behind a linear layer": lambda h, *_: Dense(1)(Doubled(6, "relu")(Dense(6)(h))),
    "another layer with ReLU behind a linear layer": lambda h, *_: Dense(1)(einsum(6, "relu")(Dense(6)(h))),
    "normalisation": lambda h, *_: Dense(1)(keras.layers.LayerNormalization()(Dense(6, "relu")(h))),
    "dropout": lambda h, *_: Dense(1)(keras.layers.Dropout(0.5)(Dense(6, "relu")(h))),
    "shower alone": lambda _, s, __: Dense(1)(Dense(6, "relu")(s)),
    "reversed": lambda _, s, c: Dense(1)(Dense(6, "relu")(keras.layers.Concatenate()([c, s]))),
    "shower twice": lambda _, s, c: Dense(1)(Dense(6, "relu")(keras.layers.Concatenate()([s, c, s]))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_critic_is_no_chain(name: str) -> None:
    assert dense_chain(make_critic(OTHERS[name])) is None


def test_other_inputs_and_models_are_no_chain() -> None:
    shower, other = keras.Input((5,), name="shower"), keras.Input((2,), name="label")
    together = keras.layers.Concatenate()([shower, other])
    assert dense_chain(keras.Model([shower, other], Dense(1)(Dense(6, "relu")(together)))) is None
    assert dense_chain(keras.Sequential([keras.Input((5,), name="shower"), Dense(6, "relu"), Dense(1)])) is None
    assert dense_chain(Subclassed()) is None
    inner = make_dense_critic("plain", "float32")
    inputs = {name: keras.Input(tensor.shape[1:], name=name) for name, tensor in inputs_of().items()}
    assert dense_chain(keras.Model(inputs, inner(inputs))) is None
    assert dense_chain(inner) is not None


class Subclassed(keras.Model):
    """A model that is no graph of layers."""

    def call(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        return inputs["shower"]
