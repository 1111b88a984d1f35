"""The ATLAS VAE's speed: training, generation, memory in one run, as ratios side by side.

    python benchmarks/atlas_vae.py                 # both ways of training on all cores, as TensorFlow does by itself
    python benchmarks/atlas_vae.py --threads 1     # one core: its share of the fastest matrix products' rate

The limit is the time of the training's matrix products alone, in their shapes, by the fastest of NumPy, TensorFlow
(oneDNN) and XLA. Training is timed by marginal cost, a long run minus a short one: compilation and start do not count.
CPU seconds are printed beside the seconds that pass, which other jobs on the machine disturb. The showers are random,
as values do not matter.
"""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from calogen.backend import tf
from calogen.features.batches import resident
from calogen.features.moments import moments
from calogen.features.transforms import Chain
from calogen.files import write_json
from calogen.generation.generate import compile_one_shower, generate, seconds_per_call
from calogen.models import atlas_vae
from calogen.models.atlas_vae import CONFIGS, build, build_trainer, build_transform
from calogen.parallel import blas_threads, num_cores
from calogen.showers.sample import Showers
from calogen.training.calls import compile_calls
from calogen.training.run import assemble_run
from calogen.training.trainer import Epochs
from calogen.training.vae import Vae

CONFIG, GEOMETRY = CONFIGS["paper"]
BATCH_SIZE = 100


def main() -> None:
    """Measures and prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--showers", type=int, default=9000, help="training showers (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=num_cores(), help="of TensorFlow (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of training, interleaved (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    showers = random_showers(arguments.showers)
    chain = build_transform(CONFIG, GEOMETRY).fit(showers)
    figures = training_figures(showers, chain, arguments.rounds) | generation_figures(chain)
    figures["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, value in figures.items():
        print(f"{name:58s} {value:12.4g}{doubt(value) if 'share of' in name else ''}")
    if arguments.json:
        write_json(arguments.json, figures | {"threads": arguments.threads, "showers": arguments.showers})


def doubt(share: float) -> str:
    """A warning for a share of 1, which says little; an empty text for smaller shares."""
    text = "  >= 1: the products took longer than what has them, as on a busy machine; run again on an idle one"
    return text if share >= 1 else ""


def random_showers(num_showers: int) -> Showers:
    """Showers of random energies, without any physics."""
    rng = np.random.default_rng(1)
    incident = 2.0 ** rng.integers(10, 19, num_showers)
    energies = rng.dirichlet(np.full(GEOMETRY.size, 0.1), num_showers) * incident[:, None]
    return Showers(GEOMETRY, incident, energies.astype(np.float32))


def training_figures(showers: Showers, chain: Chain, rounds: int) -> dict[str, float]:
    """Median seconds per epoch of both ways, interleaved with the machine's matrix product."""
    fit, compiled = plain_fit(showers, chain), compiled_epochs(showers, chain)
    fit(1), compiled(1)  # compilation
    products, steps = step_products(), len(showers) // BATCH_SIZE
    rows = np.array([(*marginal(fit), *marginal(compiled), *product_seconds(products)) for _ in range(rounds)])
    fit_wall, fit_cpu, wall, cpu, *libraries = rows.T
    fastest = limit([steps * seconds for seconds in libraries], cpu)
    flops = 2.0 * steps * sum(m * k * n for m, k, n in products)
    figures = {
        "model.fit, s per epoch": fit_wall,
        "model.fit, CPU s per epoch": fit_cpu,
        "compiled epoch, s": wall,
        "compiled epoch, CPU s": cpu,
        "compiled epoch, showers per s": steps * BATCH_SIZE / wall,
        "training: compiled over model.fit (at least 2.5, aim 4)": fit_wall / wall,
        "compiled over model.fit in CPU seconds": fit_cpu / cpu,
        "fastest matrix products, GFLOP per CPU s": flops / fastest / 1e9,
        "compiled epoch, share of these in CPU s (aim 0.5)": fastest / cpu,
    }
    return {name: float(np.median(values)) for name, values in figures.items()}


def plain_fit(showers: Showers, chain: Chain) -> Callable[[int], object]:
    """Training by `model.fit` with this mathematics, as one would write it without calogen."""
    trainer = make_trainer(showers, chain)
    condition = chain.condition(showers.incident_energies)
    batches = tf.data.Dataset.from_tensor_slices({"shower": chain.forward(showers), "condition": condition})
    batches = batches.shuffle(len(showers), seed=1).batch(BATCH_SIZE, drop_remainder=True)
    return lambda epochs: trainer.fit(batches, epochs=epochs, verbose=0, shuffle=False)


