"""FastCaloGAN (ATL-SOFT-PUB-2020-006, arXiv:2109.02551): photons and pions.

Version 1 is one GAN for each particle and all momenta. The papers have no table of chi2; CaloShowerGAN's claim to be
better is judged in that paper's experiment, with the networks that are trained here. On the bundled showers, preset
laptop (8,000 iterations of batch 128 for each network, with --bfloat16 8 minutes on one core for photons, 15 for
pions): results in experiments/results/fastcalogan.json. --ablation trains version 2, too.
The published results were trained on the first edition of the bundled showers, a third of them (--first-edition).

    python experiments/fastcalogan.py --preset laptop --seeds 3
    python experiments/fastcalogan.py --preset paper --train-data dataset_1_photons_1.hdf5 --runs runs/own

Your own files hold `incident_energies` [n, 1] and `showers` in MeV, [n, 368] of photons or [n, 533] of pions, the
CaloChallenge's format; one particle at a time.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.figure import Figure

from calogen import provenance
from calogen.athena.interface import PIDS
from calogen.claims.judge import Results
from calogen.evaluation.published import Published
from calogen.models.fastcalogan import CONFIGS, PAPER
from calogen.observables.voxels import voxel_observables
from calogen.reproduction import chi2_selection, chi2_tables, study_figures
from calogen.reproduction.assessment import add_assessments
from calogen.reproduction.experiment import Arguments, execute, publish
from calogen.reproduction.networks import json_size
from calogen.reproduction.study import Configs, Data, Study, read_data, run_study
from calogen.reproduction.study_options import read_slice, voxels_of, wanted
from calogen.reproduction.study_report import Account, build_results, join_results
from calogen.showers.bundled import voxel_geometry
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry

NAME = "fastcalogan"
GEOMETRIES = {"photon": PHOTONS_DATASET1, "pion": PIONS_DATASET1}
VERSION_2 = {"photon": ("photon-low-v2", "photon-high-v2"), "pion": ("pion-v2",)}
README_FIGURE = "Energy in the layers, all momenta"
REMARKS = (
    "Showers: Geant4 11.4 with data-free models in flat layers, not the ATLAS files: photons up to 2^18 MeV, pions up "
    "to 2^16 MeV, which are the label's maximum instead of 2^22 MeV.",
    "Pions that leave no energy (13 % of those of 256 MeV) neither train nor judge.",
)
RULE_REMARK = (
    "Iterations are chosen, and chi2 taken, by CaloShowerGAN's rule, so that the networks of both papers compare; "
    "--rule fastcalogan has FastCaloGAN's own."
)


def main(arguments: Arguments) -> None:
    """Trains the networks of both particles with every seed, and writes report and results."""
    particles = particles_of(arguments)
    parts: dict[str, Results] = {}
    figures: dict[str, Figure] = {}
    data_of: dict[str, Data] = {}
    for particle in particles:
        voxels = voxels_of(arguments, GEOMETRIES[particle], PIDS[particle])
        check = chi2_selection.check_momenta(arguments.options, particle)
        data_of[particle] = read_data(arguments, f"{particle}s", voxels, check)
    for particle, data in data_of.items():
        outcome = reproduce(particle, data, arguments)
        if outcome is not None:
            parts[f"{particle}s"], drawn = outcome
            figures |= {f"{caption}, {particle}s": figure for caption, figure in drawn.items()}
    if parts:
        publish(arguments, join_results(parts), figures, f"{README_FIGURE}, {particles[0]}s")


def particles_of(arguments: Arguments) -> tuple[str, ...]:
    """Particles of the user's showers, or of the networks of `--only`, or all."""
    options = arguments.options
    if names := wanted(options):
        return tuple(item for item in GEOMETRIES if any(name.startswith(item) for name in names)) or ("photon",)
    if arguments.train_data is None:
        return tuple(GEOMETRIES)
    if path := options.get("geometry"):
        voxels = read_slice(cast(Path, path), None, cast(int | None, options.get("eta")))
        return ("pion" if dict(voxels.attributes).get("pid") == "211" else "photon",)
    return ("pion" if voxel_geometry(arguments.train_data) == PIONS_DATASET1 else "photon",)


