r"""The VAE of ATLAS's note of 2018 (ATL-SOFT-PUB-2018-001).

Expected on the bundled showers, preset laptop (430 epochs, which are as many steps as the note's 100 epochs of 90,000
showers; 2 to 3 minutes on one core for each of six networks, five of them with the first seed only): results in
experiments/results/atlas_note_vae.json. The other networks have the weights of the divergence and the learning rates
that Fig. 3 compares, and the divergence as it is printed; --ablation adds the other initialisers of Table 1, the
squared error averaged over the cells, and the rate 1e-2, with which nothing is learned.
The published results were trained on the first edition of the bundled showers, a third of them (--first-edition).

    python experiments/atlas_note_vae.py --preset laptop --seeds 3
    python experiments/atlas_note_vae.py --preset paper --train-data train.h5 --test-data test.h5 --runs runs/own

Your own files hold `incident_energies` [n, 1], `impact_eta`, `impact_phi` [n] and `cells`, [n, 297] or [n, 266], in
MeV: 1024 to 262144 in steps of 2.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
from matplotlib.figure import Figure

from calogen import provenance
from calogen.claims.atlas_note_vae import (
    AVERAGES,
    GEANT4,
    LAYERS,
    MID,
    NUMBERS,
    OBSERVABLES,
    PANELS,
    README_FIGURE,
    REMARKS,
    TRAINED,
    TUNED,
    VAE,
    claims,
    deviation,
    measure,
    quantities,
)
from calogen.claims.judge import Quantity
from calogen.config import Config
from calogen.evaluation.compare import Comparison, compare_showers
from calogen.evaluation.summary import response_curve
from calogen.evaluation.trainings import Evidence
from calogen.metrics.distributions import Value
from calogen.models.atlas_note_vae import CONFIGS, PAPER, AtlasNoteVaeConfig
from calogen.observables.cells import average_showers
from calogen.observables.impact import profile_around_impact
from calogen.plots.observables import draw_observables
from calogen.plots.showers import draw_average_shower
from calogen.provenance import stream_seed
from calogen.reproduction import study_figures
from calogen.reproduction.assessment import add_assessments
from calogen.reproduction.experiment import Arguments, OwnOption, execute, publish
from calogen.reproduction.networks import StudyNetwork, generate_variants
from calogen.reproduction.study import Data, Outcome, Study, run_study
from calogen.reproduction.study_data import read_impacts
from calogen.reproduction.study_options import ONLY
from calogen.reproduction.study_report import Account, build_results
from calogen.reproduction.timing import seconds_per_step
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_GAN_WINDOW

NAME, NETWORK, PRINTED = "atlas_note_vae", "paper", "printed"
EPOCHS = {"smoke": 2, "laptop": 430, "paper": 100}
COPIES = {"laptop": 8, "paper": 8}  # generated showers for each test shower
WEIGHTS = {1e-4: NETWORK, 1e-2: "kl-0.01", 1.0: "kl-1"}  # networks by the weight of the divergence: Fig. 3a
RATES = {1e-3: "rate-0.001", 1e-4: NETWORK, 1e-5: "rate-1e-05"}  # by the learning rate: Fig. 3b
OPTIONS = {
    "--ablation": OwnOption("Train what else the note may mean, and the rate 1e-2, too (first seed only)."),
    **ONLY,
}
EARLY, LAST = 0.05, 0.01  # of all epochs: where the speed of the convergence is compared, and what counts as its end
EPOCHS_REMARK = (
    "{epochs:,} epochs of {showers:,} showers are {updates:,} steps; the note's 100 epochs of about 90,000 showers are "
    "90,000 steps."
)
FIGURE_3_REMARK = "The weights and rates of Fig. 3 stand in its legends alone; ours lie in the ranges of Table 1."


def main(arguments: Arguments) -> None:
    """Trains all networks with every seed, judges the claims, and writes report and results."""
    data = read_impacts(arguments, "photons", ATLAS_GAN_WINDOW, TRAINED)
    recorded = provenance.collect(arguments.seeds[0], data.files)
    names = dict.fromkeys((*WEIGHTS.values(), *RATES.values(), PRINTED))
    configs = {name: CONFIGS[name] for name in (CONFIGS if arguments.options["ablation"] else names)}
    study = Study(
        name=NAME,
        configs=configs,
        budget=budget,
        ensembles={VAE: (NETWORK,)},
        observables=OBSERVABLES,
        variants=frozenset(configs) - {NETWORK},
        copies=COPIES,
    )
    outcomes = run_study(study, arguments, data)
    if not outcomes:
        return
    copies, seed = COPIES.get(arguments.preset, 1), arguments.seeds[0]
    variants = {
        NETWORK: outcomes[0].comparisons.generated[VAE],
        **generate_variants(outcomes[0].networks, study.variants, data.reference, seed, copies),
    }
    steps = NUMBERS["num_showers"].value / NUMBERS["vae_batch_size"].value * NUMBERS["vae_epochs"].value
    seconds = seconds_per_step(outcomes[0].networks[NETWORK].run, data.train)
    evidence = [gather(outcome, {"updates": steps, "minutes": seconds * steps / 60}) for outcome in outcomes]
    measured = measure_variants(outcomes[0], variants, data, seed)
    evidence[0] = replace(evidence[0], values={**evidence[0].values, **measured})
    account = Account(
        name=NAME,
        title="The VAE of ATLAS's note of 2018",
        citation=str(PAPER),
        merit="share of the middle in the photon's energy at 65 GeV, VAE",
        originals={name: config for name, (config, _) in configs.items()},
        caption="Table 1: hyperparameters",
        claims=claims.judge(evidence),
        quantities=(*quantities(evidence, (VAE,), data.note), training_time(evidence[0])),
        remarks=remarks(arguments, outcomes[0], data),
        by_energy=True,
    )
    results = build_results(account, arguments, outcomes, recorded)
    drawn = tuning_figures(variants, data, seed)
    drawn |= study_figures.draw_study(figures(), outcomes[0], data)
    results, drawn = add_assessments(results, drawn, outcomes[0], data.note, arguments.report_directory(NAME))
    publish(arguments, results, drawn, README_FIGURE)


def budget(config: Config, preset: str, seed: int) -> Config:
    """A configuration at a preset's budget; few showers make smaller batches."""
    given = cast(AtlasNoteVaeConfig, config)
    size = 20 if preset == "smoke" else given.batch_size
    return replace(given, epochs=EPOCHS[preset], batch_size=size, seed=seed)


