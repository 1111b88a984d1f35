"""Requests, and what becomes of their chunks, without Geant4."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from disks import asked_disks

from calogen.errors import ConfigError
from calogen.simulation import production
from calogen.simulation.production import produce
from calogen.simulation.request import Chunk, Request


def small(folder: Path, **changes: object) -> Request:
    request = Request(output=folder / "showers.h5", energies=(256.0, 1024.0), showers=(6, 4), workers=1)
    return replace(request, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": "cms"}, "detector must be one of"),
        ({"particle": "muon"}, "particle must be one of"),
        ({"physics": "none"}, "physics must be one of"),
        ({"showers": (1, 2, 3)}, "one for each of 2 energies"),
        ({"showers": (0,)}, "Received: \\(0,\\)"),
        ({"energies": (0.065, 1.0)}, "in MeV"),
        ({"energies": (1024.0, 1024.0)}, "must differ"),
        ({"energies": (1210.0, 1210.0000000000002)}, "must differ"),  # one seed and one file
        ({"energies": (12345678.9, 12345678.904)}, "must differ"),  # two seeds, but one file
        ({"energies": (), "showers": (1,)}, "in MeV"),
        ({"energies": (64.0, 1024.0)}, "the median shower must have 100 MeV or more"),
        ({"energies": (64.0, 128.0), "showers": (1,)}, "the median shower must have 100 MeV or more"),
        ({"energies": (1024.0, float("nan"))}, "in MeV"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"mantissa_bits": 99}, "mantissa_bits must be 1..23"),
        ({"showers": (10**12,)}, "may have 1,000,000 chunks of half a minute. Received: 1"),
        ({"output": Path()}, "must be a file"),
        ({"uniform": True, "energies": (2000.0, 1000.0)}, "lower first"),
        ({"uniform": True, "energies": (1000.0,), "showers": (1,)}, "lie between two"),
        ({"angles": (40.0, 90.0)}, "angles can be chosen for ild"),
        ({"detector": "ild", "angles": (0.0, 90.0)}, "above 0 and up to 90"),
        ({"detector": "ild", "depths": True}, "depths can be written for atlas-barrel"),
    ],
)
def test_bad_requests_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(tmp_path, **changes)


def test_a_few_showers_of_low_energy_are_no_fault(tmp_path: Path) -> None:
    assert small(tmp_path, energies=(64.0, 1024.0), showers=(4, 6))


def test_an_interrupted_removal_leaves_nothing_to_the_next_production(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which the chunks could be another seed's: here the process is killed before it removes the first file."""

    def interrupt(*_: object, **_options: object) -> None:
        raise KeyboardInterrupt

    request = small(tmp_path)
    monkeypatch.setattr(production, "_simulate", lambda _, missing: [chunk.path.touch() for chunk in missing])
    monkeypatch.setattr(production, "write_output", lambda *_: None)
    monkeypatch.setattr(shutil, "rmtree", interrupt)
    with pytest.raises(KeyboardInterrupt):
        produce(request)
    assert not request.parts.exists()


def test_the_rows_of_an_output_come_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the file: at each energy first those that it had, then the chunks by their numbers."""
    request = small(tmp_path, energies=(1024.0, 256.0), showers=(7000, 500))
    present = {"incident_energies": np.array([256.0] * 300 + [512.0])}

    def read(chunk: Chunk) -> dict[str, np.ndarray]:
        return {"incident_energies": np.full(chunk.stop - chunk.start, chunk.energy)}

    monkeypatch.setattr(production, "_read_chunk", read)
    monkeypatch.setattr(production, "_columns", lambda _: {"incident_energies": "incident_energies"})
    monkeypatch.setattr(production, "_JOINED", 20)
    tables = production._tables(request, list(request.chunks({256.0: 300})), present)
    labels = [np.asarray(table["incident_energies"]).tolist() for table in tables]
    assert labels == [[256.0] * 300, [256.0] * 200, [512.0], [1024.0] * 4000, [1024.0] * 3000]


def test_chunks_beside_a_link_need_space_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_disks(tmp_path, monkeypatch)
    monkeypatch.setattr(production, "_simulate", lambda *_: None)
    monkeypatch.setattr(production, "write_output", lambda *_: None)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    request = small(tmp_path / "here")
    request.output.symlink_to(tmp_path / "there" / "a.h5")
    produce(request)
    assert asked == [tmp_path / "there", tmp_path / "here"]
