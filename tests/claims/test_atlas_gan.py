"""Rules for the claims of arXiv:2210.06204 about its GAN, on made results."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toy_cell_claims import COSTS, comparison, curve
from toy_claims import flat
from toy_gan import network_test

from calogen.claims.atlas_gan import GAN, SINGLE, WITHOUT_POSITION, claims
from calogen.claims.atlas_vae import COMPARED, EXTRAPOLATED, HIGH, LOW, SHAPE_NAMES, SHOWN, TRAINED, VAE
from calogen.evaluation.iterations import ALL
from calogen.evaluation.trainings import Evidence
from calogen.metrics.distributions import Value
from calogen.metrics.histograms import Profile
from calogen.observables.cells import CELL_OBSERVABLES

HOLDS, FAILS, OPEN = "reproduced", "not reproduced", "undecided at this statistics"
LABELS = (GAN, VAE, WITHOUT_POSITION, *SINGLE.values())
EDGES = np.linspace(-1, 1, 9)
PLACES = (EDGES[1:] + EDGES[:-1]) / 2
Change = tuple[str, str, tuple[str, ...], tuple[float, ...], Value]


def profile(slope: float, error: float = 0.01) -> Profile:
    return Profile(EDGES, slope * PLACES, np.full(len(PLACES), error))


def evidence(*changes: Change, **values: Any) -> Evidence:
    """Figures with which every claim of the paper holds, but for the changes."""
    distances = dict.fromkeys(LABELS, 0.15) | {GAN: 0.15, VAE: 0.1, WITHOUT_POSITION: 0.3, SINGLE[1e-13]: 0.4}
    metrics = {
        ("ks", sample, item.name, energy): Value(value, 0.004)
        for sample, value in distances.items()
        for item in CELL_OBSERVABLES
        for energy in COMPARED
    }
    metrics |= {
        ("mean_ratio", GAN, item.name, energy): Value(0.95, 0.004) for item in CELL_OBSERVABLES for energy in COMPARED
    }
    for metric, sample, names, energies, value in (
        ("ks", VAE, ("total_energy",), COMPARED, Value(0.3, 0.004)),
        ("ks", GAN, ("total_energy",), (EXTRAPOLATED,), Value(0.3, 0.004)),
        ("ks", GAN, ("second_lambda_moment",), SHOWN[1:], Value(0.4, 0.004)),
        *changes,
    ):
        metrics |= {(metric, sample, name, energy): value for name in names for energy in energies}
    ours = curve(spread=dict.fromkeys(LOW, 0.09) | dict.fromkeys(HIGH, 0.11))
    wide = curve(spread=dict.fromkeys((*TRAINED, *COMPARED), 0.2))
    off = curve(mean=dict.fromkeys(TRAINED, 0.8), spread=dict.fromkeys(TRAINED, 0.2))
    steps = Profile(EDGES, np.sign(PLACES), np.zeros(len(PLACES)))
    flat = {"Geant4": profile(1.0), GAN: profile(0.9), VAE: profile(0.0)}
    found = {
        "geant4": curve(),
        "curves": dict.fromkeys(LABELS, wide) | {GAN: ours, VAE: off, SINGLE[1e-13]: curve()},
        "depths": {energy: (Value(10.0 * n, 0.1), Value(9.5 * n, 0.1)) for n, energy in enumerate(TRAINED)},
        "centres": {"front": flat | {VAE: Profile(EDGES, np.sign(PLACES), np.full(8, 0.01))}, "middle": flat},
        "steps": steps,
        "times": dict.fromkeys(TRAINED, Value(1e-3, 1e-6)),
        "costs": COSTS,
        "scatters": dict.fromkeys(LABELS, Value(0.1, 0.01)) | {SINGLE[1e-13]: Value(0.9, 0.1)},
        "picking": {"picked": Value(0.1, 0.01), "ks": Value(0.3, 0.01), "picked_distance": Value(0.1, 0.01),
                    "ks_distance": Value(0.1, 0.01)},
    }  # fmt: skip
    return Evidence(comparisons={energy: comparison(energy, metrics) for energy in COMPARED}, values=found | values)


def verdicts(*seeds: Evidence) -> dict[str, str]:
    return {name: item.verdict for name, item in zip(claims.statements, claims.judge(seeds), strict=True)}


def test_every_claim_has_a_rule_and_can_hold() -> None:
    found = verdicts(evidence())
    assert claims.statements.keys() == claims.rules.keys()
    assert found.pop("impact_position_of_the_vae") == "inconsistent in the paper"
    assert found == dict.fromkeys(found, HOLDS)
    for item in claims.judge([evidence(), evidence()]):
        assert not re.search(r"\de[+-]\d|[{}]", item.ours.replace("1e-8", "").replace("1e-13", "")), item.ours


def curves(**changed: Any) -> dict[str, Any]:
    names = {"gan": GAN, "vae": VAE, "one": SINGLE[10.0], "eighth": SINGLE[1e-8], "thirteenth": SINGLE[1e-13]}
    return {"curves": evidence().values["curves"] | {names[name]: value for name, value in changed.items()}}


def scatters(small: Value) -> dict[str, Value]:
    return dict.fromkeys(LABELS, Value(0.1, 0.01)) | {SINGLE[1e-13]: small}


KS, SMALL = "ks", Value(0.1, 0.004)
FLAT = {"Geant4": profile(1.0), GAN: profile(0.1), VAE: profile(0.0)}
CASES: list[tuple[str, Evidence, str]] = [
    ("single_critic", evidence((KS, SINGLE[1e-8], SHAPE_NAMES, SHOWN, SMALL), **curves(eighth=curve())), FAILS),
    ("small_weight", evidence(scatters=scatters(Value(0.05, 0.01))), FAILS),
    ("small_weight", evidence(scatters=scatters(Value(0.101, 0.01))), OPEN),
    ("small_weight", evidence((KS, SINGLE[1e-13], SHAPE_NAMES, SHOWN, Value(0.1, 0.004))), FAILS),
    ("small_weight", evidence(**curves(one=curve(), thirteenth=evidence().values["curves"][SINGLE[1e-8]])), FAILS),
    ("without_energy_critic", evidence(**curves(one=curve())), FAILS),
    ("picking", evidence(picking=evidence().values["picking"] | {"picked": Value(0.5, 0.01)}), FAILS),
    ("mean_energy", evidence(**curves(gan=curve(mean=dict.fromkeys(TRAINED, 0.5)))), FAILS),
    ("energy_spread_of_both", evidence(**curves(gan=curve(spread=dict.fromkeys(TRAINED, 0.4)))), FAILS),
    ("energy_spread", evidence(**curves(gan=curve(spread=dict.fromkeys(HIGH, 0.05)))), FAILS),
    ("energy_spread", evidence(**curves(gan=curve())), OPEN),
    ("layer_energies", evidence((KS, GAN, ("front_energy", "middle_energy"), SHOWN, Value(0.01, 0.004))), FAILS),
    ("presampler_back_energy", evidence(("mean_ratio", GAN, ("back_energy",), SHOWN, Value(1.2, 0.01))), FAILS),
    ("depth_trend", evidence(depths={energy: (Value(energy, 0.1), Value(0, 0.1)) for energy in TRAINED}), FAILS),
    ("depth", evidence((KS, GAN, ("shower_depth",), SHOWN, Value(0.01, 0.004))), FAILS),
    ("lambda_moment", evidence((KS, GAN, ("second_lambda_moment",), SHOWN[1:], Value(0.1, 0.004))), FAILS),
    ("lateral_shapes_low", evidence((KS, GAN, SHAPE_NAMES, SHOWN[:1], Value(0.4, 0.004))), FAILS),
    ("lateral_shapes_high", evidence((KS, GAN, SHAPE_NAMES, SHOWN[1:], Value(0.01, 0.004))), FAILS),
    ("summary", evidence((KS, GAN, ("total_energy",), SHOWN, Value(0.5, 0.004))), FAILS),
    ("impact_position", evidence(centres={"front": FLAT, "middle": FLAT}), FAILS),
    ("position_as_input", evidence((KS, WITHOUT_POSITION, SHAPE_NAMES, SHOWN, Value(0.1, 0.004))), FAILS),
    ("interpolation", evidence((KS, GAN, ("r_eta", "r_phi"), (24576.0,), Value(0.5, 0.01))), FAILS),
    ("extrapolation", evidence(("mean_ratio", GAN, ("total_energy",), (EXTRAPOLATED,), Value(0.8, 0.01))), FAILS),
    ("extrapolation_shapes", evidence((KS, GAN, ("r_eta",), (EXTRAPOLATED,), Value(0.5, 0.01))), FAILS),
    ("time", evidence(times={energy: Value(energy, 1.0) for energy in TRAINED}), FAILS),
    ("time", evidence(times=dict.fromkeys(TRAINED, Value(1.0, 0.2))), OPEN),
]  # fmt: skip


@pytest.mark.parametrize(("name", "found", "verdict"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_verdicts(name: str, found: Evidence, verdict: str) -> None:
    assert verdicts(found)[name] == verdict


def test_without_the_ablations_their_claims_say_how_to_train_them() -> None:
    few = evidence().values["curves"]
    found = evidence(curves={GAN: few[GAN], VAE: few[VAE]})
    text = {name: item.ours for name, item in zip(claims.statements, claims.judge([found]), strict=True)}
    for name in ("single_critic", "small_weight", "without_energy_critic", "position_as_input"):
        assert text[name].startswith(f"there is no {WITHOUT_POSITION if 'position' in name else 'one critic'}")
        assert text[name].endswith(": make reproduce-atlas-gan OPTIONS=--ablation")
    assert verdicts(found)["mean_energy"] == HOLDS


def test_an_ablation_that_diverged_is_named() -> None:
    known = evidence().values["curves"]
    left = {label: curve_ for label, curve_ in known.items() if label != SINGLE[1e-13]}
    found = evidence(curves=left, diverged={SINGLE[1e-13]: "critic loss is nan at iteration 7"})
    text = {name: item.ours for name, item in zip(claims.statements, claims.judge([found]), strict=True)}
    assert text["small_weight"].startswith("one critic, weight 1e-13: critic loss is nan at iteration 7")
    assert verdicts(found)["small_weight"] == OPEN


def test_a_gan_that_did_not_learn_decides_nothing_but_one_with_a_single_critic_does() -> None:
    stuck = network_test({ALL: flat([1.0], (5.0, 3.0, 6.0, 5.0, 5.5, 6.5))})
    assert stuck.idle
    found = verdicts(replace(evidence(), networks={GAN: stuck}))
    for name in (
        "lambda_moment",
        "layer_energies",
        "presampler_back_energy",
        "interpolation",
        "impact_position",
        "depth_trend",
    ):
        assert found[name] == OPEN, name
    single = verdicts(replace(evidence(), networks=dict.fromkeys(SINGLE.values(), stuck)))
    assert single["single_critic"] == HOLDS
