import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_VOXELS
from toy_gan import RANGES, make_gan

from calogen.errors import CalogenError, DataFormatError
from calogen.generation import engines
from calogen.generation.engines import LiteRTEngine, TensorflowEngine
from calogen.generation.generate import compile_one_shower, generate, route, seconds_per_call
from calogen.generation.load import load_run
from calogen.models import atlas_vae, fastcalogan
from calogen.models.atlas_vae import AtlasVaeConfig, build, build_transform
from calogen.showers.cells import CellGrid
from calogen.showers.kinds import geometry_from_json
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, VoxelLayer
from calogen.training.latent import Latent
from calogen.training.run import TrainedRun, assemble_run, save_run

ENERGIES = 2.0 ** np.arange(10, 19)


@pytest.fixture
def run(tiny_showers: Showers) -> TrainedRun:
    config = AtlasVaeConfig(encoder_units=(24, 12), decoder_units=(12, 24), renormalise=True, response_scale=0.5)
    transform = build_transform(config, tiny_showers.geometry).fit(tiny_showers)
    networks = build(config, tiny_showers.geometry)
    return assemble_run(atlas_vae, config, tiny_showers.geometry, networks, transform, [{"loss": 1.0}])


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
    kept = one_shower(ENERGIES[0], latent[0])
    one_shower(ENERGIES[1], latent[1])
    np.testing.assert_array_equal(kept, showers[0])


@pytest.mark.parametrize(("distribution", "condition"), [("normal", "log"), ("uniform", "maximum")])
def test_one_shower_after_the_other_is_what_generate_gives(distribution: str, condition: str) -> None:
    gan = make_gan(*RANGES[0], 1.0, latent_distribution=distribution, condition=condition)
    rng = np.random.default_rng(1)
    for variable in gan.networks["generator"].trainable_variables:
        variable.assign(rng.uniform(0.0, 1.0, variable.shape))
    momenta = np.geomspace(*RANGES[0], 20)
    expected = generate(gan, momenta, seed=8).energies
    assert (expected.std(axis=0) > 0).all()
    for _ in range(2):
        one_shower = compile_one_shower(gan, seed=8)
        showers = np.stack([one_shower(momentum) for momentum in momenta])
        np.testing.assert_allclose(showers, expected, rtol=1e-5)
    assert not np.allclose(compile_one_shower(gan, seed=9)(momenta[0]), expected[0], rtol=1e-3)


def test_integer_momenta_are_as_good(run: TrainedRun) -> None:
    momenta = np.array([65536, 1024], np.int32)
    np.testing.assert_array_equal(generate(run, momenta).energies, generate(run, momenta.astype(np.float64)).energies)


