"""Real Geant4. One run per process is Geant4's rule: every test that needs one starts an interpreter of its own."""

import pytest
from own_process import in_own_process


def test_showers_are_physical_and_repeatable() -> None:
    energies, again, single = in_own_process(
        "run = Geant4Run(ATLAS_BARREL)\n"
        "def total(seed): return run.shower('photon', 1000.0, 0.22, seed).energies.sum()\n"
        "first = [total(seed) for seed in range(1, 21)]\n"
        "result = first, [total(seed) for seed in range(1, 21)], total(7)"
    )
    assert energies == again
    assert single == energies[6]  # independent of the showers before it
    mean = sum(energies) / len(energies)
    assert 800 < mean < 1100  # response 0.9 to 1.0 with a resolution of 10 %: 5 sigma either side
    assert len(set(energies)) == 20


def test_copied_deposits_equal_the_getters() -> None:
    fast, slow, copies = in_own_process(
        "run = Geant4Run(ATLAS_BARREL)\n"
        "collector = run._collectors[0]\n"
        "fast = run._shoot('photon', 500.0, 0.22, 5)[0]\n"
        "copies = collector.views is not None\n"
        "collector.views = None  # searched already: getters from now on\n"
        "slow = run._shoot('photon', 500.0, 0.22, 5)[0]\n"
        "result = fast.tolist(), slow.tolist(), copies"
    )
    assert copies
    assert len(fast) > 100
    assert fast == slow


def test_birks_law_and_time_cut_take_about_one_percent() -> None:
    totals = [
        in_own_process(
            f"run = Geant4Run(dataclasses.replace(ATLAS_BARREL, {change}))\n"
            "result = sum(run.shower('photon', 1000.0, 0.22, seed).energies.sum() for seed in range(1, 11))"
        )
        for change in ("", "time_cut=300.0", "birks=0.0348")
    ]
    # the same seeds give the same tracks: the differences are the effects alone
    assert 1 - totals[1] / totals[0] == pytest.approx(0, abs=1e-4)
    assert 0.004 < 1 - totals[2] / totals[0] < 0.012


def test_one_run_per_process() -> None:
    message = in_own_process(
        "from calogen.errors import ConfigError\n"
        "run = Geant4Run(ATLAS_BARREL)\n"
        "try:\n    Geant4Run(ATLAS_BARREL)\nexcept ConfigError as error:\n    result = str(error)"
    )
    assert "one run per process" in message


def test_hadrons_run_without_data_sets() -> None:
    response = in_own_process(
        "run = Geant4Run(ATLAS_BARREL, 'ftfp-bert-datafree')\n"
        "result = [run.shower('pion', 2000.0, 0.22, seed).energies.sum() / 2000.0 for seed in range(1, 6)]"
    )
    assert all(0 < value < 3 for value in response)
    assert max(response) > 0.2


def test_geant4_prints_nothing() -> None:
    body = "run = Geant4Run(ATLAS_BARREL)\nrun.shower('photon', 300.0, 0.22, 1)\nresult = 'quiet'"
    assert in_own_process(body) == "quiet"


@pytest.mark.slow
def test_sampling_fraction_is_the_measured_one() -> None:
    fraction = in_own_process(
        "run = Geant4Run(ATLAS_BARREL, score_passive=True)\n"
        "etas = np.random.default_rng(1).uniform(0.2, 0.25, 20)\n"
        "result = run.sampling_fraction('photon', 65536.0, etas, 1)[-1], ACCORDION_SAMPLING_FRACTION"
    )
    print("accordion sampling fraction at 65 GeV:", fraction[0])
    assert fraction[0] == pytest.approx(fraction[1], rel=0.01)
