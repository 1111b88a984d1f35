"""From trained runs to files that an experiment's software loads.

Which runs belong together, what is written, how well it agrees with Keras.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from calogen import files, provenance
from calogen.errors import ExportError
from calogen.generation import TrainedRun, generate, load_run, model_module
from calogen.geometry import VoxelGeometry
from calogen.lwtnn.athena import V2, Generator
from calogen.lwtnn.bundle import Bundle, build_bundle
from calogen.lwtnn.closure import TOLERANCE, Agreement, agreement
from calogen.lwtnn.convert import convert, largest_difference
from calogen.lwtnn.graph import Graph, format_graph, parse_graph
from calogen.lwtnn.radial import MOMENTUM, file_name, write_radial
from calogen.selection import shape_quantities
from calogen.showers import Showers

FEATURES_TOLERANCE = 1e-5
"""Largest allowed difference of a decoder's features to Keras, of their scale: float32 rounds."""
_SOURCES = ("config.json", "transform.json")
_SHOWERS = 500  # per momentum, for distributions


@dataclass(frozen=True)
class RunSet:
    """Trained runs that are exported together.

    Args:
        name: folder below the output: <paper>/<run>, and the network's or the set's name where a run has several.
        directories: of the runs.
    """

    name: str
    directories: tuple[Path, ...]


def find_sets(path: Path) -> list[RunSet]:
    """Finds trained runs in a folder, and which of them share the momenta between them.

    Several networks in one folder, as studies leave them, go together where the model's `SPLITS` say so; each network
    that is no part of a split goes alone.

    Raises:
        ExportError: there is none.
    """
    found: list[RunSet] = []
    networks: dict[Path, dict[str, Path]] = {}
    for run in _runs(path.resolve()):
        if run.name == "selected":
            networks.setdefault(run.parents[1], {})[run.parent.name] = run
        else:
            found.append(RunSet("/".join(run.parts[-2:]), (run,)))
    for folder, here in networks.items():
        splits = getattr(
            model_module(files.read_json(next(iter(here.values())) / "config.json")["model"]), "SPLITS", {}
        )
        for name, members in _together(sorted(here), splits).items():
            directories = tuple(here[member] for member in members)
            found.append(RunSet("/".join((*folder.parts[-2:], name)), directories))
    if not found:
        raise ExportError(
            f"{path} must hold a trained run. Received: none: train one first, as by make reproduce-<paper>"
        )
    return sorted(found, key=lambda item: item.name)


def export_set(item: RunSet, output: Path, eta: int = 20) -> str:
    """Writes the files of one set, checked against Keras.

    Args:
        item: the runs.
        output: folder to write to, below it `item.name`.
        eta: 100 times the lower edge of the slice in pseudorapidity.

    Returns:
        One line that says where and how well.

    Raises:
        ExportError: a network cannot be expressed or does not agree with Keras; nothing is written.
    """
    runs, directory = [load_run(path) for path in item.directories], output / item.name
    if isinstance(runs[0].geometry, VoxelGeometry):
        bundle = build_bundle([as_generator(*pair) for pair in zip(runs, item.directories, strict=True)], eta)
        agreed = _distributions(bundle, runs)
        about = {**_origin(item, runs), "distributions": agreed.to_json()}
        if radial := _write_radial(bundle, directory):
            about["radial"] = radial
        bundle.write(directory, about)
        files.write_text(directory / "closure.md", _closure_page(bundle, agreed))
        worst = max(network["closure"]["float64"] for network in bundle.manifest["networks"])
        verdict = f"largest deviation {worst:.1e} of the shower's energy, distributions "
        return f"{directory} ({bundle.interface}): {verdict}{'agree' if agreed.agrees else 'DIFFER'}"
    return f"{directory}: largest relative difference {_export_decoder(item, runs[0], directory):.1e}"


def as_generator(run: TrainedRun, directory: Path) -> Generator:
    """Gives what the conversion needs of a trained run of voxels.

    Raises:
        ExportError: it generates no voxels.
    """
    if run.momentum_range is None or not isinstance(run.geometry, VoxelGeometry):
        raise ExportError(
            f"{run.model} must generate voxels of a range of momenta to be exported for Athena's GAN classes"
        )
    return Generator(
        model=run.generator,
        transform=run.transform,
        latent=run.latent,
        geometry=run.geometry,
        particle=run.config.particle,
        momentum_range=run.momentum_range,
        trained_range=_training(directory).get("incident_energies"),
    )


def _runs(path: Path) -> Iterator[Path]:
    """Trained runs in a folder, not those inside another one, nor scans."""
    if (path / "selected" / "config.json").is_file():
        path = path / "selected"
    if all((path / name).is_file() for name in _SOURCES):
        yield path
        return
    for folder in sorted(item for item in path.iterdir() if item.is_dir()) if path.is_dir() else ():
        if folder.name not in ("scans", "snapshots"):
            yield from _runs(folder)


