r"""The ATLAS GAN (arXiv:2210.06204) beside the ATLAS VAE: training, epoch picking, claims.

Expected on the bundled showers, preset laptop (80,000 iterations, half an hour on one core, and 4 minutes for the VAE),
three seeds (experiments/results/atlas_gan.json): the energy resolution at 131-262 GeV is 1.5 times Geant4's, without
the energy critic 3.4 times; the shower's centre follows the impact position to 5 %; the GAN is better than the VAE in
the total energy, and, unlike in the paper, in the shapes. --ablation also trains single critics with three weights of
the penalty, and a GAN that does not know the impact position (as long each, first seed only). The paper's 25,000
epochs are 3,500,000 iterations: preset paper, for a GPU.
The published results were trained on the first edition of the bundled showers, a third of them (--first-edition).

    python experiments/atlas_gan.py --preset laptop --seeds 3 --ablation
    python experiments/atlas_gan.py --preset paper --train-data train.h5 --test-data test.h5 --runs runs/own

Your own files hold `incident_energies` [n, 1], `impact_eta`, `impact_phi` [n] and `cells`, [n, 297] or, without the
VAE, [n, 266], in MeV: 1024 to 262144 in steps of 2, the test file 24576 and 524288 too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
from matplotlib.figure import Figure

from calogen import provenance
from calogen.athena.export import RunSet, export_set
from calogen.claims.atlas_gan import GAN, SINGLE, WITHOUT_POSITION, claims, error_of
from calogen.claims.atlas_vae import (
    COMPARED,
    EXTRAPOLATED,
    FIGURES,
    INTERPOLATED,
    JUDGES,
    OBSERVABLES,
    README_FIGURE,
    REMARKS,
    SHOWN,
    TRAINED,
    VAE,
)
from calogen.claims.judge import Quantity, Table
from calogen.config import Config
from calogen.evaluation.compare import Scored
from calogen.evaluation.iterations import ALL, SHORTLIST, NetworkTest
from calogen.evaluation.merits import (
    ConditionalMeanMerit,
    CovarianceMerit,
    DistanceMerit,
    Merit,
    ResolutionMerit,
    mean_ks_distance,
)
from calogen.evaluation.published import Published
from calogen.evaluation.summary import response_curve
from calogen.evaluation.trainings import Evidence
from calogen.features.conditions import CellAlignment
from calogen.metrics.distributions import Value, mean
from calogen.metrics.histograms import Profile, profile
from calogen.models import atlas_gan, atlas_vae
from calogen.models.atlas_gan import PAPER, AtlasGanConfig
from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.observables.cells import (
    average_showers,
    centre_from_impact_cell,
    centroid,
    displacement,
    second_lambda_moment,
    shower_depth,
    width,
)
from calogen.observables.observable import Observable
from calogen.plots.observables import draw_observables, draw_profiles, draw_response
from calogen.plots.showers import draw_average_shower
from calogen.plots.training import draw_shortlist
from calogen.process import show
from calogen.reproduction import study_figures
from calogen.reproduction.assessment import add_assessments
from calogen.reproduction.experiment import Arguments, OwnOption, execute, publish, run_directory
from calogen.reproduction.networks import generated_like, generation_time
from calogen.reproduction.selection import select
from calogen.reproduction.study import Configs, Data, Outcome, Selection, Study, run_study
from calogen.reproduction.study_data import read_at_energies
from calogen.reproduction.study_options import ONLY
from calogen.reproduction.study_report import Account, build_results
from calogen.reproduction.timing import Costs, measure_costs, require_times, seconds_per_step
from calogen.showers.bundled import bundled, known_geometry
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.sample import Showers, concatenate
from calogen.showers.windows import ATLAS_GAN_WINDOW, in_geometry
from calogen.units import GeV

NAME, NETWORK = "atlas_gan", "paper"
BUDGETS = {"smoke": (15, 3), "laptop": (80_000, 160), "paper": (3_500_000, 1000)}  # iterations, epochs of the VAE
COPIES = {"laptop": 8, "paper": 8}  # generated showers for each test shower
LABELS = {NETWORK: GAN, "vae": VAE, "without-position": WITHOUT_POSITION}
LABELS |= dict(zip(("one-critic", "one-critic-1e-8", "one-critic-1e-13"), SINGLE.values(), strict=True))
MAIN = (GAN, VAE)
OPTIONS = {"--ablation": OwnOption("Add single critics and a GAN without impact position (first seed only)."), **ONLY}
PAPERS = Published(NAME).numbers
TRIALS = 200  # timed calls at each energy
KS, RESOLUTION = "mean KS distance", "energy resolution"
ETA, PHI = "mean eta in the back layer by alignment", "phi width in the front layer by alignment"
POSITIONS = np.linspace(-0.0125, 0.0125, 17)  # of Fig. 14, eta: two bins for each of the front layer's strips
EPOCHS_REMARK = (
    "Epochs are scaled to updates of the generator: {iterations:,} iterations are {epochs:,.0f} epochs of these "
    "showers; the paper's 25,000 epochs of half of nearly 90,000 showers are 3,500,000 iterations in batches of 64, "
    "five of them for an iteration. A tenth of the showers validates, not half."
)
MORE_REMARKS = (
    "The VAE's 276 and the GAN's 266 cells are put back among the 297 stored ones at Geant4's impact points; cells "
    "outside a window are empty. Geant4's showers have 0.7 % of the back layer's energy at 65 GeV, and 5 % at 1 GeV, "
    "outside the GAN's.",
    "The lambda moment has every layer's window at its true place.",
)


def main(arguments: Arguments) -> None:
    """Trains all networks with every seed, judges the claims, and writes report and results."""
    data = read_data(arguments)
    require_times(data.reference, simulate=arguments.preset != "smoke")
    recorded = provenance.collect(arguments.seeds[0], data.files)
    configs = networks(arguments, data)
    study = Study(
        name=NAME,
        configs=configs,
        budget=budget,
        select=lambda config: SELECTION if isinstance(config, AtlasGanConfig) else None,
        ensembles={LABELS[name]: (name,) for name in configs},
        observables=placed(OBSERVABLES),
        detailed=COMPARED,
        variants=frozenset(configs) - {NETWORK, "vae"},
        copies=COPIES,
    )
    outcomes = run_study(study, arguments, data)
    if not outcomes:
        return
    directories = [run_directory(NAME, arguments.preset, seed, arguments.runs) for seed in arguments.seeds]
    for directory in directories:
        export_set(RunSet("athena", (directory / NETWORK / "selected",)), directory)
    costs = measure_costs(
        outcomes[0].networks[NETWORK].run,
        directories[0] / "athena" / "generator.json",
        data.reference,
        simulate=arguments.preset != "smoke",
    )
    seconds = seconds_per_step(outcomes[0].networks[NETWORK].run, in_geometry(data.train, ATLAS_GAN_WINDOW))
    evidence = [
        gather(outcome, data, costs, arguments, seed) for outcome, seed in zip(outcomes, arguments.seeds, strict=True)
    ]
    account = Account(
        name=NAME,
        title="The GAN of ATLAS, beside its VAE",
        citation=str(PAPER),
        merit="speed-up over Geant4 at 262 GeV",
        originals={name: config for name, (config, _) in configs.items()},
        claims=claims.judge(evidence),
        quantities=quantities(evidence, seconds, costs, data.note),
        tables={
            "Epoch picking: shortlisted iterations": picking_table(outcomes[0].tests[NETWORK]),
            "One critic or two": critics_table(evidence[0]),
        },
        remarks=remarks(arguments, outcomes[0], data),
        by_energy=True,
    )
    results = build_results(account, arguments, outcomes, recorded)
    drawn = draw(outcomes[0], evidence[0], data)
    results, drawn = add_assessments(results, drawn, outcomes[0], data.note, arguments.report_directory(NAME))
    publish(arguments, results, drawn, README_FIGURE)
    show(f"for Athena: {arguments.runs / NAME}/*/athena")


def read_data(arguments: Arguments) -> Data:
    """Showers in the stored cells, or in the GAN's window if the file has no others."""
    own = known_geometry(arguments.train_data or bundled("photons_train"))
    geometry = ATLAS_GAN_WINDOW if own == ATLAS_GAN_WINDOW else ATLAS_BARREL_STORED
    data = read_at_energies(arguments, "photons", geometry, TRAINED, COMPARED)
    for part in (data.train, data.reference):
        part.given.only(("impact_eta", "impact_phi"))  # refuses a file without them before hours of training
    return data


