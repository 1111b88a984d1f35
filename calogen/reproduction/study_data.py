"""Showers of a study at a paper's incident energies, with a test sample of their own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from calogen.config import require
from calogen.errors import DataFormatError
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.study import Data
from calogen.showers.bundled import HONEST_NOTE, bundled, choose_edition, read_window
from calogen.showers.geometry import Geometry
from calogen.showers.labels import SAME_LABEL, TOLERANT_LABEL, moved_note, snap
from calogen.showers.sample import Showers, concatenate

TRAIN = "train"
"""Name of the sample that trains."""


def read_at_energies(
    arguments: Arguments, sample: str, geometry: Geometry, trained: Sequence[float], tested: Sequence[float]
) -> Data:
    """Reads the user's two files, or else the bundled ones, at a paper's incident energies.

    With the preset `smoke`, every eighth shower trains.

    Args:
        arguments: names of the user's files, and how to read them.
        sample: name of the bundled sample, e.g. `photons`.
        geometry: geometry of the showers.
        trained: incident energies of the training, MeV.
        tested: further incident energies of the comparison, MeV.

    Returns:
        Training showers, and test showers to compare with; none is held out of the training.

    Raises:
        ConfigError: only one of two files is given.
        DataFormatError, GeometryError: as `read_window`, or there is an energy without showers.
    """
    require_together({"--train-data": arguments.train_data, "--test-data": arguments.test_data})
    files = {
        "train": arguments.train_data or bundled(f"{sample}_train"),
        "test": arguments.test_data or bundled(f"{sample}_test"),
    }
    note = ", ".join(path.name for path in files.values())
    given = [read_window(path, geometry, arguments.tolerant) for path in files.values()]
    if arguments.train_data is None:
        given[0], note = choose_edition(f"{sample}_train", given[0], arguments.takes_first_edition)
    samples = []
    for path, part in zip(files.values(), given, strict=True):
        moved, changes = snap_showers(path, part, (*trained, *tested), arguments.tolerant)
        samples.append(moved)
        note += changes
    train, test = samples
    require_energies(files["train"], train, trained)
    require_energies(files["test"], test, (*trained, *tested))
    train = train[np.isin(train.incident_energies, trained)]
    if arguments.preset == "smoke":
        train = train[::8]
    return Data(
        train=train, held_out=None, files=files, note=note, compared=test[test.incident_energies >= min(trained)]
    )


def read_compared(
    arguments: Arguments,
    files: Mapping[str, Path],
    geometry: Geometry,
    tested: Sequence[float],
    whole: Collection[str] = (),
) -> tuple[Data, dict[str, Showers]]:
    """Reads showers to train with, and others to compare with at a paper's incident energies.

    Args:
        arguments: names of the user's files, and how to read them.
        files: the user's files, or others in their place, by the sample's name, of which one is `TRAIN`.
        geometry: geometry of the showers.
        tested: incident energies, MeV, at which generated showers are compared.
        whole: names of further samples of which all showers are kept and none is compared.

    Returns:
        Training showers with those to compare with, and the samples `whole`.

    Raises:
        DataFormatError, GeometryError: as `Showers.read`; there are fewer than two showers that train, of a sample
            `whole`, or of one of the `tested` energies.
    """
    require_one_edition(arguments)
    kept, parts, note = {}, [], ", ".join(path.name for path in files.values())
    for name, path in files.items():
        part = Showers.read(path, geometry, tolerant=arguments.tolerant)
        if name in (TRAIN, *whole):
            if len(part) < 2:
                raise DataFormatError(f"{path} must hold two showers or more. Received: {len(part)}")
            kept[name] = part
            continue
        moved, changes = snap_showers(path, part, tested, arguments.tolerant)
        require_energies(path, moved, tested)
        parts.append(moved[np.isin(moved.incident_energies, tested)])
        note += changes
    note += f" ({HONEST_NOTE})" if arguments.train_data is None else ""
    train = kept.pop(TRAIN)
    return Data(train=train, held_out=None, files=files, note=note, compared=concatenate(parts)), kept


def require_one_edition(arguments: Arguments) -> None:
    """Refuse `--first-edition` of showers in grids, which have no other one (`ConfigError`)."""
    require(not arguments.first_edition, "--first-edition is of showers in voxels or cells. Received: a grid")


def require_together(options: Mapping[str, Path | None]) -> None:
    """Refuse some of the user's files where all or none must be given.

    Args:
        options: the files by their options.

    Raises:
        ConfigError: there are some, but not all.
    """
    *others, last = options
    given = [str(path) for path in options.values() if path is not None]
    require(
        len(given) in (0, len(options)),
        f"{', '.join(others)} and {last} go together. Received: {', '.join(given)} alone",
    )


def snap_showers(path: Path, showers: Showers, known: Sequence[float], tolerant: bool) -> tuple[Showers, str]:
    """Showers whose labels are those of known energies where they are close to them.

    Args:
        path: file of the showers.
        known: incident energies, MeV.
        tolerant: as for `Showers.read`.

    Returns:
        The showers, and what the note on them must say of this and of negative energies that were set to 0.
    """
    given, tolerance = showers.incident_energies, TOLERANT_LABEL if tolerant else SAME_LABEL
    moved = replace(showers, incident_energies=snap(given, np.repeat(known, 2), tolerance))
    note = f"; set to 0 were {showers.attributes['clipped']}" if "clipped" in showers.attributes else ""
    return moved, note + moved_note(path.name, given, moved.incident_energies)


def read_impacts(arguments: Arguments, sample: str, geometry: Geometry, energies: Sequence[float]) -> Data:
    """Reads showers at the trained energies, with their impact points.

    Raises:
        ConfigError, GeometryError: as `read_at_energies`.
        DataFormatError: as `read_at_energies`; `impact_eta` or `impact_phi` is missing.
    """
    data = read_at_energies(arguments, sample, geometry, energies, ())
    for part in (data.train, data.reference):
        part.given.only(("impact_eta", "impact_phi"))
    chosen = data.reference[np.isin(data.reference.incident_energies, energies)]
    return replace(data, compared=chosen)


def require_energies(path: Path, showers: Showers, energies: Sequence[float]) -> None:
    """Refuse, before hours of training, a file without showers that the comparison needs.

    Raises:
        DataFormatError: the file has fewer than two showers at one of the energies.
    """
    missing = [f"{energy:g}" for energy in sorted({*energies}) if (showers.incident_energies == energy).sum() < 2]
    if missing:
        raise DataFormatError(f"{path} must hold showers at {', '.join(missing)} MeV, at least two. Received: fewer")
