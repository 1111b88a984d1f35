"""Time and memory of `calogen generate` for files of 1e4 to 1e6 showers, or others.

    python benchmarks/streaming.py
    python benchmarks/streaming.py --showers 10000 10000000 --run runs/fastcalogan/laptop-seed1/photons

Each number of showers is a process of its own, which loads the run, generates, compresses and writes. By default the
run is FastCaloGAN's photon network with random weights, 368 voxels; the file of a trained one, with its many empty
voxels, is smaller and compressed faster. "loaded" is the memory of the process before it generates: Python, TensorFlow
and the network. Other jobs on the machine disturb: stop them.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from calogen.command import clean_exit
from calogen.files import require_space
from calogen.models import fastcalogan
from calogen.models.fastcalogan import FastCaloGanConfig, build, build_transform
from calogen.showers.voxels import PHOTONS_DATASET1
from calogen.training.run import assemble_run, save_run

_ENERGY = 65536.0  # MeV
_WRITE = """
import resource, sys, time
from pathlib import Path
from calogen.generation.production import write_generated
from calogen.generation.load import load_run
path, run, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
load_run(run)
start, loaded = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_generated(path, [run], [float(sys.argv[4])], number, 1)
print(time.monotonic() - start, loaded * 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--showers", type=int, nargs="+", default=[10**4, 10**5, 10**6], help="of each file")
    parser.add_argument("--run", type=Path, help="a trained run (default: random weights)")
    parser.add_argument("--directory", type=Path, help="where files go for a while (default: the system's)")
    arguments = parser.parse_args()
    print(f"{'showers':>10} {'s':>8} {'us/shower':>10} {'loaded MiB':>11} {'peak MiB':>9} {'file MB':>9}", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        run = arguments.run or random_run(Path(folder) / "run")
        for number in arguments.showers:
            require_space(Path(folder) / "showers.h5", 4 * number * PHOTONS_DATASET1.size)
            print(measure(Path(folder) / "showers.h5", run, number), flush=True)


def random_run(directory: Path) -> Path:
    """Writes FastCaloGAN's photon network as it is before any training."""
    config = FastCaloGanConfig()
    networks = build(config, PHOTONS_DATASET1)
    transform = build_transform(config, PHOTONS_DATASET1)
    save_run(directory, assemble_run(fastcalogan, config, PHOTONS_DATASET1, networks, transform))
    return directory


def measure(path: Path, run: Path, number: int) -> str:
    """One row of the table: a process writes the file."""
    command = [sys.executable, "-c", _WRITE, str(path), str(run), str(number), str(_ENERGY)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, loaded, peak = map(float, done.stdout.split())
    size = path.stat().st_size
    path.unlink()
    return (
        f"{number:10} {seconds:8.1f} {1e6 * seconds / number:10.1f} {loaded / 2**20:11.0f} {peak / 2**20:9.0f} "
        f"{size / 1e6:9.1f}"
    )


if __name__ == "__main__":
    with clean_exit("streaming"):
        main()
