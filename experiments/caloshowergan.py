r"""CaloShowerGAN's photons (arXiv:2309.06515): one GAN and three, against Geant4.

Expected from the paper at 1,000,000 iterations on the CaloChallenge's photons (Table 4, 6 hours on a GPU for each
network): chi2/NDF of the total energy 2.7 with one GAN, 1.8 with three. On the bundled showers, preset laptop (8,000
iterations of batch 256, with --bfloat16 20 to 25 minutes on one core for each network): results in
experiments/results/caloshowergan.json. --ablation trains the other networks of Tables 3 and 4, and what the paper tried
in vain: 16 in all.
The published results were trained on the first edition of the bundled showers, a third of them (--first-edition).

    python experiments/caloshowergan.py --preset laptop --seeds 3
    python experiments/caloshowergan.py --preset paper --train-data dataset_1_photons_1.hdf5 \
        --test-data dataset_1_photons_2.hdf5 --runs runs/own

Your own files hold `incident_energies` [n, 1] and `showers` [n, 368] in MeV, the CaloChallenge's format (`calogen
download calochallenge-photons`). Without --test-data nothing is held out.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from calogen import provenance
from calogen.claims.caloshowergan import KINETIC, PHOTONS
from calogen.claims.judge import Quantity, Table
from calogen.evaluation.compare import ALL_ENERGIES
from calogen.evaluation.merits import Chi2Merit
from calogen.evaluation.published import Published
from calogen.evaluation.summary import energy_text
from calogen.evaluation.trainings import Evidence
from calogen.metrics.chi2 import total
from calogen.metrics.distributions import Value
from calogen.models.caloshowergan import CONFIGS, PAPER, SPLITS, CaloShowerGanConfig, build_generator
from calogen.observables.cells import layer_energy
from calogen.observables.observable import numbered
from calogen.observables.voxels import voxel_observables
from calogen.reproduction import chi2_selection, chi2_tables, study_figures
from calogen.reproduction.assessment import add_assessments
from calogen.reproduction.experiment import Arguments, execute, publish
from calogen.reproduction.networks import Comparisons, StudyNetwork, generation_time, json_size
from calogen.reproduction.study import Data, Outcome, Study, other_test, read_data, run_study
from calogen.reproduction.study_options import voxels_of
from calogen.reproduction.study_report import Account, build_results
from calogen.showers.voxels import PHOTONS_DATASET1

NAME = "caloshowergan"
SINGLE, TWO, THREE = ("photon",), ("photon-low", "photon-upper"), ("photon-low", "photon-medium", "photon-high")
LABELS = {"single GAN": SINGLE, "two GANs": TWO, "three GANs": THREE}
PAPERS = Published(NAME)
PAPERS_CHI2 = {label: PAPERS.chi2("table_4")[label.split()[0]] for label in LABELS} | {
    f"{label}, kinetic": PAPERS.chi2("table_3")[label.split()[0]] for label in LABELS
}
PAPERS_SIZES = {
    "single GAN": PAPERS.numbers["json_photon"],
    "pion GAN (untrained)": PAPERS.numbers["json_pion"],
    "slice": PAPERS.numbers["json_slice"],
}
README_FIGURE = "Fig. 9: energy in the layers, all momenta"
NUMBERS = {  # of the paper's figures, by observable and momentum
    "total_energy": dict.fromkeys((2.0**power for power in range(8, 23)), "5"),
    **{f"layer_{layer_id}_energy": {ALL_ENERGIES: "9"} for layer_id in (0, 1, 2, 3, 12)},
    **{
        f"layer_{layer_id}_{axis}_{quantity}": {ALL_ENERGIES: number}
        for quantity, number in (("centroid", "11"), ("width", "12"))
        for layer_id in (1, 2)
        for axis in ("eta", "phi")
    },
    "voxel_energy": {ALL_ENERGIES: "16"},
}
OBSERVABLES = numbered(voxel_observables(PHOTONS_DATASET1), NUMBERS)
REMARKS = (
    "Showers: Geant4 11.4 with data-free electromagnetic models in flat layers, not the ATLAS files of the "
    "CaloChallenge: compare with the paper in kind, not to the digit.",
    "Momenta up to 2^18 MeV, about 12,000 showers; the paper has 121,000 up to 2^22 MeV, at which the label of the "
    "networks up to the highest momenta reaches 1 here, too, but for the one that is momentum over maximum: 2^18 MeV.",
    "As in the paper, chi2 compares with all showers, those that trained included; held-out figures stand beside.",
)
NEGATIVE_REMARK = (
    "A generator that ends in a swish (normalisation by kinetic energy) gives some negative voxels: they become zero, "
    "the others share what they lack, so that the total energy is the network's own."
)


def main(arguments: Arguments) -> None:
    """Trains all networks with every seed, judges the claims, and writes report and results."""
    voxels = voxels_of(arguments, PHOTONS_DATASET1, 22)
    data = read_data(arguments, "photons", voxels, chi2_selection.check_momenta(arguments.options, "photon"))
    recorded = provenance.collect(arguments.seeds[0], data.files)
    originals = papers(arguments)
    configs = {name: (config, voxels) for name, config in ours(originals, arguments, data).items()}
    ensembles: dict[str, tuple[str, ...]] = {
        label: names for label, names in LABELS.items() if set(names) <= set(configs)
    }
    shown = dict(ensembles)
    if arguments.options["ablation"]:
        shown[KINETIC] = ("photon-kinetic",)
        ensembles |= {
            f"{label}, kinetic": tuple(f"{item}-kinetic" for item in names) for label, names in LABELS.items()
        }
    study = Study(
        name=chi2_selection.name_of(NAME, arguments.options),
        configs=configs,
        budget=chi2_selection.budget(arguments.options),
        select=chi2_selection.selection(arguments.options),
        ensembles=shown,
        observables=OBSERVABLES,
        min_energy=chi2_selection.MIN_ENERGY,
        variants=frozenset(configs) - {*SINGLE, *THREE},
    )
    outcomes = run_study(study, arguments, data)
    if not outcomes:
        return
    three = [outcomes[0].networks[name] for name in THREE]
    seconds = generation_time([item.run for item in three], (2.0**10, 2.0**16, 2.0**20))
    sizes = json_sizes(outcomes[0].networks)
    evidence = [
        gather(outcome, data, {"seconds": seconds, "megabytes": sizes}, arguments, seed)
        for seed, outcome in zip(arguments.seeds, outcomes, strict=True)
    ]
    single = (name for name in configs if not any(name in names for names in ensembles.values()))
    rest: dict[str, tuple[str, ...]] = {name: (name,) for name in single}
    scatter = float(np.mean([item.values["seed_scatter"] for item in evidence]))
    published = PAPERS.numbers["chi2_seed_error"].value
    name, tests = "scatter of chi2/NDF over generation seeds", [outcome.tests for outcome in outcomes]
    account = Account(
        name=chi2_selection.name_of(NAME, arguments.options),
        title="CaloShowerGAN, photons",
        citation=str(PAPER),
        merit="chi2/NDF at the paper's statistics, three GANs",
        originals=originals,
        caption="Table 2: hyperparameters",
        parameters="Table 2: 261k, 408k (one GAN)",
        claims=PHOTONS.judge(evidence),
        quantities=(
            *chi2_tables.chi2_quantities(tests, ensembles | rest, PAPERS_CHI2, data.note),
            Quantity(name, "", published, scatter, data=data.note),
        ),
        tables={
            "Tables 3 and 4: chi2 of the total energy": chi2_tables.chi2_table(
                tests, ensembles | rest, PAPERS_CHI2, {}
            ),
            **cost_tables(seconds, sizes, energy_text(max(outcomes[0].tests["photon"].chi2))),
        },
        remarks=remarks(arguments, outcomes[0], data),
    )
    results = build_results(account, arguments, outcomes, recorded)
    drawn = study_figures.draw_study(figures("3 and 5" if arguments.options["ablation"] else "5"), outcomes[0], data)
    results, drawn = add_assessments(results, drawn, outcomes[0], data.note, arguments.report_directory(results.name))
    publish(arguments, results, drawn, README_FIGURE)


def cost_tables(seconds: Mapping[float, Value], sizes: Mapping[str, float], highest: str) -> dict[str, Table]:
    """Tables of times and sizes of the networks, which were trained up to a highest momentum."""
    return {
        f"Table 5: time of one shower of the three GANs, trained up to {highest}": chi2_tables.time_table(
            seconds, PAPERS.times("table_5", "photon"), energy_text, "i9-9900K"
        ),
        "Section 5.7: size of the generators": chi2_tables.size_table(sizes, PAPERS_SIZES),
    }


def figures(total: str) -> dict[str, study_figures.Drawing]:
    """The paper's figures by title; `total` has the numbers of those of the total energy."""
    return {
        "Fig. 1: number of showers": study_figures.statistics_figure,
        "Fig. 2: the generator, batch normalisation folded in, without heads": partial(
            study_figures.network_figure, name="photon"
        ),
        f"Fig{'s' * (len(total) > 1)}. {total}: total energy, by momentum": partial(
            study_figures.total_energy_figure, groups={"1 GAN": SINGLE, "3 GANs": THREE}
        ),
        "Fig. 7: chi2/NDF by iteration": partial(study_figures.iteration_figures, names=(*SINGLE, *THREE)),
        README_FIGURE: partial(study_figures.distribution_figure, names="layer_*_energy"),
        "Fig. 11: centres in layers 1 and 2": partial(study_figures.distribution_figure, names="layer_*_centroid"),
        "Fig. 12: widths in layers 1 and 2": partial(study_figures.distribution_figure, names="layer_*_width"),
        "Fig. 16: energy of all voxels (Poisson errors; empty voxels are in the first bin)": partial(
            study_figures.distribution_figure, names="voxel_energy"
        ),
    }


