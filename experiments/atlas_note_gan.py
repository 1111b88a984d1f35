r"""The GAN of ATLAS's note of 2018 (ATL-SOFT-PUB-2018-001), beside its VAE.

Expected on the bundled showers, preset laptop (60,000 iterations, 10 minutes on one core for each GAN, and the VAE, 3
minutes): results in experiments/results/atlas_note_gan.json. The first seed also trains the GANs with Gauss and ReLU at
the output that Figs. 5 and 6 compare; with --ablation it trains whatever Table 2 compares, 11 GANs in all. The note's
50,000 epochs are 700,000 iterations: preset paper. Of several seeds, figures and metrics are those of the seed whose
covariance matrices are nearest to Geant4's, as in the note.
The published results were trained on the first edition of the bundled showers, a third of them (--first-edition).

    python experiments/atlas_note_gan.py --preset laptop --seeds 3
    python experiments/atlas_note_gan.py --preset paper --train-data train.h5 --test-data test.h5 --runs runs/own

Your own files hold `incident_energies` [n, 1], `impact_eta`, `impact_phi` [n] and `cells`, [n, 297] or [n, 266], in
MeV: 1024 to 262144 in steps of 2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
from matplotlib.figure import Figure

from calogen import provenance
from calogen.claims.atlas_note_gan import ACTIVATIONS, GAUSS, RELU, SIGMOID, claims
from calogen.claims.atlas_note_vae import (
    AVERAGES,
    GAN,
    GEANT4,
    MID,
    NUMBERS,
    OBSERVABLES,
    PANELS,
    README_FIGURE,
    REMARKS,
    TRAINED,
    VAE,
    measure,
    quantities,
)
from calogen.claims.judge import Quantity, Table
from calogen.config import Config
from calogen.evaluation.merits import CovarianceMerit
from calogen.evaluation.summary import ResponseCurve, response_curve
from calogen.evaluation.trainings import Evidence
from calogen.metrics.distributions import mean
from calogen.models import atlas_note_gan, atlas_note_vae
from calogen.models.atlas_note_gan import PAPER, AtlasNoteGanConfig
from calogen.models.atlas_note_vae import AtlasNoteVaeConfig
from calogen.observables.cells import average_showers, width
from calogen.observables.impact import profile_around_impact
from calogen.plots.observables import draw_response
from calogen.plots.showers import draw_average_shower
from calogen.reproduction import study_figures
from calogen.reproduction.assessment import add_assessments
from calogen.reproduction.experiment import Arguments, OwnOption, execute, publish
from calogen.reproduction.networks import generate_variants, generated_like
from calogen.reproduction.study import Configs, Data, Outcome, Study, run_study
from calogen.reproduction.study_data import read_impacts
from calogen.reproduction.study_options import ONLY
from calogen.reproduction.study_report import Account, build_results
from calogen.reproduction.timing import seconds_per_step
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_GAN_WINDOW

NAME, NETWORK = "atlas_note_gan", "paper"
BUDGETS = {"smoke": (10, 2), "laptop": (60_000, 430), "paper": (700_000, 100)}  # iterations, epochs of the VAE
COPIES = {"laptop": 8, "paper": 8}  # generated showers for each test shower
OUTPUTS = {SIGMOID: NETWORK, GAUSS: "gauss", RELU: "relu"}  # networks by the activation that Figs. 5 and 6 compare
OPTIONS = {"--ablation": OwnOption("Train everything that Table 2 compares, too (first seed only)."), **ONLY}
BATCH = {"smoke": 20}  # showers in a batch where it is not the note's
EPOCHS_REMARK = (
    "Epochs are scaled to updates of the generator: {iterations:,} iterations are {epochs:,.0f} epochs of these "
    "{showers:,} showers; the note's 50,000 epochs of about 4,500 showers are 700,000 iterations."
)
SEED_REMARK = (
    "The covariance matrices of the training showers are nearest with seed {seed}, which the note would show: figures "
    "and metrics are its own, Figs. 5 and 6 those of seed {first}."
)


def main(arguments: Arguments) -> None:
    """Trains all networks with every seed, judges the claims, and writes report and results."""
    data = read_impacts(arguments, "photons", ATLAS_GAN_WINDOW, TRAINED)
    recorded = provenance.collect(arguments.seeds[0], data.files)
    configs = networks(arguments)
    study = Study(
        name=NAME,
        configs=configs,
        budget=budget,
        ensembles={GAN: (NETWORK,), VAE: ("vae",)},
        observables=OBSERVABLES,
        variants=frozenset(configs) - {NETWORK, "vae"},
        copies=COPIES,
    )
    outcomes = run_study(study, arguments, data)
    if not outcomes:
        return
    copies, seed = COPIES.get(arguments.preset, 1), arguments.seeds[0]
    variants = {
        NETWORK: outcomes[0].comparisons.generated[GAN],
        **generate_variants(outcomes[0].networks, study.variants, data.reference, seed, copies),
    }
    distances = covariance_distances(outcomes, data, arguments.seeds)
    chosen = int(np.argmin(distances))
    evidence = [gather(outcome) for outcome in outcomes]
    curves = [item.values["curves"][GAN] for item in evidence]
    more = measure_activations(variants, data)
    evidence = [replace(item, values={**item.values, "seed_curves": curves}) for item in evidence]
    evidence[0] = replace(evidence[0], values={**evidence[0].values, **more})
    account = Account(
        name=NAME,
        title="The GAN of ATLAS's note of 2018, beside its VAE",
        citation=str(PAPER),
        merit="share of the middle in the photon's energy at 65 GeV, GAN",
        originals={name: config for name, (config, _) in configs.items()},
        caption="Tables 1 and 2: hyperparameters",
        claims=claims.judge(evidence),
        quantities=(*quantities(evidence, (GAN, VAE), data.note), training_time(outcomes[0], data)),
        tables={
            "Section 4.2: difference of the covariance matrices by seed": seed_table(distances, arguments.seeds),
            "Table 2: networks that differ in one value, first seed": variant_table(variants, data),
        },
        remarks=remarks(arguments, outcomes, data, chosen),
        by_energy=True,
    )
    results = build_results(account, arguments, outcomes, recorded, chosen)
    drawn = activation_figures(variants, more["activation_curves"], data)
    drawn |= study_figures.draw_study(figures(), outcomes[chosen], data)
    results, drawn = add_assessments(results, drawn, outcomes[chosen], data.note, arguments.report_directory(NAME))
    publish(arguments, results, drawn, README_FIGURE)


def networks(arguments: Arguments) -> Configs:
    """Networks to train, by name; --ablation gives further GANs."""
    names = atlas_note_gan.CONFIGS if arguments.options["ablation"] else OUTPUTS.values()
    return {name: atlas_note_gan.CONFIGS[name] for name in names} | {"vae": atlas_note_vae.CONFIGS["paper"]}


def budget(config: Config, preset: str, seed: int) -> Config:
    """A configuration at a preset's budget; few showers make smaller batches."""
    iterations, epochs = BUDGETS[preset]
    if isinstance(config, AtlasNoteVaeConfig):
        return replace(config, epochs=epochs, batch_size=BATCH.get(preset, config.batch_size), seed=seed)
    given = cast(AtlasNoteGanConfig, config)
    return replace(given, iterations=iterations, batch_size=BATCH.get(preset, given.batch_size), seed=seed)


