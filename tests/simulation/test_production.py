"""Real Geant4 in worker processes: a few showers of low energy."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from calogen.errors import CalogenError, ConfigError, DataFormatError
from calogen.evaluation.summary import energy_table, format_energy_table
from calogen.files import write_json
from calogen.showers.bundled import bundled, read_showers
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.grids import ILD_ANGULAR_GRID, ILD_GRID
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1
from calogen.simulation import production
from calogen.simulation.depths import read_depths
from calogen.simulation.production import produce, request_of
from calogen.simulation.request import Chunk, Request


def small(folder: Path, **changes: object) -> Request:
    request = Request(output=folder / "showers.h5", energies=(256.0, 1024.0), showers=(6, 4), workers=1)
    return replace(request, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def produced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    request = small(tmp_path_factory.mktemp("one"))
    produce(request)
    return request.output


def test_by_default_there_is_a_worker_for_each_core_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received = []

    def pool(where: None, workers: int, *given: object) -> None:
        received.append(workers)
        raise InterruptedError

    monkeypatch.setattr(production, "worker_pool", pool)
    for cores, workers, expected in ((5, None, 5), (64, None, 12), (5, 2, 2)):  # there are 12 chunks
        monkeypatch.setenv("CALOGEN_CORES", str(cores))
        monkeypatch.setattr("calogen.parallel.free_memory", lambda: 2**40)
        with pytest.raises(InterruptedError):
            produce(small(tmp_path, energies=(262144.0,), showers=(60,), workers=workers))
        assert received.pop() == expected
    monkeypatch.setattr("calogen.parallel.free_memory", lambda: 10**9)
    with pytest.raises(InterruptedError):
        produce(small(tmp_path, energies=(262144.0,), showers=(60,), workers=None))
    assert received == [2]


def contents(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][:] for name in file if name != "cpu_seconds"}


def assert_same(first: Path, second: Path) -> None:
    one, two = contents(first), contents(second)
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_the_file_is_in_the_public_formats(produced: Path) -> None:
    cells = Showers.read(produced, ATLAS_BARREL_STORED)
    voxels = Showers.read(produced, PHOTONS_DATASET1)
    np.testing.assert_array_equal(cells.incident_energies, [256.0] * 6 + [1024.0] * 4)
    assert 0.7 < cells.response.mean() < 1.1  # two reductions of the same hits, in MeV
    np.testing.assert_allclose(cells.response, voxels.response, atol=0.15)
    assert ((cells.conditions["impact_eta"] >= 0.2) & (cells.conditions["impact_eta"] < 0.25)).all()
    assert np.ptp(cells.conditions["impact_phi"]) > 1
    assert (cells.conditions["cpu_seconds"] > 0).all()
    for name in ("detector", "physics", "seed", "geant4_pybind", "note", "commit"):
        assert name in cells.attributes


def test_showers_do_not_depend_on_workers(produced: Path, tmp_path: Path) -> None:
    produce(small(tmp_path, workers=2))
    assert_same(produced, tmp_path / "showers.h5")


def test_a_killed_production_goes_on(produced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = small(tmp_path)
    script = (
        "import os, signal\nfrom pathlib import Path\nfrom calogen.simulation import production\n"
        "from calogen.simulation.request import Request\n"
        "completed = production.as_completed\n"
        "def killed(futures):\n    next(completed(futures)).result()\n    os.killpg(0, signal.SIGKILL)\n"
        "production.as_completed = killed\n"
        "if __name__ == '__main__':\n"
        f"    request = Request(output=Path({str(request.output)!r}), energies=(256.0, 1024.0), "
        "showers=(6, 4))\n    production.produce(request)\n"
    )
    (tmp_path / "killed.py").write_text(script)
    done = subprocess.run([sys.executable, str(tmp_path / "killed.py")], start_new_session=True, check=False)
    assert done.returncode == -signal.SIGKILL
    finished = [chunk for chunk in request.chunks() if chunk.path.exists()]
    assert finished
    simulated: list[Chunk] = []
    simulate = production._simulate
    monkeypatch.setattr(production, "_simulate", lambda *given: simulated.extend(given[1]) or simulate(*given))
    produce(request)
    assert not set(simulated) & set(finished)  # nothing was simulated twice
    assert_same(produced, request.output)


def wait_until_gone(group: int) -> None:
    """Of a group of processes nobody is left, soon: multiprocessing's tracker ends just after its parent."""
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(group, 0)
            time.sleep(0.05)


