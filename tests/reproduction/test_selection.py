import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from toy_gan import toy_showers, train

from calogen.errors import ConfigError, DataFormatError
from calogen.evaluation.iterations import ALL, HELD_OUT, TRAIN, WITH_SHAPES, IterationScan, chi2_by_momentum
from calogen.evaluation.merits import Chi2Merit, DistanceMerit, mean_ks_distance
from calogen.generation.generate import generate
from calogen.generation.load import list_snapshots, load_network, load_run, load_snapshot
from calogen.metrics.chi2 import RULES
from calogen.metrics.distributions import Value
from calogen.models import atlas_vae
from calogen.models.atlas_vae import AtlasVaeConfig, build, build_transform
from calogen.observables.cells import layer_energy, response, total_energy
from calogen.observables.observable import Observable
from calogen.observables.shape_quantities import shape_quantities
from calogen.observables.voxels import voxel_centroid, voxel_width
from calogen.reproduction import selection
from calogen.reproduction.selection import (
    Judge,
    scan,
    select,
    validation_distance,
)
from calogen.showers.sample import Showers
from calogen.showers.voxels import PIONS_DATASET1
from calogen.training.callbacks import save_network
from calogen.training.run import TrainedRun, assemble_run, save_run

RESPONSE = Observable("response", response, "response")


@pytest.fixture
def run(tiny_showers: Showers) -> TrainedRun:
    config = AtlasVaeConfig(encoder_units=(8,), decoder_units=(8,), latent_dim=2)
    chain = build_transform(config, tiny_showers.geometry).fit(tiny_showers)
    networks = build(config, tiny_showers.geometry)
    return assemble_run(atlas_vae, config, tiny_showers.geometry, networks, chain)


def test_validation_distance_is_repeatable(run: TrainedRun, tiny_showers: Showers) -> None:
    first, again, other = (validation_distance(run, tiny_showers, [RESPONSE], seed) for seed in (1, 1, 2))
    assert first == again != other
    assert 0 < first.value <= 1
    assert 0 < first.error < 0.1


def test_epochs_are_judged_by_their_own_decoders(run: TrainedRun, tiny_showers: Showers, tmp_path: Path) -> None:
    save_network(run.networks["decoder"], tmp_path / "snapshots" / "epoch-0003.keras")
    bias = run.networks["decoder"].get_layer("shower").bias
    bias.assign(np.append(np.zeros(bias.shape[0] - 1), -9.0))  # the last feature is the response: nearly nothing
    save_network(run.networks["decoder"], tmp_path / "snapshots" / "epoch-0010.keras")
    assert list_snapshots(tmp_path, "epoch") == [3, 10]
    third, tenth = (
        validation_distance(load_snapshot(run, tmp_path, "epoch", epoch), tiny_showers, [RESPONSE], 1)
        for epoch in (3, 10)
    )
    assert tenth == validation_distance(run, tiny_showers, [RESPONSE], 1)
    assert tenth.value == 1
    assert third.value < 1


