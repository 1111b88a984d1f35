import json
from pathlib import Path

import numpy as np
import pytest

from calogen.errors import CalogenError, DataFormatError
from calogen.generation import (
    TrainedRun,
    compile_one_shower,
    generate,
    geometry_from_json,
    geometry_to_json,
    load_run,
    save_run,
    seconds_per_call,
)
from calogen.geometry import PHOTONS_DATASET1, CellGrid
from calogen.models.atlas_vae import AtlasVaeConfig, build, build_transform
from calogen.showers import Showers

ENERGIES = 2.0 ** np.arange(10, 19)


@pytest.fixture
def run(tiny_showers: Showers) -> TrainedRun:
    config = AtlasVaeConfig(encoder_units=(24, 12), decoder_units=(12, 24), renormalise=True, response_scale=0.5)
    transform = build_transform(config, tiny_showers.geometry).fit(tiny_showers)
    networks = build(config, tiny_showers.geometry)
    return TrainedRun("atlas_vae", config, tiny_showers.geometry, networks, transform, [{"loss": 1.0}])


def test_a_run_survives_its_folder(run: TrainedRun, tmp_path: Path) -> None:
    save_run(tmp_path / "run", run)
    again = load_run(tmp_path / "run")
    assert (again.config, again.geometry, again.transform, again.history) == (
        run.config,
        run.geometry,
        run.transform,
        run.history,
    )
    expected = generate(run, ENERGIES, seed=2)
    np.testing.assert_array_equal(generate(tmp_path / "run", ENERGIES, seed=2).energies, expected.energies)
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_showers_do_not_depend_on_the_batches(run: TrainedRun) -> None:
    whole, blocks = (generate(run, ENERGIES, seed=1, batch_size=size) for size in (100, 2))
    np.testing.assert_allclose(whole.energies, blocks.energies, rtol=1e-5)
    assert whole.incident_energies.tolist() == ENERGIES.tolist()
    assert (generate(run, ENERGIES, seed=2).energies != whole.energies).any()


def test_one_shower_is_what_generate_gives(run: TrainedRun) -> None:
    one_shower = compile_one_shower(run)
    latent = run.latent.draw(len(ENERGIES), seed=5)
    showers = np.stack([one_shower(energy, point) for energy, point in zip(ENERGIES, latent, strict=True)])
    np.testing.assert_allclose(showers, generate(run, ENERGIES, seed=5).energies, rtol=1e-4)


def test_a_call_is_timed() -> None:
    calls: list[int] = []
    assert seconds_per_call(lambda: calls.append(1), repeats=5) >= 0
    assert len(calls) == 6


@pytest.mark.parametrize("energies", [np.array([]), np.array([1000.0, 0.0]), np.array([np.nan]), np.ones((2, 1))])
def test_incident_energies_are_checked(run: TrainedRun, energies: np.ndarray) -> None:
    with pytest.raises(DataFormatError, match="above 0 MeV"):
        generate(run, energies)


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="must hold a trained run"):
        load_run(tmp_path)


def test_a_damaged_network_is_named(run: TrainedRun, tmp_path: Path) -> None:
    save_run(tmp_path, run)
    (tmp_path / "decoder.keras").write_bytes(b"nothing")
    with pytest.raises(DataFormatError, match="decoder.keras must be a Keras model file"):
        load_run(tmp_path)


def test_an_unknown_model_is_refused(run: TrainedRun, tmp_path: Path) -> None:
    save_run(tmp_path, run)
    about = json.loads((tmp_path / "config.json").read_text()) | {"model": "os"}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(DataFormatError, match="model must be one of"):
        load_run(tmp_path)


def test_one_network_must_generate(run: TrainedRun) -> None:
    with pytest.raises(CalogenError, match="one network must have an input named 'latent'"):
        _ = TrainedRun("atlas_vae", None, run.geometry, {}, run.transform, []).generator


def test_geometries_survive_json(tiny_grid: CellGrid) -> None:
    for geometry in (tiny_grid, PHOTONS_DATASET1):
        assert geometry_from_json(json.loads(json.dumps(geometry_to_json(geometry)))) == geometry
    for value in ({}, {"kind": "Sphere", "name": "x", "layers": []}, {"kind": "CellGrid", "name": "x", "layers": [{}]}):
        with pytest.raises(DataFormatError):
            geometry_from_json(value)
