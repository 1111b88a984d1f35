"""Export of trained runs to files that an experiment's software loads.

It finds the runs that belong together, writes their files, and measures how well these agree with Keras.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any  # the values of manifests and provenance files, which are JSON

import numpy as np

from calogen import files, provenance
from calogen.athena import depths, radial
from calogen.athena.account import can_write_root, folder_notes, root_files, training_note
from calogen.athena.bundle import ONNX_TOLERANCE, Bundle, build_bundle
from calogen.athena.cells import build_cells, prior_of, quantities
from calogen.athena.closure import NUM_SHOWERS, PER_ENERGY, TOLERANCE, Agreement, agreement, keras_energies
from calogen.athena.folder import require_slice
from calogen.athena.grids import LACKS, build_grids
from calogen.athena.interface import SELECTOR, V2, VoxelGenerator
from calogen.errors import CalogenError, DataFormatError, ExportError
from calogen.generation.generate import route
from calogen.generation.load import load_run, model_module
from calogen.locks import directory_lock
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry
from calogen.training.run import TrainedRun

_SOURCES = ("config.json", "transform.json")
_NETWORKS = (".json", ".npz", ".onnx")  # endings of the files that hold networks of cells or of a grid


@dataclass(frozen=True)
class RunSet:
    """Trained runs that are exported together.

    Args:
        name: folder below the output: the place of the run in the folder that was searched, and at least <paper>/<run>,
            with the name of the network or the set where a run has several.
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
    root = path.resolve()
    for run in _runs(root):
        if run.name == "selected":
            networks.setdefault(run.parents[1], {})[run.parent.name] = run
        else:
            alone.append(run)
    sets = [RunSet(_set_name(run, root), (run,)) for run in alone]
    for folder, runs in networks.items():
        splits = getattr(model_module(_model_name(next(iter(runs.values())))), "SPLITS", {})
        for name, members in _together(sorted(runs), splits).items():
            directories = tuple(runs[member] for member in members)
            sets.append(RunSet(_set_name(folder / name, root), directories))
    if not sets:
        raise ExportError(f"{path} must hold a trained run. Received: none: train one first (calogen train)")
    return sorted(sets, key=lambda item: item.name)


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Args:
        line: a text with the folder of the files and their deviation from Keras.
        agrees: whether the distributions of showers agree with those of Keras.
        notes: how good the networks are, and what the folder lacks, a line each.
    """

    line: str
    agrees: bool
    notes: tuple[str, ...] = ()


def export_runs(
    path: Path, output: Path, eta: int = 20, *, into: Path | None = None, only: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    """Exports all trained runs of a folder, even if one of them cannot be exported.

    Args:
        path, output, eta, into: as for `find_sets` and `export_set`.
        only: names of the sets to export, without the folders before them; empty: all.

    Returns:
        for each set of runs lines on the result, and a line on what is wrong, which is empty if all is well.

    Raises:
        ExportError: there is no such slice or set, two sets have one name, or `into` would get several networks of one
            particle.
    """
    require_slice(eta)
    chosen = _chosen(find_sets(path), only)
    if into is not None:
        _require_one_of_each(chosen)
    else:
        _require_own_names(chosen)
    return _exported(chosen, output, eta, into)


def _exported(sets: Sequence[RunSet], output: Path, eta: int, into: Path | None) -> Iterator[tuple[str, str]]:
    for item in sets:
        try:
            done = export_set(item, output, eta, into)
            fault = "" if done.agrees else f"{item.name}: its distributions differ from Keras'"
            yield "\n  ".join((done.line, *done.notes)), fault
        except CalogenError as error:
            fault = f"{item.name}: {' '.join(str(error).split())}"
            yield f"not exported: {fault}", fault


def export_set(item: RunSet, output: Path, eta: int = 20, into: Path | None = None) -> Exported:
    """Writes the files of one set of runs after comparing its networks with Keras.

    Args:
        item: the set of runs.
        output: the files are written to its folder `item.name`.
        eta: 100 times the lower edge of the slice in pseudorapidity.
        into: the folder of the files instead, for networks of voxels that a class of Athena loads.

    Raises:
        ExportError: a network cannot be expressed or does not agree with Keras; nothing is written.
    """
    runs = [load_run(path) for path in item.directories]
    if runs[0].geometry.kind == "VoxelGeometry":
        done = _export_voxels(item, runs, into or output / item.name, eta, together=into is not None)
    elif into is None:
        write = _export_grids if runs[0].geometry.kind == "RegularGrid" else _export_cells
        done = write(item, runs, output / item.name)
    else:
        raise ExportError(f"--into is for networks of voxels. Received: {runs[0].geometry.name}; leave it out")
    trained = map(training_note, runs, item.directories)
    return replace(done, notes=(*trained, *done.notes))


def _export_voxels(item: RunSet, runs: list[TrainedRun], directory: Path, eta: int, *, together: bool) -> Exported:
    """Writes the networks of a particle's slice, `together` with those of other runs."""
    bundle = build_bundle([as_generator(*pair) for pair in zip(runs, item.directories, strict=True)], eta)
    if together and bundle.interface == SELECTOR:
        raise ExportError("--into is for networks that a class of Athena loads. Received: others; leave it out")
    agreed = _distributions(bundle, runs)
    about: dict[str, Any] = {**_origin(item, runs), "distributions": agreed.to_json()}
    more = {bundle.part.closure: _closure_page(bundle, agreed).encode()}
    if bundle.interface == V2 and can_write_root():
        about["radial"] = _radial(bundle)
        more |= _root_files(bundle, about["radial"]["momentum"])
    kept = bundle.write(directory, about, more)
    worst = max(network["closure"]["float64"] for network in bundle.manifest["networks"])
    notes = tuple(folder_notes(bundle, directory, kept))
    return Exported(_line(directory, bundle.interface, worst, agreed.agrees), agreed.agrees, notes)


