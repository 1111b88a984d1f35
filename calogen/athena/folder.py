"""A folder of networks for Athena, in which particles and slices accumulate.

A class takes its networks from a folder by particle and slice. An export replaces what an earlier one has written for
the same particle and slice, all of it, and leaves everything else: networks of other slices, and files from elsewhere.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # the values of a manifest, which are JSON

from calogen import files
from calogen.athena.binning import with_slice
from calogen.errors import DataFormatError, ExportError
from calogen.locks import directory_lock

BINNING = "binning.xml"
MARK = "written_by_calogen_export"
"""Name of a text in each ROOT file of an export, by which it is known to come from here."""
WIDTH, LAST = 5, 495
"""Width of a slice, and lower edge of the last one, in hundredths of pseudorapidity."""
_SHARED = {211: 2212, 2212: 211}  # particles whose voxels the class reads under one number
_OLD = ("manifest.json", "closure.md")  # names in folders that could hold one slice only


@dataclass(frozen=True, order=True)
class Part:
    """A particle in a slice of pseudorapidity.

    Args:
        pid: the particle's number.
        eta: 100 times the slice's lower edge.

    Raises:
        ExportError: there is no such slice.
    """

    pid: int
    eta: int

    def __post_init__(self) -> None:
        require_slice(self.eta)

    def __str__(self) -> str:
        return f"{self.pid}_eta_{self.eta}_{self.eta + WIDTH}"

    @property
    def manifest(self) -> str:
        """Name of the file that describes the networks."""
        return f"manifest_{self}.json"

    @property
    def closure(self) -> str:
        """Name of the page with the comparison with Keras."""
        return f"closure_{self}.md"


def require_slice(eta: int) -> None:
    """Refuse a slice that Athena's classes never ask for.

    Raises:
        ExportError: the number is no lower edge of a slice.
    """
    if eta % WIDTH or not 0 <= eta <= LAST:
        raise ExportError(
            f"eta must be 100 times the lower edge of a slice: 0, {WIDTH}, 10 to {LAST}, since Athena's classes have "
            f"slices of 0.05 up to 5, take |eta| and mirror the showers themselves. Received: {eta}"
        )


def parts_in(directory: Path) -> list[Part]:
    """Particles and slices whose networks an export has written into a folder."""
    found = (re.fullmatch(r"manifest_(\d+)_eta_(\d+)_\d+\.json", path.name) for path in files.listed(directory))
    return sorted(Part(int(match[1]), int(match[2])) for match in found if match)


def find_manifest(path: Path) -> Path:
    """Gives the manifest of a folder with one slice, or the file itself that is named.

    Raises:
        ExportError: the folder holds several.
    """
    if path.suffix == ".json":
        return path
    names = [part.manifest for part in parts_in(path)]
    if len(names) > 1:
        raise ExportError(f"{path} holds several particles or slices: name the manifest of one. Received: {names}")
    return path / (names[0] if names else _OLD[0])


def write_part(
    directory: Path, part: Part, contents: Mapping[str, bytes], manifest: Mapping[str, Any]
) -> tuple[str, ...]:
    """Writes the files of a particle's slice, and removes those of an earlier export of it.

    Whatever ends this early leaves the folder as it was (`files.replace_files`); the manifest is the last file.

    Args:
        directory: the folder; processes that write into it wait for one another.
        part: the particle and the slice.
        contents: contents of the files by their paths; `binning.xml` holds this slice alone.
        manifest: content of the manifest, to which the networks' hashes are added.

    Returns:
        Paths of `contents` that were left as they are, since such a ROOT file is there that is not from an export.

    Raises:
        ExportError: the slice does not go with what the folder's `binning.xml` holds.
        CalogenError: the folder cannot be written.
    """
    with directory_lock(directory):
        old = _old_manifest(directory)
        there = _files_of(directory, part)
        foreign = tuple(name for name in there if name.startswith("rootFiles/") and not _ours(directory / name, old))
        kept = tuple(name for name in contents if name in foreign)
        written = {name: content for name, content in contents.items() if name not in kept}
        shared = _SHARED.get(part.pid) in [item.pid for item in parts_in(directory) if item.eta == part.eta]
        binning = with_slice(directory / BINNING, contents[BINNING], shared=shared)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in written.items() if "neural" in name}
        text = files.format_json(directory / part.manifest, {**manifest, "sha256": digests})
        stale = [part.manifest, *(name for name in there if name not in foreign)]
        if old:  # of an export whose files had names for one slice only
            other = Part(old["pid"], old["eta"][0])
            if other != part:
                written[other.manifest] = (directory / _OLD[0]).read_bytes()
            stale += _OLD
        written |= {BINNING: binning, part.manifest: text.encode()}
        removed = [directory / name for name in stale if name not in written or name == part.manifest]
        files.replace_files(directory, written, removed)
    return kept


def _files_of(directory: Path, part: Part) -> list[str]:
    """Files of a particle's slice that the folder holds, by their names."""
    patterns = [f"neural_net_{part}[._]*", f"onnx/neural_net_{part}[._]*", part.closure]
    patterns.append(f"rootFiles/pid{part.pid}_E*_eta_{part.eta}_{part.eta + WIDTH}[._]*")
    return [path.relative_to(directory).as_posix() for item in patterns for path in files.listed(directory, item)]


def _ours(path: Path, old: Mapping[str, Any]) -> bool:
    """Whether a ROOT file is from an export; names of its objects are not compressed."""
    try:
        marked = MARK.encode() in path.read_bytes()
    except OSError as error:
        raise files.read_error(path, error) from error
    return marked or f"rootFiles/{path.name}" == (old.get("radial") or {}).get("file")


def _old_manifest(directory: Path) -> dict[str, Any]:
    """The manifest with the name for one slice only, if it is of voxels; else empty."""
    path = directory / _OLD[0]
    try:
        about = files.read_json_table(path) if path.exists() else {}
    except DataFormatError:
        return {}
    eta, slices = about.get("eta"), range(0, LAST + 1, WIDTH)
    sound = type(about.get("pid")) is int and isinstance(eta, list) and [*eta[:1]] in [[lowest] for lowest in slices]
    return about if sound else {}
