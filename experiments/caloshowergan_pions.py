"""CaloShowerGAN's charged pions (arXiv:2309.06515) against Geant4.

Expected from the paper at 2,000,000 iterations on the CaloChallenge's pions (Table 4, 12 hours on a GPU): chi2/NDF of
the total energy 1.3, and 1.5 after half of them. On the bundled showers, preset laptop (16,000 iterations of batch 256,
about an hour on one core): experiments/results/caloshowergan_pions.json. --ablation trains the normalisation by kinetic
energy and two GANs for two ranges of momentum, too.

    python experiments/caloshowergan_pions.py --preset laptop --seeds 3
    python experiments/caloshowergan_pions.py --preset paper --train-data dataset_1_pions_1.hdf5 \\
        --test-data dataset_1_pions_2.hdf5 --runs runs/own

Your own files hold `incident_energies` [n, 1] and `showers` [n, 533] in MeV, the CaloChallenge's format (`calogen
download calochallenge-pions`). Without --test-data nothing is held out.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from calogen import provenance
from calogen.claims.caloshowergan import PION, Evidence, judge_claims
from calogen.config import sources
from calogen.evaluation.chi2 import NetworkTest
from calogen.evaluation.metrics import Value
from calogen.evaluation.published import (
    CALOSHOWERGAN_NUMBERS,
    CALOSHOWERGAN_OBSERVABLES,
    CALOSHOWERGAN_TABLE_4,
    CALOSHOWERGAN_TABLE_5,
    CALOSHOWERGAN_TABLE_6,
)
from calogen.evaluation.voxels import voxel_width
from calogen.experiment import Arguments, execute, publish
from calogen.geometry import PIONS_DATASET1
from calogen.models.caloshowergan import CONFIGS, PAPER
from calogen.report import Results
from calogen.showers import Showers
from calogen.study import (
    GAN_OPTIONS,
    Configs,
    Data,
    Outcome,
    Study,
    generation_time,
    json_size,
    other_test,
    read_data,
    run_study,
    seed_scatter,
    shape_correlation,
)
from calogen.study_report import chi2_quantities, chi2_table, draw_study, hyperparameters, size_table, time_table

NAME, MODEL = "caloshowergan_pions", "caloshowergan"
SPLIT, BORDER = ("pion-low", "pion-upper"), 2.0**12  # MeV
PAPERS_CHI2 = {PION: CALOSHOWERGAN_TABLE_4["pion 2M"]}
COMMANDS = {
    "": "make ablate-caloshowergan",
    "fastcalogan": "make reproduce-fastcalogan",
    "paper": "make reproduce-caloshowergan-pions PRESET=paper DATA=<the CaloChallenge's file>",
}
README_FIGURE = "Fig. 10: energy in the layers, all momenta"
FIGURES = {
    "statistics": "Fig. 1: number of showers",
    "total": "Figs. 4 and 6: total energy, by momentum",
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
    "Momenta up to 2^16 MeV, about 10,750 showers; the paper has 120,800 up to 2^22 MeV.",
    "As in the paper, chi2 compares with all showers, those that trained included; held-out figures stand beside.",
    "Short trainings (presets smoke and laptop) have no spectral normalisation in the critic: for photons, 1,500 "
    "iterations gave chi2/NDF 20.7 with it, 11.6 without. Preset paper has it.",
    "Figures and their metrics: voxels below 1 MeV are zero in both samples, as in the CaloChallenge's evaluation.",
    "Two GANs of --ablation meet at 2^12 MeV and have the single one's sizes: the paper does not say how it split.",
)


def main(arguments: Arguments) -> None:
    """Train every network of every seed, judge the claims, write report and results."""
    start = time.monotonic()
    data = read_data(arguments, "pion", PIONS_DATASET1)
    recorded = provenance.collect(arguments.seeds[0], data.files)
    configs = networks(arguments)
    observables = CALOSHOWERGAN_OBSERVABLES["pion"]
    study = Study(
        name=NAME, paper=MODEL, configs=configs, ensembles={PION: ("pion",)}, observables=observables,
        detailed=(512.0, 8192.0),
    )  # fmt: skip
    outcomes = run_study(study, arguments, data)
    pion, device = outcomes[0].networks["pion"], provenance.device()
    seconds = {momentum: generation_time([pion], momentum) for momentum in (1024.0, 8192.0, 65536.0)}
    batches = {size: generation_time([pion], 65536.0, size) for size in (1, 10, 100, 1000, 10_000)}
    evidence = [
        gather(outcome, data, seconds, other_test("fastcalogan", "pion", seed, arguments), alone=len(outcomes) == 1)
        for seed, outcome in zip(arguments.seeds, outcomes, strict=True)
    ]
    ensembles: dict[str, tuple[str, ...]] = {
        PION: ("pion",),
        **{name: (name,) for name in configs if name not in ("pion", *SPLIT)},
    }
    ensembles |= {"two pion GANs": SPLIT} if set(SPLIT) <= set(configs) else {}
    tests = [outcome.tests for outcome in outcomes]
    times = {f"1 of {momentum / 1024:.0f} GeV": value for momentum, value in seconds.items()}
    results = Results(
        name=NAME,
        title="CaloShowerGAN, charged pions",
        paper=str(PAPER),
        claims=judge_claims(evidence, "pion", COMMANDS),
        quantities=chi2_quantities(tests, ensembles, PAPERS_CHI2, data.note),
        tables={
            "Table 2: hyperparameters": hyperparameters(
                {name: network.run.config for name, network in outcomes[0].networks.items()}
            ),
            "Table 4: chi2 of the total energy": chi2_table(tests, ensembles, PAPERS_CHI2),
            "Table 5: time of one shower": time_table(
                times, dict(zip(times, CALOSHOWERGAN_TABLE_5["pion"].values(), strict=True)), device
            ),
            "Table 6: time of a batch of 65 GeV": time_table(
                {f"{size:,}": value for size, value in batches.items()},
                {f"{size:,}": number for size, number in CALOSHOWERGAN_TABLE_6.items()},
                device,
            ),
            "Section 5.7: size of the generator (does not follow from Table 2)": size_table(
                {PION: json_size(pion.run.generator) / 1e6}, {PION: CALOSHOWERGAN_NUMBERS["json_pion"]}
            ),
        },
        provenance=recorded
        | {
            "preset": arguments.preset,
            "seeds": list(arguments.seeds),
            "device": device,
            "bfloat16": arguments.options["bfloat16"],
            "wall_time": round(time.monotonic() - start, 1),
            "training": {
                str(seed): outcome.provenance for seed, outcome in zip(arguments.seeds, outcomes, strict=True)
            },
        },
        measurements=tuple(row for item in outcomes[0].pictures.together.values() for row in item.measurements),
        deviations=tuple(sources(pion.run.config)),
        remarks=REMARKS if arguments.train_data is None else (),
    )
    publish(arguments, results, draw_study(outcomes[0], data, ("pion",), ("pion",), FIGURES), README_FIGURE)


def networks(arguments: Arguments) -> Configs:
    """What is trained: one GAN; with --ablation section 3.2's normalisation and a split, too."""
    chosen = {"pion": CONFIGS["pion"][0]}
    if arguments.options["ablation"]:
        chosen["pion-kinetic"] = CONFIGS["pion-kinetic"][0]
        half = replace(chosen["pion"], iterations=1_000_000)
        chosen["pion-low"] = replace(half, highest_momentum=BORDER)
        chosen["pion-upper"] = replace(half, lowest_momentum=BORDER)
    if arguments.preset != "paper":
        chosen = {name: replace(config, spectral_normalization="none") for name, config in chosen.items()}
    return {name: (config, PIONS_DATASET1) for name, config in chosen.items()}


