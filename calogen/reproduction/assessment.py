"""The showers of a study, judged as anyone's: places, pictures, `evaluation.json`."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from calogen.claims.judge import Results, Table
from calogen.evaluation.judging import Options, assess_showers, reference_of
from calogen.evaluation.submissions import placement_table
from calogen.plots.training import draw_losses
from calogen.reports.evaluation import draw_pictures, overall
from calogen.reproduction.study import Outcome
from calogen.showers.sample import Showers


def add_assessments(
    results: Results, figures: Mapping[str, Figure], outcome: Outcome, note: str, directory: Path
) -> tuple[Results, dict[str, Figure]]:
    """Adds to a study's results and figures what the judgement of its showers gives.

    Every set of networks gets an `evaluation.json` of its own, which `calogen report` puts beside others. There are no
    classifiers in it: `calogen evaluate` trains them.

    Args:
        results, figures: of the study.
        outcome: of its first training seed.
        note: which showers.
        directory: of the report; the files go into `evaluations/<set>/`.

    Returns:
        Results with places among the CaloChallenge's submissions; figures with showers, energies, correlations, losses.
    """
    compared, tables, drawn = outcome.comparisons, dict(results.tables), dict(figures)
    options = Options(repetitions=0, seed=int(results.provenance["seed"]))
    about = {**results.provenance, "note": note, "data": {"reference": {"sha256": _hash(compared.reference)}}}
    reference, seen = reference_of(compared.reference, options), []
    for label, showers in compared.generated.items():
        assessment, pictures = assess_showers(reference, showers, label, about)
        assessment.write(directory / "evaluations" / label)
        seen.append(pictures)
        places = overall(assessment.placements())
        if places:
            caption = f"Places among the CaloChallenge's submissions, {label} (other showers: for orientation only)"
            tables[caption] = Table(*placement_table(places))
    losses = {name: network.run.history for name, network in outcome.networks.items()}
    drawn |= draw_pictures(seen, note) | {"Losses of the trainings": draw_losses(losses, note)}
    return replace(results, tables=tables), drawn


def _hash(showers: Showers) -> str:
    """Of incident energies and voxels: equal for equal showers, wherever they come from."""
    digest = hashlib.sha256(showers.incident_energies.tobytes())
    digest.update(showers.energies.tobytes())
    return digest.hexdigest()