SHOWERS = toy_showers(40)
ROWS = np.arange(len(SHOWERS)) < 80
PARTS = {TRAIN: ROWS, HELD_OUT: ~ROWS}
MERITS = {ALL: Chi2Merit("caloshowergan"), WITH_SHAPES: Chi2Merit("caloshowergan", shapes=True)}
JUDGE = Judge(reference=SHOWERS, parts=PARTS, merits=MERITS, seed=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained")
    train(directory, SHOWERS)
    return directory


@pytest.fixture(scope="module")
def scans(trained: Path) -> dict[str, IterationScan]:
    return scan(trained, JUDGE)


@pytest.fixture
def copy(trained: Path, scans: dict[str, IterationScan], tmp_path: Path) -> Path:
    """A copy of the run with the tables of `scans`."""
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


def generated(run: TrainedRun, directory: Path, iteration: int, seed: int = JUDGE.seed) -> np.ndarray:
    network = load_network(directory / "snapshots" / f"iteration-{iteration:07d}.keras")
    return generate(replace(run, networks={"generator": network}), SHOWERS.incident_energies, seed).energies


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is generated from now on: an entry for each iteration."""
    calls, original = [], selection.generate_like

    def counting(*arguments: Any, once: bool) -> Any:
        calls.append(len(arguments[1]))
        return original(*arguments, once=once)

    monkeypatch.setattr(selection, "generate_like", counting)
    return calls


def same(first: dict[str, IterationScan], second: dict[str, IterationScan]) -> bool:
    assert first.keys() == second.keys()
    fields = ("iterations", "momenta", "chi2", "ndf")
    return all(
        np.array_equal(getattr(first[name], key), getattr(second[name], key)) for name in first for key in fields
    )


def test_tables_are_those_of_a_direct_computation(trained: Path, scans: dict[str, IterationScan]) -> None:
    run, rule = load_run(trained), RULES["caloshowergan"]
    assert list(scans) == [ALL, TRAIN, HELD_OUT, WITH_SHAPES]
    for position, iteration in enumerate((1, 2, 3, 4)):
        ours = replace(SHOWERS, energies=generated(run, trained, iteration))
        expected = {
            ALL: chi2_by_momentum(SHOWERS, ours, rule),
            TRAIN: chi2_by_momentum(SHOWERS[ROWS], ours[ROWS], rule),
            HELD_OUT: chi2_by_momentum(SHOWERS[~ROWS], ours[~ROWS], rule),
            WITH_SHAPES: chi2_by_momentum(SHOWERS, ours, rule, shape_quantities(TINY_VOXELS)),
        }
        for name, table in scans.items():
            assert table.iterations.tolist() == [1, 2, 3, 4]
            assert table.momenta.tolist() == list(expected[name]) == [1024.0, 2048.0, 4096.0]
            assert table.chi2[position].tolist() == [part.value for part in expected[name].values()]
            assert table.ndf[position].tolist() == [part.ndf for part in expected[name].values()]
    assert len(np.unique(scans[ALL].total)) == 4, "every iteration has its own network"


@pytest.mark.parametrize("rule", ["fastcalogan-photons", "fastcalogan-hadrons"])
def test_the_other_rule_gives_its_own_tables(copy: Path, rule: str) -> None:
    scans, run = scan(copy, Judge(reference=SHOWERS, merits={ALL: Chi2Merit(rule)}, seed=3)), load_run(copy)
    assert list(scans) == [ALL]
    expected = chi2_by_momentum(SHOWERS, replace(SHOWERS, energies=generated(run, copy, 2)), RULES[rule])
    assert scans[ALL].chi2[1].tolist() == [part.value for part in expected.values()]


def test_what_was_measured_is_not_measured_again(
    copy: Path, scans: dict[str, IterationScan], measured: list[int]
) -> None:
    for path in copy.glob("snapshots/*"):
        path.write_bytes(b"nothing")
    assert same(scan(copy, JUDGE), scans)
    assert measured == []


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"merits": {ALL: MERITS[ALL]}},
        {"parts": {TRAIN: ~ROWS, HELD_OUT: ROWS}},
        {"parts": {TRAIN: ROWS, "rest": ~ROWS}},
        {"reference": replace(SHOWERS, energies=SHOWERS.energies * np.float32(1.01))},
        {"reference": replace(SHOWERS, incident_energies=SHOWERS.incident_energies[::-1])},
        {"reference": replace(SHOWERS, conditions={"impact_eta": np.ones(120)})},
        {"merits": {ALL: Chi2Merit("fastcalogan-photons")}},
    ],
    ids="+".join,
)
def test_another_judge_measures_anew(copy: Path, measured: list[int], change: dict[str, Any]) -> None:
    judge = replace(JUDGE, **change)
    first = scan(copy, judge)
    assert measured == [120] * 4
    assert same(scan(copy, judge), first)
    assert measured == [120] * 4, "and keeps what it measured"


def test_another_training_is_measured_anew(copy: Path, measured: list[int]) -> None:
    history = json.loads((copy / "history.json").read_text())
    history[0]["seconds"] += 1
    (copy / "history.json").write_text(json.dumps(history))
    scan(copy, JUDGE)
    assert measured == [120] * 4


def test_only_what_is_missing_is_measured(copy: Path, scans: dict[str, IterationScan], measured: list[int]) -> None:
    record = json.loads((copy / "selection.json").read_text())
    del record["iterations"]["2"], record["iterations"]["3"]
    (copy / "selection.json").write_text(json.dumps(record))
    assert same(scan(copy, JUDGE), scans)
    assert measured == [120] * 2
    assert list(json.loads((copy / "selection.json").read_text())["iterations"]) == ["1", "4", "2", "3"]


def test_an_interrupted_scan_goes_on(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = json.loads((copy / "history.json").read_text())
    for iteration in range(5, 62):
        (copy / "snapshots" / f"iteration-{iteration:07d}.keras").touch()
        history.append({**history[-1], "iteration": iteration})
    (copy / "history.json").write_text(json.dumps(history[:-1]))  # the last one is of a training that goes on
    showers = toy_showers(40, seed=8)
    calls: list[int] = []

    def interrupted(*_: Any, once: bool) -> Any:
        calls.append(len(calls))
        if len(calls) == 55:
            raise KeyboardInterrupt
        return replace(SHOWERS, energies=showers.energies)

    monkeypatch.setattr(selection, "_RECORD_SECONDS", -1.0)
    monkeypatch.setattr(selection, "generate_like", interrupted)
    monkeypatch.setattr(selection, "load_snapshot", lambda run, *_: run)
    judge = Judge(reference=SHOWERS, merits={ALL: MERITS[ALL]})
    with pytest.raises(KeyboardInterrupt):
        scan(copy, judge)
    scans = scan(copy, judge)
    assert len(calls) == 55 + 6, "the 54 that were measured are kept"
    assert scans[ALL].iterations.tolist() == list(range(1, 61))


def test_a_long_scan_takes_the_cores_of_the_job(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of the node: 61 processes of 0.6 GB were started for a job of 4 cores."""
    known, received = json.loads((copy / "selection.json").read_text())["iterations"], []

    @contextmanager
    def measured(directory: Path, judge: Judge, unit: str, numbers: list[int], workers: int) -> Iterator[Iterator[Any]]:
        received.append(workers)
        yield ((iteration, known[str(iteration)]) for iteration in numbers)

    monkeypatch.setattr(selection, "_measured", measured)
    monkeypatch.setattr("os.cpu_count", lambda: 128)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(128)), raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    for showers_per_worker in (1, 10**9):
        monkeypatch.setattr(selection, "_SHOWERS_PER_WORKER", showers_per_worker)
        (copy / "selection.json").unlink()
        scan(copy, JUDGE)
    monkeypatch.setattr(selection, "_SHOWERS_PER_WORKER", 1)
    monkeypatch.setattr("calogen.parallel.free_memory", lambda: 1_300_000_000)
    (copy / "selection.json").unlink()
    scan(copy, JUDGE)
    assert received == [3, 1, 2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: [],
        lambda record: {"iterations": record["iterations"]},
        lambda record: record | {"iterations": []},
        lambda record: record | {"iterations": {"1": {}}},
        lambda record: record | {"iterations": {"1": [1]}},
        lambda record: record | {"iterations": record["iterations"] | {"2": {ALL: [[1.0], ["x"], [1.0]]}}},
        lambda record: record | {"iterations": record["iterations"] | {"2": {ALL: [[1.0], [1.0]]}}},
        lambda record: record | {"iterations": record["iterations"] | {"2": {ALL: [[1.0], [1.0], [1.0]]}}},
    ],
)
def test_a_damaged_record_is_named(copy: Path, measured: list[int], damage: Callable[[Any], Any]) -> None:
    path = copy / "selection.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(DataFormatError, match=r"selection.json must hold .*: delete it to judge them anew"):
        scan(copy, JUDGE)
    assert not measured


