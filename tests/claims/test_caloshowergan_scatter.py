"""Errors of the claims of CaloShowerGAN: the scatter between trainings, and within one."""

from dataclasses import replace

import numpy as np
import pytest
from toy_claims import LOW, PHOTONS, claim, evidence, flat, made, shapes

from calogen.evaluation.iterations import ALL
from calogen.metrics.distributions import Value

HOLDS, OPEN = "reproduced", "undecided at this statistics"


def test_the_scatter_of_late_iterations_stands_for_that_of_trainings() -> None:
    """The last third of the totals 9, 9, 9, 9, 2, 4 scatters by sqrt(2)."""
    single = replace(PHOTONS["photon"], scans={ALL: flat([256.0], (9, 9, 9, 9, 2, 4))})
    assert single.scans[ALL].late_scatter == pytest.approx(np.sqrt(2))
    sure, alone = (evidence({"photon": single}, alone=flag) for flag in (False, True))
    assert sure.per_ndf("photon").error == pytest.approx(0.02 / np.sqrt(11))
    assert alone.per_ndf("photon").error == pytest.approx(np.hypot(0.02 / np.sqrt(11), np.sqrt(2)))
    assert claim("photon", "three_gans", sure).verdict == HOLDS
    assert claim("photon", "three_gans", alone).verdict == OPEN
    assert claim("photon", "fastcalogan", evidence(fastcalogan=single, alone=True)).verdict == OPEN


def test_the_scatter_at_one_momentum() -> None:
    scan = flat([256.0, 512.0], (9, 9, 9, 9, 2, 4))
    scan.chi2[-1, 1] = 28 * 2.0
    low = replace(made((8, 9), 2.7), scans={ALL: scan})
    alone = evidence({"photon": low}, alone=True)
    assert alone.at("photon", 256.0).error == pytest.approx(np.hypot(0.02, np.sqrt(2)))
    assert alone.at("photon", 512.0).error == pytest.approx(0.02)
    assert evidence({"photon": low}).at("photon", 256.0) == Value(2.7, pytest.approx(0.02))


def test_errors_that_trainings_do_not_share_average_out() -> None:
    one, three = (claim("photon", "generation_seed", *[evidence(seed_scatter=0.15)] * n) for n in (1, 3))
    assert (one.verdict, three.verdict) == (OPEN, HOLDS)
    assert "0.150 ± 0.020 " in three.ours


def test_the_scatters_of_networks_together_are_independent() -> None:
    """11 momenta with a scatter of 1 and 5 with one of 2: sqrt(11^2 + 10^2) / 16."""
    one, other = flat([256.0], (2 + 0.5**0.5, 2 - 0.5**0.5)), flat([256.0], (4 + 2**0.5, 4 - 2**0.5))
    networks = {"a": made((8, 18), 2.0, 0.0, **{ALL: one}), "b": made(LOW, 4.0, 0.0, **{ALL: other})}
    found = evidence(networks, alone=True).per_ndf("a", "b")
    assert (found.value, found.error) == pytest.approx(((22 + 20) / 16, np.hypot(11, 10) / 16))


@pytest.mark.parametrize(("totals", "scatter"), [((5.0,), 0.0), ((5.0, 7.0), 2**0.5), ((9, 1, 3), 2**0.5)])
def test_the_scatter_of_few_iterations(totals: tuple[float, ...], scatter: float) -> None:
    assert flat([256.0], totals).late_scatter == pytest.approx(scatter)


def test_one_training_says_so_and_more_are_averaged() -> None:
    for name, note in (
        ("three_gans", " [one training: the scatter between trainings is estimated from late iterations]"),
        ("shapes", " [one training: the scatter between trainings is not in the errors]"),
    ):
        assert claim("photon", name, evidence()).ours.endswith(note)
        assert "[" not in claim("photon", name, evidence(), evidence()).ours
    both = claim("photon", "shapes", evidence(), evidence(shapes(1, 1, 1, -1)))
    assert "mean of the single and the three GANs: 0.75 ± 0.2" in both.ours
    assert both.verdict == HOLDS
    assert claim("photon", "shapes", evidence(), evidence(shapes(-1, -1, -1, -1))).verdict == OPEN
