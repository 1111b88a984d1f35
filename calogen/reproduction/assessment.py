"""Evaluation of a study's generated showers, as `calogen evaluate` judges any file."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from calogen.claims.judge import Results, Table
from calogen.evaluation.judging import Options, assess_showers, reference_of
from calogen.evaluation.submissions import placement_table
from calogen.plots.training import draw_losses
from calogen.reports.evaluation import overall
from calogen.reports.evaluation_figures import draw_pictures
from calogen.reproduction.study import Outcome
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry


def add_assessments(
    results: Results, figures: Mapping[str, Figure], outcome: Outcome, note: str, directory: Path
) -> tuple[Results, dict[str, Figure]]:
    """Evaluates a study's generated showers, and adds that to its results and figures.

    Of showers in cells, only the losses of the trainings are added: their observables are in the results already.

    Every set of networks gets its own `evaluation.json`, which `calogen report` compares with other evaluations. It
    has no classifier's scores: `calogen evaluate` trains classifiers.

    Args:
        results, figures: results and figures of the study so far.
        outcome: outcome of the study's first training seed.
        note: small print of the figures: which showers these are.
        directory: directory of the report; the evaluations go into `evaluations/<set>/` in it.

    Returns:
        The results with the places that the showers would have among the CaloChallenge's submissions, and the figures
        with those of showers, energies, correlations and losses.
    """
    histories = {name: network.run.history for name, network in outcome.networks.items()}
    losses = {"Losses of the trainings": draw_losses(histories, note)}
    compared, tables = outcome.comparisons, dict(results.tables)
    if not isinstance(compared.reference.geometry, VoxelGeometry):
        return results, {**figures, **losses}
    options = Options(repetitions=0, seed=int(str(results.provenance["seed"])))
    about = {**results.provenance, "note": note, "data": {"reference": {"sha256": _hash(compared.reference)}}}
    reference, all_pictures = reference_of(compared.reference, options), []
    for label, showers in compared.generated.items():
        assessment, pictures = assess_showers(reference, showers, label, about)
        assessment.write(directory / "evaluations" / label)
        all_pictures.append(pictures)
        places = overall(assessment.placements())
        if places:
            caption = f"Places among the CaloChallenge's submissions, {label} (other showers: for orientation only)"
            tables[caption] = Table(*placement_table(places))
    return replace(results, tables=tables), {**figures, **draw_pictures(all_pictures, note), **losses}


def _hash(showers: Showers) -> str:
    """SHA-256 of incident energies and voxels, whichever file they are from."""
    digest = hashlib.sha256(showers.incident_energies.tobytes())
    digest.update(showers.energies.tobytes())
    return digest.hexdigest()