def _export_cells(item: RunSet, runs: list[TrainedRun], directory: Path) -> Exported:
    """Writes a network of cells into a folder of its own."""
    cells = build_cells(runs[0])
    contents = {network.file: network.text.encode() for network in cells.networks}
    _write_alone(directory, contents, {**cells.about, **_origin(item, runs)}, cells.page())
    worst = max(network.float64 for network in cells.networks)
    agrees = all(network.agreed.agrees for network in cells.networks)
    lacks = (f"lacks: a class of Athena that loads it ({cells.refusal})",) if cells.refusal else ()
    return Exported(_line(directory, cells.kind, worst, agrees), agrees, lacks)


def _export_grids(item: RunSet, runs: list[TrainedRun], directory: Path) -> Exported:
    """Writes a network of a regular grid into a folder of its own."""
    grids = build_grids(runs[0], _training(item.directories[0]).get("incident_energies"))
    _write_alone(directory, grids.contents, {**grids.about, **_origin(item, runs)}, grids.page())
    worst = f"largest deviation {grids.deviation:.1e} of the shower's energy"
    return Exported(f"{directory} (ONNX): {worst}", agrees=True, notes=(f"lacks: {LACKS}",))


def _write_alone(directory: Path, networks: Mapping[str, bytes], about: Mapping[str, Any], page: str) -> None:
    """Writes networks, closure page and manifest in place of an earlier export."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in networks.items()}
    manifest = directory / "manifest.json"
    text = files.format_json(manifest, {**about, "sha256": digests})
    contents = {**networks, "closure.md": page.encode(), manifest.name: text.encode()}
    with directory_lock(directory):
        stale = [path for path in _networks_before(directory) if path.name not in contents]
        # the manifest goes first: no moment sees it beside networks of another export
        files.replace_files(directory, contents, [manifest, *stale])


def _line(directory: Path, kind: str, worst: float, agrees: bool) -> str:
    verdict = "agree with Keras'" if agrees else "DIFFER from Keras'"
    return f"{directory} ({kind}): largest deviation {worst:.1e} of the shower's energy, distributions {verdict}"


def _networks_before(directory: Path) -> list[Path]:
    """Networks that the manifest of an earlier export names, of cells or a grid."""
    path = directory / "manifest.json"
    try:
        names = files.read_json_table(path).get("sha256") if path.exists() else None
    except DataFormatError:  # a damaged manifest names nothing
        return []
    named = [item for item in files.listed(directory) if isinstance(names, dict) and item.name in names]
    return [item for item in named if item.suffix in _NETWORKS and item.is_file()]


def _chosen(sets: list[RunSet], only: Sequence[str]) -> list[RunSet]:
    """The sets of these names, or all."""
    names = [item.name.rpartition("/")[2] for item in sets]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ExportError(f"--only must be among {', '.join(dict.fromkeys(names))}. Received: {unknown[0]}")
    return [item for item, name in zip(sets, names, strict=True) if not only or name in only]


def _require_own_names(sets: Sequence[RunSet]) -> None:
    """Refuse sets of which one would replace another in the folder of their name."""
    of_name: dict[str, Path] = {}
    for item in sets:
        first = of_name.setdefault(item.name, item.directories[0])
        if first != item.directories[0]:
            raise ExportError(
                f"runs must have folders of their own in --output: export one of them into another. "
                f"Received: {item.name} for {first} and {item.directories[0]}"
            )


def _require_one_of_each(sets: Sequence[RunSet]) -> None:
    """Refuse sets of which one would replace another in the same folder."""
    of_particle: dict[object, list[str]] = {}
    for item in sets:
        config = files.read_json_table(item.directories[0] / "config.json").get("config")
        particle = config.get("particle") if isinstance(config, dict) else None
        of_particle.setdefault(particle, []).append(item.name)
    several = next((names for names in of_particle.values() if len(names) > 1), [])
    if several:
        raise ExportError(
            f"--into takes one set of networks of each particle: choose it with --only. Received: {', '.join(several)}"
        )


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
        if folder.is_dir() and folder.name not in ("scans", "snapshots", "recipes"):
            yield from _runs(folder)


def _set_name(folder: Path, root: Path) -> str:
    """Name of the set of this folder in `root`; before a study's network stand paper and run."""
    least = 3 if re.fullmatch(r".+-seed\d+", folder.parent.name) else 2
    return "/".join(folder.parts[-max(least, len(folder.parts) - len(root.parts)) :])


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
    chosen_momenta = [p for p in 2.0 ** np.arange(8, 23, 2) if low <= p <= high] or [np.sqrt(low * high)]
    momenta = np.repeat(chosen_momenta, PER_ENERGY)
    energies = np.zeros((len(momenta), runs[0].geometry.size), np.float32)
    chosen = route(runs, momenta)
    for position, run in enumerate(runs):
        rows = chosen == position
        latent = run.latent.draw(int(rows.sum()), seed=1 + position)
        energies[rows] = keras_energies(run.generator, run.transform, latent, momenta[rows])
    showers = Showers(runs[0].geometry, momenta, energies)
    return agreement(showers, bundle.generate(momenta, seed=1001), quantities(runs[0]))


def _radial(bundle: Bundle) -> dict[str, Any]:
    """Momentum of the radial histograms: the class's, but none above the training's."""
    top = bundle.networks[-1].generator
    known = top.trained_range is not None
    momentum = min(radial.MOMENTUM, (top.trained_range or top.momentum_range)[1])
    file = radial.file_name(bundle.part.pid, bundle.part.eta)
    return {"file": file, "momentum": momentum, "within_training": known or None}


def _root_files(bundle: Bundle, momentum: float) -> dict[str, bytes]:
    """Contents of the ROOT files without which version 2 of the class does not start."""
    first = bundle.networks[0].generator
    with TemporaryDirectory() as folder:
        names = root_files(bundle.part)
        paths = [Path(folder, Path(name).name) for name in names]
        radial.write_radial(paths[0], bundle.generate(np.full(PER_ENERGY, momentum), seed=1))
        depths.write_depths(paths[1], depths.mean_depths(first.particle, first.geometry.layer_ids))
        return {name: path.read_bytes() for name, path in zip(names, paths, strict=True)}


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
            "sha256": {
                file.name: files.sha256(file) for kind in ("keras", "npz") for file in files.listed(path, f"*.{kind}")
            }
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
