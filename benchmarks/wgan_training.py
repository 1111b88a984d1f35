"""Speed of WGAN-GP training: one iteration of CaloShowerGAN, several ways, as ratios.

    pip install 'calogen[bench]' && python benchmarks/wgan_training.py          # PyTorch and JAX beside ours
    python benchmarks/wgan_training.py --only ours --batch-size 256

An iteration is 8 critic steps and one of the generator with the networks of the paper's Table 2 and no spectral
normalisation, the same mathematics everywhere: ours (`training.wgan_gp`, the penalty's gradient by hand), plain
TensorFlow (one function per step, tf.data, double back-propagation), PyTorch eager, JAX jit (the whole iteration). Each
has a process of its own (benchmarks/wgan/) with one thread; they take turns. Medians of CPU seconds. The showers are
random: values do not matter.
"""

import argparse
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

from calogen.config import config_to_json
from calogen.files import write_json
from calogen.models.caloshowergan import CONFIGS

CONFIG, GEOMETRY = CONFIGS["photon-kinetic"]
GENERATOR_WIDTHS = (CONFIG.latent_dim + 1, *CONFIG.generator_units, GEOMETRY.size)
SGEMM_SIZE = 2000
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
    "sgemm": ("sgemm.py", ""),
}


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
    found = [{name: ask(process) for name, process in running.items()} for _ in range(arguments.rounds)]
    seconds = {name: float(np.median([turn[name] for turn in found])) for name in running}
    figures = {f"{name}, CPU s": value for name, value in seconds.items()}
    if "ours" in seconds:
        others = {name: value for name, value in seconds.items() if name not in ("ours", "sgemm")}
        figures |= {f"ours over {name}": value / seconds["ours"] for name, value in others.items()}
    if {"ours", "sgemm"} <= set(seconds):
        rate = 2.0 * SGEMM_SIZE**3 / seconds["sgemm"]
        figures["sgemm, GFLOP per CPU s"] = rate / 1e9
        figures["ours, share of sgemm (at least 0.8)"] = flops(arguments.batch_size) / seconds["ours"] / rate
    for name, value in figures.items():
        print(f"{name:58s} {value:12.4g}")
    if arguments.json:
        write_json(arguments.json, figures | {"batch_size": arguments.batch_size})


def start(name: str, batch_size: int) -> "subprocess.Popen[str] | None":
    """A process that waits to do iterations; None, and a line, if a library is missing."""
    settings = config_to_json(CONFIG) | {
        "batch_size": batch_size,
        "num_showers": 20_000,
        "sgemm_size": SGEMM_SIZE,
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


def flops(batch_size: int) -> float:
    """Operations of the matrix products that an iteration cannot do without."""
    generator, critic = ([a * b for a, b in pairwise(widths)] for widths in (GENERATOR_WIDTHS, CRITIC_WIDTHS))
    scores = 2 * (sum(critic) + sum(critic) + sum(critic[1:]))  # both samples: forward, kernels, inputs
    # forward (the first layer of interpolates is that of their ends), the gradient, its kernels and inputs
    penalty = 4 * sum(critic[:-1]) - critic[0]
    step = sum(generator) + scores + penalty
    last = sum(generator) * 2 + sum(generator[1:]) + 2 * sum(critic)
    return 2.0 * batch_size * (CONFIG.critic_steps * step + last)


if __name__ == "__main__":
    main()
