import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toy_note import at_first, curve, evidence, profile
from toy_runs import showers_of

from calogen.claims.atlas_note_vae import (
    COMMON,
    GEANT4,
    LAYERS,
    MID,
    OBSERVABLES,
    PANELS,
    SHOWN,
    TRAINED,
    VAE,
    claims,
    deviation,
    layer_features,
    measure,
    quantities,
)
from calogen.claims.judge import Claim
from calogen.evaluation.trainings import Evidence
from calogen.metrics.correlations import correlate, difference
from calogen.metrics.distributions import Value
from calogen.metrics.histograms import Profile
from calogen.showers.windows import ATLAS_GAN_WINDOW

HOLDS, FAILS, OPEN = "reproduced", "not reproduced", "undecided at this statistics"
INCONSISTENT = "inconsistent in the paper"


def claim(name: str, *seeds: Evidence) -> Claim:
    return next(item for item in claims.judge(seeds) if item.claim == claims.statements[name].claim)


def test_every_claim_is_judged_and_holds_with_the_made_up_evidence() -> None:
    found = {item.claim: item.verdict for item in claims.judge([evidence()])}
    inconsistent = {"printed_divergence", "interaction_lengths"}
    assert found == {
        stated.claim: INCONSISTENT if name in inconsistent else HOLDS for name, stated in claims.statements.items()
    }
    assert len(found) == len(COMMON) + 5


def of(sample: str, key: str, value: Any) -> dict[str, Any]:
    """One of the values, changed for one sample."""
    return {key: {**evidence().values[key], sample: value}}


CASES = [
    ("mean_energy", evidence(**of(VAE, "curves", curve(1.02))), FAILS),
    ("mean_energy", evidence(**of(VAE, "curves", curve(0.97, error=0.02))), OPEN),
    ("energy_spread", evidence(**of(VAE, "curves", curve(resolution=0.05))), FAILS),
    ("energy_spread", evidence(**of(VAE, "curves", curve(resolution=0.101))), OPEN),
    ("layer_energies", evidence({("front_energy", "ks"): Value(0.9, 0.01)}), FAILS),
    ("layer_energies", evidence({("front_energy", "ks"): Value(0.4, 0.5)}), OPEN),
    ("layer_tails", evidence(**of(VAE, "tails", dict.fromkeys(LAYERS, Value(0.02, 0.005)))), FAILS),
    ("layer_tails", evidence(**of(VAE, "tails", dict.fromkeys(LAYERS, Value(0.06, 0.05)))), OPEN),
    ("shower_depth", evidence(**of(VAE, "depths", at_first((99.0, 97.0, 103.0)))), FAILS),
    ("shower_depth", evidence(**of(VAE, "depths", at_first((100.05, 97.0, 99.0)))), FAILS),
    ("shower_depth", evidence(**of(VAE, "depths", at_first((91.1, 97.0, 91.0)))), OPEN),
    ("lateral_shapes", evidence(**of(VAE, "profiles", dict.fromkeys(evidence().values["profiles"][VAE], profile(1.1, 2.0)))), FAILS),  # noqa: E501
    ("lateral_shapes", evidence(**of(VAE, "profiles", dict.fromkeys(evidence().values["profiles"][VAE], profile(1.3, 1.1)))), FAILS),  # noqa: E501
    ("lateral_widths", evidence({("middle_phi_width", "rms_ratio"): Value(0.8, 0.01)}), FAILS),
    ("lateral_widths", evidence({("middle_eta_width", "rms_ratio"): Value(1.01, 0.1)}), OPEN),
    ("energy_conservation", evidence(**of(VAE, "above", Value(0.0, 0.001))), OPEN),
    ("kl_weight", evidence(weights={1e-4: Value(0.1, 0.01), 1e-2: Value(0.05, 0.01), 1.0: Value(0.5, 0.01)}), FAILS),
    ("kl_weight", evidence(weights={1e-4: Value(0.1, 0.01), 1e-2: Value(0.11, 0.01), 1.0: Value(0.5, 0.01)}), OPEN),
    ("learning_rate", evidence(rates=dict.fromkeys((1e-4, 1e-3), (Value(1.0, 0.1),) * 3)), OPEN),
    ("training_time", evidence(minutes=4.1), FAILS),
    ("printed_divergence", evidence(printed={"ks": Value(0.0, 0.01), "spread": Value(1.0, 0.1)}), INCONSISTENT),
]  # fmt: skip


