import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from calogen.command import EXIT_CODES, clean_exit
from calogen.errors import CalogenError, ConfigError, TemporaryError
from calogen.process import Terminated
from calogen.reproduction.experiment import (
    PRESETS,
    Arguments,
    OwnOption,
    execute,
    open_run,
    parse_arguments,
    run_directory,
)

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def _events(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def test_arguments() -> None:
    assert parse_arguments("", []) == Arguments(preset="laptop", seeds=(1,), runs=Path("runs"))
    given = parse_arguments("", ["--preset", "paper", "--seeds", "3", "--runs", "r", "--results", "s"])
    assert given == Arguments(preset="paper", seeds=(1, 2, 3), runs=Path("r"), results=Path("s"))
    assert parse_arguments("", ["--seed", "4"]).seeds == (4,)
    assert parse_arguments("", ["--preset", "paper", "--smoke"]).preset == "smoke"


def test_options_in_one_text_are_split_but_nothing_is_expanded() -> None:
    text = """--results 'a b' --runs $HOME/`x`$(y)\\;*  --seeds=3"""
    given = parse_arguments("", ["--preset", "smoke", "--options", text])
    assert given == Arguments(preset="smoke", seeds=(1, 2, 3), runs=Path("$HOME/`x`$(y);*"), results=Path("a b"))
    told = "--options must be words as in a shell (No closing quotation). Received: --results 'a b"
    with pytest.raises(ConfigError, match=f"^{re.escape(told)}$"):
        parse_arguments("", ["--options=--results 'a b"])


@pytest.mark.parametrize(
    "arguments", [["--preset", "huge"], ["--seeds", "0"], ["--seed", "-1"], ["--seed", "x"], ["--options=--seed 0"]]
)
def test_wrong_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_arguments("", arguments)
    assert "Error: Invalid value for '--" in capsys.readouterr().err


def test_reports_go_beside_their_runs() -> None:
    one = Arguments(preset="laptop", seeds=(3,), runs=Path("runs"))  # a job of an array overwrites no other's
    assert one.report_directory("atlas_vae") == Path("runs/atlas_vae/laptop-seed3/report")
    five = Arguments(preset="laptop", seeds=(1, 2, 3, 4, 5), runs=Path("runs"))
    assert five.report_directory("atlas_vae") == Path("runs/atlas_vae/laptop-report")


def test_run_directory() -> None:
    assert [run_directory("atlas_vae", preset, 3).as_posix() for preset in PRESETS] == [
        "runs/atlas_vae/smoke-seed3",
        "runs/atlas_vae/laptop-seed3",
        "runs/atlas_vae/paper-seed3",
    ]
    with pytest.raises(ConfigError, match="preset must be one of smoke, laptop, paper, long. Received: huge"):
        run_directory("atlas_vae", "huge", 1)


def test_a_run_is_logged_and_locked(tmp_path: Path) -> None:
    with open_run("atlas_vae", "smoke", 1, tmp_path) as run:
        run.log("trained", loss=0.5)
        assert run.directory == tmp_path / "atlas_vae" / "smoke-seed1"
        assert run.wall_time >= 0
        with pytest.raises(CalogenError, match="is in use"), open_run("atlas_vae", "smoke", 1, tmp_path):
            pytest.fail("the block must not run")
    events = _events(run.directory)
    assert [event["event"] for event in events] == ["started", "trained", "finished"]
    assert events[0]["seed"] == 1
    assert events[1]["loss"] == 0.5


def test_a_failed_run_is_logged_and_resumed_in_the_same_log(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_run("a", "smoke", 1, tmp_path):
        raise KeyboardInterrupt
    with open_run("a", "smoke", 1, tmp_path) as run:
        pass
    assert [event["event"] for event in _events(run.directory)] == ["started", "failed", "started", "finished"]


def test_clean_exit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"), clean_exit("program"):
        raise CalogenError("this is wrong:\n  do that")
    assert capsys.readouterr().err == "program: error: this is wrong: do that\n"
    with pytest.raises(SystemExit, match="130"), clean_exit("program"):
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), clean_exit("program"):
        raise ZeroDivisionError
    capsys.readouterr()
    for error, code in ((TemporaryError("later"), 75), (Terminated(), 143)):
        with pytest.raises(SystemExit, match=f"^{code}$"), clean_exit("program"):
            raise error
    assert capsys.readouterr().err == "program: error: later\nprogram: terminated\n"


def test_exit_codes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parse_arguments("", ["--help"])
    assert EXIT_CODES.split() == capsys.readouterr().out.split()[-len(EXIT_CODES.split()) :]
    told = {int(code) for code in re.findall(r"(?:: |; )(\d+)\b", EXIT_CODES)}
    assert told == {0, 1, CalogenError.exit_code, TemporaryError.exit_code, 130, Terminated().code}


def test_where_results_cannot_go_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["experiments/toy.py", "--results", str(tmp_path / "file")])
    with pytest.raises(SystemExit, match="2"):
        execute(lambda _: pytest.fail("the work must not begin"), "what it does")
    assert "file/results.json: Not a directory; a part of the path is a file" in capsys.readouterr().err


