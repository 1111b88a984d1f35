"""The claims of arXiv:2309.06515, as rules for our showers.

Where the paper gives no number ("slightly", "consistently", "no gain"), the limit is ours and is part of the claim's
text.
"""

from itertools import pairwise

import numpy as np

from calogen.claims.judge import Claims, Finding
from calogen.evaluation.iterations import ALL, WITH_SHAPES
from calogen.evaluation.trainings import Evidence, NotDecidedError
from calogen.metrics.chi2 import total
from calogen.metrics.correlations import rank_correlation
from calogen.metrics.distributions import Value
from calogen.units import GeV

PHOTONS, PIONS = Claims("caloshowergan"), Claims("caloshowergan_pions")
KINETIC, PION = "single GAN, kinetic", "pion GAN"
_TOP = 2.0**18  # MeV, above which the paper sees large chi2
_LONG = 2_000_000  # iterations of the paper's longer training


@PHOTONS.rule("three_gans", "two_gans", "three_gans_kinetic", "two_gans_kinetic", "label")
@PHOTONS.rule("fastcalogan", "fastcalogan_kinetic")
@PIONS.rule("fastcalogan", "fastcalogan_kinetic")
def _better_and_better(evidence: Evidence) -> Finding:
    """Each group of networks has a smaller chi2/NDF than the group before it."""
    return [one - other for one, other in pairwise(evidence.chi2.values())], evidence.chi2


@PHOTONS.rule("layer_normalisation")
def _layers_improve(evidence: Evidence) -> Finding:
    kinetic, layers = (list(evidence.chi2.values())[start::2] for start in (0, 1))
    return [one - other for one, other in zip(kinetic, layers, strict=True)], evidence.chi2


@PHOTONS.rule("high_momenta")
def _worse_at_the_top(evidence: Evidence) -> Finding:
    parts = dict(sorted(evidence.network("photon-kinetic").at_papers_statistics.items()))
    *_, highest = parts
    above = [momentum for momentum in parts if momentum > _TOP] or list(parts)[-3:]
    top = total(parts[momentum] for momentum in above).reduced
    rest = total(part for momentum, part in parts.items() if momentum not in above).reduced
    shift = evidence.metric(highest, "total_energy", "mean_ratio", KINETIC).measured - 1
    margins = [top - rest, abs(shift) - 0.001] if highest > _TOP else []
    return margins, {"top": top, "rest": rest, "shift": 100 * shift, "highest": highest / GeV}


@PHOTONS.rule("low_gan")
def _low_but_at_4_gev(evidence: Evidence) -> Finding:
    low, single = evidence.chi2
    momenta = sorted(evidence.network(low).chi2)
    *below, last = (evidence.at(single, momentum) - evidence.at(low, momentum) for momentum in momenta)
    return [*below, -last], {"count": sum(gain.value > 0 for gain in below), "of": len(below), "last": last}


@PHOTONS.rule("layer_0")
def _overshoot(evidence: Evidence) -> Finding:
    excess = 100 * evidence.value("overshoot", "the three GANs were not trained") - 0.5
    return [excess, 1 - excess], {"excess": excess}


@PHOTONS.rule("best_iteration")
@PIONS.rule("best_iteration")
def _best_differs(evidence: Evidence) -> Finding:
    scans = [evidence.network(name).scans[ALL] for name in evidence.chi2]
    differs = np.concatenate([scan.best_by_momentum != scan.best for scan in scans])
    share = Value.share(differs.mean(), len(differs))
    return [share - 0.5], {"share": 100 * share.value}


@PHOTONS.rule("noise_and_masks")
def _noise_and_masks(evidence: Evidence) -> Finding:
    plain, *tried = evidence.chi2.values()
    return [value - 0.9 * plain for value in tried], evidence.chi2


@PHOTONS.rule("time")
@PIONS.rule("time")
def _time(evidence: Evidence) -> Finding:
    times = {f"t{position}": 1e3 * item for position, item in enumerate(evidence.values["seconds"].values())}
    values = np.array([item.value for item in times.values()])
    error = max(item.error for item in times.values()) / values.mean() / 10  # the mean over 100 calls
    return [0.2 - Value(float(np.ptp(values) / values.mean()), error)], times


@PHOTONS.rule("generation_seed")
@PIONS.rule("generation_seed")
def _generation_seed(evidence: Evidence) -> Finding:
    scatter = Value(1.0, 1 / float(np.sqrt(18))) * evidence.values["seed_scatter"]  # its error with ten seeds
    return [0.2 - scatter, scatter - 0.05], {"scatter": scatter}