def gather(outcome: Outcome) -> Evidence:
    """Evidence for the claims from the outcome of one training seed."""
    compared = outcome.comparisons
    values = measure({GEANT4: compared.reference, **compared.generated})
    return Evidence(comparisons=compared.by_energy, values=values)


def covariance_distances(outcomes: Sequence[Outcome], data: Data, seeds: Sequence[int]) -> list[float]:
    """Difference of the covariance matrices from Geant4's, for each training seed.

    They are those of the training showers.
    """
    merit, distances = CovarianceMerit(), []
    for outcome, seed in zip(outcomes, seeds, strict=True):
        samples = generated_like({GAN: [outcome.networks[NETWORK].run]}, data.train, seed)
        distances.append(merit(data.train, samples[GAN]).value)
    return distances


def measure_activations(variants: Mapping[str, Showers], data: Data) -> dict[str, dict]:
    """Widths in eta at 65 GeV, and response curves, by activation of the output."""
    samples = {GEANT4: data.reference, **{label: variants[name] for label, name in OUTPUTS.items()}}
    layers = {layer.name: layer.id for layer in ATLAS_GAN_WINDOW.layers}
    return {
        "eta_widths": {
            label: {layer: mean(width(showers.at(MID), layers[layer], "eta")) for layer in ("front", "middle")}
            for label, showers in samples.items()
        },
        "activation_curves": {label: response_curve([samples[label]]) for label in ACTIVATIONS},
    }


