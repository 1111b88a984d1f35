"""Engines against Keras: a float32 shower differs by less than 1e-5 of its energy."""

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_grid, make_showers

from calogen.backend import tf
from calogen.features.transforms import Chain, Mask
from calogen.generation import engines
from calogen.generation.engines import BLOCK, Engine, KerasEngine, LiteRTEngine, TensorflowEngine
from calogen.generation.folding import FoldedGenerator, fold
from calogen.generation.generate import compile_one_shower, generate
from calogen.models import atlas_vae, caloshowergan, fastcalogan
from calogen.showers.cells import CellGrid
from calogen.showers.voxels import VoxelGeometry
from calogen.training.run import TrainedRun, assemble_run, chain_of

TINY: dict[type, Any] = {CellGrid: make_grid((2, 1), (3, 2), (2, 2)), VoxelGeometry: TINY_VOXELS}
CONFIGS = {
    f"{module.__name__.rpartition('.')[2]} {name}": (module, config, TINY[type(geometry)])
    for module in (atlas_vae, caloshowergan, fastcalogan)
    for name, (config, geometry) in module.CONFIGS.items()
    if name != "drawn"  # cannot be folded
}
_VAE = atlas_vae.CONFIGS["paper"][0]
_GAN = caloshowergan.CONFIGS["photon"][0]
CONFIGS |= {
    "renormalised": (atlas_vae, replace(_VAE, renormalise=True, response_scale=0.5), TINY[CellGrid]),
    "noise and mask": (caloshowergan, replace(_GAN, noise_energy=0.5, mask_energy=1.0), TINY_VOXELS),
}
KINDS = (LiteRTEngine, TensorflowEngine)


def make_run(module: ModuleType, config: Any, geometry: Any, spread: float = 0.3) -> TrainedRun:
    """A run as if trained: statistics and biases that are not those of the start, totals above 0."""
    transform = module.build_transform(config, geometry).fit(make_showers(geometry, 64))
    run = assemble_run(module, config, geometry, module.build(config, geometry), transform)
    rng = np.random.default_rng(1)
    for variable in run.generator.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 2.0, variable.shape))
        elif variable.name in ("bias", "beta", "moving_mean"):
            variable.assign(rng.normal(0.0, spread, variable.shape))
    dense = [layer for layer in run.generator.layers if isinstance(layer, keras.layers.Dense)][-1]
    dense.bias.assign(dense.bias.numpy() + 10.0 * (np.arange(dense.units) == dense.units - 1))
    return run


def inputs_of(run: TrainedRun, num_showers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latent points, conditions, incident energies."""
    low, high = run.momentum_range or (1024.0, 262_144.0)
    energies = np.geomspace(low, high, num_showers)
    return run.latent.draw(num_showers, 3), run.transform.condition(energies), energies


def showers_of(compute: Engine, run: TrainedRun, num_showers: int) -> np.ndarray:
    """What an engine computes, in an array that held something else."""
    energies = np.full((num_showers, run.geometry.size), np.nan, np.float32)
    compute(*inputs_of(run, num_showers), energies)
    return energies


def by_keras(run: TrainedRun, num_showers: int) -> np.ndarray:
    """What the network and the transform give."""
    latent, condition, energies = inputs_of(run, num_showers)
    features = run.generator({"latent": latent, "condition": condition}).numpy()
    return run.transform.energies(features, energies)


def check_equal(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Every voxel, within a share of its shower's energy."""
    totals = expected.sum(axis=1, keepdims=True)
    assert (totals > 0).mean() > 0.9
    assert np.isfinite(found).all()
    assert (np.abs(found - expected) <= tolerance * totals).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_generator_works_in_every_engine(name: str) -> None:
    run = make_run(*CONFIGS[name])
    folded, expected = fold(run.generator, run.transform), by_keras(run, 70)
    for kind in KINDS:
        check_equal(showers_of(kind(folded), run, 70), expected)
    check_equal(showers_of(KerasEngine(run.generator, run.transform), run, 70), expected)


@pytest.mark.parametrize("name", ["caloshowergan pion", "caloshowergan photon-kinetic", "renormalised"])
@pytest.mark.parametrize("num_showers", [1, 2, 10, BLOCK, BLOCK + 3, 2 * BLOCK + 1])
def test_any_number_of_showers(name: str, num_showers: int) -> None:
    run = make_run(*CONFIGS[name])
    folded, expected = fold(run.generator, run.transform), by_keras(run, num_showers)
    for kind in KINDS:
        compute = kind(folded)
        check_equal(showers_of(compute, run, num_showers), expected)
        check_equal(showers_of(compute, run, num_showers), expected)  # buffers that were used


def shift_logits(run: TrainedRun, columns: slice, shift: float) -> None:
    """Changes the biases of some of the heads' arguments."""
    dense = run.generator.layers[-2]
    bias = dense.bias.numpy()
    bias[columns] += shift
    dense.bias.assign(bias)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [-400.0, -80.0, 80.0, 400.0])
