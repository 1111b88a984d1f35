"""What the judging of every paper's claims shares."""

from importlib import import_module, resources
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import pytest

from calogen import claims as package
from calogen.claims.judge import Claims, average, largest
from calogen.errors import CalogenError
from calogen.evaluation.trainings import Evidence
from calogen.metrics.correlations import rank_correlation
from calogen.metrics.distributions import Value


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ([1, 2, 3, 4, 5], 1.0),
        ([1e-9, 2.0, 3e4, 4e5, 1e99], 1.0),  # only the order counts
        ([5, 4, 3, 2, 1], -1.0),
        ([2, 1, 4, 3, 5], 0.8),  # 1 - 6 sum d^2 / (n^3 - n) = 1 - 6 x 4 / 120
        ([3, 1, 4, 2, 5], 0.5),  # 1 - 6 x 10 / 120
        ([1, 1, 2, 2, 3], 9 / np.sqrt(10 * 9)),  # ties have the mean of their ranks: 1.5 1.5 3.5 3.5 5
    ],
)
def test_rank_correlation(second: list[float], expected: float) -> None:
    found = rank_correlation(np.arange(5), np.array(second))
    assert (found.value, found.error) == pytest.approx((expected, 0.5))  # 1 / sqrt(n - 1)


def test_rank_correlation_of_independent_values_scatters_by_its_error() -> None:
    """False alarm: the scatter of 400 values has an error of 3.5 %; 15 % are left, 1 seed in 50,000."""
    random = np.random.default_rng(1)
    found = [rank_correlation(*random.normal(size=(2, 30))) for _ in range(400)]
    assert np.std([item.value for item in found]) == pytest.approx(found[0].error, rel=0.15)


@pytest.mark.parametrize(
    ("first", "second"), [([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2, 3, 4], [7, 7, 7, 7]), ([1, 2], [1, 2]), ([], [])]
)
def test_no_rank_correlation_of_a_constant_or_of_two_values(first: list[float], second: list[float]) -> None:
    found = rank_correlation(np.array(first, float), np.array(second, float))
    assert np.isnan([found.value, found.error]).all()


def test_sums_and_differences_have_the_errors_of_independent_values() -> None:
    assert Value(5.0, 3.0) - Value(2.0, 4.0) == Value(3.0, 5.0)
    assert Value.mean([Value(1.0, 3.0), Value(3.0, 4.0)]) == Value(2.0, 2.5)


def test_only_the_spread_over_seeds_averages_out() -> None:
    assert Value.repeated([Value(1.0, 0.3)]) == (Value(1.0, 0.3), None)
    middle, spread = Value.repeated([Value(1.0, 0.3), Value(3.0, 0.5)])
    assert (middle, spread) == (Value(2.0, 0.4), pytest.approx(np.sqrt(2)))
    found = average([Value(1.0, 0.3), Value(3.0, 0.5)])
    assert (found.value, found.error) == (2.0, pytest.approx(np.hypot(0.4, 1.0)))  # sqrt(2) / sqrt(2)
    assert average([Value(1.0, 0.3)]) == Value(1.0, 0.3)


def test_the_weakest_condition_is_that_of_the_fewest_standard_errors() -> None:
    assert Value(0.2, 0.1).significance() == 2.0
    assert Value(np.nan, np.nan).significance() == 0.0
    assert Value(1.0, 0.0).significance() > 1e8
    surely, perhaps = Value(0.1, 0.01), Value(0.2, 0.1)
    assert min(surely, perhaps, key=Value.significance) == perhaps


def test_numbers_have_no_exponent() -> None:
    values = {"a": Value(1.1623, 0.0441), "b": Value(1e6, 0.0), "c": Value(123456.0, 7890.0), "d": Value(1000.0, 0.0)}
    assert {key: str(value) for key, value in values.items()} == {
        "a": "1.162 ± 0.044",
        "b": "1,000,000",
        "c": "123,500 ± 7,900",
        "d": "1,000",
    }


