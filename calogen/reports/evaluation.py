"""Pages of judged showers: one model against Geant4, or several models side by side."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from calogen.errors import DataFormatError
from calogen.evaluation.assessment import RANKED_METRIC, Assessment
from calogen.evaluation.compare import ALL_ENERGIES, Scored
from calogen.evaluation.copies import ALARM
from calogen.evaluation.judgement import OWN_BINNING
from calogen.evaluation.pictures import Pictures
from calogen.evaluation.submissions import Placement, placement_table, ranking_notes
from calogen.metrics.distributions import FEATURE_METRICS, Value
from calogen.metrics.features import Feature
from calogen.plots.judgement import feature_title
from calogen.reports.evaluation_figures import figure_sections
from calogen.reports.page import Cell, DataTable, Items, Page, PageBlock, PageVerdict, Tone, number_text
from calogen.reports.reproduction import flat_rows

_METRIC_TITLES = {
    "ks": "KS",
    "wasserstein": "Wasserstein [deviations]",
    "chi2_per_ndf": "χ²/NDF",
    "separation_power": "1000 S",
    "challenge_separation_power": "1000 x separation power of the CaloChallenge",
}
_SCALE = dict.fromkeys(("separation_power", "challenge_separation_power", "fpd", "kpd"), 1000)  # pages multiply by it
NUMBER_TITLES = {
    "auc_low": "AUC, voxels",
    "auc_low-normed": "AUC, voxels / layer energy",
    "auc_high": "AUC, features",
    "jsd_low": "JSD, voxels",
    "jsd_low-normed": "JSD, voxels / layer energy",
    "jsd_high": "JSD, features",
    "remembered": "Remembered of the training file (0: nothing)",
    "training_distance": "Distance from the training file / the reference's",
    "fpd": "1000 FPD",
    "kpd": "1000 KPD",
}
_GOOD_AUC, _BAD_AUC = 0.6, 0.9  # our choice: the verdict's mark is good below (without a floor), bad above
_LIKE_GEANT4 = 2.0  # standard errors above the floor within which a number counts as Geant4's
_BY_CHANCE, _NEVER = 0.05, 4.0  # share of the distributions that may lie above, and a limit that none may exceed
_LAYER = re.compile(r"_\d+$")  # end of a metric's name, if the metric is one layer's
_EXPLAINED = (
    "KS: largest difference of the cumulative distributions. Wasserstein: area between them, in standard deviations of "
    "Geant4. χ²/NDF: in bins that are joined until five showers are expected in each. S: separation power, 0 for equal "
    "and 1 for disjoint histograms, of all showers, with those beyond the bins; the CaloChallenge's leaves these out. "
    "Errors come from resampling. Small print shows the floor, Geant4 against Geant4 (a second file, or, for the "
    "CaloChallenge's separation power without one, the mean of shuffled files), and by how many standard errors σ a "
    "number lies above it. The verdict's mark is calogen's choice: good if the AUC of voxels lies within 2 σ of the "
    f"floor, or below {_GOOD_AUC} without a second Geant4 file or with a single training; bad above {_BAD_AUC}. "
    "Without classifiers: good if at most 1 in 20 distributions lies more than 2 σ above the floor and none more than "
    "4 σ, else bad. Axes end where 0.5 % of a sample's showers lie beyond them; S counts these, too."
)
_SIGMAS = (
    "Differences in standard errors σ are those of a model from the first one: below 0 it is closer to Geant4 where "
    "small numbers are good. The errors count as independent, although both models have one reference."
)

_RANKED = (
    "places: numbers are ranked by their excess over Geant4 against itself, ours over that of as many showers (Geant4 "
    "here, if known), published ones over the challenge's; shown are the best and the worst place that two standard "
    "errors allow. Geant4's own separation power with as many showers comes from shuffling the showers of both files, "
    "and is corrected by the second reference if there is one"
)
_COARSE = (
    "Where Geant4 spans fewer than 20 bins of the challenge's axis (see small print), the figure, χ²/NDF and S have "
    "calogen's own bins, between quantiles of Geant4; the CaloChallenge's separation power has its bins everywhere."
)
_NORMED = {
    True: (
        "AUC and JSD of voxels / layer energy: as in the challenge, voxels below the threshold keep their energy, but "
        "layer energies are sums of those above it (if there are none, voxels are divided by 1e-16 MeV)."
    ),
    False: (
        "AUC and JSD of voxels / layer energy: voxels below the threshold are empty, which is calogen's way, not the "
        "challenge's."
    ),
}


def build_assessment_page(assessment: Assessment, pictures: Pictures, note: str = "") -> Page:
    """The page of one model.

    Args:
        assessment: numbers of the model's showers.
        pictures: data of the figures.
        note: small print of the figures, e.g. how Geant4 simulated the reference.
    """
    one = [assessment]
    sections: dict[str, tuple[PageBlock, ...]] = {
        "Warnings": (Items(assessment.warnings),) if assessment.warnings else (),
        **figure_sections(one, [pictures], note),
        "Rank": tuple(_ranks(one)),
        "Numbers": (_single_numbers(one), _EXPLAINED, *_remarks(assessment), _all_metrics(assessment)),
        "Provenance": (_provenance(one),),
    }
    subtitle = f"{_showers(assessment)}, {assessment.geometry}. {note}".strip()
    return Page(f"{assessment.label} against Geant4", subtitle, _verdict(one), sections)


def build_comparison_page(assessments: Sequence[Assessment], note: str = "", pictures: Sequence[Pictures] = ()) -> Page:
    """The page of several models side by side.

    Args:
        assessments: numbers of the models' showers.
        note: small print of the figures.
        pictures: data of the figures of all models; none: only distributions are drawn.

    Raises:
        DataFormatError: there are fewer than two models, labels are equal, or geometries, references or bins differ.
    """
    labels = [item.label for item in assessments]
    if len(set(labels)) < max(2, len(labels)):
        raise DataFormatError(f"two or more models with labels of their own can be compared. Received: {labels}")
    for item in assessments[1:]:
        _require_same(assessments[0], item)
    warnings = tuple(dict.fromkeys(f"{item.label}: {text}" for item in assessments for text in item.warnings))
    sections: dict[str, tuple[PageBlock, ...]] = {
        "Warnings": (Items(warnings),) if warnings else (),
        **figure_sections(assessments, pictures, note),
        "Rank": tuple(_ranks(assessments)),
        "Numbers": (_single_numbers(assessments), *_remarks(assessments[0]), _compared_metrics(assessments), _SIGMAS),
        "Provenance": (_provenance(assessments),),
    }
    subtitle = f"{_showers(assessments[0])}, {assessments[0].geometry}. {note}".strip()
    return Page(", ".join(labels), subtitle, _verdict(assessments), sections)


def _verdict(assessments: Sequence[Assessment]) -> PageVerdict:
    """How a classifier or, without one, how distributions judge the best model."""
    known = [item for item in assessments if "auc_low" in item.numbers and np.isfinite(_auc(item))]
    best = min(known or assessments, key=_auc if known else _mean_separation)
    several = f"Of {len(assessments)} models, " if len(assessments) > 1 else ""
    if known:
        text = f"{several}{'a' if several else 'A'} classifier of voxels tells {best.label} from Geant4 with AUC "
        headline, tone = f"{text}{_number(best, 'auc_low')} (0.5: it cannot, 1: always)", _tone(best)
        headline += f"; {_floor(best, 'auc_low')}" if "auc_low" in best.floor else ""
    else:
        pulls = _pulls(best)
        value = (
            f"separation power is {number_text(1000 * _mean_separation(best))}/1000 in the mean over all distributions"
        )
        headline, tone = f"{several}{best.label}'s {value}", ""
        if pulls:
            headline += f"; {_above(pulls)} lie above Geant4's own by more than 2 σ{_whose(best)}"
            good = sum(pull > _LIKE_GEANT4 for pull in pulls) <= _BY_CHANCE * len(pulls) and max(pulls) <= _NEVER
            tone = "good" if good else "bad"
    facts = []
    for item in assessments:
        before = f"{item.label}, " if several else ""
        facts += [(before + title, text) for title, text in _facts(item)]
    alarms = [f"{item.label}: {text}" for item in assessments for text in item.warnings if text.startswith(ALARM)]
    if alarms:
        headline, tone = alarms[0], "bad"
    return PageVerdict(headline, tone, tuple(facts), _worst(assessments))


def _auc(item: Assessment) -> float:
    return item.numbers["auc_low"].value


def _mean_separation(item: Assessment) -> float:
    values = [scored.numbers_of()["separation_power"].value for scored in _over_all(item)]
    return float(np.nanmean(values))


def _above(pulls: Sequence[float]) -> str:
    """How many of the distributions lie above the floor."""
    return f"{sum(pull > _LIKE_GEANT4 for pull in pulls)} of {len(pulls)}"


def _whose(item: Assessment) -> str:
    """Which separation power has a floor: without a second Geant4 file, the challenge's."""
    return "" if item.floor else " (separation power of the CaloChallenge)"


