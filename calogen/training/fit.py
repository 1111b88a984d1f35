"""From a model's module and training showers to a trained run, without training it twice."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from calogen import provenance
from calogen.backend import keras
from calogen.config import Config, identity_of, require
from calogen.errors import CalogenError, ConfigError, DataFormatError, GeometryError, checked
from calogen.features.batches import FeatureTable, ShowerSource, chosen_blocks, moments_of, on_disk, resident, split
from calogen.features.transforms import Chain
from calogen.files import write_json
from calogen.parallel import free_memory
from calogen.provenance import named_seed
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry
from calogen.showers.labels import within
from calogen.showers.sample import Showers
from calogen.training.callbacks import ScalarLog
from calogen.training.devices import training_scope
from calogen.training.encoded import encoded_latent
from calogen.training.latent import Sampler
from calogen.training.module import ConfigT, GeometryT, ModelModule, generates
from calogen.training.residuals import fit_residuals, has_residuals
from calogen.training.run import TrainedRun, assemble_run, momentum_range_of, save_run
from calogen.training.start import description_of, start_from, weights_digest
from calogen.training.state import TrainingState, assign, read_identity, shapes_of, values_of
from calogen.training.train import Keeper, is_finished, stages_of, train
from calogen.training.trainer import Draws
from calogen.training.wgan_gp import WganGp

_FREE_MEMORY_OVER_FEATURES = 4  # features that would take more than this share of the free memory lie in a file


@checked
@training_scope()
def fit(  # noqa: PLR0913 - what trains, and one argument for each choice that is no value of the configuration
    module: ModelModule[ConfigT, GeometryT],
    config: ConfigT,
    geometry: GeometryT,
    showers: ShowerSource,
    directory: str | Path,
    *,
    snapshots: Collection[int] = (),
    bfloat16: bool = False,
    start: TrainedRun | None = None,
) -> TrainedRun:
    """Trains a model, from its last checkpoint if there is one.

    A model with a momentum range trains on the showers in this range that have energy, other models on all showers.
    Where the configuration has a `validation_fraction`, this part of them validates and the rest trains. Trainings that
    count epochs write a checkpoint every 20 seconds; trainings that count iterations write one every 1000 iterations
    (or after every thirtieth of a shorter training), with the generating networks as
    `snapshots/iteration-<number>.keras`, so that an iteration can be chosen later. Features that would take more than a
    quarter of the free memory lie in a file of the directory while the training lasts; the weights are the same.
    A finished training goes on to more iterations where nothing but their number differs and neither its rate nor its
    curriculum depends on it.
    Several devices train together inside `devices.training_devices`.

    Args:
        module: the model's module in `calogen.models`.
        showers: the showers to train on, in memory or in files (`showers.files.ShowerFile`).
        directory: folder of the run: networks, configuration, transform, history, checkpoint, TensorBoard logs, and in
            `provenance.json` the code, versions, device and threads of the training, and the run that it starts from.
        snapshots: numbers of finished epochs after which the generating networks are saved as
            `snapshots/epoch-<number>.keras`.
        bfloat16: whether the critics' matrix products are in bfloat16; their variables are float32 in either case.
        start: a run from whose weights the networks of the same names start; by default all start anew.

    Raises:
        ConfigError: the configuration is another model's, or has a value that Keras does not know, or `start` has other
            networks.
        GeometryError: the showers are of another geometry.
        DataFormatError: no shower is in the momentum range.
        CalogenError: the directory holds another training.
        DivergedError: a loss or a weight is not finite.
    """
    directory = Path(directory)
    _require_fitting(module, config, geometry, showers)
    chosen, num_empty = choose_rows(showers, config)
    training, *validation = [chosen[part] for part in split_rows(len(chosen), config)]
    conditions = showers.given[training]
    chain = module.build_transform(config, geometry).fit(conditions)
    with _known_to_keras():
        networks = module.build(config, geometry)
    critics: tuple[str, ...] = getattr(module, "CRITICS", ())  # only they can be trained in bfloat16
    trained = networks | (in_bfloat16(module, config, geometry, critics) if bfloat16 else {})
    schedules = module.build_schedule(config, conditions.incident_energies)
    more: dict[str, object] = {"bfloat16": bfloat16} if critics else {}
    first = {"start": weights_digest(start.networks)} if start else {}
    identity = _identity(module, config, geometry, digest(showers, chosen, chain.needs), more | first)
    keeper = Keeper(
        directory=directory,
        identity=identity,
        networks={name: networks[name] for name in generates(module, config)},
        snapshots=snapshots,
        extends=isinstance(schedules, Draws) and schedules.open_ended and getattr(config, "last_rate", 1.0) == 1.0,
    )
    begun = keeper.read()  # a checkpoint of another training is refused before the features are computed
    about = provenance.collect(config.seed, {}) | ({"start": description_of(start)} if start else {})
    with _features(showers, chain, (training, *validation), directory, identity) as (features, *validating):
        moments = moments_of(features)
        with _known_to_keras():
            trainers = module.build_trainer(config, geometry, trained, moments)
        if start:
            start_from(trained, start.networks)
        stages = stages_of(trainers, schedules)
        finished = is_finished(stages, begun)
        log = [] if finished else [ScalarLog(directory / "tensorboard")]
        state = train(stages, features, validating[0] if validating else None, keeper, log)
        latent = _finish(module, config, networks, features)
    for name in critics if bfloat16 else ():
        networks[name].set_weights(trained[name].get_weights())
    run = assemble_run(module, config, geometry, networks, chain, state.history, latent)
    if not finished or not (directory / "provenance.json").exists():
        _write_provenance(directory, about, state, conditions, num_empty)
    save_run(directory, run)
    return run


def _require_fitting(
    module: ModelModule[ConfigT, GeometryT], config: Config, geometry: Geometry, showers: ShowerSource
) -> None:
    """Refuse another model's configuration, and showers of another geometry."""
    own = {type(known).__name__ for known, _ in module.CONFIGS.values()}
    kind = type(config).__name__
    require(kind in own, f"{module.__name__} needs a configuration {', '.join(own)}. Received: {kind}")
    if showers.geometry != geometry:
        raise GeometryError(f"showers must be of {geometry.name}. Received: {showers.geometry.name}, or other edges")


