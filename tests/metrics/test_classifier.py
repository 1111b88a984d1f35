import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
from disks import largest_file
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import classifier as slow
from scipy.stats import norm

from calogen.errors import CalogenError, ConfigError, DataFormatError
from calogen.metrics import classifier
from calogen.metrics.classifier import ClassifierConfig, area_under_curve, calibrate, classify
from calogen.metrics.kept_trainings import store_sample, stored_sample

SMALL = ClassifierConfig(hidden_units=(16,), learning_rate=0.01, batch_size=200, epochs=6, shares=(2, 1, 1))


def normal(seed, size, shift=0.0):
    """Three columns, the first one shifted."""
    return np.random.default_rng(seed).normal(0, 1, (size, 3)) + np.array([shift, 0, 0])


def test_equal_distributions_are_not_told_apart():
    """500 showers of each class in the validation part: AUC within 0.019 * 5 but once in 2,000,000 seeds."""
    found = classify(normal(1, 2000), normal(2, 2000), repetitions=2, config=SMALL)
    assert max(abs(auc - 0.5) for auc in found.aucs) < 5 * 0.0183
    assert abs(found.jsd.value) < 0.05
    assert found.num_showers == 2000


@pytest.mark.parametrize("bfloat16", [False, True])
def test_shifted_gaussians_have_the_closed_form(bfloat16):
    """AUC Phi(d / sqrt 2): 1000 of each class give it to 0.009; 0.03 leaves 0.01 to what training misses."""
    policy = keras.config.dtype_policy().name
    config = ClassifierConfig(
        hidden_units=(16,), learning_rate=0.01, batch_size=400, epochs=8, shares=(2, 1, 1), bfloat16=bfloat16
    )
    found = classify(normal(1, 4000), normal(2, 4000, 1.5), repetitions=1, config=config)
    assert found.auc.value == pytest.approx(norm.cdf(1.5 / math.sqrt(2)), abs=0.03)
    assert math.isnan(found.auc.error)
    assert keras.config.dtype_policy().name == policy


def test_jsd_of_overlapping_uniform_distributions():
    """Half of each class is where the other one is not: JSD 1/2, AUC 7/8."""
    rng = np.random.default_rng(3)
    first, second = rng.uniform(0, 2, (4000, 1)), rng.uniform(1, 3, (4000, 1))
    found = classify(first, second, repetitions=2, config=SMALL)
    assert found.jsd.value == pytest.approx(0.5, abs=0.06)
    assert found.auc.value == pytest.approx(0.875, abs=0.03)
    assert found.auc.error == pytest.approx(abs(found.aucs[0] - found.aucs[1]) / math.sqrt(2))


def test_disjoint_samples_end_the_training():
    config = ClassifierConfig(hidden_units=(16,), learning_rate=0.01, batch_size=20, epochs=20, shares=(2, 1, 1))
    found = classify(normal(1, 400), normal(2, 400, 30.0), repetitions=1, config=config)
    assert found.auc.value == 1
    assert found.jsd.value == pytest.approx(1, abs=0.01)
    assert found.best_epochs[0] < config.epochs


def test_seeds_repeat():
    pair = normal(1, 100), normal(2, 130, 0.5)
    config = ClassifierConfig(hidden_units=(4,), batch_size=20, epochs=2)
    found, again = (classify(*pair, repetitions=2, config=config) for _ in range(2))
    assert found == again
    assert found.aucs[0] != found.aucs[1]
    assert classify(*pair, repetitions=1, config=config, seed=2).aucs[0] not in found.aucs
    assert found.num_showers == 100