def test_a_terminated_production_ends_in_order_and_goes_on(
    produced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, not after the chunks that are being simulated; workers end, too, and leave nothing unfinished."""
    command = ["simulate", "--energies", "65536,256", "--showers", "400,6", "--workers", "2", "--output"]
    start = [sys.executable, "-c", "from calogen.cli.main import main; main()", *command, "showers.h5"]
    parts, options = tmp_path / "showers.h5.parts", {"cwd": tmp_path, "start_new_session": True}
    with subprocess.Popen(start, stderr=subprocess.PIPE, text=True, **options) as running:  # type: ignore[call-overload]
        while not (parts / "256MeV-000000-000006.npz").exists():
            assert running.poll() is None
            time.sleep(0.05)
        running.terminate()
        _, err = running.communicate(timeout=20)
        wait_until_gone(running.pid)
    assert (running.returncode, err.splitlines()[-1]) == (143, "calogen: terminated")
    assert "Traceback" not in err
    assert {path.name for path in parts.iterdir()} == {".lock", "request.json", "256MeV-000000-000006.npz"}
    monkeypatch.setattr(production, "_simulate", lambda _, missing: pytest.fail("too much") if missing else None)
    produce(small(tmp_path, energies=(256.0,), showers=(6,)))
    np.testing.assert_array_equal(contents(tmp_path / "showers.h5")["cells"], contents(produced)["cells"][:6])


def test_an_extended_file_is_what_one_production_gives(produced: Path, tmp_path: Path) -> None:
    """The rows that are there stay the first ones of their energy; energies that are not asked for stay, too."""
    longer = small(tmp_path, output=tmp_path / "longer.h5", extend=produced, energies=(256.0, 512.0), showers=(8, 2))
    produce(longer)
    assert contents(longer.output)["incident_energies"].ravel().tolist() == [256.0] * 8 + [512.0] * 2 + [1024.0] * 4
    produce(small(tmp_path, output=tmp_path / "at_once.h5", energies=(256.0, 512.0, 1024.0), showers=(8, 2, 4)))
    assert_same(longer.output, tmp_path / "at_once.h5")
    with h5py.File(longer.output) as file:
        assert file.attrs["made_by"].startswith("10 showers by ")
        assert "; 4 by " in file.attrs["made_by"]
    shutil.copy(produced, tmp_path / "a.h5")
    produce(small(tmp_path, output=tmp_path / "a.h5", extend=tmp_path / "a.h5", showers=(6, 5)))
    np.testing.assert_array_equal(contents(tmp_path / "a.h5")["cells"][:10], contents(produced)["cells"])
    assert len(contents(tmp_path / "a.h5")["cells"]) == 11


@pytest.mark.parametrize("changes", [{"seed": 2}, {"physics": "ftfp-bert-datafree"}, {"mantissa_bits": 12}])
def test_a_file_of_another_production_is_not_extended(
    produced: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match="same production"):
        produce(small(tmp_path, extend=produced, **changes))


@pytest.mark.parametrize("damage", ["lacks a row", "moved rows", "seed", "short"])
def test_damaged_files_are_not_extended(produced: Path, tmp_path: Path, damage: str) -> None:
    """Told before anything is simulated."""
    path = tmp_path / "own.h5"
    shutil.copy(produced, path)
    with h5py.File(path, "r+") as file:
        if damage == "seed":
            file.attrs["seed"] = "abc"
        for name in list(file):
            rows = file[name][:]
            if damage == "lacks a row":
                rows = np.delete(rows, 2, axis=0)
            elif damage == "moved rows":
                rows[[0, 1]] = rows[[1, 0]]
            elif damage == "short" and name == "cells":
                rows = rows[:7]
            del file[name]
            file[name] = rows
    with pytest.raises(
        DataFormatError, match=r"own\.h5 is damaged: .*(row [02] is not|invalid literal|\[7, 10\] rows)"
    ):
        produce(small(tmp_path, extend=path))


def test_what_cannot_be_extended_is_named(tmp_path: Path) -> None:
    toy = Showers(PIONS_DATASET1, np.array([1000.0]), np.full((1, 533), 1.0))
    toy.write(tmp_path / "own.h5")
    with pytest.raises(DataFormatError, match="must be a file of calogen simulate"):
        production.request_of(tmp_path / "own.h5")
    with pytest.raises(DataFormatError, match="must be a file of calogen simulate"):
        produce(small(tmp_path, extend=tmp_path / "own.h5", particle="pion"))


def test_finished_chunks_are_removed(produced: Path) -> None:
    assert [path.name for path in produced.parent.iterdir()] == ["showers.h5"]


def test_chunks_of_another_production_are_refused(tmp_path: Path) -> None:
    request = small(tmp_path)
    write_json(request.parts / "request.json", {"seed": 2})
    with pytest.raises(ConfigError, match="another production"):
        produce(request)


def test_bundled_showers_are_what_their_command_gives(tmp_path: Path) -> None:
    request = Request(output=tmp_path / "a.h5", energies=(256.0,), showers=(4,), mantissa_bits=12)
    produce(request)
    bundle = Showers.read(bundled("photons_train"), PHOTONS_DATASET1, slice(0, 4))
    np.testing.assert_array_equal(Showers.read(request.output, PHOTONS_DATASET1).energies, bundle.energies)


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    request = small(tmp_path)
    write_json(request.parts / "request.json", production._identity(request))
    for chunk in request.chunks():
        chunk.path.write_bytes(b"PK" + bytes(100))
    with pytest.raises(CalogenError, match="is damaged"):
        produce(request)
    assert not request.output.exists()


def test_depths_grow_with_the_energy_in_the_layer_where_the_shower_ends(tmp_path: Path) -> None:
    """Of 1 and 8 GeV, in the middle layer; and the same showers as without depths."""
    request = small(tmp_path, depths=True, energies=(1024.0, 8192.0), showers=(10, 6), mantissa_bits=12)
    produce(request)
    found = contents(request.output)
    plain = small(tmp_path, output=tmp_path / "plain.h5", energies=(1024.0,), showers=(10,), mantissa_bits=12)
    produce(plain)
    np.testing.assert_array_equal(found["cells"][:10], contents(plain.output)["cells"])
    assert found["depths"].shape == (16, len(PHOTONS_DATASET1.layers))
    table = read_depths(request.output)
    means = {(row["incident_energy"], row["layer"]): row for row in table["rows"]}
    assert 0 < means[1024.0, 2]["mean"] < means[8192.0, 2]["mean"] < 0.6
    np.testing.assert_allclose(means[1024.0, 0]["mean"], 0.5, atol=0.3)  # a thin layer of argon
    assert means[1024.0, 2]["showers"] <= 10
    assert table["particle"] == "photon"
    produce(
        small(
            tmp_path,
            output=request.output,
            extend=request.output,
            **request_of(request.output),
            showers=(1, 7),
            energies=(1024.0, 8192.0),
        )
    )
    np.testing.assert_array_equal(contents(request.output)["depths"][:16], found["depths"])
    with pytest.raises(DataFormatError, match="calogen simulate --depths"):
        read_depths(plain.output)


def grid(folder: Path, **changes: object) -> Request:
    """Six photons of 2 to 4 GeV, uniform, in the ILD's grid."""
    chosen = {"detector": "ild", "energies": (2000.0, 4000.0), "uniform": True, "showers": (6,)} | changes
    return small(folder, **chosen)


def test_grids_are_written_sparsely_with_uniform_energies(tmp_path: Path) -> None:
    """Rows are in the order of their numbers; workers do not matter, and a file can be extended."""
    request = grid(tmp_path)
    produce(request)
    showers = read_showers(request.output)
    assert showers.geometry is ILD_GRID
    assert len(set(showers.incident_energies.tolist())) == 6
    assert 2000 < showers.incident_energies.min() < showers.incident_energies.max() < 4000
    assert (np.diff(showers.incident_energies) < 0).any()
    assert 0.01 < showers.response.mean() < 0.05
    assert set(showers.conditions) == {"cpu_seconds"}
    assert showers.attributes["uniform"] == "2000:4000"
    assert "not ILD's own" in str(showers.attributes["note"])
    longer = grid(tmp_path, output=tmp_path / "longer.h5", extend=request.output, showers=(8,), workers=2)
    produce(longer)
    np.testing.assert_array_equal(read_showers(longer.output).energies[:6], showers.energies)
    produce(grid(tmp_path, output=tmp_path / "at_once.h5", showers=(8,)))
    np.testing.assert_array_equal(read_showers(longer.output).energies, read_showers(tmp_path / "at_once.h5").energies)
    with pytest.raises(ConfigError, match="same production"):
        produce(grid(tmp_path, extend=request.output, energies=(2000.0, 5000.0)))


def test_single_energies_and_angles_of_grids(tmp_path: Path) -> None:
    """A fixed list of energies is sorted; the angles are stored in rad, and restored for an extension."""
    request = grid(
        tmp_path, detector="ild-angular", energies=(3000.0, 2000.0), uniform=False, showers=(2,), angles=(60.0, 60.0)
    )
    produce(request)
    showers = read_showers(request.output)
    assert showers.geometry is ILD_ANGULAR_GRID
    assert showers.incident_energies.tolist() == [2000.0, 2000.0, 3000.0, 3000.0]
    np.testing.assert_allclose(showers.conditions["angle"], np.deg2rad(60.0))
    assert request_of(request.output)["angles"] == (60.0, 60.0)
    produce(grid(tmp_path, output=tmp_path / "all.h5", detector="ild-angular", showers=(5,)))
    angles = read_showers(tmp_path / "all.h5").conditions["angle"]
    assert np.deg2rad(40) < angles.min() < angles.max() < np.pi / 2


def test_bundled_ild_photons_are_what_their_command_gives(tmp_path: Path) -> None:
    request = Request(
        output=tmp_path / "a.h5",
        detector="ild",
        energies=(10_000.0, 100_000.0),
        uniform=True,
        showers=(2,),
        seed=2,
        mantissa_bits=12,
    )
    produce(request)
    stored = Showers.read(bundled("ild_photons_test"), ILD_GRID, slice(0, 2))
    produced = read_showers(request.output)
    np.testing.assert_array_equal(produced.incident_energies, stored.incident_energies)
    np.testing.assert_array_equal(produced.energies, stored.energies)


def test_hadrons_are_written_in_their_own_voxels(tmp_path: Path) -> None:
    changes = {"particle": "pion", "physics": "ftfp-bert-datafree", "energies": (1024.0,), "showers": (3,)}
    request = small(tmp_path, **changes)
    produce(request)
    assert Showers.read(request.output, PIONS_DATASET1).response.max() > 0.1


def test_missing_geant4_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEANT4_DATA_DIR", raising=False)
    with pytest.raises(ConfigError, match="needs Geant4's data sets"):
        produce(small(tmp_path, physics="ftfp-bert"))


@pytest.mark.slow
def test_layer_shares_at_65_gev(tmp_path: Path) -> None:
    produce(Request(output=tmp_path / "a.h5", energies=(65536.0,), showers=(60,), workers=2))
    showers = Showers.read(tmp_path / "a.h5", ATLAS_BARREL_STORED)
    shares = 100 * showers.layer_energies.mean(axis=0) / 65536
    print("presampler, front, middle, back, % of the photon's energy:", shares, "sum", shares.sum())
    np.testing.assert_array_less(np.abs(shares[:3] - [0.7, 17, 79]), [0.4, 3, 4])
    assert shares[3] < 1.5
    assert abs(shares.sum() - 97.6) < 1


@pytest.mark.slow
def test_response_without_material_is_linear(tmp_path: Path) -> None:
    energies, counts = (1024.0, 8192.0, 65536.0, 262144.0), (800, 150, 120, 10)
    produce(
        Request(output=tmp_path / "a.h5", energies=energies, showers=counts, workers=2, detector="atlas-barrel-bare")
    )
    showers = Showers.read(tmp_path / "a.h5", ATLAS_BARREL_STORED)
    print(format_energy_table(energy_table(showers)))
    samples = [showers.at(energy).response for energy in energies]
    means = np.array([sample.mean() for sample in samples])
    errors = np.array([sample.std() / np.sqrt(len(sample)) for sample in samples])
    print("relative to 65 GeV:", means / means[2], "+-", np.hypot(errors, errors[2]))
    # 1.5 %, and two standard errors of samples with rare late conversions
    assert (np.abs(means / means[2] - 1)[:2] < 0.015 + 2 * np.hypot(errors, errors[2])[:2]).all()
    assert means[3] > 0.95  # leakage behind 22 radiation lengths
