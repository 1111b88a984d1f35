"""Speed of WGAN-GP training: one iteration of CaloShowerGAN, several ways, as ratios.

    pip install 'calogen[bench]' && python benchmarks/wgan_training.py          # PyTorch and JAX beside ours
    python benchmarks/wgan_training.py --only ours --batch-size 256

An iteration is 8 critic steps and one of the generator with the networks of the paper's Table 2 and no spectral
normalisation, the same mathematics everywhere: ours (`training.wgan_gp`, the penalty's gradient by hand), plain
TensorFlow (one function per step, tf.data, double back-propagation), PyTorch eager, JAX jit (the whole iteration). Each
has a process of its own (benchmarks/wgan/) with one thread; they take turns. Medians of CPU seconds. The limit is the
time of the iteration's matrix products alone, in their shapes, by the faster of NumPy and TensorFlow (oneDNN). The
showers are random, as values do not matter.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from calogen.config import config_to_json
from calogen.files import write_json
from calogen.models.caloshowergan import CONFIGS

CONFIG, GEOMETRY = CONFIGS["photon-kinetic"]
GENERATOR_WIDTHS = (CONFIG.latent_dim + 1, *CONFIG.generator_units, GEOMETRY.size)
CRITIC_WIDTHS = (GEOMETRY.size + 1, *CONFIG.critic_units, 1)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
}
WAYS = {
    "ours": ("tensorflow_ways.py", "ours"),
    "plain TensorFlow (at least 1.3)": ("tensorflow_ways.py", "plain"),
    "PyTorch eager (at least 2.5)": ("pytorch_eager.py", ""),
    "JAX jit (at least 1)": ("jax_jit.py", ""),
    "ours, spectral normalisation": ("tensorflow_ways.py", "spectral"),
    "ours, critic in bfloat16": ("tensorflow_ways.py", "bfloat16"),
    "products by NumPy": ("products.py", "NumPy"),
    "products by TensorFlow": ("products.py", "TensorFlow"),
}
PRODUCTS = ("products by NumPy", "products by TensorFlow")
Layers = list[tuple[int, int]]


def main() -> None:
    """Measures and prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=CONFIG.batch_size, help="per step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="iterations of each, in turn (default: %(default)s)")
    parser.add_argument("--only", choices=WAYS, action="append", help="measure these ways only")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    ways = {name: start(name, arguments.batch_size) for name in arguments.only or WAYS}
    running = {name: process for name, process in ways.items() if process}
    turns = [{name: ask(process) for name, process in running.items()} for _ in range(arguments.rounds)]
    seconds = {name: float(np.median([turn[name] for turn in turns])) for name in running}
    figures = {f"{name}, CPU s": value for name, value in seconds.items()}
    if "ours" in seconds:
        others = {name: value for name, value in seconds.items() if name != "ours" and name not in PRODUCTS}
        figures |= {f"ours over {name}": value / seconds["ours"] for name, value in others.items()}
    if "ours" in seconds and not seconds.keys().isdisjoint(PRODUCTS):
        fastest = limit(seconds)
        operations = 2.0 * sum(m * k * n for m, k, n in products(arguments.batch_size))
        figures["fastest matrix products, GFLOP per CPU s"] = operations / fastest / 1e9
        figures["ours, share of the fastest matrix products (at least 0.8)"] = fastest / seconds["ours"]
    for name, value in figures.items():
        print(f"{name:58s} {value:12.4g}{doubt(value) if 'share of' in name else ''}")
    if arguments.json:
        write_json(arguments.json, figures | {"batch_size": arguments.batch_size})


def doubt(share: float) -> str:
    """A warning for a share of 1, which says little; an empty text for smaller shares."""
    text = "  >= 1: the products took longer than what has them, as on a busy machine; run again on an idle one"
    return text if share >= 1 else ""


def limit(seconds: Mapping[str, float]) -> float:
    """Least CPU seconds: of the fastest matrix products, or of our iteration with them."""
    return min(seconds[name] for name in (*PRODUCTS, "ours") if name in seconds)


def start(name: str, batch_size: int) -> "subprocess.Popen[str] | None":
    """Starts a process that waits to do iterations; None, with a printed line, if it fails."""
    settings = config_to_json(CONFIG) | {
        "batch_size": batch_size,
        "num_showers": 20_000,
        "products": products(batch_size),
        "generator_widths": GENERATOR_WIDTHS,
        "critic_widths": CRITIC_WIDTHS,
    }
    script, way = WAYS[name]
    command = [sys.executable, str(Path(__file__).parent / "wgan" / script), json.dumps(settings), way]
    pipe, env = subprocess.PIPE, os.environ | ONE_THREAD
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=env)
    assert process.stdout
    if process.stdout.readline() != "ready\n":
        print(f"{name}: left out, {script} does not start (pip install 'calogen[bench]')")
        return None
    return process


def ask(process: "subprocess.Popen[str]") -> float:
    """CPU seconds of one iteration."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def products(batch_size: int) -> list[tuple[int, int, int]]:
    """Shapes (m, k, n) of the matrix products that an iteration cannot do without."""
    generator, critic = (list(pairwise(widths)) for widths in (GENERATOR_WIDTHS, CRITIC_WIDTHS))
    rows, both = batch_size, 2 * batch_size
    step = [*forward(generator, rows), *forward(critic, both), *to_kernels(critic, both), *to_inputs(critic[1:], both)]
    # The gradient penalty: forward (the first layer's output is interpolated, too), the gradient, its own gradients.
    hidden = critic[:-1]
    step += [*forward(hidden[1:], rows), *to_inputs(hidden, rows), *to_kernels(hidden, rows), *forward(hidden, rows)]
    last = [*forward(generator, rows), *to_kernels(generator, rows), *to_inputs(generator[1:], rows)]
    last += [*forward(critic, rows), *to_inputs(critic, rows)]
    return step * CONFIG.critic_steps + last


def forward(layers: Layers, rows: int) -> list[tuple[int, int, int]]:
    """Shapes of the products of inputs and kernels."""
    return [(rows, inputs, units) for inputs, units in layers]


def to_kernels(layers: Layers, rows: int) -> list[tuple[int, int, int]]:
    """Shapes of the products that give the gradients by the kernels."""
    return [(inputs, rows, units) for inputs, units in layers]


def to_inputs(layers: Layers, rows: int) -> list[tuple[int, int, int]]:
    """Shapes of the products that give the gradients by the layers' inputs."""
    return [(rows, units, inputs) for inputs, units in layers]


if __name__ == "__main__":
    main()
