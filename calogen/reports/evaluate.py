"""The command `calogen evaluate`: judges files of showers and writes pages and tables."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import pandas as pd

from calogen.config import require
from calogen.errors import DataFormatError, GeometryError, checked
from calogen.evaluation.assessment import Assessment
from calogen.evaluation.compare import Comparison, compare_showers
from calogen.evaluation.copies import hash_showers
from calogen.evaluation.judgement import OWN_BINNING, default_min_energy
from calogen.evaluation.judging import Options, assess, read_reference, require_judgeable
from calogen.evaluation.observed import NUMBERS_FILE, SECOND
from calogen.evaluation.pictures import Pictures
from calogen.evaluation.summary import energy_text
from calogen.files import read_json, require_writable_file
from calogen.hdf5 import damage_named, find_dataset, open_file
from calogen.observables.cells import CELL_OBSERVABLES
from calogen.observables.observable import Observed
from calogen.provenance import collect
from calogen.reports.cell_figures import draw_cells
from calogen.reports.evaluate_grids import evaluate_grids
from calogen.reports.evaluation import build_assessment_page, build_comparison_page
from calogen.reports.inputs import kind_of, origin
from calogen.reports.observables_page import (
    Judged,
    find_copies,
    name_inputs,
    numbers_of_all,
    write_judged,
    write_table,
)
from calogen.reports.page import verdict_text, write_page
from calogen.showers.bundled import read_window, voxel_geometry
from calogen.showers.files import Files, paths_of
from calogen.showers.labels import SAME_LABEL, TOLERANT_LABEL, require_known_energies, snap
from calogen.showers.sample import Negative, Showers, concatenate
from calogen.showers.voxels import VoxelGeometry
from calogen.showers.windows import ATLAS_VAE_WINDOW

_MOST_ENERGIES = 50  # at which cells are compared, one by one


@checked
def evaluate(
    reference: Showers | Files,
    generated: Mapping[str, Showers | Files],
    output: str | Path,
    *,
    second_reference: Showers | Files | None = None,
    training: Showers | Files | None = None,
    geometry: VoxelGeometry | str | Path | None = None,
    options: Options | None = None,
) -> pd.DataFrame:
    """Judge generated showers against Geant4's, as the command `calogen evaluate` does.

    Args:
        reference: showers of Geant4, in memory or in files; several files are read as one.
        generated: showers of each model, by the model's label.
        output: directory for the page `report.html` and the tables beside it.
        second_reference: other showers of Geant4, which give the floor of all numbers.
        training: showers that the models were trained on, to find copies of them.
        geometry: of voxels in files, or their binning file (XML); None: the challenge's data set 1. Showers in memory
            have their own.
        options: how to judge; None: the default options.

    Returns:
        A row for each metric; the column `sample` names the model.

    Raises:
        ConfigError: an argument has another type; no model, or a label that is no directory's name or another sample's.
        GeometryError: showers of different geometries.
        CalogenError: as for `evaluate_voxels` and `evaluate_cells`.
    """
    output, others = Path(output), {"reference": reference, "second reference": second_reference, "training": training}
    require(bool(generated), "evaluate needs at least one model. Received: none")
    for label in generated:
        named = Path(label).name == label != ".." and label not in others
        require(named, f"labels must be names of directories, and none of {', '.join(others)}. Received: {label}")
    samples = {**others, **generated}
    known = [item.geometry for item in samples.values() if isinstance(item, Showers)]
    if any(item != known[0] for item in known):
        raise GeometryError(f"all showers must be of one geometry. Received: {[item.name for item in known]}")
    if known and isinstance(known[0], VoxelGeometry):
        geometry = known[0]
    with TemporaryDirectory() as folder:
        files: dict[str, tuple[Path, ...]] = {}
        for name, item in samples.items():
            if isinstance(item, Showers):
                files[name] = (Path(folder) / f"{name}.h5",)
                item.write(files[name][0])
            elif item is not None:
                files[name] = paths_of(item)
        first = files.pop("reference")
        second, learned = files.pop("second reference", None), files.pop("training", None)
        more = [*first, *(second or ()), *(learned or ())]
        if judge := judge_of([path for paths in files.values() for path in paths], more):
            judge(first, files, output, second, options, learned)
            return _read_table(output)
        evaluate_voxels(first, files, output, second, geometry, options, learned)
    places = {label: output / label if len(files) > 1 else output for label in files}
    tables = [_read_table(place).assign(sample=label) for label, place in places.items()]
    return pd.concat(tables, ignore_index=True)


def _read_table(directory: Path) -> pd.DataFrame:
    """The metrics that an evaluation has written."""
    return pd.json_normalize(cast(list[dict[str, object]], read_json(directory / "metrics.json")), sep="_")


def evaluate_voxels(
    reference: Files,
    files: Mapping[str, Files],
    output: Path,
    second_reference: Files | None = None,
    geometry: VoxelGeometry | str | Path | None = None,
    options: Options | None = None,
    training: Files | None = None,
) -> str:
    """Judge files of voxel showers; write a page for each model, and one that compares them.

    Args:
        reference: showers of Geant4; here, as for all inputs, several files may stand for one.
        files: generated showers by label.
        output: directory for the page of the comparison, and for a directory of each label; a single model's page is
            written into `output` itself.
        second_reference: other showers of Geant4.
        geometry: of the voxels, or their binning file (XML); None: that of the challenge's data set 1.
        options: how to judge; None: the default options.
        training: showers that the models were trained on.

    Returns:
        The terminal's text: the verdict, and the path of the page.

    Raises:
        CalogenError: as for `assess`.
    """
    first_file = paths_of(reference)[0]
    note = origin(first_file)
    if not isinstance(geometry, VoxelGeometry):
        geometry = voxel_geometry(first_file, None if geometry is None else Path(geometry))
    require_writable_file(output / "report.html")
    options = replace(options or Options(), trainings=output / "classifiers.json")
    prepared = read_reference(reference, geometry, second_reference, options, training)
    for label, path in files.items():  # files are refused before classifiers train for hours, not after
        require_judgeable(prepared, path, label)
    places = {label: output / label if len(files) > 1 else output for label in files}
    judged: list[tuple[Assessment, Pictures]] = []
    for label, path in files.items():
        assessment, pictures = assess(prepared, path, label)
        judged.append((replace(assessment, provenance={**assessment.provenance, "note": note}), pictures))
        judged[-1][0].write(places[label])
        (places[label] / NUMBERS_FILE).unlink(missing_ok=True)  # of cells that were judged here before
    table = write_table(output, [*places.values()], options)
    for (assessment, pictures), directory in zip(judged, places.values(), strict=True):
        page = build_assessment_page(assessment, pictures, note)
        where = write_page(directory, page, options.figures)
    if len(judged) > 1:
        page = build_comparison_page([item for item, _ in judged], note, [pictures for _, pictures in judged])
        where = write_page(output, page, options.figures)
    return table + verdict_text(page.verdict, where)


def evaluate_cells(
    reference: Files,
    files: Mapping[str, Files],
    output: Path,
    second_reference: Files | None = None,
    options: Options | None = None,
    training: Files | None = None,
) -> str:
    """Judge files of ATLAS cells by observables, and write one page.

    The observables of arXiv:2210.06204 are compared one by one, and together by a classifier and by distances.

    Args:
        reference: showers of Geant4; here, as for all inputs, several files may stand for one.
        files: generated showers by label.
        output: directory for the page.
        second_reference: other showers of Geant4; they are compared as a further sample, the floor of all numbers.
        options: how to judge; only `repetitions`, `seed` and `tolerant` concern cells.
        training: showers that the models were trained on.

    Returns:
        The terminal's text: the verdict, and the path of the page.

    Raises:
        ConfigError: a model's label is that of another sample.
        CalogenError: a file is missing, damaged or foreign, or has incident energies that the reference lacks.
    """
    require_writable_file(output / "report.html")
    options = options or Options()
    seed, tolerant = options.seed, options.tolerant
    inputs = name_inputs(files, reference, second_reference, training)
    provenance = collect(seed, {name: paths_of(path) for name, path in inputs.items()})
    expected, notes = _read_cells("reference", reference, tolerant)
    known = expected.incident_energies
    samples: dict[str, Showers] = {}
    for label in (*files, *((SECOND,) if second_reference else ())):
        samples[label], more = _read_cells(label, inputs[label], tolerant, expected)
        require_known_energies(label, known, samples[label].incident_energies, np.unique(known))
        notes += more
    learned, more = _read_cells("training", training, tolerant, expected) if training else (None, [])
    showers, least = {"reference": expected, **samples}, default_min_energy(OWN_BINNING)
    hashes = {name: hash_showers(item.energies, least) for name, item in showers.items()}
    trained = None if learned is None else (learned, hash_showers(learned.energies, least))
    copies, quantities = find_copies(hashes, showers, trained, least, seed)
    comparisons, singles = _compare_by_energy(expected, samples, seed)
    tables = {label: Observed(item, CELL_OBSERVABLES) for label, item in {"": expected, **samples}.items()}
    numbers, remarks = numbers_of_all(tables.pop(""), tables, options.repetitions, seed, output / "classifiers.json")
    note = origin(paths_of(reference)[0])
    judged = Judged(
        paper="arXiv:2210.06204",
        samples=list(samples),
        files=paths_of(reference),
        comparisons=comparisons,
        numbers=numbers,
        quantities=quantities,
        provenance=provenance,
        notes=(*copies, *notes, *more),
        remarks=(*singles, *remarks, *([note] if note else [])),
    )
    return write_judged(output, judged, draw_cells(expected, samples, comparisons, note), options)


def judge_of(generated: Sequence[Path], others: Sequence[Path]) -> Callable[..., str] | None:
    """What judges cells or grids, `evaluate_cells` or `evaluate_grids`; None for voxels.

    Raises:
        DataFormatError: as for `kind_of`.
    """
    return {"cells": evaluate_cells, "grids": evaluate_grids}.get(kind_of(generated, others))


def _compare_by_energy(
    reference: Showers, samples: Mapping[str, Showers], seed: int
) -> tuple[dict[float, Comparison], list[str]]:
    """Comparisons by incident energy, MeV, and remarks on single showers."""
    comparisons, remarks = {}, []
    for energy in sorted({energy for showers in samples.values() for energy in showers.incident_energies.tolist()}):
        present = {label: item for label, item in samples.items() if energy in item.incident_energies}
        comparisons[energy] = compare_showers(reference, present, CELL_OBSERVABLES, seed, energy)
        single = [label for label, item in present.items() if len(item.at(energy)) == 1]
        remarks += [f"{label}: one shower at {energy_text(energy)}, so no metric is defined" for label in single]
    return comparisons, remarks


def _read_cells(name: str, files: Files, tolerant: bool, reference: Showers | None = None) -> tuple[Showers, list[str]]:
    """Showers whose incident energies are the reference's, and sentences on what was changed."""
    paths = paths_of(files)
    parts = [read_window(path, ATLAS_VAE_WINDOW, tolerant) for path in paths]
    stored = np.concatenate([_stored_energies(path) for path in paths])
    negative = (part.attributes.get("clipped") for part in parts)
    clipped = sum((item for item in negative if isinstance(item, Negative)), Negative())
    showers = concatenate(parts)
    labels, whose = snap(showers.incident_energies), "one another"
    if reference is None and (number := len(np.unique(labels))) > _MOST_ENERGIES:
        raise DataFormatError(
            f"{name} must have {_MOST_ENERGIES} incident energies at most, as cells are compared at each of them. "
            f"Received: {number:,}, as of continuous energies"
        )
    if reference is not None:
        known, whose = reference.incident_energies, "the reference's"
        labels = snap(labels, known, TOLERANT_LABEL if tolerant else SAME_LABEL)
    moved = int((labels != stored).sum())
    notes = [f"{name}: set to 0 were {clipped}"] if clipped else []
    notes += [f"{name}: {moved:,} incident energies were close to {whose} and count as equal"] if moved else []
    return replace(showers, incident_energies=labels), notes


def _stored_energies(path: Path) -> np.ndarray:
    """Incident energies as they stand in the file, `[n]`."""
    with open_file(path) as file, damage_named(path), ExitStack() as opened:
        energies = find_dataset(file, "incident_energies", opened)
        return np.empty(0) if energies is None else energies.dataset[:].reshape(-1)
