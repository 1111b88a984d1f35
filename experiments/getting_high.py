r"""GAN, WGAN and BIB-AE of "Getting High" (arXiv:2005.05334), side by side.

Expected on the bundled showers of a simplified stack, preset laptop (narrow networks whose sizes the report prints;
half an hour to 100 minutes on a core for each of the three, and of the WGAN variants of --ablation): results in
experiments/results/getting_high.json. The paper's own networks and lengths are preset paper, for a GPU: four days for
the BIB-AE alone.

    python experiments/getting_high.py --preset laptop
    python experiments/getting_high.py --only wgan
    python experiments/getting_high.py --preset paper --train-data photons.hdf5 --test-data flat.h5 --steps steps.h5

Your own files hold photons on a grid of 30 x 30 x 30 cells, in our layout or in the public one (a group `30x30`): those
to train with, those of a flat spectrum to compare with, and, in --steps, those of 20, 30 ... 90 GeV.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure

from calogen import provenance
from calogen.claims.getting_high import (
    BARE,
    BIB_AE,
    FITTED,
    GAN,
    GEANT4,
    MID,
    MMD,
    OBSERVABLES,
    POST,
    SHOWN,
    STEPS,
    WGAN,
    claims,
    measure,
    quantities,
)
from calogen.claims.judge import Table
from calogen.config import Config
from calogen.evaluation.grid_measures import correlation_of, features_of
from calogen.evaluation.grids import GridTable, table_of
from calogen.evaluation.summary import ResponseCurve
from calogen.evaluation.trainings import Evidence
from calogen.metrics.correlations import difference, pair_histograms
from calogen.metrics.distributions import Value, mean
from calogen.models import bib_ae, getting_high_gan, getting_high_wgan
from calogen.models.bib_ae import BibAeConfig
from calogen.models.getting_high_gan import GettingHighGanConfig
from calogen.models.getting_high_wgan import PAPER, GettingHighWganConfig
from calogen.parallel import tensorflow_threads
from calogen.plots.correlations import draw_correlation_matrices, draw_pairs
from calogen.plots.observables import draw_response
from calogen.reproduction import study_figures
from calogen.reproduction.assessment import add_assessments
from calogen.reproduction.experiment import Arguments, OwnOption, execute, publish
from calogen.reproduction.grid_study import (
    generating_sizes,
    mean_figure,
    profile_figure,
    single_shower_figure,
    spectrum_figure,
    with_fitted_latent,
    without_post_processor,
)
from calogen.reproduction.networks import generated_table, generation_time
from calogen.reproduction.study import Configs, Data, Outcome, Study, run_study
from calogen.reproduction.study_data import TRAIN, read_compared, require_together
from calogen.reproduction.study_options import ONLY
from calogen.reproduction.study_report import Account, build_results
from calogen.showers.bundled import bundled
from calogen.showers.grids import ILD_GRID
from calogen.showers.sample import Showers
from calogen.training.run import TrainedRun

NAME = "getting_high"
FLAT = "flat"
"""Name of the sample with a flat spectrum."""
NETWORKS = {GAN: "gan", WGAN: "wgan", BIB_AE: "bib_ae"}
VARIANTS = {MMD: "wgan-mmd", POST: "wgan-post-processor"}
OPTIONS = {
    "--ablation": OwnOption("Train the WGAN's variants of Fig. 11, too (first seed only)."),
    "--steps": OwnOption("With --train-data: your photons of 20, 30 ... 90 GeV.", kind=Path | None, default=None),
    **ONLY,
}
BUDGETS: dict[str, dict[str, dict[str, Any]]] = {
    "gan": {"smoke": {"iterations": 2, "batch_size": 4}, "laptop": {"iterations": 2_400}},
    "wgan": {
        "smoke": {"iterations": 2, "batch_size": 4, "critic_steps": 1, "post_iterations": 2, "post_batch_size": 2},
        "laptop": {"iterations": 3_000, "post_iterations": 1_000},
    },
    "bib_ae": {"smoke": {"epochs": 1, "critic_steps": 1, "post_epochs": (1, 1)}, "laptop": {"epochs": 15}},
}
"""What the presets change in the narrow networks' training, by model."""
BATCHES = {"smoke": (1,), "laptop": (1, 10, 100), "paper": (1, 10, 100, 1000)}  # Table 1
PAIRS = (("num_hits", "visible_energy"), ("depth_centre", "visible_energy"))  # Fig. 10
TRIALS = {"smoke": 2, "laptop": 25, "paper": 25}
TABLE_ENERGY, WINDOW = 15_000.0, 5_000.0  # MeV, of Table 1, and around it for Geant4's time
COPIES = {"laptop": 4, "paper": 4}  # generated showers for each test shower
README_FIGURE = "Fig. 6: energies of the cells, 10 to 100 GeV"
REMARKS = (
    "Showers: Geant4 11.4 with data-free electromagnetic models in flat layers, not the ILD's own simulation; cells "
    "are not staggered, and a shower takes a tenth of the paper's time.",
)
TIMES_REMARK = "Table 1: Geant4's times are those of one core, the networks' those of {device}."
NARROW_REMARK = (
    "Preset {preset}: narrow networks, {sizes} trainable parameters of what generates, and short trainings on "
    "{showers:,} showers; the paper has 950,000 showers. What its networks do after days on several GPUs, these need "
    "not do."
)


