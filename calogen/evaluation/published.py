"""Papers as data: numbers and claims with their places, the observables of their figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from calogen.evaluation import observables, voxels
from calogen.evaluation.comparison import ALL_ENERGIES, Observable
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


@dataclass(frozen=True)
class PublishedClaim:
    """A statement of a paper that a reproduction can check.

    Args:
        claim: what it says, in one line of ours.
        words: the paper's words.
        source: where they stand.
    """

    claim: str
    words: str
    source: str


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

ATLAS_VAE_NUMBERS: Mapping[str, PublishedNumber] = MappingProxyType(
    {
        "presampler_share": PublishedNumber(0.7, "%", "Fig. 5a, photons of 65 GeV (read off the figure)"),
        "front_share": PublishedNumber(17.2, "%", "Fig. 5b, photons of 65 GeV (read off the figure)"),
        "middle_share": PublishedNumber(79.3, "%", "Fig. 5c, photons of 65 GeV (read off the figure)"),
        "back_share": PublishedNumber(0.4, "%", "Fig. 5d, photons of 65 GeV (read off the figure)"),
        "speedup_8_gev": PublishedNumber(10.0, "", '"Results": an order of magnitude less for photons of 8 GeV'),
        "speedup_262_gev": PublishedNumber(100.0, "", '"Results": over two orders of magnitude less at 262 GeV'),
        "memory": PublishedNumber(5.0, "MB", '"Results": only about 5 MB needed to generate showers for photons'),
        "num_features": PublishedNumber(281, "", 'Fig. 3 and "Data Reparametrisation"'),
        "num_cells": PublishedNumber(276, "", '"Monte Carlo Samples and Preprocessing"'),
        "num_epochs": PublishedNumber(1000, "", '"Variational Autoencoders"'),
        "training_time": PublishedNumber(4.0, "h", '"Variational Autoencoders": on a Titan X Pascal'),
    }
)
"""Numbers of arXiv:2210.06204; the layers' shares are of the true energy."""

ATLAS_VAE_CLAIMS: Mapping[str, PublishedClaim] = MappingProxyType(
    {
        "absolute_inputs": PublishedClaim(
            "with absolute cell energies as inputs, either the total energy or the cells' shape is modelled",
            "the network could accurately model either the total energy of the shower or the distribution of cell "
            "energies within each layer, but not both with the same model",
            "Data Reparametrisation",
        ),
        "absolute_inputs_spread": PublishedClaim(
            "with absolute cell energies as inputs, the spread of the total energy is several times too large",
            "Without the reparametrised inputs for the VAE, the spread as measured by the RMS was several times too "
            "large",
            "Results, Shower Generation",
        ),
        "front_middle_energy": PublishedClaim(
            "the front and middle layers' energies are modelled well",
            "the VAE reproducing the distribution of the deposits in individual layers more accurately in the front "
            "and middle layer",
            "Results, Shower Generation; Fig. 5b, c",
        ),
        "presampler_back_energy": PublishedClaim(
            "the energy is too low in the presampler and in the back layer",
            "Poorer agreement is observed in the presampler and in the back layer, where both models simulate showers "
            "with lower energies than in training data",
            "Results, Shower Generation; Fig. 5a, d",
        ),
        "depth_trend": PublishedClaim(
            "the shower depth grows with the energy as in Geant4",
            "Both models are able to reproduce the trend between the typical depth of the showers and the incident "
            "particle energies",
            "Results, Shower Generation; Fig. 6",
        ),
        "lambda_moment": PublishedClaim(
            "the second lambda moment follows Geant4 up to 65 GeV",
            "Here the VAE is able to follow the overall distribution for energies up to 65 GeV",
            "Results, Shower Generation; Fig. 7",
        ),
        "mean_response": PublishedClaim(
            "the mean response is too low at low energies",
            "the VAE showing significant deviations from the geant4 simulation, particularly at low energies, "
            "indicating a systematic underestimation",
            "Results, Shower Generation; Fig. 9a",
        ),
        "energy_spread": PublishedClaim(
            "the spread of the energy is too small at low and too large at high energies",
            "both the GAN and VAE underestimate it at lower energies and overestimate it at higher energies",
            "Results, Shower Generation; Fig. 9a",
        ),
        "interpolation": PublishedClaim(
            "at 25 GeV the showers are as good as at the neighbouring trained energies",
            "The level of performance is the same as seen for neighbouring energy points used to train the models",
            "Interpolation and Extrapolation; Figs. 15-17",
        ),
        "extrapolation": PublishedClaim(
            "at 524 GeV the total energy is modelled less well than at 262 GeV, but lies near the target",
            "The total energy response is not as well modelled as the highest energy point used in training [...], "
            "although both models generate showers with energies close to the target values",
            "Interpolation and Extrapolation; Fig. 18",
        ),
        "extrapolation_shapes": PublishedClaim(
            "at 524 GeV R_eta and R_phi agree with Geant4 as well as at 262 GeV",
            "with similar agreement to the detailed simulation observed as for photons generated at 262GeV",
            "Interpolation and Extrapolation; Fig. 19",
        ),
        "best_epoch": PublishedClaim(
            "the epoch with the smallest loss is the best one",
            "the epoch where the training objective is minimised can be safely assumed to be the best epoch",
            "Challenges",
        ),
        "speed": PublishedClaim(
            "a shower takes 10 times less than Geant4 at 8 GeV and over 100 times less at 262 GeV",
            "the time required by the models to generate a photon shower is an order of magnitude less for photons "
            "with an energy of 8GeV and over two orders of magnitude less at 262GeV",
            "Results, Shower Generation",
        ),
        "memory": PublishedClaim(
            "generation needs about 5 MB",
            "with only about 5MB needed to generate showers for photons",
            "Results, Shower Generation",
        ),
    }
)
"""Claims of arXiv:2210.06204 about the VAE; the sources name its sections and figures."""

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

