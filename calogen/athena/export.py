"""Export of trained runs to files that an experiment's software loads.

It finds the runs that belong together, writes their files, and measures how well these agree with Keras.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any  # the values of manifests and provenance files, which are JSON

import numpy as np

from calogen import files, provenance
from calogen.athena.bundle import ONNX_TOLERANCE, Bundle, build_bundle
from calogen.athena.closure import TOLERANCE, Agreement, agreement, deviation_scale, in_float64, keras_energies
from calogen.athena.interface import V2, VoxelGenerator
from calogen.athena.radial import MOMENTUM, file_name, write_radial
from calogen.errors import CalogenError, DataFormatError, ExportError
from calogen.features.conditions import Column
from calogen.generation.generate import generate, route
from calogen.generation.load import load_run, model_module
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Graph, format_graph, parse_graph
from calogen.lwtnn.runtime import evaluate_graph
from calogen.observables.shape_quantities import shape_quantities
from calogen.showers.conditions import Conditions
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry
from calogen.training.latent import Latent
from calogen.training.run import TrainedRun

_SOURCES = ("config.json", "transform.json")
_SHOWERS = 500  # number of showers per momentum, to compare distributions
_NUM_SHOWERS = 1000  # number of showers to measure deviations
_SAME_NOISE = (
    f"From the same noise, {_NUM_SHOWERS} showers at random energies: the largest deviation from Keras in float64, of\n"
    "the shower's energy (or of a hundredth of the incident one, if that is more)"
)


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
    sets: list[RunSet] = []
    networks: dict[Path, dict[str, Path]] = {}
    for run in _runs(path.resolve()):
        if run.name == "selected":
            networks.setdefault(run.parents[1], {})[run.parent.name] = run
        else:
            sets.append(RunSet("/".join(run.parts[-2:]), (run,)))
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
        page = _closure_page(bundle, agreed)
        worst, kind = max(item["closure"]["float64"] for item in bundle.manifest["networks"]), bundle.interface
        bundle.write(directory, about)
    else:
        kind, text = "decoder", format_graph(convert(runs[0].generator, ["latent", "condition"]))
        graph = parse_graph(text)
        worst, agreed = decoder_closure(graph, runs[0]), _decoder_distributions(graph, runs[0])
        if not worst <= TOLERANCE:
            raise ExportError(
                f"{item.name} must agree with Keras in float64 to {TOLERANCE:g} of the shower's energy. "
                f"Received: {worst:.2e}"
            )
        about = {**_description(graph, runs[0]), **_origin(item, runs)}
        about |= {"closure": {"float64": worst}, "distributions": agreed.to_json()}
        files.write_text(directory / "decoder.json", text)
        about["sha256"] = {"decoder.json": files.sha256(directory / "decoder.json")}
        files.write_json(directory / "manifest.json", about)
        page = f"# Closure: decoder\n\n{_SAME_NOISE}: {worst:.1e}.\n\n{_agreement_text(agreed)}"
    files.write_text(directory / "closure.md", page)
    verdict = f"largest deviation {worst:.1e} of the shower's energy, distributions "
    return Exported(f"{directory} ({kind}): {verdict}{'agree' if agreed.agrees else 'DIFFER'}", agreed.agrees)


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
        latent=_prior(run),
        geometry=run.geometry,
        particle=particle,
        momentum_range=run.momentum_range,
        trained_range=_training(directory).get("incident_energies"),
    )


def _prior(run: TrainedRun) -> Latent:
    """The prior of a run; Athena's classes know no fitted latent space."""
    if not isinstance(run.latent, Latent):
        raise ExportError(f"{run.model} draws its latent space from what was fitted: Athena's classes draw from priors")
    return run.latent


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
    momenta = np.repeat([p for p in 2.0 ** np.arange(8, 23, 2) if low <= p <= high], _SHOWERS)
    energies = np.zeros((len(momenta), runs[0].geometry.size), np.float32)
    chosen = route(runs, momenta)
    for position, run in enumerate(runs):
        rows = chosen == position
        latent = run.latent.draw(int(rows.sum()), seed=1 + position)
        energies[rows] = keras_energies(run.generator, run.transform, latent, momenta[rows])
    showers = Showers(runs[0].geometry, momenta, energies)
    return agreement(showers, bundle.generate(momenta, seed=1001), _quantities(runs[0]))


def _write_radial(bundle: Bundle, directory: Path) -> dict[str, Any] | None:
    """Writes the radial histograms that the class reads, if uproot is installed."""
    if bundle.interface != V2 or find_spec("uproot") is None:
        return None
    top = bundle.networks[-1].generator
    known = top.trained_range is not None
    momentum = min(MOMENTUM, (top.trained_range or top.momentum_range)[1])
    name = file_name(bundle.manifest["pid"], bundle.manifest["eta"][0])
    write_radial(directory / name, bundle.generate(np.full(_SHOWERS, momentum), seed=1))
    return {"file": name, "momentum": momentum, "within_training": known or None}


