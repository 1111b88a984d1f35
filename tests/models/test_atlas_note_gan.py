import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_showers
from scipy import special

from calogen.errors import ConfigError
from calogen.features.batches import resident
from calogen.features.moments import moments
from calogen.generation.generate import generate_like
from calogen.generation.load import load_run
from calogen.models import atlas_note_gan
from calogen.models.atlas_note_gan import (
    CONFIGS,
    AtlasNoteGanConfig,
    build,
    build_generator,
    build_trainer,
    build_transform,
)
from calogen.showers.cells import ATLAS_BARREL_STORED, CellGrid
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_GAN_WINDOW
from calogen.training.critic import dense_chain, taped_gradient
from calogen.training.fit import fit
from calogen.training.losses import gradient_penalty

GRID = CellGrid(
    "tiny",
    tuple(
        dataclasses.replace(layer, num_eta=num_eta, num_phi=num_phi)
        for layer, (num_eta, num_phi) in zip(ATLAS_BARREL_STORED.layers, ((2, 1), (3, 2), (2, 2), (1, 2)), strict=True)
    ),
)
SMALL = {"latent_dim": 3, "hidden_units": 8, "batch_size": 8, "iterations": 3, "critic_steps": 2, "learning_rate": 1e-3}
_Values = Callable[[np.ndarray], np.ndarray]
# each output of the generator from those of its dense layers; two activations have a dense layer between them
ACTIVATIONS: dict[str, tuple[_Values, ...]] = {
    "sigmoid": (special.expit,),
    "relu": (lambda x: np.where(x > 0, x, 0),),
    "gauss": (lambda x: np.exp(-(x**2)),),
    "sigmoid-relu": (special.expit, lambda x: np.where(x > 0, x, 0)),
    "clipped-relu": (lambda x: np.where(x > 0, np.where(x > 1, 1, x), 0),),
    "softmax": (lambda x: special.softmax(x, axis=-1),),
    "softmax-relu": (lambda x: special.softmax(x, axis=-1), lambda x: np.where(x > 0, x, 0)),
    "linear": (lambda x: x,),
}


@pytest.fixture(scope="module")
def showers() -> Showers:
    made, rng = make_showers(GRID, 100), np.random.default_rng(4)
    impact = {"impact_eta": rng.uniform(0.2, 0.25, 100), "impact_phi": rng.uniform(-np.pi, np.pi, 100)}
    return dataclasses.replace(made, conditions=impact)


def parameters(*widths: int) -> int:
    """Of dense layers from one width to the next."""
    return sum(before * after + after for before, after in pairwise(widths))


def small(config: AtlasNoteGanConfig) -> AtlasNoteGanConfig:
    """The configuration with few small layers and iterations."""
    return dataclasses.replace(config, **SMALL)  # type: ignore[arg-type]


def test_networks_have_the_layers_of_fig_4_and_table_2() -> None:
    """300 random numbers, or 266 cells, beside 2 energies and 4 + 2 alignments."""
    networks = build(*CONFIGS["paper"])
    assert networks["generator"].count_params() == parameters(300 + 8, 128, 128, 128, 266) == 106_890
    assert networks["critic"].count_params() == parameters(266 + 8, 128, 128, 128, 1) == 68_353
    twice = build(*CONFIGS["sigmoid-relu"])["generator"].count_params()
    assert twice == parameters(300 + 8, 128, 128, 128, 266, 266)
    slopes = [layer.negative_slope for layer in networks["critic"].layers if isinstance(layer, keras.layers.LeakyReLU)]
    assert slopes == [0.3, 0.3, 0.3]
    assert networks["critic"].layers[-1].activation is keras.activations.linear
    assert dense_chain(networks["critic"]) is not None, "the penalty's gradient needs no back-propagation"


