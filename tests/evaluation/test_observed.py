import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_showers
from toy_commands import page_of

from calogen.errors import ConfigError
from calogen.evaluation.judging import Options
from calogen.evaluation.observed import SECOND, observed_numbers, standardised
from calogen.metrics import classifier
from calogen.observables.cells import CELL_OBSERVABLES, response, total_energy
from calogen.observables.observable import Observable, Observed
from calogen.reports.evaluate_cells import evaluate_cells
from calogen.showers.sample import concatenate
from calogen.showers.windows import ATLAS_VAE_WINDOW


def undefined(showers):
    """Defined for every second shower."""
    return np.where(np.arange(len(showers)) % 2, total_energy(showers), np.nan)


def sample(number, seed, scale=1.0):
    showers = make_showers(ATLAS_VAE_WINDOW, number, seed)
    return replace(showers, energies=showers.energies * np.float32(scale))


@pytest.fixture
def small(monkeypatch):
    """A small classifier that trains for a second."""
    config = replace(classifier.CHALLENGE, hidden_units=(16,), epochs=8, learning_rate=0.01, batch_size=50)
    train = classifier.classify
    monkeypatch.setattr(classifier, "classify", lambda *data, **options: train(*data, config=config, **options))


def test_inputs_are_standard_at_every_energy():
    named = Observable("response", response, "r"), Observable("half", undefined, "h")
    reference, generated = Observed(sample(300, 0), named), Observed(sample(300, 0, 2.0), named)
    ours, theirs, remarks = standardised(reference, generated)
    assert remarks == []
    np.testing.assert_allclose(theirs[:, 0], np.log10(generated.incident_energies))
    for energy in np.unique(reference.incident_energies):
        chosen = ours[reference.incident_energies == energy]
        assert chosen[:, 1].mean() == pytest.approx(0, abs=1e-9)
        assert chosen[:, 1].std() == pytest.approx(1)
        values = reference.showers.at(energy).response
        twin = (generated.showers.at(energy).response - values.mean()) / values.std()
        np.testing.assert_allclose(theirs[generated.incident_energies == energy, 1], twin)
    assert (ours[::2, 2] == 0).all(), "what is not defined counts as the mean"
    assert ours[1::2, 2].any()


def test_numbers_tell_samples_apart(small):
    reference = Observed(sample(400, 0), CELL_OBSERVABLES)
    same, _ = observed_numbers(reference, Observed(sample(300, 1), CELL_OBSERVABLES), 0)
    other, missing = observed_numbers(reference, Observed(sample(300, 1, 1.3), CELL_OBSERVABLES), 1)
    assert set(same) == {"fpd", "kpd"}
    assert missing == ("FPD and KPD are of 260 showers; as they grow with fewer showers, compare only with as many",)
    assert other["fpd"].value > 3 * same["fpd"].value
    assert other["auc"].value > 0.75
    assert "jsd" in other


def two_energies(low, high, seed):
    """So many showers of 1 and of 66 GeV."""
    return concatenate(
        [
            replace(sample(number, seed + number, energy / 1024.0), incident_energies=np.full(number, energy))
            for number, energy in ((low, 1024.0), (high, 65536.0))
        ]
    )


@pytest.mark.parametrize("counts", [(500, 1), (500, 100)])
def test_distances_do_not_depend_on_the_shares_of_the_energies(counts):
    """The FPD of one distribution is below 0.02 for 500 showers; a scale from one shower made it 10,000 and more."""
    named = CELL_OBSERVABLES[:3]
    reference = Observed(two_energies(500, 500, 0), named)
    numbers, remarks = observed_numbers(reference, Observed(two_energies(*counts, 1), named), 0)
    assert numbers["fpd"].value < 0.02
    assert abs(numbers["kpd"].value) < 0.02
    assert len(remarks) == 1
    ours, theirs, _ = standardised(reference, Observed(two_energies(*counts, 1), named))
    assert [(ours[:, 0] > 4).sum(), (theirs[:, 0] > 4).sum()] == [counts[1]] * 2, "shares are the generated sample's"


def test_energies_and_observables_that_tell_nothing_are_left_out_and_named():
    flat = Observable("flat", lambda showers: np.where(showers.incident_energies > 2000, 7.0, showers.response), "f")
    named = *CELL_OBSERVABLES[:3], flat
    reference, generated = (Observed(two_energies(500, 9, seed), named) for seed in (0, 1))
    ours, theirs, remarks = standardised(reference, generated)
    assert remarks == ["showers of 65.5 GeV left out: too few in the reference"]
    assert ours.shape == theirs.shape == (500, 5)
    reference, generated = (Observed(two_energies(500, 300, seed), named) for seed in (0, 1))
    ours, theirs, remarks = standardised(reference, generated)
    assert remarks == ["observables without a spread in the reference left out: flat (65.5 GeV)"]
    assert ours.shape == theirs.shape == (800, 4)


def test_a_reference_without_spread_has_no_distance():
    """Empty showers: the kernel distance of raw millimetres was 1e31."""
    full = two_energies(100, 100, 0)
    empty = Observed(replace(full, energies=0 * full.energies), CELL_OBSERVABLES)
    numbers, remarks = observed_numbers(empty, Observed(full, CELL_OBSERVABLES), 1)
    assert numbers == {}
    assert len(remarks) == 1
    assert "Received: no spread of presampler_energy (1.02 GeV), front_energy" in remarks[0]
    few = Observed(two_energies(9, 8, 0), CELL_OBSERVABLES)
    numbers, remarks = observed_numbers(few, few, 0)
    assert numbers == {}
    assert "needs 10 showers or more" in remarks[0]
    assert remarks[0].endswith("Received: at most 9 showers")


def test_too_few_showers_are_told():
    few = Observed(sample(300, 0).at(2048.0)[:12], CELL_OBSERVABLES)
    numbers, missing = observed_numbers(few, few, 1)
    assert not numbers.keys() & {"auc"}
    assert any(reason.startswith("classifiers left out: ") for reason in missing)


def test_a_page_of_cells_has_them_beside_the_second_reference(tmp_path: Path, small):
    for name, seed, scale in (("reference", 0, 1.0), ("vae", 1, 1.2), ("second", 2, 1.0)):
        sample(1350, seed, scale).at(65536.0).write(tmp_path / f"{name}.h5")
    paths = [tmp_path / f"{name}.h5" for name in ("reference", "vae", "second")]
    out = tmp_path / "out"
    text = evaluate_cells(paths[0], {"VAE": paths[1]}, out, paths[2], Options(repetitions=1))
    assert "VAE against reference.h5" in page_of(text)
    assert re.search(r"^  VAE, AUC of a classifier.*: 0\.\d+$", text, re.MULTILINE)
    assert len(text.splitlines()) <= 10, "the tables are in the report"
    lines = [line for line in (out / "report.md").read_text().splitlines() if line.startswith("|")]
    assert any("number" in line and "VAE" in line and SECOND in line for line in lines)
    for title in ("AUC of a classifier", "JSD of this classifier", "FPD x 1000", "KPD x 1000"):
        assert sum(title in line for line in lines) == 1, title
    assert (out / "classifiers.json").is_file()
    with pytest.raises(ConfigError, match="labels of models must be other words.*Received: second reference"):
        evaluate_cells(paths[0], {SECOND: paths[1]}, out)
