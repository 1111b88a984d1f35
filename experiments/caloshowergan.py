"""CaloShowerGAN's photon GAN (arXiv:2309.06515), trained and compared with Geant4.

It has the layer-energy normalisation. Expected from the paper at 1,000,000 iterations on the CaloChallenge's photons:
chi2/NDF of the total energy 2.7 (Table 4, single GAN; 6 hours on a GPU). On the bundled showers, preset laptop (8,000
iterations, batch 256): see experiments/results/caloshowergan.json; about 30 minutes on two cores.

    python experiments/caloshowergan.py --preset laptop
    python experiments/caloshowergan.py --preset paper --train-data dataset_1_photons_1.hdf5 \\
        --test-data dataset_1_photons_2.hdf5 --runs runs/own

Your own files hold `incident_energies` [n, 1] and `showers` [n, 368] in MeV, the CaloChallenge's format (`calogen
download calochallenge-photons`). Without --test-data the training showers are what is compared with, as in the paper.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from calogen import provenance
from calogen.config import sources
from calogen.datasets import HONEST_NOTE, bundled
from calogen.evaluation.chi2 import Chi2, energy_chi2, total
from calogen.evaluation.comparison import Comparison, ObservableComparison, compare, compare_together
from calogen.evaluation.observables import total_energy
from calogen.evaluation.published import CALOSHOWERGAN_CHI2, CALOSHOWERGAN_OBSERVABLES
from calogen.experiment import Arguments, execute, open_run
from calogen.files import read_json, write_json
from calogen.fitting import fit_wgan, select_training
from calogen.generation import TrainedRun, generate
from calogen.models.caloshowergan import CONFIGS, PAPER
from calogen.plots.observables import draw_observables
from calogen.plots.style import write_figure
from calogen.progress import progress
from calogen.provenance import stream_seed
from calogen.report import Quantity, Results, results_table, write_report
from calogen.showers import Showers

NAME, NETWORK, LABEL = "caloshowergan", "photon", "CaloShowerGAN"
ITERATIONS = {"smoke": 30, "laptop": 8000, "paper": 1_000_000}
BATCH_SIZE = {"smoke": 32, "laptop": 256, "paper": 1024}
README_FIGURE = "Fig. 9: energy in each layer, all momenta"
REMARKS = (
    "Showers: Geant4 11.4 with data-free electromagnetic models in flat layers, not ATLAS's own simulation: compare "
    "with the paper in kind, not to the digit.",
    "Momenta up to 2^18 MeV, about 9,000 showers; the paper has 121,000 up to 2^22 MeV.",
    "The reference showers are not those that trained; the paper compares with the training showers.",
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one trained network gave.

    Args:
        chi2: of the total energy, by momentum in MeV.
        comparisons: by momentum.
        together: all momenta, by observable.
        num_showers: mean number of reference showers per momentum.
    """

    chi2: Mapping[float, Chi2]
    comparisons: Mapping[float, Comparison]
    together: Mapping[str, ObservableComparison]
    num_showers: float


