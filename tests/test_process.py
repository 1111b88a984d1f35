"""Real processes: signals, workers, and streams that vanish under them."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from calogen.errors import CalogenError
from calogen.locks import directory_lock
from calogen.process import Lenient, is_alive, orderly, show, sifted_stderr, start_of, tell

_RUN = """
import sys, time
from pathlib import Path
from calogen.command import clean_exit
from calogen.reproduction.experiment import open_run
from calogen.files import atomic_path
with clean_exit("toy"), open_run("toy", "smoke", 1, sys.argv[1]) as run, atomic_path(run.directory / "a.txt") as path:
    try:
        path.write_text("half")
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(float(sys.argv[2]))
"""


def start(script: str, *arguments: object, **options: Any) -> "subprocess.Popen[str]":
    """A process that has printed its first line."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if ".partial" in path.name]


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("signals", [1, 2])
def test_sigterm_is_an_orderly_end(tmp_path: Path, signals: int) -> None:
    folder = tmp_path / "toy" / "smoke-seed1"
    with start(_RUN, tmp_path, 0.3 if signals == 2 else 0) as run:
        assert len(unfinished(folder)) == 1
        run.terminate()
        assert run.stdout is not None
        assert run.stdout.readline() == "ending\n"
        if signals == 2:  # a second one does not cut the end short
            run.terminate()
        _, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (143, "toy: terminated\n")
    assert unfinished(folder) == []
    events = [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert events == ["started", "terminated"]
    assert (folder / ".lock").read_text() == ""


def test_what_a_killed_run_leaves_is_swept_by_the_next_holder_of_its_lock(tmp_path: Path) -> None:
    folder = tmp_path / "toy" / "smoke-seed1"
    with start(_RUN, tmp_path, 0) as run:
        (folder / "deeper").mkdir()
        (folder / "deeper" / unfinished(folder)[0]).write_text("of the same process")
        run.kill()
        run.communicate()
    assert run.returncode == -signal.SIGKILL
    assert len(unfinished(folder)) == 2
    with directory_lock(folder):
        assert unfinished(folder) == []


_POOL = """
import multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from calogen.files import atomic_path
from calogen.process import prepare_worker

def work(folder):
    with atomic_path(Path(folder, "a.txt")) as path:
        path.write_text("half")
        time.sleep(60)

if __name__ == "__main__":
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), prepare_worker) as pool:
        task = pool.submit(work, sys.argv[1])
        while not any(".partial" in path.name and path.stat().st_size == 4 for path in Path(sys.argv[1]).iterdir()):
            time.sleep(0.01)
        print(multiprocessing.active_children()[0].pid, flush=True)
        task.result()
"""


@pytest.mark.parametrize("killed", ["parent", "worker"])
def test_a_worker_ends_with_its_parent_and_leaves_nothing(tmp_path: Path, killed: str) -> None:
    script, folder = tmp_path / "pool.py", tmp_path / "out"
    script.write_text(_POOL)
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        if killed == "parent":
            parent.kill()
        else:
            os.kill(worker, signal.SIGTERM)
        _, err = parent.communicate(timeout=20)
    wait_until(lambda: not is_alive(worker))
    assert unfinished(folder) == []
    assert ("BrokenProcessPool" in err) == (killed == "worker")


_WORK = """
import os, sys, time
from pathlib import Path
from calogen import progress
from calogen.command import clean_exit
from calogen.files import write_text
progress._QUIET_SECONDS = progress._LINE_SECONDS = 0.0
with clean_exit("toy"):
    print("ready", flush=True)
    with progress.progress("working", 20) as bar:
        for number in range(20):
            bar.note(f"number {number}")
            bar.advance()
            print("a word", file=sys.stderr)
            time.sleep(0.02 if len(sys.argv) < 3 else float(sys.argv[2]))
    with open(sys.argv[1] + ".open", "w") as file:
        numbers = file.fileno()
    write_text(sys.argv[1], str(numbers))
    print("the file is", sys.argv[1], "\\u00b1 nothing")
"""


@pytest.mark.parametrize(
    "streams",
    [
        "2>&-",
        ">&-",
        "<&- >&- 2>&-",
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>/dev/full",
        "| true",
        "2>&1 >/dev/null | true",
        "2>&1 | true",
    ],
)
def test_no_stream_ends_the_work(tmp_path: Path, streams: str) -> None:
    """Closed, full, or with a reader that is gone: the file is written, and the exit code is 0."""
    target, script = tmp_path / "out.txt", tmp_path / "work.py"
    script.write_text(_WORK)
    command = f'{{ "$0" "$1" "$2"; echo $? >"$2.code"; }} {streams}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, str(script), str(target)], capture_output=True, text=True, check=False
    )
    assert Path(f"{target}.code").read_text() == "0\n", done.stderr
    assert int(target.read_text()) > 2  # no file takes the place of a closed stream, where libraries print
    assert "Exception" not in done.stderr


