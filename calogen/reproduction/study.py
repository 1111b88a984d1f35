"""A study: networks trained, epochs or iterations chosen, compared with Geant4.

It knows neither a paper nor a kind of geometry: an experiment says what is trained, by what epochs or iterations are
chosen, and what is looked at.
"""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from calogen.errors import DataFormatError
from calogen.evaluation.iterations import ALL, HELD_OUT, TRAIN, NetworkTest
from calogen.evaluation.merits import Merit, MeritByEnergy
from calogen.files import read_json
from calogen.generation.generate import generate_like
from calogen.generation.load import load_run, model_module
from calogen.locks import directory_lock
from calogen.metrics.chi2 import ROUNDS, Chi2
from calogen.observables.observable import Observable
from calogen.provenance import named_seed
from calogen.reproduction.experiment import Arguments, Run, open_run, run_directory
from calogen.reproduction.networks import Comparisons, Network, compare_networks
from calogen.reproduction.selection import Judge, scan, select
from calogen.showers.bundled import bundled, choose_edition
from calogen.showers.geometry import Geometry
from calogen.showers.labels import SAME_LABEL, TOLERANT_LABEL, moved_note, snap, within
from calogen.showers.sample import Showers, concatenate
from calogen.training.fit import can_train, fit, select_training, was_trained_on

Configs = Mapping[str, tuple[Any, Geometry]]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Showers of a study.

    Args:
        train: what trains.
        held_out: what does not, at incident energies that train; None: there is none.
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
        """All of them that have energy: the others train nothing."""
        showers = concatenate(list(self.samples.values()))
        return showers[showers.energies.any(axis=1)]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """By what the epoch or iteration of a training is chosen.

    Args:
        merits: figures of merit by name; the first, `ALL`, is that of the network's test, also on its training and
            held-out showers alone.
        chosen_by: name of the one that chooses.
        unit: `epoch` or `iteration`.
        snapshots: the epochs, of a training by epochs, after which there is a choice.
        statistics: the paper's number of showers at an incident energy, MeV, at which a chi2 is also given.
    """

    merits: Mapping[str, Merit]
    chosen_by: str = ALL
    unit: str = "iteration"
    snapshots: Collection[int] = ()
    statistics: Callable[[float], int] | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is trained and looked at.

    Args:
        name: of the runs' folder and of the results.
        model: name of the module in `calogen.models`.
        configs: what is trained, at the paper's budget, by the name of its folder.
        budget: (configuration, preset, seed) -> the configuration that is trained.
        select: configuration -> by what its epoch or iteration is chosen; None: the last one stays.
        ensembles: networks that together span the incident energies, by label: what figures show.
        observables: what figures show; of these the total energy is compared at each incident energy.
        detailed: incident energies at which all observables are compared.
        min_energy: cells or voxels below are empty in what figures show, the total energy apart, MeV.
        variants: networks that only the first seed trains.
    """

    name: str
    model: str
    configs: Configs
    budget: Callable[[Any, str, int], Any]
    ensembles: Mapping[str, Sequence[str]]
    observables: Sequence[Observable]
    select: Callable[[Any], Selection] | None = None
    detailed: Sequence[float] = ()
    min_energy: float = 0.0
    variants: Set[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one training seed gave.

    Args:
        networks: by name.
        comparisons: of those that together span the incident energies, with Geant4.
        provenance: of the trainings, by network.
    """

    networks: Mapping[str, Network]
    comparisons: Comparisons
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tests(self) -> dict[str, NetworkTest]:
        """The tests of networks whose epoch or iteration was chosen."""
        return {name: network.test for name, network in self.networks.items() if network.test is not None}