def _pulls(item: Assessment) -> list[float]:
    """By how many standard errors separation powers lie above their known floors."""
    metric = "separation_power" if item.floor else RANKED_METRIC
    pairs = [(scored.numbers_of()[metric], _floor_of(scored, metric)) for scored in _over_all(item)]
    return [(ours - floor).significance() for ours, floor in pairs if floor and np.isfinite(ours.value)]


def _floor_of(item: Scored[Feature], metric: str) -> Value | None:
    """What a metric gives for Geant4 against Geant4; None: it is not known."""
    return item.second_reference.get(metric) or (item.expected.get("generated") if metric == RANKED_METRIC else None)


def _tone(item: Assessment) -> Tone:
    ours, floor = item.numbers["auc_low"], item.floor.get("auc_low")
    if floor is None or not np.isfinite((ours - floor).error):  # an AUC of one training has no error
        good = ours.value < _GOOD_AUC
    else:
        good = (ours - floor).significance() <= _LIKE_GEANT4
    return "good" if good else "bad" if ours.value > _BAD_AUC else "unsure"


def _facts(item: Assessment) -> Iterable[tuple[str, str]]:
    for name in ("auc_high", "fpd", "kpd"):
        if name in item.numbers:
            yield NUMBER_TITLES[name], _number(item, name)
    yield "1000 S, mean over all distributions", number_text(1000 * _mean_separation(item))
    pulls = _pulls(item)
    if pulls:
        yield "distributions above Geant4's own separation power by more than 2 σ", _above(pulls) + _whose(item)
    places = item.placements()
    if places:
        best, worst = (sorted(ends)[len(places) // 2] for ends in zip(*(place.places for place in places), strict=True))
        known = [place.against_floor for place in places if place.against_floor]
        text = f"{best} to {worst} of {len(places[0].ranking.published) + 1} in the median of {len(places)} metrics"
        text += f"; as good as Geant4 itself in {len(known) - known.count('worse')} of {len(known)}"
        yield "places among the CaloChallenge's submissions", text


def _worst(assessments: Sequence[Assessment]) -> DataTable:
    rows: list[tuple[str | Cell, ...]] = []
    for item in assessments:
        for scored in item.worst():
            name = feature_title(scored.feature)
            rows.append((*([item.label] if len(assessments) > 1 else []), name, _cell(scored, "separation_power")))
    header = ("distribution", "1000 S")
    return DataTable("The worst distributions", ("model", *header) if len(assessments) > 1 else header, tuple(rows))


def _ranks(assessments: Sequence[Assessment]) -> Iterable[PageBlock]:
    for item in assessments:
        places = item.placements()
        by_layer = [place for place in places if _LAYER.search(place.ranking.metric)]
        if places:
            yield DataTable(f"{item.label} among the CaloChallenge's submissions", *placement_table(overall(places)))
            yield DataTable(f"{item.label}, layer by layer", *placement_table(by_layer))
            yield Items((_RANKED, *ranking_notes(places)))


def overall(places: Iterable[Placement]) -> list[Placement]:
    """The places in metrics that are not a single layer's."""
    return [place for place in places if not _LAYER.search(place.ranking.metric)]


def _remarks(assessment: Assessment) -> Iterable[str]:
    """Remarks on the bins and on the classifiers' inputs, where these need an explanation."""
    if any(item.coarse is not None for item in assessment.judgement.scored):
        yield _COARSE
    if "auc_low-normed" in assessment.numbers:
        yield _NORMED[assessment.judgement.binning != OWN_BINNING]


def _single_numbers(assessments: Sequence[Assessment]) -> DataTable:
    names = list(dict.fromkeys(name for item in assessments for name in item.numbers))
    rows: list[tuple[str | Cell, ...]] = []
    for name in names:
        cells = [Cell(_number(item, name), note=_floor(item, name)) for item in assessments]
        rows.append((NUMBER_TITLES.get(name, name), *cells, *_sigmas([item.numbers.get(name) for item in assessments])))
    return DataTable("Classifiers, distances, neighbourhoods", ("number", *_columns(assessments)), tuple(rows))


def _columns(assessments: Sequence[Assessment]) -> list[str]:
    """Titles of the columns of the models, and of their differences from the first one."""
    first, *others = (item.label for item in assessments)
    return [first, *others, *(f"{label} - {first} [σ]" for label in others)]


def _sigmas(values: Sequence[Value | None]) -> list[Cell]:
    """Differences of the models' values from the first one, in standard errors."""
    first, *others = values
    return [_sigma(other - first) if other and first else Cell("-") for other in others]


def _sigma(value: Value) -> Cell:
    """By how many standard errors a value lies above 0."""
    if not (np.isfinite([value.value, value.error]).all() and value.error > 0):
        return Cell("-")
    return Cell(f"{value.significance():+.1f}", value.significance())


def _all_metrics(assessment: Assessment) -> DataTable:
    rows = []
    for item in _over_all(assessment):
        share = item.undefined["generated"]
        small = [f"undefined in {share:.2g} of the showers (Geant4 {item.undefined['reference']:.2g})"] if share else []
        small += [f"Geant4 spans {item.coarse} bins of the challenge's axis"] if item.coarse is not None else []
        name = Cell(feature_title(item.feature), note="; ".join(small))
        rows.append((name, *(_cell(item, metric) for metric in FEATURE_METRICS)))
    return DataTable("Every distribution", ("distribution", *(_METRIC_TITLES[m] for m in FEATURE_METRICS)), tuple(rows))


def _compared_metrics(assessments: Sequence[Assessment]) -> DataTable:
    rows: list[tuple[str | Cell, ...]] = []
    for scored in _over_all(assessments[0]):
        models = [item.judgement.find(scored.feature.name) for item in assessments]
        sigmas = _sigmas([item.numbers_of()["separation_power"] for item in models])
        rows.append((feature_title(scored.feature), *(_cell(item, "separation_power") for item in models), *sigmas))
    caption = "1000 S (separation power) of every distribution"
    return DataTable(caption, ("distribution", *_columns(assessments)), tuple(rows))


def _over_all(assessment: Assessment) -> list[Scored[Feature]]:
    return [item for item in assessment.judgement.scored if item.incident_energy == ALL_ENERGIES]


def _cell(item: Scored[Feature], metric: str) -> Cell:
    scale, value, floor = _SCALE.get(metric, 1), item.numbers_of()[metric], _floor_of(item, metric)
    note = _beside(value, floor, scale) if floor else ""
    return Cell(_text(value, scale), value.value if np.isfinite(value.value) else None, note=note)


def _number(item: Assessment, name: str) -> str:
    return _text(item.numbers[name], _SCALE.get(name, 1)) if name in item.numbers else "-"


def _floor(item: Assessment, name: str) -> str:
    known = name in item.floor and name in item.numbers
    return _beside(item.numbers[name], item.floor[name], _SCALE.get(name, 1)) if known else ""


def _beside(value: Value, floor: Value, scale: float) -> str:
    """The floor, and by how many standard errors the value lies above it."""
    pull = _sigma(value - floor).text
    return f"Geant4 {_text(floor, scale)}" + (f"; {pull} σ" if pull != "-" else "")


def _text(value: Value, scale: float) -> str:
    return str(scale * value)


def _provenance(assessments: Sequence[Assessment]) -> DataTable:
    columns = [dict(flat_rows(item.provenance)) for item in assessments]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [(name, *(column.get(name, "-") for column in columns)) for name in names]
    return DataTable("What was judged, how and where", ("", *(item.label for item in assessments)), tuple(rows), False)


def _showers(assessment: Assessment) -> str:
    numbers = assessment.judgement.num_showers
    return f"{numbers['generated']:,} generated showers against {numbers['reference']:,} of Geant4"


def _require_same(first: Assessment, second: Assessment) -> None:
    """Refuse assessments whose numbers cannot be compared."""
    for what, ours, theirs in (
        ("geometry", first.geometry, second.geometry),
        ("bins", first.judgement.binning, second.judgement.binning),
        ("threshold", first.judgement.min_energy, second.judgement.min_energy),
        ("reference file", *(_reference_hash(item) for item in (first, second))),
    ):
        if ours != theirs:
            raise DataFormatError(
                f"{second.label} must be judged with the {what} of {first.label}. Received: {theirs}, not {ours}"
            )
    for scored in first.judgement.scored:
        same = second.judgement.find(scored.feature.name, scored.incident_energy)
        if not np.array_equal(scored.histograms["reference"].edges, same.histograms["reference"].edges):
            raise DataFormatError(
                f"{second.label} must be judged in the bins of {first.label}. Received: others of "
                f"{scored.feature.name}, perhaps from another version of calogen; evaluate both anew"
            )


def _reference_hash(item: Assessment) -> str:
    """Hashes of all files of the reference, also of files that these refer to, as one text."""
    reference = item.provenance.get("data", {}).get("reference", {})
    if not isinstance(reference, Mapping):
        return str(reference)
    hashes = [text for name, text in flat_rows(reference) if not re.search(r"(^|: )file$", name)]
    return ", ".join(hashes)
