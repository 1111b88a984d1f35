from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import keras
import numpy as np
import pytest
from conftest import TINY_VOXELS
from toy_gan import CONFIG, network_test, toy_showers

from calogen import study
from calogen.datasets import HONEST_NOTE, bundled
from calogen.errors import DataFormatError
from calogen.evaluation.chi2 import ALL, HELD_OUT, RULES, SHAPES, TRAIN, IterationScan, chi2_by_momentum, total
from calogen.evaluation.comparison import Observable
from calogen.evaluation.observables import layer_energy, total_energy
from calogen.experiment import Arguments, open_run
from calogen.files import read_json
from calogen.generation import TrainedRun, generate, load_run
from calogen.geometry import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import format_graph
from calogen.models import caloshowergan, fastcalogan
from calogen.selection import Judge, scan_iterations
from calogen.showers import Showers
from calogen.study import Data, Network, Outcome, Study, run_study

OPTIONS = {"ablation": False, "merit": "energy", "bfloat16": False}
LARGE = replace(CONFIG, iterations=400_000)  # four of them with the preset smoke
UPPER = replace(LARGE, lowest_momentum=2.0**12, highest_momentum=2.0**14)
SHOWERS, OTHERS = (toy_showers(number, seed, (1024.0, 4096.0, 16384.0)) for number, seed in ((40, 1), (20, 2)))
OBSERVABLES = (
    Observable("total_energy", total_energy, "Total energy", metrics=("ks",)),
    Observable("first", lambda showers: layer_energy(showers, 0), "Layer 0", figures={4096.0: "1"}, metrics=("ks",)),
    Observable("second", lambda showers: layer_energy(showers, 1), "Layer 1", metrics=("ks",)),
)
TOY = Study(
    name="toy",
    paper="caloshowergan",
    configs={"low": (LARGE, TINY_VOXELS), "upper": (UPPER, TINY_VOXELS)},
    ensembles={"two GANs": ("low", "upper")},
    observables=OBSERVABLES,
    detailed=(1024.0,),
)


