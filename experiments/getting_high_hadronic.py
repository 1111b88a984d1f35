r"""BIB-AE and WGAN of pions (slides after arXiv:2112.09709) beside Geant4.

The showers are simulated on first use, in 10 minutes of one core, and used again afterwards; that needs Geant4 (`pip
install 'calogen[geant4]'`). Expected on them, preset laptop (narrow networks whose sizes the report prints; about an
hour on one core for each of the two, and for the WGAN without constrainer with --ablation): results in
experiments/results/getting_high_hadronic.json. The full networks are preset paper, for a GPU.

    python experiments/getting_high_hadronic.py --preset laptop
    python experiments/getting_high_hadronic.py --preset paper --train-data pions.h5 --test-data points.h5

Your own files hold pions on a grid of 48 x 25 x 25 cells in our layout: those to train with, and, in --test-data, those
of 20, 50 and 80 GeV. `calogen simulate --detector ahcal` makes such files.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from matplotlib.figure import Figure

from calogen import provenance
from calogen.claims.getting_high_hadronic import (
    BARE,
    BIB_AE,
    FITTED,
    FREE,
    GEANT4,
    MERIT,
    OBSERVABLES,
    STEPS,
    WGAN,
    claims,
    measure,
    quantities,
)
from calogen.config import Config
from calogen.evaluation.grids import GridTable, table_of
from calogen.evaluation.trainings import Evidence
from calogen.models import bib_ae, getting_high_wgan
from calogen.models.bib_ae import PAPER, BibAeConfig
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
from calogen.reproduction.networks import generated_table
from calogen.reproduction.simulated_data import read_or_simulate
from calogen.reproduction.study import Configs, Data, Outcome, Study, run_study
from calogen.reproduction.study_data import TRAIN
from calogen.reproduction.study_options import ONLY
from calogen.reproduction.study_report import Account, build_results
from calogen.showers.grids import AHCAL_GRID
from calogen.training.run import TrainedRun

NAME = "getting_high_hadronic"
NETWORKS, VARIANTS = {WGAN: "wgan", BIB_AE: "bib_ae"}, {FREE: "wgan-without-constrainer"}
OPTIONS = {"--ablation": OwnOption("Train the WGAN without constrainer, too (first seed only)."), **ONLY}
BUDGETS: dict[str, dict[str, dict[str, Any]]] = {
    "wgan": {
        "smoke": {"iterations": 2, "batch_size": 4, "critic_steps": 1},
        "laptop": {"iterations": 1_800, "constrainer_iterations": 1_000},
    },
    "bib_ae": {
        "smoke": {"epochs": 1, "critic_steps": 1, "post_epochs": (1, 1)},
        "laptop": {"epochs": 14, "post_epochs": (1, 2)},
    },
}
"""What the presets change in the narrow networks' training, by model."""
NUMBERS = {"smoke": (24, 4), "laptop": (1_500, 250), "paper": (20_000, 1_000)}
"""Showers that are simulated: to train with, and at each energy to compare with."""
COPIES = {"laptop": 4, "paper": 4}  # generated showers for each test shower
README_FIGURE = "Energies of the cells"
REMARKS = (
    "Showers: Geant4 11.4 with data-free models (FTFP and Bertini) in a simplified stack of steel and scintillator "
    "without Birks' law, not the AHCAL's own simulation; cells of 30 x 30 mm are assumed.",
    "The slides show their plots of pions without definitions: observables and incident energies are ours. Hits begin "
    "at 0.25 MeV, half a minimum ionising particle in 3 mm of scintillator.",
)
NARROW_REMARK = (
    "Preset {preset}: narrow networks, {sizes} trainable parameters of what generates, and short trainings on "
    "{showers:,} showers: what the slides' networks do after days on GPUs, these need not do. They train as the narrow "
    "networks of photons, not with the rates and steps of the full ones of pions; the weights in the WGAN's losses are "
    "those of pions."
)


def main(arguments: Arguments) -> None:
    """Trains the networks with every seed, judges the claims, and writes report and results."""
    folder = arguments.runs / NAME / "data"
    data = read_or_simulate(arguments, folder, AHCAL_GRID, samples(arguments.preset), STEPS)
    recorded = provenance.collect(arguments.seeds[0], data.files)
    configs = networks(arguments)
    study = Study(
        name=NAME,
        configs=configs,
        budget=budget,
        ensembles={label: (name,) for label, name in NETWORKS.items()},
        observables=OBSERVABLES,
        detailed=STEPS,
        variants=frozenset(VARIANTS.values()),
        copies=COPIES,
    )
    outcomes = run_study(study, arguments, data)
    if not outcomes:
        return
    drawn: dict[str, Figure] = {}
    evidence: list[Evidence] = []
    for outcome, seed in zip(outcomes, arguments.seeds, strict=True):
        tables = tables_of(outcome, data, seed, arguments)
        evidence.append(Evidence(comparisons=outcome.comparisons.by_energy, values=measure(tables)))
        drawn = drawn or figures(outcome, data, tables)
    account = Account(
        name=NAME,
        title="Getting High: pions with a BIB-AE and a WGAN",
        citation=f"slides on BIB-AE and WGAN of arXiv:2112.09709; the networks: {PAPER}",
        merit=MERIT,
        originals={name: config for name, (config, _) in configs.items()},
        caption="Hyperparameters",
        claims=claims.judge(evidence),
        quantities=quantities(evidence, data.note),
        remarks=remarks(arguments, outcomes[0], data),
        by_energy=True,
    )
    results = build_results(account, arguments, outcomes, recorded)
    results, drawn = add_assessments(results, drawn, outcomes[0], data.note, arguments.report_directory(NAME))
    publish(arguments, results, drawn, README_FIGURE)


