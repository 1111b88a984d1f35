"""CaloShowerGAN's charged pions (arXiv:2309.06515) against Geant4.

Expected from the paper at 2,000,000 iterations on the CaloChallenge's pions (Table 4, 12 hours on a GPU): chi2/NDF of
the total energy 1.3, and 1.5 after half of them. On the bundled showers, preset laptop (16,000 iterations of batch 256,
with --bfloat16 an hour on one core): results in experiments/results/caloshowergan_pions.json. --ablation trains the
normalisation by kinetic energy and two GANs for two ranges of momentum, too.

    python experiments/caloshowergan_pions.py --preset laptop --seeds 3
    python experiments/caloshowergan_pions.py --preset paper --train-data dataset_1_pions_1.hdf5 \\
        --test-data dataset_1_pions_2.hdf5 --runs runs/own

Your own files hold `incident_energies` [n, 1] and `showers` [n, 533] in MeV, the CaloChallenge's format (`calogen
download calochallenge-pions`). Without --test-data nothing is held out.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from calogen import provenance
from calogen.claims.caloshowergan import PION, PIONS
from calogen.claims.judge import Evidence, Quantity, Table
from calogen.evaluation.published import (
    CALOSHOWERGAN_NUMBERS,
    CALOSHOWERGAN_OBSERVABLES,
    CALOSHOWERGAN_TABLE_4,
    CALOSHOWERGAN_TABLE_5,
    CALOSHOWERGAN_TABLE_6,
)
from calogen.evaluation.summary import energy_text
from calogen.metrics.chi2 import RULES
from calogen.metrics.distributions import Value
from calogen.models.caloshowergan import CONFIGS, PAPER, CaloShowerGanConfig
from calogen.observables.voxels import voxel_width
from calogen.reproduction.assessment import add_assessments
from calogen.reproduction.experiment import Arguments, execute, publish
from calogen.reproduction.networks import Network, Pictures, generation_time, json_size, seed_scatter
from calogen.reproduction.study import GAN_OPTIONS, Data, Outcome, Study, other_test, read_data, rule_name, run_study
from calogen.reproduction.study_report import (
    CUT_REMARK,
    Account,
    Published,
    build_results,
    draw_study,
    size_table,
    time_table,
)
from calogen.showers.voxels import PIONS_DATASET1

NAME, MODEL = "caloshowergan_pions", "caloshowergan"
SPLIT, BORDER = ("pion-low", "pion-upper"), 2.0**12  # MeV
PAPERS_CHI2: Published = {
    PION: CALOSHOWERGAN_TABLE_4["pion 2M"],
    "pion-kinetic": (CALOSHOWERGAN_NUMBERS["chi2_pion_kinetic"],),
}
README_FIGURE = "Fig. 10: energy in the layers, all momenta"
FIGURES = {
    "statistics": "Fig. 1: number of showers",
    "network": "Fig. 2: the generator, batch normalisation folded in, without heads",
    "total": "Fig. 6: total energy, by momentum",
    "iterations": "Fig. 8: chi2/NDF by iteration",
    "energy": README_FIGURE,
    "centroid": "Fig. 13 (its caption says widths): centres in layers 1, 2, 12, 13",
    "width": "Fig. 14: widths in layers 1, 2, 12, 13",
    "widths by momentum": "Fig. 15: widths in eta in layers 12 and 13",
    "voxels": "Fig. 16: energy of all voxels (Poisson errors; empty voxels are in the first bin)",
    "voxels by momentum": "Fig. 17: energy of all voxels, by momentum",
}
REMARKS = (
    "Showers: Geant4 11.4, FTFP_BERT with data-free cross sections in flat layers, not the ATLAS files of the "
    "CaloChallenge: compare with the paper in kind, not to the digit.",
    "Momenta up to 2^16 MeV, about 10,750 showers; the paper has 120,800 up to 2^22 MeV, at which the label reaches 1 "
    "here, too.",
    "As in the paper, chi2 compares with all showers, those that trained included; held-out figures stand beside.",
    "Pions that leave no energy (13 % of those of 256 MeV) neither train nor judge.",
    "Two GANs of --ablation meet at 2^12 MeV and have the single one's sizes: the paper does not say how it split.",
)

SHORT_REMARK = (
    "Short trainings (presets smoke and laptop) have no spectral normalisation in the critic, with which they learn "
    "more slowly; preset paper has it."
)


def main(arguments: Arguments) -> None:
    """Train every network of every seed, judge the claims, write report and results."""
    data = read_data(arguments, "pion", PIONS_DATASET1)
    recorded = provenance.collect(arguments.seeds[0], data.files)
    originals = papers(arguments)
    configs = {name: (config, PIONS_DATASET1) for name, config in ours(originals, arguments).items()}
    shown, figures = {PION: ("pion",)}, dict(FIGURES)
    if arguments.options["ablation"]:
        shown["kinetic normalisation"] = ("pion-kinetic",)
        figures["total"] = "Figs. 4 and 6: total energy, by momentum"
    study = Study(
        name=NAME,
        paper=MODEL,
        configs=configs,
        ensembles=shown,
        observables=CALOSHOWERGAN_OBSERVABLES["pion"],
        detailed=(512.0, 8192.0),
        variants=frozenset(configs) - {"pion"},
    )
    outcomes = run_study(study, arguments, data)
    pion = outcomes[0].networks["pion"]
    seconds = generation_time([pion], (2.0**10, 2.0**16, 2.0**20))
    evidence = [
        gather(outcome, data, seconds, arguments, seed) for seed, outcome in zip(arguments.seeds, outcomes, strict=True)
    ]
    ensembles: dict[str, tuple[str, ...]] = {PION: ("pion",)}
    if arguments.options["ablation"]:
        ensembles |= {"pion-kinetic": ("pion-kinetic",), "two pion GANs": SPLIT}
    short = () if arguments.preset == "paper" else (SHORT_REMARK,)
    account = Account(
        name=NAME,
        title="CaloShowerGAN, charged pions",
        citation=str(PAPER),
        ensembles=ensembles,
        published=PAPERS_CHI2,
        originals=originals,
        halves={"pion": CALOSHOWERGAN_TABLE_4["pion 1M"][0]},
        captions=("Table 2: hyperparameters", "Table 4: chi2 of the total energy"),
        parameters="Table 2: 871k, 829k",
        claims=PIONS.judge(evidence),
        quantities=(half_way([outcome.networks["pion"] for outcome in outcomes], data.note),),
        tables=tables(pion, seconds),
        remarks=(*(REMARKS if arguments.train_data is None else ()), *short, CUT_REMARK),
    )
    results = build_results(account, arguments, outcomes, data.note, recorded)
    drawn = draw_study(outcomes[0], data, ("pion",), ("pion",), figures)
    results, drawn = add_assessments(results, drawn, outcomes[0], data.note, arguments.report_directory(NAME))
    publish(arguments, results, drawn, README_FIGURE)


def papers(arguments: Arguments) -> dict[str, CaloShowerGanConfig]:
    """What the paper trained; with --ablation section 3.2's normalisation and a split, too."""
    chosen = {"pion": CONFIGS["pion"][0]}
    if arguments.options["ablation"]:
        chosen["pion-kinetic"] = CONFIGS["pion-kinetic"][0]
        chosen |= dict.fromkeys(SPLIT, chosen["pion"])
    return chosen


