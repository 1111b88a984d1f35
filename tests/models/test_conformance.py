"""What every file of calogen.models must be; it runs over all that are found."""

import dataclasses
import inspect
import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from conftest import TINY_VOLUME, TINY_VOXELS, make_showers

from calogen import models
from calogen.config import Paper, config_from_json, config_to_json, sources
from calogen.features.batches import resident
from calogen.features.moments import moments
from calogen.generation.generate import generate
from calogen.showers.cells import ATLAS_BARREL_STORED, CellGrid
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry
from calogen.showers.grid import RegularGrid
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry
from calogen.training.calls import compile_calls
from calogen.training.module import generates
from calogen.training.run import TrainedRun, assemble_run
from calogen.training.train import stages_of

NAMES = [found.name for found in pkgutil.iter_modules(models.__path__)]
TINY_CELLS = CellGrid(
    "tiny",
    tuple(
        dataclasses.replace(layer, num_eta=num_eta, num_phi=num_phi)
        for layer, (num_eta, num_phi) in zip(ATLAS_BARREL_STORED.layers, ((2, 1), (3, 2), (2, 2), (1, 2)), strict=True)
    ),
)
TINY: dict[type, Geometry] = {CellGrid: TINY_CELLS, VoxelGeometry: TINY_VOXELS, RegularGrid: TINY_VOLUME}


@pytest.fixture(params=NAMES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(f"calogen.models.{request.param}")


@pytest.fixture
def tiny(module: ModuleType) -> tuple[Any, Geometry]:
    """The first of the module's configurations, on a tiny geometry."""
    config, geometry = next(iter(module.CONFIGS.values()))
    return config, TINY[type(geometry)]


def given_showers(geometry: Geometry, num_showers: int) -> Showers:
    """Showers with the conditions that files of cells have."""
    showers = make_showers(geometry, num_showers)
    impact = {"impact_eta": np.linspace(0.2, 0.25, num_showers), "impact_phi": np.linspace(-3.0, 3.0, num_showers)}
    return dataclasses.replace(showers, conditions=impact) if isinstance(geometry, CellGrid) else showers


def given_conditions(run: TrainedRun, energies: np.ndarray) -> Conditions:
    """Incident energies, and whatever else the model knows."""
    return Conditions(energies, {name: np.linspace(0.2, 0.25, len(energies)) for name in run.transform.needs})


def make_run(module: ModuleType, config: Any, geometry: Geometry) -> TrainedRun:
    """An untrained run."""
    transform = module.build_transform(config, geometry).fit(given_showers(geometry, 64))
    return assemble_run(module, config, geometry, module.build(config, geometry), transform)


def test_the_file_has_its_parts(module: ModuleType) -> None:
    assert isinstance(module.PAPER, Paper)
    classes = (value for _, value in inspect.getmembers(module, inspect.isclass))
    own = [value.__name__ for value in classes if value.__module__ == module.__name__]
    assert len([name for name in own if name.endswith("Config")]) == 1
    for part in ("Reference:", "Differences from the paper:"):
        assert part in (module.__doc__ or "")
    for part in ("build_transform", "build_latent", "build", "build_trainer", "build_schedule"):
        assert inspect.isfunction(getattr(module, part, None)), part
        assert getattr(module, part).__doc__
    assert module.CONFIGS
    assert len(inspect.getsource(module).splitlines()) <= 250
    test = Path(__file__).with_name(f"test_{module.__name__.rpartition('.')[2]}.py")
    assert test.is_file(), f"write {test}"


def test_every_configuration_is_sourced_frozen_and_survives_json(module: ModuleType) -> None:
    for config, _ in module.CONFIGS.values():
        assert all(source.source for source in sources(config))
        assert "seed" in {field.name for field in dataclasses.fields(config)}, "every configuration has a seed"
        assert config_from_json(type(config), config_to_json(config)) == config
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, dataclasses.fields(config)[0].name, None)


def test_every_variant_has_its_networks(module: ModuleType) -> None:
    for config, geometry in module.CONFIGS.values():
        networks = module.build(config, geometry)
        for name, network in networks.items():
            assert network.name == name
            assert network.count_params() > 0
        names = generates(module, config)
        assert {*names, *getattr(module, "CRITICS", ())} <= set(networks)
        assert set(names) <= set(module.GENERATES)
        assert "latent" in {tensor.name for tensor in networks[names[0]].inputs}
        inputs = [tensor for network in networks.values() for tensor in network.inputs if tensor.name == "latent"]
        assert [tensor.shape for tensor in inputs] == [(None, module.build_latent(config).dim)]


