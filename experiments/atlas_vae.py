"""The ATLAS VAE (arXiv:2210.06204): training, comparison with Geant4, claims, export.

Expected, five seeds on the bundled showers (experiments/results/atlas_vae.json): the mean response 2 % too low at 1-4
GeV, the energy's spread 3.5 times too large at 131-262 GeV, too much energy in the presampler; unlike in the paper,
reparametrised inputs do not narrow the spread. Drawn from p(x|z) with the same weights, the spread is Geant4's within
12 %. About 5 minutes for one seed on two cores.

    python experiments/atlas_vae.py --preset laptop --seeds 5
    python experiments/atlas_vae.py --preset paper --train-data train.h5 --test-data test.h5 --runs runs/own

Your own files hold `incident_energies` [n, 1] and `cells`, [n, 276] or (with impact_eta, impact_phi) [n, 297], in MeV:
1024 to 262144 in steps of 2, the test file 24576 and 524288 too.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from calogen import provenance
from calogen.athena.export import RunSet, export_set
from calogen.claims.atlas_vae import (
    ABSOLUTE,
    COMPARED,
    DRAWN,
    EXTRAPOLATED,
    FIGURES,
    INTERPOLATED,
    JUDGES,
    LAYERS,
    OBSERVABLES,
    README_FIGURE,
    REMARKS,
    SHOWN,
    TRAINED,
    VAE,
    claims,
    excess,
)
from calogen.claims.judge import Quantity, Results
from calogen.config import sources
from calogen.evaluation.compare import Comparison, compare_showers
from calogen.evaluation.published import Published
from calogen.evaluation.summary import response_curve
from calogen.evaluation.trainings import Evidence
from calogen.files import read_json
from calogen.generation.generate import generate
from calogen.generation.load import list_snapshots, load_snapshot
from calogen.metrics.distributions import Value
from calogen.models import atlas_vae
from calogen.models.atlas_vae import CONFIGS, PAPER, AtlasVaeConfig
from calogen.observables.cells import average_showers, shower_depth
from calogen.plots.observables import draw_observables, draw_response
from calogen.plots.showers import draw_average_cells, draw_average_shower
from calogen.plots.training import draw_losses
from calogen.process import show
from calogen.progress import progress
from calogen.provenance import stream_seed
from calogen.reproduction.elsewhere import train_elsewhere
from calogen.reproduction.experiment import Arguments, Run, execute, open_run, publish
from calogen.reproduction.plan import announce
from calogen.reproduction.selection import validation_distance
from calogen.reproduction.study_data import read_at_energies
from calogen.reproduction.timing import Costs, measure_costs, require_times
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_VAE_WINDOW
from calogen.training.fit import decode_otherwise, fit, validation_split
from calogen.training.run import TrainedRun, save_run
from calogen.units import GeV

NAME = "atlas_vae"
NAMES = [item.name for item in OBSERVABLES]
# With the bundled showers, a quarter of the paper's, the validation loss is smallest near epoch 140.
EPOCHS = {"smoke": 4, "laptop": 160, "paper": 1000}
GENERATED = {"smoke": 200, "laptop": 2000, "paper": 5000}  # showers at each energy; the paper's test samples have 5000
NOTE = Published("atlas_note").numbers  # Fig. 5 of this paper has no numbers
HOW_DRAWN = {name: getattr(CONFIGS["drawn"][0], name) for name in ("renormalise", "decode", "latent_sampler")}
SNAPSHOTS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # of all epochs


def main(arguments: Arguments) -> None:
    """Trains every seed, judges the claims, writes report and results, prints their places."""
    start = time.monotonic()
    data = read_at_energies(arguments, "photons", ATLAS_VAE_WINDOW, TRAINED, COMPARED)
    recorded = provenance.collect(arguments.seeds[0], data.files)
    train, test, note = data.train, data.reference, data.note
    require_times(test, simulate=arguments.preset != "smoke")
    announce(NAME, arguments, configs(arguments.preset, arguments.seeds[0]))
    if arguments.cluster:
        train_elsewhere(NAME, arguments, [(seed, "") for seed in arguments.seeds])
    evidence, figures, runs, folders = [], [], [], {}
    for seed in arguments.seeds:
        with open_run(NAME, arguments.preset, seed, arguments.runs) as run:
            trained, measured, samples = reproduce(run, train, test)
            export_set(RunSet("lwtnn", (run.directory,)), run.directory)
        evidence.append(measured)
        runs.append(trained)
        folders[seed] = run.directory
        if seed == arguments.seeds[0]:
            losses = {"Losses of the training": draw_losses({VAE: trained.history}, note)}
            figures.append(draw(measured, {"Geant4": test, **samples}, note) | losses)
    decoder = run.directory / "lwtnn" / "decoder.json"
    costs = measure_costs(runs[0], decoder, test, simulate=arguments.preset != "smoke")
    evidence = [replace(item, values={**item.values, "costs": costs}) for item in evidence]
    results = Results(
        name=NAME,
        title="The VAE of ATLAS",
        paper=str(PAPER),
        merit="speed-up over Geant4 at 262 GeV",
        claims=claims.judge(evidence),
        quantities=quantities(evidence, costs, note),
        provenance=recorded
        | {
            "preset": arguments.preset,
            "seeds": list(arguments.seeds),
            "device": provenance.device(),
            "wall_time": round(time.monotonic() - start, 1),
            "training": {str(seed): read_json(folder / "provenance.json") for seed, folder in folders.items()},
        },
        measurements=tuple(
            row for item in evidence[0].comparisons.values() for one in item.values() for row in one.measurements
        ),
        deviations=tuple(sources(runs[0].config)),
        remarks=REMARKS if arguments.train_data is None else (),
    )
    publish(arguments, results, figures[0], README_FIGURE)
    show(f"decoder: {arguments.runs / NAME}/*/lwtnn/decoder.json")


def configs(preset: str, seed: int) -> dict[str, AtlasVaeConfig]:
    """Configurations of the VAE and of its ablation."""
    chosen = {name: CONFIGS[name][0] for name in ("paper", "absolute")}
    return {
        name: replace(item, epochs=EPOCHS[preset], seed=seed, batch_size=50 if preset == "smoke" else item.batch_size)
        for name, item in chosen.items()
    }


def reproduce(run: Run, train: Showers, test: Showers) -> tuple[TrainedRun, Evidence, dict[str, Showers]]:
    """Trains the VAE and its ablation with one seed; gives evidence and showers of both."""
    epochs = EPOCHS[run.preset]
    snapshots = {max(1, round(share * epochs)) for share in SNAPSHOTS}
    config, ablation = configs(run.preset, run.seed).values()
    vae = fit(atlas_vae, config, ATLAS_VAE_WINDOW, train, run.directory, snapshots=snapshots)
    absolute = fit(atlas_vae, ablation, ATLAS_VAE_WINDOW, train, run.directory / "absolute")
    drawn = decode_otherwise(atlas_vae, vae, replace(config, **HOW_DRAWN), train)
    save_run(run.directory / "drawn", drawn)
    seeds = {
        name: stream_seed(stream)
        for name, stream in provenance.seed_streams(run.seed, "generate", "bootstrap", "validate").items()
    }
    energies = np.unique(test.incident_energies)
    repeated = np.repeat(energies, GENERATED[run.preset])
    runs = {VAE: vae, ABSOLUTE: absolute, DRAWN: drawn}
    samples = {label: generate(trained, repeated, seeds["generate"]) for label, trained in runs.items()}
    comparisons: dict[float, Comparison] = {}
    with progress("comparing with Geant4", len(COMPARED)) as bar:
        for energy in COMPARED:
            comparisons[energy] = compare_showers(test, samples, OBSERVABLES, seeds["bootstrap"], energy)
            bar.advance()
    validation = validation_split(train, config)[1]
    saved = {
        epoch: load_snapshot(vae, run.directory, "epoch", epoch) for epoch in list_snapshots(run.directory, "epoch")
    }
    best = 1 + int(np.argmin([row["val_loss"] for row in vae.history]))
    values = {
        "geant4": response_curve([test]),
        "vae": response_curve([samples[VAE]]),
        "absolute": response_curve([samples[ABSOLUTE]]),
        "drawn": response_curve([samples[DRAWN]]),
        "depths": {
            energy: (_mean(shower_depth(test.at(energy))), _mean(shower_depth(samples[VAE].at(energy))))
            for energy in TRAINED
        },
        "shares": {
            layer.name: (_share(test, position), _share(samples[VAE], position))
            for position, layer in enumerate(ATLAS_VAE_WINDOW.layers)
        },
        "epoch_distances": {
            epoch: validation_distance(item, validation, JUDGES, seeds["validate"])
            for epoch, item in (saved | {best: vae}).items()
        },
        "best_epoch": best,
        "spreads": energy_spreads(test, samples, seeds["bootstrap"]),
    }
    run.log("measured", best_epoch=best, history=vae.history[-1])
    return vae, Evidence(comparisons=comparisons, values=values), samples


def quantities(seeds: Sequence[Evidence], costs: Costs, data: str) -> tuple[Quantity, ...]:
    """Numbers for the table beside the paper's: layer shares, response, resolution, costs."""
    rows = []
    for layer in LAYERS:
        published = f"{NOTE[f'{layer}_share_geant4'].value:g} (ATL-SOFT-PUB-2018-001)"
        geant4 = seeds[0].values["shares"][layer][0]
        ours, spread = Value.repeated([evidence.values["shares"][layer][1] for evidence in seeds])
        name = f"share of the {layer} at 65 GeV"
        rows.append(Quantity(f"{name}, Geant4", "%", published, geant4.value, geant4.error, None, data, headline=True))
        rows.append(Quantity(f"{name}, VAE", "%", None, ours.value, ours.error, spread, data, headline=True))
    for energy in (*SHOWN, INTERPOLATED, EXTRAPOLATED):
        for title, attribute in (("mean response", "mean"), ("resolution", "resolution")):
            name = f"{title} at {energy / GeV:.4g} GeV"
            geant4 = seeds[0].values["geant4"].at(attribute, energy)
            rows.append(Quantity(f"{name}, Geant4", "", None, geant4.value, geant4.error, data=data))
            ours, spread = Value.repeated([evidence.values["vae"].at(attribute, energy) for evidence in seeds])
            rows.append(Quantity(f"{name}, VAE", "", None, ours.value, ours.error, spread, data))
    rows += drawing_rows(seeds, data)
    megabyte = 1e-6
    rows += [
        *(
            Quantity(
                f"speed-up over Geant4 at {gev}", "", words, costs.speedup(energy), data=costs.origin, headline=True
            )
            for gev, words, energy in (("8 GeV", "about 10", 8192.0), ("262 GeV", "over 100", 262144.0))
        ),
        Quantity("one shower", "us", None, costs.one_by_one_seconds * 1e6, data="CPU, no TensorFlow"),
        Quantity("one of 10,000 showers", "us", None, costs.batch_seconds * 1e6, data="TensorFlow"),
        *(
            Quantity(name, "MB", "about 5", size * megabyte, headline=True)
            for name, size in (
                ("decoder as LWTNN JSON", costs.json_bytes),
                ("decoder's weights", costs.weight_bytes),
                ("memory added by generation", costs.added_bytes),
            )
        ),
    ]
    return tuple(rows)


