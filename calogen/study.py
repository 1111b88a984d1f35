"""A study of GANs: networks trained, their iterations chosen, compared with Geant4.

What the experiments of every paper with networks that share the momenta have in common. Nothing here knows a paper.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from calogen import provenance
from calogen.claims.rules import rank_correlation
from calogen.datasets import HONEST_NOTE, bundled
from calogen.errors import DataFormatError
from calogen.evaluation.chi2 import (
    ALL,
    HELD_OUT,
    RULES,
    SHAPES,
    TRAIN,
    Chi2,
    NetworkTest,
    Rule,
    chi2_by_momentum,
    total,
)
from calogen.evaluation.comparison import Comparison, Observable, ObservableComparison, compare, compare_together
from calogen.evaluation.metrics import Value
from calogen.experiment import Arguments, Run, open_run, run_directory
from calogen.files import directory_lock, read_json
from calogen.fitting import fit_wgan, select_training
from calogen.generation import TrainedRun, generate, load_run
from calogen.geometry import VoxelGeometry
from calogen.layers import ShowerHeads
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import format_graph
from calogen.progress import progress
from calogen.provenance import stream_seed
from calogen.selection import Judge, scan_iterations, select_iteration
from calogen.showers import Showers, concatenate

# Share of the paper's iterations, and largest batch: 1/500 of the paper's showers on a laptop.
BUDGETS = {"smoke": (1e-5, 32), "laptop": (8e-3, 256), "paper": (1.0, 10**9)}
THRESHOLD = 1.0
"""Voxels with less are zero in figures and their metrics, in Geant4's showers and ours, MeV (CaloChallenge)."""
GAN_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--ablation": {"action": "store_true", "help": "train the paper's other variants, too"},
    "--merit": {
        "choices": ("energy", "shapes"),
        "default": "energy",
        "help": "what chooses the iteration: chi2 of the total energy, as in the paper, or of layers and shapes, too",
    },
    "--bfloat16": {
        "action": "store_true",
        "help": "critic's matrix products in bfloat16: 1.5 times faster where the processor has them",
    },
}
"""Options of an experiment with GANs, beside those of every experiment."""

