import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TINY_VOXELS

from calogen import files
from calogen.athena.folder import MARK, Part, find_manifest, parts_in, require_slice, write_part
from calogen.errors import CalogenError, ExportError
from calogen.showers.voxels import VoxelGeometry


def _contents(part: Part, text: str = "new") -> dict[str, bytes]:
    """The files of a slice, all with the same text but for the binning."""
    path = Path(f"{part}.xml").resolve()
    attributes = {"pid": str(part.pid), "etaMin": str(part.eta), "etaMax": str(part.eta + 5)}
    attributes |= {"latentDim": "5", "symmetriseAlpha": "false", "regionId": "1", "ganVersion": "2"}
    TINY_VOXELS.write_xml(path, "athena", attributes)
    binning = path.read_bytes()
    path.unlink()
    names = [f"neural_net_{part}_{name}.json" for name in ("UltraLow12", "High12")]
    names += [f"onnx/neural_net_{part}_High12.onnx", part.closure]
    root = f"rootFiles/pid{part.pid}_E65536_eta_{part.eta}_{part.eta + 5}_validation.root"
    return dict.fromkeys(names, text.encode()) | {root: MARK.encode() + text.encode(), "binning.xml": binning}


def _listing(folder: Path) -> dict[str, bytes]:
    """Contents of all files but the lock, by their paths."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


PHOTONS, NEXT, PIONS = Part(22, 20), Part(22, 25), Part(211, 20)


@pytest.mark.parametrize("eta", [-25, -5, 22, 496, 500])
def test_slices_that_no_class_asks_for_are_refused(eta: int) -> None:
    with pytest.raises(ExportError, match=f"0, 5, 10 to 495, since Athena's classes have slices.* Received: {eta}"):
        require_slice(eta)
    with pytest.raises(ExportError):
        Part(22, eta)


def test_the_ends_are_slices() -> None:
    for eta in (0, 20, 495):
        require_slice(eta)


def test_slices_and_particles_accumulate(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for part in (PHOTONS, NEXT, PIONS):
        assert write_part(folder, part, _contents(part), {"pid": part.pid}) == ()
    assert parts_in(folder) == [PHOTONS, NEXT, PIONS]
    found = _listing(folder)
    for part in (PHOTONS, NEXT, PIONS):
        expected = {name: content for name, content in _contents(part).items() if name != "binning.xml"}
        assert {name: found[name] for name in expected} == expected
        assert VoxelGeometry.read_xml(folder / "binning.xml", pid=part.pid, eta=part.eta / 100 + 0.02)
        networks = {name for name in expected if "neural_net" in name}
        assert set(json.loads(found[part.manifest])["sha256"]) == networks


def test_only_the_same_slice_is_replaced_and_all_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for part in (PHOTONS, NEXT, PIONS):
        write_part(folder, part, _contents(part, "old"), {"pid": part.pid})
    before, new = _listing(folder), _contents(PHOTONS)
    new = {name: content for name, content in new.items() if "High12" not in name and "rootFiles" not in name}
    write_part(folder, PHOTONS, new, {"pid": 22})
    after = _listing(folder)
    gone = {name for name in before if name not in after}
    assert gone == {
        "neural_net_22_eta_20_25_High12.json",
        "onnx/neural_net_22_eta_20_25_High12.onnx",
        "rootFiles/pid22_E65536_eta_20_25_validation.root",
    }
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"neural_net_22_eta_20_25_UltraLow12.json", PHOTONS.closure, PHOTONS.manifest}


def test_root_files_from_elsewhere_are_kept_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    name = "rootFiles/pid22_E65536_eta_20_25_validation.root"
    (folder / name).parent.mkdir(parents=True)
    for other in (name, "rootFiles/pid22_E1048576_eta_20_25.root", "rootFiles/own.root", "notes.txt"):
        (folder / other).write_bytes(b"the experiment's, /home/me/calogen/validation.root")
    assert write_part(folder, PHOTONS, _contents(PHOTONS), {}) == (name,)
    assert (folder / name).read_bytes() == b"the experiment's, /home/me/calogen/validation.root"
    assert (
        len(
            [
                content
                for content in _listing(folder).values()
                if content == b"the experiment's, /home/me/calogen/validation.root"
            ]
        )
        == 4
    )


def test_folders_of_one_slice_get_the_new_names(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_part(folder, NEXT, _contents(NEXT, "old"), {})
    (folder / NEXT.manifest).unlink()
    (folder / NEXT.closure).rename(folder / "closure.md")
    radial = "rootFiles/pid22_E1048576_eta_25_30.root"
    (folder / radial).write_bytes(b"without a mark")
    about = {"pid": 22, "eta": [25, 30], "radial": {"file": radial}}
    (folder / "manifest.json").write_text(json.dumps(about))
    write_part(folder, PHOTONS, _contents(PHOTONS), {})
    assert json.loads((folder / NEXT.manifest).read_text()) == about
    assert not (folder / "manifest.json").exists()
    assert not (folder / "closure.md").exists()
    (folder / NEXT.manifest).rename(folder / "manifest.json")
    write_part(folder, NEXT, _contents(NEXT), {})
    assert not (folder / radial).exists()
    assert parts_in(folder) == [PHOTONS, NEXT]


@pytest.mark.parametrize("text", ["[]", "{", '{"pid": 22, "eta": []}', '{"pid": "x", "eta": [20, 25]}', '{"model": 1}'])
def test_another_manifest_is_left_alone(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "manifest.json").write_text(text)
    write_part(folder, PHOTONS, _contents(PHOTONS), {})
    assert (folder / "manifest.json").read_text() == text


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_ends_the_writing_early_leaves_the_folder_as_it_was(
    fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    for part in (PHOTONS, NEXT):
        write_part(folder, part, _contents(part, "old"), {"pid": 22})
    before, new, written = _listing(folder), _contents(PHOTONS), []

    def write(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 4:
            raise fault
        path.write_text(content.decode())

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises((OSError, CalogenError, KeyboardInterrupt)):
        files.replace_files(folder, new, [folder / PHOTONS.manifest])
    monkeypatch.undo()
    assert len(written) == 4
    assert _listing(folder) == before


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Interrupts raise `KeyboardInterrupt`, as at a terminal: what a shell starts in the background ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before or signal.SIG_DFL)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_until_all_files_have_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, replace, renamed = tmp_path / "out", os.replace, []

    def interrupted(source: Path, target: Path) -> None:
        replace(source, target)
        renamed.append(Path(target).name)
        if len(renamed) == 1:
            signal.raise_signal(signal.SIGINT)

    contents = dict.fromkeys(("a", "b", "last"), b"x")
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.replace_files(folder, contents)
    assert renamed == ["a", "b", "last"]
    assert _listing(folder) == contents


def test_the_manifest_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert find_manifest(folder) == folder / "manifest.json"
    write_part(folder, PHOTONS, _contents(PHOTONS), {})
    assert find_manifest(folder) == folder / PHOTONS.manifest
    write_part(folder, PIONS, _contents(PIONS), {})
    with pytest.raises(ExportError, match="holds several particles or slices: name the manifest of one"):
        find_manifest(folder)
    assert find_manifest(folder / PIONS.manifest) == folder / PIONS.manifest
