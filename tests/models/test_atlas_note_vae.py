import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_grid, make_showers

from calogen.errors import ConfigError
from calogen.features.batches import resident
from calogen.generation.generate import generate
from calogen.generation.load import load_run
from calogen.models import atlas_note_vae
from calogen.models.atlas_note_vae import CONFIGS, AtlasNoteVaeConfig, NoteVae, build, build_transform
from calogen.training.fit import fit

GRID = make_grid((2, 1), (3, 2), (2, 2), (1, 2))
SHOWERS = make_showers(GRID, 200)
SMALL = AtlasNoteVaeConfig(
    latent_dim=3, encoder_units=(8, 6), decoder_units=(6, 8), batch_size=20, epochs=2, learning_rate=1e-3
)
TRIED: tuple[dict[str, Any], ...] = (
    *({"hidden_activation": name} for name in ("relu", "selu", "leaky_relu", "prelu")),
    *({"optimizer": name} for name in ("adam", "adagrad", "adadelta", "nadam")),
    {"bias_initializer": "zeros"},
)


def parameters(*widths: int) -> int:
    """Of dense layers from one width to the next."""
    return sum(before * after + after for before, after in pairwise(widths))


def small(config: AtlasNoteVaeConfig) -> AtlasNoteVaeConfig:
    """The configuration with few small layers and epochs."""
    kept = ("latent_dim", "encoder_units", "decoder_units", "batch_size", "epochs")
    return dataclasses.replace(config, **{name: getattr(SMALL, name) for name in kept})


