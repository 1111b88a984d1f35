"""How fast this device trains every model, and whether it waits for its input.

    python benchmarks/device.py                             # this GPU, or these cores: some minutes
    python benchmarks/device.py --model caloshowergan --config photon --bfloat16
    python benchmarks/device.py --from-files --csv device.csv    # features in a file, as where memory is short

Each stage of a model trains with its paper's batches on up to 2,000 bundled showers, compiled as in a real training;
the first configuration of each model, on a CPU the 3-D networks' narrow ones (laptop). A step is an iteration of a GAN,
with all steps of its critic, or a batch of an autoencoder. The device's use is the mean utilisation that nvidia-smi
tells, on a CPU its processor time over the cores' time. Waiting is the share of the time in which the next batches were
prepared while nothing was computed. The loss is the mean of
the last steps: finite, if all is well.
"""

import argparse
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from calogen.backend import tf
from calogen.command import clean_exit
from calogen.config import require
from calogen.features.batches import FeatureTable, moments_of, on_disk, resident
from calogen.generation.load import model_module
from calogen.parallel import num_cores
from calogen.process import tell
from calogen.showers.bundled import bundled_for
from calogen.showers.files import ShowerFile
from calogen.training.calls import compile_calls
from calogen.training.fit import choose_rows, in_bfloat16
from calogen.training.train import Stage, stages_of

MODELS = (
    "atlas_vae",
    "atlas_gan",
    "atlas_note_vae",
    "atlas_note_gan",
    "fastcalogan",
    "caloshowergan",
    "getting_high_gan",
    "getting_high_wgan",
    "bib_ae",
)
_SHOWERS = 2000


class TimedTable:
    """A table of features that measures for how long its chunks are prepared."""

    def __init__(self, table: FeatureTable) -> None:
        self._table, self.seconds = table, 0.0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._table, name)

    def chunks(self, rows: np.ndarray) -> Iterator[Any]:
        """The table's chunks."""
        chunks = iter(self._table.chunks(rows))
        while True:
            start = time.monotonic()
            chunk = next(chunks, None)
            self.seconds += time.monotonic() - start
            if chunk is None:
                return
            yield chunk


def main() -> None:
    """Measures and prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, action="append", help="of these only")
    parser.add_argument("--config", help="a configuration of the one --model")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each stage's measurement (default: %(default)s)")
    parser.add_argument("--bfloat16", action="store_true", help="critics' matrix products in bfloat16")
    parser.add_argument("--from-files", action="store_true", help="features lie in a file, not on the device")
    parser.add_argument("--csv", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    with clean_exit("device.py"):
        named = arguments.config is None or len(arguments.model or ()) == 1
        require(named, f"--config is of one --model. Received: {arguments.model}")
        table = pd.DataFrame([row for name in arguments.model or MODELS for row in measure(name, arguments)])
        gpus = tf.config.list_physical_devices("GPU")
        print(f"device: {describe(gpus)}")
        print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
        if arguments.csv:
            table.to_csv(arguments.csv, index=False)


def describe(gpus: list[Any]) -> str:
    """The device in words."""
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "a GPU") for gpu in gpus]
    return ", ".join(names) or f"{num_cores()} CPU cores"


def measure(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each stage of a model's training."""
    module: Any = model_module(name)
    small = "laptop" if "laptop" in module.CONFIGS and not tf.config.list_physical_devices("GPU") else ""
    chosen = arguments.config or small or next(iter(module.CONFIGS))
    require(chosen in module.CONFIGS, f"--config must be one of {', '.join(module.CONFIGS)}. Received: {chosen}")
    config, geometry = module.CONFIGS[chosen]
    with ShowerFile(bundled_for(geometry), geometry) as showers, TemporaryDirectory() as folder:
        rows = choose_rows(showers, config)[0][:: max(1, len(showers) // _SHOWERS)]
        given = showers.given[rows]
        chain = module.build_transform(config, geometry).fit(given)
        table: FeatureTable = (
            on_disk(showers, chain, Path(folder) / "features.f32", rows)
            if arguments.from_files
            else resident(showers, chain, rows)
        )
        networks = module.build(config, geometry)
        if arguments.bfloat16 and hasattr(module, "CRITICS"):
            networks |= in_bfloat16(module, config, geometry, module.CRITICS)
        trainers = module.build_trainer(config, geometry, networks, moments_of(table))
        stages = stages_of(trainers, module.build_schedule(config, given.incident_energies))
        found = []
        for number, stage in enumerate(stages):
            text = f"{name} ({chosen})" + (f", stage {number + 1}" if len(stages) > 1 else "")
            tell(f"training {text} for {arguments.seconds:g} s")
            found.append({"training": text, **measure_stage(stage, table, arguments.seconds)})
        return found


def measure_stage(stage: Stage, table: FeatureTable, seconds: float) -> dict[str, Any]:
    """Steps per second of a stage, the device's use, and the share of time in which it waits."""
    trainer, batch = stage.trainer, min(stage.schedule.batch_size, len(table))
    timed, random = TimedTable(table), np.random.default_rng(1)
    run = compile_calls(trainer, timed)  # type: ignore[arg-type]

    def draw(steps: int) -> np.ndarray:
        return random.integers(len(table), size=(steps, trainer.batches_per_step, batch)).astype(np.int32)

    steps = 50 if trainer.jit else 4  # XLA compiles anew for another number of steps
    run(draw(steps))  # compiles
    start = time.monotonic()
    run(draw(steps))
    if not trainer.jit:
        steps = max(1, round(seconds / (time.monotonic() - start)))  # in a quarter of the time
    timed.seconds, done, sums = 0.0, 0, np.zeros(1)
    with utilisation() as used:
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            sums, _ = run(draw(steps))
            done += steps
        elapsed = time.monotonic() - start
    return {
        "batch": batch,
        "batches": trainer.batches_per_step,
        "steps per second": done / elapsed,
        "showers per second": done * trainer.batches_per_step * batch / elapsed,
        "use of the device": used[0],
        "waiting": timed.seconds / elapsed,
        "loss": float(sums[0] / steps),
    }


@contextmanager
def utilisation() -> Iterator[list[float]]:
    """The share of the device that a block uses, in a list when the block has ended."""
    found: list[float] = []
    if not tf.config.list_physical_devices("GPU") or shutil.which("nvidia-smi") is None:
        start, used = time.monotonic(), time.process_time()
        yield found
        found.append((time.process_time() - used) / (time.monotonic() - start) / num_cores())
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]
    command += ["-i", visible] if visible else []
    samples: list[float] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.5):
            told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
            samples.extend(float(text) / 100 for text in told[:1] if text.isdecimal())  # a part of a GPU tells none

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
    found.append(float(np.mean(samples)) if samples else float("nan"))


if __name__ == "__main__":
    main()
