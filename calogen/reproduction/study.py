"""A study of GANs: networks trained, their iterations chosen, compared with Geant4.

What the experiments of every paper with networks that share the momenta have in common; of papers only the names of
their rules for the chi2 stand here.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from calogen.config import require
from calogen.errors import DataFormatError
from calogen.evaluation.iterations import ALL, HELD_OUT, SHAPES, TRAIN, NetworkTest, chi2_by_momentum
from calogen.evaluation.merits import Chi2Merit, Merit
from calogen.files import read_json
from calogen.generation.generate import generate_like
from calogen.generation.load import load_run, model_module
from calogen.locks import directory_lock
from calogen.metrics.chi2 import RULES, Chi2, Rule, total
from calogen.observables.observable import Observable
from calogen.provenance import named_seed
from calogen.reproduction.experiment import Arguments, Run, open_run, run_directory
from calogen.reproduction.networks import Network, Pictures, compare_networks
from calogen.reproduction.selection import Judge, scan, select
from calogen.showers.bundled import bundled, choose_edition
from calogen.showers.labels import SAME_LABEL, TOLERANT_LABEL, moved_note, snap, within
from calogen.showers.sample import Showers, concatenate
from calogen.showers.voxels import VoxelGeometry
from calogen.training.fit import can_train, fit, select_training, was_trained_on

# Share of the paper's iterations, and largest batch: 1/500 of the paper's showers on a laptop.
BUDGETS = {"smoke": (1e-5, 32), "laptop": (8e-3, 256), "paper": (1.0, 10**9)}
GAN_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--ablation": {"action": "store_true", "help": "train the paper's other variants, too (first seed only)"},
    "--merit": {
        "choices": ("energy", "shapes"),
        "default": "energy",
        "help": "what chooses the iteration: chi2 of the total energy, as in the paper, or of layers and shapes, too",
    },
    "--rule": {
        "choices": ("caloshowergan", "fastcalogan"),
        "default": "caloshowergan",
        "help": "whose bins the chi2 has: CaloShowerGAN's 29 around the median, or FastCaloGAN's 30 around the mode",
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
        """All of them that have energy: the others train nothing."""
        showers = concatenate(list(self.samples.values()))
        return showers[showers.energies.any(axis=1)]


def rule_name(options: Mapping[str, Any], particle: str) -> str:
    """Key of `RULES` for the values of `GAN_OPTIONS` and a particle.

    Raises:
        ConfigError: a figure of merit that the rule does not have.
    """
    rule = options.get("rule", "caloshowergan")
    fits = rule == "caloshowergan" or options.get("merit", "energy") == "energy"
    require(fits, f"--merit shapes goes with --rule caloshowergan. Received: {rule}")
    if rule == "caloshowergan":
        return "caloshowergan"
    return "fastcalogan-photons" if particle == "photon" else "fastcalogan-hadrons"


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
    note = ", ".join(path.name for path in files.values())
    train, held_out = Showers.read(files["train"], geometry, tolerant=arguments.tolerant), None
    if arguments.train_data is None:
        train, note = choose_edition(f"{particle}s_train", train, arguments.all_showers)
    if "test" in files:
        held_out = Showers.read(files["test"], geometry, tolerant=arguments.tolerant)
        given, tolerance = held_out.incident_energies, TOLERANT_LABEL if arguments.tolerant else SAME_LABEL
        held_out = replace(held_out, incident_energies=snap(given, train.incident_energies, tolerance))
        note += moved_note(files["test"].name, given, held_out.incident_energies)
        filled = train.energies.any(axis=1)
        common = np.isin(held_out.incident_energies, np.unique(train.incident_energies[filled]))
        if not common.any():
            raise DataFormatError(f"{files['test']} must hold showers at momenta of {files['train']}. Received: none")
        held_out = held_out[common]
    if arguments.preset == "smoke" and arguments.train_data is None:
        train, held_out = train[::8], None if held_out is None else held_out[::4]
    for path, part in zip(files.values(), (train, held_out), strict=False):
        note += (
            f"; {path.name}: set to 0 were {part.attributes['clipped']}"
            if part and "clipped" in part.attributes
            else ""
        )
    data = Data(train=train, held_out=held_out, files=files, note=note)
    for path, sample in zip(files.values(), data.samples.values(), strict=True):
        try:  # what cannot be judged afterwards is refused before hours of training
            some = sample[sample.energies.any(axis=1)]
            chi2_by_momentum(some, some, RULES[rule_name(arguments.options, particle)], rounds=0)
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
            fit(model_module(paper), here, geometry, data.train, directory, bfloat16=options["bfloat16"])
            networks[name] = judge_network(name, here, data, directory, options)
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
    pictures: Pictures
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
        variants: networks that only the first seed trains.
    """

    name: str
    paper: str
    configs: Configs
    ensembles: Mapping[str, Sequence[str]]
    observables: Sequence[Observable]
    detailed: Sequence[float] = ()
    variants: Set[str] = frozenset()