def arguments(folder: Path, **changes: Any) -> Arguments:
    values = {"preset": "smoke", "seeds": (1,), "runs": folder / "runs", "train_data": folder / "train.h5"}
    return Arguments(**(values | {"test_data": folder / "test.h5", "options": OPTIONS} | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    SHOWERS.write(folder / "train.h5")
    OTHERS.write(folder / "test.h5")
    return folder


@pytest.fixture(scope="module")
def data(folder: Path) -> Data:
    return study.read_data(arguments(folder), "photon", TINY_VOXELS)


@pytest.fixture(scope="module")
def outcome(folder: Path, data: Data) -> Outcome:
    (outcome,) = run_study(TOY, arguments(folder), data)
    return outcome


@pytest.mark.parametrize(
    ("config", "preset", "iterations", "batch_size"),
    [
        (caloshowergan.CONFIGS["photon"][0], "smoke", 10, 32),
        (caloshowergan.CONFIGS["photon"][0], "laptop", 8_000, 256),
        (caloshowergan.CONFIGS["photon"][0], "paper", 1_000_000, 1024),
        (caloshowergan.CONFIGS["pion"][0], "laptop", 16_000, 256),
        (fastcalogan.CONFIGS["photon"][0], "laptop", 8_000, 128),
        (CONFIG, "smoke", 1, 16),
    ],
)
def test_budgets(config: Any, preset: str, iterations: int, batch_size: int) -> None:
    found = study.scaled(config, preset, 7)
    assert (found.iterations, found.batch_size, found.seed) == (iterations, batch_size, 7)
    assert replace(found, iterations=config.iterations, batch_size=config.batch_size, seed=config.seed) == config


@pytest.mark.parametrize(("particle", "geometry"), [("photon", PHOTONS_DATASET1), ("pion", PIONS_DATASET1)])
def test_bundled_showers_and_every_eighth_of_them(particle: str, geometry: VoxelGeometry) -> None:
    given = Arguments(preset="laptop", seeds=(1,), runs=Path("runs"))
    whole = study.read_data(given, particle, geometry)
    assert whole.note == HONEST_NOTE
    assert dict(whole.files) == {name: bundled(f"{particle}s_{name}") for name in ("train", "test")}
    few = study.read_data(replace(given, preset="smoke"), particle, geometry)
    assert whole.held_out is not None
    assert few.held_out is not None
    assert len(whole.train) > len(few.train)
    np.testing.assert_array_equal(few.train.energies, whole.train.energies[::8])
    np.testing.assert_array_equal(few.held_out.energies, whole.held_out.energies[::4])
    trained = set(whole.train.incident_energies)
    assert set(few.train.incident_energies) == trained == set(few.held_out.incident_energies)


def test_your_own_files_are_read_whole(data: Data, folder: Path) -> None:
    assert data.held_out is not None
    np.testing.assert_array_equal(data.train.energies, SHOWERS.energies)
    np.testing.assert_array_equal(data.held_out.energies, OTHERS.energies)
    assert dict(data.files) == {"train": folder / "train.h5", "test": folder / "test.h5"}
    assert data.note == "train.h5, test.h5"
    assert list(data.samples) == [TRAIN, HELD_OUT]
    np.testing.assert_array_equal(data.reference.energies, np.concatenate([SHOWERS.energies, OTHERS.energies]))


def test_without_test_data_nothing_is_held_out(folder: Path) -> None:
    data = study.read_data(arguments(folder, test_data=None), "photon", TINY_VOXELS)
    assert (data.held_out, data.note, list(data.samples), list(data.files)) == (None, "train.h5", [TRAIN], ["train"])
    np.testing.assert_array_equal(data.reference.energies, SHOWERS.energies)


def test_test_showers_at_momenta_that_do_not_train_are_left_out(folder: Path, tmp_path: Path) -> None:
    showers = toy_showers(20, 3, (1024.0, 2048.0, 16384.0, 65536.0))
    showers.write(tmp_path / "more.h5")
    data = study.read_data(arguments(folder, test_data=tmp_path / "more.h5"), "photon", TINY_VOXELS)
    kept = np.isin(showers.incident_energies, [1024.0, 16384.0])
    assert data.held_out is not None
    np.testing.assert_array_equal(data.held_out.energies, showers.energies[kept])
    toy_showers(20, 3, (2048.0,)).write(tmp_path / "none.h5")
    with pytest.raises(DataFormatError, match=r"none\.h5 must hold showers at momenta of .*train\.h5. Received: none"):
        study.read_data(arguments(folder, test_data=tmp_path / "none.h5"), "photon", TINY_VOXELS)


@pytest.mark.parametrize("name", ["train_data", "test_data"])
def test_a_single_shower_of_a_momentum_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    chosen = np.append(np.flatnonzero(SHOWERS.incident_energies != 4096.0), SHOWERS.incident_energies.argmin())
    chosen[-1] = np.flatnonzero(SHOWERS.incident_energies == 4096.0)[0]
    SHOWERS[chosen].write(tmp_path / "one.h5")
    with pytest.raises(DataFormatError, match=r"one\.h5 must hold several different showers of each.*at 4096 MeV"):
        study.read_data(arguments(folder, **{name: tmp_path / "one.h5"}), "photon", TINY_VOXELS)


def test_a_range_without_showers_is_refused_before_any_training(data: Data, tmp_path: Path) -> None:
    empty = replace(LARGE, lowest_momentum=2.0**20, highest_momentum=2.0**22)
    configs = {"low": (LARGE, TINY_VOXELS), "empty": (empty, TINY_VOXELS)}
    with open_run("toy", "smoke", 1, tmp_path) as run:
        with pytest.raises(DataFormatError, match=r"at 1048576\.\.4194304 MeV. Received: showers at 1024, 4096"):
            study.reproduce("caloshowergan", configs, data, run, OPTIONS)
        assert [path.name for path in run.directory.iterdir() if path.is_dir()] == []


def test_a_study_trains_judges_and_compares(outcome: Outcome, folder: Path, data: Data) -> None:
    directory = folder / "runs" / "toy" / "smoke-seed1"
    assert list(outcome.networks) == list(outcome.tests) == list(outcome.provenance) == ["low", "upper"]
    for name, config in (("low", LARGE), ("upper", UPPER)):
        assert outcome.networks[name].run.config == replace(config, iterations=4, seed=1)
        assert outcome.provenance[name]["showers"] == 80
        assert len(list((directory / name / "snapshots").iterdir())) == 4
    events = [line.split('"event": "')[1].split('"')[0] for line in (directory / "log.jsonl").read_text().splitlines()]
    assert events == ["started", "network", "judged", "network", "judged", "finished"]
    assert {momentum: list(item.observables) for momentum, item in outcome.pictures.by_momentum.items()} == {
        1024.0: ["total_energy", "first", "second"],
        4096.0: ["total_energy", "first"],
        16384.0: ["total_energy"],
    }
    assert list(outcome.pictures.together) == ["total_energy", "first", "second"]
    assert len(outcome.pictures.reference) == len(data.reference)
    assert list(outcome.pictures.generated) == ["two GANs"]


def test_a_second_launch_trains_nothing(
    outcome: Outcome, folder: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calogen.training.wgan_gp.write_state", None)
    (again,) = run_study(TOY, arguments(folder), data)
    ours, theirs = (item.pictures.generated["two GANs"].energies for item in (again, outcome))
    np.testing.assert_array_equal(ours, theirs)
    assert {name: test.chi2 for name, test in again.tests.items()} == {
        name: test.chi2 for name, test in outcome.tests.items()
    }


def check(test: Any, run: TrainedRun, reference: Showers, seed: int) -> None:
    """The chi2 of the chosen iteration, computed directly."""
    ours = generate(run, reference.incident_energies, seed)
    assert test.chi2 == chi2_by_momentum(reference, ours, RULES["caloshowergan"])
    assert set(test.num_showers.items()) == {
        (momentum, int((reference.incident_energies == momentum).sum())) for momentum in test.chi2
    }


def judge_seed(outcome: Outcome, name: str) -> int:
    """The seed that judges: of the training's own stream."""
    config = outcome.networks[name].run.config
    return study.stream_seed(study.provenance.seed_streams(config.seed, "select")["select"])


def test_networks_are_judged_in_their_range(outcome: Outcome, folder: Path, data: Data) -> None:
    test, rule = outcome.tests["low"], RULES["caloshowergan"]
    train, held_out = (showers[showers.incident_energies <= 4096] for showers in (SHOWERS, OTHERS))
    assert list(test.scans) == [ALL, TRAIN, HELD_OUT, SHAPES]
    assert list(test.chi2) == [1024.0, 4096.0]
    assert list(outcome.tests["upper"].chi2) == [4096.0, 16384.0]
    inside = data.reference[data.reference.incident_energies <= 4096]
    check(test, outcome.networks["low"].run, inside, judge_seed(outcome, "low"))
    assert (
        test.floor
        == {  # as many showers of one as of the other
            momentum: chi2_by_momentum(train.at(momentum)[:20], held_out.at(momentum), rule)[momentum]
            for momentum in (1024.0, 4096.0)
        }
    )
    selected = folder / "runs" / "toy" / "smoke-seed1" / "low" / "selected"
    assert read_json(selected / "selection.json")["iteration"] == test.iteration
    chosen = test.scans[ALL].iterations.tolist().index(test.iteration)
    assert test.scans[ALL].chi2[chosen].tolist() == [part.value for part in test.chi2.values()]
    parts = {TRAIN: train, HELD_OUT: held_out}
    for name, sample in parts.items():  # each part with its own bins: as if it were the whole
        counts = [len(sample.at(momentum)) for momentum in test.chi2]
        assert counts == [{TRAIN: 40, HELD_OUT: 20}[name]] * 2
        assert test.scans[name].momenta.tolist() == [1024.0, 4096.0]


@pytest.fixture
def copied(outcome: Outcome, folder: Path, tmp_path: Path) -> Path:
    """The trained run `low`, not yet judged."""
    source = folder / "runs" / "toy" / "smoke-seed1" / "low"
    for path in (*source.glob("*.json"), *source.glob("*.keras"), *source.glob("snapshots/*")):
        if path.name != "selection.json":
            target = tmp_path / path.relative_to(source)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path


def test_without_held_out_showers_there_is_no_floor(outcome: Outcome, data: Data, copied: Path) -> None:
    config = outcome.networks["low"].run.config
    for alone in (replace(data, held_out=None), replace(data, held_out=OTHERS.at(16384.0))):  # none of this range
        found = study.judge_network("low", config, alone, copied, "energy")
        assert list(found.test.scans) == [ALL, SHAPES]
        assert (dict(found.test.floor), found.test.held_out) == ({}, None)
        inside = SHOWERS[SHOWERS.incident_energies <= 4096]
        check(found.test, found.run, inside, judge_seed(outcome, "low"))


def test_held_out_showers_may_lack_momenta(outcome: Outcome, data: Data, copied: Path) -> None:
    held_out = toy_showers(60, 4, (1024.0,))
    found = study.judge_network(
        "low", outcome.networks["low"].run.config, replace(data, held_out=held_out), copied, "energy"
    )
    assert found.test.floor == chi2_by_momentum(SHOWERS.at(1024.0), held_out[:40], RULES["caloshowergan"])
    assert found.test.scans[HELD_OUT].momenta.tolist() == [1024.0]
    assert found.test.num_showers == {1024.0: 100, 4096.0: 40}


def test_shapes_choose_where_they_are_wanted(outcome: Outcome, data: Data, copied: Path) -> None:
    config = outcome.networks["low"].run.config
    judge = Judge(reference=data.reference[data.reference.incident_energies <= 4096], shapes=True)
    scan_iterations(copied, judge)  # another judge's record is in the way
    found = study.judge_network("low", config, data, copied, "shapes")
    scan = found.test.scans[SHAPES]
    assert found.test.chosen_by == SHAPES
    assert found.test.iteration == scan.iterations[scan.best]
    assert read_json(copied / "selected" / "selection.json") == {
        "iteration": found.test.iteration,
        "chi2_per_ndf": scan.total[scan.best],
    }


def test_the_test_of_another_experiment(outcome: Outcome, folder: Path) -> None:
    found = study.other_test("toy", "low", 1, arguments(folder))
    assert found is not None
    assert (found.chi2, found.floor, found.iteration) == (
        outcome.tests["low"].chi2,
        outcome.tests["low"].floor,
        outcome.tests["low"].iteration,
    )
    assert study.other_test("toy", "low", 2, arguments(folder)) is None
    assert study.other_test("toy", "medium", 1, arguments(folder)) is None
    assert study.other_test("others", "low", 1, arguments(folder)) is None
    assert study.other_test("toy", "low", 1, arguments(folder, preset="laptop")) is None


def test_the_scatter_over_seeds_of_generation(outcome: Outcome) -> None:
    network = outcome.networks["low"]
    inside, values = SHOWERS[SHOWERS.incident_energies <= 4096], []
    for seed in (1, 2, 3):
        ours = generate(network.run, inside.incident_energies, seed)
        values.append(total(chi2_by_momentum(inside, ours, RULES["caloshowergan"]).values()).per_ndf)
    mean = sum(values) / 3
    expected = np.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    assert study.seed_scatter(network, SHOWERS, 3) == pytest.approx(expected)
    assert expected > 0


def scan(energy: list[float], ndf: float) -> IterationScan:
    number = len(energy)
    return IterationScan(
        np.arange(number),
        np.array([256.0, 512.0]),
        np.array([[0.5 * e] * 2 for e in energy]),
        np.full((number, 2), ndf),
    )


@pytest.mark.parametrize(
    ("shapes", "rank"), [([1.0, 2.0, 3.0, 4.0, 5.0], 1.0), ([5.0, 4.0, 3.0, 2.0, 1.0], -1.0), ([2.0, 1, 4, 3, 5], 0.8)]
)
def test_the_shapes_are_correlated_without_the_total_energy(shapes: list[float], rank: float) -> None:
    energy = [100.0, 200.0, 300.0, 400.0, 500.0]
    both = [first + second for first, second in zip(energy, shapes, strict=True)]
    found = study.shape_correlation(network_test({ALL: scan(energy, 10), SHAPES: scan(both, 30)}))
    assert (found.value, found.error) == pytest.approx((rank, 0.5))


def test_the_time_of_a_call_leaves_the_first_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], list[float], int]] = []
    clock = iter([0.0, 100.0, 100.0, 101.0, 200.0, 203.0])
    monkeypatch.setattr(study, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(study, "generate", lambda runs, energies, seed: calls.append((runs, energies.tolist(), seed)))
    networks = cast(list[Network], [SimpleNamespace(run="low"), SimpleNamespace(run="upper")])
    found = study.generation_time(networks, 65536.0, batch_size=3, trials=2)
    assert (found.value, found.error) == (2.0, 1.0)
    assert [(runs, energies) for runs, energies, _ in calls] == [(["low", "upper"], [65536.0] * 3)] * 3
    assert len({seed for *_, seed in calls}) == 3


def test_the_heads_are_not_in_the_json() -> None:
    generator = caloshowergan.build(CONFIG, TINY_VOXELS)["generator"]
    dense = next(layer for layer in reversed(generator.layers) if isinstance(layer, keras.layers.Dense))
    linear = keras.Model(generator.input, dense.output)
    assert study.json_size(generator) == study.json_size(linear) > 1000
    assert study.json_size(linear) == len(format_graph(convert(linear, ["latent", "condition"])).encode())
    kinetic = caloshowergan.build(replace(CONFIG, normalisation="kinetic"), TINY_VOXELS)["generator"]
    assert study.json_size(kinetic) == len(format_graph(convert(kinetic, ["latent", "condition"])).encode())


def test_voxels_below_1_mev_are_zero_in_both_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    row = np.array([0.0, 0.5, 0.999, 1.0, 1.5, 3.0, 100.0, 0.2, 0.9, 7.0], np.float32)
    cut = np.array([0.0, 0.0, 0.0, 1.0, 1.5, 3.0, 100.0, 0.0, 0.0, 7.0], np.float32)
    factors = np.linspace(1.0, 1.3, 20, dtype=np.float32)
    reference = Showers(TINY_VOXELS, np.repeat([512.0, 1024.0], 10), np.outer(factors, row))
    received: dict[str, Any] = {}

    def fake(runs: list[str], energies: np.ndarray, seed: int) -> Showers:
        received[runs[0]] = (energies.tolist(), seed)
        return replace(reference, energies=np.tile(row, (20, 1)))

    monkeypatch.setattr(study, "generate", fake)
    samples = cast(Mapping[str, list[Network]], {name: [SimpleNamespace(run=name)] for name in ("one", "two")})
    found = study.compare_networks(samples, reference, OBSERVABLES[:2], seed=3)
    for showers in found.generated.values():
        np.testing.assert_array_equal(showers.energies, np.tile(cut, (20, 1)))
    expected = np.outer(factors, row)
    np.testing.assert_array_equal(found.reference.energies, np.where(expected < 1, np.float32(0), expected))
    assert list(found.generated) == ["one", "two"]
    assert received["one"] == received["two"], "the same seed"
    assert received["one"][0] == reference.incident_energies.tolist()
    entries = found.by_momentum[512.0].observables["total_energy"].generated["one"]
    assert entries.counts.sum() == 10


def test_a_run_that_was_selected_generates(outcome: Outcome, folder: Path) -> None:
    directory = folder / "runs" / "toy" / "smoke-seed1"
    paths = [directory / name / "selected" for name in ("low", "upper")]
    momenta = np.repeat([1024.0, 4096.0, 16384.0], 5)
    expected = generate([outcome.networks[name].run for name in ("low", "upper")], momenta, 4)
    np.testing.assert_array_equal(generate(paths, momenta, 4).energies, expected.energies)
    assert load_run(paths[0]).momentum_range == (1024.0, 4096.0)
