"""Training from features in a file, and from memory: speed and peak memory.

    python benchmarks/training_from_files.py
    python benchmarks/training_from_files.py --gigabytes 10 --pairs 3 --directory /fast/disk

A file of showers of random energies in FastCaloGAN's 368 voxels is made, and FastCaloGAN's photon network trained on it
for some iterations, each time in a process of its own: from memory, and from a file of features of which a few batches
are in memory at a time (`fit` takes that way by itself where memory is short). From memory it is trained on 1 GB at
most: the number of showers does not change the time of an iteration. "imported" is the memory that the process has
taken before it reads any shower, Python and TensorFlow. Linux only. Other jobs on the machine disturb: stop them.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from calogen.command import clean_exit
from calogen.files import require_space
from calogen.showers.voxels import PHOTONS_DATASET1

_BLOCK = 65_536
_TRAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from calogen.models import fastcalogan
from calogen.showers.files import ShowerFile
from calogen.training import fit as fitting
def peak():  # kB; ru_maxrss would count what the parent had
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
imported = peak()
path, directory, iterations, in_file = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "file"
if in_file:
    fitting.free_memory = lambda: 0
else:
    fitting.free_memory = lambda: 2**50
config, geometry = fastcalogan.CONFIGS["photon"]
config = replace(config, iterations=iterations, batch_size=1024, schedule="all")
with ShowerFile(path, geometry) as showers:
    run = fitting.fit(fastcalogan, config, geometry, showers, directory)
first, *later = run.history
seconds, number = sum(row["seconds"] for row in later), later[-1]["iteration"] - first["iteration"]
print(number / seconds, imported / 1024, peak() / 1024)
"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.5, help="size of the showers' file")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=1, help="trainings from memory and from a file, in turn")
    parser.add_argument("--directory", type=Path, help="where files go for a while (default: the system's)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        sizes = {"memory": min(1.0, arguments.gigabytes), "file": arguments.gigabytes}
        for where, size in sizes.items():
            write_showers(Path(folder) / f"{where}.h5", int(size * 1e9) // (4 * PHOTONS_DATASET1.size))
        print(f"{'features in':>12} {'GB':>5} {'iterations/s':>13} {'imported MiB':>13} {'peak MiB':>9}", flush=True)
        for pair in range(arguments.pairs):
            speeds = {}
            for where, size in sizes.items():
                run = Path(folder) / f"{where}-{pair}"
                speeds[where], imported, peak = measure(Path(folder) / f"{where}.h5", run, arguments.iterations, where)
                print(f"{where:>12} {size:5.1f} {speeds[where]:13.1f} {imported:13.0f} {peak:9.0f}", flush=True)
            print(f"from a file / from memory: {speeds['file'] / speeds['memory']:.2f}", flush=True)


def write_showers(path: Path, number: int) -> None:
    """Writes showers of random energies, block by block."""
    size = PHOTONS_DATASET1.size
    require_space(path, 4 * number * size)
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        file["incident_energies"] = 2.0 ** rng.integers(8, 19, (number, 1))
        showers = file.create_dataset("showers", (number, size), np.float32, chunks=(min(1024, number), size))
        for first in range(0, number, _BLOCK):
            rows = slice(first, min(first + _BLOCK, number))
            scale = file["incident_energies"][rows] / size
            showers[rows] = rng.standard_exponential((rows.stop - first, size), np.float32) * scale


def measure(path: Path, directory: Path, iterations: int, where: str) -> tuple[float, float, float]:
    """Iterations per second of a training in its own process; its memory, MiB."""
    command = [sys.executable, "-c", _TRAIN, str(path), str(directory), str(iterations), where]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    speed, imported, peak = map(float, done.stdout.split())
    return speed, imported, peak


if __name__ == "__main__":
    with clean_exit("training_from_files"):
        main()