def test_a_snapshot_of_another_run_is_named(copy: Path, scans: dict[str, IterationScan]) -> None:
    best = copy / "snapshots" / f"iteration-{int(scans[ALL].iterations[scans[ALL].best]):07d}.keras"
    shutil.copy(copy / "critic.keras", best)
    with pytest.raises(DataFormatError, match=r"keras must have the inputs and outputs of its run's network.*copied"):
        select(copy, scans[ALL])


def test_a_damaged_run_is_told_whatever_the_number_of_processes(copy: Path) -> None:
    """It would look like a worker that died, which another try may help."""
    (copy / "selection.json").unlink()
    (copy / "config.json").write_text("{}")
    with pytest.raises(DataFormatError, match=r"must hold config.json with model"):
        scan(copy, JUDGE, workers=2)


def test_processes_give_the_tables_of_one(copy: Path, scans: dict[str, IterationScan]) -> None:
    (copy / "selection.json").unlink()
    judge = replace(JUDGE, reference=replace(SHOWERS, conditions={"impact_eta": np.ones(120)}, attributes={"a": 1}))
    found = scan(copy, judge, workers=2)
    for name, table in found.items():
        assert table.iterations.tolist() == [1, 2, 3, 4]
        np.testing.assert_array_equal(table.ndf, scans[name].ndf)
        np.testing.assert_allclose(table.chi2, scans[name].chi2, rtol=1e-6)


