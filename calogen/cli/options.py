"""Options of several commands: energies, numbers of showers, seeds, files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from calogen.config import MAX_SEED, require
from calogen.errors import ConfigError
from calogen.files import matching_files

EnergiesOption = Annotated[
    str, typer.Option(help="MeV: values 4096,65536 or ranges first:last:xfactor, first:last:+step.")
]
SeedOption = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same showers.")]
TolerantOption = Annotated[
    bool, typer.Option("--tolerant", help="Clip voxels down to -0.1 % of a shower, round energies 0.1 % off.")
]
OutputOption = Annotated[Path, typer.Option(help="The file to write, whole or not at all.")]

_MAX_ENERGIES = 1000  # of one range; more must be a mistake


def parse_energies(text: str) -> tuple[float, ...]:
    """Energies in MeV from a list of values and ranges.

    >>> parse_energies("1000:8000:x2,65536,1:2:+0.5")
    (1000.0, 2000.0, 4000.0, 8000.0, 65536.0, 1.0, 1.5, 2.0)

    Raises:
        ConfigError: the text is no such list, an energy is not above 0, or a range has more than 1000 energies.
    """
    energies: list[float] = []
    for part in text.split(","):
        try:
            energies.extend(_energy_range(*part.split(":")))
        except (ValueError, TypeError, ArithmeticError):
            raise ConfigError(
                "energies must be values above 0 or rising ranges, in MeV: 4096,65536 or 1024:262144:x2 or "
                f"1000:9000:+1000. Received: {part!r}"
            ) from None
    return tuple(energies)


def parse_uniform(text: str) -> tuple[float, float] | None:
    """The two ends of uniform energies, MeV; None for other lists of energies.

    >>> parse_uniform("10000:100000:uniform"), parse_uniform("10000,20000")
    ((10000.0, 100000.0), None)

    Raises:
        ConfigError: an end is no energy above 0.
    """
    if not text.endswith(":uniform"):
        return None
    ends = [parse_energies(part) for part in text.split(":")[:-1]]
    if [len(end) for end in ends] != [1, 1]:
        raise ConfigError(f"uniform energies must be first:last:uniform, in MeV. Received: {text!r}")
    return ends[0][0], ends[1][0]


def parse_counts(text: str, energies: str) -> tuple[int, ...]:
    """Showers at each energy: one number for all, or one for each value or range in the list.

    >>> parse_counts("1000,600", "256:1024:x2,65536")
    (1000, 1000, 1000, 600)

    Raises:
        ConfigError: the text is no such list, or a number is below 1.
    """
    parts = energies.split(",")
    expanded = [(0.0,) if parse_uniform(part) else parse_energies(part) for part in parts]
    try:
        counts = [int(count) for count in text.split(",")]
    except ValueError:
        counts = []
    require(
        min(counts, default=0) >= 1 and len(counts) in (1, len(parts)),
        f"showers must be one number above 0, or {len(parts)} of them as in --energies {energies}. Received: {text}",
    )
    counts *= len(parts) if len(counts) == 1 else 1
    return tuple(count for count, part in zip(counts, expanded, strict=True) for _ in part)


def parse_angles(text: str) -> tuple[float, float]:
    """A range of angles in degrees.

    >>> parse_angles("60"), parse_angles("40:90")
    ((60.0, 60.0), (40.0, 90.0))

    Raises:
        ConfigError: the text is neither an angle nor two.
    """
    try:
        low, *rest = map(float, text.split(":"))
        (high,) = rest or (low,)
    except ValueError:
        raise ConfigError(f"angles must be in degrees: 60, or 40:90. Received: {text!r}") from None
    return low, high


def _energy_range(first: str, last: str | None = None, step: str = "x2") -> list[float]:
    start, end = float(first), float(last if last is not None else first)
    kind, size = step[:1], float(step[1:])
    if not 0 < start <= end < math.inf or kind not in ("x", "+") or not size > (kind == "x"):
        raise ValueError(step)
    steps = math.log(end / start) / math.log(size) if kind == "x" else (end - start) / size
    if steps > _MAX_ENERGIES:
        raise ValueError(step)
    numbers = range(math.floor(steps + 1e-9) + 1)
    exact = [start * size**number if kind == "x" else start + number * size for number in numbers]
    return [float(f"{energy:.10g}") for energy in exact]  # 1210, and not 1210.0000000000002


def find_files(texts: Sequence[str]) -> tuple[Path, ...]:
    """Files by their paths, or by patterns such as `part*.h5`; none is listed twice.

    Raises:
        ConfigError: a pattern that no file matches.
    """
    paths: list[str] = []
    for text in texts:
        pattern = any(letter in text for letter in "*?[") and not Path(text).exists()
        matching = matching_files(text) if pattern else [text]
        require(bool(matching), f"a pattern must match files. Received: {text}, which matches none")
        paths += matching
    return tuple(map(Path, dict.fromkeys(paths)))


def find_labelled(texts: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Files by label, from `LABEL=FILE`, or from `FILE`, whose name is then the label.

    All files that match `LABEL=PATTERN` are one model's; each file that matches a bare `PATTERN` is a model of its own.

    Raises:
        ConfigError: a label is missing, given twice or no name for a directory; a file is missing, or no file matches.
    """
    parts = [text.partition("=") for text in texts]
    pairs = [(label, (path,)) for label, mark, path in parts if mark]
    pairs += [(path.stem, (str(path),)) for bare, mark, _ in parts if not mark for path in find_files([bare])]
    known = {label for label, (path,) in pairs if label and Path(path).name}
    require(
        len(known) == len(pairs) and all(Path(label).name == label != ".." for label in known),
        f"generated showers must be FILE or LABEL=FILE, each with a label of its own. Received: {list(texts)}",
    )
    return {label: find_files(files) for label, files in pairs}
