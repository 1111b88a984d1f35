"""The process of one way of `generation.py`: it times the calls that it is asked for."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

Layers = list[tuple[np.ndarray, np.ndarray, str]]


def settings() -> SimpleNamespace:
    """Settings in the first argument: `way`, `folder` of the networks, `threads`, `tasks`."""
    return SimpleNamespace(**json.loads(sys.argv[1]))


def serve(make: Callable[[str, int], Callable[[], object]], tasks: list[tuple[str, int]]) -> None:
    """Answers every line on stdin, a task and seconds in JSON, with a call's median time.

    Args:
        make: function from a network and a number of showers to the call that is timed.
        tasks: networks and numbers of showers that will be asked for.
    """
    calls = {(network, showers): make(network, showers) for network, showers in tasks}
    for call in calls.values():
        call()  # the first call compiles
    print("ready", flush=True)
    for line in sys.stdin:
        network, showers, seconds = json.loads(line)
        print(median_seconds(calls[network, showers], seconds), flush=True)


def median_seconds(call: Callable[[], object], seconds: float) -> float:
    """Median time of calls until the seconds are over, three or more, after a first one."""
    call()
    durations: list[float] = []
    while len(durations) < 3 or sum(durations) < seconds:
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return float(np.median(durations))


def read_layers(folder: str, network: str) -> tuple[Layers, list[int]]:
    """Kernel, bias and activation of each folded layer, and the detector layers' sizes."""
    with np.load(Path(folder) / f"{network}.npz") as file:
        names = [str(name) for name in file["activations"]]
        layers = [(file[f"kernel_{i}"], file[f"bias_{i}"], name) for i, name in enumerate(names)]
        return layers, file["layer_sizes"].tolist()


def draw_inputs(layers: Layers, showers: int) -> np.ndarray:
    """Random latent points and conditions side by side, `[n, z + 1]`."""
    return np.random.default_rng(1).random((showers, len(layers[0][0])), np.float32)


def check(folder: str, network: str, compute: Callable[[np.ndarray], np.ndarray]) -> None:
    """Refuse a way whose outputs are not those of Keras.

    Args:
        folder: folder of the networks.
        network: name of the network.
        compute: function from latent points and conditions `[n, z + 1]` to the network's output `[n, f]`.

    Raises:
        ValueError: an output differs by more than 1e-5 of the largest output.
    """
    with np.load(Path(folder) / f"{network}.npz") as file:
        difference = np.abs(compute(file["inputs"]) - file["outputs"]).max() / np.abs(file["outputs"]).max()
    if not difference < 1e-5:
        raise ValueError(f"{network}: differs from Keras by {difference:.1e} of the largest output")
