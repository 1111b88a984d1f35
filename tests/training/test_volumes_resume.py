"""Trainings of 3-D models that are killed, once in each of their stages."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from calogen.training.state import TrainingState, read_state

WORKER = Path(__file__).parent / "volumes_worker.py"


def state(directory: Path) -> TrainingState:
    """The last checkpoint, whatever its identity; the state before the training if there is none."""
    path = directory / "checkpoint.npz"
    if not path.exists():
        return TrainingState()
    with np.load(path) as content:
        identity = json.loads(content["about"].tobytes())["identity"]
    return read_state(path, identity)


@pytest.mark.parametrize(
    "model", ["bib_ae", pytest.param("wgan", marks=pytest.mark.slow), pytest.param("gan", marks=pytest.mark.slow)]
)
def test_a_training_that_is_killed_in_every_stage_ends_with_the_same_bits(model: str, tmp_path: Path) -> None:
    worker = runpy.run_path(str(WORKER))
    stages = worker["MODELS"][model][2]
    for stage in range(stages):
        process = subprocess.Popen(
            [sys.executable, str(WORKER), model, str(tmp_path / "killed")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        while process.poll() is None and not any(
            row.get("stage", 0) == stage for row in state(tmp_path / "killed").history
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"it was over before it was killed in stage {stage}"
    worker["main"](model, tmp_path / "killed")
    worker["main"](model, tmp_path / "whole")
    whole, killed = state(tmp_path / "whole"), state(tmp_path / "killed")
    assert {row.get("stage", 0) for row in whole.history} == set(range(stages))
    for name in ("weights", "optimizer"):
        ours, theirs = getattr(killed, name), getattr(whole, name)
        assert [array.tobytes() for array in ours] == [array.tobytes() for array in theirs], name
    losses = [[{**row, "seconds": 0, "cpu_seconds": 0} for row in item.history] for item in (whole, killed)]
    assert losses[0] == losses[1]