def papers(arguments: Arguments) -> dict[str, CaloShowerGanConfig]:
    """The paper's configurations; with --ablation all of Tables 3 and 4, and of section 6."""
    chosen = {name: CONFIGS[name][0] for name in (*SINGLE, *THREE)}
    if arguments.options["ablation"]:
        every = dict.fromkeys(name for split in SPLITS.values() for name in split)
        chosen |= {name: CONFIGS[name][0] for name in (*every, *(f"{name}-kinetic" for name in every))}
        single = chosen["photon"]
        chosen["photon-maximum"] = replace(single, condition="maximum")
        for energy, text in ((1e-3, "1kev"), (1.0, "1mev")):
            chosen[f"photon-noise-{text}"] = replace(single, noise_energy=energy)
            chosen[f"photon-mask-{text}"] = replace(single, mask_energy=energy)
        if arguments.preset != "paper":
            chosen["photon-spectral"] = single
    return chosen


def ours(
    originals: Mapping[str, CaloShowerGanConfig], arguments: Arguments, data: Data
) -> dict[str, CaloShowerGanConfig]:
    """Configurations to train: the third GAN spans at least a factor 4 of the momentum."""
    chosen, highest, border = dict(originals), float(data.reference.incident_energies.max()), upper_border(data)
    for name, config in chosen.items():
        if "high" in name:
            chosen[name] = replace(config, lowest_momentum=border)
        elif "medium" in name:
            chosen[name] = replace(config, highest_momentum=border)
        elif name == "photon-maximum":
            chosen[name] = replace(config, highest_momentum=highest)
    if arguments.preset == "paper":
        return chosen
    plain = {name: replace(config, spectral_normalization="none") for name, config in chosen.items()}
    return plain | {name: chosen[name] for name in chosen if name == "photon-spectral"}