Configs = Mapping[str, tuple[Any, VoxelGeometry]]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Showers of a study.

    Args:
        train: what trains.
        held_out: what does not, at momenta that train; None: there is none.
        files: where they are from.
        note: what figures and tables say of them.
    """

    train: Showers
    held_out: Showers | None
    files: Mapping[str, Path]
    note: str

    @property
    def samples(self) -> dict[str, Showers]:
        """`TRAIN`, and `HELD_OUT` if there is one."""
        return {TRAIN: self.train} | ({} if self.held_out is None else {HELD_OUT: self.held_out})

    @property
    def reference(self) -> Showers:
        """All of them."""
        return concatenate(list(self.samples.values()))


@dataclass(frozen=True)
class Network:
    """One trained GAN at its chosen iteration, and what the choice and its test gave."""

    run: TrainedRun
    test: NetworkTest


def scaled(config: Any, preset: str, seed: int) -> Any:
    """A paper's configuration at a preset's budget."""
    share, batch_size = BUDGETS[preset]
    iterations = max(1, round(share * config.iterations))
    return replace(config, iterations=iterations, batch_size=min(batch_size, config.batch_size), seed=seed)


def read_data(arguments: Arguments, particle: str, geometry: VoxelGeometry) -> Data:
    """The user's showers, or the bundled ones of a particle (`photon` or `pion`).

    Raises:
        DataFormatError, GeometryError: as `Showers.read`.
    """
    files = {"train": arguments.train_data or bundled(f"{particle}s_train")}
    if arguments.train_data is None:
        files["test"] = bundled(f"{particle}s_test")
    elif arguments.test_data is not None:
        files["test"] = arguments.test_data
    note = HONEST_NOTE if arguments.train_data is None else ", ".join(path.name for path in files.values())
    train, held_out = Showers.read(files["train"], geometry), None
    if "test" in files:
        held_out = Showers.read(files["test"], geometry)
        common = np.isin(held_out.incident_energies, np.unique(train.incident_energies))
        if not common.any():
            raise DataFormatError(f"{files['test']} must hold showers at momenta of {files['train']}. Received: none")
        held_out = held_out[common]
    if arguments.preset == "smoke" and arguments.train_data is None:
        train, held_out = train[::8], None if held_out is None else held_out[::4]
    data = Data(train=train, held_out=held_out, files=files, note=note)
    for path, sample in zip(files.values(), data.samples.values(), strict=True):
        try:  # what cannot be judged afterwards is refused before hours of training
            chi2_by_momentum(sample, sample, RULES["caloshowergan"])
        except DataFormatError as error:
            raise DataFormatError(f"{path} must hold several different showers of each momentum; {error}") from error
    return data


def reproduce(paper: str, configs: Configs, data: Data, run: Run, options: Mapping[str, Any]) -> dict[str, Network]:
    """Train networks in the run's directory, choose their iterations, test them.

    Args:
        paper: name of the module in `calogen.models`.
        configs: the paper's, by name; the preset's budget is applied here.
        data: showers.
        run: where.
        options: values of `GAN_OPTIONS`, by name.
    """
    for config, _ in configs.values():  # refused before hours of training
        select_training(data.train, config)
    networks = {}
    for name, (config, geometry) in configs.items():
        here = scaled(config, run.preset, run.seed)
        directory = run.directory / name
        run.log("network", name=name)
        with directory_lock(directory):
            fit_wgan(paper, here, geometry, data.train, directory, bfloat16=options["bfloat16"])
            networks[name] = judge_network(name, here, data, directory, options["merit"])
        test = networks[name].test
        run.log("judged", name=name, iteration=test.iteration, chi2_per_ndf=total(test.chi2.values()).per_ndf)
    return networks


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one training seed gave.

    Args:
        networks: by name.
        pictures: those that together span the momenta, compared with Geant4.
        provenance: of the trainings, by network.
    """

    networks: Mapping[str, Network]
    pictures: "Pictures"
    provenance: Mapping[str, Any]

    @property
    def tests(self) -> dict[str, NetworkTest]:
        """The networks' tests."""
        return {name: network.test for name, network in self.networks.items()}


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is trained and looked at.

    Args:
        name: of the runs' folder and of the results.
        paper: name of the module in `calogen.models`.
        configs: what is trained, at the paper's budget.
        ensembles: networks that together span the momenta, by label: what figures show.
        observables: what figures show.
        detailed: momenta at which all observables are compared.
    """

    name: str
    paper: str
    configs: Configs
    ensembles: Mapping[str, Sequence[str]]
    observables: Sequence[Observable]
    detailed: Sequence[float] = ()


def run_study(study: Study, arguments: Arguments, data: Data) -> list[Outcome]:
    """Train what is missing, choose iterations, compare with Geant4: for every seed."""
    outcomes = []
    for seed in arguments.seeds:
        with open_run(study.name, arguments.preset, seed, arguments.runs) as run:
            networks = reproduce(study.paper, study.configs, data, run, arguments.options)
            samples = {label: [networks[name] for name in names] for label, names in study.ensembles.items()}
            pictures = compare_networks(samples, data.reference, study.observables, seed, study.detailed)
            folders = {name: run.directory / name / "provenance.json" for name in networks}
            outcomes.append(
                Outcome(
                    networks=networks,
                    pictures=pictures,
                    provenance={name: read_json(path) for name, path in folders.items()},
                )
            )
    return outcomes


def judge_network(name: str, config: Any, data: Data, directory: Path, merit: str) -> Network:
    """Choose the iteration of a trained run and test it."""
    low, high = config.momentum_range
    samples = {}
    for part, showers in data.samples.items():
        inside = (showers.incident_energies >= low) & (showers.incident_energies <= high)
        if inside.any():
            samples[part] = showers[inside]
    reference = concatenate(list(samples.values()))
    owner = np.repeat(np.arange(len(samples)), [len(part) for part in samples.values()])
    parts = {part: owner == position for position, part in enumerate(samples)} if len(samples) > 1 else {}
    seed = stream_seed(provenance.seed_streams(config.seed, "select")["select"])
    judge = Judge(reference=reference, parts=parts, shapes=True, seed=seed)
    scans, chosen_by = scan_iterations(directory, judge), {"energy": ALL, "shapes": SHAPES}[merit]
    chosen = select_iteration(directory, scans[chosen_by])
    generated, rule = generate(chosen, reference.incident_energies, judge.seed), RULES[judge.rule]
    momenta, counts = np.unique(reference.incident_energies, return_counts=True)
    test = NetworkTest(
        name=name,
        scans=scans,
        chi2=chi2_by_momentum(reference, generated, rule),
        floor=_floor(samples[TRAIN], samples[HELD_OUT], rule) if parts else {},
        num_showers=dict(zip(momenta.tolist(), counts.tolist(), strict=True)),
        chosen_by=chosen_by,
    )
    return Network(chosen, test)


def other_test(paper: str, name: str, seed: int, arguments: Arguments) -> NetworkTest | None:
    """The test of another paper's network of the same preset, seed and data.

    Args:
        paper: name of the runs' folder.
        name: of the network.
        seed: of the training.
        arguments: of this experiment.

    Returns:
        None if it was not trained.
    """
    directory = run_directory(paper, arguments.preset, seed, arguments.runs) / name
    if not (directory / "selected" / "selection.json").exists():
        return None
    run = load_run(directory)
    data = read_data(arguments, run.config.particle, cast(VoxelGeometry, run.geometry))
    return judge_network(name, run.config, data, directory, arguments.options["merit"]).test


def seed_scatter(network: Network, reference: Showers, num_seeds: int = 10) -> float:
    """Standard deviation of chi2/NDF over seeds of generation."""
    low, high = network.run.momentum_range or (0.0, np.inf)
    reference = reference[(reference.incident_energies >= low) & (reference.incident_energies <= high)]
    found = []
    for seed in range(1, num_seeds + 1):
        generated = generate(network.run, reference.incident_energies, seed)
        found.append(total(chi2_by_momentum(reference, generated, RULES["caloshowergan"]).values()).per_ndf)
    return float(np.std(found, ddof=1))


def shape_correlation(test: NetworkTest) -> Value:
    """Rank correlation over iterations: chi2/NDF of the total energy and of shapes."""
    energy, both = test.scans[ALL], test.scans[SHAPES]
    shapes = (both.chi2 - energy.chi2).sum(axis=1) / (both.ndf - energy.ndf).sum(axis=1)
    return rank_correlation(energy.total, shapes)


def generation_time(
    networks: Sequence[Network], incident_energy: float, batch_size: int = 1, trials: int = 100
) -> Value:
    """Seconds of one call that generates a batch: mean and standard deviation.

    Source: Tables 5 and 6 of arXiv:2309.06515.
    """
    runs, energies, durations = [network.run for network in networks], np.full(batch_size, incident_energy), []
    for seed in range(trials + 1):
        start = time.perf_counter()
        generate(runs, energies, seed)
        durations.append(time.perf_counter() - start)
    return Value(float(np.mean(durations[1:])), float(np.std(durations[1:])))


def json_size(generator: keras.Model) -> int:
    """Bytes of a generator as LWTNN JSON.

    Without `ShowerHeads` at its end, which have no weights.
    """
    if isinstance(generator.layers[-1], ShowerHeads):
        generator = keras.Model(generator.input, generator.layers[-1].input)
    return len(format_graph(convert(generator, ["latent", "condition"])).encode())


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What figures show of networks that together span the momenta.

    Args:
        reference, generated: showers, without voxels below `THRESHOLD`; those generated by label.
        by_momentum: comparisons of single momenta.
        together: comparisons of all momenta together, by observable.
    """

    reference: Showers
    generated: Mapping[str, Showers]
    by_momentum: Mapping[float, Comparison]
    together: Mapping[str, ObservableComparison]