def updates(network: StudyNetwork, data: Data) -> int:
    """Number of steps of a network's training."""
    config = cast(AtlasNoteVaeConfig, network.run.config)
    return config.epochs * (len(data.train) // config.batch_size)


def gather(outcome: Outcome, time: Mapping[str, float]) -> Evidence:
    """Evidence for the claims from one training seed, and the time of a training."""
    compared = outcome.comparisons
    values = measure({GEANT4: compared.reference, **compared.generated})
    return Evidence(comparisons=compared.by_energy, values={**values, **time})


def measure_variants(outcome: Outcome, variants: Mapping[str, Showers], data: Data, seed: int) -> dict[str, object]:
    """Numbers for the claims about weights, rates and the printed divergence."""
    presampler = tuning_comparison(variants, data, seed)["presampler_energy"]
    expected = profile_around_impact(data.reference.at(TUNED), 0, "eta")
    rates: dict[float, object] = {}
    for rate, name in RATES.items():
        losses = np.array([row["loss"] for row in outcome.networks[name].run.history])
        received = profile_around_impact(variants[name].at(TUNED), 0, "eta")
        rates[rate] = (loss_around(losses, EARLY), loss_around(losses, 1.0), deviation(expected, received))
    layers = [item for item in OBSERVABLES if item.name in {f"{layer}_energy" for layer in LAYERS}]
    printed = compare_showers(data.reference, {PRINTED: variants[PRINTED]}, layers, bootstrap_seed(seed), MID)
    distances = [item.numbers_of(PRINTED)["ks"] for item in printed.values()]
    curves = [response_curve([showers]).at("spread", MID) for showers in (variants[PRINTED], data.reference)]
    return {
        "weights": {weight: presampler.numbers_of(name)["ks"] for weight, name in WEIGHTS.items()},
        "rates": rates,
        "printed": {"ks": Value.mean_of_dependent(distances), "spread": curves[0] / curves[1]},
    }


def loss_around(losses: np.ndarray, share: float) -> Value:
    """Mean loss, with its error, of the epochs that end at a share of the training."""
    last = max(2, round(share * len(losses)))
    chosen = losses[max(0, last - max(2, round(LAST * len(losses)))) : last]
    return Value(float(chosen.mean()), float(chosen.std(ddof=1) / np.sqrt(len(chosen))))


def bootstrap_seed(seed: int) -> int:
    """Seed of the errors of a comparison."""
    return stream_seed(provenance.seed_streams(seed, "generate", "bootstrap")["bootstrap"])


def tuning_comparison(variants: Mapping[str, Showers], data: Data, seed: int) -> Comparison:
    """The presampler's energy at 32 GeV with other weights of the divergence."""
    samples = {name: variants[name] for name in WEIGHTS.values()}
    chosen = [item for item in OBSERVABLES if item.name == "presampler_energy"]
    chosen = [replace(item, figures={TUNED: "3a"}) for item in chosen]
    return compare_showers(data.reference, samples, chosen, bootstrap_seed(seed), TUNED)


def tuning_figures(variants: Mapping[str, Showers], data: Data, seed: int) -> dict[str, Figure]:
    """Fig. 3: the presampler by the weight of the divergence and by the learning rate."""
    item = tuning_comparison(variants, data, seed)["presampler_energy"]
    labels = {name: f"w_KL = {weight:g}" for weight, name in WEIGHTS.items()}
    histograms = {labels.get(name, name): histogram for name, histogram in item.histograms.items()}
    rates = {GEANT4: data.reference, **{f"rate {rate:g}": variants[name] for rate, name in RATES.items()}}
    presampler, *_ = average_showers(rates, TUNED, profile_around_impact)
    return {
        "Fig. 3a: energy in the presampler at 32 GeV, by the weight of the divergence": draw_observables(
            [replace(item, histograms=histograms)], data.note
        ),
        "Fig. 3b: presampler at 32 GeV, by the learning rate": draw_average_shower(
            [presampler], data.note, ("eta",), "point"
        ),
    }


def figures() -> dict[str, study_figures.Drawing]:
    """The note's further figures by title."""
    return {
        "Fig. 2: the decoder": partial(study_figures.network_figure, name=NETWORK),
        **{title: partial(study_figures.panels_figure, panels=panels) for title, panels in PANELS.items()},
        "Fig. 10: response and resolution": study_figures.response_figure,
        **{
            title: partial(study_figures.average_figure, incident_energy=MID, axis=axis)
            for title, axis in AVERAGES.items()
        },
    }


def training_time(evidence: Evidence) -> Quantity:
    """CPU minutes of as many steps as the note's training has."""
    name, published = "training of the VAE, 90,000 steps", NUMBERS["vae_training_time"].value
    return Quantity(name, "min", published, evidence.values["minutes"], data="CPU time", headline=True)


def remarks(arguments: Arguments, outcome: Outcome, data: Data) -> tuple[str, ...]:
    """Sentences on how this reproduction differs from the note."""
    network = outcome.networks[NETWORK]
    epochs = cast(AtlasNoteVaeConfig, network.run.config).epochs
    steps = EPOCHS_REMARK.format(epochs=epochs, showers=len(data.train), updates=updates(network, data))
    return (*(REMARKS if arguments.train_data is None else ()), steps, FIGURE_3_REMARK)


if __name__ == "__main__":
    execute(main, __doc__, OPTIONS)