def reproduce(particle: str, data: Data, arguments: Arguments) -> tuple[Results, dict[str, Figure]] | None:
    """Trains one particle's networks and compares them with Geant4, but for `--only`."""
    names = [name for name in wanted(arguments.options) if particle in name or len(particles_of(arguments)) == 1]
    arguments = replace(arguments, options={**arguments.options, "only": names})
    recorded = provenance.collect(arguments.seeds[0], data.files)
    ensembles: dict[str, tuple[str, ...]] = {f"version 1, {particle}s": (particle,)}
    if arguments.options["ablation"]:
        ensembles[f"version 2, {particle}s"] = VERSION_2[particle]
    study = Study(
        name=chi2_selection.name_of(NAME, arguments.options),
        configs=networks(ensembles, data, own=arguments.train_data is not None),
        budget=chi2_selection.budget(arguments.options),
        select=chi2_selection.selection(arguments.options),
        ensembles=ensembles,
        observables=voxel_observables(cast(VoxelGeometry, data.train.geometry)),
        min_energy=chi2_selection.MIN_ENERGY,
        variants=frozenset(VERSION_2[particle]),
    )
    outcomes = run_study(study, arguments, data)
    if not outcomes:
        return None
    size = {f"{particle}s": json_size(outcomes[0].networks[particle].run.generator) / 1e6}
    published = {f"{particle}s": Published("caloshowergan").numbers[f"json_fastcalogan_{particle}"]}
    tests = [outcome.tests for outcome in outcomes]
    account = Account(
        name=chi2_selection.name_of(NAME, arguments.options),
        title="FastCaloGAN",
        citation=str(PAPER),
        merit=f"chi2/NDF at the paper's statistics, {next(iter(ensembles))}",
        originals={name: CONFIGS[name][0] for name in study.configs},
        quantities=chi2_tables.chi2_quantities(tests, ensembles, {}, data.note),
        tables={
            "chi2 of the total energy": chi2_tables.chi2_table(tests, ensembles, {}, {}),
            "Size of the generator (CaloShowerGAN's section 5.7)": chi2_tables.size_table(size, published),
        },
        remarks=(
            *(REMARKS if arguments.train_data is None else ()),
            *((RULE_REMARK,) if arguments.options["rule"] == "caloshowergan" else ()),
            chi2_tables.CUT_REMARK,
        ),
    )
    results = build_results(account, arguments, outcomes, recorded)
    drawn = study_figures.draw_study(figures(particle), outcomes[0], data)
    return add_assessments(results, drawn, outcomes[0], data.note, arguments.report_directory(results.name))


def figures(particle: str) -> dict[str, study_figures.Drawing]:
    """Figures of a particle's showers, by title."""
    return {
        "Number of showers": study_figures.statistics_figure,
        "The generator": partial(study_figures.network_figure, name=particle),
        "Total energy, by momentum": partial(study_figures.total_energy_figure, groups={"1 GAN": (particle,)}),
        "chi2/NDF by iteration": partial(study_figures.iteration_figures, names=(particle,)),
        README_FIGURE: partial(study_figures.distribution_figure, names="layer_*_energy"),
        "Centres, all momenta": partial(study_figures.distribution_figure, names="layer_*_centroid"),
        "Widths, all momenta": partial(study_figures.distribution_figure, names="layer_*_width"),
        "Energy of all voxels (Poisson errors; empty voxels are in the first bin)": partial(
            study_figures.distribution_figure, names="voxel_energy"
        ),
    }


def networks(ensembles: dict[str, tuple[str, ...]], data: Data, *, own: bool) -> Configs:
    """Networks to train; bundled showers give them their highest momentum."""
    voxels = cast(VoxelGeometry, data.train.geometry)
    chosen = {name: (CONFIGS[name][0], voxels) for names in ensembles.values() for name in names}
    if own:
        return chosen
    highest = float(np.max(data.train.incident_energies))
    return {
        name: (replace(config, highest_momentum=min(highest, config.highest_momentum)), geometry)
        for name, (config, geometry) in chosen.items()
    }


if __name__ == "__main__":
    execute(main, __doc__, chi2_selection.OPTIONS)
