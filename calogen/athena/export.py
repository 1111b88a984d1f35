"""Export of trained runs to files that an experiment's software loads.

It finds the runs that belong together, writes their files, and measures how well these agree with Keras.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any  # the values of manifests and provenance files, which are JSON

import numpy as np

from calogen import files, provenance
from calogen.athena import service
from calogen.athena.bundle import ONNX_TOLERANCE, Bundle, build_bundle
from calogen.athena.cells import build_cells, prior_of, quantities
from calogen.athena.closure import NUM_SHOWERS, PER_ENERGY, TOLERANCE, Agreement, agreement, keras_energies
from calogen.athena.interface import V2, VoxelGenerator
from calogen.athena.radial import MOMENTUM, file_name, write_radial
from calogen.errors import CalogenError, DataFormatError, ExportError
from calogen.generation.generate import route
from calogen.generation.load import load_run, model_module
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry
from calogen.training.run import TrainedRun

_SOURCES = ("config.json", "transform.json")


@dataclass(frozen=True)
class RunSet:
    """Trained runs that are exported together.

    Args:
        name: folder below the output: <paper>/<run>, and the name of the network or the set where a run has several.
        directories: folders of the runs.
    """

    name: str
    directories: tuple[Path, ...]


def find_sets(path: Path) -> list[RunSet]:
    """Finds the trained runs in a folder and joins those that share the momenta.

    A study writes several networks into one folder. Those that the model's `SPLITS` list together form a set; each
    network that is no part of a complete split forms a set of its own.

    Raises:
        ExportError: the folder holds no trained run.
    """
    alone: list[Path] = []
    networks: dict[Path, dict[str, Path]] = {}
    for run in _runs(path.resolve()):
        if run.name == "selected":
            networks.setdefault(run.parents[1], {})[run.parent.name] = run
        else:
            alone.append(run)
    sets = [RunSet("/".join(run.parts[-3 if run.parent in networks else -2 :]), (run,)) for run in alone]
    for folder, runs in networks.items():
        splits = getattr(model_module(_model_name(next(iter(runs.values())))), "SPLITS", {})
        for name, members in _together(sorted(runs), splits).items():
            directories = tuple(runs[member] for member in members)
            sets.append(RunSet("/".join((*folder.parts[-2:], name)), directories))
    if not sets:
        raise ExportError(f"{path} must hold a trained run. Received: none: train one first (calogen train)")
    return sorted(sets, key=lambda item: item.name)


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Args:
        line: a text with the folder of the files and their deviation from Keras.
        agrees: whether the distributions of showers agree with those of Keras.
    """

    line: str
    agrees: bool


def export_runs(path: Path, output: Path, eta: int = 20) -> Iterator[tuple[str, str]]:
    """Exports all trained runs of a folder, even if one of them cannot be exported.

    Args:
        path, output, eta: as for `find_sets` and `export_set`.

    Returns:
        for each set of runs a line on the result, and a line on what is wrong, which is empty if all is well.
    """
    for item in find_sets(path):
        try:
            done = export_set(item, output, eta)
            yield done.line, "" if done.agrees else f"{item.name}: its distributions differ from Keras'"
        except CalogenError as error:
            fault = f"{item.name}: {' '.join(str(error).split())}"
            yield f"not exported: {fault}", fault


def export_set(item: RunSet, output: Path, eta: int = 20) -> Exported:
    """Writes the files of one set of runs after comparing its networks with Keras.

    Args:
        item: the set of runs.
        output: the files are written to its folder `item.name`.
        eta: 100 times the lower edge of the slice in pseudorapidity.

    Raises:
        ExportError: a network cannot be expressed or does not agree with Keras; nothing is written.
    """
    runs, directory = [load_run(path) for path in item.directories], output / item.name
    if runs[0].geometry.kind == "VoxelGeometry":
        bundle = build_bundle([as_generator(*pair) for pair in zip(runs, item.directories, strict=True)], eta)
        agreed = _distributions(bundle, runs)
        about = {**_origin(item, runs), "distributions": agreed.to_json()}
        if radial := _write_radial(bundle, directory):
            about["radial"] = radial
        page, agrees = _closure_page(bundle, agreed), agreed.agrees
        worst, kind = max(item["closure"]["float64"] for item in bundle.manifest["networks"]), bundle.interface
        bundle.write(directory, about)
    else:
        cells = build_cells(runs[0])
        (directory / service.FILE).unlink(missing_ok=True)  # of an earlier run that the service could load
        for network in cells.networks:
            files.write_text(directory / network.file, network.text)
        digests = {network.file: files.sha256(directory / network.file) for network in cells.networks}
        files.write_json(directory / "manifest.json", {**cells.about, **_origin(item, runs), "sha256": digests})
        worst, kind, page = max(network.float64 for network in cells.networks), cells.kind, cells.page()
        agrees = all(network.agreed.agrees for network in cells.networks)
    files.write_text(directory / "closure.md", page)
    verdict = f"largest deviation {worst:.1e} of the shower's energy, distributions "
    return Exported(f"{directory} ({kind}): {verdict}{'agree' if agrees else 'DIFFER'}", agrees)


