"""The C++ program's files, without the rest of it: they behave as those of calogen.files."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from athena_exports import ATHENA, call

_MANIFEST = "#include <stdexcept>\nnamespace calogen { using Error = std::runtime_error; }\n"
_MAIN = """
#include <iostream>
#include "table.hh"
int main(int, char** arguments) {
    try {
        calogen::Table table(arguments[1]);
        table.write_row({1.5, 2});
        table.finish();
    } catch (const std::exception& error) {
        std::cerr << error.what() << std::endl;
        return 2;
    }
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes one line to the file that is named."""
    compiler, folder = shutil.which("g++"), tmp_path_factory.mktemp("table")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    shutil.copy(ATHENA / "table.hh", folder)
    (folder / "manifest.hh").write_text(_MANIFEST)
    (folder / "main.cxx").write_text(_MAIN)
    options = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-o", folder / "program"]
    subprocess.run([compiler, folder / "main.cxx", *options], check=True)
    return folder / "program"


@pytest.mark.parametrize("name", ["new.csv", "a" * 251 + ".csv"])
def test_a_new_file(program: Path, tmp_path: Path, name: str) -> None:
    assert call(program, tmp_path / name).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "1.5,2\n"


def test_links_are_followed_and_modes_are_kept(program: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "hop").symlink_to("data/real.csv")
    (tmp_path / "link").symlink_to("hop")
    for mode in (None, 0o604):
        if mode is not None:
            (tmp_path / "data" / "real.csv").write_text("old")
            (tmp_path / "data" / "real.csv").chmod(mode)
        assert call(program, tmp_path / "link").returncode == 0
        assert (tmp_path / "data" / "real.csv").read_text() == "1.5,2\n"
    assert stat.S_IMODE((tmp_path / "data" / "real.csv").stat().st_mode) == 0o604
    assert os.readlink(tmp_path / "link") == "hop"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "hop", "link"]


@pytest.mark.parametrize("kind", ["fifo", "/dev/full", "link", "loop", "folder", "long"])
def test_what_is_no_file_is_refused_and_stays(program: Path, tmp_path: Path, kind: str) -> None:
    path, message = tmp_path / "out", "a device, pipe or socket is there; name a file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "/dev/full":
        path = Path(kind)
    elif kind == "link":
        path.symlink_to("/dev/full")
    elif kind == "loop":
        path.symlink_to("out")
        message = "Too many levels of symbolic links"
    elif kind == "folder":
        path.mkdir()
        message = "Is a directory"
    else:
        path, message = tmp_path / ("a" * 256), "File name too long"
    before = [] if kind == "long" else [os.lstat(path).st_ino]
    done = call(program, path)
    assert (done.returncode, done.stderr) == (2, f"cannot write {path}: {message}\n")
    assert [entry.inode() for entry in os.scandir(path.parent) if entry.name == path.name] == before
