"""Export of networks that generate cells, as plain graphs and for Athena's service.

The plain graph takes the network's own noise and condition and gives its features. The service's graph (`service`)
takes the numbers that the service computes, whose constants are not those of the training: the difference is in offsets
and scales of its inputs, exactly. Both are compared with Keras before they are written.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any  # the values of manifests, which are JSON

import numpy as np

from calogen.athena import service
from calogen.athena.closure import (
    NUM_SHOWERS,
    PER_ENERGY,
    TOLERANCE,
    Agreement,
    agreement,
    deviation_scale,
    in_float64,
    keras_energies,
)
from calogen.athena.interface import noise_variable, rectified
from calogen.backend import keras
from calogen.errors import ExportError
from calogen.features.conditions import OneCondition
from calogen.features.transforms import KineticFractions, Mask
from calogen.generation.generate import generate
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Graph, GraphOutput, format_graph, parse_graph
from calogen.lwtnn.inputs import rebuilt_input
from calogen.lwtnn.runtime import evaluate_graph
from calogen.observables.shape_quantities import shape_quantities
from calogen.showers.conditions import Conditions
from calogen.showers.sample import Showers
from calogen.training.latent import Latent
from calogen.training.run import TrainedRun

_ENERGIES = 2.0**8, 2.0**18  # MeV, where no encoding knows better
_PHOTONS = 0.1, 1.3  # |eta| of random photons: their windows lie in one half of the barrel


@dataclass(frozen=True)
class CellNetwork:
    """A network's file, and how far its showers are from those of Keras.

    Args:
        file: name of the file.
        reader: what reads it, in words.
        text: content of the file.
        graph: the graph, as read from the text.
        float64: largest deviation of a cell from the model in float64, as in `closure.Closure`.
        agreed: agreement of distributions.
    """

    file: str
    reader: str
    text: str
    graph: Graph
    float64: float
    agreed: Agreement


@dataclass(frozen=True)
class CellExport:
    """The files of a network that generates cells.

    Args:
        networks: the plain network, and that of the service if it can load one.
        refusal: why the service cannot load the network; empty if it can.
        about: content of the manifest.
    """

    networks: tuple[CellNetwork, ...]
    refusal: str
    about: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The service, or the plain network's name."""
        return self.networks[0].file.removesuffix(".json") if self.refusal else service.NAME

    def page(self) -> str:
        """The comparison with Keras, as Markdown."""
        rows = [f"| `{item.file}` | {item.reader} | {item.float64:.1e} |" for item in self.networks]
        texts = [f"`{item.file}`: {item.agreed.describe()}" for item in self.networks]
        refused = f"\n{service.NAME} cannot load this network: {self.refusal}.\n" if self.refusal else ""
        return f"""# Closure: {self.kind}

From the same noise, {NUM_SHOWERS} showers at random energies: the largest deviation of a cell from Keras in float64, of
the shower's energy, or of a hundredth of the incident one if that is more (allowed: {TOLERANCE:g}).

| file | for | from Keras in float64 |
|---|---|---|
{chr(10).join(rows)}
{refused}
{chr(10).join(texts)}"""


def build_cells(run: TrainedRun) -> CellExport:
    """Converts a network that generates cells and compares its files with Keras.

    Raises:
        ExportError: the network cannot be expressed, deviates from Keras, or draws from a fitted latent space.
    """
    file, refusal = f"{network_name(run)}.json", ""
    networks = [_checked(run, file, "any program", plain_graph(run), network_closure, distributions)]
    try:
        graph = service_graph(run)
    except ExportError as error:
        refusal = str(error)
    else:
        checks = service_closure, service_distributions
        networks.append(_checked(run, service.FILE, f"{service.NAME}, {service.TAG}", graph, *checks))
    about = _description(networks[0].graph, run) | {"network": networks[0].file}
    about |= {"closure": {"float64": networks[0].float64}, "distributions": networks[0].agreed.to_json()}
    about["service"] = {"refused": refusal} if refusal else _service_description(networks[1])
    about["interface"] = None if refusal else service.NAME
    return CellExport(tuple(networks), refusal, about)


def plain_graph(run: TrainedRun) -> Graph:
    """Gives the network from its own noise and condition to its features."""
    return convert(run.generator, ["latent", "condition"])