@pytest.mark.parametrize("many", [1, 4, 100])
def test_showers_do_not_depend_on_the_engine(run: TrainedRun, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    expected = generate(run, np.repeat(ENERGIES, 5), seed=1, batch_size=7)
    monkeypatch.setattr(engines, "_has_gpu", lambda: True)
    monkeypatch.setattr(engines, "MANY", many)
    used: list[type] = []
    for kind in (LiteRTEngine, TensorflowEngine):
        monkeypatch.setattr(kind, "__call__", _recorded(kind.__call__, used))
    for batch_size in (3, 20, 10_000):
        found = generate(run, np.repeat(ENERGIES, 5), seed=1, batch_size=batch_size)
        differences = np.abs(found.energies - expected.energies)
        assert (differences <= 1e-5 * expected.energies.sum(axis=1, keepdims=True)).all()
    kinds = [TensorflowEngine if size >= many else LiteRTEngine for size in (3, 20, 45)]
    assert used == [kinds[0]] * 15 + [kinds[1]] * 3 + [kinds[2]]


def _recorded(call: Callable[..., None], used: list[type]) -> Callable[..., None]:
    def recorded(compute: object, *arguments: np.ndarray) -> None:
        used.append(type(compute))
        call(compute, *arguments)

    return recorded


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
    with pytest.raises(CalogenError, match=r"atlas_vae generates with \('decoder',\). Received: \[\]"):
        _ = assemble_run(atlas_vae, run.config, run.geometry, {}, run.transform).generator


def test_geometries_survive_json(tiny_grid: CellGrid) -> None:
    for geometry in (tiny_grid, PHOTONS_DATASET1):
        assert geometry_from_json(json.loads(json.dumps(geometry.to_json()))) == geometry
    for value in ({}, {"kind": "Sphere", "name": "x", "layers": []}, {"kind": "CellGrid", "name": "x", "layers": [{}]}):
        with pytest.raises(DataFormatError):
            geometry_from_json(value)


@pytest.fixture
def gans() -> list[TrainedRun]:
    """Three GANs that share the momenta; every voxel holds 1, 2 or 3 times the energy."""
    return [make_gan(low, high, position + 1.0) for position, (low, high) in enumerate(RANGES)]


def test_a_shared_momentum_belongs_to_the_lower_gan(gans: list[TrainedRun]) -> None:
    """Also one that a logarithm has moved by a hundred-thousandth."""
    momenta = np.array([256.0, 4095.9, 4096.0, 4096.01, 4096.1, 262_144.0, 262_150.0, 4_194_304.0])
    np.testing.assert_array_equal(route(gans, momenta), [0, 0, 0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(route(gans[::-1], momenta), [2, 2, 1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(route(gans[1:2], momenta[[2, 4, 5]]), [0, 0, 0])


@pytest.mark.parametrize("momentum", [255.9, 4_194_400.0])
def test_momenta_that_no_gan_is_made_for_are_refused(gans: list[TrainedRun], momentum: float) -> None:
    ranges = "256..4096, 4096..262144, 262144..4194304 MeV"
    with pytest.raises(DataFormatError, match=f"within {ranges}.* Received: {momentum:.10g} MeV"):
        generate(gans, np.array([1000.0, momentum]))
    with pytest.raises(DataFormatError, match="within 256..4096, 262144"):
        route([gans[0], gans[2]], np.array([5000.0]))


def test_every_row_comes_from_its_gan(gans: list[TrainedRun], tmp_path: Path) -> None:
    momenta = np.random.default_rng(1).permutation(np.repeat(2.0 ** np.arange(8, 23), 3))
    expected = np.where(momenta <= 4096, 1.0, np.where(momenta <= 262_144, 2.0, 3.0))
    showers = generate(gans, momenta, batch_size=4)
    np.testing.assert_allclose(showers.energies, np.tile((expected * momenta)[:, None], (1, 10)), rtol=1e-6)
    np.testing.assert_array_equal(showers.incident_energies, momenta)
    assert showers.geometry == TINY_VOXELS
    paths = [tmp_path / str(position) for position in range(3)]
    for path, run in zip(paths, gans, strict=True):
        save_run(path, run)
    np.testing.assert_array_equal(generate(paths, momenta).energies, showers.energies)


def test_gans_of_one_network_have_noise_of_their_own(gans: list[TrainedRun]) -> None:
    networks = fastcalogan.build(gans[0].config, TINY_VOXELS)
    same = [replace(item, networks=networks) for item in gans]
    momenta = np.repeat([1000.0, 10_000.0, 1e6], 5)
    together = generate(same, momenta, seed=3)
    for position, item in enumerate(same):
        rows = slice(5 * position, 5 * position + 5)
        alone = generate(item, momenta[rows], seed=3 + position)
        np.testing.assert_allclose(together.energies[rows], alone.energies, rtol=1e-5)
    fractions = together.energies / momenta[:, None]
    assert not np.allclose(fractions[:5], fractions[5:10], rtol=1e-2)


def test_runs_must_be_of_one_geometry(gans: list[TrainedRun], run: TrainedRun) -> None:
    with pytest.raises(DataFormatError, match="one geometry. Received: \\['tiny', 'other'\\]"):
        route([gans[0], replace(gans[1], geometry=replace(TINY_VOXELS, name="other"))], np.array([1000.0]))
    assert run.momentum_range is None
    np.testing.assert_array_equal(route([run], np.array([1e-3, 1e9])), [0, 0])
    assert gans[1].momentum_range == RANGES[1]


def test_a_name_does_not_make_geometries_equal(gans: list[TrainedRun]) -> None:
    other = replace(TINY_VOXELS, layers=(TINY_VOXELS.layers[0], VoxelLayer(1, (0.0, 3.0, 8.0), 4)))
    with pytest.raises(DataFormatError, match="one geometry. Received: \\['tiny', 'tiny'\\]"):
        generate([gans[0], replace(gans[1], geometry=other)], np.array([1000.0]))


def test_the_noise_of_a_run_is_drawn_once(gans: list[TrainedRun], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int]] = []
    draw = Latent.draw

    def record(latent: Latent, count: int, seed: np.random.SeedSequence, condition: np.ndarray) -> np.ndarray:
        assert len(condition) == count
        drawn.append((count, int(seed.entropy)))  # type: ignore[call-overload]
        return draw(latent, count, seed)

    monkeypatch.setattr(Latent, "draw", record)
    generate(gans, np.repeat([1000.0, 10_000.0, 1e6], (5, 4, 3)), seed=7, batch_size=2)
    assert drawn == [(5, 7), (4, 8), (3, 9)]