def main(arguments: Arguments) -> None:
    """Train every seed, compare, write report and results, print where they are."""
    start = time.monotonic()
    config, geometry = CONFIGS[NETWORK]
    config = replace(config, iterations=ITERATIONS[arguments.preset], batch_size=BATCH_SIZE[arguments.preset])
    files = {"train": arguments.train_data or bundled("photons_train")}
    files["test"] = arguments.test_data or arguments.train_data or bundled("photons_test")
    recorded = provenance.collect(arguments.seeds[0], files)
    train, test = (Showers.read(path, geometry) for path in files.values())
    reference = select_training(test, config)[0]
    reference = reference[np.isin(reference.incident_energies, np.unique(train.incident_energies))]
    evidence, runs, trained = [], {}, {}
    for seed in arguments.seeds:
        with open_run(NAME, arguments.preset, seed, arguments.runs) as run:
            directory = run.directory / NETWORK
            runs[seed] = fit_wgan(NAME, replace(config, seed=seed), geometry, train, directory)
            trained[str(seed)] = read_json(directory / "provenance.json")
            evidence.append(measure(runs[seed], reference, seed))
            run.log("measured", chi2_per_ndf=total(evidence[-1].chi2.values()).per_ndf)
    note = HONEST_NOTE if arguments.train_data is None else ", ".join(path.name for path in files.values())
    figures = draw(evidence[0], note)
    results = Results(
        name=NAME,
        title="CaloShowerGAN, the photon's single GAN",
        paper=str(PAPER),
        claims=(),
        quantities=quantities(evidence, note),
        provenance=recorded
        | {
            "preset": arguments.preset,
            "seeds": list(arguments.seeds),
            "device": provenance.device(),
            "wall_time": round(time.monotonic() - start, 1),
            "training": trained,
        },
        measurements=tuple(row for item in evidence[0].together.values() for row in item.measurements)
        + tuple(row for item in evidence[0].comparisons.values() for row in item.measurements),
        deviations=tuple(sources(config)),
        remarks=REMARKS if arguments.train_data is None else (),
    )
    page = write_report(arguments.report_directory(NAME), results, figures)
    path = page.with_name(f"{NAME}.json")
    if arguments.results:
        path = arguments.results / f"{NAME}.json"
        write_json(path, results.to_json())
        write_figure(figures[README_FIGURE], path.with_suffix(".png"))
    print(results_table(results.to_json()))
    print(f"report: {page}\nresults: {path}")


def measure(run: TrainedRun, reference: Showers, seed: int) -> Evidence:
    """As many generated showers as the reference has, compared by momentum and together."""
    seeds = {name: stream_seed(item) for name, item in provenance.seed_streams(seed, "generate", "bootstrap").items()}
    generated = generate(run, reference.incident_energies, seeds["generate"])
    momenta, counts = np.unique(reference.incident_energies, return_counts=True)
    chi2, comparisons = {}, {}
    with progress("comparing with Geant4", len(momenta) + 1) as bar:
        for momentum in momenta.tolist():
            expected, received = reference.at(momentum), generated.at(momentum)
            chi2[momentum] = energy_chi2(total_energy(expected), total_energy(received))
            observables = CALOSHOWERGAN_OBSERVABLES[:1]
            comparisons[momentum] = compare(expected, {LABEL: received}, observables, seeds["bootstrap"])
            bar.advance()
        together = compare_together(reference, {LABEL: generated}, CALOSHOWERGAN_OBSERVABLES[1:], seeds["bootstrap"])
    return Evidence(chi2=chi2, comparisons=comparisons, together=together, num_showers=float(counts.mean()))


def quantities(evidence: list[Evidence], data: str) -> tuple[Quantity, ...]:
    """The paper's chi2/NDF beside ours, and distances of the layer energies."""
    sums = [total(item.chi2.values()) for item in evidence]
    rows = {
        "chi2/NDF of the total energy, all momenta": ([item.per_ndf for item in sums], None),
        "chi2/NDF of the total energy, at the paper's 10,000 showers per momentum": (
            [part.at_statistics(item.num_showers) for part, item in zip(sums, evidence, strict=True)],
            CALOSHOWERGAN_CHI2[NETWORK].value,
        ),
    }
    for name in evidence[0].together:
        ks = [next(row for row in part.together[name].measurements if row.metric == "ks") for part in evidence]
        title = f"KS distance of the energy in {name.removesuffix('_energy').replace('_', ' ')}, all momenta"
        rows[title] = ([row.measured.value for row in ks], None)
        rows[f"{title}, Geant4 against Geant4"] = ([row.floor.mean for row in ks], None)
    return tuple(
        Quantity(
            name,
            "",
            paper,
            float(np.mean(values)),
            spread=float(np.std(values, ddof=1)) if len(values) > 1 else None,
            data=data,
            headline=True,
        )
        for name, (values, paper) in rows.items()
    )


def draw(evidence: Evidence, note: str) -> dict[str, Figure]:
    """The paper's figures, by caption."""
    panels = [item.observables["total_energy"] for item in evidence.comparisons.values()]
    return {
        README_FIGURE: draw_observables(list(evidence.together.values()), note),
        "Fig. 5: total energy, by momentum": draw_observables(panels, note),
    }


if __name__ == "__main__":
    execute(main, __doc__)
