import errno
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import Mock

import pytest
import requests
from file_server import BODIES, FIRST, Server
from toy_commands import steps

from calogen.cli import main as cli
from calogen.errors import CalogenError, TemporaryError
from calogen.progress import Progress
from calogen.showers.download import DATASETS, RECORDS, download


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    registry = {name: f"md5:{hashlib.md5(body).hexdigest()}" for name, body in BODIES.items()}
    monkeypatch.setitem(DATASETS, "tiny", registry)
    monkeypatch.delenv("CALOGEN_DATA", raising=False)
    with Server() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.stop.set()
        running.shutdown()
        thread.join()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_the_published_files() -> None:
    assert {name: list(files) for name, files in DATASETS.items()} == {
        "calochallenge-photons": ["dataset_1_photons_1.hdf5", "dataset_1_photons_2.hdf5"],
        "calochallenge-pions": ["dataset_1_pions_1.hdf5", "dataset_1_pions_2.hdf5"],
    }
    hashes = [known for files in DATASETS.values() for known in files.values()]
    assert len({len(known) for known in hashes}) == 1
    assert len(set(hashes)) == 4


def test_files_come_once(server: Server, tmp_path: Path) -> None:
    paths = download("tiny", tmp_path / "new" / "folder", server.url)
    assert paths == [tmp_path / "new" / "folder" / name for name in BODIES]
    assert files_in(paths[0].parent) == BODIES
    assert download("tiny", tmp_path / "new" / "folder", server.url + "/") == paths
    assert server.asked == ["tiny_1.hdf5", "tiny_2.hdf5"]
    paths[0].write_bytes(b"changed")
    download("tiny", paths[0].parent, server.url)
    assert server.asked[2:] == ["tiny_1.hdf5"]
    assert files_in(paths[0].parent) == BODIES


