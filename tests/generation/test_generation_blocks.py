"""Showers generated block by block: the noise of each, files of any size."""

import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS
from toy_gan import RANGES, make_conditioned, make_gan

from calogen.errors import CalogenError, ConfigError, DataFormatError
from calogen.generation import generate as generation
from calogen.generation import production
from calogen.generation.engines import engine
from calogen.generation.generate import compile_one_shower, generate, generate_blocks, route
from calogen.generation.production import write_generated
from calogen.showers.conditions import Conditions
from calogen.showers.sample import Showers, write_blocks
from calogen.showers.voxels import VoxelGeometry, VoxelLayer
from calogen.training import latent
from calogen.training.latent import BLOCK_SHOWERS, block_seed
from calogen.training.run import TrainedRun, save_run

MOMENTA = 2.0 ** np.arange(8, 23)


@pytest.fixture
def gans() -> list[TrainedRun]:
    """Three GANs that share the momenta; every shower depends on its noise."""
    found = []
    for low, high in RANGES:
        gan, rng = make_gan(low, high, 1.0), np.random.default_rng(int(low))
        for variable in gan.networks["generator"].trainable_variables:
            variable.assign(rng.uniform(0.0, 1.0, variable.shape))
        found.append(gan)
    return found


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of seven showers."""
    monkeypatch.setattr(generation, "BLOCK_SHOWERS", 7)
    return 7


def slow_twin(runs: list[TrainedRun], momenta: np.ndarray, seed: int, size: int) -> np.ndarray:
    """Energies by Keras and the transform, shower after shower."""
    chosen, energies = route(runs, momenta), []
    noise: dict[tuple[int, int], np.random.Generator] = {}
    for number, (momentum, position) in enumerate(zip(momenta, chosen.tolist(), strict=True)):
        run, block = runs[position], number // size
        stream = np.random.SeedSequence(seed + position)
        if block:
            stream = stream.spawn(block + 1)[block]
        rng = noise.setdefault((position, block), np.random.default_rng(stream))
        given = {"latent": run.latent.draw(1, rng), "condition": run.transform.condition(np.array([momentum]))}
        features = run.generator(given).numpy()
        energies.append(run.transform.energies(features, np.array([momentum]))[0])
    return np.array(energies)


@pytest.mark.parametrize("size", [7, BLOCK_SHOWERS])
@pytest.mark.parametrize("which", [slice(1, 2), slice(None)])
def test_each_block_has_its_own_noise(
    gans: list[TrainedRun], which: slice, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "BLOCK_SHOWERS", size)
    momenta = np.random.default_rng(1).permutation(np.repeat(MOMENTA, 3))
    runs = gans[which]
    momenta = momenta[(momenta > 4096) & (momenta <= 262_144)] if len(runs) == 1 else momenta
    found = generate(runs, momenta, seed=5, batch_size=4)
    np.testing.assert_allclose(found.energies, slow_twin(runs, momenta, 5, size), rtol=1e-5)
    np.testing.assert_array_equal(found.incident_energies, momenta)
    assert found.attributes == {"model": "fastcalogan", "seed": 5}


def test_the_first_block_has_the_stream_of_the_seed() -> None:
    expected = np.random.default_rng(3).standard_normal(10)
    np.testing.assert_array_equal(np.random.default_rng(block_seed(3, 0)).standard_normal(10), expected)
    words = {int(block_seed(seed, block).generate_state(1)[0]) for seed in range(30) for block in range(30)}
    assert len(words) == 900, "a chance of 1e-4 for another seed"


def test_a_shower_does_not_depend_on_those_that_follow(gans: list[TrainedRun], small_blocks: int) -> None:
    momenta = np.repeat(MOMENTA, 3)
    whole, part = generate(gans, momenta, seed=2), generate(gans, momenta[:20], seed=2)
    np.testing.assert_allclose(whole.energies[:20], part.energies, rtol=1e-5)
    equal = generate(gans[1], np.full(3 * small_blocks, 8192.0), seed=2).energies
    assert len(np.unique(equal, axis=0)) == 3 * small_blocks, "no block repeats another one's noise"


def test_blocks_come_one_by_one(gans: list[TrainedRun], small_blocks: int) -> None:
    given = Conditions(MOMENTA[:10], {"eta": np.arange(10.0)})
    blocks = list(generate_blocks(gans, given, 4, copies=3))
    assert [len(block) for block in blocks] == [7, 7, 7, 7, 2]
    at_once = generate(gans, given[np.repeat(np.arange(10), 3)], 4)
    for name in ("energies", "incident_energies"):
        np.testing.assert_array_equal(np.concatenate([getattr(b, name) for b in blocks]), getattr(at_once, name))
    np.testing.assert_array_equal(np.concatenate([b.conditions["eta"] for b in blocks]), at_once.conditions["eta"])


def whole_blocks(runs: list[TrainedRun], momenta: np.ndarray, seed: int, batch_size: int, size: int) -> np.ndarray:
    """Energies as they were when each block was filled at once, run after run."""
    chosen = route(runs, momenta)
    most = [min(number, batch_size) for number in np.bincount(chosen, minlength=len(runs)).tolist()]
    energies = np.empty((len(momenta), runs[0].geometry.size), np.float32)
    for number, start in enumerate(range(0, len(momenta), size)):
        for position in np.unique(chosen[start : start + size]).tolist():
            run, rows = runs[position], start + np.flatnonzero(chosen[start : start + size] == position)
            points = run.latent.draw(len(rows), block_seed(seed + position, number))
            condition = run.transform.condition(momenta[rows])
            compute = engine(run.generator, run.transform, most[position])
            for first in range(0, len(rows), batch_size):
                batch = slice(first, first + batch_size)
                made = np.empty((len(rows[batch]), energies.shape[1]), np.float32)
                compute(points[batch], condition[batch], momenta[rows[batch]], made)
                energies[rows[batch]] = made
    return energies


@pytest.mark.parametrize("batch_size", [1, 3, 10, 1000])
@pytest.mark.parametrize("kind", ["one run", "sorted", "mixed"])
def test_pieces_of_a_block_have_its_bits(
    kind: str, batch_size: int, gans: list[TrainedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "BLOCK_SHOWERS", 32)
    momenta = np.repeat(MOMENTA, 5)
    momenta = np.random.default_rng(1).permutation(momenta) if kind == "mixed" else momenta
    runs = gans[1:2] if kind == "one run" else gans
    momenta = momenta[(momenta > 4096) & (momenta <= 262_144)] if kind == "one run" else momenta
    pieces = list(generate_blocks(runs, Conditions(momenta, {"eta": np.arange(len(momenta))}), 5, batch_size))
    sizes = [min(batch_size, end - row) for end in range(32, 1000, 32) for row in range(end - 32, end, batch_size)]
    left = np.cumsum([0, *sizes])
    expected = [min(n, len(momenta) - at) for n, at in zip(sizes, left, strict=False) if at < len(momenta)]
    assert [len(piece) for piece in pieces] == expected
    energies = np.concatenate([piece.energies for piece in pieces])
    np.testing.assert_array_equal(energies, whole_blocks(runs, momenta, 5, batch_size, 32))
    np.testing.assert_array_equal(np.concatenate([piece.incident_energies for piece in pieces]), momenta)
    np.testing.assert_array_equal(np.concatenate([piece.conditions["eta"] for piece in pieces]), range(len(momenta)))


@pytest.mark.parametrize("which", [slice(1, 2), slice(None)])
def test_memory_does_not_grow_with_the_voxels_of_a_block(
    which: slice, gans: list[TrainedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block of 4,096 showers of 2,000 voxels has 33 MB, a piece of 128 has 1 MB."""
    monkeypatch.setattr(generation, "BLOCK_SHOWERS", 4096)
    monkeypatch.setattr(generation, "engine", lambda *_: lambda _latent, _condition, _labels, made: made.fill(1.0))
    wide = VoxelGeometry("wide", (VoxelLayer(0, tuple(np.arange(2001.0)), 1),))
    runs = [replace(gan, geometry=wide) for gan in gans[which]]
    momenta = np.repeat(8192.0 if len(runs) == 1 else np.array([1024.0, 8192.0, 1e6]), 6000 // len(runs))
    tracemalloc.start()
    write_blocks(tmp_path / "a.h5", generate_blocks(runs, momenta, 1, batch_size=128), 6000, 4096)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["showers"].shape == (6000, 2000)
        assert (file["showers"][4000:4200] == 1).all()


def test_what_cannot_be_generated_is_refused_at_once(gans: list[TrainedRun]) -> None:
    with pytest.raises(DataFormatError, match="incident energies must be within"):
        generate_blocks(gans, np.array([1000.0, 1.0]))


def test_one_shower_after_the_other_changes_the_block(
    gans: list[TrainedRun], small_blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_shower = compile_one_shower(gans[1], seed=6)
    found = np.stack([one_shower(8192.0) for _ in range(20)])
    np.testing.assert_allclose(found, generate(gans[1], np.full(20, 8192.0), seed=6).energies, rtol=1e-5)


def test_files_of_one_block_and_of_several(
    gans: list[TrainedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / str(position) for position in range(2)]
    for path, run in zip(folders, gans[:2], strict=True):
        save_run(path, run)
    momenta = MOMENTA[:11]
    for size in (BLOCK_SHOWERS, 7):
        for module in (generation, production):
            monkeypatch.setattr(module, "BLOCK_SHOWERS", size)
        write_generated(tmp_path / "a.h5", folders, [*momenta], 3, 9)
        at_once = generate(gans[:2], np.repeat(momenta, 3), 9)
        with h5py.File(tmp_path / "a.h5") as file:
            np.testing.assert_array_equal(file["showers"], at_once.energies)
            np.testing.assert_array_equal(file["incident_energies"][:, 0], at_once.incident_energies)
            assert (file["showers"].shape, file["showers"].dtype) == ((33, TINY_VOXELS.size), np.float32)
            assert dict(file.attrs) == {"model": "fastcalogan", "seed": 9}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "a.h5"]
    write_generated(tmp_path / "b.h5", folders, [*momenta], 3, 9, files=2)
    assert [len(Showers.read(tmp_path / f"b-{number}.h5", TINY_VOXELS)) for number in (1, 2)] == [21, 12]
    found = Showers.read(tmp_path / "b.h5", TINY_VOXELS)
    np.testing.assert_array_equal(found.energies, at_once.energies)
    assert found.attributes == Showers.read(tmp_path / "a.h5", TINY_VOXELS).attributes
    with pytest.raises(ConfigError, match=r"--files would overwrite .*b-1\.h5, .*b-2\.h5: remove them"):
        write_generated(tmp_path / "b.h5", folders, [*momenta], 3, 8, files=2)
    with pytest.raises(ConfigError, match=r"files must be 1\.\.5, the blocks of 7"):
        write_generated(tmp_path / "b.h5", folders, [*momenta], 3, 9, files=6)


def write_small_blocks(run: TrainedRun, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves a run as `gan` in the folder; productions have blocks of seven showers."""
    save_run(folder / "gan", run)
    for module in (generation, production):
        monkeypatch.setattr(module, "BLOCK_SHOWERS", 7)


def test_a_stopped_generation_goes_on_with_its_own_blocks(
    gans: list[TrainedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small_blocks(gans[1], tmp_path, monkeypatch)
    write = production._write_block
    written: list[int] = []

    def stopped(order: production.Order, block: int, *rest: object) -> None:
        if block == 3:
            raise KeyboardInterrupt
        write(order, block, *rest)  # type: ignore[arg-type]
        written.append(block)

    monkeypatch.setattr(production, "_write_block", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_generated(tmp_path / "a.h5", [tmp_path / "gan"], [8192.0], 33, 9)
    with pytest.raises(ConfigError, match=r"a\.h5\.parts holds blocks of another generation"):
        write_generated(tmp_path / "a.h5", [tmp_path / "gan"], [8192.0], 33, 10)

    def followed(order: production.Order, block: int, *rest: object) -> None:
        write(order, block, *rest)  # type: ignore[arg-type]
        written.append(block)

    monkeypatch.setattr(production, "_write_block", followed)
    write_generated(tmp_path / "a.h5", [tmp_path / "gan"], [8192.0], 33, 9)
    assert written == [0, 1, 2, 3, 4]
    found = Showers.read(tmp_path / "a.h5", TINY_VOXELS)
    np.testing.assert_array_equal(found.energies, generate(gans[1], np.full(33, 8192.0), 9).energies)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "gan"]


def test_the_first_block_tells_whether_all_fit_on_the_disk(
    gans: list[TrainedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five blocks and the file that joins them: ten sizes of a block, one of which is there."""
    write_small_blocks(gans[1], tmp_path, monkeypatch)
    free = 10**9
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, used=0, free=free))
    monkeypatch.setattr(production, "MAX_DEFLATE", 10**9)
    write_generated(tmp_path / "a.h5", [tmp_path / "gan"], [8192.0], 33, 9)
    size: list[int] = []
    known = production._require_room

    def noted(path: Path, parts: Path, blocks: Sequence[Path], block: Path) -> None:
        size.append(block.stat().st_size)
        known(path, parts, blocks, block)

    monkeypatch.setattr(production, "_require_room", noted)
    write_generated(tmp_path / "b.h5", [tmp_path / "gan"], [8192.0], 33, 9)
    free = 9 * size[0] - 1
    with pytest.raises(CalogenError, match=r"cannot write .*c\.h5: it needs at least"):
        write_generated(tmp_path / "c.h5", [tmp_path / "gan"], [8192.0], 33, 9)
    assert len(list((tmp_path / "c.h5.parts").glob("block-*.h5"))) == 1, "what is made stays"
    free = 9 * size[0]
    write_generated(tmp_path / "c.h5", [tmp_path / "gan"], [8192.0], 33, 9)
    assert (tmp_path / "c.h5").is_file()


def test_files_are_begun_once_and_may_be_chosen_until_then(
    gans: list[TrainedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished blocks serve any number of files; an interruption at the very end leaves a whole result."""
    write_small_blocks(gans[1], tmp_path, monkeypatch)

    def interrupt(*_: object, **_options: object) -> None:
        raise KeyboardInterrupt

    def call(files: int, place: str = "") -> None:
        with monkeypatch.context() as patch:
            if place:
                patch.setattr(place, interrupt)
            write_generated(tmp_path / "a.h5", [tmp_path / "gan"], [8192.0], 20, 9, files=files)

    with pytest.raises(KeyboardInterrupt):
        call(3, "calogen.generation.production.write_json")
    monkeypatch.setattr(production, "_write_block", lambda *_: pytest.fail("nothing is made twice"))
    with pytest.raises(KeyboardInterrupt):
        call(2, "calogen.generation.production.link_hdf5")
    with pytest.raises(ConfigError, match=r"give --files 2\. Received: 3"):
        call(3)
    with pytest.raises(KeyboardInterrupt):
        call(2, "calogen.files.shutil.rmtree")
    assert len(Showers.read(tmp_path / "a.h5", TINY_VOXELS)) == 20
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["a-1.h5", "a-2.h5", "a.h5", "gan"]


@pytest.fixture
def conditioned(monkeypatch: pytest.MonkeyPatch) -> TrainedRun:
    """A model that knows `impact_eta`, which every folder holds."""
    run = make_conditioned()
    for module in (generation, production):
        monkeypatch.setattr(module, "load_run", lambda path: run)
    return run


def test_a_file_gives_the_conditions(conditioned: TrainedRun, tmp_path: Path) -> None:
    """Those that the model knows: what else Geant4's showers have is not the generated ones'."""
    momenta, eta = np.array([1024.0, 8192.0, 65536.0]), np.array([0.2, 0.25, 0.3], np.float32)
    with h5py.File(tmp_path / "like.h5", "w") as file:  # which needs no showers
        file.update({"incident_energies": momenta[:, None], "impact_eta": eta, "cpu_seconds": np.ones(3)})
    write_generated(tmp_path / "a.h5", [tmp_path], tmp_path / "like.h5", 2, 9)
    expected = generate(conditioned, Conditions(momenta, {"impact_eta": eta})[np.repeat(np.arange(3), 2)], 9)
    found = Showers.read(tmp_path / "a.h5", TINY_VOXELS)
    np.testing.assert_array_equal(found.energies, expected.energies)
    np.testing.assert_array_equal(found.incident_energies, np.repeat(momenta, 2))
    assert {name: values.tolist() for name, values in found.conditions.items()} == {"impact_eta": [*np.repeat(eta, 2)]}
    shares = found.energies.sum(axis=1) / found.incident_energies
    np.testing.assert_allclose(shares / shares[0], np.repeat([1.0, 1.5, 2.0], 2), rtol=1e-5)


def test_a_condition_that_is_not_given_is_named_before_anything_is_made(
    conditioned: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "engine", lambda *_: pytest.fail("nothing may be computed"))
    with h5py.File(tmp_path / "like.h5", "w") as file:
        file.update({"incident_energies": np.full((3, 1), 8192.0), "impact_phi": np.zeros(3)})
    message = r"the model needs impact_eta of each shower.* \(calogen generate --like FILE\). Received: "
    for given, received in (([8192.0], "none"), (tmp_path / "like.h5", r"\['impact_phi'\]")):
        with pytest.raises(DataFormatError, match=message + received):
            write_generated(tmp_path / "a.h5", [tmp_path], given, 3, 1)
    with pytest.raises(DataFormatError, match=message + "none"):
        generate_blocks(conditioned, np.array([8192.0]))
    assert [path.name for path in tmp_path.iterdir()] == ["like.h5"]


def test_more_showers_than_the_disk_holds_are_refused_before_any_is_made(
    gans: list[TrainedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(production, "load_run", lambda path: gans[1])
    monkeypatch.setattr(generation, "engine", lambda *_: pytest.fail("nothing may be computed"))
    with pytest.raises(CalogenError, match=r"cannot write .*a\.h5: it needs at least .* MB more"):
        write_generated(tmp_path / "a.h5", [tmp_path], [8192.0], 10**17, 1)
    assert list(tmp_path.iterdir()) == []


def test_the_latent_space_knows_the_size_of_a_block() -> None:
    assert generation.BLOCK_SHOWERS == latent.BLOCK_SHOWERS == 65_536, "files of another version have this size"


_MEASURE = """
import resource, sys
from pathlib import Path
from calogen.generation.production import write_generated
write_generated(Path(sys.argv[1]), [Path(sys.argv[2])], [8192.0], int(sys.argv[3]), 1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_showers(gans: list[TrainedRun], tmp_path: Path) -> None:
    peaks = []
    save_run(tmp_path / "gan", gans[1])
    for number in (200_000, 1_000_000):
        command = [sys.executable, "-c", _MEASURE, str(tmp_path / "a.h5"), str(tmp_path / "gan"), str(number)]
        peaks.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < peaks[0] + 20, "MiB; 800,000 showers of ten voxels and their labels have 37"