def upper_border(data: Data) -> float:
    """Momentum shared by the upper two of three GANs: 2^18 MeV, or a factor 4 below the end."""
    momenta = np.unique(data.reference.incident_energies)
    wanted = max(2.0**13, min(2.0**18, float(momenta[-1]) / 4))
    present = momenta[(momenta > 2.0**12) & (momenta <= wanted)]
    return float(present[-1]) if len(present) and wanted < 2.0**18 else wanted


def remarks(arguments: Arguments, outcome: Outcome, data: Data) -> tuple[str, ...]:
    """Sentences on how this reproduction differs from the paper."""
    border = upper_border(data)
    moved = f"The three GANs share 4096 and {border:.0f} MeV instead of 4096 and 262144: their labels' limits, too."
    short = () if arguments.preset == "paper" else (chi2_tables.SHORT_REMARK,)
    tests = outcome.tests
    if "photon-spectral" in tests:
        values = [total(tests[name].chi2.values()).per_ndf for name in ("photon-spectral", "photon")]
        here = f"chi2/NDF of the single GAN here: {values[0]:.1f} with it, {values[1]:.1f} without."
        short = (f"{chi2_tables.SHORT_REMARK} {here}",)
    negative = (NEGATIVE_REMARK,) if arguments.options["ablation"] else ()
    shared = (moved,) if border != 2.0**18 else ()
    return (*(REMARKS if arguments.train_data is None else ()), *shared, *short, *negative, chi2_tables.CUT_REMARK)


def gather(outcome: Outcome, data: Data, costs: Mapping[str, object], arguments: Arguments, seed: int) -> Evidence:
    """Evidence for the claims from the outcome of one training seed."""
    scatter = chi2_selection.seed_scatter(
        outcome.networks["photon"], data.reference, Chi2Merit(chi2_selection.rule_name(arguments.options, "photon"))
    )
    return Evidence(
        comparisons=outcome.comparisons.by_energy,
        values={**costs, "seed_scatter": scatter, "overshoot": overshoot(outcome.comparisons)},
        networks=outcome.tests,
        others={
            "FastCaloGAN": other_test(
                "fastcalogan", "photon", seed, arguments, data, chi2_selection.selection(arguments.options)
            )
        },
        alone=len(arguments.seeds) == 1,
    )


def overshoot(compared: Comparisons) -> Value:
    """Share of the three GANs' showers above Geant4's 99.5 % quantile in layer 0."""
    expected, received = (layer_energy(item, 0) for item in (compared.reference, compared.generated["three GANs"]))
    share = float(np.mean(received > np.quantile(expected, 0.995)))
    return Value(share, float(np.sqrt(share * (1 - share) / len(received) + 0.005 * 0.995 / len(expected))))


def json_sizes(trained: Mapping[str, StudyNetwork]) -> dict[str, float]:
    """Sizes of generators, MB; a slice has 1 for pions, 3 for photons and 3 for electrons."""
    sizes = {name: json_size(network.run.generator) / 1e6 for name, network in trained.items()}
    by_label = {
        label: sum(sizes[name] for name in names) for label, names in LABELS.items() if set(names) <= set(sizes)
    }
    pion = json_size(build_generator(*CONFIGS["pion"])) / 1e6
    return by_label | {"pion GAN (untrained)": pion, "slice": pion + 2 * by_label["three GANs"]}


if __name__ == "__main__":
    execute(main, __doc__, chi2_selection.OPTIONS)
