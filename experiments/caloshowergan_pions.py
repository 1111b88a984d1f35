r"""CaloShowerGAN's charged pions (arXiv:2309.06515) against Geant4.

Expected from the paper at 2,000,000 iterations on the CaloChallenge's pions (Table 4, 12 hours on a GPU): chi2/NDF of
the total energy 1.3, and 1.5 after half of them. On the bundled showers, preset laptop (16,000 iterations of batch 256,
with --bfloat16 an hour on one core): results in experiments/results/caloshowergan_pions.json. --ablation trains the
normalisation by kinetic energy and two GANs for two ranges of momentum, too.
The published results were trained on the first edition of the bundled showers, a third of them (--first-edition).

    python experiments/caloshowergan_pions.py --preset laptop --seeds 3
    python experiments/caloshowergan_pions.py --preset paper --train-data dataset_1_pions_1.hdf5 \
        --test-data dataset_1_pions_2.hdf5 --runs runs/own

Your own files hold `incident_energies` [n, 1] and `showers` [n, 533] in MeV, the CaloChallenge's format (`calogen
download calochallenge-pions`). Without --test-data nothing is held out.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from calogen import provenance
from calogen.claims.caloshowergan import PION, PIONS
from calogen.claims.judge import Quantity, Table
from calogen.evaluation.compare import ALL_ENERGIES
from calogen.evaluation.iterations import NetworkTest
from calogen.evaluation.merits import Chi2Merit
from calogen.evaluation.published import Published
from calogen.evaluation.summary import energy_text
from calogen.evaluation.trainings import Evidence
from calogen.metrics.distributions import Value
from calogen.models.caloshowergan import CONFIGS, PAPER, CaloShowerGanConfig
from calogen.observables.observable import numbered
from calogen.observables.voxels import voxel_observables, voxel_width
from calogen.reproduction import chi2_selection, chi2_tables, study_figures
from calogen.reproduction.assessment import add_assessments
from calogen.reproduction.experiment import Arguments, execute, publish
from calogen.reproduction.networks import Comparisons, StudyNetwork, generation_time, json_size
from calogen.reproduction.study import Data, Outcome, Study, other_test, read_data, run_study
from calogen.reproduction.study_options import voxels_of
from calogen.reproduction.study_report import Account, build_results
from calogen.showers.voxels import PIONS_DATASET1

NAME, MODEL = "caloshowergan_pions", "caloshowergan"
SPLIT, BORDER = ("pion-low", "pion-upper"), 2.0**12  # MeV
PAPERS = Published(MODEL)
PAPERS_CHI2: chi2_tables.PublishedRows = {
    PION: PAPERS.chi2("table_4")["pion 2M"],
    "pion-kinetic": (PAPERS.numbers["chi2_pion_kinetic"],),
}
HALF_WAY = PAPERS.chi2("table_4")["pion 1M"][0]
README_FIGURE = "Fig. 10: energy in the layers, all momenta"
WIDTHS = dict.fromkeys((512.0, 4096.0, 8192.0, 65536.0, 1048576.0), "15")
NUMBERS = {  # of the paper's figures, by observable and momentum
    "total_energy": dict.fromkeys((2.0**power for power in range(8, 23)), "6"),
    **{f"layer_{layer_id}_energy": {ALL_ENERGIES: "10"} for layer_id in (0, 1, 2, 3, 12, 13, 14)},
    **{
        f"layer_{layer_id}_{axis}_{quantity}": {ALL_ENERGIES: number}
        for quantity, number in (("centroid", "13"), ("width", "14"))
        for layer_id in (1, 2, 12, 13)
        for axis in ("eta", "phi")
    },
    **{f"layer_{layer_id}_eta_width": {ALL_ENERGIES: "14"} | WIDTHS for layer_id in (12, 13)},
    "voxel_energy": {ALL_ENERGIES: "16"} | dict.fromkeys((512.0, 32768.0, 2097152.0), "17"),
}
OBSERVABLES = numbered(voxel_observables(PIONS_DATASET1), NUMBERS)
REMARKS = (
    "Showers: Geant4 11.4, FTFP_BERT with data-free cross sections in flat layers, not the ATLAS files of the "
    "CaloChallenge: compare with the paper in kind, not to the digit.",
    "Momenta up to 2^16 MeV, about 10,750 showers; the paper has 120,800 up to 2^22 MeV, at which the label reaches 1 "
    "here, too.",
    "As in the paper, chi2 compares with all showers, those that trained included; held-out figures stand beside.",
    "Pions that leave no energy (13 % of those of 256 MeV) neither train nor judge.",
    "Two GANs of --ablation meet at 2^12 MeV and have the single one's sizes: the paper does not say how it split.",
)


def main(arguments: Arguments) -> None:
    """Trains all networks with every seed, judges the claims, and writes report and results."""
    voxels = voxels_of(arguments, PIONS_DATASET1, 211)
    data = read_data(arguments, "pions", voxels, chi2_selection.check_momenta(arguments.options, "pion"))
    recorded = provenance.collect(arguments.seeds[0], data.files)
    originals = papers(arguments)
    configs = {name: (config, voxels) for name, config in ours(originals, arguments).items()}
    shown = {PION: ("pion",)} | ({"kinetic normalisation": ("pion-kinetic",)} if arguments.options["ablation"] else {})
    study = Study(
        name=chi2_selection.name_of(NAME, arguments.options),
        configs=configs,
        budget=chi2_selection.budget(arguments.options),
        select=chi2_selection.selection(arguments.options),
        ensembles=shown,
        observables=OBSERVABLES,
        detailed=(512.0, 8192.0),
        min_energy=chi2_selection.MIN_ENERGY,
        variants=frozenset(configs) - {"pion"},
    )
    outcomes = run_study(study, arguments, data)
    if not outcomes:
        return
    pion = outcomes[0].networks["pion"]
    seconds = generation_time([pion.run], (2.0**10, 2.0**16, 2.0**20))
    evidence = [
        gather(outcome, data, seconds, arguments, seed) for seed, outcome in zip(arguments.seeds, outcomes, strict=True)
    ]
    ensembles: dict[str, tuple[str, ...]] = {PION: ("pion",)}
    if arguments.options["ablation"]:
        ensembles |= {"pion-kinetic": ("pion-kinetic",), "two pion GANs": SPLIT}
    short = () if arguments.preset == "paper" else (chi2_tables.SHORT_REMARK,)
    tests = [outcome.tests for outcome in outcomes]
    account = Account(
        name=chi2_selection.name_of(NAME, arguments.options),
        title="CaloShowerGAN, charged pions",
        citation=str(PAPER),
        merit=f"chi2/NDF at the paper's statistics, {PION}",
        originals=originals,
        caption="Table 2: hyperparameters",
        parameters="Table 2: 871k, 829k",
        claims=PIONS.judge(evidence),
        quantities=(
            *chi2_tables.chi2_quantities(tests, ensembles, PAPERS_CHI2, data.note),
            half_way([networks["pion"] for networks in tests], data.note),
        ),
        tables={
            "Table 4: chi2 of the total energy": chi2_tables.chi2_table(
                tests, ensembles, PAPERS_CHI2, {"pion": HALF_WAY}
            ),
            **tables(pion, seconds, energy_text(max(tests[0]["pion"].chi2))),
        },
        remarks=(*(REMARKS if arguments.train_data is None else ()), *short, chi2_tables.CUT_REMARK),
    )
    results = build_results(account, arguments, outcomes, recorded)
    drawn = study_figures.draw_study(figures("4 and 6" if arguments.options["ablation"] else "6"), outcomes[0], data)
    results, drawn = add_assessments(results, drawn, outcomes[0], data.note, arguments.report_directory(results.name))
    publish(arguments, results, drawn, README_FIGURE)


def figures(total: str) -> dict[str, study_figures.Drawing]:
    """The paper's figures by title; `total` has the numbers of those of the total energy."""
    return {
        "Fig. 1: number of showers": study_figures.statistics_figure,
        "Fig. 2: the generator, batch normalisation folded in, without heads": partial(
            study_figures.network_figure, name="pion"
        ),
        f"Fig{'s' * (len(total) > 1)}. {total}: total energy, by momentum": partial(
            study_figures.total_energy_figure, groups={"1 GAN": ("pion",)}
        ),
        "Fig. 8: chi2/NDF by iteration": partial(study_figures.iteration_figures, names=("pion",)),
        README_FIGURE: partial(study_figures.distribution_figure, names="layer_*_energy"),
        "Fig. 13 (its caption says widths): centres in layers 1, 2, 12, 13": partial(
            study_figures.distribution_figure, names="layer_*_centroid"
        ),
        "Fig. 14: widths in layers 1, 2, 12, 13": partial(study_figures.distribution_figure, names="layer_*_width"),
        "Fig. 16: energy of all voxels (Poisson errors; empty voxels are in the first bin)": partial(
            study_figures.distribution_figure, names="voxel_energy"
        ),
        "Fig. 15: widths in eta in layers 12 and 13": partial(
            study_figures.distribution_figure_by_energy, names="*_eta_width"
        ),
        "Fig. 17: energy of all voxels, by momentum": partial(
            study_figures.distribution_figure_by_energy, names="voxel_energy"
        ),
    }


