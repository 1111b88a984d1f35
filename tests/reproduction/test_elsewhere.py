import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from calogen.errors import CalogenError, TemporaryError
from calogen.process import is_alive
from calogen.reproduction import elsewhere
from calogen.reproduction.elsewhere import run_command, train_elsewhere
from calogen.reproduction.experiment import Arguments

PARENT = """
import sys
from pathlib import Path
from calogen.reproduction.elsewhere import run_command
code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
run_command([sys.executable, "-c", code], Path.cwd(), Path(sys.argv[1]))
"""


def test_a_command_runs_in_its_folder_and_its_texts_go_to_a_file(tmp_path: Path) -> None:
    run_command([sys.executable, "-c", "import os; print(os.getcwd())"], tmp_path, tmp_path / "new" / "one.log")
    assert (tmp_path / "new" / "one.log").read_text() == f"{tmp_path.resolve()}\n"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("raise SystemExit('a: error: no showers')", CalogenError),
        ("raise SystemExit(75)", TemporaryError),
        ("import os; os.kill(os.getpid(), 9)", TemporaryError),
    ],
)
def test_what_a_command_says_last_is_named(code: str, kind: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(
        kind, match=r"one ended with code -?\d+: (a: error: no showers|nothing was said) \(.*one\.log\)"
    ) as raised:
        run_command([sys.executable, "-c", code], tmp_path, tmp_path / "one.log")
    assert type(raised.value) is kind


def test_a_command_ends_with_its_worker(tmp_path: Path) -> None:
    """Also with one that is killed: nothing would hold its lock any longer."""
    log = tmp_path / "one.log"
    with subprocess.Popen([sys.executable, "-c", PARENT, str(log)]) as worker:
        while not (log.exists() and log.read_text().strip()):
            time.sleep(0.05)
        number = int(log.read_text())
        assert is_alive(number)
        os.kill(worker.pid, signal.SIGKILL)
    for _ in range(100):
        if not is_alive(number):
            return
        time.sleep(0.05)
    pytest.fail("it outlives its worker")


def test_each_network_is_a_command_of_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "paper.py"
    script.write_text("import sys; print(*sys.argv[1:])")
    words = [
        "--smoke",
        "--cluster=local:2",
        "--seeds",
        "2",
        "--only",
        "a",
        "--only=b",
        "--runs",
        str(tmp_path),
        "--bfloat16",
    ]
    monkeypatch.setattr(sys, "argv", [str(script), *words])
    monkeypatch.setattr(elsewhere, "worker_pool", lambda where: ThreadPoolExecutor(2))
    arguments = Arguments(preset="smoke", seeds=(1, 2), runs=tmp_path, cluster="local:2")
    train_elsewhere("paper", arguments, [(1, "a"), (2, "a"), (2, "")])
    texts = {str(path.relative_to(tmp_path)): path.read_text().strip() for path in tmp_path.rglob("*.log")}
    kept = f"--preset smoke --runs {tmp_path} --bfloat16"
    assert texts == {
        "paper/smoke-seed1/a.log": f"{kept} --seed 1 --only a",
        "paper/smoke-seed2/a.log": f"{kept} --seed 2 --only a",
        "paper/smoke-seed2/experiment.log": f"{kept} --seed 2",
    }


def test_the_others_go_on_when_a_network_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What died is tried again, what failed is not; a network that may fail stops nothing."""
    script = tmp_path / "paper.py"
    script.write_text(
        "import os, sys\nfrom pathlib import Path\nname = sys.argv[-1]\nbefore = Path(__file__).with_name(name)\n"
        "again = before.exists()\nbefore.write_text(before.read_text() + 'x' if again else 'x')\n"
        "if name == 'dies' and not again:\n    os.kill(os.getpid(), 9)\n"
        "if name in ('bad', 'spare'):\n    sys.exit('no showers')\n"
    )
    monkeypatch.setattr(sys, "argv", [str(script), "--smoke"])
    monkeypatch.setattr(elsewhere, "worker_pool", lambda where: ThreadPoolExecutor(2))
    arguments = Arguments(preset="smoke", seeds=(1,), runs=tmp_path, cluster="local:2")
    names = ["bad", "dies", "spare", "good"]
    with pytest.raises(CalogenError, match=r"^bad ended with code 1: no showers \(.*bad\.log\)$") as raised:
        train_elsewhere("paper", arguments, [(1, name) for name in names], optional=["spare"])
    assert type(raised.value) is CalogenError
    assert {name: (tmp_path / name).read_text() for name in names} == {
        "bad": "x",
        "dies": "xx",
        "spare": "x",
        "good": "x",
    }
    told = capsys.readouterr().err
    assert "dies of smoke-seed1 failed: dies ended with code -9" in told
    assert "dies of smoke-seed1 is done" in told
    train_elsewhere("paper", arguments, [(1, "spare"), (1, "good")], optional=["spare"])