def read_data(arguments: Arguments, sample: str, geometry: Geometry, check: Callable[[Showers], object]) -> Data:
    """The user's showers, or bundled ones.

    Args:
        arguments: whose files, and how they are read.
        sample: the bundled one, `photons` or `pions`.
        geometry: of the showers.
        check: refuses, with a DataFormatError, showers that cannot be judged: before hours of training.

    Raises:
        DataFormatError, GeometryError: as `Showers.read`; no held-out showers at energies that train.
    """
    files = {"train": arguments.train_data or bundled(f"{sample}_train")}
    test = arguments.test_data if arguments.train_data else bundled(f"{sample}_test")
    files |= {"test": test} if test else {}
    note = ", ".join(path.name for path in files.values())
    train, held_out = Showers.read(files["train"], geometry, tolerant=arguments.tolerant), None
    if arguments.train_data is None:
        train, note = choose_edition(f"{sample}_train", train, arguments.all_showers)
    if test:
        held_out = Showers.read(test, geometry, tolerant=arguments.tolerant)
        given, tolerance = held_out.incident_energies, TOLERANT_LABEL if arguments.tolerant else SAME_LABEL
        held_out = replace(held_out, incident_energies=snap(given, train.incident_energies, tolerance))
        note += moved_note(test.name, given, held_out.incident_energies)
        filled = train.energies.any(axis=1)
        common = np.isin(held_out.incident_energies, np.unique(train.incident_energies[filled]))
        if not common.any():
            raise DataFormatError(f"{test} must hold showers at momenta of {files['train']}. Received: none")
        held_out = held_out[common]
    if arguments.preset == "smoke" and arguments.train_data is None:
        train, held_out = train[::8], None if held_out is None else held_out[::4]
    for path, part in zip(files.values(), (train, held_out) if held_out else (train,), strict=True):
        note += f"; {path.name}: set to 0 were {part.attributes['clipped']}" if "clipped" in part.attributes else ""
        try:
            check(part[part.energies.any(axis=1)])
        except DataFormatError as error:
            raise DataFormatError(f"{path} must hold several different showers of each momentum; {error}") from error
    return Data(train=train, held_out=held_out, files=files, note=note)


def run_study(study: Study, arguments: Arguments, data: Data) -> list[Outcome]:
    """For every seed: train what is missing, choose, compare with Geant4."""
    require_coverage(study, data)
    outcomes = []
    for position, seed in enumerate(arguments.seeds):
        configs = {name: pair for name, pair in study.configs.items() if not position or name not in study.variants}
        ensembles = {label: names for label, names in study.ensembles.items() if set(names) <= set(configs)}
        with open_run(study.name, arguments.preset, seed, arguments.runs) as run:
            networks = reproduce(replace(study, configs=configs), data, run, arguments.options)
            samples = {label: [networks[name].run for name in names] for label, names in ensembles.items()}
            comparisons = compare_networks(
                samples, data.reference, study.observables, seed, detailed=study.detailed, min_energy=study.min_energy
            )
            about = {name: read_json(run.directory / name / "provenance.json") for name in networks}
        outcomes.append(Outcome(networks=networks, comparisons=comparisons, provenance=about))
    return outcomes


def reproduce(study: Study, data: Data, run: Run, options: Mapping[str, Any]) -> dict[str, Network]:
    """Train networks in the run's directory, choose their epochs or iterations, test them.

    Args:
        study: whose networks.
        data: showers.
        run: where.
        options: values of the experiment's options; `bfloat16` is that of `fit`.
    """
    for config, _ in study.configs.values():  # refused before hours of training
        select_training(data.train, config)
    networks = {}
    for name, (config, geometry) in study.configs.items():
        here = study.budget(config, run.preset, run.seed)
        chosen = None if study.select is None else study.select(here)
        directory, settings = run.directory / name, {"bfloat16": options.get("bfloat16", False)}
        settings |= {"snapshots": chosen.snapshots} if chosen else {}
        run.log("network", name=name)
        with directory_lock(directory):
            trained = fit(model_module(study.model), here, geometry, data.train, directory, **settings)
            networks[name] = Network(trained) if chosen is None else judge(name, here, data, directory, chosen)
        test = networks[name].test
        if chosen and test:
            run.log("judged", name=name, **test.scans[test.chosen_by].choice(chosen.unit))
    return networks