def test_finished_trainings_are_kept(tmp_path, monkeypatch):
    """An interrupted call goes on with the next training; other data, configurations and seeds train anew."""
    pair = normal(1, 100), normal(2, 130, 0.5)
    path, train, done = tmp_path / "out" / "trainings.json", classifier._train, []

    def interrupted_after(number):
        def run(*arguments):
            if len(done) == number:
                raise KeyboardInterrupt
            done.append(arguments[3])
            return train(*arguments)

        monkeypatch.setattr(classifier, "_train", run)
        done.clear()

    config = ClassifierConfig(hidden_units=(4,), batch_size=20, epochs=2)
    uninterrupted = classify(*pair, repetitions=3, config=config)
    interrupted_after(2)
    with pytest.raises(KeyboardInterrupt):
        classify(*pair, repetitions=3, config=config, trainings=path)
    interrupted_after(1)
    assert classify(*pair, repetitions=3, config=config, trainings=path) == uninterrupted
    interrupted_after(0)
    assert classify(*pair, repetitions=2, config=config, trainings=path).aucs == uninterrupted.aucs[:2]
    for other in (
        {"seed": 2},
        {"config": ClassifierConfig(hidden_units=(5,), batch_size=20, epochs=2)},
        {"reference": pair[0] + 1e-3},
    ):
        settings = {"reference": pair[0], "generated": pair[1], "config": config, "trainings": path} | other
        with pytest.raises(KeyboardInterrupt):
            classify(settings.pop("reference"), settings.pop("generated"), repetitions=1, **settings)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": [[1, 2]]}', '{"a": [["x", 1, 2]]}', '{"a": [[NaN, 1, 2]]}', '{"a": 1}']
)
def test_damaged_files_of_trainings_are_named(tmp_path, text):
    path = tmp_path / "trainings.json"
    path.write_text(text)
    with pytest.raises(CalogenError, match=r"trainings.json must hold .* delete it"):
        classify(normal(1, 100), normal(2, 100), repetitions=1, config=SMALL, trainings=path)
    assert path.read_text() == text


