"""Speed of generation: CaloShowerGAN, 1 to 10,000 showers at once, as ratios.

    pip install 'calogen[bench,export]' && python benchmarks/generation.py     # PyTorch, LiteRT, onnxruntime beside
    python benchmarks/generation.py --torch-python /path/to/another/venv/bin/python --output figures.json
    python benchmarks/generation.py --threads 2 --network pion --showers 10000 --rounds 3

Every way of generation has a process of its own (benchmarks/inference/) with one thread, and so have the matrix
products; they take turns. A way whose library is not installed is left out, and a line says so. A time is the median of
the rounds' medians. Our ways go from latent points and conditions to energies in MeV; the other ones stop at the
network's output, which favours them. Each library has the network as its users would have it: Keras, TensorFlow and
LiteRT the Keras model, onnxruntime and PyTorch a model whose batch normalisation is folded; LiteRT also computes in our
blocks of 256. `ours` is the engine that `generate` uses on a processor, LiteRT on the folded network; `ours,
TensorFlow` is the one that it uses for many showers on a GPU.

The limit is the time that arithmetic needs: the longer one of reading the weights once, as fast as NumPy reads so many
numbers, and of the network's matrix products alone, by the fastest installed library (NumPy, TensorFlow with oneDNN,
LiteRT) in that turn, all showers at once or in blocks. A way that took less has done these products as well, so its
time is the limit then: no share exceeds 1, and a share of 1 is marked. "1 whole" is one shower from its noise and
condition to energies in MeV. The weights are random, as values do not matter. Other jobs on the machine disturb: stop
them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from calogen.errors import CalogenError
from calogen.files import write_json
from calogen.generation.folding import fold
from calogen.models import caloshowergan
from calogen.models.caloshowergan import CONFIGS, build_generator, build_transform
from calogen.provenance import cpu_model
from calogen.training.run import assemble_run, save_run

NETWORKS, SHOWERS = ("photon", "pion"), (1, 10, 100, 1000, 10_000)
WHOLE, READING = 0, -1  # stand for a number of showers: one shower from noise to MeV; reading the weights
OURS, PREDICT = "ours", "model.predict"
OWN = (OURS, "ours, TensorFlow")
READER = "products by NumPy"  # reads the weights, too
PRODUCTS = (READER, "products by TensorFlow", "products by LiteRT")
PACKAGES = ("calogen", "numpy", "keras", "tensorflow", "ai-edge-litert", "onnxruntime", "onnx")
SCRIPTS = {
    **dict.fromkeys(OWN, "calogen_ways.py"),
    PREDICT: "calogen_ways.py",
    "model(x)": "calogen_ways.py",
    "tf.function": "calogen_ways.py",
    "LiteRT": "calogen_ways.py",
    "LiteRT, in blocks": "calogen_ways.py",
    "onnxruntime": "onnxruntime_way.py",
    "PyTorch": "pytorch_way.py",
    **dict.fromkeys(PRODUCTS, "products.py"),
}
WAYS = tuple(way for way in SCRIPTS if way not in PRODUCTS)


@dataclass(frozen=True)
class Figures:
    """Measured times of all ways.

    Args:
        flops: operations of the matrix products for one shower, by network.
        seconds: seconds of a call by way, network and number of showers; for `PRODUCTS` of the matrix products alone.
    """

    flops: Mapping[str, float]
    seconds: Mapping[tuple[str, str, int], float]

    def limit(self, network: str, showers: int) -> float:
        """Seconds that these showers take at least: the limit of this script's docstring."""
        products = self.seconds[self.library(network, showers), network, showers]
        known = max(self.seconds[READER, network, READING], products)
        return min([known, *(self.seconds[way, network, showers] for way in self.ways(network, showers))])

    def library(self, network: str, showers: int) -> str:
        """Name of the library whose matrix products were the fastest."""
        measured = [name for name in PRODUCTS if (name, network, showers) in self.seconds]
        return min(measured, key=lambda name: self.seconds[name, network, showers])

    def ways(self, network: str, showers: int) -> list[str]:
        """Ways that were measured."""
        return [way for way in WAYS if (way, network, showers) in self.seconds]

    def ours_over(self, other: str, network: str, showers: int) -> float:
        """Our time over that of a way, of the `limit`, or of the `best` way that is not ours."""
        if other == "limit":
            seconds = self.limit(network, showers)
        else:
            foreign = [way for way in self.ways(network, showers) if way not in OWN]
            seconds = min(self.seconds[way, network, showers] for way in foreign if other in ("best", way))
        return self.seconds[OURS, network, showers] / seconds


