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
    "model", ["gan", pytest.param("wgan", marks=pytest.mark.slow), pytest.param("bib_ae", marks=pytest.mark.slow)]
)
def test_a_training_that_is_killed_in_every_stage_ends_with_the_same_bits(model: str, tmp_path: Path) -> None:
    """All processes are of their own: what other tests left in this one decides how sums are rounded, too."""
    stages, quiet = runpy.run_path(str(WORKER))["MODELS"][model][2], os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}

    def start(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(WORKER), model, str(tmp_path / name)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=quiet)

    for stage in range(stages):
        process = start("killed")
        while process.poll() is None and not any(
            row.get("stage", 0) == stage for row in state(tmp_path / "killed").history
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"it was over before it was killed in stage {stage}"
    assert [process.wait() for process in (start("killed"), start("whole"))] == [0, 0]
    whole, killed = state(tmp_path / "whole"), state(tmp_path / "killed")
    assert {row.get("stage", 0) for row in whole.history} == set(range(stages))
    assert len(whole.threads) == 1, "the bits are promised for one number of threads"
    assert killed.threads == whole.threads
    for name in ("weights", "optimizer"):
        pairs = zip(getattr(killed, name), getattr(whole, name), strict=True)
        assert all(ours.tobytes() == theirs.tobytes() for ours, theirs in pairs), name
    losses = [[{**row, "seconds": 0, "cpu_seconds": 0} for row in item.history] for item in (whole, killed)]
    assert losses[0] == losses[1]
