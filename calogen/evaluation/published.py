"""Papers as data: numbers with their places, the observables of their figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from types import MappingProxyType
from typing import Any, NamedTuple

from calogen.evaluation.compare import ALL_ENERGIES
from calogen.files import read_json
from calogen.observables import cells as observables
from calogen.observables import voxels
from calogen.observables.observable import Observable
from calogen.units import GeV


@dataclass(frozen=True)
class PublishedNumber:
    """A number that a paper states, with its error if the paper states one."""

    value: float
    unit: str
    source: str
    error: float | None = None


class PublishedChi2(NamedTuple):
    """A row of a paper's table of chi2: which momenta, chi2, NDF."""

    momenta: str
    chi2: float
    ndf: int

    @property
    def per_ndf(self) -> float:
        """chi2/NDF."""
        return self.chi2 / self.ndf


def _read(paper: str) -> Any:
    """A paper's numbers, with their sources: `data/published_<paper>.json`."""
    with resources.as_file(resources.files("calogen").joinpath("data", f"published_{paper}.json")) as path:
        return read_json(path)


def _numbers(content: Any) -> Mapping[str, PublishedNumber]:
    return MappingProxyType({name: PublishedNumber(**number) for name, number in content["numbers"].items()})


def _chi2(table: Any) -> Mapping[str, tuple[PublishedChi2, ...]]:
    return MappingProxyType({name: tuple(PublishedChi2(*row) for row in rows) for name, rows in table["rows"].items()})


def _times(table: Any, rows: Mapping[str, tuple[float, float]]) -> Mapping[float, PublishedNumber]:
    """Times by momentum in MeV or by batch size."""
    return MappingProxyType(
        {
            float(key): PublishedNumber(value, table["unit"], table["source"], error)
            for key, (value, error) in rows.items()
        }
    )


ATLAS_VAE_TEST_ENERGIES: Mapping[str, float] = MappingProxyType(
    {"4 GeV": 4096.0, "65 GeV": 65536.0, "262 GeV": 262144.0, "25 GeV": 24576.0, "524 GeV": 524288.0}
)
"""The paper's names of the incident energies that it shows, MeV; 25 and 524 GeV are not trained on.

Source: arXiv:2210.06204, sections "Results" and "Interpolation and Extrapolation"; 24,576 MeV for "25 GeV, which falls
roughly halfway between two energy points (16 GeV and 32 GeV)" is ours.
"""

_SHOWN = tuple(ATLAS_VAE_TEST_ENERGIES.values())
_LAYERS = ("presampler", "front", "middle", "back")
_NOISY = frozenset(f"{figure}{panel}" for figure in (7, 10, 11, 12, 13) for panel in "abc") | {"16", "17", "18", "19"}


def _figures(trained: int, interpolated: str = "", extrapolated: str = "") -> dict[float, str]:
    """Figures by incident energy: `trained` has the panels a, b, c for 4, 65 and 262 GeV."""
    figures = {energy: f"{trained}{panel}" for energy, panel in zip(_SHOWN[:3], "abc", strict=True)}
    figures |= {_SHOWN[3]: interpolated} if interpolated else {}
    return figures | ({_SHOWN[4]: extrapolated} if extrapolated else {})


ATLAS_VAE_OBSERVABLES: tuple[Observable, ...] = (
    *(
        Observable(
            f"{name}_energy",
            partial(observables.layer_energy, layer_id=layer_id),
            f"Energy in the {name}" if name == "presampler" else f"Energy in the {name} layer",
            "GeV",
            GeV,
            {65536.0: f"5{panel}"},
        )
        for layer_id, (name, panel) in enumerate(zip(_LAYERS, "abcd", strict=True))
    ),
    Observable("shower_depth", observables.shower_depth, "Shower depth", "mm", 1.0, _figures(6, "15b")),
    Observable(
        "second_lambda_moment",
        observables.second_lambda_moment,
        r"$\langle\lambda^2\rangle$",
        r"mm$^2$",
        1.0,
        _figures(7, "16"),
        _NOISY,
    ),
    Observable("total_energy", observables.total_energy, "Total energy", "GeV", GeV, _figures(8, "15a", "18"), _NOISY),
    Observable(
        "w_s_tot", observables.w_s_tot, r"$w_{s\,\mathrm{tot}}$", "strips", 1.0, _figures(10), noise_free=_NOISY
    ),
    Observable("r_phi", observables.r_phi, r"$R_\phi$", "", 1.0, _figures(11, "17", "19"), _NOISY),
    Observable("r_eta", observables.r_eta, r"$R_\eta$", "", 1.0, _figures(12, "17", "19"), _NOISY),
    Observable("w_eta2", observables.w_eta2, r"$w_{\eta 2}$", "", 1.0, _figures(13), _NOISY),
)
"""The observables of Figs. 5-8, 10-13 and 15-19 of arXiv:2210.06204, with their figures by incident energy.
"""

ATLAS_VAE_NUMBERS = _numbers(_read("atlas_vae"))
"""Numbers of arXiv:2210.06204; the layers' shares are of the true energy."""