def test_a_wrong_number_of_cores_ends_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CALOGEN_CORES", "many")
    with pytest.raises(SystemExit, match="2"), clean_exit("program"):
        pass
    expected = "program: error: CALOGEN_CORES must be a whole number above 0. Received: 'many'\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("kind", ["same", "symbolic link", "hard link", "copy", "other"])
def test_a_test_file_that_trains_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = tmp_path / "train.h5", tmp_path / ("train.h5" if kind == "same" else "test.h5")
    train.write_bytes(b"showers")
    if kind == "symbolic link":
        test.symlink_to(train)
    elif kind == "hard link":
        test.hardlink_to(train)
    else:
        test.write_bytes(b"another" if kind == "other" else b"showers")
    monkeypatch.setattr("sys.argv", ["toy.py", "--train-data", str(train), "--test-data", str(test)])
    received: list[Arguments] = []
    if kind == "other":
        execute(received.append, "what it does")
        assert received[0].test_data == test
        return
    with pytest.raises(SystemExit, match="2"):
        execute(received.append, "what it does")
    assert not received
    assert f"give another file, or divide this one. Received: {test}, which is {train}" in capsys.readouterr().err


def test_execute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["experiments/atlas_vae.py", "--smoke"])
    received: list[Arguments] = []
    execute(received.append, "what it does")
    assert [arguments.preset for arguments in received] == ["smoke"]


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A checkout in which the experiment only prints its arguments."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, text in ((".venv/bin/python", 'echo "$@"; exec sleep "${SECONDS_TO_RUN:-0}"'), ("scontrol", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    return tmp_path


def _slurm(cluster: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["sh", str(EXPERIMENTS / "slurm.sh"), *arguments],
        cwd=cluster,
        env={"PATH": f"{cluster}:{os.environ['PATH']}"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({}, ["--smoke"], "experiments/atlas_vae.py --preset paper --smoke"),
        ({"SLURM_ARRAY_TASK_ID": "3"}, [], "experiments/atlas_vae.py --preset paper --seed 3"),
    ],
)
def test_slurm_job(cluster: Path, environment: dict[str, str], arguments: list[str], expected: str) -> None:
    with _slurm(cluster, "atlas_vae", *arguments, **environment) as job:
        out, err = job.communicate(timeout=30)
    assert (job.returncode, out.strip(), err) == (0, expected, "")


def test_slurm_job_queues_itself_again_at_the_time_limit(cluster: Path) -> None:
    with _slurm(cluster, "atlas_vae", SLURM_JOB_ID="17", SECONDS_TO_RUN="30") as job:
        assert job.stdout is not None
        assert job.stdout.readline().startswith("experiments/atlas_vae.py")
        job.send_signal(signal.SIGUSR1)
        out, _ = job.communicate(timeout=20)
    assert (job.returncode, out) == (0, "requeue 17\n")


def _try(cluster: Path, code: int, job: str = "17") -> tuple[int, str]:
    """How a job ends whose experiment ends with this code, requeued ever so often before."""
    (cluster / ".venv" / "bin" / "python").write_text(f"#!/bin/sh\nexit {code}\n")
    with _slurm(cluster, "atlas_vae", SLURM_JOB_ID=job, SLURM_RESTART_COUNT="99") as script:
        out, err = script.communicate(timeout=30)
    assert err == ""
    return script.returncode, out


