"""What a reproduction says first."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.plan import announce, recorded_seconds

NETWORKS = {name: AtlasVaeConfig(epochs=400) for name in ("vae", "absolute")}


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results beside the script, with the seconds of its trainings."""
    training = {"1": {"vae": {"training_seconds": 600.0}, "absolute": {"training_seconds": 1200.0}}}
    about = {"preset": "laptop", "device": "CPU", "training": training}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "toy.json").write_text(json.dumps({"provenance": about}))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "toy.py")])
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], preset: str = "laptop", **more: Any) -> str:
    given = {"seeds": (1,), "runs": Path("runs"), **more}
    announce("toy", Arguments(preset=preset, **given), NETWORKS, 1)
    output = capsys.readouterr()
    assert output.out == ""
    return output.err


def test_networks_times_and_places(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys).splitlines() == [
        "toy, preset laptop, seed 1: 2 networks (vae, 400 epochs; absolute, 400 epochs), then a comparison with Geant4",
        "trainings take about 30 minutes, as recorded with the published results on a CPU; runs go to "
        "runs/toy/laptop-seed1; what was interrupted goes on",
    ]
    several = told(capsys, seeds=(1, 2))
    assert "2 seeds: 2 networks, 1 of them with the first seed only (" in several
    assert "about 45 minutes" in several
    assert "laptop-seed1 and others beside it" in several


def test_times_that_are_not_known_are_not_told(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "about" not in told(capsys, "paper")
    assert "about" not in told(capsys, train_data=Path("mine.h5"))
    for damaged in ("{}", "[]", '{"provenance": {"preset": "laptop", "device": "CPU", "training": {"1": 5}}}'):
        (recorded / "results" / "toy.json").write_text(damaged)
        assert recorded_seconds("toy", "laptop") == {}