def energy_spreads(test: Showers, samples: Mapping[str, Showers], seed: int) -> dict[float, dict[str, Value]]:
    """Spread of the total energy over Geant4's, by training energy and sample."""
    total = [item for item in OBSERVABLES if item.name == "total_energy"]
    found = {}
    for energy in TRAINED:
        (compared,) = compare_showers(test, samples, total, seed, energy).values()
        found[energy] = {label: compared.numbers_of(label)["rms_ratio"] for label in samples}
    return found


def drawing_rows(seeds: Sequence[Evidence], data: str) -> list[Quantity]:
    """Spread of the energy and distance from Geant4, as decoded and as drawn from p(x|z)."""
    rows = []
    for energy in TRAINED:
        for label in (VAE, DRAWN):
            ours, spread = Value.repeated([item.values["spreads"][energy][label] for item in seeds])
            name = f"energy spread over Geant4's at {energy / GeV:.4g} GeV, {label}"
            shown = energy in SHOWN
            rows.append(Quantity(name, "", None, ours.value, ours.error, spread, data, headline=shown))
    for energy in SHOWN:
        for label in (VAE, DRAWN):
            ours, spread = Value.repeated([excess(item, NAMES, energy, label) for item in seeds])
            name = f"mean KS distance above the floor at {energy / GeV:.4g} GeV, {label}"
            rows.append(Quantity(name, "", None, ours.value, ours.error, spread, data))
    return rows


