"""Judging showers: calogen's way beside that of the CaloChallenge's scripts, as ratios.

    python benchmarks/evaluation.py                            # 121,000 photon showers, then 40,500 voxels: minutes
    python benchmarks/evaluation.py --showers 10000 --large 0  # a first impression, in half a minute
    python benchmarks/evaluation.py --folder /scratch/showers --output figures.json    # keep the input for another run

The input is made here: random showers in files of the challenge's format (float64, gzip), two of data set 1's photons
(368 voxels, its 15 energies) and, for the memory, some of data set 3's size (40,500 voxels). Each way has a process of
its own, whose time and peak memory are printed; they take turns, `--rounds` times, and the least time counts.

  ours         judge_files: all features, KS, Wasserstein distance, chi2/NDF, separation power with and without what
               lies outside the axis, voxel spectrum, response by energy; all with errors from resampling
  challenge's  what its scripts do: read both files whole, features layer by layer in NumPy, two matplotlib histograms
               for each and their separation power; no figure is saved, no error computed

Both give the challenge's separation powers, and the largest difference between them is printed. Requirements: 3 times
as fast, peak memory at most twice the input (both files' arrays; with few showers the libraries are more than that),
and the same peak, within 5 %, for twice as many large showers: dense ones, as many as no longer fit into what may stay
in memory. Other jobs on the machine disturb: stop them.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import numpy as np

from calogen.evaluation.streaming import judge_files
from calogen.files import write_json
from calogen.provenance import cpu_model
from calogen.showers.voxels import PHOTONS_DATASET1, VoxelGeometry, VoxelLayer

LARGE = VoxelGeometry("dataset3_size", tuple(VoxelLayer(i, tuple(np.linspace(0, 83.7, 19)), 50) for i in range(45)))
NUM_CHALLENGE = 121_000
SHARES = np.array([10] * 11 + [5, 3, 2, 1]) / NUM_CHALLENGE * 1000
"""Share of the showers at each energy: 10,000 of 121,000 at 256 MeV to 1,000 at 4.2 TeV."""
MIN_ENERGY = 1.0
METRIC = "challenge_separation_power"
Measured = dict[str, Any]  # names and values, as JSON has them
Powers = dict[str, float]
"""Separation powers by the name of the feature."""


def main() -> None:
    """Measures and prints everything."""
    arguments = parse()
    if arguments.child:
        child(arguments.child, [Path(path) for path in arguments.paths], arguments.count)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"making the input in {folder}", file=sys.stderr)
        figures = {"photons": compare(folder, arguments.showers, arguments.rounds)}
        if arguments.large:
            figures["large"] = stream(folder, arguments.large)
    if arguments.output:
        write_json(arguments.output, figures | {"cpu": cpu_model()})


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--showers", type=int, default=NUM_CHALLENGE, help="of each photon file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="in which both ways take turns (default: %(default)s)")
    parser.add_argument("--large", type=int, default=2000, help="showers of 40,500 voxels, and twice that; 0: none")
    parser.add_argument("--folder", type=Path, help="where the input stays for another run (default: a temporary one)")
    parser.add_argument("--output", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("paths", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(folder: Path, num_showers: int, rounds: int) -> Measured:
    """Runs both ways on two files of photons, and prints their times and memory."""
    paths = [folder / f"photons_{name}_{num_showers}.hdf5" for name in ("reference", "generated")]
    input_file = run("make", paths, num_showers)
    rounds_of_ways = [{way: run(way, paths) for way in ("ours", "challenge")} for _ in range(rounds)]
    input_bytes = 2 * 8 * num_showers * (PHOTONS_DATASET1.size + 1)
    filled = f"{input_file['filled']:.0%} of the voxels filled"
    print(f"\n2 x {num_showers} photon showers, {input_bytes / 1e6:.0f} MB, {filled}")
    print(f"{'way':12s} {'seconds':>8s} {'processor':>10s} {'peak memory':>12s}")
    best = {}
    for way in ("ours", "challenge"):
        best[way] = min((item[way] for item in rounds_of_ways), key=lambda item: item["seconds"])
        peak, name = best[way]["peak"] / 1e6, "challenge's" if way == "challenge" else way
        print(f"{name:12s} {best[way]['seconds']:8.2f} {best[way]['processor']:8.2f} s {peak:9.0f} MB")
    ours, theirs = best["ours"].pop("powers"), best["challenge"].pop("powers")
    largest = max(abs(ours[name] - power) for name, power in theirs.items())
    print(f"largest difference of {len(theirs)} separation powers: {largest:.1e}")
    ratio = best["challenge"]["seconds"] / best["ours"]["seconds"]
    verdict("times as fast, at least 3", ratio, ratio >= 3)
    memory = best["ours"]["peak"] / input_bytes
    verdict("peak memory / input, at most 2", memory, memory <= 2)
    return {"showers": num_showers, "input": input_bytes, "difference": largest, "ratio": ratio} | best


def stream(folder: Path, num_showers: int) -> Measured:
    """Peak memory of judging some showers of 40,500 voxels, and twice as many."""
    measured = {}
    print(f"\n{LARGE.size} voxels")
    for number in (num_showers, 2 * num_showers):
        path = folder / f"large_{number}.hdf5"
        run("make-large", [path], number)
        measured[number] = run("ours-large", [path])
        size, seconds = 2 * 8 * number * LARGE.size / 1e6, measured[number]["seconds"]
        print(f"2 x {number} showers, {size:.0f} MB: {seconds:.1f} s, peak {measured[number]['peak'] / 1e6:.0f} MB")
    few, many = (item["peak"] for item in measured.values())
    verdict("peak memory, twice as many showers / as many", many / few, many <= 1.05 * few)
    return {str(number): figures for number, figures in measured.items()}


def verdict(text: str, value: float, met: bool) -> None:
    """Prints a number that has to meet a requirement, and whether it does."""
    print(f"{'met' if met else 'NOT MET':8s} {text}: {value:.2f}")


def run(way: str, paths: list[Path], count: int = 0) -> Measured:
    """Runs one way in a process of its own, and gives what it measured."""
    command = [sys.executable, __file__, "--child", way, "--count", str(count), *map(str, paths)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def child(way: str, paths: list[Path], count: int) -> None:
    """Runs one way in this process, and prints what was measured as JSON."""
    start = perf_counter()
    result = CHILDREN[way](paths, count)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {"seconds": perf_counter() - start, "processor": usage.ru_utime + usage.ru_stime}
    print(json.dumps(result | figures | {"peak": 1024 * usage.ru_maxrss}))


def make(paths: list[Path], count: int) -> Measured:
    """Write photon showers; the generated ones have a wider response and other layers."""
    numbers = np.round(np.cumsum(SHARES) * count).astype(int)
    incident = 2.0 ** (8 + np.searchsorted(numbers, np.arange(count), side="right").clip(max=14))
    for seed, path in enumerate(paths):
        rng = np.random.default_rng(seed)
        energies = rng.permutation(incident)
        if not path.exists():
            write(path, energies, partial(draw_photons, rng, seed), PHOTONS_DATASET1.size, level=4)
    with h5py.File(paths[0]) as file:
        return {"filled": float((file["showers"][:1000] >= MIN_ENERGY).mean())}


def draw_photons(rng: np.random.Generator, seed: int, incident: np.ndarray) -> np.ndarray:
    """Energies of random photon showers, `[n, 368]`, MeV."""
    part = incident[:, None]
    shares = rng.dirichlet(np.array([2.0, 20.0, 60.0, 1.0, 0.3]) * (1 + 0.02 * seed), len(part))
    total = part * rng.normal(0.97, (0.1 + 0.01 * seed) / np.sqrt(part / 1000), part.shape).clip(0.1, 1.9)
    voxels = rng.standard_gamma(0.15, (len(part), PHOTONS_DATASET1.size)) + 1e-12
    sums = PHOTONS_DATASET1.layer_energies(voxels)
    return voxels * (total * shares / sums)[:, PHOTONS_DATASET1.layer_of]


def make_large(paths: list[Path], count: int) -> Measured:
    """Write dense showers of 40,500 voxels."""
    rng = np.random.default_rng(count)
    incident = 10 ** rng.uniform(3, 6, count)
    if not paths[0].exists():
        write(paths[0], incident, partial(draw_large, rng), LARGE.size, level=1)
    return {}


def draw_large(rng: np.random.Generator, incident: np.ndarray) -> np.ndarray:
    """Energies of random large showers, half of their voxels filled, `[n, 40500]`, MeV."""
    energies = rng.standard_exponential((len(incident), LARGE.size)) * incident[:, None] / 20_000
    return np.where(rng.random(energies.shape) < 0.5, np.maximum(energies, 0.02).round(3), 0.0)


def write(
    path: Path, incident: np.ndarray, draw: Callable[[np.ndarray], np.ndarray], num_voxels: int, level: int
) -> None:
    """Write a file of showers, block by block."""
    step, unfinished = max(1, 2**22 // num_voxels), path.with_suffix(".partial")
    with h5py.File(unfinished, "w") as file:
        options = {"compression": "gzip", "compression_opts": level}
        file.create_dataset("incident_energies", data=incident[:, None], **options)
        showers = file.create_dataset("showers", (len(incident), num_voxels), "f8", **options)
        for start in range(0, len(incident), step):
            rows = slice(start, min(start + step, len(incident)))
            showers[rows] = draw(incident[rows])
    unfinished.rename(path)


def ours(paths: list[Path], count: int) -> Measured:
    """Judges photons as calogen does."""
    judgement = judge_files(paths[0], paths[1], PHOTONS_DATASET1, shapes=False)
    powers = {}
    for item in judgement.scored:
        name = item.feature.name + (f" {item.incident_energy:.0f}" if item.incident_energy else "")
        powers[name] = item.numbers_of()[METRIC].value
    return {"powers": powers}


def ours_large(paths: list[Path], count: int) -> Measured:
    """Judges large showers as calogen does."""
    judge_files(paths[0], paths[0], LARGE, binning="3", shapes=False)
    return {}


def challenge(paths: list[Path], count: int) -> Measured:
    """Judges photons as the challenge's scripts do."""
    import matplotlib as mpl

    mpl.use("Agg")
    loaded = [load(path) for path in paths]
    features = [plain_features(showers) for _, showers in loaded]
    labels = [label.squeeze() for label, _ in loaded]
    powers: Powers = {}
    for name in features[0]:
        powers[name] = plot([item[name] for item in features], plain_bins(name, features[0][name]), name)
    responses = [item["total_energy"] / label for item, label in zip(features, labels, strict=True)]
    powers["response"] = plot(responses, np.linspace(0.5, 1.5, 101), "response")
    for number in range(8, 23):
        chosen = [value[label == 2.0**number] for value, label in zip(responses, labels, strict=True)]
        bins = np.linspace(0.9, 1.1, 21) if number > 11 else np.linspace(0.4, 1.4, 21)
        powers[f"response {2**number}"] = plot(chosen, bins, "response")
    bins = plain_logarithmic(loaded[0][1].max(), 50)
    powers["voxel_energy"] = plot([showers.flatten() for _, showers in loaded], bins, "voxel energy")
    return {"powers": powers}


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads a whole file; energies below the smallest one that counts become 0."""
    with h5py.File(path, "r") as file:
        label, showers = file["incident_energies"][:], file["showers"][:]
    showers[showers < MIN_ENERGY] = 0.0
    return label, showers


def plain_features(showers: np.ndarray) -> dict[str, np.ndarray]:
    """Features as the challenge's scripts compute them: layer by layer, moment by moment."""
    features = {"total_energy": showers.sum(axis=-1)}
    for layer, part in zip(PHOTONS_DATASET1.layers, PHOTONS_DATASET1.slices, strict=True):
        energy, number = showers[:, part], layer.id
        features[f"layer_energy_{number}"] = energy.sum(axis=-1)
        features[f"sparsity_{number}"] = 1.0 - (energy > 0).mean(axis=-1)
        radius = np.array(
            layer.num_alpha * [(a + b) / 2 for a, b in zip(layer.r_edges, layer.r_edges[1:], strict=False)]
        )
        places = {"r": radius}
        if layer.num_alpha > 1:
            edges = np.linspace(-np.pi, np.pi, layer.num_alpha + 1)
            alpha = np.repeat((edges[1:] + edges[:-1]) / 2, layer.num_r)
            places |= {"eta": radius * np.cos(alpha), "phi": radius * np.sin(alpha)}
        for axis, place in places.items():
            mean = (place * energy).sum(axis=-1) / (energy.sum(axis=-1) + 1e-16)
            square = (place * place * energy).sum(axis=-1) / (energy.sum(axis=-1) + 1e-16)
            features[f"centroid_{axis}_{number}"] = mean
            features[f"width_{axis}_{number}"] = np.sqrt((square - mean**2).clip(min=0.0))
    return features