def as_generator(run: TrainedRun, directory: Path) -> VoxelGenerator:
    """Gives the generator of a trained run of voxels, for the conversion.

    Raises:
        ExportError: the run generates no voxels, or has no range of momenta.
    """
    text = f"{run.model} must generate voxels of a range of momenta to be exported for Athena's GAN classes"
    particle = getattr(run.config, "particle", None)
    if run.momentum_range is None or not isinstance(particle, str):
        raise ExportError(text)
    if not isinstance(run.geometry, VoxelGeometry):
        raise ExportError(f"{text}. Received: geometry {run.geometry.name}")
    return VoxelGenerator(
        model=run.generator,
        transform=run.transform,
        latent=prior_of(run),
        geometry=run.geometry,
        particle=particle,
        momentum_range=run.momentum_range,
        trained_range=_training(directory).get("incident_energies"),
    )


def _runs(path: Path) -> Iterator[Path]:
    """Folders of the trained runs in a folder, without scans and runs inside other runs."""
    if (path / "selected" / "config.json").is_file():
        path = path / "selected"
    if all((path / name).is_file() for name in _SOURCES):
        yield path
        return
    for folder in files.listed(path):
        if folder.is_dir() and folder.name not in ("scans", "snapshots"):
            yield from _runs(folder)


def _together(names: list[str], splits: Mapping[int, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Networks of each set, by its name: complete splits, with any ending, and the rest."""
    complete: dict[str, tuple[str, ...]] = {}
    for count, split in splits.items():
        for ending in {name.removeprefix(split[0]) for name in names if name.startswith(split[0])}:
            members = tuple(part + ending for part in split)
            if count > 1 and set(members) <= set(names):
                complete[f"{splits[1][0]}{ending}-{count}-gans"] = members
    together = {name for members in complete.values() for name in members}
    return complete | {name: (name,) for name in names if name not in together}


def _distributions(bundle: Bundle, runs: list[TrainedRun]) -> Agreement:
    """Agreement of the files' showers with Keras', from independent noise."""
    ranges = [item.generator.momentum_range for item in bundle.networks]
    low, high = min(lowest for lowest, _ in ranges), max(highest for _, highest in ranges)
    momenta = np.repeat([p for p in 2.0 ** np.arange(8, 23, 2) if low <= p <= high], PER_ENERGY)
    energies = np.zeros((len(momenta), runs[0].geometry.size), np.float32)
    chosen = route(runs, momenta)
    for position, run in enumerate(runs):
        rows = chosen == position
        latent = run.latent.draw(int(rows.sum()), seed=1 + position)
        energies[rows] = keras_energies(run.generator, run.transform, latent, momenta[rows])
    showers = Showers(runs[0].geometry, momenta, energies)
    return agreement(showers, bundle.generate(momenta, seed=1001), quantities(runs[0]))


def _write_radial(bundle: Bundle, directory: Path) -> dict[str, Any] | None:
    """Writes the radial histograms that the class reads, if uproot is installed."""
    if bundle.interface != V2 or find_spec("uproot") is None:
        return None
    top = bundle.networks[-1].generator
    known = top.trained_range is not None
    momentum = min(MOMENTUM, (top.trained_range or top.momentum_range)[1])
    name = file_name(bundle.manifest["pid"], bundle.manifest["eta"][0])
    write_radial(directory / name, bundle.generate(np.full(PER_ENERGY, momentum), seed=1))
    return {"file": name, "momentum": momentum, "within_training": known or None}


def _model_name(directory: Path) -> str:
    """The name of a run's model, read without loading its networks."""
    about = files.read_json(directory / "config.json")
    if not isinstance(about, dict) or not isinstance(about.get("model"), str):
        raise DataFormatError(f"{directory}/config.json must name a model. Received: {about!r:.100}")
    return about["model"]


def _training(directory: Path) -> dict[str, Any]:
    """Provenance of a run; that of a selected iteration lies in the parent folder."""
    paths = [folder / "provenance.json" for folder in (directory, directory.parent)]
    return next((files.read_json_table(path) for path in paths if path.is_file()), {})


def _origin(item: RunSet, runs: list[TrainedRun]) -> dict[str, Any]:
    """The paper, the runs with their hashes and trainings, and the code that exported them."""
    collected = provenance.collect(0, {})
    sources = [
        {
            "run": "/".join(path.parts[-3:]),
            "sha256": {file.name: files.sha256(file) for file in files.listed(path, "*.keras")}
            | {name: files.sha256(path / name) for name in _SOURCES},
            "training": _training(path),
        }
        for path in item.directories
    ]
    exported = {name: collected[name] for name in ("commit", "dirty", "versions")}
    return {"paper": asdict(model_module(runs[0].model).PAPER), "sources": sources, "exported": exported}


def _closure_page(bundle: Bundle, agreed: Agreement) -> str:
    rows = [
        f"| `{network['file']}` | {_span(network['above'], network['up_to'])} | {_span(*network['made_for'])} | "
        f"{_span(*network['trained']) if network['trained'] else 'not recorded'} | {_deviations(network['closure'])} |"
        for network in bundle.manifest["networks"]
    ]
    return f"""# Closure: {bundle.interface}

From the same noise, {NUM_SHOWERS} showers per network at random momenta: the largest deviation of a voxel from Keras,
of the shower's energy, or of a hundredth of the kinetic energy if that is more (allowed: {TOLERANCE:g} from the model
in float64, {ONNX_TOLERANCE:g} for ONNX, which is float32).

| file | used for, MeV | made for, MeV | trained on, MeV | from Keras in float64 | in float32 | ONNX from Keras |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

{agreed.describe()}"""


def _span(low: float, high: float) -> str:
    return f"{low:.10g} to {high:.10g}"


def _deviations(closure: Mapping[str, float]) -> str:
    return " | ".join(f"{closure[name]:.1e}" if name in closure else "-" for name in ("float64", "float32", "onnx"))