def test_errors_in_common_do_not_average_out_and_others_do() -> None:
    values = [Value(1.0, 0.4), Value(1.1, 0.4), Value(0.9, 0.4), Value(1.0, 0.4)]
    assert average(values, independent=True) == Value(1.0, pytest.approx(0.2))
    assert average(values).error > 0.4
    far = [Value(0.0, 0.1), Value(2.0, 0.1)]
    assert average(far, independent=True) == Value(1.0, pytest.approx(1.0)), "not less than their spread"
    assert average(far[:1], independent=True) == far[0]


MODULES = [import_module(f"calogen.claims.{found.name}") for found in iter_modules(package.__path__)]
PAPERS = {item.paper: item for module in MODULES for item in vars(module).values() if isinstance(item, Claims)}
TABLE = {name: f'{name} = "some text"' for name in ("claim", "words", "source", "ours")}


def test_every_file_of_claims_is_read_and_every_claim_has_its_place_and_a_rule() -> None:
    files = resources.files("calogen").joinpath("claims").iterdir()
    assert {Path(str(file)).stem for file in files if file.name.endswith(".toml")} == {
        *PAPERS,
        *(claims.shared for claims in PAPERS.values() if claims.shared),
    }
    for claims in PAPERS.values():
        assert claims.rules.keys() == claims.statements.keys()
        for name, stated in claims.statements.items():
            assert all(text.strip() for text in (stated.claim, stated.words, stated.source, stated.ours)), name


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> Claims:
    """Claims of a file that has `[first]`, which is right, and these lines."""
    (folder / "claims").mkdir()
    (folder / "claims" / "toy.toml").write_text("\n".join(("# toy", "[first]", *TABLE.values(), *lines)))
    monkeypatch.setattr("calogen.claims.judge.resources.files", lambda _: folder)
    return Claims("toy")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["[bad]", *list(TABLE.values())[1:]], "missing 1 required keyword-only argument: 'claim'"),
        (["[bad]", *TABLE.values(), 'wrods = "x"'], "Received: 'wrods': 'x'"),
        (["[bad]", *TABLE.values(), 'needs = "photon"'], "Received: 'needs': 'photon'"),
        (["[bad]", *TABLE.values(), 'average = "none"'], "average must be one of"),
        (["[bad]", *TABLE.values(), 'decide = "paper"'], "decide must be one of"),
        (["[bad]", *TABLE.values(), "needs = ['photon'", "[last]", *TABLE.values()], "Unclosed array"),
        (["[bad]", *TABLE.values(), 'scatter = "never closed'], "Illegal character|Unterminated|Invalid"),
        (["[bad]", *TABLE.values(), "[bad]", *TABLE.values()], "must be there once. Received: two"),
    ],
)
def test_a_broken_table_names_the_claim(
    lines: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CalogenError, match=rf"toy.toml, table \[bad\].*({message})"):
        written(tmp_path, monkeypatch, *lines)


def test_what_a_paper_without_commands_needs_is_named_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = written(tmp_path, monkeypatch, 'needs = ["generator"]')
    claims.rule("first")(lambda evidence: ([Value(1.0, 0.0)], {}))
    (found,) = claims.judge([Evidence(comparisons={}, values={})])
    assert (found.ours, found.verdict) == ("generator was not trained", "undecided at this statistics")


def test_what_the_paper_contradicts_is_said_without_numbers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = written(tmp_path, monkeypatch, "inconsistent = true")
    claims.rule("first")(lambda evidence: ([evidence.value("lacking", "nothing was measured")], {}))
    (found,) = claims.judge([Evidence(comparisons={}, values={})])
    assert (found.ours, found.verdict) == ("nothing was measured", "inconsistent in the paper")


@pytest.mark.parametrize("place", range(3))
def test_the_largest_value_is_not_defined_if_any_is_not(place: int) -> None:
    values = [Value(1.0, 0.1), Value(3.0, 0.2)]
    assert largest(values) == values[1]
    values.insert(place, Value(np.nan, np.nan))
    assert np.isnan(largest(values).value)