def test_softmax_of_large_numbers(kind: type, shift: float) -> None:
    run = make_run(*CONFIGS["caloshowergan photon"])
    shift_logits(run, slice(2, 10), shift)  # the second layer's voxels, not the first's
    compute = kind(fold(run.generator, run.transform))
    for number in (1, 20):
        expected = by_keras(run, number)
        assert (expected[:, 2:].sum(axis=1) > 0).all()
        check_equal(showers_of(compute, run, number), expected, 1e-4)  # float32 keeps 400 to 3e-5


@pytest.mark.parametrize("kind", KINDS)
def test_showers_without_energy(kind: type) -> None:
    run = make_run(*CONFIGS["caloshowergan photon"])
    shift_logits(run, slice(-1, None), -10.0)
    expected = by_keras(run, 50)
    empty = expected.sum(axis=1) == 0
    assert 0 < empty.sum() < 50
    compute = kind(fold(run.generator, run.transform))
    np.testing.assert_array_equal(showers_of(compute, run, 50)[empty], 0.0)
    latent, condition, energies = (part[empty][:1] for part in inputs_of(run, 50))
    compute(latent, condition, energies, found := np.ones((1, run.geometry.size), np.float32))
    np.testing.assert_array_equal(found, 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "swish"])
def test_activations_survive_extreme_arguments(kind: type, activation: str) -> None:
    config = replace(_VAE, hidden_activation=activation, decoder_units=(7,), condition="linear")
    run = make_run(atlas_vae, config, TINY[CellGrid], spread=1000.0)
    expected, found = by_keras(run, 50), showers_of(kind(fold(run.generator, run.transform)), run, 50)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize("gpu", [False, True])