def main(arguments: Arguments) -> None:
    """Trains all networks with every seed, judges the claims, and writes report and results."""
    data, flat = read_photons(arguments)
    recorded = provenance.collect(arguments.seeds[0], data.files)
    configs = networks(arguments)
    study = Study(
        name=NAME,
        configs=configs,
        budget=budget,
        ensembles={label: (name,) for label, name in NETWORKS.items()},
        observables=OBSERVABLES,
        detailed=SHOWN,
        variants=frozenset(VARIANTS.values()),
        copies=COPIES,
    )
    outcomes = run_study(study, arguments, data)
    if not outcomes:
        return
    drawn: dict[str, Figure] = {}
    evidence: list[Evidence] = []
    for outcome, seed in zip(outcomes, arguments.seeds, strict=True):
        steps, tables = tables_of(outcome, data, flat, seed, arguments)
        evidence.append(gather(outcome, steps, tables, flat, arguments))
        drawn = drawn or figures(outcome, data, tables, evidence[0])
    account = Account(
        name=NAME,
        title="Getting High: GAN, WGAN and BIB-AE with post processor",
        citation=str(PAPER),
        merit=f"mean difference of the correlation coefficients, {BIB_AE}",
        originals={name: config for name, (config, _) in configs.items()},
        caption="Appendix A: hyperparameters",
        parameters="GAN 1.5M, WGAN 3.7M, BIB-AE 71M",
        claims=claims.judge(evidence),
        quantities=quantities(evidence, data.note),
        tables={"Table 1: time of a shower": time_table(evidence[0].values["times"])},
        remarks=remarks(arguments, outcomes[0], data),
        by_energy=True,
    )
    results = build_results(account, arguments, outcomes, recorded)
    results, drawn = add_assessments(results, drawn, outcomes[0], data.note, arguments.report_directory(NAME))
    publish(arguments, results, drawn, README_FIGURE)


def read_photons(arguments: Arguments) -> tuple[Data, Showers]:
    """Photons to train with and of the steps of Fig. 8, and those of a flat spectrum.

    Raises:
        ConfigError: some of three files of the user's are missing.
        DataFormatError: a file holds other showers, or too few of a step.
    """
    steps = cast(Path | None, arguments.options["steps"])
    given = {TRAIN: arguments.train_data, FLAT: arguments.test_data, "steps": steps}
    require_together(dict(zip(("--train-data", "--test-data", "--steps"), given.values(), strict=True)))
    own = {name: path for name, path in given.items() if path is not None}
    bundle = {TRAIN: "ild_photons_train", FLAT: "ild_photons_test", "steps": "ild_photons_steps"}
    files = own or {name: bundled(sample) for name, sample in bundle.items()}
    data, whole = read_compared(arguments, files, ILD_GRID, STEPS, (FLAT,))
    if arguments.preset == "smoke" and not own:
        return replace(data, train=data.train[::8], compared=data.reference[::8]), whole[FLAT][::8]
    return data, whole[FLAT]


def networks(arguments: Arguments) -> Configs:
    """Networks to train, by name; --ablation gives the WGAN's variants."""
    found: dict[str, tuple[Config, Any]] = {
        NETWORKS[GAN]: getting_high_gan.CONFIGS["paper"],
        NETWORKS[WGAN]: getting_high_wgan.CONFIGS["paper"],
        NETWORKS[BIB_AE]: bib_ae.CONFIGS["paper"],
    }
    if arguments.options["ablation"]:
        found |= {VARIANTS[MMD]: getting_high_wgan.CONFIGS["mmd"]}
        found |= {VARIANTS[POST]: getting_high_wgan.CONFIGS["post-processor"]}
    return found