def require_coverage(study: Study, data: Data) -> None:
    """Refuse showers of incident energies that a set of networks does not span.

    Raises:
        DataFormatError: names the first such energy.
    """
    momenta = np.unique(data.reference.incident_energies)
    for label, names in study.ensembles.items():
        ranges = [getattr(study.configs[name][0], "momentum_range", (0.0, np.inf)) for name in names]
        inside = np.any([within(momenta, low, high) for low, high in ranges], axis=0)
        if not inside.all():
            spans = ", ".join(f"{low:.10g}..{high:.10g}" for low, high in ranges)
            raise DataFormatError(f"{label} needs momenta within {spans} MeV. Received: {momenta[~inside][0]:.10g} MeV")


def judge(name: str, config: Any, data: Data, directory: Path, selection: Selection, *, save: bool = True) -> Network:
    """Choose the epoch or iteration of a trained run and test it.

    Args:
        name, config: of the network.
        data: showers; those without energy neither train nor judge.
        directory: of the run.
        selection: by what it is chosen.
        save: whether to write the choice as `selected`.
    """
    samples = {TRAIN: select_training(data.train, config)[0]}
    if data.held_out is not None and can_train(data.held_out, config):
        samples[HELD_OUT] = select_training(data.held_out, config)[0]
    reference = concatenate(list(samples.values()))
    owner = np.repeat(np.arange(len(samples)), [len(part) for part in samples.values()])
    parts = {part: owner == position for position, part in enumerate(samples)} if len(samples) > 1 else {}
    seed = named_seed(config.seed, "select")
    scans = scan(directory, Judge(reference=reference, merits=selection.merits, parts=parts, seed=seed), selection.unit)
    chosen = select(directory, scans[selection.chosen_by], selection.unit, save=save)
    chi2: dict[float, Chi2] = {}
    floor: dict[float, Chi2] = {}
    merit = selection.merits[ALL]
    if isinstance(merit, MeritByEnergy):
        chi2 = merit.by_energy(reference, generate_like(chosen, reference, seed), ROUNDS)
        floor = _floor(samples[TRAIN], samples[HELD_OUT], merit) if parts else {}
    test = NetworkTest(
        name=name,
        scans=scans,
        chi2=chi2,
        floor=floor,
        num_showers=reference.counts,
        num_held_out=samples[HELD_OUT].counts if parts else {},
        chosen_by=selection.chosen_by,
        statistics={momentum: selection.statistics(momentum) for momentum in chi2} if selection.statistics else {},
    )
    return Network(chosen, test)


def other_test(
    study: str, name: str, seed: int, arguments: Arguments, data: Data, select: Callable[[Any], Selection]
) -> NetworkTest | None:
    """The test of another study's network of the same preset, seed and data.

    Args:
        study: name of the runs' folder.
        name: of the network.
        seed: of the training.
        arguments, data: of this experiment.
        select: as for `Study`.

    Returns:
        None if it was not trained, or on other showers.
    """
    directory = run_directory(study, arguments.preset, seed, arguments.runs) / name
    if not (directory / "selected" / "selection.json").exists():
        return None
    run = load_run(directory)
    if not was_trained_on(directory, data.train, run):
        return None
    with directory_lock(directory):
        return judge(name, run.config, data, directory, select(run.config), save=False).test


def _floor(train: Showers, held_out: Showers, merit: MeritByEnergy) -> dict[float, Chi2]:
    """Held-out against as many training showers: unequal samples would give more."""
    found: dict[float, Chi2] = {}
    for energy in np.unique(held_out.incident_energies).tolist():
        first, second = train.at(energy), held_out.at(energy)
        size = min(len(first), len(second))
        found |= merit.by_energy(first[:size], second[:size], ROUNDS)
    return found
