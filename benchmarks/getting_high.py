"""Speed of Getting High's 3-D networks: training steps and showers, as ratios.

    pip install 'calogen[bench,export]' && python benchmarks/getting_high.py    # PyTorch, onnxruntime beside ours
    python benchmarks/getting_high.py --network wgan --rounds 3
    python benchmarks/getting_high.py --preset paper --network gan              # its own networks: minutes a step

A step is an iteration of a training: GAN, WGAN with five critic steps, BIB-AE with five, post processor with the
discrepancy of sorted cells. Ours is the compiled step, plain Keras a model with a train_step (`train_on_batch`, the
compiled step of `fit`) that is written as the papers' public code is, PyTorch eager the same networks layer by layer.
A shower is one shower of the generating networks, post processor included: ours, Keras' `predict`, PyTorch, and
onnxruntime with the exported model. Each way has a process of its own (benchmarks/volumes/) with one thread; they take
turns. Medians of CPU seconds. The limit is the time of the arithmetic, multiplications and additions of all
convolutions and products, at the rate of a large matrix product in the same library. Showers are random, as values do
not matter.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from calogen.backend import keras
from calogen.files import write_json
from calogen.models import bib_ae, getting_high_gan, getting_high_wgan

VOLUMES = Path(__file__).parent / "volumes"
NETWORKS = {"gan": (getting_high_gan, 32), "wgan": (getting_high_wgan, 16), "bib-ae": (bib_ae, 8)}
NETWORKS["post-processor"] = bib_ae, 8
"""Module of each network, and showers of a step."""
WAYS = {"ours": "ours.py", "Keras": "keras_way.py", "PyTorch": "pytorch_way.py", "onnxruntime": "onnx_way.py"}
BARS = {("step", "Keras"): 1.0, ("step", "PyTorch"): 0.9, ("shower", "best"): 1.0}
SHARED = "bib-ae", "post-processor"
"""Networks whose steps share forward passes, which plain Keras does several times: at least 1.3 times as fast."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
Seconds = Mapping[tuple[str, str, str], float]


def main() -> None:
    """Measures and prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, action="append", help="measure these only (default: all)")
    parser.add_argument("--preset", default="laptop", help="of the models' configurations (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="calls of each, in turn (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    rate = arithmetic_rate()
    print(f"{'products of large matrices, GFLOP per CPU s':58s} {rate / 1e9:12.4g}")
    for name in arguments.network or NETWORKS:
        model, size = NETWORKS[name]
        settings = {"name": name, "preset": arguments.preset, "batch_size": size, "threads": 1}
        found = measure(settings | {"model": model.__name__.rpartition(".")[2]}, arguments.rounds)
        figures |= report(name, found, operations(name, model, arguments.preset, size), rate)
    if arguments.json:
        write_json(arguments.json, figures | {"rate": rate})


def report(name: str, seconds: Seconds, needed: Mapping[str, float], rate: float) -> dict[str, float]:
    """Prints times and ratios of a network, and gives them."""
    figures: dict[str, float] = {}
    for call in ("step", "shower"):
        times = {way: value for (_, way, what), value in seconds.items() if what == call}
        if "ours" not in times:
            continue
        others = {way: value for way, value in times.items() if way != "ours"}
        figures |= {f"{name} {call}, {way}, CPU ms": 1000 * value for way, value in times.items()}
        ratios = {way: value / times["ours"] for way, value in others.items()}
        if call == "shower" and ratios:
            ratios["best"] = min(ratios.values())
        for way, ratio in ratios.items():
            bar = 1.3 if (call, way) == ("step", "Keras") and name in SHARED else BARS.get((call, way))
            figures[f"{name} {call}, ours over {way}" + (f" (at least {bar:g})" if bar else "")] = ratio
        figures[f"{name} {call}, ours, share of the arithmetic limit"] = needed[call] / rate / times["ours"]
    for text, value in figures.items():
        print(f"{text:58s} {value:12.4g}", flush=True)
    return figures


def measure(settings: Mapping[str, object], rounds: int) -> dict[tuple[str, str, str], float]:
    """Median CPU seconds by network, way and call."""
    running = {way: start(script, settings) for way, script in WAYS.items()}
    seconds: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(rounds):
        for way, (process, calls) in running.items():
            for call in calls:
                seconds.setdefault((str(settings["name"]), way, call), []).append(ask(process, call))
    for process, _ in running.values():
        process.kill()
    return {key: float(np.median(values)) for key, values in seconds.items()}


def start(script: str, settings: Mapping[str, object]) -> "tuple[subprocess.Popen[str], list[str]]":
    """A process that waits to make calls, and their names; none if it fails."""
    command, pipe = [sys.executable, str(VOLUMES / script), json.dumps(settings)], subprocess.PIPE
    environment = os.environ | ONE_THREAD
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert process.stdout
    answer = process.stdout.readline().split()
    if answer[:1] != ["ready"]:
        print(f"{settings['name']}: {script} is left out, it does not start (pip install 'calogen[bench,export]')")
    return process, answer[1:]


def ask(process: "subprocess.Popen[str]", call: str) -> float:
    """CPU seconds of one call."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(call + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def arithmetic_rate(size: int = 1536, trials: int = 5) -> float:
    """Multiplications and additions per CPU second in a product of large matrices."""
    from calogen.backend import tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    matrix = tf.random.normal((size, size))
    durations = []
    for _ in range(trials):
        began = time.process_time()
        tf.matmul(matrix, matrix).numpy()
        durations.append(time.process_time() - began)
    return 2.0 * size**3 / min(durations)


def operations(name: str, model: ModuleType, preset: str, batch_size: int) -> dict[str, float]:
    """Multiplications and additions that a step and a shower cannot do without.

    A pass through a network, forward, to its kernels or to its inputs, has as many as one another; a penalty on a
    gradient is six passes: forward, to the inputs, and the four that give the kernels' gradients of these two.
    """
    config, grid = model.CONFIGS[preset]
    one = {part: 2.0 * sum(map(products_of, network.operations)) for part, network in model.build(config, grid).items()}
    generated = sum(one[part] for part in model.GENERATES if part in one)
    steps = getattr(config, "critic_steps", 1)
    match name:
        case "gan":
            total = one["generator"] * (1 + 3) + one["discriminator"] * (6 + 2)
        case "wgan":
            critic, told = one["critic"], one["constrainer"]
            total = steps * (one["generator"] + (6 + 6) * critic + 3 * told) + 3 * one["generator"]
            total += 2 * critic + 3 * told
        case "bib-ae":
            total = 3 * (one["encoder"] + one["decoder"]) + (steps * (6 + 6) + 2) * one["critic"]
        case _:
            total = one["encoder"] + one["decoder"] + 3 * one["post_processor"]
    return {"step": batch_size * total, "shower": generated}


def products_of(layer: keras.layers.Layer) -> float:
    """Multiplications of a layer for one shower."""
    if not hasattr(layer, "kernel"):
        return 0.0
    shape = layer.input.shape if isinstance(layer, keras.layers.Conv3DTranspose) else layer.output.shape
    sizes = shape[1:-1]
    return float(np.prod(layer.kernel.shape)) * float(np.prod(sizes))


if __name__ == "__main__":
    main()