def budget(config: Config, preset: str, seed: int) -> Config:
    """A configuration at a preset's budget: narrow networks, but for the preset paper."""
    if preset == "paper":
        return replace(config, seed=seed)
    if isinstance(config, GettingHighGanConfig):
        return replace(getting_high_gan.CONFIGS["laptop"][0], **BUDGETS["gan"][preset], seed=seed)
    if isinstance(config, BibAeConfig):
        return replace(bib_ae.CONFIGS["laptop"][0], **BUDGETS["bib_ae"][preset], seed=seed)
    given = cast(GettingHighWganConfig, config)
    variant: dict[str, Any] = {"discrepancy_weight": given.discrepancy_weight, "post_processing": given.post_processing}
    return replace(getting_high_wgan.CONFIGS["laptop"][0], **BUDGETS["wgan"][preset], **variant, seed=seed)


def tables_of(
    outcome: Outcome, data: Data, flat: Showers, seed: int, arguments: Arguments
) -> tuple[dict[str, GridTable], dict[str, GridTable]]:
    """Tables of all networks' showers at the steps of Fig. 8, and of a flat spectrum.

    The BIB-AE also generates without its post processor, and from latent numbers of encoded showers.
    """
    runs = {
        label: outcome.networks[name].run for label, name in (NETWORKS | VARIANTS).items() if name in outcome.networks
    }
    whole, copies = runs[BIB_AE], COPIES.get(arguments.preset, 1)
    runs |= {
        BARE: without_post_processor(whole),
        FITTED: with_fitted_latent(whole, data.train, cast(BibAeConfig, whole.config).seed),
    }
    steps = {label: table_of(showers) for label, showers in samples_of(outcome).items()}
    tables = {GEANT4: table_of(flat)}
    for label, run in runs.items():
        if label not in steps:
            steps[label] = generated_table(run, data.reference, seed, copies)
        tables[label] = generated_table(run, flat, seed, copies)
    return steps, tables


def samples_of(outcome: Outcome) -> dict[str, Showers]:
    """Showers of Geant4 and of the three networks at the steps of Fig. 8."""
    return {GEANT4: outcome.comparisons.reference, **outcome.comparisons.generated}


def gather(
    outcome: Outcome,
    steps: Mapping[str, GridTable],
    tables: Mapping[str, GridTable],
    flat: Showers,
    arguments: Arguments,
) -> Evidence:
    """Evidence for the claims from the outcome of one training seed."""
    runs = {label: outcome.networks[name].run for label, name in NETWORKS.items()}
    times = measure_times(runs, flat, arguments.preset)
    middle = {label: by_batch[max(by_batch)][MID] for label, by_batch in times.items() if label != GEANT4}
    if GEANT4 in times:
        middle[GEANT4] = times[GEANT4][1][MID]
    values: dict[str, Any] = measure(steps, tables)
    values |= {
        "times": times,
        "batch": max(BATCHES[arguments.preset]),
        "milliseconds": {label: 1000 * value for label, value in middle.items()},
        "seconds": {label: mean_times(run, TRIALS[arguments.preset]) for label, run in runs.items()},
    }
    return Evidence(comparisons=outcome.comparisons.by_energy, values=values)


def mean_times(run: TrainedRun, trials: int) -> dict[float, Value]:
    """Mean seconds of one shower at the first and the last step, with their errors."""
    found = generation_time([run], (STEPS[0], STEPS[-1]), 1, trials)
    return {energy: Value(value.value, value.error / trials**0.5) for energy, value in found.items()}


def measure_times(
    runs: Mapping[str, TrainedRun], flat: Showers, preset: str
) -> dict[str, dict[int, dict[float, Value]]]:
    """Seconds of one shower by sample, batch size and energy; 50 GeV stand for 10 to 100.

    Geant4's are CPU seconds of the machine that made the file, the networks' those of this one's clock.
    """
    times: dict[str, dict[int, dict[float, Value]]] = {}
    if "cpu_seconds" in flat.conditions:
        seconds, near = flat.conditions["cpu_seconds"], abs(flat.incident_energies - TABLE_ENERGY) < WINDOW
        times[GEANT4] = {1: {TABLE_ENERGY: mean(seconds[near]), MID: mean(seconds)}}
    for label, run in runs.items():
        times[label] = {}
        for batch in BATCHES[preset]:
            found = generation_time([run], (TABLE_ENERGY, MID), batch, TRIALS[preset])
            times[label][batch] = {energy: value / batch for energy, value in found.items()}
    return times


