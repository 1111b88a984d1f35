"""Studies: networks are trained, their iterations chosen, their showers compared.

This code knows neither a paper nor a kind of geometry: an experiment says which networks are trained, by which figure
of merit their epochs or iterations are chosen, and which observables are compared.
"""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from calogen.athena.account import training_note
from calogen.config import Config
from calogen.errors import DataFormatError, DivergedError
from calogen.evaluation.iterations import ALL, HELD_OUT, SHORTLIST, TRAIN, VALIDATION, NetworkTest, shortlisted
from calogen.evaluation.merits import Merit, MeritByEnergy, floor_by_energy
from calogen.files import read_json_table
from calogen.generation.generate import generate_like
from calogen.generation.load import load_run, module_of
from calogen.locks import directory_lock
from calogen.metrics.chi2 import ROUNDS, Chi2
from calogen.observables.observable import Observable
from calogen.process import export_step, show, tell
from calogen.provenance import named_seed
from calogen.reproduction.elsewhere import train_elsewhere
from calogen.reproduction.experiment import Arguments, Run, open_run, run_directory
from calogen.reproduction.networks import Comparisons, StudyNetwork, compare_networks, generated_like
from calogen.reproduction.plan import announce
from calogen.reproduction.selection import Judge, scan, select, untrained_merits
from calogen.reproduction.study_options import require_known, wanted
from calogen.showers.bundled import bundled, choose_edition, read_window
from calogen.showers.geometry import Geometry
from calogen.showers.labels import SAME_LABEL, TOLERANT_LABEL, moved_note, snap, within
from calogen.showers.sample import Showers, concatenate
from calogen.showers.windows import in_geometry
from calogen.training.fit import can_train, fit, select_training, validation_split, was_trained_on

Configs = Mapping[str, tuple[Config, Geometry]]
"""Configuration and geometry of each network that a study trains, by the network's name."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Showers of a study.

    Args:
        train: showers that train.
        held_out: showers that do not train, at the incident energies of those that do; None: there are none.
        files: files of the showers, by `train` and `test`.
        note: what figures and tables say about the showers.
        compared: showers to compare generated ones with; None: all showers, those that train included.
    """

    train: Showers
    held_out: Showers | None
    files: Mapping[str, Path]
    note: str
    compared: Showers | None = None

    @property
    def samples(self) -> dict[str, Showers]:
        """The showers by their part: `TRAIN`, and `HELD_OUT` if there are any."""
        return {TRAIN: self.train} | ({} if self.held_out is None else {HELD_OUT: self.held_out})

    @property
    def reference(self) -> Showers:
        """The showers to compare with that have energy, as showers without energy do not train."""
        showers = concatenate(list(self.samples.values())) if self.compared is None else self.compared
        return showers[showers.energies.any(axis=1)]

    def in_geometry(self, geometry: Geometry) -> "Data":
        """The showers that a network of a geometry sees, e.g. in its window of the cells."""
        held_out = None if self.held_out is None else in_geometry(self.held_out, geometry)
        return replace(self, train=in_geometry(self.train, geometry), held_out=held_out)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How the epoch or iteration of a training is chosen.

    Args:
        merits: figures of merit by name; that of the network's test is the first, `ALL`, which is also computed for
            the training showers and for the held-out showers alone.
        chosen_by: name of the figure of merit that chooses.
        unit: `epoch` or `iteration`.
        snapshots: epochs between which a training by epochs is to choose.
        statistics: function from an incident energy, MeV, to the paper's number of showers there, for which the chi2
            is given, too; None: it is not.
        shortlist: share of the epochs or iterations, those with the smallest first figure of merit, among which the
            sum of their ranks in the merits `ranked` chooses; None: `chosen_by` chooses.
        ranked: names of these figures of merit.
        on_validation: whether the training's validation showers judge instead of all showers.
    """

    merits: Mapping[str, Merit]
    chosen_by: str = ALL
    unit: str = "iteration"
    snapshots: Collection[int] = ()
    statistics: Callable[[float], int] | None = None
    shortlist: float | None = None
    ranked: Sequence[str] = ()
    on_validation: bool = False


@dataclass(frozen=True, kw_only=True)
class Study:
    """Networks that are trained together, and how they are compared with Geant4.

    Args:
        name: name of the runs' folder and of the results.
        configs: the paper's configuration of each network, of one model or several; the network's name is that of its
            folder, too.
        budget: (configuration, preset, seed) -> the configuration that is trained.
        select: configuration -> how its epoch or iteration is chosen; None, or if it gives None: the network stays as
            it is at the end.
        ensembles: names of networks that together span the incident energies, by label; their showers are compared.
        observables: observables to compare; the total energy also at each incident energy.
        detailed: incident energies at which all observables are compared.
        min_energy: energy, MeV, below which cells or voxels count as empty in all observables but the total energy.
        variants: names of the networks that only the first seed trains.
        copies: generated showers for each one that they are compared with, by preset; one where it says nothing.
    """

    name: str
    configs: Configs
    budget: Callable[[Config, str, int], Config]
    ensembles: Mapping[str, Sequence[str]]
    observables: Sequence[Observable]
    select: Callable[[Config], Selection | None] | None = None
    detailed: Sequence[float] = ()
    min_energy: float = 0.0
    variants: Set[str] = frozenset()
    copies: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of a study for one training seed.

    Args:
        networks: the trained networks by name.
        comparisons: comparisons of the ensembles' showers with Geant4's.
        provenance: provenance of the trainings, by network.
        diverged: what went wrong with variants whose training diverged, by their names; they are no networks.
    """

    networks: Mapping[str, StudyNetwork]
    comparisons: Comparisons
    provenance: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    diverged: Mapping[str, str] = field(default_factory=dict)

    @property
    def tests(self) -> dict[str, NetworkTest]:
        """Tests of the networks whose epoch or iteration was chosen, by name."""
        return {name: network.test for name, network in self.networks.items() if network.test is not None}