def test_one_step_changes_every_trainable_variable(module: ModuleType, tiny: tuple[Any, Geometry]) -> None:
    config, geometry = tiny
    showers = given_showers(geometry, 64)
    transform = module.build_transform(config, geometry).fit(showers)
    networks = module.build(config, geometry)
    data = resident(showers, transform)
    stages = stages_of(
        module.build_trainer(config, geometry, networks, moments(data.shower.numpy())),
        module.build_schedule(config, showers.incident_energies),
    )
    critics = [networks[name].layers for name in getattr(module, "CRITICS", ())]
    ends = [next(layer for layer in reversed(layers) if hasattr(layer, "bias")) for layers in critics]
    constant = {id(end.bias) for end in ends}
    variables = [variable for network in networks.values() for variable in network.trainable_variables]
    before = [variable.numpy() for variable in variables]
    for stage in stages:
        for optimizer in stage.trainer.optimizers:
            if type(optimizer) is keras.optimizers.SGD:  # with 1e-5 a step may be less than the rounding of a scale
                optimizer.learning_rate = 0.1
        rows = np.arange(64 // stage.trainer.batches_per_step * stage.trainer.batches_per_step)
        rows = rows.reshape(stage.trainer.batches_per_step, -1)[None].astype(np.int32)
        terms, _ = compile_calls(stage.trainer, data)(rows)
        assert len(terms) == len(stage.trainer.term_names)
        assert np.isfinite(terms).all()
    for variable, old in zip(variables, before, strict=True):
        if id(variable) not in constant:  # a critic's last bias shifts real and generated scores alike
            assert (variable.numpy() != old).any(), variable.path


def test_networks_survive_saving_and_their_configuration(
    module: ModuleType, tiny: tuple[Any, Geometry], tmp_path: Path
) -> None:
    for name, network in module.build(*tiny).items():
        inputs = {tensor.name: np.full((3, *tensor.shape[1:]), 0.3, np.float32) for tensor in network.inputs}
        network.save(tmp_path / f"{name}.keras")
        loaded = keras.saving.load_model(tmp_path / f"{name}.keras", safe_mode=True)
        again = type(network).from_config(network.get_config())
        again.set_weights(network.get_weights())
        for other in (loaded, again):
            result, expected = keras.tree.flatten(other(inputs)), keras.tree.flatten(network(inputs))
            for ours, theirs in zip(result, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_the_same_seed_gives_the_same_showers(module: ModuleType, tiny: tuple[Any, Geometry]) -> None:
    energies = 2.0 ** np.arange(10, 19)
    runs = [make_run(module, *tiny) for _ in range(3)]
    first, second, other = (
        generate(run, given_conditions(run, energies), seed=seed) for run, seed in zip(runs, (3, 3, 4), strict=True)
    )
    np.testing.assert_array_equal(first.energies, second.energies)
    assert (other.energies != first.energies).any()


def test_showers_are_finite_and_not_negative(module: ModuleType, tiny: tuple[Any, Geometry]) -> None:
    run = make_run(module, *tiny)
    energies = np.geomspace(*(run.momentum_range or (100.0, 2e6)), 500)
    showers = generate(run, given_conditions(run, energies), seed=1)
    assert showers.energies.shape == (500, tiny[1].size)
    assert np.isfinite(showers.energies).all()
    assert (showers.energies >= 0).all()


def test_every_condition_makes_other_showers(module: ModuleType, tiny: tuple[Any, Geometry]) -> None:
    run, rng = make_run(module, *tiny), np.random.default_rng(1)
    low, high = run.momentum_range or (1000.0, 1e5)
    others = {name: rng.uniform(0.1, 0.2, 50) for name in run.transform.needs}
    given = Conditions(np.geomspace(low, high, 50), others)
    columns = run.transform.condition(given)
    changed = {name: Conditions(given.incident_energies, {**others, name: others[name] + 0.013}) for name in others}
    changed["incident energy"] = Conditions(given.incident_energies[::-1], others)
    for name, other in changed.items():
        assert (run.transform.condition(other) != columns).any(), name
        inputs = {"latent": run.latent.draw(50, 1, columns), "condition": run.transform.condition(other)}
        features = run.generator(inputs).numpy()
        assert (features != run.generator({**inputs, "condition": columns}).numpy()).any(), name
