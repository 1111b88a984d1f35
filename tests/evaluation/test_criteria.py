import math

import pytest

from calogen.errors import DataFormatError
from calogen.evaluation.criteria import Criterion, criteria, with_means
from calogen.metrics.distributions import Value


@pytest.mark.parametrize(
    ("particle", "every", "angular"),
    [("photon", (0, 1, 2, 3, 12), (1, 2)), ("pion", (0, 1, 2, 3, 12, 13, 14), (1, 2, 12, 13))],
)
def test_separation_powers_have_the_features_names(particle, every, angular):
    layers = dict.fromkeys(("layer_energy", "centroid_r", "width_r", "sparsity"), every)
    layers |= dict.fromkeys(("centroid_eta", "centroid_phi", "width_eta", "width_phi"), angular)
    expected = {f"{name}_{layer}" for name, numbers in layers.items() for layer in numbers}
    expected |= {"response", "voxel_energy", "mean", *layers}
    found = {name.removeprefix("separation_power_") for name in criteria(particle) if "power" in name}
    assert found == expected


def test_means_over_layers_are_those_of_the_given_ones():
    layers = (0, 1, 2, 3, 12)
    ours = {f"separation_power_layer_energy_{layer}": Value(layer / 1000, 1e-4) for layer in layers}
    found = with_means("photon", ours)
    mean = found["separation_power_layer_energy"]
    assert (mean.value, mean.error) == (pytest.approx(0.0036), pytest.approx(1e-4))
    assert set(found) == {*ours, "separation_power_layer_energy"}
    assert "separation_power_layer_energy" not in with_means("pion", ours)  # pions have 7 layers
    given = {**ours, "separation_power_layer_energy": Value(0.5, 0.0)}
    assert with_means("photon", given) == given


def test_texts():
    criterion = Criterion("t", scale=1000)
    assert criterion.text(Value(0.0006497, 0.0001308)) == "0.65 ± 0.13"
    assert criterion.text(Value(-1e-5, 5.15e-5)) == "-0.010 ± 0.051"
    assert criterion.text(Value(0.02, math.nan)) == "20"
    assert criterion.text(Value(0.0123456, 0.0)) == "12.35"
    assert Criterion("t").text(Value(3837598845, math.nan)) == "3,837,598,845"
    assert Criterion("t").text(Value(15680, 630)) == "15,680 ± 630"


def test_what_is_best():
    floor = Value(0.7, 0.0)
    assert Criterion("t").badness(0.3, floor) < Criterion("t").badness(0.4, floor)
    assert Criterion("t", "higher").badness(0.4, None) < Criterion("t", "higher").badness(0.3, None)
    assert Criterion("t", "nearer").badness(0.8, floor) < Criterion("t", "nearer").badness(0.5, floor)
    assert Criterion("t", "nearer", 0.5).badness(0.5, floor) == 0
    with pytest.raises(DataFormatError, match="no value of Geant4"):
        Criterion("t", "nearer").badness(0.8, None)
    with pytest.raises(DataFormatError, match="one of photon, pion. Received: 'kaon'"):
        criteria("kaon")
