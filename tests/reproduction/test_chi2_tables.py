"""Tables and quantities of networks whose iterations are chosen by a chi2."""

from dataclasses import replace

import numpy as np
import pytest
from toy_study import made, scan

from calogen.claims.judge import Quantity
from calogen.errors import ConfigError
from calogen.evaluation.iterations import ALL
from calogen.evaluation.published import PublishedChi2, PublishedNumber
from calogen.evaluation.summary import energy_text
from calogen.metrics.distributions import Value
from calogen.reproduction.chi2_tables import chi2_quantities, chi2_table, size_table, time_table

TESTS = {
    "low": made("low", [256.0, 512.0], 56.0),
    "upper": made("upper", [512.0, 1024.0], 42.0),
    "single": made("single", [256.0, 512.0, 1024.0], 84.0),
}
ENSEMBLES = {"one GAN": ("single",), "two GANs": ("low", "upper")}
PAPER = {
    "two GANs": (PublishedChi2("[a, b]", 360, 140), PublishedChi2("[b, c]", 1042, 308), PublishedChi2("Sum", 1402, 448))
}


def test_the_rows_of_the_chi2_table() -> None:
    """At the paper's statistics 1 + 20 (chi2/NDF - 1); errors: the root of the number of momenta over their NDF."""
    table = chi2_table([TESTS, {}], ENSEMBLES, PAPER, {"upper": PublishedChi2("[b, c]", 628, 420)})
    assert table.header == (
        *("networks", "momenta", "iteration", "chi2", "NDF", "chi2/NDF", "at the paper's statistics"),
        *("held-out, iteration chosen by training showers, at the paper's statistics", "paper: chi2 / NDF"),
    )
    assert table.rows == (
        ("single", "256 MeV - 1.02 GeV", "2,000", "252", "84", "3.000 ± 0.021", "41.00 ± 0.41", "21 ± 10", "-"),
        ("low", "256 MeV - 512 MeV", "2,000", "112", "56", "2.000 ± 0.025", "21.00 ± 0.51", "21 ± 13",
         "[a, b]: 360 / 140 = 2.6"),
        ("upper", "512 MeV - 1.02 GeV", "2,000", "84", "56", "1.500 ± 0.025", "11.00 ± 0.51", "21 ± 13",
         "[b, c]: 1042 / 308 = 3.4"),
        ("upper, half", "512 MeV - 1.02 GeV", "up to 1,000", "252", "56", "4.50 ± 0.53", "", "",
         "[b, c]: 628 / 420 = 1.5"),
        ("two GANs", "sum", "", "196", "112", "1.750 ± 0.018", "16.00 ± 0.36", "21.0 ± 8.9", "Sum: 1402 / 448 = 3.1"),
        ("Geant4 against Geant4", "256 MeV - 512 MeV", "", "28", "56", "0.500 ± 0.051", "", "", "1 is expected"),
    )  # fmt: skip


def test_a_table_without_held_out_showers_has_no_floor() -> None:
    alone = {"low": made("low", [256.0, 512.0], 56.0, held_out=False, floor=False)}
    rows = chi2_table([alone], {"one": ("low",)}, {}, {}).rows
    assert [row[0] for row in rows] == ["low", "Geant4 against Geant4"]
    assert rows[0][7] == "-"
    assert rows[1][1:] == ("", "", "", "", "-", "-", "", "")
    mixed = {"a": TESTS["low"], "b": made("b", [512.0], 56.0, held_out=False)}
    rows = chi2_table([mixed], {"both": ("a", "b")}, {}, {}).rows
    assert [row[7] for row in rows] == ["21 ± 13", "-", "-", ""], "a sum needs all its parts"


@pytest.mark.parametrize("ensembles", [{"one": ("other",)}, {"both": ("low", "other")}])
def test_networks_that_were_judged_by_no_chi2_are_refused(ensembles: dict[str, tuple[str, ...]]) -> None:
    """The table ended in a traceback, the quantities were NaN."""
    tests = TESTS | {"other": replace(TESTS["low"], name="other", chi2={}, floor={})}
    message = "the figure of merit 'all' must be a chi2 to be tabulated. Received: another for other"
    with pytest.raises(ConfigError, match=message):
        chi2_table([tests], ensembles, {}, {})
    with pytest.raises(ConfigError, match=message):
        chi2_quantities([tests], ensembles, {}, "")


def test_ensembles_without_a_network_whose_training_diverged_are_left_out() -> None:
    """Here of the first training seed; the table was a KeyError after all trainings."""
    without = {name: test for name, test in TESTS.items() if name != "upper"}
    assert [row[0] for row in chi2_table([without], ENSEMBLES, PAPER, {}).rows] == ["single", "Geant4 against Geant4"]
    names = {quantity.name for quantity in chi2_quantities([without, TESTS], ENSEMBLES, PAPER, "")}
    assert "chi2/NDF of the total energy, one GAN" in names
    assert not any("two GANs" in name for name in names)


def test_every_row_has_the_columns_of_the_header() -> None:
    for held_out in (True, False):
        tests = {"low": made("low", [256.0], 56.0, held_out=held_out, floor=held_out)}
        table = chi2_table([tests], {"one": ("low",)}, PAPER, {"low": PublishedChi2("[a, b]", 1, 1)})
        assert {len(row) for row in table.rows} == {len(table.header)}