def test_slurm_job_tries_again_what_another_try_may_mend(cluster: Path) -> None:
    before = sorted(cluster.iterdir())
    assert [_try(cluster, 75) for _ in range(10)] == [(0, "requeue 17\n")] * 9 + [(75, "")]
    assert _try(cluster, 75, job="") == (75, "")
    assert sorted(cluster.iterdir()) == before  # a job that has ended leaves no count


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_slurm_job_counts_the_failures_in_a_row_only(cluster: Path, number: int) -> None:
    """Who gets as far as the time limit, or is preempted, has not failed."""
    python = cluster / ".venv" / "bin" / "python"
    working = python.read_text()
    for _ in range(9):
        assert _try(cluster, 75) == (0, "requeue 17\n")
    python.write_text(working)
    with _slurm(cluster, "atlas_vae", SLURM_JOB_ID="17", SECONDS_TO_RUN="30") as job:
        assert job.stdout is not None
        job.stdout.readline()
        job.send_signal(number)
        job.communicate(timeout=20)
    assert _try(cluster, 75) == (0, "requeue 17\n")
    assert _try(cluster, 0) == (0, "")


@pytest.mark.parametrize("code", [0, 2, 75])
def test_slurm_job_that_cannot_count_is_not_endless(cluster: Path, code: int) -> None:
    (cluster / "calogen-17.failures").mkdir()
    (cluster / ".venv" / "bin" / "python").write_text(f"#!/bin/sh\nexit {code}\n")
    with _slurm(cluster, "atlas_vae", SLURM_JOB_ID="17") as script:
        out, _ = script.communicate(timeout=30)
    assert (script.returncode, out) == (code, "")


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGUSR1, (0, "requeue 17\n")), (signal.SIGTERM, (143, ""))])
def test_slurm_job_ends_its_experiment_in_order(cluster: Path, number: int, expected: tuple[int, str]) -> None:
    """A real experiment, which says in its log how it ended, before the job does."""
    code = "import time; from calogen.command import clean_exit; from calogen.reproduction.experiment import open_run\n"
    code += "with clean_exit('toy'), open_run('toy', 'smoke', 1, 'runs'): print('begun', flush=True); time.sleep(60)"
    (cluster / "toy.py").write_text(code)
    python = cluster / ".venv" / "bin" / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} toy.py\n")
    with _slurm(cluster, "toy", SLURM_JOB_ID="17", PYTHONPATH=str(EXPERIMENTS.parent)) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "begun\n"
        script.send_signal(number)
        out, err = script.communicate(timeout=30)
    assert (script.returncode, out, err) == (*expected, "toy: terminated\n")
    assert [event["event"] for event in _events(cluster / "runs/toy/smoke-seed1")] == ["started", "terminated"]


def test_slurm_job_needs_a_paper_and_passes_failures_on(cluster: Path) -> None:
    with _slurm(cluster) as job:
        assert "usage: sbatch" in job.communicate(timeout=30)[1]
    assert job.returncode != 0
    with _slurm(cluster, "atlas_vae", SECONDS_TO_RUN="nonsense") as job:
        job.communicate(timeout=30)
    assert job.returncode == 1


OWN = {
    "--ablation": OwnOption("More."),
    "--learning-rate": OwnOption("Of the optimizer.", float, 0.1),
}


def test_an_experiment_has_options_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parse_arguments("", [], OWN).options == {"ablation": False, "learning_rate": 0.1}
    given = ["--learning-rate", "2", "--smoke", "--ablation"]
    assert parse_arguments("", given, OWN).options == {"ablation": True, "learning_rate": 2.0}
    assert parse_arguments("", []).options == {}
    with pytest.raises(SystemExit, match="2"):
        parse_arguments("", ["--ablation"])
    assert "No such option: --ablation" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["experiments/toy.py", *given])
    received: list[Arguments] = []
    execute(received.append, "what it does", OWN)
    assert received[0].options["ablation"]


def test_test_data_goes_with_train_data(capsys: pytest.CaptureFixture[str]) -> None:
    both = parse_arguments("", ["--train-data", "a", "--test-data", "b"])
    assert (both.train_data, both.test_data) == (Path("a"), Path("b"))
    assert parse_arguments("", ["--train-data", "a"]).test_data is None
    with pytest.raises(SystemExit, match="2"):
        parse_arguments("", ["--test-data", "b"])
    assert "--test-data goes with --train-data" in capsys.readouterr().err


def test_the_first_edition_is_of_the_bundled_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_arguments("", ["--first-edition"]).first_edition
    assert not parse_arguments("", []).first_edition
    with pytest.raises(SystemExit, match="2"):
        parse_arguments("", ["--train-data", "a", "--first-edition"])
    assert "your own --train-data is taken whole" in capsys.readouterr().err