def papers(arguments: Arguments) -> dict[str, CaloShowerGanConfig]:
    """The paper's configurations; with --ablation section 3.2's, and two GANs, too."""
    chosen = {"pion": CONFIGS["pion"][0]}
    if arguments.options["ablation"]:
        chosen["pion-kinetic"] = CONFIGS["pion-kinetic"][0]
        chosen |= dict.fromkeys(SPLIT, chosen["pion"])
    return chosen


def ours(originals: Mapping[str, CaloShowerGanConfig], arguments: Arguments) -> dict[str, CaloShowerGanConfig]:
    """Configurations to train: two GANs have the single GAN's iterations together."""
    chosen = dict(originals)
    if arguments.options["ablation"]:
        half = replace(chosen["pion"], iterations=chosen["pion"].iterations // 2)
        low, upper = SPLIT
        chosen |= {low: replace(half, highest_momentum=BORDER), upper: replace(half, lowest_momentum=BORDER)}
    if arguments.preset == "paper":
        return chosen
    return {name: replace(config, spectral_normalization="none") for name, config in chosen.items()}


def tables(pion: StudyNetwork, seconds: dict[float, Value], highest: str) -> dict[str, Table]:
    """Tables of times and size of the network, which was trained up to a highest momentum."""
    energy = 2.0**16
    batches = {1.0: seconds[energy]}
    batches |= {float(size): generation_time([pion.run], [energy], size)[energy] for size in (10, 100, 1000, 10_000)}
    sizes = {PION: json_size(pion.run.generator) / 1e6}
    return {
        f"Table 5: time of one shower, trained up to {highest}": chi2_tables.time_table(
            seconds, PAPERS.times("table_5", "pion"), energy_text, "i9-9900K"
        ),
        "Table 6: time of a batch of 65.5 GeV": chi2_tables.time_table(
            batches, PAPERS.times("table_6"), lambda size: f"{size:,.0f}", "i9-9900K"
        ),
        "Section 5.7: size of the generator (the paper's does not follow from its Table 2)": chi2_tables.size_table(
            sizes, {PION: PAPERS.numbers["json_pion"]}
        ),
    }


def half_way(tests: list[NetworkTest], note: str) -> Quantity:
    """chi2/NDF of the pion GAN after half of its iterations, as in Table 4."""
    half = tests[0].last_iteration // 2
    ours, spread = Value.repeated([test.within(half).reduced for test in tests])
    name = f"chi2/NDF of the total energy, {PION} after {half:,} iterations"
    return Quantity(name, "", HALF_WAY.per_ndf if half >= 1_000_000 else None, ours.value, ours.error, spread, note)


def gather(outcome: Outcome, data: Data, seconds: dict[float, Value], arguments: Arguments, seed: int) -> Evidence:
    """Evidence for the claims from the outcome of one training seed."""
    scatter = chi2_selection.seed_scatter(
        outcome.networks["pion"], data.reference, Chi2Merit(chi2_selection.rule_name(arguments.options, "pion"))
    )
    return Evidence(
        comparisons=outcome.comparisons.by_energy,
        values={"seconds": seconds, "seed_scatter": scatter, "narrow": narrow_shares(outcome.comparisons)},
        networks=outcome.tests,
        others={
            "FastCaloGAN": other_test(
                "fastcalogan", "pion", seed, arguments, data, chi2_selection.selection(arguments.options)
            )
        },
        alone=len(arguments.seeds) == 1,
    )


def narrow_shares(compared: Comparisons) -> tuple[Value, Value]:
    """Shares of Geant4's and of our showers that are narrower than 1 mm in layers 12 and 13."""
    shares = []
    for showers in (compared.reference, compared.generated[PION]):
        widths = [voxel_width(showers, layer_id, "eta") for layer_id in (12, 13)]
        narrow = [float(np.mean(values[np.isfinite(values)] < 1.0)) for values in widths]
        sizes = [int(np.isfinite(values).sum()) for values in widths]
        errors = [share * (1 - share) / max(size, 1) for share, size in zip(narrow, sizes, strict=True)]
        shares.append(Value(float(np.mean(narrow)), float(np.sqrt(sum(errors)) / 2)))
    return shares[0], shares[1]


if __name__ == "__main__":
    execute(main, __doc__, chi2_selection.OPTIONS)
