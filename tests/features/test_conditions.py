"""Encodings say how they are written: as quantities that another program may compute."""

from dataclasses import replace

import numpy as np
import pytest

from calogen.errors import ConfigError
from calogen.features.conditions import (
    CellAlignment,
    CellPosition,
    Column,
    Constant,
    Encoding,
    LinearEnergy,
    LogEnergy,
    OneCondition,
    Quantity,
    StandardLogEnergy,
)
from calogen.showers.conditions import Conditions

ENCODINGS: list[Encoding] = [
    LogEnergy(),
    LogEnergy(mass=139.57),
    LinearEnergy(),
    Constant(0.7),
    Column("angle", 0.3, -0.2),
    StandardLogEnergy(),
    CellPosition("impact_eta", 0.025),
    CellAlignment("impact_eta", 0.025, 2),
    CellAlignment("impact_phi", 0.3, 4),
]


def _conditions(number: int = 200) -> Conditions:
    rng = np.random.default_rng(4)
    others = {name: rng.uniform(-1.0, 1.0, number) for name in ("angle", "impact_eta", "impact_phi")}
    return Conditions(np.exp(rng.uniform(5, 12, number)), others)


def _value(quantity: Quantity, energy: float, others: dict[str, float]) -> float:
    """A quantity as its definition says, for one shower."""
    match quantity:
        case ("energy",):
            return energy
        case ("log-energy", float(mass)):
            return float(np.log(np.hypot(energy, mass) - mass))
        case ("one",):
            return 1.0
        case ("value", str(name)):
            return others[name]
        case ("distance", str(name), float(size)):
            cell = int(np.floor(others[name] / size))
            return others[name] - (cell * size + (cell + 1) * size) / 2
        case ("place", str(name), float(size), int(num), int(place)):
            cells = np.floor(others[name] / (num * size)) * num * size + size * np.arange(num + 1)
            return float(cells[place] <= others[name] < cells[place + 1])
    raise ValueError(quantity)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_columns_are_what_the_terms_say(encoding: Encoding) -> None:
    conditions = _conditions()
    fitted = encoding.fit(conditions)
    columns = fitted.forward(conditions)
    assert columns.shape == (200, fitted.dim) == (200, len(fitted.terms))
    for row in range(len(conditions)):
        others = {name: float(values[row]) for name, values in conditions.others.items()}
        values = [_value(term.quantity, float(conditions.incident_energies[row]), others) for term in fitted.terms]
        expected = [(value - term.offset) / term.scale for value, term in zip(values, fitted.terms, strict=True)]
        assert columns[row] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "encoding", [LogEnergy(), LinearEnergy(), StandardLogEnergy(), CellPosition("x", 0.1)], ids=str
)
def test_without_training_nothing_is_written(encoding: Encoding) -> None:
    with pytest.raises(ConfigError, match="must be fitted to training showers"):
        _ = encoding.terms
    assert encoding.energy_span is None


@pytest.mark.parametrize("encoding", [item for item in ENCODINGS if isinstance(item, OneCondition)], ids=str)
def test_spans_show_all_that_is_encoded(encoding: OneCondition) -> None:
    low, high = encoding.span
    assert low < high
    inside = Conditions(np.ones(1001), {encoding.condition: np.linspace(low, high, 1001)[:1001]})
    fitted = encoding.fit(_conditions())
    columns, wide = fitted.forward(inside[:1000]), fitted.forward(_conditions())
    if isinstance(encoding, Column):
        np.testing.assert_allclose([columns.min(), columns.max()], [-1.0, 1.0], atol=0.01)
    else:  # their columns come again in every larger cell
        np.testing.assert_allclose([columns.min(), columns.max()], [wide.min(), wide.max()], atol=0.05)
        assert (columns.max(axis=0) > columns.min(axis=0)).all()


@pytest.mark.parametrize("number", [1, 3, 100, 999])
@pytest.mark.parametrize("energy", [8192.0, 50000.0, 65536.0])
def test_equal_values_have_a_spread_of_1(number: int, energy: float) -> None:
    """Rounding leaves a standard deviation of 1e-15 of them, by which nothing may be divided."""
    conditions = Conditions(np.full(number, energy), {"x": np.full(number, 1e-3 * energy)})
    for encoding in (StandardLogEnergy(), CellPosition("x", 0.1)):
        (term,) = encoding.fit(conditions).terms
        assert term.scale == 1.0
        np.testing.assert_allclose(encoding.fit(conditions).forward(conditions), 0.0, atol=1e-9)


def test_spans_of_energies() -> None:
    assert LogEnergy(lowest=1.0, highest=8.0).energy_span == (1.0, 8.0)
    assert LinearEnergy(highest=2048.0).energy_span == (2.0, 2048.0)
    logarithms = np.linspace(np.log(500.0), np.log(1e5), 10_001)
    fitted = StandardLogEnergy().fit(Conditions(np.exp(logarithms)))
    assert fitted.energy_span == pytest.approx((500.0, 1e5), rel=1e-3)
    assert replace(fitted, spread=1.0, mean=0.0).energy_span == pytest.approx((np.exp(-(3**0.5)), np.exp(3**0.5)))
    assert Constant().energy_span is None
