"""What studies of regular grids share: variants of an autoencoder's run, and figures."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from calogen.evaluation.grids import GridTable
from calogen.features.batches import resident
from calogen.plots.events import draw_events, draw_hit_spectrum
from calogen.plots.grids import draw_grid_profiles, draw_projections
from calogen.showers.geometry import require_kind
from calogen.showers.grid import RegularGrid
from calogen.showers.sample import Showers
from calogen.training.encoded import encoded_latent
from calogen.training.run import TrainedRun


def without_post_processor(run: TrainedRun) -> TrainedRun:
    """The run whose first network alone generates."""
    return replace(run, generates=run.generates[:1])


def with_fitted_latent(run: TrainedRun, train: Showers, seed: int) -> TrainedRun:
    """An autoencoder's run with latent numbers of encoded showers instead of normal ones."""
    features = resident(train, run.transform)
    return replace(run, latent=encoded_latent(run.networks["encoder"], features, run.latent.dim, seed))


def generating_sizes(runs: Mapping[str, TrainedRun]) -> str:
    """Numbers of trainable parameters of what generates, as text."""
    return ", ".join(f"{label} {run.generator.count_params():,}" for label, run in runs.items())


def spectrum_figure(tables: Mapping[str, GridTable], note: str) -> Figure:
    """Spectra of the cells' energies, of which the first is the reference's."""
    first = next(iter(tables.values()))
    spectra = {label: (table.spectrum, len(table)) for label, table in tables.items()}
    return draw_hit_spectrum(spectra, first.mip_peak, first.grid.hit_threshold, note)


def profile_figure(tables: Mapping[str, GridTable], note: str) -> Figure:
    """Longitudinal and radial profiles, of which the first is the reference's."""
    return draw_grid_profiles({label: table.profiles for label, table in tables.items()}, note)


def single_shower_figure(samples: Mapping[str, Showers], note: str) -> Figure:
    """The first shower of each sample in three dimensions."""
    grid = _grid(samples)
    return draw_events(grid, {label: item.energies[0] for label, item in samples.items()}, grid.hit_threshold, note)


def mean_figure(samples: Mapping[str, Showers], note: str) -> Figure:
    """The mean shower of each sample, from three sides."""
    means = {label: item.energies.mean(axis=0, dtype=np.float64) for label, item in samples.items()}
    return draw_projections(_grid(samples), means, note)


def _grid(samples: Mapping[str, Showers]) -> RegularGrid:
    geometry = next(iter(samples.values())).geometry
    return require_kind(geometry, RegularGrid, "these figures need showers of a RegularGrid")