_MOMENTA = tuple(2.0**power for power in range(8, 23))
_LAYER_FIGURES = {"photon": "9", "pion": "10"}
_SHAPE_FIGURES = {"photon": ("11", "12"), "pion": ("13", "14")}
_DATASET1_LAYERS = {"photon": (0, 1, 2, 3, 12), "pion": (0, 1, 2, 3, 12, 13, 14)}
_WITH_ALPHA = {"photon": (1, 2), "pion": (1, 2, 12, 13)}
_WIDTHS_BY_MOMENTUM = dict.fromkeys((512.0, 4096.0, 8192.0, 65536.0, 1048576.0), "15")
_VOXELS_BY_MOMENTUM = dict.fromkeys((512.0, 32768.0, 2097152.0), "17")
_TAIL = 1e-4  # the paper's vertical axes of these figures are logarithmic: rare showers are to be seen


def _total_energy(particle: str) -> Observable:
    figures = dict.fromkeys(_MOMENTA, "5" if particle == "photon" else "6")
    return Observable("total_energy", observables.total_energy, "Total energy", "GeV", GeV, figures)


def _layer_energy(particle: str, layer_id: int) -> Observable:
    return Observable(
        f"layer_{layer_id}_energy",
        partial(observables.layer_energy, layer_id=layer_id),
        f"Energy in layer {layer_id}",
        "GeV",
        GeV,
        {ALL_ENERGIES: _LAYER_FIGURES[particle]},
        log_axis=True,
        tail=_TAIL,
    )


def _shape(particle: str, layer_id: int, axis: observables.Axis, quantity: str) -> Observable:
    """The centre (`centroid`) or the `width` in a layer."""
    is_width = quantity == "width"
    by_momentum = particle == "pion" and is_width and axis == "eta" and layer_id in (12, 13)
    return Observable(
        f"layer_{layer_id}_{axis}_{quantity}",
        partial(voxels.voxel_width if is_width else voxels.voxel_centroid, layer_id=layer_id, axis=axis),
        rf"{'Width' if is_width else 'Centre'} in $\{axis}$ in layer {layer_id}",
        "mm",
        1.0,
        {ALL_ENERGIES: _SHAPE_FIGURES[particle][is_width]} | (_WIDTHS_BY_MOMENTUM if by_momentum else {}),
        tail=_TAIL if is_width else 0.01,  # the centres' peak is a hundred times narrower than their tails
    )


def _voxel_energy(particle: str) -> Observable:
    return Observable(
        "voxel_energy",
        voxels.voxel_energies,
        "Voxel energy",
        "MeV",
        1.0,
        {ALL_ENERGIES: "16"} | (_VOXELS_BY_MOMENTUM if particle == "pion" else {}),
        log_axis=True,
        tail=_TAIL,
        metrics=(),
        counted="voxels",
    )


CALOSHOWERGAN_OBSERVABLES: Mapping[str, tuple[Observable, ...]] = MappingProxyType(
    {
        particle: (
            _total_energy(particle),
            *(_layer_energy(particle, layer_id) for layer_id in _DATASET1_LAYERS[particle]),
            *(
                _shape(particle, layer_id, axis, quantity)
                for quantity in ("centroid", "width")
                for layer_id in _WITH_ALPHA[particle]
                for axis in observables.AXES
            ),
            _voxel_energy(particle),
        )
        for particle in _DATASET1_LAYERS
    }
)
"""The observables of Figs. 5, 6 and 9-17 of arXiv:2309.06515 by particle, `photon` or `pion`, with figures by momentum.

Fig. 13 shows the pions' centres (its caption says widths). Momenta are the labels of the files: "1 TeV" is 2^20 MeV.
The voxel energies have no metrics: there are millions, and those of a shower are not independent.
"""

_CALOSHOWERGAN = _read("caloshowergan")

CALOSHOWERGAN_TABLE_3 = _chi2(_CALOSHOWERGAN["table_3"])
"""Table 3 of arXiv:2309.06515: photons, voxels normalised to the kinetic energy. Each GAN's row, the sum last."""

CALOSHOWERGAN_TABLE_4 = _chi2(_CALOSHOWERGAN["table_4"])
"""Table 4 of arXiv:2309.06515: layer-energy normalisation; photons but for the last two. Rows as in Table 3."""

CALOSHOWERGAN_TABLE_5: Mapping[str, Mapping[float, PublishedNumber]] = MappingProxyType(
    {particle: _times(_CALOSHOWERGAN["table_5"], rows) for particle, rows in _CALOSHOWERGAN["table_5"]["rows"].items()}
)
"""Table 5 of arXiv:2309.06515: time to generate one shower, by particle and momentum in MeV (1 and 65 GeV, 1 TeV)."""

CALOSHOWERGAN_TABLE_6 = _times(_CALOSHOWERGAN["table_6"], _CALOSHOWERGAN["table_6"]["rows"])
"""Table 6 of arXiv:2309.06515: time to generate a batch of pions of 65 GeV, by batch size."""

CALOSHOWERGAN_NUMBERS = _numbers(_CALOSHOWERGAN)
"""Further numbers of arXiv:2309.06515; chi2 stands for chi2/NDF of the total energy over all momenta."""