def networks(arguments: Arguments, data: Data) -> Configs:
    """Networks to train, by name: the VAE needs the stored cells; more with --ablation."""
    chosen: dict = {NETWORK: atlas_gan.CONFIGS["paper"]}
    if data.train.geometry == ATLAS_BARREL_STORED:
        chosen["vae"] = atlas_vae.CONFIGS["paper"]
    if arguments.options["ablation"]:
        chosen |= {name: atlas_gan.CONFIGS[name] for name in LABELS if name not in (NETWORK, "vae")}
    return chosen


def budget(config: Config, preset: str, seed: int) -> Config:
    """A configuration at a preset's budget; a tenth of few showers validates, not half."""
    iterations, epochs = BUDGETS[preset]
    if isinstance(config, AtlasVaeConfig):
        return replace(config, epochs=epochs, seed=seed, batch_size=50 if preset == "smoke" else config.batch_size)
    given = cast(AtlasGanConfig, config)
    fraction = given.validation_fraction if preset == "paper" else 0.1
    return replace(given, iterations=iterations, validation_fraction=fraction, seed=seed)


def placed(observables: Sequence[Observable]) -> tuple[Observable, ...]:
    """Observables with the lambda moment at the windows' true places."""
    moved = partial(second_lambda_moment, placed=True)
    return tuple(replace(item, function=moved) if item.name == "second_lambda_moment" else item for item in observables)


