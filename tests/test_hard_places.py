"""Where batch jobs run: no locks, no home, strict modes, jumping clocks, quotas, several hosts."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parent / "support"
CHAIN = """
import os, sys
from calogen.cli.main import main

os.umask(0o077)
for words in (
    ["train", "atlas-vae", "--set", "epochs=1", "--set", "encoder_units=[8]", "--set", "decoder_units=[8]"]
    + ["--output", "run"],
    ["generate", "run", "--energies", "65536", "--showers", "70000", "--files", "2", "--output", "made.h5"],
    ["generate", "run", "--energies", "65536", "--showers", "30", "--output", "some.h5"],
    ["inspect", "made.h5"],
    ["evaluate", "--reference", "some.h5", "--generated", "A=some.h5", "--classifiers", "0", "--output", "report"],
    ["export", "run", "--output", "exported"],
):
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library without locks and with a clock that jumps."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("hard_places") / "hard_places.so"
    source = str(SUPPORT / "hard_places.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", str(library), source], check=True)
    return library


def test_commands_work_in_the_worst_of_places(tmp_path: Path, preloaded: Path) -> None:
    """No locks, a clock that jumps by days, a home that cannot be written, TMPDIR elsewhere, umask 077, no terminal."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "XDG", "KERAS"))}
    environment = bare | {"LD_PRELOAD": str(preloaded), "HOME": "/proc", "TMPDIR": str(elsewhere)}
    done = subprocess.run(
        [sys.executable, "-c", CHAIN], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for fault in ("Traceback", "HDF5-DIAG", "HDF5_USE_FILE_LOCKING"):
        assert fault not in done.stderr
    assert "is on a file system without locks" in done.stderr
    assert [path for path in elsewhere.rglob("*") if path.is_file() and path.suffix != ".pyc"] == []
    made = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {"made.h5", "report.html", "config.json"} <= {path.name for path in made}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
    assert not [path for path in made if ".partial" in path.name]


QUOTA = """
import resource, sys
from pathlib import Path
from calogen.cli.main import main

def end(words):
    sys.argv[1:] = words
    print("#", words[0], file=sys.stderr, flush=True)
    try:
        main()
    except SystemExit as error:
        return error.code or 0
    return 0

for words in (
    ["train", "atlas-vae", "--set", "epochs=1", "--set", "encoder_units=[32]", "--set", "decoder_units=[32]"]
    + ["--output", "run"],
    ["generate", "run", "--energies", "65536", "--showers", "100", "--output", "some.h5"],
    ["inspect", "some.h5", "--draw", "some.png"],
    ["evaluate", "--reference", "some.h5", "--generated", "A=some.h5", "--classifiers", "0", "--output", "report"],
    ["export", "run", "--output", "exported"],
):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
    code = end(words)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert code == 2, (words[0], code)
    assert not [path for path in Path().rglob("*") if path.suffix == ".partial" or ".partial." in path.name]
    assert end(words) == 0, words[0]
"""


def test_a_quota_ends_every_command_in_order_and_the_next_goes_on(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", QUOTA], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    faults = [line for line in done.stderr.splitlines() if line.startswith("calogen: error:")]
    assert len(faults) == 5, done.stderr
    assert all("cannot write" in line and "File too large" in line for line in faults), faults


HOLDER = """
import sys
from calogen.locks import directory_lock

with directory_lock("run", wait=0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("locks", [True, False])
def test_a_lock_tells_two_hosts_apart(locks: bool, tmp_path: Path, preloaded: Path) -> None:
    """With locks the other host is respected, and gone when it dies; without, it is named, and cannot be seen."""
    if subprocess.run(["unshare", "--uts", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a second name of this host needs root")
    name = ["unshare", "--uts", "sh", "-c", "hostname other-host && exec " + " ".join([sys.executable, "-c", '"$0"'])]
    environment = dict(os.environ) | ({} if locks else {"LD_PRELOAD": str(preloaded)})

    def take() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", HOLDER],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    with subprocess.Popen(
        [*name, HOLDER], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        second = take()
        holder.kill()
        holder.wait()
    third = take()
    assert third.returncode == 0, third.stderr
    named = f"process {holder.pid} on other-host since "
    unseen = "(another machine: whether it still runs cannot be seen from here)"
    if locks:
        assert second.returncode != 0
        assert f"run is in use by {named}" in second.stderr
        assert unseen in second.stderr
    else:
        assert second.returncode == 0
        assert "warning: run is on a file system without locks" in second.stderr
        assert f"{named}" in second.stderr
        assert f"{unseen} was the last to use it" in second.stderr
