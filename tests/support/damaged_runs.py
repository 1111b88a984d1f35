"""Damaged files of trainings, runs and results, a function of the random generator alone."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from conftest import TINY_VOXELS
from damage import damage_bytes, damaged_json
from toy_gan import CONFIG, toy_showers
from toy_results import RESULTS

from calogen.models import caloshowergan
from calogen.training.run import assemble_run, save_run
from calogen.training.state import TrainingState, write_state

IDENTITY = json.dumps({"model": "toy", "config": {"seed": 1}, "data": "0"})
SHAPES = ((3, 4), (4,), ())
"""Of a model's variables."""


class _Unpickled:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


@cache
def checkpoint() -> bytes:
    """A whole checkpoint after two epochs, the first of which was the best."""
    arrays = [np.full(shape, 0.5, np.float32) for shape in SHAPES]
    history = [{"loss": 1.0, "iteration": 10}, {"loss": 1.5, "iteration": 20}]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.npz"
        write_state(path, TrainingState(IDENTITY, arrays, arrays[:2], history, 0, arrays))
        return path.read_bytes()


@cache
def run_files() -> Mapping[str, bytes]:
    """A whole run of an untrained GAN."""
    showers = toy_showers(4)
    networks = caloshowergan.build(CONFIG, TINY_VOXELS)
    chain = caloshowergan.build_transform(CONFIG, TINY_VOXELS).fit(showers)
    run = assemble_run(caloshowergan, CONFIG, TINY_VOXELS, networks, chain, [{"iteration": 4, "loss": 0.5}])
    with TemporaryDirectory() as folder:
        save_run(Path(folder), run)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def members(archive: bytes) -> dict[str, bytes]:
    """The files in a zip archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive of files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return made.getvalue()


def array_file(values: Any) -> bytes:
    """An array as NumPy writes it."""
    made = io.BytesIO()
    np.save(made, values)
    return made.getvalue()


def damaged_array(random: Random) -> bytes:
    """Another array than was there, or what is none."""
    values = random.choice(
        (
            *(np.zeros((4, 3), np.float32), np.zeros(3), np.zeros((3, 4), np.int64), np.zeros((0, 4), np.float32)),
            *(np.array(["x"]), np.zeros(12, "M8[s]"), np.zeros((3, 4), np.complex64), np.full((3, 4), np.nan)),
            *(np.array([_Unpickled()]), np.zeros(4, [("a", "f4")])),
        )
    )
    data = array_file(values)
    kind = random.choice(("whole", "damaged", "large", "empty", "version"))
    if kind == "damaged":
        return damage_bytes(data, random)
    if kind == "large":
        shape = random.choice((b"(10000000000,)", b"(-1,)         ", b"(1e9,)        ", b"(True, [])    ", b"9" * 14))
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b"}"
        return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(48)
    return b"" if kind == "empty" else data[:6] + b"\x09" + data[7:] if kind == "version" else data


def damaged_archive(archive: bytes, random: Random) -> bytes:
    """A zip archive with a fault of its own: methods, flags, sizes, names, members that are missing or there twice."""
    files = members(archive)
    name = random.choice(list(files))
    kind = random.choice(("bytes", "end", "field", "drop", "rename", "method", "twice", "none"))
    if kind == "end":
        return archive[: random.randrange(len(archive))]
    if kind == "field":  # of the central directory's entries: version, flags, method, time, checksum, sizes, lengths
        places = [place for place in range(len(archive)) if archive.startswith(b"PK\x01\x02", place)]
        place = random.choice(places) + random.randrange(4, 46)
        return archive[:place] + bytes([random.choice((0, 1, 9, 12, 14, 93, 99, 255))]) + archive[place + 1 :]
    if kind == "drop":
        del files[name]
    elif kind == "rename":
        other = random.choice(
            ("../x", "/x", name.upper(), name + "x", "weights/x", "strange/0", "a" * 300, "about", "\n")
        )
        files = {other if key == name else key: data for key, data in files.items()}
    elif kind == "method":
        method = random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        return damage_bytes(packed(files, method), random)
    elif kind == "twice":
        return archive + archive if random.random() < 0.5 else packed({**files, f"{name}/{name}": files[name]})
    elif kind == "none":
        return random.choice((b"", b"x", b"PK\x05\x06" + bytes(18), b"\x93NUMPY", array_file(np.zeros(3))))
    return damage_bytes(archive, random) if kind == "bytes" else packed(files)


def damaged_checkpoint(random: Random) -> bytes:
    """A checkpoint with a fault in its text, its arrays or its archive."""
    kind = random.choice(("text", "text", "array", "array", "archive"))
    files = members(checkpoint())
    if kind == "text":
        about = json.loads(np.load(io.BytesIO(files["about.npy"])).tobytes())
        files["about.npy"] = array_file(np.frombuffer(damaged_json(about, random), np.uint8))
    elif kind == "array":
        files[random.choice([name for name in files if name != "about.npy"] + ["about.npy", "best/9999.npy"])] = (
            damaged_array(random)
        )
    return damaged_archive(checkpoint(), random) if kind == "archive" else packed(files)


def damaged_network(random: Random) -> bytes:
    """A Keras file with a fault in its description, its weights or its archive."""
    whole = run_files()["generator.keras"]
    files = members(whole)
    kind = random.choice(("description", "description", "class", "weights", "metadata", "archive"))
    if kind == "description":
        files["config.json"] = damaged_json(json.loads(files["config.json"]), random)
    elif kind == "class":  # another class, function or module: some of them would do harm
        old = random.choice(
            (b'"Dense"', b'"keras.layers"', b'"Functional"', b'"keras"', b'"GlorotUniform"', b'"calogen"')
        )
        names = (
            b'"Lambda"',
            b'"os"',
            b'"system"',
            b'"subprocess"',
            b'"builtins"',
            b'"exec"',
            b"null",
            b'"LSTM"',
            b'"TFSMLayer"',
        )
        files["config.json"] = files["config.json"].replace(old, random.choice(names), random.choice((1, 1, -1)))
    elif kind == "weights":
        files["model.weights.h5"] = damage_bytes(files["model.weights.h5"], random)
    elif kind == "metadata":
        files["metadata.json"] = damaged_json(json.loads(files["metadata.json"]), random)
    return damaged_archive(whole, random) if kind == "archive" else packed(files)


def damaged_run(random: Random) -> dict[str, bytes]:
    """A run with one of its files damaged, or of another network or geometry than the others."""
    files = dict(run_files())
    name = random.choice((*files, "config.json", "transform.json"))
    if not name.endswith(".json"):
        files[name] = damaged_network(random)
    elif random.random() < 0.2:
        files[name] = random.choice(
            (b"", b"[]", b"{}", b"null", b"\xff\xfe", files["history.json"], files["config.json"])
        )
    else:
        files[name] = damaged_json(json.loads(files[name]), random)
    return files


def damaged_results(random: Random) -> dict[str, bytes]:
    """Results of a reproduction with faults."""
    results = replace(RESULTS, claims=RESULTS.claims[:2], quantities=RESULTS.quantities[:3])
    return {"results.json": damaged_json(results.to_json(), random)}