def samples(preset: str) -> dict[str, dict[str, Any]]:
    """Arguments of the productions by the sample's name."""
    train, test = NUMBERS[preset]
    known: dict[str, Any] = {"detector": "ahcal", "particle": "pion", "physics": "ftfp-bert-datafree"}
    return {
        TRAIN: {**known, "energies": (10_000.0, 100_000.0), "uniform": True, "showers": (train,), "seed": 1},
        "test": {**known, "energies": STEPS, "showers": (test,), "seed": 2},
    }


def networks(arguments: Arguments) -> Configs:
    """Networks to train, by name; --ablation gives the WGAN without constrainer."""
    wgan, grid = getting_high_wgan.CONFIGS["pions"]
    found: dict[str, tuple[Config, Any]] = {
        NETWORKS[WGAN]: (wgan, grid),
        NETWORKS[BIB_AE]: bib_ae.CONFIGS["pions"],
    }
    if arguments.options["ablation"]:
        found |= {VARIANTS[FREE]: (replace(wgan, constrainer_weight=0.0), grid)}
    return found


def budget(config: Config, preset: str, seed: int) -> Config:
    """A configuration at a preset's budget: narrow networks, but for the preset paper."""
    if preset == "paper":
        return replace(config, seed=seed)
    if isinstance(config, BibAeConfig):
        return replace(bib_ae.CONFIGS["laptop"][0], **BUDGETS["bib_ae"][preset], seed=seed)
    weights = {name: getattr(config, name) for name in ("constrainer_weight", "gradient_penalty_weight")}
    return replace(getting_high_wgan.CONFIGS["laptop"][0], **BUDGETS["wgan"][preset], **weights, seed=seed)


def tables_of(outcome: Outcome, data: Data, seed: int, arguments: Arguments) -> dict[str, GridTable]:
    """Tables of all samples by label.

    The BIB-AE also generates without its post processor, and from latent numbers of encoded showers.
    """
    compared, trained = outcome.comparisons, outcome.networks
    tables = {GEANT4: table_of(data.reference)}
    tables |= {label: table_of(showers) for label, showers in compared.generated.items()}
    run = trained[NETWORKS[BIB_AE]].run
    more: dict[str, TrainedRun] = {
        BARE: without_post_processor(run),
        FITTED: with_fitted_latent(run, data.train, cast(BibAeConfig, run.config).seed),
        **{label: trained[name].run for label, name in VARIANTS.items() if name in trained},
    }
    copies = COPIES.get(arguments.preset, 1)
    return tables | {label: generated_table(item, data.reference, seed, copies) for label, item in more.items()}


def remarks(arguments: Arguments, outcome: Outcome, data: Data) -> tuple[str, ...]:
    """Sentences on how this reproduction differs from the slides."""
    own = REMARKS if arguments.train_data is None else REMARKS[1:]
    if arguments.preset == "paper":
        return own
    sizes = generating_sizes({label: outcome.networks[name].run for label, name in NETWORKS.items()})
    return (*own, NARROW_REMARK.format(preset=arguments.preset, sizes=sizes, showers=len(data.train)))


def figures(outcome: Outcome, data: Data, tables: Mapping[str, GridTable]) -> dict[str, Figure]:
    """Figures by caption."""
    compared = outcome.comparisons
    shown = {label: tables[label] for label in (GEANT4, *NETWORKS)}
    single = {label: item.at(STEPS[1]) for label, item in {GEANT4: compared.reference, **compared.generated}.items()}
    drawn = {README_FIGURE: spectrum_figure(shown, data.note)}
    panels = {"Visible energy": "visible_energy", "Number of hits": "num_hits", "Centre of gravity": "depth_centre"}
    for title, name in panels.items():
        named = [(name, energy) for energy in STEPS]
        drawn |= study_figures.panels_figure(title, outcome, data, panels=named)
    drawn["Profiles, 20 to 80 GeV"] = profile_figure(shown, data.note)
    drawn["Single showers of 50 GeV"] = single_shower_figure(single, data.note)
    drawn["Mean of all showers of 50 GeV"] = mean_figure(single, data.note)
    drawn["Energies of the cells, variants"] = spectrum_figure(tables, data.note)
    drawn["Profiles, variants"] = profile_figure(tables, data.note)
    return drawn


if __name__ == "__main__":
    execute(main, __doc__, OPTIONS)
