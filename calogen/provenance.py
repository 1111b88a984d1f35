"""Provenance of a result: seed, code, libraries, device and data."""

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from calogen.config import require_seed
from calogen.files import sha256
from calogen.hdf5 import source_files

_LIBRARIES = ("calogen", "numpy", "h5py", "keras", "tensorflow")
# The files that decide a result; changes to other files, such as results and notes, do not make the code dirty.
_CODE = (":(top)calogen", ":(top,glob)experiments/*.py", ":(top)setup.cfg")


def seed_streams(seed: int, *names: str) -> dict[str, np.random.SeedSequence]:
    """An independent seed stream for each named stage, from the seed and the name alone.

    >>> a, b = seed_streams(1, "train", "generate"), seed_streams(1, "generate")
    >>> stream_seed(a["generate"]) == stream_seed(b["generate"]) != stream_seed(a["train"])
    True

    Raises:
        ConfigError: a seed below 0 or above `MAX_SEED`.
    """
    require_seed(seed)
    return {name: np.random.SeedSequence(seed, spawn_key=_words(name)) for name in names}


def stream_seed(stream: np.random.SeedSequence) -> int:
    """A seed of 31 bits for libraries that take one integer (Keras, TensorFlow, Geant4)."""
    return int(stream.generate_state(1)[0]) >> 1


def named_seed(seed: int, name: str) -> int:
    """The seed of 31 bits of one stage of a run."""
    return stream_seed(seed_streams(seed, name)[name])


def collect(seed: int, data: Mapping[str, Path | Sequence[Path]]) -> dict[str, Any]:
    """Everything that decides a result, for its JSON file.

    Call it before anything is written, so that `commit` and `dirty` describe the code that runs.

    Args:
        data: the input files, by name; an input may consist of several files.

    Returns:
        JSON values: `seed`, `commit` ("unknown" outside a git checkout), `dirty` (the code differs from the commit;
        None if unknown), `versions`, `platform`, `cpu`, `device`, `data` (file name and SHA-256), `time` (UTC).
    """
    commit, dirty = _commit()
    return {
        "seed": seed,
        "commit": commit,
        "dirty": dirty,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _LIBRARIES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "device": device(),
        "data": {name: file_record(path) for name, path in data.items()},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def file_record(path: Path | Sequence[Path]) -> dict[str, Any]:
    """Name and SHA-256 of a file, and of the other files that hold its datasets.

    Returns:
        `file`, `sha256`, and `sources` (name -> SHA-256) where other files hold datasets; for several files a table of
        such tables by name.

    Raises:
        DataFormatError: a file does not exist or cannot be read.
    """
    paths = [path] if isinstance(path, str | Path) else path
    if len(paths) > 1:
        return {name: file_record(item) for name, item in zip(_names(paths), paths, strict=True)}
    sources = source_files(paths[0])
    hashes = {name: sha256(item) for name, item in zip(_names(sources), sources, strict=True)}
    return {"file": Path(paths[0]).name, "sha256": sha256(paths[0])} | ({"sources": hashes} if hashes else {})


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def device() -> str:
    """The device of TensorFlow, if that is imported already: `CPU` or the names of the GPUs."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return "CPU"
    gpus = tensorflow.config.list_physical_devices("GPU")
    names = [tensorflow.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
    return ", ".join(names) or "CPU"


def _names(paths: Sequence[Path]) -> list[str]:
    """Names that tell files apart: their paths if two files have the same name."""
    short = len({Path(path).name for path in paths}) == len(paths)
    return [Path(path).name if short else str(path) for path in paths]


def _words(name: str) -> tuple[int, ...]:
    digest = hashlib.sha256(name.encode()).digest()
    return tuple(int(word) for word in np.frombuffer(digest[:16], "<u4"))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> tuple[str, bool | None]:
    """Commit of the checkout that holds this file, and whether its code has changed since."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "unknown", None
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", *_CODE)
    return (commit, bool(changes)) if commit else ("unknown", None)


def _git(*arguments: str) -> str | None:
    """The output of a git command; None: git fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
