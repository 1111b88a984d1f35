"""What it takes to fuzz a reader: seeded damage, limits on time and memory, and an eye on what it does besides."""

import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import h5py
import pytest
from conftest import TINY_VOXELS, make_showers

from calogen.errors import CalogenError
from calogen.files import sha256

SECONDS, BYTES = 20, 2**30
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "socket.connect")
forbidden: list[str] = []


@dataclass(frozen=True)
class Input:
    """A kind of input: how to damage it and what reads it."""

    damaged: Callable[[Random], dict[str, bytes]]
    read: Callable[[Path], Any]


@contextmanager
def guarded() -> Iterator[None]:
    """Ends what hangs, and lets no more memory be taken than 1 GiB beyond what is taken already."""

    def stop(*_: Any) -> None:
        raise AssertionError(f"still reading after {SECONDS} s")

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, limits = signal.signal(signal.SIGALRM, stop), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, limits[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def outcome(kind: str, given: Input, seed: int, folder: Path) -> str:
    """What became of a case: read or refused."""
    files = given.damaged(Random(f"{kind} {seed}"))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    before = {path: sha256(path) for path in folder.iterdir()}
    found = "read"
    with guarded():
        try:
            given.read(folder)
        except CalogenError as error:
            found, message = "refused", str(error)
            assert message.encode(), "it can be printed"
            assert len(message) < 1500, "it can be read"
    assert not forbidden, forbidden
    assert {path: sha256(path) for path in folder.iterdir()} == before
    return found


def outcomes(kind: str, given: Input, seeds: range, folder: Path) -> Counter[str]:
    """How many cases of a kind were read and refused."""
    found: Counter[str] = Counter()
    with h5py.File(folder / "other.h5", "w") as file:
        file["showers"] = make_showers(TINY_VOXELS, 12).energies
    for seed in seeds:
        try:
            found[outcome(kind, given, seed, folder)] += 1
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}") from error
    return found


def watched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, now the current one; what is done in the process from now on is watched."""
    monkeypatch.chdir(folder)
    forbidden.clear()  # of what other tests of this process have done since an earlier hook
    seen, names = forbidden.append, FORBIDDEN  # the hook outlives this module's globals
    sys.addaudithook(lambda event, arguments: seen(event) if event in names else None)
    return folder