@pytest.mark.parametrize(("name", "found", "verdict"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_verdicts(name: str, found: Evidence, verdict: str) -> None:
    assert claim(name, found).verdict == verdict


@pytest.mark.parametrize("part", range(3))
def test_each_part_of_what_is_said_of_the_learning_rate_counts(part: int) -> None:
    rates = dict(evidence().values["rates"])
    changed = list(rates[1e-3])
    changed[part] = Value(0.001, 1e-4) if part == 1 else Value(90.0, 1.0)
    assert claim("learning_rate", evidence(rates=rates | {1e-3: tuple(changed)})).verdict == FAILS


def test_texts_have_their_figures() -> None:
    for item in claims.judge([evidence(), evidence()]):
        assert not re.search(r"\de[+-]\d|[{}]", item.ours.replace("1e-", "")), item.ours
    assert "-9.00 ± 0.14 mm at 4 GeV, -3.00 ± 0.14 mm at 65 GeV" in claim("shower_depth", evidence()).ours
    assert "10.00 ± 0.11 % in the inner half of the bins, 30.00 ± 0.12 % in" in claim("lateral_shapes", evidence()).ours
    assert "% if measured from the impact cell's centre" in claim("lateral_shapes", evidence()).ours
    assert "2.5 minutes of CPU time for 90,000 steps" in claim("training_time", evidence()).ours


def test_variants_of_the_first_seed_alone_are_judged() -> None:
    later = evidence(weights=None, rates=None, printed=None)
    assert claim("kl_weight", evidence(), later).verdict == HOLDS
    assert "one training" in claim("kl_weight", evidence(), later).ours
    alone = claim("kl_weight", later)
    assert (alone.ours, alone.verdict) == ("the first seed alone trains the other weights and rates", OPEN)


def test_a_profile_differs_by_the_root_mean_square_over_its_known_bins() -> None:
    edges = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    expected = Profile(edges, np.array([1.0, 2.0, 4.0, 0.0]), np.array([0.1, 0.1, 2.0, 0.0]))
    received = Profile(edges, np.array([1.5, 1.0, 9.0, 1.0]), np.zeros(4))
    for inner, noise in ((True, 0.025), (False, 0.15)):
        size = np.sqrt(0.25 - noise**2)
        error = np.sqrt(4 * (0.5 * noise) ** 2 + 2 * noise**4) / (2 * size)
        found = deviation(expected, received, inner=inner)
        assert found == Value(pytest.approx(100 * size), pytest.approx(100 * error))
    assert deviation(expected, received).value == pytest.approx(100 * np.sqrt(0.25 - (0.025**2 + 0.15**2) / 2))
    nothing = Profile(edges, np.zeros(4), np.zeros(4))
    assert np.isnan(deviation(nothing, received).value)


def test_noise_is_no_difference_between_profiles() -> None:
    """The mean of absolute differences grew with the noise, and with it towards the edges."""
    rng = np.random.default_rng(3)
    edges, truth, noise = np.linspace(-1, 1, 2001), np.ones(2000), np.full(2000, 0.2)
    one, two = (Profile(edges, truth + rng.normal(0, noise), noise) for _ in range(2))
    found = deviation(Profile(edges, truth, np.full(2000, 1e-9)), one)
    assert found.value < 2 * found.error < 10
    assert np.isfinite(deviation(one, two).error)


def test_what_is_measured_of_equal_samples() -> None:
    """Geant4 against itself: 5 % above its 95 % quantiles, no difference of correlations or depths."""
    showers = showers_of(ATLAS_GAN_WINDOW, TRAINED, (40,) * len(TRAINED))
    found = measure({GEANT4: showers, VAE: showers})
    assert found["depths"][GEANT4] == found["depths"][VAE]
    assert all(share.value == pytest.approx(0.05) for share in found["tails"][VAE].values())
    assert found["correlations"][VAE].value == 0
    middle = showers.at(MID)
    for position, (layer, share) in enumerate(found["shares"][VAE].items()):
        assert layer == LAYERS[position]
        assert share.value == pytest.approx(100 * middle.layer_energies[:, position].mean() / MID)
    assert found["above"][VAE].value == pytest.approx((showers.response > 1).mean())
    assert len(found["profiles"][VAE]) == 8


def test_correlations_of_the_layers_differ_in_the_mean_with_a_resampled_error() -> None:
    showers = showers_of(ATLAS_GAN_WINDOW, TRAINED, (40,) * len(TRAINED))
    other = replace(showers, energies=showers.energies[:, ::-1])
    found = measure({GEANT4: showers, VAE: other})["correlations"][VAE]
    coefficients = [np.corrcoef(item.at(MID).layer_energies, rowvar=False) for item in (showers, other)]
    assert found.value == pytest.approx(np.abs(np.subtract(*coefficients)[np.triu_indices(4, 1)]).mean())
    assert found == difference(*(correlate(layer_features(item)) for item in (showers, other))).mean_absolute


def test_errors_of_layers_of_the_same_showers_do_not_average_out() -> None:
    for name, error in (("layer_energies", 0.01), ("layer_tails", 0.005)):
        figures = claims.rules[name](evidence())[1]
        mean = figures["mean"]
        assert isinstance(mean, Value)
        assert mean.error == pytest.approx(error)


def test_quantities_have_the_numbers_of_the_note() -> None:
    rows = {row.name: row for row in quantities([evidence(), evidence()], (VAE,), "toys")}
    assert len(rows) == 2 * (4 + 2 * (1 + len(SHOWN)))
    row = rows["share of the front in the photon's energy at 65 GeV, VAE"]
    assert (row.paper, row.ours, row.spread, row.headline) == (19.1, 25.0, 0.0, True)
    assert rows["share of the back in the photon's energy at 65 GeV, Geant4"].paper == 0.4
    assert rows["resolution at 65.5 GeV, VAE"].ours == pytest.approx(0.15)


def test_figures_have_the_numbers_of_the_note() -> None:
    numbers = {item.name: item.figures for item in OBSERVABLES}
    assert all(energy in numbers[name] for panels in PANELS.values() for name, energy in panels)
    assert sorted(number for figures in numbers.values() for number in figures.values()) == sorted(
        ["7a", "7b", "7c", "7d", "8a", "8b", "8c", "9", "13a", "13b", "14a", "14b"]
    )


def test_distances_are_those_from_the_impact_point() -> None:
    showers = showers_of(ATLAS_GAN_WINDOW, (MID,), (30,))
    for axis in ("eta", "phi"):
        centre, width = (
            next(item for item in OBSERVABLES if item.name == f"middle_{axis}_{name}") for name in ("mean", "width")
        )
        layer = ATLAS_GAN_WINDOW.layers[2]
        size = layer.eta_size if axis == "eta" else layer.phi_size
        impact = showers.conditions[f"impact_{axis}"]
        block = ATLAS_GAN_WINDOW.blocks(showers.energies)[2].astype(np.float64).sum(axis=2 if axis == "eta" else 1)
        centres = (np.floor(impact / size)[:, None] + np.arange(-3, 4) + 0.5) * size - impact[:, None]
        with np.errstate(invalid="ignore"):
            means = (block * centres).sum(axis=1) / block.sum(axis=1)
            squares = (block * centres**2).sum(axis=1) / block.sum(axis=1)
        np.testing.assert_allclose(centre.values(showers), means, atol=1e-9)
        np.testing.assert_allclose(width.values(showers), np.sqrt(squares - means**2), atol=1e-7)