def _together(names: list[str], splits: Mapping[int, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Sets by name: splits that are complete, with any ending, and what is in no split."""
    found, parts = {}, {part for split in splits.values() if len(split) > 1 for part in split}
    for count, split in splits.items():
        for ending in {name.removeprefix(split[0]) for name in names if name.startswith(split[0])}:
            members = tuple(part + ending for part in split)
            if count > 1 and set(members) <= set(names):
                found[f"{splits[1][0]}{ending}-{count}-gans"] = members
    alone = [name for name in names if not any(name.startswith(part) for part in parts)]
    return found | {name: (name,) for name in alone}


def _distributions(bundle: Bundle, runs: list[TrainedRun]) -> Agreement:
    """Showers of the files and of Keras, each with noise of its own, at powers of four."""
    ranges = [item.generator.momentum_range for item in bundle.networks]
    low, high = min(lowest for lowest, _ in ranges), max(highest for _, highest in ranges)
    momenta = np.repeat([p for p in 2.0 ** np.arange(8, 23, 2) if low <= p <= high], _SHOWERS)
    quantities = {_name(quantity): quantity for quantity in shape_quantities(runs[0].geometry)}
    return agreement(generate(runs, momenta, seed=1), bundle.generate(momenta, seed=1001), quantities)


def _write_radial(bundle: Bundle, directory: Path) -> dict[str, Any] | None:
    """Writes the class's histograms of radii, of the network's showers, if uproot is there."""
    if bundle.interface != V2 or find_spec("uproot") is None:
        return None
    top = bundle.networks[-1].generator
    momentum = min(MOMENTUM, (top.trained_range or top.momentum_range)[1])
    name = file_name(bundle.manifest["pid"], bundle.manifest["eta"][0])
    write_radial(directory / name, bundle.generate(np.full(_SHOWERS, momentum), seed=1))
    return {"file": name, "momentum": momentum}


def _name(quantity: Callable[[Showers], np.ndarray]) -> str:
    if isinstance(quantity, partial):
        return " ".join([quantity.func.__name__, *(f"{key} {value}" for key, value in quantity.keywords.items())])
    return quantity.__name__


def _training(directory: Path) -> dict[str, Any]:
    """Where a run comes from; of a selected iteration, where its training does."""
    found = [folder / "provenance.json" for folder in (directory, directory.parent)]
    return next((files.read_json(path) for path in found if path.is_file()), {})


def _origin(item: RunSet, runs: list[TrainedRun]) -> dict[str, Any]:
    """Paper, sources with their hashes, how they were trained, and what exported them."""
    collected = provenance.collect(0, {})
    sources = [
        {
            "run": "/".join(path.parts[-3:]),
            "sha256": {file.name: files.sha256(file) for file in sorted(path.glob("*.keras"))}
            | {name: files.sha256(path / name) for name in _SOURCES},
            "training": _training(path),
        }
        for path in item.directories
    ]
    exported = {name: collected[name] for name in ("commit", "dirty", "versions")}
    return {"paper": asdict(model_module(runs[0].model).PAPER), "sources": sources, "exported": exported}


def _export_decoder(item: RunSet, run: TrainedRun, directory: Path) -> float:
    """Writes a decoder of cells: its features, and in the manifest how they become energies."""
    text = format_graph(convert(run.generator, ["latent", "condition"]))
    graph = parse_graph(text)
    difference = largest_difference(run.generator, graph)
    if not difference <= FEATURES_TOLERANCE:
        raise ExportError(
            f"{item.name} must agree with Keras to {FEATURES_TOLERANCE:g} of the output's scale. "
            f"Received: {difference:.2e}"
        )
    files.write_text(directory / "decoder.json", text)
    manifest = {
        **_description(graph, run),
        **_origin(item, [run]),
        "check": {"largest_relative_difference": difference, "tolerance": FEATURES_TOLERANCE},
        "sha256": {"decoder.json": files.sha256(directory / "decoder.json")},
    }
    files.write_json(directory / "manifest.json", manifest)
    return difference


def _description(graph: Graph, run: TrainedRun) -> dict[str, Any]:
    """What someone who evaluates a decoder must know of its inputs and outputs."""
    labels, chain = graph.output().labels, run.transform
    return {
        "network": "decoder.json",
        "lwtnn": ">=2.14" if any(node.type == "add" for node in graph.nodes) else ">=2.13",
        "latent": asdict(run.latent),
        "inputs": [
            {"name": given.name, "variables": [variable.name for variable in given.variables]} for given in graph.inputs
        ],
        "condition": [_first_line(encoding) for encoding in chain.encodings],
        "output": {
            "name": next(iter(graph.outputs)),
            "size": len(labels),
            "labels": [labels[0], "...", labels[-1]],
            "order": "the features of the transform, whose steps are undone from the last to the first",
            "features": [_first_line(step) for step in chain.steps],
        },
        "transform": chain.to_json(),
    }


def _first_line(part: object) -> str:
    """The class and its docstring's first line: what the numbers mean, said in one place."""
    return f"{type(part).__name__}: {(type(part).__doc__ or '').splitlines()[0]}"


def _closure_page(bundle: Bundle, agreed: Agreement) -> str:
    rows = [
        f"| `{network['file']}` | {_span(network['above'], network['up_to'])} | {_span(*network['made_for'])} | "
        f"{_span(*network['trained']) if network['trained'] else 'not recorded'} | {_deviations(network['closure'])} |"
        for network in bundle.manifest["networks"]
    ]
    number = bundle.manifest["networks"][0]["closure"]["num_showers"]
    return f"""# Closure: {bundle.interface}

From the same noise, {number} showers per network at random momenta: the largest deviation of a voxel from Keras, of the
shower's energy (allowed: {TOLERANCE:g} from the model in float64).

| file | used for, MeV | made for, MeV | trained on, MeV | from Keras in float64 | in float32 | ONNX from Keras |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

From independent noise, {_SHOWERS} showers per momentum: {agreed.num_tests} Kolmogorov-Smirnov tests, smallest p-value
{agreed.smallest:.2g} ({agreed.where}), {100 * agreed.below:.0f} % below 0.05.
The distributions {"agree" if agreed.agrees else "DIFFER"}; exact copies fail this test once in a thousand times.
"""


def _span(low: float, high: float) -> str:
    return f"{low:.10g} to {high:.10g}"


def _deviations(closure: Mapping[str, float]) -> str:
    return " | ".join(f"{closure[name]:.1e}" if name in closure else "-" for name in ("float64", "float32", "onnx"))