def compare_networks(
    samples: Mapping[str, Sequence[Network]],
    reference: Showers,
    observables: Sequence[Observable],
    seed: int,
    detailed: Sequence[float] = (),
) -> Pictures:
    """Showers of several sets of networks beside the reference.

    Voxels below 1 MeV count as zero in both, as in the CaloChallenge: a softmax never gives the zeros of Geant4.

    Args:
        samples: sets of networks by label; each set spans all momenta of the reference.
        reference: Geant4's showers.
        observables: compared for all momenta together, and at the momenta of their figures; the total energy at all.
        seed: of generation and bootstrap.
        detailed: momenta at which all observables are compared.
    """
    streams = provenance.seed_streams(seed, "generate", "bootstrap")
    draw, errors = (stream_seed(streams[name]) for name in ("generate", "bootstrap"))
    generated = {
        label: _cut(generate([network.run for network in networks], reference.incident_energies, draw))
        for label, networks in samples.items()
    }
    reference = _cut(reference)
    by_momentum: dict[float, Comparison] = {}
    together: dict[str, ObservableComparison] = {}
    momenta = np.unique(reference.incident_energies).tolist()
    with progress("comparing with Geant4", len(momenta) + len(observables)) as bar:
        for momentum in momenta:
            shown = [
                item
                for item in observables
                if item.name == "total_energy" or momentum in item.figures or momentum in detailed
            ]
            here = {label: showers.at(momentum) for label, showers in generated.items()}
            by_momentum[momentum] = compare(reference.at(momentum), here, shown, errors)
            bar.advance()
        for item in observables:
            together |= compare_together(reference, generated, [item], errors)
            bar.advance()
    return Pictures(reference=reference, generated=generated, by_momentum=by_momentum, together=together)


def _cut(showers: Showers) -> Showers:
    return replace(showers, energies=np.where(showers.energies < THRESHOLD, np.float32(0), showers.energies))


def _floor(train: Showers, held_out: Showers, rule: Rule) -> dict[float, Chi2]:
    """Held-out against as many training showers: of unequal samples this chi2 is above NDF even without a model."""
    found: dict[float, Chi2] = {}
    for energy in np.unique(held_out.incident_energies).tolist():
        first, second = train.at(energy), held_out.at(energy)
        size = min(len(first), len(second))
        found |= chi2_by_momentum(first[:size], second[:size], rule)
    return found