def service_graph(run: TrainedRun) -> Graph:
    """Gives the network from the service's inputs to cell over kinetic energy, in its order.

    Raises:
        ExportError: the service does not fill these cells, draws other noise, does not know a condition, or does not
            undo the transform.
    """
    service.require_window(run.geometry)
    steps = [step for step in run.transform.steps if not isinstance(step, Mask)]
    if steps != [KineticFractions()]:
        raise ExportError(
            f"{service.NAME} multiplies outputs by the photon's energy and does nothing else: the transform must be "
            f"KineticFractions without a mass. Received: {', '.join(map(str, steps))}"
        )
    prior = prior_of(run)
    if prior.dim > service.LATENT_DIM:
        raise ExportError(f"{service.NAME} draws {service.LATENT_DIM} numbers. Received: a network for {prior.dim}")
    noise = noise_variable(prior, Latent(dim=1), service.NAME)
    columns = service.variables_of(run.transform.encodings)
    graph = rectified(plain_graph(run))
    drawn = [(service.LATENT, replace(noise, name=str(place))) for place in range(prior.dim)]
    graph = rebuilt_input(rebuilt_input(graph, "condition", columns), "latent", drawn)
    (output,) = graph.outputs.values()
    return replace(graph, outputs={"out": GraphOutput(output.node_index, tuple(map(str, range(len(output.labels)))))})


def network_closure(graph: Graph, run: TrainedRun) -> float:
    """Largest deviation of the plain graph's cells from Keras, divided as in `Closure`."""
    conditions = _conditions(run, _random_energies(run))
    latent = run.latent.draw(NUM_SHOWERS, 0).astype(np.float64)
    expected = keras_energies(in_float64(run.generator), run.transform, latent, conditions, clip=False)
    return _deviation(_evaluated(graph, run, latent, conditions), expected, conditions)


def service_closure(graph: Graph, run: TrainedRun) -> float:
    """Largest deviation of what the service adds from Keras, on both sides of eta = 0."""
    photons, noise = _photons(_random_energies(run)), np.random.default_rng(1).standard_normal((NUM_SHOWERS, 300))
    expected = _of_noise(in_float64(run.generator), run, photons, noise)
    return _deviation(service.energies_of(graph, photons, noise), expected, photons)


def distributions(graph: Graph, run: TrainedRun) -> Agreement:
    """Agreement of the plain graph's showers with generated ones."""
    conditions = _conditions(run, _few_energies(run))
    latent = run.latent.draw(len(conditions), seed=1001).astype(np.float64)
    showers = _showers(run, conditions, _evaluated(graph, run, latent, conditions))
    return agreement(generate(run, conditions, seed=1), showers, quantities(run))


def service_distributions(graph: Graph, run: TrainedRun) -> Agreement:
    """Agreement of the service's showers with those of Keras."""
    photons = _photons(_few_energies(run))
    ours, theirs = (np.random.default_rng(seed).standard_normal((len(photons), 300)) for seed in (1, 1001))
    first = _showers(run, photons, _of_noise(run.generator, run, photons, ours.astype(np.float32)))
    return agreement(first, _showers(run, photons, service.energies_of(graph, photons, theirs)), quantities(run))


_Check = Callable[[Graph, TrainedRun], float]


def _checked(
    run: TrainedRun,
    file: str,
    reader: str,
    graph: Graph,
    deviation: _Check,
    compare: Callable[[Graph, TrainedRun], Agreement],
) -> CellNetwork:
    """A network's file, refused if it deviates from Keras."""
    text = format_graph(graph)
    read = parse_graph(text)
    found = deviation(read, run)
    if not found <= TOLERANCE:
        raise ExportError(
            f"{file} must agree with Keras in float64 to {TOLERANCE:g} of the shower's energy. Received: {found:.2e}"
        )
    return CellNetwork(file, reader, text, read, found, compare(read, run))


def network_name(run: TrainedRun) -> str:
    """Gives the joined names of the networks that generate, which name their file."""
    return "_then_".join(run.generates)


def prior_of(run: TrainedRun) -> Latent:
    """Gives the prior of a run; programs that read its files know no fitted latent space."""
    if not isinstance(run.latent, Latent):
        raise ExportError(f"{run.model} draws its latent space from what was fitted: Athena's classes draw from priors")
    return run.latent


def _deviation(energies: np.ndarray, expected: np.ndarray, conditions: Conditions) -> float:
    scale = deviation_scale(expected, conditions.incident_energies[:, None])
    return float((np.abs(energies - expected) / scale).max())


def _evaluated(graph: Graph, run: TrainedRun, latent: np.ndarray, conditions: Conditions) -> np.ndarray:
    """Energies `[n, v]`, MeV, of the plain graph."""
    features = evaluate_graph(graph, {"latent": latent, "condition": run.transform.columns(conditions)})
    return run.transform.energies(features, conditions.incident_energies)