def compiled_epochs(showers: Showers, chain: Chain) -> Callable[[int], object]:
    """Training by compiled epochs, as `training.train` runs them."""
    run = compile_calls(make_trainer(showers, chain), resident(showers, chain))
    schedule = Epochs(epochs=1, batch_size=BATCH_SIZE, seed=1)
    return lambda epochs: [run(rows) for epoch in range(epochs) for _, rows in schedule.calls(epoch, len(showers), 1)]


def make_trainer(showers: Showers, chain: Chain) -> Vae:
    """A new trainer whose optimizer is built."""
    return build_trainer(CONFIG, GEOMETRY, build(CONFIG, GEOMETRY), moments(chain.forward(showers)))


def generation_figures(chain: Chain) -> dict[str, float]:
    """Time of one shower by `model.predict` and the fast path; throughput of 10,000 at once."""
    run = assemble_run(atlas_vae, CONFIG, GEOMETRY, build(CONFIG, GEOMETRY), chain)
    energy, latent = np.array([65536.0]), run.latent.draw(1, 0)
    one_shower, decoder = compile_one_shower(run), run.networks["decoder"]

    def predict() -> np.ndarray:
        features = decoder.predict({"latent": latent, "condition": chain.condition(energy)}, verbose=0)
        return chain.energies(features, energy)

    slow, fast = seconds_per_call(predict, 30), seconds_per_call(lambda: one_shower(65536.0, latent[0]), 3000)
    many = np.full(10_000, 65536.0)
    return {
        "one shower by model.predict, ms": 1e3 * slow,
        "one shower by the fast path, ms": 1e3 * fast,
        "one shower: fast path over model.predict (at least 100)": slow / fast,
        "10,000 showers at once, showers per s": 10_000 / seconds_per_call(lambda: generate(run, many), 5),
    }


def marginal(train: Callable[[int], object], short: int = 1, long: int = 5) -> np.ndarray:
    """Seconds and CPU seconds per epoch: a long run minus a short one."""
    durations = []
    for epochs in (short, long):
        start = np.array([time.perf_counter(), time.process_time()])
        train(epochs)
        durations.append(np.array([time.perf_counter(), time.process_time()]) - start)
    return (durations[1] - durations[0]) / (long - short)


def limit(libraries: Sequence[np.ndarray], ours: np.ndarray) -> np.ndarray:
    """Least seconds of each round: of the fastest matrix products, or of our training."""
    return np.min([*libraries, ours], axis=0)


def step_products() -> list[tuple[int, int, int]]:
    """Shapes (m, k, n) of a step's products: forward, gradients by kernels and inputs."""
    shapes = []
    for network in build(CONFIG, GEOMETRY).values():
        kernels = [tuple(variable.shape) for variable in network.weights if variable.ndim == 2]
        for position, (inputs, units) in enumerate(kernels):
            shapes += [(BATCH_SIZE, inputs, units), (inputs, BATCH_SIZE, units)]
            if position:  # the gradient by a network's inputs is not computed, or small as the decoder's latent space
                shapes.append((BATCH_SIZE, units, inputs))
    return shapes


def product_seconds(shapes: Sequence[tuple[int, int, int]], repeats: int = 20) -> list[float]:
    """Median CPU seconds of all these products, by NumPy, by TensorFlow and by XLA."""
    rng = np.random.default_rng(0)
    arrays = [(rng.random((m, k), np.float32), rng.random((k, n), np.float32)) for m, k, n in shapes]
    tensors = [(tf.constant(left), tf.constant(right)) for left, right in arrays]

    def multiply(pairs: Sequence[tuple[tf.Tensor, tf.Tensor]]) -> list[tf.Tensor]:
        return [tf.matmul(left, right) for left, right in pairs]

    compiled = tf.function(multiply, jit_compile=True, autograph=False)
    ways: list[Callable[[], object]] = [
        lambda: [np.dot(left, right) for left, right in arrays],
        lambda: multiply(tensors),
        lambda: compiled(tensors),
    ]
    durations: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats + 1):
        for seconds, way in zip(durations, ways, strict=True):
            with blas_threads(1):  # further threads would spend processor time on waiting
                start = time.process_time()
                way()
                seconds.append(time.process_time() - start)
    return [float(np.median(seconds[1:])) for seconds in durations]  # the first call compiles


if __name__ == "__main__":
    main()