def gather(
    outcome: Outcome, data: Data, seconds: Mapping[float, Value], fastcalogan: NetworkTest | None, *, alone: bool
) -> Evidence:
    """What the claims look at."""
    pion, pictures = outcome.networks["pion"], outcome.pictures
    return Evidence(
        networks=outcome.tests,
        by_momentum=pictures.by_momentum,
        together=pictures.together,
        shape_correlation=shape_correlation(pion.test),
        seed_scatter=seed_scatter(pion, data.reference),
        seconds=seconds,
        narrow=narrow_share(pictures.reference, pictures.generated[PION]),
        fastcalogan=fastcalogan,
        alone=alone,
    )


def narrow_share(reference: Showers, generated: Showers) -> Value:
    """Share of generated showers narrower in eta than the reference's narrowest 5 %.

    Mean of layers 12 and 13.
    """
    shares, errors = [], []
    for layer_id in (12, 13):
        expected, received = (
            values[np.isfinite(values)]
            for values in (voxel_width(item, layer_id, "eta") for item in (reference, generated))
        )
        share = float(np.mean(received <= np.quantile(expected, 0.05)))
        shares.append(share)
        errors.append(np.sqrt(share * (1 - share) / len(received) + 0.05 * 0.95 / len(expected)))
    return Value(float(np.mean(shares)), float(np.hypot(*errors) / 2))


if __name__ == "__main__":
    execute(main, __doc__, GAN_OPTIONS)
