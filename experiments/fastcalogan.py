"""FastCaloGAN (ATL-SOFT-PUB-2020-006, arXiv:2109.02551): photons and pions.

Version 1: one GAN for each particle, all momenta. The papers give no table of chi2; CaloShowerGAN's claim to beat it is
judged in that experiment, from the networks trained here. On the bundled showers, preset laptop (8,000 iterations of
batch 128 for each network, a quarter of an hour on one core): experiments/results/fastcalogan.json. --ablation trains
version 2, too.

    python experiments/fastcalogan.py --preset laptop --seeds 3
    python experiments/fastcalogan.py --preset paper --train-data dataset_1_photons_1.hdf5 --runs runs/own

Your own files hold `incident_energies` [n, 1] and `showers` in MeV, [n, 368] of photons or [n, 533] of pions, the
CaloChallenge's format; one particle at a time.
"""

import time

from matplotlib.figure import Figure

from calogen import provenance
from calogen.config import sources
from calogen.datasets import read_showers
from calogen.evaluation.published import CALOSHOWERGAN_NUMBERS, CALOSHOWERGAN_OBSERVABLES
from calogen.experiment import Arguments, execute, publish
from calogen.geometry import PHOTONS_DATASET1, PIONS_DATASET1
from calogen.models.fastcalogan import CONFIGS, PAPER
from calogen.report import Quantity, Results
from calogen.study import GAN_OPTIONS, Outcome, Study, json_size, read_data, run_study
from calogen.study_report import chi2_quantities, chi2_table, draw_study, hyperparameters, size_table

NAME = "fastcalogan"
GEOMETRIES = {"photon": PHOTONS_DATASET1, "pion": PIONS_DATASET1}
VERSION_2 = {"photon": ("photon-low-v2", "photon-high-v2"), "pion": ("pion-v2",)}
FIGURES = {
    "statistics": "Number of showers",
    "total": "Total energy, by momentum",
    "iterations": "chi2/NDF by iteration",
    "energy": "Energy in the layers, all momenta",
    "centroid": "Centres, all momenta",
    "width": "Widths, all momenta",
    "voxels": "Energy of all voxels (Poisson errors; empty voxels are in the first bin)",
}
README_FIGURE = f"{FIGURES['energy']}, photons"
REMARKS = (
    "Showers: Geant4 11.4 with data-free models in flat layers, not the ATLAS files: photons up to 2^18 MeV, pions up "
    "to 2^16 MeV.",
    "Iterations are chosen by CaloShowerGAN's chi2 (30 edges), to compare the two; FastCaloGAN's own rule is "
    "`fastcalogan-photons` and `-hadrons` in calogen.evaluation.chi2.",
    "Figures and their metrics: voxels below 1 MeV are zero in both samples, as in the CaloChallenge's evaluation.",
)


def main(arguments: Arguments) -> None:
    """Train both particles' networks of every seed, write report and results."""
    start = time.monotonic()
    particles: tuple[str, ...] = tuple(GEOMETRIES)
    if arguments.train_data is not None:
        pions = read_showers(arguments.train_data).geometry == PIONS_DATASET1
        particles = ("pion" if pions else "photon",)
    everything = {particle: read_data(arguments, particle, GEOMETRIES[particle]) for particle in particles}
    files = {f"{particle} {name}": path for particle, data in everything.items() for name, path in data.files.items()}
    recorded = provenance.collect(arguments.seeds[0], files)
    outcomes, tables, sizes = {}, {}, {}
    figures: dict[str, Figure] = {}
    quantities: tuple[Quantity, ...] = ()
    for particle, data in everything.items():
        ensembles: dict[str, tuple[str, ...]] = {f"version 1, {particle}s": (particle,)}
        if arguments.options["ablation"]:
            ensembles[f"version 2, {particle}s"] = VERSION_2[particle]
        configs = {name: CONFIGS[name] for names in ensembles.values() for name in names}
        study = Study(
            name=NAME,
            paper=NAME,
            configs=configs,
            ensembles=ensembles,
            observables=CALOSHOWERGAN_OBSERVABLES[particle],
        )
        found = run_study(study, arguments, data)
        outcomes[particle] = found
        tests = [outcome.tests for outcome in found]
        quantities += chi2_quantities(tests, ensembles, {}, data.note)
        tables[f"chi2 of the total energy, {particle}s"] = chi2_table(tests, ensembles, {})
        sizes[f"{particle}s"] = json_size(found[0].networks[particle].run.generator) / 1e6
        drawn = draw_study(found[0], data, (particle,), (particle,), FIGURES)
        figures |= {f"{caption}, {particle}s": figure for caption, figure in drawn.items()}
    first = [outcome for found in outcomes.values() for outcome in found[:1]]
    configs = {name: network.run.config for outcome in first for name, network in outcome.networks.items()}
    papers_sizes = {f"{particle}s": CALOSHOWERGAN_NUMBERS[f"json_fastcalogan_{particle}"] for particle in particles}
    results = Results(
        name=NAME,
        title="FastCaloGAN",
        paper=str(PAPER),
        claims=(),
        quantities=quantities,
        tables=tables
        | {
            "Hyperparameters": hyperparameters(configs),
            "Size of the generators (CaloShowerGAN's section 5.7)": size_table(sizes, papers_sizes),
        },
        provenance=recorded
        | {
            "preset": arguments.preset,
            "seeds": list(arguments.seeds),
            "device": provenance.device(),
            "bfloat16": arguments.options["bfloat16"],
            "wall_time": round(time.monotonic() - start, 1),
            "training": {particle: trainings(arguments, found) for particle, found in outcomes.items()},
        },
        measurements=tuple(
            row for outcome in first for item in outcome.pictures.together.values() for row in item.measurements
        ),
        deviations=tuple(sources(next(iter(configs.values())))),
        remarks=REMARKS if arguments.train_data is None else (),
    )
    publish(arguments, results, figures, README_FIGURE.replace("photons", f"{particles[0]}s"))


def trainings(arguments: Arguments, outcomes: list[Outcome]) -> dict[str, object]:
    """Provenance of the trainings, by seed."""
    return {str(seed): outcome.provenance for seed, outcome in zip(arguments.seeds, outcomes, strict=True)}


if __name__ == "__main__":
    execute(main, __doc__, GAN_OPTIONS)
