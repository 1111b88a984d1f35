import signal
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VOLUME, make_showers
from stopping import stopped_by

from calogen.errors import ConfigError
from calogen.features.moments import Moments
from calogen.generation.generate import generate
from calogen.generation.load import load_run
from calogen.models import bib_ae
from calogen.models.bib_ae import (
    CONFIGS,
    BibAeConfig,
    build,
    build_critic,
    build_decoder,
    build_encoder,
    build_schedule,
    build_trainer,
    build_transform,
)
from calogen.showers.conditions import Conditions
from calogen.showers.grids import AHCAL_GRID, ILD_ANGULAR_GRID, ILD_GRID
from calogen.training.fit import fit
from calogen.training.run import TrainedRun

SMALL = replace(
    CONFIGS["laptop"][0],
    code_dim=3,
    noise_dim=2,
    encoder_filters=(2, 3),
    encoder_units=(8,),
    decoder_units=(8,),
    grown_filters=(2, 2, 3, 2),
    decoder_filters=(2,),
    critic_filters=(2, 3),
    stream_units=4,
    critic_units=(5,),
    post_filters=4,
    critic_steps=2,
    epochs=2,
    post_epochs=(1, 1),
)

STAGES = replace(SMALL, epochs=1, latent_sampler="posterior")
SHOWERS = make_showers(TINY_VOLUME, 32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A training that nothing stopped."""
    return fit(bib_ae, STAGES, TINY_VOLUME, SHOWERS, tmp_path_factory.mktemp("whole"))


def counts(name: str) -> dict[str, int]:
    return {part: network.count_params() for part, network in build(*CONFIGS[name]).items()}


def test_networks_have_the_weights_of_the_paper() -> None:
    """A.3: 71M, 35M of them in the encoder."""
    assert counts("paper") == {
        "encoder": 35_224_598,
        "decoder": 36_206_832,
        "critic": 4_631_169,
        "latent_critic": 10_301,
        "post_processor": 299_136,
    }


def test_networks_have_the_weights_of_the_code() -> None:
    config, geometry = CONFIGS["code"]
    assert build_decoder(config, geometry).count_params() == 36_218_496
    assert build_critic(config, geometry).count_params() == 4_762_753


def test_the_narrow_networks_have_four_millions() -> None:
    narrow = counts("laptop")
    assert (narrow["encoder"], narrow["decoder"]) == (1_678_422, 2_357_872)
    assert narrow["post_processor"] == 217_432


def test_volumes_shrink_to_5_cells_and_grow_from_10_to_60() -> None:
    config = CONFIGS["laptop"][0]
    encoder, decoder = build_encoder(config, ILD_GRID), build_decoder(config, ILD_GRID)
    sizes = [
        [layer.gamma.shape[0] for layer in network.layers if isinstance(layer, keras.layers.LayerNormalization)]
        for network in (encoder, decoder)
    ]
    assert sizes == [[16, 9, 5, 5], [30, 60, 30, 30, 30, 30]]


@pytest.mark.parametrize(
    ("name", "grid", "start"), [("angular", ILD_ANGULAR_GRID, (10, 20, 10)), ("pions", AHCAL_GRID, (16, 9, 9))]
)
def test_other_grids_have_volumes_of_their_own(name: str, grid: object, start: tuple[int, ...]) -> None:
    assert CONFIGS[name][1] is grid
    decoder = build_decoder(replace(SMALL, angles=CONFIGS[name][0].angles), CONFIGS[name][1])
    (first, *_) = [layer for layer in decoder.layers if isinstance(layer, keras.layers.Reshape)]
    assert first.target_shape == (*start, 2)
    assert decoder.output_shape == (None, CONFIGS[name][1].size)


def test_the_angle_is_a_condition_in_degrees() -> None:
    chain = build_transform(CONFIGS["angular"][0], ILD_ANGULAR_GRID)
    conditions = Conditions(np.array([2e4]), {"angle": np.array([np.pi / 3])})
    np.testing.assert_allclose(chain.condition(conditions), [[20.0, 60.0]], rtol=1e-6)
    encoder = build_encoder(replace(SMALL, angles=True), TINY_VOLUME)
    assert {tensor.name: tensor.shape[1] for tensor in encoder.inputs}["condition"] == 2


def test_the_critic_sees_shower_logarithm_difference_and_energy() -> None:
    """Each of the four streams alone, by the kernels of the layer that joins them."""
    critic = build_critic(SMALL, TINY_VOLUME)
    joined = next(layer for layer in critic.layers if isinstance(layer, keras.layers.Concatenate))
    assert joined.output.shape[-1] == 4 * SMALL.stream_units
    streams = keras.Model(critic.inputs, joined.output)
    rng = np.random.default_rng(1)
    shower, original = rng.exponential(1.0, (2, 3, TINY_VOLUME.size)).astype(np.float32)
    condition = np.full((3, 1), 30.0, np.float32)

    def seen(**changed: np.ndarray) -> np.ndarray:
        inputs = {"shower": shower, "original": original, "condition": condition, **changed}
        values = streams([inputs[tensor.name] for tensor in critic.inputs]).numpy()
        return values.reshape(3, 4, SMALL.stream_units)

    def changes(**changed: np.ndarray) -> list[bool]:
        return [not np.allclose(seen(**changed)[:, place], seen()[:, place], atol=1e-4) for place in range(4)]

    assert changes(original=2 * original) == [False, False, True, False]
    assert changes(condition=2 * condition) == [False, False, False, True]
    other = shower[::-1]
    assert changes(shower=other, original=original + (other - shower)) == [True, True, False, False]


def test_rates_fall_once_an_epoch() -> None:
    config = replace(SMALL, batch_size=8)
    moments = Moments(np.zeros(TINY_VOLUME.size), np.ones(TINY_VOLUME.size), 80)
    trainers = build_trainer(config, TINY_VOLUME, build(config, TINY_VOLUME), moments)
    optimizers = [*trainers[0].optimizers, trainers[1].optimizer]
    assert trainers[2].optimizer is trainers[1].optimizer
    trainers[0].train_step({"shower": tf.ones((8, TINY_VOLUME.size)), "condition": tf.ones((8, 1))})
    updates = [int(optimizer.iterations) for optimizer in trainers[0].optimizers]
    assert updates == [1, SMALL.critic_steps, SMALL.critic_steps]
    for optimizer, number in zip(optimizers, (*updates, 1), strict=True):
        optimizer.iterations.assign(25 * number)  # two and a half epochs of ten batches
    rates = [float(optimizer.learning_rate) for optimizer in optimizers]
    np.testing.assert_allclose(rates, np.array([5e-4, 5e-4, 2e-3, 5e-4]) * 0.95**2, rtol=1e-5)


def test_three_stages_make_a_run_that_generates_with_both_networks(tmp_path: Path) -> None:
    assert [schedule.epochs for schedule in build_schedule(SMALL, SHOWERS.incident_energies)] == [2, 1, 1]
    run = fit(bib_ae, SMALL, TINY_VOLUME, SHOWERS, tmp_path)
    assert [row["stage"] for row in run.history] == [0, 0, 1, 2]
    assert run.generates == ("decoder", "post_processor")
    energies = np.array([2e4, 5e4])
    made = generate(run, energies, 1)
    np.testing.assert_array_equal(generate(load_run(tmp_path), energies, 1).energies, made.energies)
    alone = replace(run, generates=("decoder",))
    assert (generate(alone, energies, 1).energies != made.energies).any()


@pytest.mark.parametrize(("number", "calls"), [(signal.SIGINT, 2), (signal.SIGTERM, 7), (signal.SIGUSR1, 9)])
def test_a_stopped_training_goes_on_in_every_stage(
    number: signal.Signals, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: TrainedRun
) -> None:
    """It stops in the middle of an epoch of each of the three stages; the codes of the sampler are the same, too."""
    with stopped_by(monkeypatch, number, calls):
        fit(bib_ae, STAGES, TINY_VOLUME, SHOWERS, tmp_path)
    again = fit(bib_ae, STAGES, TINY_VOLUME, SHOWERS, tmp_path)
    for name, network in again.networks.items():
        for ours, theirs in zip(network.get_weights(), whole.networks[name].get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
    np.testing.assert_array_equal(again.latent.arrays["codes"], whole.latent.arrays["codes"])


def test_inclined_photons_train_and_generate_with_their_angle(tmp_path: Path) -> None:
    angles = {"angle": np.linspace(0.7, 1.5, len(SHOWERS))}
    run = fit(bib_ae, replace(STAGES, angles=True), TINY_VOLUME, replace(SHOWERS, conditions=angles), tmp_path)
    assert run.transform.needs == ("angle",)
    energies = np.array([2e4, 2e4])
    made = [
        generate(run, Conditions(energies, {"angle": np.array([0.8, angle])}), 1).energies[1] for angle in (0.8, 1.4)
    ]
    assert (made[0] != made[1]).any()


def test_critics_can_be_trained_in_half_precision(tmp_path: Path) -> None:
    run = fit(bib_ae, replace(SMALL, epochs=1, post_processing=False), TINY_VOLUME, SHOWERS, tmp_path, bfloat16=True)
    assert {variable.dtype for network in run.networks.values() for variable in network.variables} == {"float32"}
    assert np.isfinite([value for row in run.history for value in row.values()]).all()


def test_without_post_processor_the_decoder_generates() -> None:
    config = replace(SMALL, post_processing=False)
    assert bib_ae.generates(config) == ("decoder",)
    assert len(build_schedule(config, np.ones(3))) == 1
    assert "post_processor" not in build(config, TINY_VOLUME)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent_sampler": "flow"}, "latent_sampler must be one of"),
        ({"code_dim": 0}, "code_dim must be above 0"),
        ({"kl_weight": -1.0}, "numbers must be 0 or more"),
        ({"kl_weight": float("nan")}, "numbers must be 0 or more"),
        ({"betas": (1.5, 2.0)}, "betas must be below 1"),
        ({"encoder_units": ()}, "layers need a filter or unit"),
        ({"grown_filters": (1, 2)}, "grown_filters must be 4 values"),
        ({"critic_weights": (1.0,)}, "critic_weights must be 2 values"),
        ({"rate_factor": 1.5}, "a rate must be above 0, its factor"),
        ({"kernel": (1, 2)}, "n, m, N and alpha"),
    ],
)
def test_nonsense_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BibAeConfig(**values)  # type: ignore[arg-type]