def _of_noise(model: keras.Model, run: TrainedRun, photons: Conditions, noise: np.ndarray) -> np.ndarray:
    """Energies `[n, v]`, MeV, of a Keras model for the service's noise and photons."""
    prior = prior_of(run)
    latent = prior.mean + prior.spread * noise[:, : prior.dim]
    return keras_energies(model, run.transform, latent, service.mirrored(photons))


def _showers(run: TrainedRun, conditions: Conditions, energies: np.ndarray) -> Showers:
    return Showers(run.geometry, conditions.incident_energies, energies.astype(np.float32))


def _random_energies(run: TrainedRun) -> np.ndarray:
    low, high = _energy_span(run)
    return low * (high / low) ** np.random.default_rng(0).random(NUM_SHOWERS)


def _few_energies(run: TrainedRun) -> np.ndarray:
    low, high = _energy_span(run)
    chosen = [energy for energy in 2.0 ** np.arange(8, 23, 2) if low <= energy <= high]
    return np.repeat(chosen or [np.sqrt(low * high)], PER_ENERGY)


def _energy_span(run: TrainedRun) -> tuple[float, float]:
    """Lowest and highest energy of the training, MeV, as its encodings know it."""
    return next((span for item in run.transform.encodings if (span := item.energy_span)), _ENERGIES)


def _conditions(run: TrainedRun, energies: np.ndarray) -> Conditions:
    """Incident energies, with random other conditions that show all that is encoded."""
    rng, others = np.random.default_rng(0), {}
    for name in run.transform.needs:
        spans = [
            item.span for item in run.transform.encodings if isinstance(item, OneCondition) and item.condition == name
        ]
        others[name] = rng.uniform(min(low for low, _ in spans), max(high for _, high in spans), len(energies))
    return Conditions(energies, others)


def _photons(energies: np.ndarray) -> Conditions:
    """Photons of these energies anywhere in the barrel, on both sides of eta = 0."""
    rng, size = np.random.default_rng(2), len(energies)
    eta = rng.uniform(*_PHOTONS, size) * rng.choice([-1.0, 1.0], size)
    return Conditions(energies, {"impact_eta": eta, "impact_phi": rng.uniform(-np.pi, np.pi, size)})


def _quantity_name(quantity: Callable[[Showers], np.ndarray]) -> str:
    """The name of an observable that is a function, perhaps with some arguments set."""
    if isinstance(quantity, partial):
        return " ".join([quantity.func.__name__, *(f"{key} {value}" for key, value in quantity.keywords.items())])
    return quantity.__name__


def quantities(run: TrainedRun) -> dict[str, Callable[[Showers], np.ndarray]]:
    """Gives the observables whose distributions are compared, by name."""
    return {_quantity_name(quantity): quantity for quantity in shape_quantities(run.geometry)}


def _description(graph: Graph, run: TrainedRun) -> dict[str, Any]:
    """Description of the plain graph's inputs and outputs, for the programs that evaluate it."""
    labels, chain = graph.output().labels, run.transform
    return {
        "lwtnn": ">=2.14" if any(node.type == "add" for node in graph.nodes) else ">=2.13",
        "latent": asdict(prior_of(run)),
        "inputs": _inputs(graph),
        "condition": [first_line(encoding) for encoding in chain.encodings],
        "output": {
            "name": next(iter(graph.outputs)),
            "size": len(labels),
            "labels": [labels[0], "...", labels[-1]],
            "order": "the features of the transform, whose steps are undone from the last to the first",
            "features": [first_line(step) for step in chain.steps],
        },
        "transform": chain.to_json(),
        "geometry": run.geometry.to_json(),
    }


def _service_description(network: CellNetwork) -> dict[str, Any]:
    """Description of the service's network, for those who configure it."""
    return {
        "network": network.file,
        "properties": {"ParamsInputFilename": network.file, "ParamsInputArchitecture": service.TAG},
        "inputs": _inputs(network.graph),
        "output": "cell over kinetic energy, by layer, eta and phi; for eta below 0 by falling eta",
        "lowest": service.LOWEST,
        "closure": {"float64": network.float64},
        "distributions": network.agreed.to_json(),
    }


def _inputs(graph: Graph) -> list[dict[str, Any]]:
    return [{"name": item.name, "variables": [variable.name for variable in item.variables]} for item in graph.inputs]


def first_line(part: object) -> str:
    """Gives the class of a step or an encoding, with its docstring's first line."""
    return f"{type(part).__name__}: {(type(part).__doc__ or '').splitlines()[0]}"