def picking() -> dict[str, Merit]:
    """Figures of merit of the epoch picking; the KS distance is there to compare with."""
    middle, front, back = (ATLAS_GAN_WINDOW.layers[position] for position in (2, 1, 3))
    eta = CellAlignment("impact_eta", middle.eta_size, round(back.eta_size / middle.eta_size))
    phi = CellAlignment("impact_phi", middle.phi_size, round(front.phi_size / middle.phi_size))
    centre = Observable("back_eta", partial(centroid, layer_id=back.id, axis="eta"), "mean eta in the back layer")
    spread = Observable("front_phi_width", partial(width, layer_id=front.id, axis="phi"), "phi width, front layer")
    return {
        ALL: CovarianceMerit(),
        RESOLUTION: ResolutionMerit(),
        ETA: ConditionalMeanMerit(centre, eta),
        PHI: ConditionalMeanMerit(spread, phi),
        KS: DistanceMerit(JUDGES),
    }


SELECTION = Selection(merits=picking(), shortlist=0.1, ranked=(RESOLUTION, ETA, PHI), on_validation=True)


def gather(outcome: Outcome, data: Data, costs: Costs, arguments: Arguments, seed: int) -> Evidence:
    """Evidence for the claims from the outcome of one training seed."""
    compared, network = outcome.comparisons, outcome.networks[NETWORK]
    curves = {label: response_curve([showers]) for label, showers in compared.generated.items()}
    given = data.reference.given
    first = np.array([np.flatnonzero(given.incident_energies == energy)[0] for energy in (TRAINED[0], SHOWN[-1])])
    layers = {"front": 1, "middle": 2}
    times = generation_time([network.run], given[first], trials=TRIALS)
    values = {
        "geant4": response_curve([compared.reference]),
        "curves": curves,
        "depths": {
            energy: [mean(shower_depth(item.at(energy))) for item in (compared.reference, compared.generated[GAN])]
            for energy in TRAINED
        },
        "centres": {layer: centre_profiles(compared.generated, data, number) for layer, number in layers.items()},
        "steps": strip_steps(),
        "times": {energy: Value(time.value, time.error / np.sqrt(TRIALS)) for energy, time in times.items()},
        "costs": costs,
        "scatters": {LABELS[name]: late_scatter(test) for name, test in outcome.tests.items()},
        "diverged": {LABELS[name]: text for name, text in outcome.diverged.items()},
    }
    tests = {LABELS[name]: test for name, test in outcome.tests.items()}
    evidence = Evidence(comparisons=compared.by_energy, networks=tests, values=values)
    return replace(evidence, values=values | {"picking": picked(evidence, compared.generated, data, arguments, seed)})


