"""Speed of Getting High's 3-D networks: training steps and showers, as ratios.

    pip install 'calogen[bench,export]' && python benchmarks/getting_high.py    # PyTorch, onnxruntime beside ours
    python benchmarks/getting_high.py --network wgan --rounds 3
    python benchmarks/getting_high.py --preset paper --network gan              # its own networks: minutes a step

A step is an iteration of a training: GAN, WGAN with five critic steps, BIB-AE with five, post processor with the
discrepancy of sorted cells. Ours is the compiled step. Plain Keras is a model with a train_step (`train_on_batch`, the
compiled step of `fit`); in the BIB-AE it decodes anew for each step of the critics, as a first version of the public
code's loop does, where ours decodes once. PyTorch, eager, has the same networks layer by layer and shares the passes as
ours does, so that only the libraries differ. A shower is one shower of the generating networks, post processor
included: ours, Keras' `predict`, PyTorch, and onnxruntime with the exported model.

Each way has a process of its own (benchmarks/volumes/) with one thread; they take turns. Medians of CPU seconds. A
ratio is a way's time over ours, and "met" or "missed" stands beside it where it has a bar: 1.3 over plain Keras and 1
over PyTorch for a step, 1 over the fastest other way for a shower. The limit is the time of the arithmetic,
multiplications and additions of all convolutions and products, at the rate of a large matrix product in the same
library. Showers are random, as values do not matter.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np

from calogen.backend import keras
from calogen.errors import CalogenError
from calogen.files import write_json
from calogen.models import bib_ae, getting_high_gan, getting_high_wgan

VOLUMES = Path(__file__).parent / "volumes"
NETWORKS = {"gan": (getting_high_gan, 32), "wgan": (getting_high_wgan, 16), "bib-ae": (bib_ae, 8)}
NETWORKS["post-processor"] = bib_ae, 8
"""Module of each network, and showers of a step."""
WAYS = {"ours": "ours.py", "Keras": "keras_way.py", "PyTorch": "pytorch_way.py", "onnxruntime": "onnx_way.py"}
FASTEST = "the fastest other way"
BARS = {("step", "Keras"): 1.3, ("step", "PyTorch"): 1.0, ("shower", FASTEST): 1.0}
"""The least that a way's time over ours may be, by call and way."""
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1") | {
    "TF_CPP_MIN_LOG_LEVEL": "3"
}
Seconds = Mapping[tuple[str, str, str], float]


@dataclass
class Running:
    """The process of a way.

    Args:
        way: its name.
        process: the process.
        errors: the file of its stderr.
        calls: names of the calls that it makes; none before it is ready.
    """

    way: str
    process: "subprocess.Popen[str]"
    errors: Path
    calls: list[str] = field(default_factory=list)

    def wait(self) -> None:
        """Waits until it is ready, and says so if it never is.

        Raises:
            CalogenError: it is ours and does not start.
        """
        assert self.process.stdout
        answer = self.process.stdout.readline().split()
        if answer[:1] == ["ready"]:
            self.calls = answer[1:]
            return
        text = f"{self.way} does not start: {self.last_error()}"
        if self.way == "ours":
            raise CalogenError(text)
        print(f"{text}. It is left out (pip install 'calogen[bench,export]').", flush=True)

    def ask(self, call: str) -> float:
        """CPU seconds of one call.

        Raises:
            CalogenError: the process does not answer.
        """
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(call + "\n")
            self.process.stdin.flush()
            return float(self.process.stdout.readline())
        except (OSError, ValueError) as error:
            text = f"{self.way} must answer the call {call}. Received: its process has ended: {self.last_error()}"
            raise CalogenError(text) from error

    def last_error(self) -> str:
        """The last line that it wrote to stderr."""
        lines = self.errors.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it names no reason")


def main() -> None:
    """Measures and prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, action="append", help="measure these only (default: all)")
    parser.add_argument("--preset", default="laptop", help="of the models' configurations (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="calls of each, in turn (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    try:
        figures = compare(arguments)
    except CalogenError as error:
        sys.exit(str(error))
    if arguments.json:
        write_json(arguments.json, figures)


def compare(arguments: argparse.Namespace) -> dict[str, float]:
    """Measures and prints the networks, and gives the figures.

    Raises:
        CalogenError: our way does not start, or a process ends too early.
    """
    figures: dict[str, float] = {}
    rate = arithmetic_rate()
    print(f"{'products of large matrices, GFLOP per CPU s':58s} {rate / 1e9:12.4g}")
    for name in arguments.network or NETWORKS:
        model, size = NETWORKS[name]
        settings = {"name": name, "preset": arguments.preset, "batch_size": size, "threads": 1}
        found = measure(settings | {"model": model.__name__.rpartition(".")[2]}, arguments.rounds)
        figures |= report(name, found, operations(name, model, arguments.preset, size), rate)
    return figures | {"rate": rate}


def report(name: str, seconds: Seconds, needed: Mapping[str, float], rate: float) -> dict[str, float]:
    """Prints times and ratios of a network, with their bars, and gives the numbers.

    Args:
        name: the network.
        seconds: CPU seconds by network, way and call.
        needed: multiplications and additions of each call.
        rate: multiplications and additions per CPU second.
    """
    figures: dict[str, float] = {}
    remarks: dict[str, str] = {}
    for call in ("step", "shower"):
        times = {way: value for (_, way, what), value in seconds.items() if what == call}
        if "ours" not in times:
            continue
        figures |= {f"{name} {call}, {way}, CPU ms": 1000 * value for way, value in times.items()}
        ratios = {way: value / times["ours"] for way, value in times.items() if way != "ours"}
        if call == "shower" and ratios:
            ratios[FASTEST] = min(ratios.values())
        for way, ratio in ratios.items():
            bar = BARS.get((call, way))
            text = f"{name} {call}, ours over {way}" + ("" if bar is None else f" (at least {bar:g})")
            figures[text] = ratio
            if bar is not None:
                remarks[text] = "met" if ratio >= bar else "missed"
        figures[f"{name} {call}, ours, share of the arithmetic limit"] = needed[call] / rate / times["ours"]
    for text, value in figures.items():
        print(f"{text:58s} {value:12.4g}  {remarks.get(text, '')}".rstrip(), flush=True)
    return figures


def measure(settings: Mapping[str, object], rounds: int) -> dict[tuple[str, str, str], float]:
    """Median CPU seconds by network, way and call.

    Raises:
        CalogenError: our way does not start, or a process ends too early.
    """
    seconds: dict[tuple[str, str, str], list[float]] = {}
    ways: list[Running] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for way in WAYS:
                ways.append(start(way, settings, Path(folder) / f"{way}.txt"))
                ways[-1].wait()
            for _ in range(rounds):
                for running in ways:
                    for call in running.calls:
                        seconds.setdefault((str(settings["name"]), running.way, call), []).append(running.ask(call))
        finally:
            for running in ways:
                running.process.kill()
                running.process.communicate()
    return {key: float(np.median(values)) for key, values in seconds.items()}


def start(way: str, settings: Mapping[str, object], errors: Path) -> Running:
    """Starts the process of a way, whose stderr goes to a file."""
    command, pipe = [sys.executable, str(VOLUMES / WAYS[way]), json.dumps(settings)], subprocess.PIPE
    environment = os.environ | ENVIRONMENT
    with open(errors, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=file, text=True, env=environment)
    return Running(way, process, errors)


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