def test_quantities_of_one_seed() -> None:
    found = chi2_quantities([TESTS], ENSEMBLES, PAPER, "toy showers")
    assert [(item.name, item.headline) for item in found[:4]] == [
        ("chi2/NDF of the total energy, one GAN", False),
        ("chi2/NDF at the paper's statistics, one GAN", False),
        ("chi2/NDF on held-out showers alone, iteration chosen by the others, one GAN", False),
        ("chi2/NDF of Geant4 against Geant4, held-out and as many others, one GAN", False),
    ], "README shows what the paper has"
    assert [item.headline for item in found[4:]] == [True, True, True, False]
    alone = chi2_quantities([TESTS], {"two GANs": ("low", "upper")}, PAPER, "toy showers")
    assert [item.headline for item in alone] == [True] * 4, "and one floor"
    assert all(item.headline for item in chi2_quantities([TESTS], {"one GAN": ("single",)}, {}, "")), "or all"
    two = {item.name: item for item in found[4:]}
    assert len(two) == 4
    plain = two["chi2/NDF of the total energy, two GANs"]
    assert plain == Quantity(plain.name, "", None, 1.75, plain.uncertainty, None, "toy showers", True)
    assert plain.uncertainty == pytest.approx(2 / 112)
    paper = two["chi2/NDF at the paper's statistics, two GANs"]
    assert (paper.paper, paper.ours, paper.uncertainty) == (
        pytest.approx(1402 / 448), pytest.approx(16.0), pytest.approx(40 / 112)
    )  # fmt: skip
    held_out = two["chi2/NDF on held-out showers alone, iteration chosen by the others, two GANs"]
    assert (held_out.paper, held_out.ours) == (pytest.approx(1402 / 448), pytest.approx(1 + 40 * 0.5))
    assert held_out.uncertainty == pytest.approx(40 * np.sqrt(2 * (2 * 40 + 4 * 20)) / 80)
    floor = two["chi2/NDF of Geant4 against Geant4, held-out and as many others, two GANs"]
    assert (floor.ours, found[1].paper) == (0.5, None)
    rough = chi2_quantities([TESTS], ENSEMBLES, {"one GAN": (PublishedNumber(1.9, "", "section 3.4"),)}, "")
    assert rough[1].paper == 1.9, "a paper may give the quotient alone"


def test_quantities_of_seeds_have_a_spread() -> None:
    other = TESTS | {"single": made("single", [256.0, 512.0, 1024.0], 28.0)}
    ours, paper, held_out, floor = chi2_quantities([TESTS, other], {"one GAN": ("single",)}, {}, "")
    assert (ours.ours, ours.spread) == (2.0, pytest.approx(np.sqrt(2)))  # 3 and 1
    assert ours.uncertainty == pytest.approx(np.sqrt(3) / 84), "an error that the seeds share"
    assert (paper.ours, paper.spread) == (pytest.approx(21.0), pytest.approx(np.sqrt(2) * 20))
    assert held_out.spread == 0.0
    assert floor.spread is None, "it does not depend on the training"


def test_quantities_without_held_out_showers() -> None:
    alone = {"low": made("low", [256.0, 512.0], 56.0, held_out=False, floor=False)}
    assert len(chi2_quantities([alone], {"one": ("low",)}, {}, "")) == 2
    found = chi2_quantities([TESTS, TESTS | {"low": alone["low"]}], {"one": ("low",)}, {}, "")
    assert not [item for item in found if "held-out showers" in item.name], "one seed has none"


def test_what_did_not_learn_is_said() -> None:
    stuck = replace(TESTS["low"], scans={**TESTS["low"].scans, ALL: scan([256.0, 512.0], [56.0, 30.0, 60.0, 58.0], 28)})
    found = chi2_quantities([TESTS | {"low": stuck}], ENSEMBLES, PAPER, "toy showers")
    notes = {item.name.split(", ")[-1]: item.data for item in found}
    assert notes["one GAN"] == "toy showers"
    ours = next(item for item in found if item.name == "chi2/NDF of the total energy, two GANs")
    assert ours.data == "toy showers; low did not learn in so few iterations"


def test_quantities_are_of_the_seeds_that_have_the_networks() -> None:
    ensembles = {"one": ("low",), "other": ("variant",)}
    found = chi2_quantities([TESTS | {"variant": TESTS["low"]}, TESTS, TESTS], ensembles, {}, "")
    one, other = (next(item for item in found if item.name.endswith(f"energy, {name}")) for name in ensembles)
    assert (one.ours, one.spread, other.ours, other.spread) == (other.ours, 0.0, other.ours, None)


def test_times_and_sizes_beside_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calogen.provenance.device", lambda: "CPU")
    seconds = {2.0**10: Value(1.234e-2, 5.6e-4), 2.0**18: Value(4e-4, 1e-5)}
    papers = {2.0**10: PublishedNumber(4.5, "ms", "Table 5", 0.2), 2.0**20: PublishedNumber(4.1, "ms", "Table 5", 0.2)}
    times = time_table(seconds, papers, energy_text, "a processor")
    assert times.header == ("showers", "ms per call, CPU", "paper, a processor")
    assert times.rows == (("1.02 GeV", "12.34 ± 0.56", "4.5 ± 0.2"), ("262 GeV", "0.400 ± 0.010", "-"))
    batches = time_table({10_000.0: Value(0.164, 0.0211)}, {}, lambda size: f"{size:,.0f}", "")
    assert batches.rows == (("10,000", "164 ± 21", "-"),)
    sizes = size_table({"a": 1.2345, "b": 10.0}, {"a": PublishedNumber(6.2, "MB", "section 5.7")})
    assert sizes.rows == (("a", "1.23", "6.2"), ("b", "10.00", "-"))
    assert sizes.header == ("LWTNN JSON", "MB", "paper")