def read_data(arguments: Arguments, sample: str, geometry: Geometry, check: Callable[[Showers], object]) -> Data:
    """Reads the user's showers, or else the bundled ones.

    Args:
        arguments: names of the user's files, and how to read them.
        sample: name of the bundled sample, `photons` or `pions`.
        geometry: geometry of the showers.
        check: function that raises a DataFormatError for showers of which no figure of merit can be computed; it is
            called here, before hours of training.

    Raises:
        DataFormatError, GeometryError: as `Showers.read`; no held-out shower has an energy of the training showers.
    """
    files = {"train": arguments.train_data or bundled(f"{sample}_train")}
    test = arguments.test_data if arguments.train_data else bundled(f"{sample}_test")
    files |= {"test": test} if test else {}
    note = ", ".join(path.name for path in files.values())
    train, held_out = read_window(files["train"], geometry, arguments.tolerant), None
    if arguments.train_data is None:
        train, note = choose_edition(f"{sample}_train", train, arguments.takes_first_edition)
    if test:
        held_out = read_window(test, geometry, arguments.tolerant)
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
    """Trains what is not trained yet, chooses and compares with Geant4, for every seed.

    Returns:
        an outcome for each seed; none after `--only`, which compares nothing.
    """
    alone = wanted(arguments.options)
    if alone:
        require_known(arguments.options, tuple(study.configs))
        configs = {name: pair for name, pair in study.configs.items() if name in alone}
        study = replace(study, configs=configs, ensembles={}, variants=frozenset())
    require_coverage(study, data)
    for config, geometry in study.configs.values():  # showers that cannot train are refused before hours of training
        select_training(in_geometry(data.train, geometry), config)
    first = {key: study.budget(pair[0], arguments.preset, arguments.seeds[0]) for key, pair in study.configs.items()}
    announce(study.name, arguments, first, len(study.variants & study.configs.keys()))
    parts = {
        seed: {name: pair for name, pair in study.configs.items() if not position or name not in study.variants}
        for position, seed in enumerate(arguments.seeds)
    }
    if arguments.cluster:
        trainings = [(seed, name) for seed, configs in parts.items() for name in configs]
        train_elsewhere(study.name, arguments, trainings, study.variants)
    outcomes = []
    for seed, configs in parts.items():
        with open_run(study.name, arguments.preset, seed, arguments.runs, shared=bool(alone)) as run:
            networks, diverged = reproduce(replace(study, configs=configs), data, run, arguments.options)
            if alone:
                show(_told(networks, run.directory, arguments.options.get("eta")))
                continue
            ensembles = {label: names for label, names in study.ensembles.items() if set(names) <= set(networks)}
            samples = {label: [networks[name].run for name in names] for label, names in ensembles.items()}
            samples_of = generated_like(samples, data.reference, seed, study.copies.get(arguments.preset, 1))
            compare = partial(compare_networks, detailed=study.detailed, min_energy=study.min_energy)
            comparisons = compare(samples_of, data.reference, study.observables, seed)
            about = {name: read_json_table(run.directory / name / "provenance.json") for name in networks}
        outcomes.append(Outcome(networks=networks, comparisons=comparisons, provenance=about, diverged=diverged))
    return outcomes


def reproduce(
    study: Study, data: Data, run: Run, options: Mapping[str, object]
) -> tuple[dict[str, StudyNetwork], dict[str, str]]:
    """Trains the networks of a study, chooses their epochs or iterations, and tests them.

    Args:
        study: the study.
        data: showers that train, and held-out ones.
        run: run with the directory of the networks.
        options: values of the experiment's options; `bfloat16` is for `fit`.

    Returns:
        The networks by name, and what went wrong with variants whose training diverged.

    Raises:
        DivergedError: the training of another network diverged.
    """
    networks, diverged = {}, {}
    for name, (config, geometry) in study.configs.items():
        here = study.budget(config, run.preset, run.seed)
        run.log("network", name=name)
        seen = data.in_geometry(geometry)
        try:
            with directory_lock(run.directory / name):
                networks[name] = _train_and_test(study, name, (here, geometry), seen, run, options)
        except DivergedError as error:
            if name not in study.variants:
                raise
            diverged[name] = str(error)
            run.log("diverged", name=name, error=str(error))
            tell(f"{name} goes without: {error}")
    return networks, diverged