def centre_profiles(generated: Mapping[str, Showers], data: Data, layer_id: int) -> dict[str, Profile]:
    """Mean centre in eta at 65 GeV by impact position; Geant4's with training showers, too."""
    samples = {"Geant4": concatenate([data.train, data.reference]), **generated}
    found = {}
    for label, showers in samples.items():
        part = showers.at(SHOWN[1])
        centres = centre_from_impact_cell(part, layer_id, "eta")
        found[label] = profile(displacement(part, "eta"), centres, POSITIONS)
    return found


def strip_steps() -> Profile:
    """Centre of the front layer's impact strip by impact position: a staircase."""
    size = ATLAS_GAN_WINDOW.layers[1].eta_size
    middles = (POSITIONS[1:] + POSITIONS[:-1]) / 2
    return Profile(POSITIONS, (np.floor(middles / size) + 0.5) * size, np.zeros(len(middles)))


def late_scatter(test: NetworkTest) -> Value:
    """Scatter of the covariances' distance over late iterations, as a share of its median."""
    scan = test.scans[ALL]
    late = scan.total[-max(2, len(scan.total) // 3) :]
    scatter = scan.late_scatter / float(np.median(late))
    return Value(scatter, scatter / float(np.sqrt(2 * max(len(late) - 1, 1))))  # as of independent iterations


def picked(
    evidence: Evidence, generated: Mapping[str, Showers], data: Data, arguments: Arguments, seed: int
) -> dict[str, Value]:
    """Quality on test showers of the picked iteration, and of that with the best KS distance."""
    directory = run_directory(NAME, arguments.preset, seed, arguments.runs) / NETWORK
    run = select(directory, evidence.networks[GAN].scans[KS], save=False)
    by_ks = generated_like({"ks": [run]}, data.reference, seed, COPIES.get(arguments.preset, 1))
    samples = {"picked": generated[GAN], **by_ks}
    curves = {label: response_curve([showers]) for label, showers in samples.items()}
    found = replace(evidence, values={**evidence.values, "curves": curves})
    distances = {
        f"{label}_distance": mean_ks_distance(data.reference, showers, JUDGES) for label, showers in samples.items()
    }
    return distances | {label: error_of(found, "resolution", label) for label in samples}


def picking_table(test: NetworkTest) -> Table:
    """The shortlisted iterations with all figures of merit; the chosen one comes first."""
    listed = test.scans[SHORTLIST]
    names = [name for name in test.scans if name != SHORTLIST]
    rows = []
    for position in np.argsort(listed.total, kind="stable"):
        at = int(np.flatnonzero(test.scans[ALL].iterations == listed.iterations[position])[0])
        numbers = (f"{test.scans[name].total[at]:.3g}" for name in names)
        rows.append((f"{listed.iterations[position]:,}", *numbers, f"{listed.total[position]:.0f}"))
    titles = ("covariance" if name == ALL else name for name in names)
    return Table(("iteration", *titles, "sum of ranks"), tuple(rows))


def critics_table(evidence: Evidence) -> Table:
    """Resolution, mean KS distances and scatter between iterations of every GAN."""
    rows = []
    for label, scatter in evidence.values["scatters"].items():
        errors = [error_of(evidence, "resolution", label, (energy,)) for energy in SHOWN]
        distances = [
            Value.mean([evidence.metric(energy, name, "ks", label).measured for energy in SHOWN])
            for name in ("total_energy", "w_s_tot", "r_phi", "r_eta", "w_eta2")
        ]
        rows.append((label, *map(str, errors), *map(str, distances), str(scatter)))
    energies = (f"error of the resolution, {energy / GeV:.3g} GeV" for energy in SHOWN)
    names = (f"KS distance, {name}" for name in ("total energy", "w_s,tot", "R_phi", "R_eta", "w_eta2"))
    return Table(("network", *energies, *names, "scatter of late iterations"), tuple(rows))


def quantities(seeds: Sequence[Evidence], seconds: float, costs: Costs, note: str) -> tuple[Quantity, ...]:
    """Numbers for the table beside the paper's; an iteration takes so many `seconds`."""
    rows = []
    for energy in (*SHOWN, INTERPOLATED, EXTRAPOLATED):
        for title, attribute in (("mean response", "mean"), ("resolution", "resolution")):
            name = f"{title} at {energy / GeV:.4g} GeV"
            geant4 = seeds[0].values["geant4"].at(attribute, energy)
            rows.append(Quantity(f"{name}, Geant4", "", None, geant4.value, geant4.error, data=note))
            for label in seeds[0].values["curves"]:
                known = (item.values["curves"] for item in seeds)
                ours, spread = Value.repeated([one[label].at(attribute, energy) for one in known if label in one])
                headline = label in MAIN and energy in SHOWN and attribute == "resolution"
                rows.append(Quantity(f"{name}, {label}", "", None, ours.value, ours.error, spread, note, headline))
    name, hours = f"training, {BUDGETS['paper'][0]:,} iterations", seconds * BUDGETS["paper"][0] / 3600
    rows.append(Quantity(name, "h", PAPERS["training_time"].value, hours, data="CPU time; the paper's is on a GPU"))
    rows += [
        Quantity(f"speed-up over Geant4 at {text}", "", words, costs.speedup(energy), data=costs.origin, headline=True)
        for text, words, energy in (("8 GeV", "about 10", 8192.0), ("262 GeV", "over 100", 262144.0))
    ]
    rows += [
        Quantity(name, "MB", PAPERS["memory"].value, size / 1e6, headline=True)
        for name, size in (("generator as LWTNN JSON", costs.json_bytes), ("generator's weights", costs.weight_bytes))
    ]
    return tuple(rows)


def remarks(arguments: Arguments, outcome: Outcome, data: Data) -> tuple[str, ...]:
    """Sentences on how this reproduction differs from the paper."""
    config = cast(AtlasGanConfig, outcome.networks[NETWORK].run.config)
    updates = config.iterations * config.critic_steps * config.batch_size
    epochs = updates / (len(data.train) * (1 - config.validation_fraction))
    scaled = () if arguments.preset == "paper" else (EPOCHS_REMARK.format(iterations=config.iterations, epochs=epochs),)
    return (*(REMARKS if arguments.train_data is None else ()), *scaled, *MORE_REMARKS)


def draw(outcome: Outcome, evidence: Evidence, data: Data) -> dict[str, Figure]:
    """Draws the paper's figures, by caption."""
    drawn = {
        caption: draw_observables([shown(outcome, energy, name, MAIN) for name, energy in panels], data.note)
        for caption, panels in FIGURES.items()
    }
    drawn |= study_figures.network_figure("Fig. 4: the generator", outcome, data, name=NETWORK)
    curves = {label: curve for label, curve in evidence.values["curves"].items() if label in (*MAIN, SINGLE[10.0])}
    drawn["Fig. 9a: response and resolution"] = draw_response(evidence.values["geant4"], curves, data.note, "Fig. 9a")
    labels = (r"Impact point, $\eta$ from the cell's centre", r"Mean centre of the showers, $\eta$")
    panels = {
        f"{layer} layer, 65.5 GeV": {label: item for label, item in profiles.items() if label in ("Geant4", *MAIN)}
        for layer, profiles in evidence.values["centres"].items()
    }
    drawn["Fig. 14: shower centre by impact position"] = draw_profiles(panels, labels, data.note)
    drawn["Epoch picking"] = draw_shortlist(outcome.tests[NETWORK], data.note)
    single = [label for label in SINGLE.values() if label in outcome.comparisons.generated]
    if single:
        panels_of = [shown(outcome, energy, "total_energy", (GAN, *single)) for energy in SHOWN]
        drawn["Energy critic: total energy"] = draw_observables(panels_of, data.note)
    if WITHOUT_POSITION in outcome.comparisons.generated:
        names = [(name, SHOWN[1]) for name in ("w_s_tot", "r_phi", "r_eta", "w_eta2")]
        of_position = [shown(outcome, energy, name, (GAN, WITHOUT_POSITION)) for name, energy in names]
        drawn["Impact position as an input: lateral shapes"] = draw_observables(of_position, data.note)
    samples = {"Geant4": data.reference, **{label: outcome.comparisons.generated[label] for label in curves}}
    drawn["Average shower at 65.5 GeV"] = draw_average_shower(average_showers(samples, SHOWN[1]), data.note)
    return drawn


def shown(outcome: Outcome, energy: float, name: str, labels: Sequence[str]) -> Scored[Observable]:
    """One observable at one energy, of some samples."""
    item = outcome.comparisons.by_energy[energy][name]
    kept = {label: found for label, found in item.histograms.items() if label in ("reference", *labels)}
    return replace(item, histograms=kept)


if __name__ == "__main__":
    execute(main, __doc__, OPTIONS)