def test_what_a_stream_cannot_spell_is_spelled_otherwise(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", _WORK, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.endswith("\\xb1 nothing\n")


@pytest.mark.parametrize("hangup", ["terminal", "signal"])
def test_a_work_goes_on_when_its_terminal_is_gone(tmp_path: Path, hangup: str) -> None:
    target = tmp_path / "out.txt"
    pid, terminal = pty.fork()
    if pid == 0:  # the leader of the terminal's session: it gets SIGHUP
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", _WORK, str(target), "0.05"])
    shown = b""
    while b"working" not in shown:
        shown += os.read(terminal, 1000)
    if hangup == "signal":
        os.kill(pid, signal.SIGHUP)
    else:
        os.close(terminal)
    while hangup == "signal":
        try:
            os.read(terminal, 1000)
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert target.exists()


@pytest.mark.parametrize(
    ("streams", "code", "message"),
    [(">/dev/full", 2, "cannot write to the standard output: "), ("| true", 0, ""), (">&-", 0, "")],
)
def test_what_a_command_is_there_to_print_must_arrive(streams: str, code: int, message: str, tmp_path: Path) -> None:
    command = f'{{ "$0" -c "$1"; echo $? >"$2"; }} {streams}'
    script = "from calogen.command import clean_exit\nfrom calogen.process import show\n"
    script += "import time\nwith clean_exit('toy'):\n    time.sleep(0.1)\n    show('numbers')"
    arguments = ["bash", "-c", command, sys.executable, script, str(tmp_path / "code")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert int((tmp_path / "code").read_text()) == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == bool(message)


def test_streams_and_signals_are_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    with pytest.raises(KeyboardInterrupt), orderly():
        show("shown")
        tell("told")
        assert isinstance(sys.stdout, Lenient)
        raise KeyboardInterrupt
    assert (sys.stdout, sys.stderr, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before
    assert capsys.readouterr() == ("shown\n", "told\n")


def test_nothing_is_told_without_a_stream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    closed = (tmp_path / "log").open("w")
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        tell("told")
    monkeypatch.setattr(sys, "stdout", Lenient(closed))
    with pytest.raises(CalogenError, match="cannot write to the standard output: I/O operation on closed file"):
        show("shown")


def test_processes_are_told_from_their_numbers_successors() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        begun = start_of(other.pid)
        assert begun is not None
        assert is_alive(other.pid, begun)
        assert not is_alive(other.pid, str(int(begun) - 1))
        other.communicate(b"\n")
    assert not is_alive(other.pid, begun)
    assert not is_alive(2**40)


_SIFTED = """
import os, sys
from calogen.process import sifted_stderr
with sifted_stderr("drop|E.*cuInit"):
    os.write(2, b"drop this\\nE0 cuInit\\nkeep drop\\n")
    print("of Python", file=sys.stderr)
    sys.argv[1:] and os.abort()
os.write(2, b"drop nothing here\\n")
"""


@pytest.mark.parametrize("aborts", [False, True])
def test_lines_of_stderr_are_left_out(aborts: bool) -> None:
    """What a library says before it aborts arrives."""
    found = subprocess.run(
        [sys.executable, "-c", _SIFTED, *["x"] * aborts], capture_output=True, text=True, check=False
    )
    assert found.stderr.splitlines()[:2] == ["keep drop", "of Python"]
    assert found.stderr.splitlines()[2:] == ([] if aborts else ["drop nothing here"])
    assert found.returncode == (-signal.SIGABRT if aborts else 0)


def test_stderr_that_cannot_be_sifted_stays(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with sifted_stderr("drop"):
        os.write(2, b"drop this\n")
    assert capfd.readouterr().err == "drop this\n"