def test_the_condition_has_energy_logarithm_and_alignments(showers: Showers) -> None:
    chain = build_transform(AtlasNoteGanConfig(), GRID).fit(showers)
    columns, energies = chain.condition(showers.given), showers.incident_energies
    np.testing.assert_allclose(columns[:, 0], energies / 2.0**18, rtol=1e-6)
    np.testing.assert_allclose(columns[:, 1], (np.log2(energies) - 10) / 8, atol=1e-6)
    np.testing.assert_array_equal(columns[:, 2:6].sum(axis=1), 1)
    np.testing.assert_array_equal(columns[:, 6:].sum(axis=1), 1)
    assert columns.shape == (100, 8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_output_has_the_activation(name: str, tmp_path: Path) -> None:
    config = small(dataclasses.replace(AtlasNoteGanConfig(), output_activation=name))
    generator, rng = build_generator(config, GRID), np.random.default_rng(3)
    dense = [layer for layer in generator.layers if isinstance(layer, keras.layers.Dense)]
    for layer in dense:  # large, so that activations are used over their whole range
        layer.set_weights([2 * weights + rng.normal(size=weights.shape) / 2 for weights in layer.get_weights()])
    inputs = {"latent": rng.normal(size=(50, 3)), "condition": rng.uniform(size=(50, 8))}
    values = np.concatenate([inputs["latent"], inputs["condition"]], axis=1)
    hidden: list[_Values] = [lambda x: np.where(x > 0, x, 0.3 * x)] * 3
    for layer, activation in zip(dense, (*hidden, *ACTIVATIONS[name]), strict=True):
        kernel, bias = (weights.astype(np.float64) for weights in layer.get_weights())
        values = activation(values @ kernel + bias)
    given = {key: item.astype(np.float32) for key, item in inputs.items()}
    np.testing.assert_allclose(generator(given).numpy(), values, rtol=1e-3, atol=1e-4)
    assert len(np.unique(values)) > 5
    generator.save(tmp_path / "generator.keras")
    loaded = keras.saving.load_model(tmp_path / "generator.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(given), generator(given))


def test_selu_is_the_hidden_activation_of_its_configuration() -> None:
    networks = build(small(CONFIGS["selu"][0]), GRID)
    for network in networks.values():
        names = [layer.activation.__name__ for layer in network.layers if isinstance(layer, keras.layers.Activation)]
        assert names[:3] == ["selu"] * 3


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_one_sided_penalty_is_that_of_large_gradients_alone(scale: float, showers: Showers) -> None:
    penalties = {}
    for name in ("paper", "one-sided"):
        config = small(CONFIGS[name][0])
        networks = build(config, GRID)
        last = networks["critic"].layers[-1]
        last.set_weights([scale * weights for weights in last.get_weights()])
        chain = build_transform(config, GRID).fit(showers)
        features, condition = (
            keras.ops.convert_to_tensor(values[:8])
            for values in (chain.forward(showers), chain.condition(showers.given))
        )
        trainer = build_trainer(config, GRID, networks, moments(features.numpy()))
        gradient = taped_gradient(networks["critic"], features, condition=condition)
        norms = np.sqrt((gradient.numpy().astype(np.float64) ** 2).sum(axis=1))
        assert (norms > 1).all() if scale > 1 else (norms < 1).all()
        batch = {"shower": features, "condition": condition}
        penalties[name] = float(trainer.critic_step(batch, keras.ops.convert_to_tensor([1, 2]))[1])
    assert penalties["one-sided"] == (pytest.approx(penalties["paper"]) if scale > 1 else 0.0)
    assert penalties["paper"] > 0.5


def test_a_one_sided_penalty_by_hand() -> None:
    gradients = keras.ops.convert_to_tensor(np.array([[0.6, 0.8, 0.0], [0.3, 0.0, 0.0], [0.0, 3.0, 4.0]]))
    assert float(gradient_penalty(gradients, one_sided=True)) == pytest.approx(16 / 3)
    assert float(gradient_penalty(gradients)) == pytest.approx((0.49 + 16) / 3)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_trains(name: str, showers: Showers) -> None:
    config = small(CONFIGS[name][0])
    data, networks = resident(showers, build_transform(config, GRID).fit(showers)), build(config, GRID)
    trainer = build_trainer(config, GRID, networks, moments(data.shower.numpy()))
    variables = [variable for network in networks.values() for variable in network.trainable_variables]
    before = [variable.numpy() for variable in variables]
    for _ in range(2):
        terms = trainer.step(
            lambda number: {
                "shower": data.shower[8 * number : 8 * number + 8],
                "condition": data.condition[8 * number : 8 * number + 8],
            }
        )
        assert all(np.isfinite(value) for value in terms.values())
    for variable, old in zip(variables[:-1], before, strict=False):  # the critic's last bias shifts all scores alike
        assert (variable.numpy() != old).any(), variable.path


def test_a_run_of_logarithms_can_be_read_and_generates(showers: Showers, tmp_path: Path) -> None:
    run = fit(atlas_note_gan, small(CONFIGS["logarithm"][0]), GRID, showers, tmp_path)
    read = load_run(tmp_path)
    assert read.transform == run.transform
    generated = generate_like(read, showers, seed=1).energies
    np.testing.assert_array_equal(generated, generate_like(run, showers, seed=1).energies)
    assert np.isfinite(generated).all()
    assert (generated >= 0).all()


@pytest.mark.parametrize(("name", "smallest", "largest"), [("logarithm", -10, 0), ("logarithm-1e10", 0, 10)])
def test_logarithms_of_cells_come_back(name: str, smallest: float, largest: float, showers: Showers) -> None:
    chain = build_transform(CONFIGS[name][0], GRID).fit(showers)
    features = chain.forward(showers)
    assert smallest <= features.min() < features.max() <= largest
    assert (features[showers.energies == 0] == smallest).all()
    again = chain.inverse(features, showers.incident_energies, GRID)
    floor = 1e-10 * showers.incident_energies[:, None]
    np.testing.assert_allclose(again.energies, np.where(showers.energies > floor, showers.energies, 0), rtol=1e-4)
    assert (again.energies[showers.energies == 0] == 0).all()


def test_the_last_iteration_of_all_showers_is_kept() -> None:
    schedule = atlas_note_gan.build_schedule(AtlasNoteGanConfig(), np.ones(5))
    assert (schedule.length, schedule.batch_size, schedule.keep) == (700_000, 64, "last")
    assert schedule.curriculum.counts == (5,)
    epoch = 4_500 / (64 * 5)
    assert schedule.length == pytest.approx(50_000 * epoch, rel=0.01)
    assert {geometry for _, geometry in CONFIGS.values()} == {ATLAS_GAN_WINDOW}


@pytest.mark.parametrize(
    "values", [{"output_activation": "x"}, {"preprocessing": "x"}, {"activity_weight": -1.0}, {"hidden_units": 0}]
)
def test_nonsense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        AtlasNoteGanConfig(**values)  # type: ignore[arg-type]