def plain_bins(name: str, reference: np.ndarray) -> np.ndarray:
    """Bins of the challenge; those of the total energy, which it does not have, are ours."""
    tile = name.endswith("_12")
    if "energy" in name:
        return plain_logarithmic(reference.max(), 40)
    if name.startswith("sparsity"):
        return np.linspace(0, 1, 21)
    if "_r_" in name:
        return np.linspace(0, 1500 if tile else 500, 101)
    return np.linspace(-100, 100, 101) if name.startswith("centroid") else np.linspace(0, 100, 101)


def plain_logarithmic(maximum: float, num_edges: int) -> np.ndarray:
    """Logarithmic bins of the challenge, of which the last one surely holds the maximum."""
    bins = np.logspace(np.log10(MIN_ENERGY), np.log10(maximum), num_edges)
    bins[-1] = maximum * (1 + 1e-14)  # sums in another order give another maximum
    return bins


def plot(values: list[np.ndarray], bins: np.ndarray, label: str) -> float:
    """Draws two histograms and gives their separation power."""
    import matplotlib.pyplot as plt

    plt.figure(figsize=(6, 6))
    style: dict[str, Any] = {"histtype": "stepfilled", "alpha": 0.2, "linewidth": 2.0}
    first, _, _ = plt.hist(values[0], bins=bins.tolist(), density=True, label="reference", **style)
    style = {"histtype": "step", "alpha": 1.0, "linewidth": 3.0}
    second, _, _ = plt.hist(values[1], bins=bins.tolist(), density=True, label="generated", **style)
    plt.xlabel(label)
    plt.yscale("log")
    plt.legend(fontsize=20)
    plt.tight_layout()
    plt.close()
    p, q = (np.asarray(counts) * np.diff(bins) for counts in (first, second))
    return float(0.5 * ((p - q) ** 2 / (p + q + 1e-16)).sum())


CHILDREN = {
    "make": make,
    "make-large": make_large,
    "ours": ours,
    "ours-large": ours_large,
    "challenge": challenge,
}

if __name__ == "__main__":
    main()