def main() -> None:
    """Measures and prints everything."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        flops = {name: write_network(Path(folder), name) for name in arguments.network}
        figures = Figures(flops, measure(arguments, folder))
    print(f"\n{arguments.threads} thread(s) of {cpu_model()}")
    for name in arguments.network:
        print_network(name, figures, arguments.showers)
    bars = judge(figures, arguments.showers)
    print()
    for text, value, met in bars:
        remark = doubt(value) if "share of" in text else ""
        print(f"{'met' if met else 'NOT MET':8s}{text}: {value:.3g}{remark}")
    if arguments.output:
        write_json(arguments.output, report(arguments, figures, bars))


def doubt(share: float) -> str:
    """A warning for a share of 1, which says little; an empty text for smaller shares."""
    text = "  >= 1: the products took longer than what has them, as on a busy machine; run again on an idle one"
    return text if share >= 1 else ""


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of every way (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="in which all take turns (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.1, help="of each turn, at least 3 calls (%(default)s)")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="only this one (repeat for both)")
    parser.add_argument("--showers", type=int, action="append", help=f"at once, several times (default: {SHOWERS})")
    parser.add_argument("--only", choices=WAYS, action="append", help="a way")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with PyTorch (default: this one)")
    parser.add_argument("--output", type=Path, help="write all figures to this JSON file")
    arguments = parser.parse_args()
    arguments.network, arguments.showers = arguments.network or NETWORKS, arguments.showers or SHOWERS
    arguments.only = arguments.only or WAYS
    return arguments


def write_network(folder: Path, name: str) -> float:
    """Writes an untrained run and its folded layers, and gives its operations per shower."""
    config, geometry = CONFIGS[name]
    generator, transform = build_generator(config, geometry), build_transform(config, geometry)
    dense = generator.layers[-2]
    dense.bias.assign(np.arange(dense.units) == dense.units - 1)  # a total above 0: most showers have energy
    run = assemble_run(caloshowergan, config, geometry, {"generator": generator}, transform)
    save_run(folder / name, run)
    folded = fold(generator, transform)
    arrays: dict[str, np.ndarray] = {"activations": np.array(folded.activations)}
    for number, (kernel, bias) in enumerate(zip(folded.kernels, folded.biases, strict=True)):
        arrays |= {f"kernel_{number}": kernel, f"bias_{number}": bias}
    arrays["layer_sizes"] = np.array([layer.size for layer in geometry.layers])
    latent, condition = run.latent.draw(10, 2), transform.condition(np.geomspace(*config.momentum_range, 10))
    arrays["inputs"] = np.concatenate([latent, condition], axis=1)
    arrays["outputs"] = generator({"latent": latent, "condition": condition}).numpy()  # every way must give them
    np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays)
    return 2.0 * sum(kernel.size for kernel in folded.kernels)


def measure(arguments: argparse.Namespace, folder: str) -> dict[tuple[str, str, int], float]:
    """Median times of all ways that can be started; they take turns."""
    tasks = {way: tasks_of(way, arguments) for way in (*arguments.only, *PRODUCTS)}
    started = {way: start(way, tasks[way], arguments, folder) for way in tasks}
    running = {way: process for way, process in started.items() if process}
    times: dict[tuple[str, str, int], list[float]] = {}
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        for task in sorted(tasks[READER]):
            for way, process in running.items():
                if task in tasks[way]:
                    times.setdefault((way, *task), []).append(ask(process, (*task, arguments.seconds)))
    return {key: float(np.median(values)) for key, values in times.items()}


def tasks_of(way: str, arguments: argparse.Namespace) -> list[tuple[str, int]]:
    """Networks and numbers of showers for which a way is timed."""
    more = {READER: (READING, WHOLE), **dict.fromkeys((*PRODUCTS[1:], OURS, PREDICT), (WHOLE,))}.get(way, ())
    return [(name, number) for name in arguments.network for number in (*more, *arguments.showers)]


def start(
    way: str, tasks: Sequence[tuple[str, int]], arguments: argparse.Namespace, folder: str
) -> "subprocess.Popen[str] | None":
    """Starts a process that waits for tasks; None, with a printed reason, if it fails."""
    given = {"way": way, "folder": folder, "threads": arguments.threads, "tasks": tasks}
    python = arguments.torch_python if way == "PyTorch" else sys.executable
    command = [python, str(Path(__file__).parent / "inference" / SCRIPTS[way]), json.dumps(given)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(arguments.threads))
    environment = os.environ | threads | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    pipe, errors = subprocess.PIPE, Path(folder) / "errors.txt"
    with open(errors, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=file, text=True, env=environment)
    if process.stdout is None or process.stdout.readline() != "ready\n":
        reason = (errors.read_text(encoding="utf-8").splitlines() or ["no reason"])[-1]
        print(f"{way}: left out ({reason}); see --help for what has to be installed")
        return None
    return process


def ask(process: "subprocess.Popen[str]", task: tuple[str, int, float]) -> float:
    """Asks a process for the median seconds of a call."""
    if process.stdin is None or process.stdout is None:
        raise CalogenError("a way must have been started with pipes. Received: none")
    process.stdin.write(json.dumps(task) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise CalogenError(f"{process.args!r} must answer the task {task}. Received: it has ended")
    return float(answer)


def print_network(name: str, figures: Figures, numbers: Sequence[int]) -> None:
    """Prints the table of a network: numbers of showers, then one shower from noise to MeV."""
    reading = 1e6 * figures.seconds[READER, name, READING]
    print(f"\n{name}: {figures.flops[name] / 1e6:.2f} MFLOP a shower, its weights are read in {reading:.1f} us")
    print(f"{'showers way':31s} {'time of a call':>14s} {'showers/s':>10s} {'over ours':>10s} {'share of limit':>15s}")
    for showers in (*numbers, WHOLE):
        limit = figures.limit(name, showers)
        shown = (*figures.ways(name, showers), figures.library(name, showers))
        times = {way: figures.seconds[way, name, showers] for way in shown} | {"limit": limit}
        for way, seconds in times.items():
            rate, ratio = max(showers, 1) / seconds, seconds / times.get(OURS, np.nan)
            print(
                f"{showers or '1 whole':<7} {way:23s} {1e3 * seconds:13.4g} ms {rate:10.4g} {ratio:10.3g} "
                f"{100 * limit / seconds:13.0f} %{doubt(limit / seconds) if way in WAYS else ''}"
            )


def judge(figures: Figures, numbers: Sequence[int]) -> list[tuple[str, float, bool]]:
    """Requirements of which the times are known: text, value, and whether it is met."""
    bars: list[tuple[str, float, bool]] = []

    def add(text: str, ratio: tuple[str, str, int], most: float = np.inf, least: float = np.inf) -> None:
        other, network, showers = ratio
        ways = figures.ways(network, showers) if network in figures.flops else []
        if OURS in ways and (other in ("limit", *ways) or (other == "best" and set(ways) - set(OWN))):
            over = figures.ours_over(*ratio)
            bars.append((text, 1 / over, 1 / over >= least) if most == np.inf else (text, over, over <= most))

    add("one photon whole over the limit (at most 4)", ("limit", "photon", WHOLE), most=4.0)
    add("model.predict over one photon whole (at least 500)", (PREDICT, "photon", WHOLE), least=500.0)
    add("10,000 pions over the best alternative (at most 1.1)", ("best", "pion", 10_000), most=1.1)
    for name in figures.flops:
        for showers in (number for number in numbers if number >= 1000):
            text = f"{showers} {name}s, share of the fastest matrix products' rate (at least 0.7, aim 0.85)"
            add(text, ("limit", name, showers), least=0.7)
    return bars


def report(
    arguments: argparse.Namespace, figures: Figures, bars: Sequence[tuple[str, float, bool]]
) -> dict[str, object]:
    """All times and requirements as JSON values."""
    seconds: dict[str, dict[str, dict[str, float]]] = {}
    for name in figures.flops:
        for showers in (*arguments.showers, WHOLE):
            row = {way: figures.seconds[way, name, showers] for way in figures.ways(name, showers)}
            row |= {
                way: figures.seconds[way, name, showers] for way in PRODUCTS if (way, name, showers) in figures.seconds
            }
            row |= {"limit": figures.limit(name, showers)}
            seconds.setdefault(name, {})[str(showers or "1 whole")] = row
    return {
        "cpu": cpu_model(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "versions": {name: _version(name) for name in PACKAGES},
        "flops": dict(figures.flops),
        "reading": {name: figures.seconds[READER, name, READING] for name in figures.flops},
        "seconds": seconds,
        "bars": [{"bar": text, "value": value, "met": met} for text, value, met in bars],
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