def ours(originals: Mapping[str, CaloShowerGanConfig], arguments: Arguments) -> dict[str, CaloShowerGanConfig]:
    """What is trained: two GANs for the single one's iterations."""
    chosen = dict(originals)
    if arguments.options["ablation"]:
        half = replace(chosen["pion"], iterations=chosen["pion"].iterations // 2)
        low, upper = SPLIT
        chosen |= {low: replace(half, highest_momentum=BORDER), upper: replace(half, lowest_momentum=BORDER)}
    if arguments.preset == "paper":
        return chosen
    return {name: replace(config, spectral_normalization="none") for name, config in chosen.items()}


def tables(pion: Network, seconds: dict[float, Value]) -> dict[str, Table]:
    """Times and size."""
    energy = 2.0**16
    batches = {1.0: seconds[energy]}
    batches |= {float(size): generation_time([pion], [energy], size)[energy] for size in (10, 100, 1000, 10_000)}
    sizes = {PION: json_size(pion.run.generator) / 1e6}
    return {
        f"Table 5: time of one shower, trained up to {energy_text(max(pion.test.chi2))}": time_table(
            seconds, CALOSHOWERGAN_TABLE_5["pion"], energy_text, "i9-9900K"
        ),
        "Table 6: time of a batch of 65.5 GeV": time_table(
            batches, CALOSHOWERGAN_TABLE_6, lambda size: f"{size:,.0f}", "i9-9900K"
        ),
        "Section 5.7: size of the generator (the paper's does not follow from its Table 2)": size_table(
            sizes, {PION: CALOSHOWERGAN_NUMBERS["json_pion"]}
        ),
    }


def half_way(networks: list[Network], note: str) -> Quantity:
    """Table 4's pion GAN after half of its iterations."""
    iterations = int(networks[0].test.scans["all"].iterations[-1]) // 2
    found = [network.test.within(iterations) for network in networks]
    spread = float(np.std([item.per_ndf for item in found], ddof=1)) if len(found) > 1 else None
    ours, error = (float(np.mean([getattr(item, name) for item in found])) for name in ("per_ndf", "error"))
    paper = CALOSHOWERGAN_TABLE_4["pion 1M"][0].per_ndf
    name = f"chi2/NDF of the total energy, {PION} after {iterations:,} iterations"
    return Quantity(name, "", paper if iterations >= 1_000_000 else None, ours, error, spread, note)


def gather(outcome: Outcome, data: Data, seconds: dict[float, Value], arguments: Arguments, seed: int) -> Evidence:
    """What the claims look at."""
    scatter = seed_scatter(outcome.networks["pion"], data.reference, RULES[rule_name(arguments.options, "pion")])
    return Evidence(
        comparisons=outcome.pictures.by_momentum,
        values={"seconds": seconds, "seed_scatter": scatter, "narrow": narrow_shares(outcome.pictures)},
        networks=outcome.tests,
        others={"FastCaloGAN": other_test("fastcalogan", "pion", seed, arguments, data)},
        alone=len(arguments.seeds) == 1,
    )


def narrow_shares(pictures: Pictures) -> tuple[Value, Value]:
    """Shares of showers narrower than 1 mm in layers 12 and 13: Geant4's and ours."""
    shares = []
    for showers in (pictures.reference, pictures.generated[PION]):
        widths = [voxel_width(showers, layer_id, "eta") for layer_id in (12, 13)]
        found = [float(np.mean(values[np.isfinite(values)] < 1.0)) for values in widths]
        sizes = [int(np.isfinite(values).sum()) for values in widths]
        errors = [share * (1 - share) / max(size, 1) for share, size in zip(found, sizes, strict=True)]
        shares.append(Value(float(np.mean(found)), float(np.sqrt(sum(errors)) / 2)))
    return shares[0], shares[1]


if __name__ == "__main__":
    execute(main, __doc__, GAN_OPTIONS)