def run_study(study: Study, arguments: Arguments, data: Data) -> list[Outcome]:
    """Train what is missing, choose iterations, compare with Geant4: for every seed."""
    outcomes: list[Outcome] = []
    require_coverage(study, data)
    for seed in arguments.seeds:
        configs = {name: pair for name, pair in study.configs.items() if not outcomes or name not in study.variants}
        ensembles = {label: names for label, names in study.ensembles.items() if set(names) <= set(configs)}
        with open_run(study.name, arguments.preset, seed, arguments.runs) as run:
            networks = reproduce(study.paper, configs, data, run, arguments.options)
            samples = {label: [networks[name] for name in names] for label, names in ensembles.items()}
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


def require_coverage(study: Study, data: Data) -> None:
    """Refuse showers of momenta that a set of networks does not span.

    Raises:
        DataFormatError: names the first such momentum.
    """
    momenta = np.unique(data.reference.incident_energies)
    for label, names in study.ensembles.items():
        ranges = [study.configs[name][0].momentum_range for name in names]
        inside = np.any([within(momenta, low, high) for low, high in ranges], axis=0)
        if not inside.all():
            spans = ", ".join(f"{low:.10g}..{high:.10g}" for low, high in ranges)
            raise DataFormatError(f"{label} needs momenta within {spans} MeV. Received: {momenta[~inside][0]:.10g} MeV")


def judge_network(
    name: str, config: Any, data: Data, directory: Path, options: Mapping[str, Any], *, save: bool = True
) -> Network:
    """Choose the iteration of a trained run and test it.

    Args:
        name, config: of the network.
        data: showers; those without energy neither train nor judge.
        directory: of the run.
        options: values of `GAN_OPTIONS`, by name.
        save: whether to write the choice as `selected`.
    """
    samples = {TRAIN: select_training(data.train, config)[0]}
    if data.held_out is not None and can_train(data.held_out, config):
        samples[HELD_OUT] = select_training(data.held_out, config)[0]
    reference = concatenate(list(samples.values()))
    owner = np.repeat(np.arange(len(samples)), [len(part) for part in samples.values()])
    parts = {part: owner == position for position, part in enumerate(samples)} if len(samples) > 1 else {}
    rule = rule_name(options, config.particle)
    seed = named_seed(config.seed, "select")
    merits: dict[str, Merit] = {ALL: Chi2Merit(rule)}
    merits |= {} if RULES[rule].energies_only else {SHAPES: Chi2Merit(rule, shapes=True)}
    judge = Judge(reference=reference, merits=merits, parts=parts, seed=seed)
    chosen_by = {"energy": ALL, "shapes": SHAPES}[options["merit"]]
    scans = scan(directory, judge)
    chosen = select(directory, scans[chosen_by], save=save)
    generated = generate_like(chosen, reference, judge.seed)
    test = NetworkTest(
        name=name,
        scans=scans,
        chi2=chi2_by_momentum(reference, generated, RULES[rule]),
        floor=_floor(samples[TRAIN], samples[HELD_OUT], RULES[rule]) if parts else {},
        num_showers=reference.counts,
        num_held_out=samples[HELD_OUT].counts if parts else {},
        chosen_by=chosen_by,
    )
    return Network(chosen, test)


def other_test(paper: str, name: str, seed: int, arguments: Arguments, data: Data) -> NetworkTest | None:
    """The test of another paper's network of the same preset, seed and data.

    Args:
        paper: name of the runs' folder.
        name: of the network.
        seed: of the training.
        arguments, data: of this experiment.

    Returns:
        None if it was not trained, or on other showers.
    """
    directory = run_directory(paper, arguments.preset, seed, arguments.runs) / name
    if not (directory / "selected" / "selection.json").exists():
        return None
    run = load_run(directory)
    if not was_trained_on(directory, data.train, run):
        return None
    with directory_lock(directory):
        return judge_network(name, run.config, data, directory, arguments.options, save=False).test


def _floor(train: Showers, held_out: Showers, rule: Rule) -> dict[float, Chi2]:
    """Held-out against as many training showers: unequal samples would give more."""
    found: dict[float, Chi2] = {}
    for energy in np.unique(held_out.incident_energies).tolist():
        first, second = train.at(energy), held_out.at(energy)
        size = min(len(first), len(second))
        found |= chi2_by_momentum(first[:size], second[:size], rule)
    return found