def untrained(
    module: ModelModule[ConfigT, GeometryT], config: ConfigT, geometry: GeometryT, showers: Showers
) -> TrainedRun:
    """Gives the run of `fit` with these arguments before its first step.

    The moving statistics of the batch normalisation of a `WganGp`, which only steps change, are those of its untrained
    showers.
    """
    rows = choose_rows(showers, config)[0]
    rows = rows[split_rows(len(rows), config)[0]]
    chain = module.build_transform(config, geometry).fit(showers.given[rows])
    networks, features = module.build(config, geometry), resident(showers, chain, rows)
    trainer = module.build_trainer(config, geometry, networks, moments_of(features))
    if isinstance(trainer, WganGp):
        trainer.settle(features)
    return assemble_run(module, config, geometry, networks, chain, [])


@checked
def decode_otherwise(
    module: ModelModule[ConfigT, GeometryT], run: TrainedRun, config: ConfigT, showers: Showers
) -> TrainedRun:
    """Gives an autoencoder's run whose weights generate under another configuration.

    Args:
        module: the model's module in `calogen.models`.
        config: the run's configuration, changed in what does not train: how it decodes, and its latent sampler.
        showers: the showers that trained the run, to which distributions are fitted.

    Raises:
        ConfigError: the networks of the two configurations have other weights to train, or the run lacks one: what
            ships with calogen has only those that generate.
        GeometryError: the showers are of another geometry.
    """
    geometry = cast(GeometryT, run.geometry)
    _require_fitting(module, config, geometry, showers)
    networks = module.build(config, geometry)
    missing = ", ".join(networks.keys() - run.networks.keys())
    require(not missing, f"the run must have all its networks, as a training writes them. Received: no {missing}")
    for name, network in networks.items():
        old, new = run.networks[name].trainable_variables, network.trainable_variables
        require(
            shapes_of(old) == shapes_of(new), f"the {name} must have the weights of the run. Received: {shapes_of(new)}"
        )
        assign(new, values_of(old))
    rows = split_rows(len(showers), config)[0]
    chain = module.build_transform(config, geometry).fit(showers.given[rows])
    latent = _finish(module, config, networks, resident(showers, chain, rows))
    return assemble_run(module, config, geometry, networks, chain, run.history, latent)


def _finish(
    module: ModelModule[ConfigT, GeometryT],
    config: ConfigT,
    networks: dict[str, keras.Model],
    features: FeatureTable,
) -> Sampler | None:
    """Fits p(x|z) to showers, if there is one; gives the latent sampler, if it is fitted."""
    if "decoder" in networks and has_residuals(networks["decoder"]):
        fit_residuals(networks["encoder"], networks["decoder"], features, config.seed)
    if getattr(config, "latent_sampler", "prior") != "posterior":
        return None
    return encoded_latent(networks["encoder"], features, module.build_latent(config).dim, config.seed)


