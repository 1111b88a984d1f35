"""The commands `calogen evaluate` and `calogen report A B`: from files to pages."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from calogen.datasets import read_vae_window
from calogen.errors import DataFormatError
from calogen.evaluation.assessment import FILE_NAME, read_assessment
from calogen.evaluation.comparison import compare
from calogen.evaluation.published import ATLAS_VAE_OBSERVABLES
from calogen.judging import Options, assess, find_geometry
from calogen.judging_report import build_assessment_page, build_comparison_page, write_pages
from calogen.page import Page, build_markdown
from calogen.plots.observables import draw_observables
from calogen.provenance import collect
from calogen.report import Results, write_report
from calogen.showers import open_file


def holds_cells(path: Path) -> bool:
    """Whether a file holds cells and no voxels.

    Raises:
        DataFormatError: no whole HDF5 file.
    """
    with open_file(path) as file:
        return "cells" in file and "showers" not in file


def evaluate_voxels(
    reference: Path,
    files: Mapping[str, Path],
    output: Path,
    second_reference: Path | None = None,
    binning_file: Path | None = None,
    options: Options | None = None,
) -> str:
    """Judge files of voxel showers, each in a directory of its label, and compare them.

    Args:
        reference: showers of Geant4.
        files: generated showers by label.
        output: directory; that of the only label itself, where there is one.
        second_reference: other showers of Geant4.
        binning_file: the geometry (XML); None: the challenge's data set 1.
        options: how to judge.

    Returns:
        What a terminal shows: the page without figures, and where it is.

    Raises:
        CalogenError: as `assess`.
    """
    geometry, note, found = find_geometry(reference, binning_file), origin(reference), []
    for label, path in files.items():
        assessment, pictures = assess(reference, path, geometry, label, second_reference, options)
        page = build_assessment_page(assessment, pictures, note)
        directory = output / label if len(files) > 1 else output
        assessment.write(directory)
        where = write_pages(directory, page)
        found.append(assessment)
    if len(found) > 1:
        page = build_comparison_page(found, note)
        where = write_pages(output, page)
    return _shown(page, where)


def evaluate_cells(reference: Path, files: Mapping[str, Path], output: Path, seed: int) -> Path:
    """Judge files of ATLAS cells by the observables of the VAE's paper; gives the page.

    Raises:
        CalogenError: a file that is missing, damaged or foreign, or energies without reference.
    """
    provenance = collect(seed, {"reference": reference, **files})
    expected, samples = read_vae_window(reference), {label: read_vae_window(path) for label, path in files.items()}
    energies = sorted({energy for showers in samples.values() for energy in showers.incident_energies.tolist()})
    found = []
    for energy in energies:
        at_energy = {label: showers.at(energy) for label, showers in samples.items()}
        found.append(compare(expected.at(energy), at_energy, ATLAS_VAE_OBSERVABLES, seed))
    results = Results(
        name="evaluation",
        title=f"{', '.join(samples)} against {reference.name}",
        paper="Observables of arXiv:2210.06204",
        claims=(),
        quantities=(),
        provenance=provenance,
        measurements=tuple(row for comparison in found for row in comparison.measurements),
    )
    figures = {f"{item.incident_energy:g} MeV": draw_observables([*item.observables.values()]) for item in found}
    return write_report(output, results, figures)


def compare_directories(directories: Sequence[Path], output: Path) -> str:
    """Put evaluations side by side; gives what a terminal shows.

    Args:
        directories: each with an `evaluation.json`, or with one in its `report/`.
        output: directory for the page.

    Raises:
        DataFormatError: a directory without, or evaluations that cannot be compared.
    """
    found = [read_assessment(_evaluated(directory)) for directory in directories]
    page = build_comparison_page(found, str(found[0].provenance.get("note", "")))
    where = write_pages(output, page)
    return _shown(page, where)


def origin(path: Path) -> str:
    """How a file's showers were made, as the file says; empty if it does not.

    Raises:
        DataFormatError: no whole HDF5 file.
    """
    with open_file(path) as file:
        return str(file.attrs.get("note", ""))


def _shown(page: Page, where: Path) -> str:
    """What a terminal shows: the page's words and tables, and where it lies."""
    sections = tuple(item for item in page.sections if item.title != "Provenance")
    return f"{build_markdown(replace(page, sections=sections))}\n{where}"


def _evaluated(directory: Path) -> Path:
    for place in (directory, directory / "report"):
        if (place / FILE_NAME).is_file():
            return place
    raise DataFormatError(f"{directory} must hold {FILE_NAME} (or report/{FILE_NAME}). Received: neither")