def test_a_scan_needs_snapshots(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(DataFormatError, match="must hold snapshots/iteration-<number>.keras. Received: none: train"):
        scan(tmp_path / "none", JUDGE)
    (copy / "selection.json").unlink()
    (copy / "config.json").unlink()
    with pytest.raises(DataFormatError, match="must hold a trained run"):
        scan(copy, JUDGE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Chi2Merit("ours"), "rule must be one of caloshowergan, .*Received: 'ours'"),
        (lambda: Chi2Merit("fastcalogan-photons", shapes=True), "shapes need a rule for them. Received: 'fastcalo"),
    ],
)
def test_merits_that_cannot_judge_are_refused(make: Callable[[], Chi2Merit], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_shapes_are_energies_centres_and_widths() -> None:
    showers = make_showers(TINY_VOXELS, 20)
    expected = [total_energy(showers), *(layer_energy(showers, layer_id=layer) for layer in (0, 1))]
    turned = 1  # layer 0 has one bin in alpha: its centre is 0
    expected += [f(showers, turned, axis) for f in (voxel_centroid, voxel_width) for axis in ("eta", "phi")]
    found = [quantity(showers) for quantity in shape_quantities(TINY_VOXELS)]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(shape_quantities(PIONS_DATASET1)) == 1 + 7 + 4 * 4


def test_cells_have_no_centres(tiny_grid: Any) -> None:
    assert len(shape_quantities(tiny_grid)) == 1 + 3


def test_the_best_iteration_is_saved_as_a_run(copy: Path, scans: dict[str, IterationScan]) -> None:
    best = int(np.argmin([chi2.sum() / ndf.sum() for chi2, ndf in zip(scans[ALL].chi2, scans[ALL].ndf, strict=True)]))
    chosen = select(copy, scans[ALL])
    expected = generated(load_run(copy), copy, best + 1)
    for run in (chosen, load_run(copy / "selected"), copy / "selected"):
        ours = generate(run, SHOWERS.incident_energies, JUDGE.seed)
        np.testing.assert_array_equal(ours.energies, expected)
    saved = load_run(copy / "selected")
    assert list(saved.networks) == ["generator"]
    assert (saved.config, saved.transform, saved.history) == (chosen.config, chosen.transform, chosen.history)
    about = json.loads((copy / "selected" / "selection.json").read_text())
    assert about == {"iteration": best + 1, "chi2_per_ndf": scans[ALL].total[best]}


def test_the_scan_decides_which_iteration_is_selected(copy: Path, scans: dict[str, IterationScan]) -> None:
    chi2 = np.ones_like(scans[ALL].chi2)
    chi2[1] = 0.5
    chosen = select(copy, replace(scans[ALL], chi2=chi2))
    ours = generate(chosen, SHOWERS.incident_energies, JUDGE.seed)
    np.testing.assert_array_equal(ours.energies, generated(load_run(copy), copy, 2))
    missing = replace(scans[ALL], iterations=np.array([7, 8, 9, 10]))
    with pytest.raises(DataFormatError, match="iteration-0000007.keras must be a Keras model file"):
        select(copy, replace(missing, chi2=np.arange(12.0).reshape(4, 3)))


def test_any_figure_of_merit_can_choose(copy: Path) -> None:
    """One that is no sum over energies stands at energy 0."""
    merit = DistanceMerit((Observable("total energy", total_energy, "total energy"),))
    found = scan(copy, Judge(reference=SHOWERS, merits={"distance": merit}, parts=PARTS, seed=3))
    expected = [
        mean_ks_distance(SHOWERS, replace(SHOWERS, energies=generated(load_run(copy), copy, number)), merit.observables)
        for number in (1, 2, 3, 4)
    ]
    assert list(found) == ["distance", TRAIN, HELD_OUT]
    assert found["distance"].total.tolist() == [value.value for value in expected]
    assert found["distance"].momenta.tolist() == [0.0]
    best = int(np.argmin([value.value for value in expected]))
    chosen = select(copy, found["distance"])
    assert (
        generate(chosen, SHOWERS.incident_energies, 3).energies.tolist()
        == generated(load_run(copy), copy, best + 1).tolist()
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_merit_that_is_no_number_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """The smallest of several numbers and a NaN would be the NaN."""
    (copy / "selection.json").unlink()
    calls = iter([0.5, value, 0.1, 0.2])
    monkeypatch.setattr(DistanceMerit, "__call__", lambda *_: Value(next(calls), 0.0))
    judge = Judge(reference=SHOWERS, merits={ALL: MERITS[ALL], "distance": DistanceMerit((RESPONSE,))})
    with pytest.raises(DataFormatError, match="the figure of merit 'distance' must be a number .* for iteration 2: "):
        scan(copy, judge)


def test_epochs_are_chosen_as_iterations_are(run: TrainedRun, tiny_showers: Showers, tmp_path: Path) -> None:
    save_run(tmp_path, run)
    save_network(run.networks["decoder"], tmp_path / "snapshots" / "epoch-0003.keras")
    bias = run.networks["decoder"].get_layer("shower").bias
    bias.assign(np.append(np.zeros(bias.shape[0] - 1), -9.0))
    save_network(run.networks["decoder"], tmp_path / "snapshots" / "epoch-0010.keras")
    found = scan(tmp_path, Judge(reference=tiny_showers, merits={"distance": DistanceMerit((RESPONSE,))}), "epoch")
    assert found["distance"].iterations.tolist() == [3, 10]
    assert found["distance"].total[0] < found["distance"].total[1] == 1
    select(tmp_path, found["distance"], "epoch")
    assert json.loads((tmp_path / "selected" / "selection.json").read_text())["epoch"] == 3