def _train_and_test(
    study: Study,
    name: str,
    network: tuple[Config, Geometry],
    data: Data,
    run: Run,
    options: Mapping[str, object],
) -> StudyNetwork:
    """Trains one network (its configuration and geometry), and tests it."""
    config, geometry = network
    chosen = None if study.select is None else study.select(config)
    directory, snapshots = run.directory / name, chosen.snapshots if chosen else ()
    trained = fit(
        module_of(config),
        config,
        geometry,
        data.train,
        directory,
        snapshots=snapshots,
        bfloat16=bool(options.get("bfloat16")),
    )
    if chosen is None:
        return StudyNetwork(trained)
    found = choose_and_test(name, config, data, directory, chosen)
    if found.test:
        run.log("judged", name=name, **found.test.scans[found.test.chosen_by].choice(chosen.unit))
    return found


def _told(networks: Mapping[str, StudyNetwork], directory: Path, eta: object) -> str:
    """Where the networks of `--only` are, what was chosen, and what to do with them."""
    folders = {name: directory / name / ("selected" if item.test else "") for name, item in networks.items()}
    lines = [f"{training_note(networks[name].run, folder)}: {folder}" for name, folder in folders.items()]
    return "\n".join([*lines, f"next: {export_step(directory, eta)}"])


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


def choose_and_test(
    name: str, config: Config, data: Data, directory: Path, selection: Selection, *, save: bool = True
) -> StudyNetwork:
    """Chooses the epoch or iteration of a trained network and tests it.

    Args:
        name: name of the network.
        config: configuration of its training.
        data: training and held-out showers in the network's geometry; showers without energy do not count.
        directory: directory of the network's run.
        selection: how the epoch or iteration is chosen.
        save: whether to write the chosen network as `selected` in the directory.
    """
    samples = {TRAIN: select_training(data.train, config)[0]}
    if data.held_out is not None and can_train(data.held_out, config):
        samples[HELD_OUT] = select_training(data.held_out, config)[0]
    if selection.on_validation:
        samples = {VALIDATION: validation_split(samples[TRAIN], config)[1]}
    reference = concatenate(list(samples.values()))
    owner = np.repeat(np.arange(len(samples)), [len(part) for part in samples.values()])
    parts = {part: owner == position for position, part in enumerate(samples)} if len(samples) > 1 else {}
    seed = named_seed(config.seed, "select")
    judge = Judge(reference=reference, merits=selection.merits, parts=parts, seed=seed)
    scans = scan(directory, judge, selection.unit)
    chosen_by = selection.chosen_by
    if selection.shortlist is not None:
        chosen_by, further = SHORTLIST, [scans[merit] for merit in selection.ranked]
        scans = {**scans, SHORTLIST: shortlisted(scans[ALL], further, selection.shortlist)}
    chosen = select(directory, scans[chosen_by], selection.unit, save=save)
    chi2: dict[float, Chi2] = {}
    floor: dict[float, Chi2] = {}
    merit = selection.merits[ALL]
    if isinstance(merit, MeritByEnergy):
        chi2 = merit.by_energy(reference, generate_like(chosen, reference, seed), ROUNDS)
        floor = floor_by_energy(samples[TRAIN], samples[HELD_OUT], merit) if parts else {}
    test = NetworkTest(
        name=name,
        scans=scans,
        chi2=chi2,
        floor=floor,
        num_showers=reference.counts,
        num_held_out=samples[HELD_OUT].counts if parts else {},
        chosen_by=chosen_by,
        statistics={momentum: selection.statistics(momentum) for momentum in chi2} if selection.statistics else {},
        untrained=untrained_merits(directory, judge, scans[ALL], config, data.train, selection.unit),
    )
    return StudyNetwork(chosen, test)


def other_test(
    study: str, name: str, seed: int, arguments: Arguments, data: Data, select: Callable[[Config], Selection]
) -> NetworkTest | None:
    """Test of another study's network, if it has the preset, seed and showers of this one.

    Args:
        study: name of the other study.
        name: name of the network in it.
        seed: seed of the training.
        arguments, data: arguments and showers of this experiment.
        select: as for `Study`.

    Returns:
        The test; None if the network was not trained, or on other showers.
    """
    directory = run_directory(study, arguments.preset, seed, arguments.runs) / name
    if not (directory / "selected" / "selection.json").exists():
        return None
    run = load_run(directory)
    data = data.in_geometry(run.geometry)
    if not was_trained_on(directory, data.train, run):
        return None
    with directory_lock(directory):
        return choose_and_test(name, run.config, data, directory, select(run.config), save=False).test
