"""The claims of arXiv:2309.06515, judged on our showers.

Every rule is a number that is positive where the claim holds, with its error; limits that the paper leaves to the eye
("slightly", "consistently", "no gain") are ours and stand in the text of the claim's figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from calogen.claims.caloshowergan_words import PHOTON_OURS, PHOTON_WORDS, PION_OURS, PION_WORDS
from calogen.claims.evidence import Evidence, Found, NotDecidedError, Rule, percent, share_of, untrained, value_of
from calogen.claims.judge import Claim, judge
from calogen.claims.rules import combined, difference, independent, mean, rank_correlation, significance, texts
from calogen.evaluation.iterations import ALL, SHAPES
from calogen.metrics.chi2 import total
from calogen.metrics.distributions import Value
from calogen.units import GeV

SINGLE, TWO, THREE = ("photon",), ("photon-low", "photon-upper"), ("photon-low", "photon-medium", "photon-high")
TRIED = ("photon-noise-1kev", "photon-noise-1mev", "photon-mask-1kev", "photon-mask-1mev")
LABELS = {"single GAN": SINGLE, "two GANs": TWO, "three GANs": THREE}
_NUMBERS = dict(zip(("one", "two", "three"), LABELS.values(), strict=True))
KINETIC = "single GAN, kinetic"
PION = "pion GAN"
_TOP, _LONG = 2.0**18, 2_000_000  # MeV above which, and iterations from which on, claims speak
_ABLATION = {
    "two_gans",
    "three_gans_kinetic",
    "two_gans_kinetic",
    "layer_normalisation",
    "high_momenta",
    "low_gan",
    "label",
    "noise_and_masks",
    "splitting",
}
_SCATTER = {
    "three_gans",
    "two_gans",
    "three_gans_kinetic",
    "two_gans_kinetic",
    "low_gan",
    "layer_normalisation",
    "label",
    "noise_and_masks",
    "fastcalogan",
    "fastcalogan_kinetic",
    "splitting",
}
_INDEPENDENT = {"shapes", "high_momenta_first", "generation_seed"}  # of each other in all trainings: errors, too
_ONE_SCATTER = " [one training: the scatter between trainings is estimated from late iterations]"
_NO_SCATTER = " [one training: the scatter between trainings is not in the errors]"


def _better_with_more(*numbers: str, ending: str = "") -> Rule:
    """Each set of GANs has a smaller chi2/NDF than the one before it."""

    def rule(evidence: Evidence) -> Found:
        figures = evidence.known({number: [f"{name}{ending}" for name in _NUMBERS[number]] for number in numbers})
        return tuple(difference(figures[one], figures[other]) for one, other in pairwise(numbers)), figures

    return rule


def _layers_improve(evidence: Evidence) -> Found:
    endings = {"kinetic": "-kinetic", "layers": ""}
    figures = evidence.known(
        {
            f"{number}_{label}": [f"{name}{ending}" for name in names]
            for number, names in _NUMBERS.items()
            for label, ending in endings.items()
        }
    )
    return tuple(difference(figures[f"{number}_kinetic"], figures[f"{number}_layers"]) for number in _NUMBERS), figures


def _layers_improve_pions(evidence: Evidence) -> Found:
    kinetic = evidence.network("pion-kinetic")
    iterations = int(kinetic.scans[ALL].iterations[-1])
    half = evidence.within("pion", iterations)
    figures = {"kinetic": evidence.per_ndf(["pion-kinetic"]), "layers": half, "iterations": Value(iterations, 0.0)}
    return (difference(figures["kinetic"], half),), figures


def _worse_at_the_top(evidence: Evidence) -> Found:
    test = evidence.network("photon-kinetic")
    momenta = sorted(test.chi2)
    parts = test.at_papers_statistics
    above = [momentum for momentum in momenta if momentum > _TOP] or momenta[-3:]
    top = value_of(total(parts[momentum] for momentum in above))
    rest = value_of(total(parts[momentum] for momentum in momenta if momentum not in above))
    ratio = evidence.metric(momenta[-1], "total_energy", "mean_ratio", KINETIC).measured
    seen = Value(abs(ratio.value - 1) - 0.001, ratio.error)
    conditions = (difference(top, rest), seen) if momenta[-1] > _TOP else ()
    shift = Value(100 * (ratio.value - 1), 100 * ratio.error)
    return conditions, {"top": top, "rest": rest, "shift": shift, "highest": Value(momenta[-1] / GeV, 0.0)}


def _low_but_at_4_gev(evidence: Evidence) -> Found:
    low, single = "photon-low-kinetic", "photon-kinetic"
    momenta = sorted(evidence.network(low).chi2)
    gains = {momentum: difference(evidence.at(single, momentum), evidence.at(low, momentum)) for momentum in momenta}
    *below, last = gains
    count = sum(gains[momentum].value > 0 for momentum in below)
    figures = {"count": Value(count, 0.0), "of": Value(len(below), 0.0), "last": gains[last]}
    return (*(gains[momentum] for momentum in below), Value(-gains[last].value, gains[last].error)), figures


def _overshoot(evidence: Evidence) -> Found:
    if evidence.overshoot is None:
        raise NotDecidedError("the three GANs were not trained")
    for name in THREE:
        evidence.network(name)
    excess = Value(100 * evidence.overshoot.value - 0.5, 100 * evidence.overshoot.error)
    return (excess, Value(1 - excess.value, excess.error)), {"excess": excess}


def _best_differs(names: Sequence[str]) -> Rule:
    def rule(evidence: Evidence) -> Found:
        scans = [evidence.network(name).scans[ALL] for name in names]
        others = np.concatenate([scan.best_by_momentum != scan.best for scan in scans])
        share = float(others.mean())
        error = float(np.sqrt(max(share * (1 - share), 1 / len(others)) / len(others)))
        return (Value(share - 0.5, error),), {"share": Value(100 * share, 0.0)}

    return rule


def _label(evidence: Evidence) -> Found:
    figures = {"maximum": evidence.per_ndf(["photon-maximum"]), "logarithm": evidence.per_ndf(SINGLE)}
    return (difference(figures["maximum"], figures["logarithm"]),), figures


def _noise_and_masks(evidence: Evidence) -> Found:
    plain = evidence.per_ndf(SINGLE)
    figures = {name.removeprefix("photon-").replace("-", "_"): evidence.per_ndf([name]) for name in TRIED}
    limit = Value(0.9 * plain.value, 0.9 * plain.error)
    return tuple(difference(value, limit) for value in figures.values()), figures | {"plain": plain}


def _time(evidence: Evidence) -> Found:
    times = {
        f"t{position}": Value(1e3 * item.value, 1e3 * item.error)
        for position, item in enumerate(evidence.seconds.values())
    }
    values = np.array([item.value for item in times.values()])
    error = max(item.error for item in times.values()) / values.mean() / 10  # of a mean of 100 trials
    return (Value(0.2 - float(np.ptp(values) / values.mean()), error),), times


def _beats_fastcalogan(names: Sequence[str]) -> Rule:
    def rule(evidence: Evidence) -> Found:
        if evidence.fastcalogan is None:
            raise NotDecidedError("FastCaloGAN was not trained on these showers", "fastcalogan")
        if problem := untrained(evidence.fastcalogan):
            raise NotDecidedError(f"FastCaloGAN's {problem}")
        figures = {"fast": evidence.of(evidence.fastcalogan), "ours": evidence.per_ndf(names)}
        return (difference(figures["fast"], figures["ours"]),), figures

    return rule


def _generation_seed(evidence: Evidence) -> Found:
    scatter = Value(evidence.seed_scatter, evidence.seed_scatter / float(np.sqrt(18)))  # from ten seeds
    return (Value(0.2 - scatter.value, scatter.error), Value(scatter.value - 0.05, scatter.error)), {"scatter": scatter}


def _shapes(evidence: Evidence) -> Found:
    """Correlates steps after the first third, in which both chi2 fall, related or not."""
    found = []
    for name in (*SINGLE, *THREE):
        scans = evidence.network(name).scans
        if SHAPES not in scans:
            raise NotDecidedError("the rule fastcalogan judges no shapes")
        energy, both = scans[ALL], scans[SHAPES]
        shapes = (both.chi2 - energy.chi2).sum(axis=1) / (both.ndf - energy.ndf).sum(axis=1)
        late = slice(len(shapes) // 3, None)
        found.append(rank_correlation(np.diff(energy.total[late]), np.diff(shapes[late])))
    rank = mean(found)
    rank = Value(rank.value, rank.error * float(np.sqrt(1.5)))  # a step up is followed by one down
    return (rank,), {"rank": rank}


def _longer(evidence: Evidence) -> Found:
    test = evidence.network("pion")
    iterations = int(test.scans[ALL].iterations[-1])
    half, whole = (test.held_out_within(limit) for limit in (iterations // 2, None))
    if half is None or whole is None:
        raise NotDecidedError("no showers were held out")
    figures = {"half": value_of(half), "whole": value_of(whole), "iterations": Value(iterations // 2, 0.0)}
    return (difference(figures["half"], figures["whole"]),) if iterations >= _LONG else (), figures


def _splitting_pions(evidence: Evidence) -> Found:
    two = evidence.per_ndf(["pion-low", "pion-upper"])
    iterations = int(evidence.network("pion-upper").scans[ALL].iterations[-1])
    one = evidence.within("pion", iterations)
    gain = Value(abs(one.value - two.value), float(np.hypot(one.error, two.error)))
    figures = {"one": one, "two": two, "iterations": Value(iterations, 0.0)}
    return (difference(Value(0.1 * one.value, 0.0), gain),), figures


def _bimodality(evidence: Evidence) -> Found:
    evidence.network("pion")
    conditions: list[Value] = []
    figures: dict[str, Value] = {}
    for layer in (0, 1):
        geant4, ours = evidence.histograms(512.0, f"layer_{layer}_energy", PION)
        pairs = geant4.fractions[1:-1] + geant4.fractions[2:]  # the first bin has the showers without energy there
        peak = 1 + int(np.argmax(pairs))
        expected, found = (share_of(item, slice(peak, peak + 2)) for item in (geant4, ours))
        conditions.append(difference(Value(0.5 * expected.value, 0.5 * expected.error), found))
        figures |= {f"geant4_{layer}": percent(expected), f"ours_{layer}": percent(found)}
    return tuple(conditions), figures


def _narrow(evidence: Evidence) -> Found:
    if evidence.narrow is None:
        raise NotDecidedError("the pion GAN was not trained")
    evidence.network("pion")
    geant4, ours = (percent(item) for item in evidence.narrow)
    return (difference(Value(0.5 * geant4.value, 0.5 * geant4.error), ours),), {"geant4": geant4, "ours": ours}


def _spurious_peak(evidence: Evidence) -> Found:
    evidence.network("pion")
    conditions: list[Value] = []
    figures: dict[str, Value] = {}
    for layer in (12, 13):
        for where, momentum, sign in (("low", 512.0, 1), ("high", 8192.0, -1)):
            geant4, ours = evidence.histograms(momentum, f"layer_{layer}_eta_width", PION)
            place = int(np.argmax(ours.fractions - geant4.fractions))
            excess = percent(difference(*(share_of(item, slice(place, place + 1)) for item in (ours, geant4))))
            chance = excess.error * float(np.sqrt(2 * np.log(len(ours.fractions))))  # of so many bins the largest
            excess = Value(excess.value - chance, excess.error)
            conditions.append(Value(sign * (excess.value - 3), excess.error))
            figures[f"{where}_{layer}"] = excess
    return tuple(conditions), figures


def _high_momenta_first(evidence: Evidence) -> Found:
    scan = evidence.network("pion").scans[ALL]
    lowest = np.minimum.accumulate(scan.chi2 / np.maximum(scan.ndf, 1), axis=0)
    reached = np.argmax(lowest <= 1.5 * lowest[-1], axis=0)
    iterations = scan.iterations[reached].astype(np.float64)
    rank = rank_correlation(scan.momenta, iterations)
    figures = {"first": Value(float(iterations[0]), 0.0), "last": Value(float(iterations[-1]), 0.0), "rank": rank}
    return (Value(-rank.value, rank.error),), figures


PHOTON_RULES: dict[str, Rule] = {
    "three_gans": _better_with_more("one", "three"),
    "two_gans": _better_with_more("one", "two", "three"),
    "three_gans_kinetic": _better_with_more("one", "three", ending="-kinetic"),
    "two_gans_kinetic": _better_with_more("one", "two", "three", ending="-kinetic"),
    "layer_normalisation": _layers_improve,
    "high_momenta": _worse_at_the_top,
    "low_gan": _low_but_at_4_gev,
    "layer_0": _overshoot,
    "best_iteration": _best_differs(THREE),
    "shapes": _shapes,
    "label": _label,
    "noise_and_masks": _noise_and_masks,
    "time": _time,
    "fastcalogan": _beats_fastcalogan(THREE),
    "fastcalogan_kinetic": _beats_fastcalogan(["photon-kinetic"]),
    "generation_seed": _generation_seed,
}
PION_RULES: dict[str, Rule] = {
    "layer_normalisation": _layers_improve_pions,
    "longer": _longer,
    "splitting": _splitting_pions,
    "bimodality": _bimodality,
    "narrow_showers": _narrow,
    "spurious_peak": _spurious_peak,
    "high_momenta_first": _high_momenta_first,
    "best_iteration": _best_differs(("pion",)),
    "time": _time,
    "fastcalogan": _beats_fastcalogan(["pion"]),
    "fastcalogan_kinetic": _beats_fastcalogan(["pion-kinetic"]),
    "generation_seed": _generation_seed,
}
_PAPERS = {"photon": (PHOTON_RULES, PHOTON_WORDS, PHOTON_OURS), "pion": (PION_RULES, PION_WORDS, PION_OURS)}


def judge_claims(seeds: Sequence[Evidence], particle: str, commands: Mapping[str, str]) -> tuple[Claim, ...]:
    """The claims table, averaged over the seeds that trained what a claim needs.

    Args:
        seeds: evidence.
        particle: `photon` or `pion`.
        commands: what would decide an undecided claim: `ablation` for those of networks that only an ablation trains,
            `both` for those of FastCaloGAN's, too, `paper` for all others; what trains networks that are missing:
            `missing`, `fastcalogan`.
    """
    rows = []
    rules, words, ours = _PAPERS[particle]
    for name, rule in rules.items():
        paper, verdict = words[name], judge(Value(np.nan, np.nan))
        command = commands["both" if "fastcalogan" in name else "ablation" if name in _ABLATION else "paper"]
        found, missing = _found(rule, seeds)
        if not found and missing:
            command = command if missing.remedy == "paper" else commands[missing.remedy]
            rows.append(Claim(paper.claim, paper.source, paper.words, f"{missing}: {command}", verdict))
            continue
        together = independent if name in _INDEPENDENT else combined
        figures = {key: together([values[key] for _, values in found]) for key in found[0][1]}
        conditions = [together(values) for values in zip(*(values for values, _ in found), strict=True)]
        text = ours[name].format(**texts(figures))
        if len(found) == 1:
            text += _ONE_SCATTER if name in _SCATTER else _NO_SCATTER
        elif len(found) < len(seeds):
            text += f" [{len(found)} of {len(seeds)} trainings]"
        if conditions:
            verdict = judge(min(conditions, key=significance))
        if verdict.startswith("undecided"):
            text += f" (would decide: {command})"
        rows.append(Claim(paper.claim, paper.source, paper.words, text, verdict))
    return tuple(rows)


def _found(rule: Rule, seeds: Sequence[Evidence]) -> tuple[list[Found], NotDecidedError | None]:
    """What the seeds that can decide gave; why the first of the others cannot."""
    able, missing = [], None
    for evidence in seeds:
        try:
            able.append((evidence, rule(evidence)))
        except NotDecidedError as error:
            missing = missing or error
    if len(able) == 1 < len(seeds):
        return [rule(replace(able[0][0], alone=True))], missing
    return [found for _, found in able], missing