def _model_name(directory: Path) -> str:
    """The name of a run's model, read without loading its networks."""
    about = files.read_json(directory / "config.json")
    if not isinstance(about, dict) or not isinstance(about.get("model"), str):
        raise DataFormatError(f"{directory}/config.json must name a model. Received: {about!r:.100}")
    return about["model"]


def _name(quantity: Callable[[Showers], np.ndarray]) -> str:
    if isinstance(quantity, partial):
        return " ".join([quantity.func.__name__, *(f"{key} {value}" for key, value in quantity.keywords.items())])
    return quantity.__name__


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


def decoder_closure(graph: Graph, run: TrainedRun) -> float:
    """Largest deviation of a cell from Keras in float64, divided as in `Closure`."""
    low, high = _energy_range(run)
    energies = low * (high / low) ** np.random.default_rng(0).random(_NUM_SHOWERS)
    conditions, latent = _conditions(run, energies), run.latent.draw(_NUM_SHOWERS, 0).astype(np.float64)
    decoded = _decoded(graph, run, latent, conditions)
    expected = keras_energies(in_float64(run.generator), run.transform, latent, conditions)
    return float((np.abs(decoded - expected) / deviation_scale(expected, energies[:, None])).max())


def _decoder_distributions(graph: Graph, run: TrainedRun) -> Agreement:
    low, high = _energy_range(run)
    energies = np.repeat([energy for energy in 2.0 ** np.arange(8, 23, 2) if low <= energy <= high], _SHOWERS)
    conditions, latent = _conditions(run, energies), run.latent.draw(len(energies), seed=1001).astype(np.float64)
    showers = Showers(run.geometry, energies, _decoded(graph, run, latent, conditions).astype(np.float32))
    return agreement(generate(run, conditions, seed=1), showers, _quantities(run))


def _conditions(run: TrainedRun, energies: np.ndarray) -> Conditions:
    """Incident energies, with random values, whose columns are -1 to 1, of other conditions."""
    rng, encodings = np.random.default_rng(0), [item for item in run.transform.encodings if isinstance(item, Column)]
    others = {item.condition: item.offset + item.scale * rng.uniform(-1, 1, len(energies)) for item in encodings}
    return Conditions(energies, others)


def _decoded(graph: Graph, run: TrainedRun, latent: np.ndarray, conditions: Conditions) -> np.ndarray:
    """Energies `[n, v]`, MeV, of a decoder's graph."""
    features = evaluate_graph(graph, {"latent": latent, "condition": run.transform.columns(conditions)})
    return run.transform.energies(features, conditions.incident_energies)


def _energy_range(run: TrainedRun) -> tuple[float, float]:
    """Lowest and highest energy of the training, MeV."""
    encoding = run.transform.encodings[0]
    highest = float(getattr(encoding, "highest", 2.0**18))
    return float(getattr(encoding, "lowest", highest / 2**10)), highest


def _quantities(run: TrainedRun) -> dict[str, Callable[[Showers], np.ndarray]]:
    return {_name(quantity): quantity for quantity in shape_quantities(run.geometry)}


def _description(graph: Graph, run: TrainedRun) -> dict[str, Any]:
    """Description of a decoder's inputs and outputs, for the programs that evaluate it."""
    labels, chain = graph.output().labels, run.transform
    return {
        "network": "decoder.json",
        "lwtnn": ">=2.14" if any(node.type == "add" for node in graph.nodes) else ">=2.13",
        "latent": asdict(_prior(run)),
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
    """The class of a step or an encoding, with its docstring's first line."""
    return f"{type(part).__name__}: {(type(part).__doc__ or '').splitlines()[0]}"


def _closure_page(bundle: Bundle, agreed: Agreement) -> str:
    rows = [
        f"| `{network['file']}` | {_span(network['above'], network['up_to'])} | {_span(*network['made_for'])} | "
        f"{_span(*network['trained']) if network['trained'] else 'not recorded'} | {_deviations(network['closure'])} |"
        for network in bundle.manifest["networks"]
    ]
    return f"""# Closure: {bundle.interface}

From the same noise, {_NUM_SHOWERS} showers per network at random momenta: the largest deviation of a voxel from Keras,
of the shower's energy, or of a hundredth of the kinetic energy if that is more (allowed: {TOLERANCE:g} from the model
in float64, {ONNX_TOLERANCE:g} for ONNX, which is float32).

| file | used for, MeV | made for, MeV | trained on, MeV | from Keras in float64 | in float32 | ONNX from Keras |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

{_agreement_text(agreed)}"""


def _agreement_text(agreed: Agreement) -> str:
    return f"""From independent noise, {_SHOWERS} showers per momentum: {agreed.num_tests} Kolmogorov-Smirnov tests, the
smallest p-value {agreed.smallest:.2g} ({agreed.where}), {100 * agreed.below:.0f} % below 0.05.
The distributions {"agree" if agreed.agrees else "DIFFER"}; exact copies fail this test at most about once in 1000.
"""


def _span(low: float, high: float) -> str:
    return f"{low:.10g} to {high:.10g}"


def _deviations(closure: Mapping[str, float]) -> str:
    return " | ".join(f"{closure[name]:.1e}" if name in closure else "-" for name in ("float64", "float32", "onnx"))
