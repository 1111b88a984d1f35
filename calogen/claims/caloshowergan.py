"""The claims of arXiv:2309.06515, judged on our showers.

Every rule is a number that is positive where the claim holds, with its error; limits that the paper leaves to the eye
("slightly", "consistently", "no gain") are ours and stand in the text of the claim's figure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calogen.claims.caloshowergan_words import PHOTON_WORDS, PION_WORDS
from calogen.claims.rules import combined, difference, rank_correlation, significance, texts
from calogen.evaluation.chi2 import ALL, Chi2, NetworkTest, total
from calogen.evaluation.comparison import Comparison, Measurement, ObservableComparison
from calogen.evaluation.metrics import Value
from calogen.report import Claim, judge

SINGLE, TWO, THREE = ("photon",), ("photon-low", "photon-upper"), ("photon-low", "photon-medium", "photon-high")
TRIED = ("photon-noise-1kev", "photon-noise-1mev", "photon-mask-1kev", "photon-mask-1mev")
LABELS = {"single GAN": SINGLE, "two GANs": TWO, "three GANs": THREE}
KINETIC = "single GAN, kinetic normalisation"
PION = "pion GAN"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the networks of one training seed gave.

    Args:
        networks: tests by name.
        by_momentum, together: comparisons with the samples of `LABELS`, `KINETIC` or `PION`.
        overshoot: share of the three GANs' showers above the reference's 99.5 % quantile of the energy in layer 0.
        narrow: share of generated showers below the reference's 5 % quantile of the width in layers 12 and 13.
        shape_correlation: rank correlation over iterations of the total energy's chi2 with that of layers and shapes.
        seed_scatter: standard deviation of chi2/NDF over generation seeds.
        seconds: time of one shower by incident energy, s: mean and standard deviation of 100 trials.
        fastcalogan: tests of FastCaloGAN's network of the same seed; None: it was not trained.
        alone: whether there is no other training seed: then the scatter between late iterations stands for theirs.
    """

    networks: Mapping[str, NetworkTest]
    by_momentum: Mapping[float, Comparison]
    together: Mapping[str, ObservableComparison]
    shape_correlation: Value
    seed_scatter: float
    seconds: Mapping[float, Value]
    overshoot: Value | None = None
    narrow: Value | None = None
    fastcalogan: NetworkTest | None = None
    alone: bool = False

    def per_ndf(self, names: Sequence[str]) -> Value:
        """chi2/NDF of networks together, with its error."""
        return self._error([self.network(name) for name in names])

    def network(self, name: str) -> NetworkTest:
        """The test of a network.

        Raises:
            NotTrainedError: this run has none of this name.
        """
        if name not in self.networks:
            raise NotTrainedError
        return self.networks[name]

    def _error(self, tests: Sequence[NetworkTest]) -> Value:
        found = total(part for test in tests for part in test.chi2.values())
        scatter = [total(test.chi2.values()).ndf * late_scatter(test) for test in tests] if self.alone else [0.0]
        return Value(found.per_ndf, float(np.hypot(found.error, np.sqrt(np.sum(np.square(scatter))) / found.ndf)))

    def of(self, test: NetworkTest | None) -> Value:
        """chi2/NDF of one network."""
        if test is None:
            raise NotTrainedError
        return self._error([test])

    def metric(self, momentum: float, observable: str, metric: str, sample: str) -> Measurement:
        """One entry of the metrics tables."""
        if momentum not in self.by_momentum:
            raise NotTrainedError
        rows = self.by_momentum[momentum].observables[observable].measurements
        for row in rows:
            if (row.metric, row.sample) == (metric, sample):
                return row
        raise NotTrainedError


class NotTrainedError(Exception):
    """A claim needs a network, or showers of a momentum, that this run does not have."""