@contextmanager
def _features(
    showers: ShowerSource, chain: Chain, parts: Sequence[np.ndarray], directory: Path, identity: str
) -> Iterator[list[FeatureTable]]:
    """Features of each part of the showers; files of them stay only for what a signal ends."""
    size = 4 * sum(map(len, parts)) * chain.num_features(showers.geometry)
    if size <= free_memory() // _FREE_MEMORY_OVER_FEATURES:
        yield [resident(showers, chain, rows) for rows in parts]
        return
    name = hashlib.sha256(identity.encode()).hexdigest()[:16]
    paths = [directory / f"features-{name}-{number}.f32" for number in range(len(parts))]
    try:
        yield [on_disk(showers, chain, path, rows) for path, rows in zip(paths, parts, strict=True)]
    except CalogenError:  # what a signal ends uses them again
        _remove(paths)
        raise
    _remove(paths)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def in_bfloat16(
    module: ModelModule[ConfigT, GeometryT], config: ConfigT, geometry: GeometryT, names: Collection[str]
) -> dict[str, keras.Model]:
    """Networks of these names, built so that their matrix products are in bfloat16."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        networks = module.build(config, geometry)
    finally:
        keras.config.set_dtype_policy(before)
    return {name: networks[name] for name in names}


@contextmanager
def _known_to_keras() -> Iterator[None]:
    """Name a value of the configuration that Keras does not know, e.g. an activation."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"the configuration's values must be known to Keras. Received: {error!s:.300}") from error


def choose_rows(showers: ShowerSource, config: Config) -> tuple[np.ndarray, int]:
    """Rows of the showers to train on, and the number without energy in their range.

    Without a momentum range in the configuration these are the rows of all showers.

    Raises:
        DataFormatError: there is no shower to train on.
    """
    limits = momentum_range_of(config)
    if limits is None:
        return np.arange(len(showers)), 0
    low, high = limits
    incident_energies = showers.given.incident_energies
    inside = within(incident_energies, low, high)
    filled = np.concatenate([part.energies.any(axis=1) for _, part in showers.blocks()])
    if not (inside & filled).any():
        present = ", ".join(f"{energy:.10g}" for energy in np.unique(incident_energies)[:30])
        raise DataFormatError(
            f"training needs showers with energy at {low:.10g}..{high:.10g} MeV. Received: showers at {present} MeV"
        )
    return np.flatnonzero(inside & filled), int((inside & ~filled).sum())


def select_training(showers: Showers, config: Config) -> tuple[Showers, int]:
    """Gives the showers to train on, and the number without energy in their range.

    Raises:
        DataFormatError: there is no shower to train on.
    """
    rows, num_empty = choose_rows(showers, config)
    return showers[rows], num_empty


def can_train(showers: Showers, config: Config) -> bool:
    """Whether any shower has energy and lies in the momentum range of the configuration."""
    inside = within(showers.incident_energies, *(momentum_range_of(config) or (0.0, np.inf)))
    return bool(inside[showers.energies.any(axis=1)].any())


def was_trained_on(directory: Path, showers: Showers, run: TrainedRun) -> bool:
    """Whether a run was trained on the showers of this sample that are in its momentum range."""
    if not can_train(showers, run.config):
        return False
    expected = read_identity(directory / "checkpoint.npz").get("showers")
    return expected == digest(showers, choose_rows(showers, run.config)[0], run.transform.needs)


def split_rows(num_showers: int, config: Config) -> tuple[np.ndarray, ...]:
    """Rows that train and, with a `validation_fraction`, rows that validate."""
    fraction = getattr(config, "validation_fraction", None)
    if fraction is None:
        return (np.arange(num_showers),)
    return split(num_showers, fraction, named_seed(config.seed, "split"))


def validation_split(showers: Showers, config: Config) -> tuple[Showers, Showers]:
    """Training and validation showers, split as `fit` splits them."""
    training, validation = split_rows(len(showers), config)
    return showers[training], showers[validation]


def _write_provenance(
    directory: Path, about: dict[str, object], state: TrainingState, training: Conditions, num_empty: int
) -> None:
    energies = training.incident_energies
    more = {
        "device": provenance.device(),
        "threads": state.threads,
        "training_seconds": round(sum(row["seconds"] for row in state.history), 1),
        "showers": len(training),
        "showers_without_energy": num_empty,
        "incident_energies": [float(energies.min()), float(energies.max())],
    }
    write_json(directory / "provenance.json", about | more)


def _identity(
    module: ModelModule[ConfigT, GeometryT],
    config: ConfigT,
    geometry: Geometry,
    showers: str,
    more: Mapping[str, object],
) -> str:
    """Everything that decides the weights, as text, by which checkpoints are recognised."""
    parts = {"model": module.__name__.rpartition(".")[2], "config": identity_of(config), "showers": showers}
    grid = hashlib.sha256(json.dumps(geometry.to_json()).encode()).hexdigest()[:16]
    return json.dumps({**parts, "geometry": grid, **more}, sort_keys=True)


def digest(showers: ShowerSource, rows: np.ndarray, needs: Sequence[str] = ()) -> str:
    """Hash of some showers: incident energies, energies, conditions named in `needs`."""
    sha256 = hashlib.sha256()
    sha256.update(np.ascontiguousarray(showers.given.incident_energies[rows]).tobytes())
    for _, part in chosen_blocks(showers, rows):
        sha256.update(np.ascontiguousarray(part.energies).tobytes())
    for name in needs:
        sha256.update(np.ascontiguousarray(showers.given.others[name][rows]).tobytes())
    return sha256.hexdigest()[:16]
