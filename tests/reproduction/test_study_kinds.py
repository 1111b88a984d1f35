"""A study is the same for cells, by epochs and another figure of merit, and for a regular grid."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from conftest import make_grid, make_showers

from calogen.athena.cells import network_closure
from calogen.errors import DataFormatError, DivergedError
from calogen.evaluation.iterations import ALL, HELD_OUT, TRAIN
from calogen.evaluation.merits import Chi2Merit, DistanceMerit
from calogen.features.conditions import Column
from calogen.features.transforms import Chain
from calogen.files import read_json
from calogen.generation.load import load_run, load_snapshot
from calogen.generation.production import write_generated
from calogen.lwtnn.convert import convert
from calogen.models import atlas_vae
from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.models.fastcalogan import FastCaloGanConfig
from calogen.observables.cells import layer_energy, total_energy
from calogen.observables.observable import Observable
from calogen.reproduction import study as study_module
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.networks import generation_time
from calogen.reproduction.study import Data, Selection, Study, read_data, run_study
from calogen.showers.cells import CellGrid
from calogen.showers.geometry import Geometry
from calogen.showers.grid import GridLayer, RegularGrid
from calogen.showers.sample import Showers
from calogen.training.fit import fit as fit_model

CELLS = make_grid((2, 1), (3, 2), (2, 2))
GRID = RegularGrid("grid", tuple(GridLayer(number, 3, 3, 5.0, 10.0 * number) for number in range(2)))
OBSERVABLES = (
    Observable("total_energy", total_energy, "Total energy", metrics=("ks",)),
    Observable("first", lambda showers: layer_energy(showers, 0), "Layer 0", metrics=("ks",)),
)
VAE = AtlasVaeConfig(encoder_units=(8,), decoder_units=(8,), latent_dim=2, epochs=3, batch_size=20)
GAN = FastCaloGanConfig(generator_units=(8,), critic_units=(8,), latent_dim=3, iterations=3, batch_size=16)


def outcome_of(study: Study, geometry: Geometry, runs: Path) -> Any:
    samples = (make_showers(geometry, 800, seed).at(1024.0) for seed in (1, 2))
    train, held_out = (replace(part, energies=part.energies + np.float32(0.01)) for part in samples)
    data = Data(train=train, held_out=held_out, files={}, note="toy showers")
    (outcome,) = run_study(study, Arguments(preset="smoke", seeds=(4,), runs=runs), data)
    assert len(outcome.comparisons.reference) == len(train) + len(held_out)
    assert list(outcome.comparisons.together) == ["total_energy", "first"]
    return outcome


def logged(runs: Path) -> dict[str, Any]:
    """What the log says of the network that was judged."""
    lines = map(json.loads, (runs / "toy" / "smoke-seed4" / "log.jsonl").read_text().splitlines())
    (found,) = (line for line in lines if line["event"] == "judged")
    return {name: value for name, value in found.items() if name not in ("time", "event")}


def test_the_log_has_the_number_of_the_merit_that_chose(study: Study, tmp_path: Path) -> None:
    """The name was that of one figure of merit, the number that of the other."""
    merits = {ALL: Chi2Merit("caloshowergan"), "distance": DistanceMerit(OBSERVABLES)}
    chosen = Selection(merits=merits, chosen_by="distance", unit="epoch", snapshots=(1, 3))
    test = outcome_of(replace(study, select=lambda _: chosen), CELLS, tmp_path).tests["vae"]
    scan = test.scans["distance"]
    assert logged(tmp_path) == {"name": "vae", "epoch": test.iteration, "merit": scan.total.min()}
    assert scan.total.min() < 1 < test.scans[ALL].total.min()


@pytest.fixture
def study() -> Study:
    """Of the last epoch of a VAE on cells."""
    return Study(
        name="toy",
        configs={"vae": (VAE, CELLS)},
        budget=lambda config, preset, seed: replace(config, seed=seed),
        ensembles={"VAE": ("vae",)},
        observables=OBSERVABLES,
    )


def test_cells_by_epochs_and_a_distance(study: Study, tmp_path: Path) -> None:
    merit = DistanceMerit(OBSERVABLES)
    chosen = replace(study, select=lambda _: Selection(merits={ALL: merit}, unit="epoch", snapshots=(1, 2, 3)))
    outcome = outcome_of(chosen, CELLS, tmp_path)
    test, directory = outcome.tests["vae"], tmp_path / "toy" / "smoke-seed4" / "vae"
    assert list(test.scans) == [ALL, TRAIN, HELD_OUT]
    assert test.scans[ALL].iterations.tolist() == [1, 2, 3]
    assert (dict(test.chi2), dict(test.floor)) == ({}, {}), "the distance is no chi2"
    best = {"epoch": test.iteration, "merit": test.scans[ALL].total.min()}
    assert read_json(directory / "selected" / "selection.json") == best
    assert logged(tmp_path) == {"name": "vae", **best}
    expected = load_snapshot(load_run(directory), directory, "epoch", test.iteration)
    ours = outcome.networks["vae"].run
    for name in ours.generates:
        for one, other in zip(ours.networks[name].weights, expected.networks[name].weights, strict=True):
            np.testing.assert_array_equal(one, other)


def conditioned_vae() -> ModuleType:
    """The VAE with `impact_eta` as a second column of its condition; tiny networks."""
    module = ModuleType(atlas_vae.__name__)
    vars(module).update(vars(atlas_vae))

    def build_transform(config: AtlasVaeConfig, geometry: CellGrid) -> Chain:
        plain = atlas_vae.build_transform(config, geometry)
        return Chain(plain.steps, (*plain.encodings, Column("impact_eta", 0.2, 0.1)))

    def build(config: AtlasVaeConfig, geometry: CellGrid) -> dict[str, keras.Model]:
        size = build_transform(config, geometry).num_features(geometry)
        shower, latent, condition = (
            keras.Input((width,), name=name) for width, name in ((size, "shower"), (2, "latent"), (2, "condition"))
        )
        seen, drawn = (keras.layers.Concatenate()([part, condition]) for part in (shower, latent))
        moments = {name: keras.layers.Dense(2, name=name)(seen) for name in ("mean", "log_variance")}
        output = keras.layers.Dense(size, "sigmoid", name="shower")(drawn)
        return {
            "encoder": keras.Model({"shower": shower, "condition": condition}, moments, name="encoder"),
            "decoder": keras.Model({"latent": latent, "condition": condition}, output, name="decoder"),
        }

    module.build_transform, module.build = build_transform, build  # type: ignore[attr-defined]
    return module


def test_conditions_travel_from_the_file_to_what_is_generated(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = conditioned_vae()
    monkeypatch.setattr("calogen.generation.load.model_module", lambda name: module)
    given = Arguments(
        preset="smoke", seeds=(4,), runs=tmp_path, train_data=tmp_path / "a.h5", test_data=tmp_path / "b.h5"
    )
    for seed, path in ((1, given.train_data), (2, given.test_data)):
        showers = make_showers(CELLS, 60, seed)
        eta = np.random.default_rng(seed).uniform(0.1, 0.3, len(showers))
        replace(showers, conditions={"impact_eta": eta}).write(path or "")
    data = read_data(given, "photons", CELLS, len)
    merits = {ALL: DistanceMerit(OBSERVABLES)}
    chosen = replace(study, select=lambda _: Selection(merits=merits, unit="epoch", snapshots=(1, 3)))
    (outcome,) = run_study(chosen, given, data)
    generated, expected = outcome.comparisons.generated["VAE"], data.reference.conditions["impact_eta"]
    np.testing.assert_array_equal(generated.conditions["impact_eta"], expected)
    run = outcome.networks["vae"].run
    assert list(generation_time([run], data.reference.given[:1], trials=1)) == [data.reference.incident_energies[0]]
    assert network_closure(convert(run.generator, ["latent", "condition"]), run) < 1e-8
    selected, output = tmp_path / "toy" / "smoke-seed4" / "vae" / "selected", tmp_path / "generated.h5"
    write_generated(output, [selected], tmp_path / "b.h5", 1, seed=1)
    found, test = (Showers.read(path, CELLS).conditions["impact_eta"] for path in (output, tmp_path / "b.h5"))
    np.testing.assert_array_equal(found, test)
    with pytest.raises(DataFormatError, match="the model needs impact_eta of each shower"):
        write_generated(output, [selected], [8192.0], 1, seed=1)


def test_without_a_choice_the_last_epoch_stays(study: Study, tmp_path: Path) -> None:
    outcome = outcome_of(study, CELLS, tmp_path)
    assert (outcome.tests, outcome.networks["vae"].test) == ({}, None)
    assert len(outcome.networks["vae"].run.history) == 3
    assert list(outcome.comparisons.by_energy[1024.0]) == ["total_energy"]


def test_a_regular_grid(study: Study, tmp_path: Path) -> None:
    gan = replace(
        study,
        configs={"gan": (GAN, GRID)},
        ensembles={"GAN": ("gan",)},
        select=lambda _: Selection(merits={ALL: Chi2Merit("caloshowergan", shapes=True)}),
        detailed=(1024.0,),
        min_energy=1.0,
    )
    outcome = outcome_of(gan, GRID, tmp_path)
    test = outcome.tests["gan"]
    assert list(test.chi2) == list(test.floor) == [1024.0]
    assert logged(tmp_path) == {
        "name": "gan",
        "iteration": test.iteration,
        "chi2_per_ndf": test.chi2[1024.0].per_ndf,
    }
    generated = outcome.comparisons.generated["GAN"].energies
    assert not ((generated > 0) & (generated < 1)).any()
    assert list(outcome.comparisons.by_energy[1024.0]) == ["total_energy", "first"]


def test_a_variant_that_diverges_is_left_out_and_named(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(module: ModuleType, config: Any, geometry: Geometry, showers: Showers, directory: Path, **more: Any) -> Any:
        if directory.name == "wild":
            raise DivergedError("loss is nan at epoch 2")
        return fit_model(module, config, geometry, showers, directory, **more)

    monkeypatch.setattr(study_module, "fit", fit)
    both = replace(
        study,
        configs={"vae": (VAE, CELLS), "wild": (VAE, CELLS)},
        ensembles={"VAE": ("vae",), "wild VAE": ("wild",)},
        variants=frozenset({"wild"}),
    )
    outcome = outcome_of(both, CELLS, tmp_path)
    assert outcome.diverged == {"wild": "loss is nan at epoch 2"}
    assert list(outcome.networks) == list(outcome.provenance) == ["vae"]
    assert list(outcome.comparisons.generated) == ["VAE"]
    with pytest.raises(DivergedError, match="nan"):
        outcome_of(replace(both, variants=frozenset()), CELLS, tmp_path / "other")
