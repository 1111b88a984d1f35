"""The command `calogen evaluate`: judges files of showers and writes pages and tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pandas as pd

from calogen.config import require
from calogen.errors import GeometryError, checked
from calogen.evaluation.assessment import Assessment
from calogen.evaluation.judging import Options, assess, read_reference, require_judgeable
from calogen.evaluation.observed import NUMBERS_FILE
from calogen.evaluation.pictures import Pictures
from calogen.files import read_json, require_writable_file
from calogen.reports.evaluate_cells import evaluate_cells
from calogen.reports.evaluate_grids import evaluate_grids
from calogen.reports.evaluation import build_assessment_page, build_comparison_page
from calogen.reports.inputs import kind_of, origin
from calogen.reports.observables_page import write_table
from calogen.reports.page import verdict_text, write_page
from calogen.showers.bundled import voxel_geometry
from calogen.showers.files import Files, paths_of
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry


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


def judge_of(generated: Sequence[Path], others: Sequence[Path]) -> Callable[..., str] | None:
    """What judges cells or grids, `evaluate_cells` or `evaluate_grids`; None for voxels.

    Raises:
        DataFormatError: as for `kind_of`.
    """
    return {"cells": evaluate_cells, "grids": evaluate_grids}.get(kind_of(generated, others))