def test_where_files_go(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    assert download("tiny", base_url=server.url)[0] == tmp_path / "cache" / "calogen" / "tiny_1.hdf5"
    monkeypatch.setenv("CALOGEN_DATA", str(tmp_path / "data"))
    assert download("tiny", base_url=server.url)[0] == tmp_path / "data" / "tiny_1.hdf5"
    assert download("tiny", str(tmp_path / "output"), server.url)[0] == tmp_path / "output" / "tiny_1.hdf5"


def test_an_interrupted_download_is_resumed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    def count(_: Progress, n: int = 1) -> None:
        counted.append(n)
        if sum(counted) == 300:
            raise KeyboardInterrupt

    monkeypatch.setattr("calogen.showers.download._CHUNK", 100)
    monkeypatch.setattr(Progress, "advance", count)
    with pytest.raises(KeyboardInterrupt):
        download("tiny", tmp_path, server.url)
    assert files_in(tmp_path) == {"tiny_1.hdf5.part": FIRST[:300]}
    download("tiny", tmp_path, server.url)
    assert server.asked == ["tiny_1.hdf5", "tiny_1.hdf5 bytes=300-", "tiny_2.hdf5"]
    assert files_in(tmp_path) == BODIES
    assert counted == [100, 100, 100, 100, 100, 12, 100, 20]


@pytest.mark.parametrize(
    ("mode", "part", "asked"),
    [
        ("good", FIRST[:300], ["tiny_1.hdf5 bytes=300-"]),
        ("no ranges", FIRST[:300], ["tiny_1.hdf5 bytes=300-"]),
        ("other range", FIRST[:300], ["tiny_1.hdf5 bytes=300-", "tiny_1.hdf5"]),
        ("good", FIRST + b"more", ["tiny_1.hdf5 bytes=516-", "tiny_1.hdf5"]),
        ("good", b"", ["tiny_1.hdf5"]),
    ],
)
def test_parts_of_every_kind(server: Server, tmp_path: Path, mode: str, part: bytes, asked: list[str]) -> None:
    server.mode = mode
    (tmp_path / "tiny_1.hdf5.part").write_bytes(part)
    download("tiny", tmp_path, server.url)
    assert files_in(tmp_path) == BODIES
    assert server.asked == [*asked, "tiny_2.hdf5"]


@pytest.mark.parametrize("mode", ["missing", "truncated"])
def test_faults_leave_no_open_connection(
    mode: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[requests.Response] = []
    get = requests.get

    def remembered(*args: Any, **options: Any) -> requests.Response:
        answers.append(get(*args, **options))
        return answers[-1]

    monkeypatch.setattr(requests, "get", remembered)
    server.mode = mode
    with pytest.raises(CalogenError):
        download("tiny", tmp_path, server.url)
    assert [answer.raw.closed for answer in answers] == [True]


def test_truncated_bodies_are_kept_and_resumed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calogen.showers.download._CHUNK", 10)
    server.mode = "truncated"
    for received in (50, 100):
        with pytest.raises(CalogenError, match="cannot download .*tiny_1.*: .*it goes on where it stopped"):
            download("tiny", tmp_path, server.url)
        assert files_in(tmp_path) == {"tiny_1.hdf5.part": FIRST[:received]}
    server.mode = "good"
    download("tiny", tmp_path, server.url)
    assert files_in(tmp_path) == BODIES


def test_a_library_that_misses_the_truncation(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests.Response, "iter_content", lambda *_: iter([FIRST[:50]]))
    with pytest.raises(CalogenError, match="the connection ended before the file did"):
        download("tiny", tmp_path, server.url)
    assert files_in(tmp_path) == {"tiny_1.hdf5.part": FIRST[:50]}


@pytest.mark.parametrize("part", [b"", b"not this file"])
def test_corrupted_files_are_deleted(server: Server, tmp_path: Path, part: bytes) -> None:
    server.mode = "good" if part else "corrupted"
    (tmp_path / "tiny_1.hdf5.part").write_bytes(part)
    with pytest.raises(TemporaryError, match=r"tiny_1\.hdf5 must have md5:.*deleted; run the command again"):
        download("tiny", tmp_path, server.url)
    assert files_in(tmp_path) == {}
    server.mode = "good"
    download("tiny", tmp_path, server.url)
    assert files_in(tmp_path) == BODIES


def test_a_bad_file_does_not_replace_a_finished_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny_1.hdf5").write_bytes(b"of another release")
    server.mode = "corrupted"
    with pytest.raises(TemporaryError):
        download("tiny", tmp_path, server.url)
    assert files_in(tmp_path) == {"tiny_1.hdf5": b"of another release"}


def exit_of_main(monkeypatch: pytest.MonkeyPatch, name: str, output: Path, base_url: str) -> int:
    """The exit code of `calogen download`."""
    monkeypatch.setattr("calogen.showers.download.download", partial(download, base_url=base_url))
    monkeypatch.setattr(sys, "argv", ["calogen", "download", name, "--output", str(output)])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    return int(exit_info.value.code or 0)


@pytest.mark.parametrize(
    ("mode", "code", "message"),
    [
        ("missing", 2, "404"),
        ("truncated", 75, "IncompleteRead"),
        ("corrupted", 75, "deleted; run the command again"),
        ("silent", 75, "timed out"),
        ("refused", 75, "Connection refused"),
        (
            "unknown",
            2,
            "public data sets are calochallenge-photons, calochallenge-pions, tiny, getting-high. Received: other",
        ),
        ("endless", 2, "must have at most 300 bytes. Received: more, now deleted; check the address"),
        ("too long", 2, "must have at most 300 bytes. Received: more, now deleted; check the address"),
        ("no address", 2, "Invalid URL"),
        ("in use", 75, "is in use by process"),
    ],
)
def test_faults_are_one_line_that_says_whether_another_try_helps(
    mode: str,
    code: int,
    message: str,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("calogen.showers.download._TIMEOUT", 0.2)
    monkeypatch.setattr("calogen.locks.WAIT", 0.0)
    if mode in ("endless", "too long"):
        monkeypatch.setattr("calogen.showers.download.LARGEST", 300)
    server.mode, url, output = mode, server.url, tmp_path / "data"
    if mode == "refused":
        with socket.create_server(("127.0.0.1", 0)) as unused:
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    if mode == "no address":
        url = "http://"
    if mode == "in use":
        output.mkdir()
        held = "from calogen.locks import directory_lock\nwith directory_lock({!r}): print(flush=True); input()"
        holder = subprocess.Popen(
            [sys.executable, "-c", held.format(str(output))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        holder.stdout.readline()
    assert exit_of_main(monkeypatch, "other" if mode == "unknown" else "tiny", output, url) == code
    if mode == "in use":
        holder.communicate(b"\n")
    out, err = capfd.readouterr()
    assert out == ""
    *plan, line = err.splitlines()
    assert [text[:16] for text in plan] == ([] if mode == "unknown" else ["downloading tiny"])
    assert line.startswith("calogen: error: ")
    assert message in line
    left = files_in(output) if output.exists() else {}
    assert left == ({"tiny_1.hdf5.part": b""} if mode == "truncated" else {})


def test_a_full_disk_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny_1.hdf5.part").symlink_to("/dev/full")
    with pytest.raises(
        CalogenError, match=r"cannot write .*tiny_1\.hdf5: No space left on device; free some space, or"
    ):
        download("tiny", tmp_path, server.url)
    assert not (tmp_path / "tiny_1.hdf5").exists()


def test_a_failing_disk_is_worth_another_try(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("calogen.showers.download.os.replace", fail)
    with pytest.raises(TemporaryError, match=r"cannot write .*tiny_1\.hdf5: Input/output error"):
        download("tiny", tmp_path, server.url)


def test_unwritable_directories_are_named(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CalogenError, match="cannot write .*; a part of the path is a file: choose another path"):
            download("tiny", path, server.url)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("calogen.locks.os.open", refuse)
    with pytest.raises(CalogenError, match="cannot write .*Permission denied; choose a path that you may write to"):
        download("tiny", tmp_path, server.url)
    assert server.asked == []


def test_finished_files_need_no_permission_to_write(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that others fill."""
    paths = download("tiny", tmp_path, server.url)
    monkeypatch.setattr("calogen.locks.os.open", lambda *_: pytest.fail("nothing must be written"))
    assert download("tiny", tmp_path, server.url) == paths


def test_space_is_there_before_the_download(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Mock(free=511))  # of 512 bytes
    with pytest.raises(CalogenError, match=r"cannot write .*tiny_1\.hdf5: it needs .* of free space"):
        download("tiny", tmp_path, server.url)
    assert files_in(tmp_path) == {}


_DOWNLOAD = """
import sys
from calogen.showers import download
download.DATASETS["tiny"] = {{"tiny_1.hdf5": "md5:0", "tiny_2.hdf5": "md5:0"}}
download._CHUNK = 10
print("ready", flush=True)
download.download("tiny", {0!r}, {1!r})
"""


def test_a_killed_download_leaves_what_the_next_one_completes(server: Server, tmp_path: Path) -> None:
    server.mode = "stalled"
    part = tmp_path / "tiny_1.hdf5.part"
    with subprocess.Popen([sys.executable, "-c", _DOWNLOAD.format(str(tmp_path), server.url)]) as killed:
        while not (part.exists() and part.stat().st_size):
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    server.mode = "good"
    assert list(files_in(tmp_path)) == ["tiny_1.hdf5.part"]
    start = part.stat().st_size
    download("tiny", tmp_path, server.url)
    assert files_in(tmp_path) == BODIES
    assert server.asked == ["tiny_1.hdf5", f"tiny_1.hdf5 bytes={start}-", "tiny_2.hdf5"]


def test_the_command_prints_the_files(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of_main(monkeypatch, "tiny", tmp_path, server.url) == 0
    shown = capsys.readouterr()
    assert shown.out == "".join(f"{tmp_path / name}\n" for name in BODIES)
    first, *_ = shown.err.splitlines()
    assert first.startswith(f"downloading tiny into {tmp_path}: tiny_1.hdf5, tiny_2.hdf5, 350 MB or less")
    assert steps(shown.err)[1] == ["calogen", "inspect", str(tmp_path / "tiny_2.hdf5")]
    assert exit_of_main(monkeypatch, "tiny", tmp_path, server.url) == 0
    assert "downloading" not in capsys.readouterr().err


def test_the_command_line_starts_without_pooch() -> None:
    check = "import sys, calogen.cli.main; sys.exit(','.join({'pooch', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) in ((0, ""), (1, "\n")), done.stderr


def describe(server: Server, **changes: Any) -> None:
    """The server's answer of Zenodo's kind: one file, with its md5 sum and its address."""
    file = {
        "key": "tiny_1.hdf5",
        "size": len(FIRST),
        "checksum": f"md5:{hashlib.md5(FIRST).hexdigest()}",
        "links": {"self": f"{server.url}/tiny_1.hdf5"},
    }
    server.record = json.dumps({"id": 3826103, "files": [file | changes]}).encode()


def test_a_record_is_asked_for_its_files_once(server: Server, tmp_path: Path) -> None:
    describe(server)
    assert RECORDS["getting-high"].endswith("/3826103")
    paths = download("getting-high", tmp_path, f"{server.url}/record")
    assert paths == [tmp_path / "tiny_1.hdf5"]
    assert paths[0].read_bytes() == FIRST
    assert download("getting-high", tmp_path, f"{server.url}/record") == paths
    assert server.asked == ["record", "tiny_1.hdf5"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 100}, "at most 100 bytes"),
        ({"checksum": "md5:0"}, "must list files with key"),
        ({"key": "../tiny_1.hdf5"}, "must list files with key"),
        ({"links": {}}, "must list files with key"),
        ({"checksum": f"md5:{'0' * 32}"}, "a corrupted or another file"),
    ],
)
def test_another_record_is_refused(server: Server, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    describe(server, **changes)
    with pytest.raises((CalogenError, TemporaryError), match=message):
        download("getting-high", tmp_path, f"{server.url}/record")
    assert not (tmp_path / "tiny_1.hdf5").exists()
    server.mode = "missing"
    (tmp_path / "getting-high.json").unlink(missing_ok=True)
    with pytest.raises(CalogenError, match="404"):
        download("getting-high", tmp_path, f"{server.url}/record")