_ALL, _LOW, _ABOVE_LOW = "[256 MeV, 4 TeV]", "[256 MeV, 4 GeV]", "[4 GeV, 4 TeV]"
_MEDIUM, _HIGH, _SUM = "[4 GeV, 262 GeV]", "[262 GeV, 4 TeV]", "Sum"


def _table(rows: Mapping[str, tuple[tuple[str, float, int], ...]]) -> Mapping[str, tuple[PublishedChi2, ...]]:
    return MappingProxyType({name: tuple(PublishedChi2(*row) for row in part) for name, part in rows.items()})


CALOSHOWERGAN_TABLE_3: Mapping[str, tuple[PublishedChi2, ...]] = _table(
    {
        "single": ((_ALL, 1553, 420),),
        "two": ((_LOW, 360, 140), (_ABOVE_LOW, 1042, 308), (_SUM, 1402, 448)),
        "three": ((_LOW, 360, 140), (_MEDIUM, 528, 196), (_HIGH, 299, 140), (_SUM, 1187, 476)),
    }
)
"""Table 3 of arXiv:2309.06515: photons, voxels normalised to the kinetic energy. Each GAN's row, the sum last."""

CALOSHOWERGAN_TABLE_4: Mapping[str, tuple[PublishedChi2, ...]] = _table(
    {
        "single": ((_ALL, 1131, 420),),
        "two": ((_LOW, 160, 140), (_ABOVE_LOW, 703, 308), (_SUM, 863, 448)),
        "three": ((_LOW, 160, 140), (_MEDIUM, 450, 196), (_HIGH, 235, 140), (_SUM, 845, 476)),
        "pion 1M": ((_ALL, 628, 420),),
        "pion 2M": ((_ALL, 542, 420),),
    }
)
"""Table 4 of arXiv:2309.06515: layer-energy normalisation; photons but for the last two. Rows as in Table 3."""


def _time(text: str, table: int) -> PublishedNumber:
    """A time in the paper's notation; the error counts tenths: 6.8(15) is 6.8 +- 1.5."""
    value, error = text.removesuffix(")").split("(")
    processor = "i9-9900K at 3.60 GHz, mean and standard deviation of 100 trials"
    return PublishedNumber(float(value), "ms", f"Table {table}, {processor}", int(error) / 10)


CALOSHOWERGAN_TABLE_5: Mapping[str, Mapping[float, PublishedNumber]] = MappingProxyType(
    {
        particle: MappingProxyType({2.0**power: _time(text, 5) for power, text in times.items()})
        for particle, times in {
            "photon": {10: "4.5(2)", 16: "4.9(2)", 20: "4.1(2)"},
            "pion": {10: "6.2(2)", 16: "6.3(3)", 20: "6.3(3)"},
        }.items()
    }
)
"""Table 5 of arXiv:2309.06515: time to generate one shower, by particle and momentum in MeV (1 and 65 GeV, 1 TeV)."""

CALOSHOWERGAN_TABLE_6: Mapping[int, PublishedNumber] = MappingProxyType(
    {
        size: _time(text, 6)
        for size, text in {1: "6.3(3)", 10: "6.8(15)", 100: "8.2(15)", 1000: "14.4(21)", 10000: "70.8(48)"}.items()
    }
)
"""Table 6 of arXiv:2309.06515: time to generate a batch of pions of 65 GeV, by batch size."""

CALOSHOWERGAN_NUMBERS: Mapping[str, PublishedNumber] = MappingProxyType(
    {
        "json_fastcalogan_photon": PublishedNumber(3.0, "MB", "section 5.7: approximately, JSON file"),
        "json_fastcalogan_pion": PublishedNumber(3.9, "MB", "section 5.7: approximately, JSON file"),
        "json_photon": PublishedNumber(6.2, "MB", "section 5.7: JSON file of one photon GAN"),
        "json_pion": PublishedNumber(5.6, "MB", "section 5.7: JSON file of the pion GAN"),
        "json_slice": PublishedNumber(
            43.0, "MB", "section 5.7: approximately, a pion GAN and 3 GANs each for electrons and photons"
        ),
        "chi2_pion_kinetic": PublishedNumber(1.9, "", "section 3.4, pions without layer-energy normalisation, Fig. 4"),
        "chi2_seed_error": PublishedNumber(0.1, "", "footnote 2: approximately, from seeds of the generation"),
    }
)
"""Further numbers of arXiv:2309.06515; chi2 stands for chi2/NDF of the total energy over all momenta."""