def time_table(times: Mapping[str, Mapping[int, Mapping[float, Value]]]) -> Table:
    """Times of a shower by batch size, and speed-ups over Geant4 where its time is known."""
    geant4, rows = times.get(GEANT4, {}).get(1, {}), []
    for label, by_batch in times.items():
        for batch, found in by_batch.items():
            cells = [label, "-" if label == GEANT4 else f"{batch:,}"]
            for energy in (TABLE_ENERGY, MID):
                speed = "" if label == GEANT4 or energy not in geant4 else (geant4[energy] / found[energy]).value
                cells += [f"{1000 * found[energy]}", f"x{speed:.3g}" if speed else "-"]
            rows.append(tuple(cells))
    return Table(("simulator", "batch size", "15 GeV, ms", "speed-up", "10 to 100 GeV, ms", "speed-up "), tuple(rows))


def remarks(arguments: Arguments, outcome: Outcome, data: Data) -> tuple[str, ...]:
    """Sentences on how this reproduction differs from the paper."""
    device = provenance.device()
    device = f"a CPU, on how many threads: {tensorflow_threads()}" if device == "CPU" else device
    own = (*(REMARKS if arguments.train_data is None else ()), TIMES_REMARK.format(device=device))
    if arguments.preset == "paper":
        return own
    runs = {label: outcome.networks[name].run for label, name in NETWORKS.items()}
    sizes = generating_sizes(runs)
    return (*own, NARROW_REMARK.format(preset=arguments.preset, sizes=sizes, showers=len(data.train)))


def figures(
    outcome: Outcome,
    data: Data,
    tables: Mapping[str, GridTable],
    evidence: Evidence,
) -> dict[str, Figure]:
    """The paper's figures by caption."""
    shown, steps = (GEANT4, *NETWORKS), samples_of(outcome)
    main_tables = {label: tables[label] for label in shown}
    variants = {label: tables[label] for label in (GEANT4, BIB_AE, BARE, *VARIANTS) if label in tables}
    panels = {
        "Fig. 6: number of hits": [("num_hits", energy) for energy in SHOWN],
        "Fig. 7: visible energy": [("visible_energy", energy) for energy in SHOWN],
        "Fig. 7: centre of gravity in depth": [("depth_centre", energy) for energy in SHOWN],
    }
    drawn = {
        README_FIGURE: spectrum_figure(main_tables, data.note),
        "Fig. 5: single showers of 50 GeV": single_shower_figure(at_mid(steps, shown), data.note),
        "Fig. 2: mean of all showers of 50 GeV": mean_figure(at_mid(steps, shown), data.note),
    }
    for title, items in panels.items():
        drawn |= study_figures.panels_figure(title, outcome, data, panels=items)
    drawn["Fig. 7: profiles, 10 to 100 GeV"] = profile_figure(main_tables, data.note)
    reference, *others = (core_curve(evidence.values["cores"][label]) for label in (GEANT4, *NETWORKS))
    curves = dict(zip(NETWORKS, others, strict=True))
    drawn["Fig. 8: mean and width of the central 90 %"] = draw_response(reference, curves, data.note)
    expected = correlation_of(tables[GEANT4])
    for label in NETWORKS:
        found = correlation_of(tables[label])
        caption = f"Fig. 9: correlations, {label}"
        drawn[caption] = draw_correlation_matrices(expected, found, difference(expected, found), data.note)
    seen = {label: features_of(table) for label, table in main_tables.items()}
    drawn["Fig. 10: pairs of observables"] = draw_pairs(pair_histograms(seen, PAIRS), data.note)
    drawn["Fig. 11: energies of the cells, with and without post processing"] = spectrum_figure(variants, data.note)
    drawn["Fig. 11: profiles, with and without post processing"] = profile_figure(variants, data.note)
    return drawn


def at_mid(steps: Mapping[str, Showers], labels: Sequence[str]) -> dict[str, Showers]:
    """Showers of 50 GeV of each sample."""
    return {label: steps[label].at(MID) for label in labels}


def core_curve(cores: Mapping[float, tuple[Value, Value]]) -> ResponseCurve:
    """Mean and relative width of the central 90 % of visible over incident energy."""
    centres = tuple(cores[energy][0] / energy for energy in STEPS)
    widths = tuple(cores[energy][1] for energy in STEPS)
    spread = tuple(width * centre.value for centre, width in zip(centres, widths, strict=True))
    return ResponseCurve(np.array(STEPS), centres, spread, widths)


if __name__ == "__main__":
    execute(main, __doc__, OPTIONS)