def test_many_showers_are_a_gpus(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    run = make_run(*CONFIGS["caloshowergan photon"])
    monkeypatch.setattr(engines, "_has_gpu", lambda: gpu)
    numbers = (1, engines.MANY - 1, engines.MANY, 10_000)
    kinds = [type(engines.engine(run.generator, run.transform, number)) for number in numbers]
    assert kinds == [LiteRTEngine, LiteRTEngine, *2 * [TensorflowEngine if gpu else LiteRTEngine]]
    assert isinstance(engines.engine(run.generator, run.transform, 10, once=True), TensorflowEngine)


def test_a_gpu_multiplies_with_all_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only here: what trains later may round."""
    run, rounds, kept = make_run(*CONFIGS["caloshowergan pion"]), tf.config.experimental, []

    def noted(compute: Callable[..., tf.Tensor], *given: tf.Tensor) -> tf.Tensor:
        kept.append(rounds.tensor_float_32_execution_enabled())
        return compute(*given)

    for compute in (TensorflowEngine(fold(run.generator, run.transform)), KerasEngine(run.generator, run.transform)):
        with monkeypatch.context() as patch:
            patch.setattr(compute, "_compute", partial(noted, compute._compute))
            showers_of(compute, run, 3)
    assert kept == [False, False]
    assert rounds.tensor_float_32_execution_enabled()


def test_engines_are_kept_until_a_weight_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    folds: list[keras.Model] = []

    def record(generator: keras.Model, transform: Chain) -> FoldedGenerator:
        folds.append(generator)
        return fold(generator, transform)

    monkeypatch.setattr(engines, "fold", record)
    run = make_run(*CONFIGS["caloshowergan photon"])
    first = engines.engine(run.generator, run.transform, 1)
    assert engines.engine(run.generator, run.transform, 10) is first
    assert len(folds) == 1
    before = generate(run, np.array([4096.0])).energies
    kernel = run.generator.weights[0]
    kernel.assign(kernel.numpy() + 0.1 * np.eye(*kernel.shape, dtype=np.float32))
    after = generate(run, np.array([4096.0])).energies
    assert np.abs(after - before).max() > 1e-3 * before.sum()
    check_equal(showers_of(engines.engine(run.generator, run.transform, 1), run, 5), by_keras(run, 5))
    other = Chain((Mask(1.0), *run.transform.steps), run.transform.encodings)
    assert engines.engine(run.generator, other, 1) is not engines.engine(run.generator, run.transform, 1)
    assert len(folds) == 4


def test_engines_go_with_their_network() -> None:
    run = make_run(*CONFIGS["caloshowergan photon"])
    showers_of(engines.engine(run.generator, run.transform, 1), run, 2)
    kept = [weakref.ref(item) for item in (run.generator, engines.engine(run.generator, run.transform, 1))]
    del run
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def test_networks_of_an_architecture_share_one_trace() -> None:
    name = "caloshowergan photon-upper"
    for seed in (1, 2, 3):
        module, config, geometry = CONFIGS[name]
        run = make_run(module, replace(config, seed=seed, generator_units=(10 * seed, 20, 30)), geometry)
        folded = fold(run.generator, run.transform)
        for number in (5, 300):
            check_equal(showers_of(TensorflowEngine(folded), run, number), by_keras(run, number))
    assert folded.heads is not None
    assert engines._compiled(folded.activations, folded.heads.layer_sizes).experimental_get_tracing_count() == 1


def test_keras_computes_what_cannot_be_folded() -> None:
    """It is compiled once for all numbers of showers, follows the weights, and goes with its network."""
    config = replace(_VAE, hidden_activation="elu", decoder_units=(7, 9))
    run = make_run(atlas_vae, config, TINY[CellGrid])
    compute = engines.engine(run.generator, run.transform, 1)
    assert isinstance(compute, KerasEngine)
    for number in (8, 1, 3):
        found = generate(run, inputs_of(run, number)[2], seed=3).energies
        np.testing.assert_allclose(found, by_keras(run, number), rtol=1e-5)
    run.generator.set_weights([1.5 * weight for weight in run.generator.get_weights()])
    changed = generate(run, inputs_of(run, 3)[2], seed=3).energies
    np.testing.assert_allclose(changed, by_keras(run, 3), rtol=1e-5)
    assert np.abs(changed - found).max() > 1e-3 * found.sum()
    assert engines._COMPILED[run.generator].experimental_get_tracing_count() == 1
    network = weakref.ref(run.generator)
    del run, compute
    gc.collect()
    assert network() is None


def test_nothing_is_said_on_stderr() -> None:
    code = (
        "import os, keras, numpy as np; os.environ.pop('TF_CPP_MIN_LOG_LEVEL', None)\n"
        "from calogen.generation.engines import LiteRTBlock, to_litert\n"
        "from calogen.generation.folding import FoldedGenerator\n"
        "from calogen.features.transforms import Chain, KineticFractions\n"
        "arrays = np.ones((3, 2), np.float32), np.ones(2, np.float32)\n"
        "folded = FoldedGenerator((arrays[0],), (arrays[1],), ('tanh',), None, Chain((KineticFractions(),)))\n"
        "keras.ops.ones(1); os.write(2, b'begin')\n"
        "LiteRTBlock(to_litert(folded), 1)(np.ones((1, 2)), np.ones((1, 1)), np.ones((1, 1), np.float32))\n"
        "os.write(2, b'end')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr.endswith("beginend")


def test_an_error_that_is_kept_stops_no_later_call(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(*CONFIGS["renormalised"])
    compute, expected = LiteRTEngine(fold(run.generator, run.transform)), by_keras(run, 3)

    def interrupt(*arguments: object) -> np.ndarray:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FoldedGenerator, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt) as kept:
            showers_of(compute, run, 3)
    check_equal(showers_of(compute, run, 3), expected)
    assert kept.traceback


@pytest.mark.parametrize("surplus", [-1, 1])
def test_points_of_another_size_are_refused(surplus: int) -> None:
    run = make_run(*CONFIGS["caloshowergan photon"])
    one_shower = compile_one_shower(run)
    with pytest.raises(ValueError, match="shape"):
        one_shower(4096.0, np.zeros(run.latent.dim + surplus, np.float32))


def test_threads_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)  # a command of another test may have set it
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 5, 8}, raising=False)
    assert [engines._threads(number) for number in (1, BLOCK)] == [1, 3]
    monkeypatch.setattr("tensorflow.config.threading.get_intra_op_parallelism_threads", lambda: 2)
    assert [engines._threads(number) for number in (1, BLOCK)] == [1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_showers_do_not_depend_on_the_number_of_threads(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed gives the same showers, bit by bit, whatever cores a job has."""
    run = make_run(*CONFIGS["caloshowergan photon"])
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(engines, "_threads", lambda number, threads=threads: threads)
        found.append(showers_of(kind(fold(run.generator, run.transform)), run, BLOCK + 3).tobytes())
    assert found[1:] == found[:1] * 2


def test_threads_do_not_disturb_one_another() -> None:
    run = make_run(*CONFIGS["caloshowergan photon"])
    compute = LiteRTEngine(fold(run.generator, run.transform))
    given = [inputs_of(run, BLOCK), tuple(part[::-1] for part in inputs_of(run, BLOCK))]
    expected = [np.empty((BLOCK, run.geometry.size), np.float32) for _ in given]
    for part, energies in zip(given, expected, strict=True):
        compute(*part, energies)
    wrong: list[int] = []

    def work(position: int) -> None:
        energies = np.empty_like(expected[position])
        for _ in range(30):
            compute(*given[position], energies)
            if not np.array_equal(energies, expected[position]):
                wrong.append(position)

    workers = [threading.Thread(target=work, args=(position,)) for position in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_keras_computes_large_layers_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many showers together as the largest layer allows: two, the largest power of two up to three."""
    run = make_run(atlas_vae, replace(_VAE, decoder_units=(7, 9)), TINY[CellGrid])
    widest = max(tensor.shape[-1] for layer in run.generator.layers for tensor in keras.tree.flatten(layer.output))
    monkeypatch.setattr(engines, "_BLOCK_BYTES", 3 * 4 * widest)
    pieces = KerasEngine(run.generator, run.transform)
    assert pieces._step == 2
    for number in (1, 2, 3, 8):
        check_equal(showers_of(pieces, run, number), by_keras(run, number))
    monkeypatch.setattr(engines, "_BLOCK_BYTES", 9 * 4 * widest)
    whole = KerasEngine(run.generator, run.transform)
    assert whole._step == 8
    for number in (1, 3, 5, 8, 13):
        check_equal(showers_of(whole, run, number), by_keras(run, number))
    monkeypatch.setattr(engines, "_BLOCK_BYTES", 1)
    check_equal(showers_of(KerasEngine(run.generator, run.transform), run, 8), by_keras(run, 8))


def test_the_largest_layer_may_be_in_a_network_of_the_chain() -> None:
    inputs = {"latent": keras.Input((2,), name="latent"), "condition": keras.Input((1,), name="condition")}
    hidden = keras.layers.Dense(50)(keras.layers.Concatenate()(list(inputs.values())))
    first = keras.Model(inputs, keras.layers.Dense(3)(hidden), name="first")
    shower = keras.Input((3,), name="shower")
    joined = chain_of([first, keras.Model({"shower": shower}, keras.layers.Dense(3)(shower), name="second")])
    assert engines._largest_output(joined) == 50
