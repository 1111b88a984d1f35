"""The submit files as HTCondor's own parser reads them; no pool has run them."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from calogen.cluster import worker_pool
from calogen.errors import CalogenError, TemporaryError
from calogen.process import Terminated

htcondor = pytest.importorskip("htcondor2", reason="htcondor has no wheel for this platform")

SUBMIT = Path(__file__).parents[1] / "experiments" / "htcondor.sub"


def submitted(*given: str) -> Any:
    """What HTCondor makes of the file after `condor_submit NAME=VALUE ...`."""
    return htcondor.Submit("\n".join([*given, SUBMIT.read_text(encoding="utf-8")]))


def test_a_job_is_an_experiment_with_its_options() -> None:
    job = submitted("paper = atlas_vae", "options = --seeds 5")
    assert job.expand("arguments") == "experiments/atlas_vae.py --preset paper --seeds 5"
    assert submitted("paper = atlas_vae").expand("arguments").strip() == "experiments/atlas_vae.py --preset paper"
    assert job["request_gpus"] == "1"
    # what is held for its time must have ended before CERN removes it
    assert int(job["MY.MaxRuntime"]) > int(job["allowed_execute_duration"]) + int(job["job_max_vacate_time"])
    assert job["kill_sig"] == "SIGTERM"
    assert int(job["max_retries"]) < 10  # CERN removes what starts more often


@pytest.mark.parametrize(
    ("code", "by_signal", "fate"),
    [
        (0, False, "removed"),
        (CalogenError.exit_code, False, "held"),
        (1, False, "held"),
        (TemporaryError.exit_code, False, "again"),
        (Terminated().code, False, "again"),
        (0, True, "again"),  # HTCondor knows no exit code of what a signal has ended
    ],
)
def test_condor_knows_what_another_try_mends(code: int, by_signal: bool, fate: str) -> None:
    import classad2

    ended = classad2.ClassAd({"ExitCode": code, "ExitBySignal": by_signal})
    job = submitted("paper = atlas_vae")
    hold, remove = (classad2.ExprTree(job[name]).eval(ended) for name in ("on_exit_hold", "on_exit_remove"))
    assert fate == ("held" if hold else "removed" if remove else "again")


def test_workers_are_jobs_that_htcondor_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented example; its jobs are not submitted."""
    import dask_jobqueue

    text = (SUBMIT.parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")
    example = re.search(r"^    htcondor:.*?^    jobs: \d+$", text, re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / "cluster.yaml").write_text(re.sub("^    ", "", example[0], flags=re.MULTILINE))
    scripts = []

    def adapt(cluster: Any, minimum_jobs: int, maximum_jobs: int) -> None:
        assert minimum_jobs == maximum_jobs
        scripts.append((minimum_jobs, cluster.job_script()))

    monkeypatch.setattr(dask_jobqueue.HTCondorCluster, "adapt", adapt)
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    with worker_pool(str(tmp_path / "cluster.yaml")):
        pass
    ((number, script),) = scripts
    job = htcondor.Submit(script)
    assert number == 50
    assert job["MY.JobFlavour"] == '"tomorrow"'
    assert job["Executable"] == "/bin/sh"
    for part in ("export CALOGEN_CORES=1", f"{sys.executable} -m distributed.cli.dask_worker", "--nworkers 8"):
        assert part in job["Arguments"]
    assert job["Arguments"].rstrip("\"'").endswith("--nthreads 1")