@PHOTONS.rule("shapes")
def _shapes(evidence: Evidence) -> Finding:
    """Correlates steps after the first third, in which both chi2 fall anyway."""
    ranks = []
    for name in ("photon", "photon-low", "photon-medium", "photon-high"):
        scans = evidence.network(name).scans
        if WITH_SHAPES not in scans:
            raise NotDecidedError("the rule fastcalogan judges no shapes")
        energy, both = scans[ALL], scans[WITH_SHAPES]
        shapes = (both.chi2 - energy.chi2).sum(axis=1) / (both.ndf - energy.ndf).sum(axis=1)
        late = slice(len(shapes) // 3, None)
        ranks.append(rank_correlation(np.diff(energy.total[late]), np.diff(shapes[late])))
    rank = Value.mean(ranks)
    rank = Value(rank.value, rank.error * float(np.sqrt(1.5)))  # steps up and down alternate
    return [rank], {"rank": rank}


@PHOTONS.rule("json_size")
def _json_size(evidence: Evidence) -> Finding:
    return [], evidence.values["megabytes"]


@PIONS.rule("layer_normalisation")
def _layers_improve_pions(evidence: Evidence) -> Finding:
    kinetic, iterations = evidence.chi2["pion-kinetic"], evidence.network("pion-kinetic").last_iteration
    layers = evidence.within("pion", iterations)
    return [kinetic - layers], {"kinetic": kinetic, "layers": layers, "iterations": iterations}


@PIONS.rule("longer")
def _longer(evidence: Evidence) -> Finding:
    test = evidence.network("pion")
    iterations = test.last_iteration
    half, whole = (test.held_out_within(limit) for limit in (iterations // 2, None))
    if half is None or whole is None:
        raise NotDecidedError("no showers were held out")
    margins = [half.reduced - whole.reduced] if iterations >= _LONG else []
    return margins, {"half": half.reduced, "whole": whole.reduced, "iterations": iterations // 2}


@PIONS.rule("splitting")
def _splitting_pions(evidence: Evidence) -> Finding:
    two, iterations = evidence.chi2["two"], evidence.network("pion-upper").last_iteration
    one = evidence.within("pion", iterations)
    return [0.1 * one.value - abs(one - two)], {"one": one, "two": two, "iterations": iterations}


@PIONS.rule("bimodality")
def _bimodality(evidence: Evidence) -> Finding:
    figures: dict[str, Value] = {}
    for layer in (0, 1):
        geant4, ours = evidence.histograms(512.0, f"layer_{layer}_energy", PION)
        peak = 1 + int(np.argmax(geant4.fractions[1:-1] + geant4.fractions[2:]))  # the first bin holds the empty layers
        shares = (100 * Value.share(item.fractions[peak : peak + 2].sum(), item.entries) for item in (geant4, ours))
        figures |= zip((f"geant4_{layer}", f"ours_{layer}"), shares, strict=True)
    return [0.5 * figures[f"geant4_{layer}"] - figures[f"ours_{layer}"] for layer in (0, 1)], figures


@PIONS.rule("narrow_showers")
def _narrow(evidence: Evidence) -> Finding:
    geant4, ours = (100 * share for share in evidence.value("narrow", "the pion GAN was not trained"))
    return [0.5 * geant4 - ours], {"geant4": geant4, "ours": ours}


@PIONS.rule("spurious_peak")
def _spurious_peak(evidence: Evidence) -> Finding:
    figures = {}
    for where, momentum in (("low", 512.0), ("high", 8192.0)):
        for layer in (12, 13):
            geant4, ours = evidence.histograms(momentum, f"layer_{layer}_eta_width", PION)
            place = int(np.argmax(ours.fractions - geant4.fractions))
            received, expected = (Value.share(item.fractions[place], item.entries) for item in (ours, geant4))
            excess = 100 * (received - expected)
            chance = float(np.sqrt(2 * np.log(len(ours.fractions))))  # of the largest bin, in errors
            figures[f"{where}_{layer}"] = excess - chance * excess.error
    return [excess - 3 if key.startswith("low") else 3 - excess for key, excess in figures.items()], figures


@PIONS.rule("high_momenta_first")
def _high_momenta_first(evidence: Evidence) -> Finding:
    scan = evidence.network("pion").scans[ALL]
    lowest = np.minimum.accumulate(scan.chi2 / np.maximum(scan.ndf, 1), axis=0)
    iterations = scan.iterations[np.argmax(lowest <= 1.5 * lowest[-1], axis=0)].astype(np.float64)
    rank = rank_correlation(scan.momenta, iterations)
    return [-rank], {"first": float(iterations[0]), "last": float(iterations[-1]), "rank": rank}