def draw(evidence: Evidence, samples: dict[str, Showers], note: str) -> dict[str, Figure]:
    """Draws the paper's figures, by caption; the first one of the samples is Geant4's."""
    drawn = {
        caption: draw_observables([evidence.comparisons[energy][name] for name, energy in panels], note)
        for caption, panels in FIGURES.items()
    }
    curves = {VAE: evidence.values["vae"], ABSOLUTE: evidence.values["absolute"], DRAWN: evidence.values["drawn"]}
    drawn["Fig. 9a: response and resolution"] = draw_response(evidence.values["geant4"], curves, note, "Fig. 9a")
    for energy in (*SHOWN, INTERPOLATED, EXTRAPOLATED):
        caption = f"Average shower at {energy / GeV:.3g} GeV"
        drawn[caption] = draw_average_shower(average_showers(samples, energy), note)
    drawn["Average shower, cell by cell, at 65 GeV"] = draw_average_cells(average_showers(samples, 65536.0), note)
    return drawn


def _mean(values: np.ndarray) -> Value:
    """Mean of the finite values with its error."""
    values = values[np.isfinite(values)]
    return Value(float(values.mean()), float(values.std() / np.sqrt(len(values))))


def _share(showers: Showers, position: int) -> Value:
    """Share of a layer in the incident energy at 65 GeV, %."""
    return _mean(100 * showers.at(65536.0).layer_energies[:, position] / 65536.0)


if __name__ == "__main__":
    execute(main, __doc__)