def late_scatter(test: NetworkTest) -> float:
    """Standard deviation of chi2/NDF over the last third of the iterations."""
    values = test.scans[ALL].total
    return float(np.std(values[-max(2, len(values) // 3) :], ddof=1)) if len(values) > 1 else 0.0


Found = tuple[Value, dict[str, Value]]
Rule = Callable[[Evidence], Found]


def _three_beat_one(evidence: Evidence) -> Found:
    figures = {"one": evidence.per_ndf(SINGLE), "three": evidence.per_ndf(THREE)}
    return difference(figures["one"], figures["three"]), figures


def _two_between(evidence: Evidence) -> Found:
    figures = {
        name: evidence.per_ndf(names) for name, names in zip(("one", "two", "three"), LABELS.values(), strict=True)
    }
    steps = difference(figures["one"], figures["two"]), difference(figures["two"], figures["three"])
    return min(steps, key=significance), figures


def _layers_improve(*splits: tuple[str, ...]) -> Rule:
    def rule(evidence: Evidence) -> Found:
        figures, gains = {}, []
        for position, names in enumerate(splits):
            figures[f"layers_{position}"] = evidence.per_ndf(names)
            figures[f"kinetic_{position}"] = evidence.per_ndf([f"{name}-kinetic" for name in names])
            gains.append(difference(figures[f"kinetic_{position}"], figures[f"layers_{position}"]))
        return min(gains, key=significance), figures

    return rule


def _worse_at_the_top(evidence: Evidence) -> Found:
    test = evidence.network("photon-kinetic")
    momenta = sorted(test.chi2)
    parts = test.at_papers_statistics
    top, rest = (_value(total(parts[momentum] for momentum in chosen)) for chosen in (momenta[-3:], momenta[:-3]))
    ratio = evidence.metric(momenta[-1], "total_energy", "mean_ratio", KINETIC).measured
    shift = Value(abs(ratio.value - 1), ratio.error)
    return min((difference(top, rest), shift), key=significance), {"top": top, "rest": rest, "ratio": ratio}


def _low_but_at_4_gev(evidence: Evidence) -> Found:
    low, single = (evidence.network(name).chi2 for name in ("photon-low-kinetic", "photon-kinetic"))
    gains = {momentum: difference(_value(single[momentum]), _value(low[momentum])) for momentum in sorted(low)}
    *below, last = gains
    loss = Value(-gains[last].value, gains[last].error)
    worst = min((gains[momentum] for momentum in below), key=significance)
    count = sum(gains[momentum].value > 0 for momentum in below)
    figures = {"count": Value(count, 0.0), "of": Value(len(below), 0.0), "last": gains[last]}
    return min((worst, loss), key=significance), figures


def _overshoot(evidence: Evidence) -> Found:
    if evidence.overshoot is None:
        raise NotTrainedError
    excess = Value(100 * evidence.overshoot.value - 0.5, 100 * evidence.overshoot.error)
    limits = excess, Value(1 - excess.value, excess.error)
    return min(limits, key=significance), {"excess": excess}


def _best_differs(names: Sequence[str]) -> Rule:
    def rule(evidence: Evidence) -> Found:
        scans = [evidence.network(name).scans[ALL] for name in names]
        others = np.concatenate([scan.best_by_momentum != scan.best for scan in scans])
        share = float(others.mean())
        error = float(np.sqrt(max(share * (1 - share), 1 / len(others)) / len(others)))
        return Value(share - 0.5, error), {"share": Value(100 * share, 0.0)}

    return rule


def _label(evidence: Evidence) -> Found:
    figures = {"maximum": evidence.per_ndf(["photon-maximum"]), "logarithm": evidence.per_ndf(SINGLE)}
    return difference(figures["maximum"], figures["logarithm"]), figures


def _noise_and_masks(evidence: Evidence) -> Found:
    plain = evidence.per_ndf(SINGLE)
    figures = {name.removeprefix("photon-").replace("-", "_"): evidence.per_ndf([name]) for name in TRIED}
    gains = [difference(value, Value(0.9 * plain.value, 0.9 * plain.error)) for value in figures.values()]
    return min(gains, key=significance), figures | {"plain": plain}


def _time(evidence: Evidence) -> Found:
    times = {
        f"t{position}": Value(1e3 * item.value, 1e3 * item.error)
        for position, item in enumerate(evidence.seconds.values())
    }
    values = np.array([item.value for item in times.values()])
    error = max(item.error for item in times.values()) / values.mean() / 10  # of a mean of 100 trials
    return Value(0.2 - float(np.ptp(values) / values.mean()), error), times


def _beats_fastcalogan(names: Sequence[str]) -> Rule:
    def rule(evidence: Evidence) -> Found:
        figures = {"fast": evidence.of(evidence.fastcalogan), "ours": evidence.per_ndf(names)}
        return difference(figures["fast"], figures["ours"]), figures

    return rule


def _generation_seed(evidence: Evidence) -> Found:
    error = evidence.seed_scatter / np.sqrt(18)  # of a standard deviation from ten seeds
    scatter = Value(evidence.seed_scatter, error)
    return min((Value(0.2 - scatter.value, error), Value(scatter.value - 0.05, error)), key=significance), {
        "scatter": scatter
    }


def _shapes(evidence: Evidence) -> Found:
    return evidence.shape_correlation, {"rank": evidence.shape_correlation}


def _longer(evidence: Evidence) -> Found:
    test = evidence.network("pion")
    half, whole = (test.held_out_within(limit) for limit in (int(test.scans[ALL].iterations[-1]) // 2, None))
    if half is None or whole is None:
        raise NotTrainedError
    figures = {"half": _held_out(half), "whole": _held_out(whole)}
    return difference(figures["half"], figures["whole"]), figures


def _splitting_pions(evidence: Evidence) -> Found:
    figures = {"one": evidence.per_ndf(["pion"]), "two": evidence.per_ndf(["pion-low", "pion-upper"])}
    margin = Value(0.1 * figures["one"].value, 0.1 * figures["one"].error)
    gain = difference(figures["one"], figures["two"])
    return difference(margin, Value(abs(gain.value), gain.error)), figures


def _bimodality(evidence: Evidence) -> Found:
    names = [f"layer_{layer}_energy" for layer in (1, 2)]
    low, high = ([evidence.metric(momentum, name, "ks", PION) for name in names] for momentum in (512.0, 8192.0))
    missed = [Value(row.measured.value - row.floor.limit, row.measured.error) for row in low]
    figures = {f"low_{layer}": row.measured for layer, row in zip((1, 2), low, strict=True)}
    figures |= {f"high_{layer}": row.measured for layer, row in zip((1, 2), high, strict=True)}
    return min(missed, key=significance), figures


def _narrow(evidence: Evidence) -> Found:
    if evidence.narrow is None:
        raise NotTrainedError
    share = Value(100 * evidence.narrow.value, 100 * evidence.narrow.error)
    return Value(5 - share.value, share.error), {"share": share}


def _spurious_peak(evidence: Evidence) -> Found:
    figures = {
        f"{where}_{layer}": evidence.metric(momentum, f"layer_{layer}_eta_width", "ks", PION).measured
        for where, momentum in (("low", 512.0), ("high", 8192.0))
        for layer in (12, 13)
    }
    gains = [difference(figures[f"low_{layer}"], figures[f"high_{layer}"]) for layer in (12, 13)]
    return min(gains, key=significance), figures


def _high_momenta_first(evidence: Evidence) -> Found:
    scan = evidence.network("pion").scans[ALL]
    lowest = np.minimum.accumulate(scan.chi2 / scan.ndf, axis=0)
    reached = np.argmax(lowest <= 1.5 * lowest[-1], axis=0)
    iterations = scan.iterations[reached].astype(np.float64)
    rank = rank_correlation(scan.momenta, iterations)
    figures = {"first": Value(float(iterations[0]), 0.0), "last": Value(float(iterations[-1]), 0.0), "rank": rank}
    return Value(-rank.value, rank.error), figures


def _value(chi2: Chi2) -> Value:
    return Value(chi2.per_ndf, chi2.error)


def _held_out(chi2: Chi2) -> Value:
    """With the scatter of a chi2 of this size, noncentral: variance 2 NDF + 4 excess."""
    excess = max(chi2.value - chi2.ndf, 0.0)
    return Value(chi2.per_ndf, float(np.sqrt(2 * chi2.ndf + 4 * excess)) / chi2.ndf)


PHOTON_RULES: dict[str, tuple[Rule, str]] = {
    "three_gans": (
        _three_beat_one,
        "chi2/NDF with layer-energy normalisation: one GAN {one}, three {three}",
    ),
    "two_gans": (
        _two_between,
        "chi2/NDF with layer-energy normalisation: one GAN {one}, two {two}, three {three}",
    ),
    "layer_normalisation": (
        _layers_improve(SINGLE, TWO, THREE),
        "chi2/NDF by kinetic energy and by layers: one GAN {kinetic_0}, {layers_0}; two {kinetic_1}, {layers_1}; "
        "three {kinetic_2}, {layers_2}",
    ),
    "high_momenta": (
        _worse_at_the_top,
        "chi2/NDF at the paper's statistics: {top} at the three highest momenta, {rest} at the others; mean "
        "energy at the highest over Geant4's {ratio}",
    ),
    "low_gan": (
        _low_but_at_4_gev,
        "better at {count} of {of} momenta below 4 GeV; chi2/NDF gained at 4 GeV {last}",
    ),
    "layer_0": (
        _overshoot,
        "{excess} % of the showers too many above Geant4's 99.5 % quantile (holds between 0 and 1 %)",
    ),
    "best_iteration": (
        _best_differs(THREE),
        "at {share} % of the momenta of the three GANs another iteration is best (holds above half)",
    ),
    "shapes": (
        _shapes,
        "rank correlation of the total energy's chi2 with that of layer energies, centres and widths, over the "
        "saved iterations of the single GAN: {rank}",
    ),
    "label": (
        _label,
        "chi2/NDF of the single GAN: {logarithm} with the logarithm, {maximum} with momentum over maximum",
    ),
    "noise_and_masks": (
        _noise_and_masks,
        "chi2/NDF of the single GAN: {plain}; noise of 1 keV {noise_1kev}, 1 MeV {noise_1mev}; masks of 1 keV "
        "{mask_1kev}, 1 MeV {mask_1mev} (no gain: less than 10 %)",
    ),
    "time": (
        _time,
        "one shower of the three GANs on this CPU: {t0}, {t1}, {t2} ms at 1, 65, 262 GeV (holds within 20 %)",
    ),
    "fastcalogan": (
        _beats_fastcalogan(THREE),
        "chi2/NDF: FastCaloGAN {fast}, three GANs {ours}",
    ),
    "generation_seed": (
        _generation_seed,
        "standard deviation over ten seeds, at our statistics: {scatter} (holds within a factor of 2)",
    ),
}
PION_RULES: dict[str, tuple[Rule, str]] = {
    "layer_normalisation": (
        _layers_improve(("pion",)),
        "chi2/NDF: by kinetic energy {kinetic_0}, by layers {layers_0}",
    ),
    "longer": (
        _longer,
        "chi2/NDF on held-out showers: {half} after half of the iterations, {whole} after all",
    ),
    "splitting": (
        _splitting_pions,
        "chi2/NDF: one GAN {one}, two {two} (similar: within 10 %)",
    ),
    "bimodality": (
        _bimodality,
        "KS distance of the energy in layers 1 and 2: {low_1}, {low_2} at 512 MeV (holds above the Geant4 floor),"
        " {high_1}, {high_2} at 8 GeV",
    ),
    "narrow_showers": (
        _narrow,
        "{share} % of the generated showers are narrower in layers 12 and 13 than Geant4's narrowest 5 %",
    ),
    "spurious_peak": (
        _spurious_peak,
        "KS distance of the width in eta: {low_12}, {low_13} at 512 MeV, {high_12}, {high_13} at 8 GeV (layers 12, 13)",
    ),
    "high_momenta_first": (
        _high_momenta_first,
        "chi2/NDF within 1.5 of its best after {first} iterations at the lowest, {last} at the highest momentum; "
        "rank correlation with the momentum {rank}",
    ),
    "best_iteration": (
        _best_differs(("pion",)),
        "at {share} % of the momenta another iteration is best (holds above half)",
    ),
    "time": (
        _time,
        "one shower on this CPU: {t0}, {t1}, {t2} ms at 1, 8, 65 GeV (holds within 20 %)",
    ),
    "fastcalogan": (
        _beats_fastcalogan(("pion",)),
        "chi2/NDF: FastCaloGAN {fast}, CaloShowerGAN {ours}",
    ),
    "generation_seed": PHOTON_RULES["generation_seed"],
}


def judge_claims(seeds: Sequence[Evidence], particle: str, commands: Mapping[str, str]) -> tuple[Claim, ...]:
    """The claims table, averaged over the trained seeds.

    Args:
        seeds: evidence.
        particle: `photon` or `pion`.
        commands: what would decide a claim whose networks were not trained, by claim, and `""` for all others; `paper`:
            what would decide one that our statistics leaves open.
    """
    scatter = "" if len(seeds) > 1 else " [one training: its scatter is estimated from late iterations]"
    rows, unknown = [], Value(np.nan, np.nan)
    rules, words = {"photon": (PHOTON_RULES, PHOTON_WORDS), "pion": (PION_RULES, PION_WORDS)}[particle]
    for name, (rule, text) in rules.items():
        paper = words[name]
        try:
            found = [rule(evidence) for evidence in seeds]
            shown = {key: combined([figures[key] for _, figures in found]) for key in found[0][1]}
            verdict, ours = judge(combined([value for value, _ in found])), text.format(**texts(shown)) + scatter
        except NotTrainedError:
            verdict, ours = judge(unknown), f"not trained in this run: {commands.get(name, commands[''])}"
        else:
            ours += f" (would decide: {commands['paper']})" if verdict.startswith("undecided") else ""
        rows.append(Claim(paper.claim, paper.source, paper.words, ours, verdict))
    return tuple(rows)
