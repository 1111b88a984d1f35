"""What every way of `generation.py` does: compute what it is asked for, and time it."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

Layers = list[tuple[np.ndarray, np.ndarray, str]]


def settings() -> SimpleNamespace:
    """The first argument: `way`, networks' `folder`, `threads`, `tasks` (network, number)."""
    return SimpleNamespace(**json.loads(sys.argv[1]))


def serve(make: Callable[[str, int], Callable[[], object]], tasks: list[tuple[str, int]]) -> None:
    """Answers every line on stdin, a task and seconds in JSON, with a call's median time.

    Args:
        make: from network and number of showers to a call, whose time counts.
        tasks: all that will be asked for.
    """
    calls = {(network, showers): make(network, showers) for network, showers in tasks}
    for call in calls.values():
        call()  # compilation
    print("ready", flush=True)
    for line in sys.stdin:
        network, showers, seconds = json.loads(line)
        print(median_seconds(calls[network, showers], seconds), flush=True)


def median_seconds(call: Callable[[], object], seconds: float) -> float:
    """Median of as many calls as time allows, three or more, after one that is not counted."""
    call()
    durations: list[float] = []
    while len(durations) < 3 or sum(durations) < seconds:
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return float(np.median(durations))


def read_layers(folder: str, network: str) -> tuple[Layers, list[int]]:
    """Kernel `[inputs, units]`, bias, activation of each folded layer; layers' sizes."""
    with np.load(Path(folder) / f"{network}.npz") as file:
        names = [str(name) for name in file["activations"]]
        layers = [(file[f"kernel_{i}"], file[f"bias_{i}"], name) for i, name in enumerate(names)]
        return layers, file["layer_sizes"].tolist()


def draw_inputs(layers: Layers, showers: int) -> np.ndarray:
    """Points of the latent space and conditions, joined, `[n, z + 1]`."""
    return np.random.default_rng(1).random((showers, len(layers[0][0])), np.float32)


def check(folder: str, network: str, compute: Callable[[np.ndarray], np.ndarray]) -> None:
    """Refuse a way that does not compute what Keras does.

    Args:
        folder: with the networks.
        network: one of them.
        compute: from points and conditions `[n, z + 1]` to the network's output `[n, f]`.

    Raises:
        ValueError: an output differs by more than 1e-5 of the largest.
    """
    with np.load(Path(folder) / f"{network}.npz") as file:
        difference = np.abs(compute(file["inputs"]) - file["outputs"]).max() / np.abs(file["outputs"]).max()
    if not difference < 1e-5:
        raise ValueError(f"{network}: differs from Keras by {difference:.1e} of the largest output")