def loss_by_hand(config: AtlasNoteVaeConfig, arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Equations (1), (3) to (5), shower by shower and cell by cell."""
    sums: dict[str, float] = dict.fromkeys(NoteVae.term_names, 0.0)
    edges = np.cumsum([0, *(layer.size for layer in GRID.layers)])
    for shower, decoded, mean, log_variance in zip(*(arrays[name].astype(np.float64) for name in arrays), strict=True):
        parts = dict.fromkeys(NoteVae.term_names[1:], 0.0)
        for ours, theirs in zip(shower, decoded, strict=True):
            parts["reconstruction"] += (ours - theirs) ** 2 / (1 if config.reconstruction == "sum" else len(shower))
        for mu, sigma in zip(mean, np.exp(log_variance / 2), strict=True):
            power = 2 if config.divergence == "variance" else 1
            parts["kl"] += mu**2 + sigma**2 - np.log(sigma**power) - 1
        parts["total"] = abs(sum(shower) - sum(decoded))
        for weight, (first, last) in zip(config.layer_weights, pairwise(edges), strict=True):
            share, decoded_share = (sum(cells[first:last]) / sum(cells) for cells in (shower, decoded))
            parts["layers"] += weight * abs(share - decoded_share)
        weights = (config.reconstruction_weight, config.kl_weight, config.total_weight, 1.0)
        parts["loss"] = sum(weight * value for weight, value in zip(weights, parts.values(), strict=True))
        sums = {name: sums[name] + parts[name] for name in sums}
    return {name: value / len(arrays["shower"]) for name, value in sums.items()}


def test_networks_have_the_layers_of_table_1() -> None:
    networks = build(*CONFIGS["paper"])
    encoder = parameters(266 + 1, 200, 150, 100, 50) + 2 * parameters(50, 10)
    assert networks["encoder"].count_params() == encoder == 104_920
    decoder = parameters(10 + 1, 50, 100, 150, 200, 266)
    assert networks["decoder"].count_params() == decoder == 104_516
    for network in networks.values():
        layers = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
        assert all((layer.bias.numpy() == 1).all() for layer in layers)
        assert [layer.activation.__name__ for layer in layers[:4]] == ["elu"] * 4
    assert networks["decoder"].get_layer("shower").activation.__name__ == "sigmoid"


def test_biases_of_the_other_initialiser_follow_the_seed() -> None:
    first, same = (build(*CONFIGS["glorot"])["decoder"].get_layer("shower").bias.numpy() for _ in range(2))
    np.testing.assert_array_equal(first, same)
    other = dataclasses.replace(CONFIGS["glorot"][0], seed=1)
    assert (build(other, CONFIGS["glorot"][1])["decoder"].get_layer("shower").bias.numpy() != first).all()
    # two over the sum of "incoming and outgoing" cells, within 5 standard errors
    assert first.std() == pytest.approx((2 / (2 * 266)) ** 0.5, abs=5 * (1 / 266) ** 0.5 / (2 * 266) ** 0.5)


@pytest.mark.parametrize("choice", [{}, {"divergence": "printed"}, {"reconstruction": "mean"}])
def test_the_loss_is_that_of_the_equations(choice: dict[str, Any]) -> None:
    config = dataclasses.replace(SMALL, reconstruction_weight=2.0, kl_weight=0.3, total_weight=0.7, **choice)
    chain = build_transform(config, GRID).fit(SHOWERS)
    batch, trainer = resident(SHOWERS[:20], chain), NoteVae(config, GRID, build(config, GRID))
    given = {"shower": batch.shower, "condition": batch.condition}
    seed = tf.constant([3, 5])
    mean, log_variance, decoded = trainer.reconstruct(given, seed)
    arrays = {"shower": batch.shower, "decoded": decoded, "mean": mean, "log_variance": log_variance}
    expected = loss_by_hand(config, {name: np.asarray(values) for name, values in arrays.items()})
    terms = {name: float(value) for name, value in trainer.terms(given, seed).items()}
    assert tuple(terms) == trainer.term_names
    assert terms == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("divergence", "best", "smallest"), [("variance", 1.0, 0.0), ("printed", 0.5**0.5, -0.153426)])
def test_the_printed_divergence_is_smallest_at_another_spread(divergence: str, best: float, smallest: float) -> None:
    """d/ds (s^2 - log s^2 - 1) is 0 at 1; d/ds (s^2 - log s - 1) is 0 at 1 / sqrt(2)."""
    networks = build(dataclasses.replace(SMALL, divergence=divergence, latent_dim=1), GRID)
    for name, bias in (("mean", 0.0), ("log_variance", 2 * np.log(best))):
        layer = networks["encoder"].get_layer(name)
        layer.set_weights([np.zeros(layer.kernel.shape), np.full(1, bias)])
    trainer = NoteVae(dataclasses.replace(SMALL, divergence=divergence), GRID, networks)
    batch = {"shower": tf.fill((1, GRID.size), 0.1), "condition": tf.zeros((1, 1))}
    values = []
    for step in (-0.05, 0.0, 0.05):
        networks["encoder"].get_layer("log_variance").bias.assign([2 * np.log(best + step)])
        values.append(float(trainer.terms(batch, tf.constant([1, 2]))["kl"]))
    assert values[1] == pytest.approx(smallest, abs=1e-6)
    assert values[1] < min(values[0], values[2])


def test_empty_showers_have_no_shares() -> None:
    trainer = NoteVae(SMALL, GRID, build(SMALL, GRID))
    batch = {"shower": tf.zeros((2, GRID.size)), "condition": tf.zeros((2, 1))}
    assert all(np.isfinite(value) for value in trainer.terms(batch, tf.constant([1, 2])).values())


def test_epsilon_is_that_of_keras_2() -> None:
    """A first step of RMSprop is rate x g / sqrt(0.1 g^2 + epsilon): rate x sqrt(10), however small g is."""
    gradient = 1e-6
    for epsilon, expected in ((1e-16, 10**0.5), (1e-7, gradient / 1e-7**0.5)):
        config = dataclasses.replace(SMALL, epsilon=epsilon)
        trainer = NoteVae(config, GRID, build(config, GRID))
        variables = [*trainer.encoder.trainable_variables, *trainer.decoder.trainable_variables]
        before = variables[0].numpy()
        trainer.optimizer.apply([tf.fill(item.shape, gradient) for item in variables], variables)
        np.testing.assert_allclose((before - variables[0].numpy()) / config.learning_rate, expected, rtol=2e-3)


@pytest.mark.parametrize(
    "config",
    [*(small(config) for config, _ in CONFIGS.values()), *(dataclasses.replace(SMALL, **values) for values in TRIED)],
    ids=[*CONFIGS, *("-".join(values.values()) for values in TRIED)],
)
def test_whatever_the_paper_compares_trains(config: AtlasNoteVaeConfig) -> None:
    data, networks = resident(SHOWERS, build_transform(config, GRID).fit(SHOWERS)), build(config, GRID)
    trainer = NoteVae(config, GRID, networks)
    before = [variable.numpy() for network in networks.values() for variable in network.trainable_variables]
    for number in range(3):
        rows = slice(20 * number, 20 * number + 20)
        terms = trainer.step(lambda _, rows=rows: {"shower": data.shower[rows], "condition": data.condition[rows]})
        assert all(np.isfinite(value) for value in terms.values())
    after = [variable.numpy() for network in networks.values() for variable in network.trainable_variables]
    assert all((ours != theirs).any() for ours, theirs in zip(after, before, strict=True))


def test_a_trained_run_can_be_read_and_generates(tmp_path: Path) -> None:
    run = fit(atlas_note_vae, SMALL, GRID, SHOWERS, tmp_path)
    assert len(run.history) == 2
    assert set(run.history[0]) >= set(NoteVae.term_names)
    energies = np.repeat([1024.0, 65536.0], 10)
    showers = generate(load_run(tmp_path), energies, seed=2)
    np.testing.assert_array_equal(showers.energies, generate(run, energies, seed=2).energies)
    assert (showers.energies > 0).all()


@pytest.mark.parametrize(
    "values",
    [
        {"divergence": "x"},
        {"kernel_initializer": "identity"},
        {"encoder_units": (8, 0)},
        {"kl_weight": -1.0},
        {"hidden_activation": "tanh"},
    ],
)
def test_nonsense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="must be|need"):
        AtlasNoteVaeConfig(**values)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="one for each of 4 layers"):
        build(dataclasses.replace(SMALL, layer_weights=(1.0,)), GRID)