def activation_figures(
    variants: Mapping[str, Showers], curves: Mapping[str, ResponseCurve], data: Data
) -> dict[str, Figure]:
    """Figs. 5 and 6: average energies and response by activation of the output."""
    samples = {GEANT4: data.reference, **{label: variants[name] for label, name in OUTPUTS.items()}}
    layers = average_showers(samples, MID, profile_around_impact)
    reference = response_curve([data.reference])
    return {
        "Fig. 5: average energy by the distance in eta, by activation, 65 GeV": draw_average_shower(
            layers, data.note, ("eta",), "point"
        ),
        "Fig. 6: response and resolution by activation": draw_response(reference, curves, data.note),
    }


def figures() -> dict[str, study_figures.Drawing]:
    """The note's further figures by title."""
    return {
        "Fig. 4: the generator": partial(study_figures.network_figure, name=NETWORK),
        **{title: partial(study_figures.panels_figure, panels=panels) for title, panels in PANELS.items()},
        "Fig. 10: response and resolution": study_figures.response_figure,
        **{
            title: partial(study_figures.average_figure, incident_energy=MID, axis=axis)
            for title, axis in AVERAGES.items()
        },
    }


def seed_table(distances: Sequence[float], seeds: Sequence[int]) -> Table:
    """The figure of merit that chooses among the training seeds."""
    chosen = int(np.argmin(distances))
    rows = tuple(
        (str(seed), f"{distance:.4g}", "chosen" if number == chosen else "")
        for number, (seed, distance) in enumerate(zip(seeds, distances, strict=True))
    )
    return Table(("training seed", "RMS difference of the covariance matrices, training showers", ""), rows)


def variant_table(variants: Mapping[str, Showers], data: Data) -> Table:
    """Covariance, response and resolution of all GANs of the first seed."""
    merit, expected = CovarianceMerit(), response_curve([data.reference])
    rows = [(GEANT4, "-", str(expected.at("mean", MID)), str(expected.at("resolution", MID)))]
    for name, showers in variants.items():
        curve = response_curve([showers])
        distance = merit(data.reference, showers).value
        rows.append((name, f"{distance:.4g}", str(curve.at("mean", MID)), str(curve.at("resolution", MID))))
    return Table(("network", "covariance", "mean response at 65 GeV", "resolution at 65 GeV"), tuple(rows))


def training_time(outcome: Outcome, data: Data) -> Quantity:
    """CPU hours of as many iterations as the note's training has."""
    iterations = BUDGETS["paper"][0]
    hours = seconds_per_step(outcome.networks[NETWORK].run, data.train) * iterations / 3600
    name, published = f"training of the GAN, {iterations:,} iterations", NUMBERS["gan_training_time"].value
    return Quantity(name, "h", published, hours, data="CPU time; the note's on a GPU", headline=True)


def remarks(arguments: Arguments, outcomes: Sequence[Outcome], data: Data, chosen: int) -> tuple[str, ...]:
    """Sentences on how this reproduction differs from the note."""
    config = cast(AtlasNoteGanConfig, outcomes[0].networks[NETWORK].run.config)
    epochs = config.iterations * config.critic_steps * config.batch_size / len(data.train)
    scaled = EPOCHS_REMARK.format(iterations=config.iterations, epochs=epochs, showers=len(data.train))
    seeds = arguments.seeds
    picked = SEED_REMARK.format(seed=seeds[chosen], first=seeds[0]) if len(seeds) > 1 else ""
    own = REMARKS if arguments.train_data is None else ()
    return tuple(filter(None, (*own, scaled, picked)))


if __name__ == "__main__":
    execute(main, __doc__, OPTIONS)