def test_the_challenges_parts_of_each_particle(monkeypatch):
    for particle, number in (("photon", 121_000), ("pion", 120_800)):
        sizes = classifier._split(
            *(np.zeros((number, 1), np.float32),) * 2, classifier.BY_PARTICLE[particle].shares, np.random.default_rng(1)
        )
        assert [len(part) // 2 for part in sizes] == [80_000, 20_000, number - 100_000]


def test_json_has_no_nan():
    score = classifier.ClassifierScore(
        classifier.Value(0.5, math.nan), classifier.Value(0.1, 0.2), (0.5,), (0.1,), (3,), 20
    )
    assert json.loads(json.dumps(score.to_json(), allow_nan=False)) == {
        "auc": {"value": 0.5, "error": None},
        "jsd": {"value": 0.1, "error": 0.2},
        "aucs": [0.5],
        "jsds": [0.1],
        "best_epochs": [3],
        "num_showers": 20,
    }


@pytest.mark.parametrize(
    ("accuracies", "best", "epochs"), [((0.6, 0.9, 0.9, 0.7), 2, 4), ((0.6, 1.0), 2, 2), ((0, 0, 0, 0), 1, 4)]
)
def test_the_best_epoch_is_kept(monkeypatch, accuracies, best, epochs):
    given_accuracies, weights = iter(accuracies), []

    def accuracy(network, part):
        weights.append([variable.copy() for variable in network.get_weights()])
        return next(given_accuracies)

    monkeypatch.setattr(classifier, "_accuracy", accuracy)
    rng = np.random.default_rng(0)
    config = ClassifierConfig(hidden_units=(4,), batch_size=16, epochs=4)
    training, test, _ = classifier._split(normal(1, 60).astype("f4"), normal(2, 60).astype("f4"), (2, 1, 1), rng)
    network = classifier.build_classifier(3, config, rng)
    with classifier.progress("test", 4) as shown:
        assert classifier._train(network, training, test, config, rng, shown) == best
    assert len(weights) == epochs
    for kept, expected, last in zip(network.get_weights(), weights[best - 1], weights[-1], strict=True):
        np.testing.assert_array_equal(kept, expected)
        assert (best == epochs) == np.array_equal(kept, last)


def test_parts_are_disjoint_and_complete():
    first, second = np.arange(121.0)[:, None], -1 - np.arange(150.0)[:, None]
    parts = classifier._split(first, second, classifier.CHALLENGE.shares, np.random.default_rng(1))
    assert [len(part) for part in parts] == [160, 40, 42]
    values = np.concatenate([part.inputs.numpy()[:, 0] for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    assert len(set(values)) == 242
    np.testing.assert_array_equal(labels == 1, values >= 0)
    assert all(part.labels.mean() == 0.5 for part in parts)
    np.testing.assert_array_equal(np.sort(values[labels == 1]), np.arange(121))


def test_network_is_the_challenges():
    network = classifier.build_classifier(30, classifier.CHALLENGE, np.random.default_rng(1))
    assert network.count_params() == 31 * 2048 + 2 * 2049 * 2048 + 2049
    for inputs, (weights, biases) in zip(
        (30, 2048, 2048, 2048), zip(*[iter(network.get_weights())] * 2, strict=True), strict=True
    ):
        assert np.abs(weights).max() == pytest.approx(inputs**-0.5, rel=0.01)
        assert 0.95 * inputs**-0.5 < np.abs(biases).max() <= inputs**-0.5 or len(biases) == 1
    x = np.random.default_rng(2).normal(size=(5, 30)).astype("f4")
    expected = x
    for number, (weights, biases) in enumerate(zip(*[iter(network.get_weights())] * 2, strict=True)):
        expected = expected @ weights + biases
        expected = np.where(expected > 0, expected, 0.01 * expected) if number < 3 else expected
    np.testing.assert_allclose(network(x).numpy(), expected, rtol=1e-4, atol=1e-5)


SCORED = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=25)


@given(SCORED, st.lists(st.floats(-1, 10), max_size=5))
@settings(max_examples=60, deadline=None)
def test_scores_agree_with_the_slow_twins(pairs, others):
    scores, labels = np.array([pair[0] for pair in pairs], float), np.array([pair[1] for pair in pairs], int)
    np.testing.assert_allclose(
        calibrate(scores, labels, np.array([*others, *scores])),
        slow.calibrate(scores.tolist(), labels.tolist(), [*others, *scores]),
        rtol=1e-12,
    )
    if 0 < labels.sum() < len(labels):
        assert area_under_curve(labels, scores) == pytest.approx(slow.area_under_curve(labels, scores), abs=1e-12)


def test_calibration_by_hand():
    """Ties at 0.3 share 1/2; 0.6 (label 1) and 0.7 (0) are pooled; between scores it is linear."""
    scores, labels = np.array([0.7, 0.3, 0.6, 0.1, 0.3, 0.9]), np.array([0, 0, 1, 0, 1, 1])
    found = calibrate(scores, labels, np.array([0.0, 0.1, 0.2, 0.3, 0.5, 0.65, 0.8, 2.0]))
    np.testing.assert_allclose(found, [1e-6, 1e-6, 0.25, 0.5, 0.5, 0.5, 0.75, 1], atol=1.1e-6)
    assert found[-1] == 1 - 1e-6


def test_refuses_what_cannot_be_classified():
    good = normal(1, 30)
    bad = good.copy()
    bad[3, 1] = np.nan
    for wrong, message in (
        (bad, "generated must be finite. Received: NaN or infinity in column 1"),
        (np.where(np.isnan(bad), 1e300, bad), "NaN or infinity in column 1"),
        (good[:19], "generated must have 20 showers or more. Received: 19"),
        (good[:, :2], r"shapes \[n, f\] and \[m, f\]. Received: \[30, 3\] and \[30, 2\]"),
        (good[:, 0], r"Received: \[30, 3\] and \[30\]"),
    ):
        with pytest.raises(DataFormatError, match=message):
            classify(good, wrong, config=SMALL)
    with pytest.raises(ConfigError, match="repetitions must be at least 1. Received: 0"):
        classify(good, good, repetitions=0)
    with pytest.raises(ConfigError, match="every part. Received: .* for 30 showers"):
        classify(good, good, config=ClassifierConfig(shares=(98, 1, 1)))
    for fields, message in (
        ({"hidden_units": ()}, "hidden_units must be above 0"),
        ({"shares": (1, 0, 1)}, "shares must be above 0"),
        ({"epochs": 0}, "epochs must be above 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            ClassifierConfig(**fields)


def test_refuses_a_loss_that_is_not_finite():
    config = ClassifierConfig(hidden_units=(4, 4), learning_rate=1e30, batch_size=4, epochs=3)
    with pytest.raises(CalogenError, match="loss must stay finite. Received: (nan|inf) in epoch"):
        classify(normal(1, 40), normal(2, 40), config=config)


def test_a_full_disk_is_told_where_samples_are_stored_for_workers(tmp_path: Path) -> None:
    path = stored_sample(tmp_path / "classifiers.json", "key", 0)
    with largest_file(10_000), pytest.raises(CalogenError, match=r"cannot write .*key-0\.npy: File too large"):
        store_sample(path, np.ones((1000, 30), np.float32))
    assert not path.exists()
    store_sample(path, np.ones((1000, 30), np.float32))
    np.testing.assert_array_equal(np.load(path), np.ones((1000, 30)))
