"""One iteration in JAX: all of it in one jit, double back-propagation by grad of grad."""

from collections.abc import Callable
from itertools import count, pairwise
from types import SimpleNamespace

import jax
import numpy as np
from jax import numpy as jnp
from serve import serve

Network = list[dict[str, jax.Array]]
WEIGHT = 3.0  # gradient penalty weight of the paper's Table 2


def dense(key: jax.Array, widths: list[int]) -> Network:
    """Kernels, biases, scales and shifts of a network, by layer."""
    keys = jax.random.split(key, len(widths))
    return [
        {"w": jax.random.normal(k, (i, o)) * np.sqrt(2 / i), "b": jnp.zeros(o), "s": jnp.ones(o), "t": jnp.zeros(o)}
        for k, (i, o) in zip(keys, pairwise(widths), strict=False)
    ]


def generate(net: Network, latent: jax.Array, condition: jax.Array) -> jax.Array:
    """Showers: dense layers with batch normalisation and swish."""
    hidden = jnp.concatenate([latent, condition], 1)
    for layer in net:
        hidden = hidden @ layer["w"] + layer["b"]
        hidden = (hidden - hidden.mean(0)) * jax.lax.rsqrt(hidden.var(0) + 1e-3) * layer["s"] + layer["t"]
        hidden = jax.nn.silu(hidden)
    return hidden


def score(net: Network, shower: jax.Array, condition: jax.Array) -> jax.Array:
    """Scores of the critic."""
    hidden = jnp.concatenate([shower, condition], 1)
    for layer in net[:-1]:
        hidden = jax.nn.relu(hidden @ layer["w"] + layer["b"])
    return hidden @ net[-1]["w"] + net[-1]["b"]


def critic_loss(net: Network, shower: jax.Array, fake: jax.Array, condition: jax.Array, key: jax.Array) -> jax.Array:
    """Loss of the critic with its penalty."""
    between = fake + jax.random.uniform(key, (len(shower), 1)) * (shower - fake)
    gradient = jax.grad(lambda x: score(net, x, condition).sum())(between)
    penalty = jnp.mean((jnp.linalg.norm(gradient, axis=1) - 1) ** 2)
    return score(net, fake, condition).mean() - score(net, shower, condition).mean() + WEIGHT * penalty


def adam(state: tuple, gradients: Network, settings: SimpleNamespace) -> tuple:
    """A step of Adam: parameters, moments and number of steps before it -> those after it."""
    net, first, second, step = state
    step, beta_1, beta_2 = step + 1, settings.beta_1, settings.beta_2
    first = jax.tree.map(lambda m, g: beta_1 * m + (1 - beta_1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: beta_2 * v + (1 - beta_2) * g * g, second, gradients)
    rate = settings.learning_rate * jnp.sqrt(1 - beta_2**step) / (1 - beta_1**step)
    net = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), net, first, second)
    return net, first, second, step


def make(settings: SimpleNamespace) -> Callable[[], object]:
    """Makes a function that does the whole iteration in one jit."""

    def draw(key: jax.Array) -> jax.Array:
        unit = jax.random.normal(key, (settings.batch_size, settings.latent_dim))
        return settings.latent_mean + settings.latent_spread * unit

    @jax.jit
    def iteration(generator: tuple, critic: tuple, key: jax.Array, data: jax.Array, label: jax.Array) -> tuple:
        def step(critic: tuple, key: jax.Array) -> tuple:
            keys = jax.random.split(key, 3)
            rows = jax.random.randint(keys[0], (settings.batch_size,), 0, len(data))
            fake = generate(generator[0], draw(keys[1]), label[rows])
            gradients = jax.grad(critic_loss)(critic[0], data[rows], fake, label[rows], keys[2])
            return adam(critic, gradients, settings), rows

        keys = jax.random.split(key, settings.critic_steps + 1)
        critic, rows = jax.lax.scan(step, critic, keys[1:])
        latent, condition = draw(keys[0]), label[rows[-1]]
        gradients = jax.grad(lambda net: -score(critic[0], generate(net, latent, condition), condition).mean())(
            generator[0]
        )
        return adam(generator, gradients, settings), critic

    states = []
    for seed, widths in enumerate((settings.generator_widths, settings.critic_widths)):
        net = dense(jax.random.key(seed), widths)
        zeros = jax.tree.map(jnp.zeros_like, net)
        states.append((net, zeros, zeros, jnp.zeros(())))
    random = np.random.default_rng(1)
    data = jnp.asarray(random.random((settings.num_showers, settings.generator_widths[-1]), np.float32))
    label, counter = jnp.asarray(random.random((settings.num_showers, 1), np.float32)), count()

    def iterate() -> None:
        states[:] = iteration(*states, jax.random.key(next(counter)), data, label)
        jax.block_until_ready(states)

    return iterate


if __name__ == "__main__":
    serve(make)
