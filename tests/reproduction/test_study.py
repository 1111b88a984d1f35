from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import TINY_VOXELS
from toy_gan import CONFIG, GAN_VALUES, toy_showers

from calogen.errors import CalogenError, ConfigError, DataFormatError
from calogen.evaluation.iterations import ALL, HELD_OUT, TRAIN, WITH_SHAPES, NetworkTest, chi2_by_momentum
from calogen.evaluation.merits import Chi2Merit
from calogen.files import read_json
from calogen.generation.generate import generate
from calogen.generation.load import load_run
from calogen.locks import directory_lock
from calogen.metrics.chi2 import RULES
from calogen.observables.cells import layer_energy, total_energy
from calogen.observables.observable import Observable
from calogen.provenance import named_seed
from calogen.reproduction import study
from calogen.reproduction.chi2_selection import check_momenta, scaled, selection
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.selection import Judge, scan
from calogen.reproduction.study import Data, Outcome, Study, run_study
from calogen.showers.sample import Showers, concatenate
from calogen.training.run import TrainedRun

LARGE = replace(CONFIG, iterations=400_000)  # four of them with the preset smoke
UPPER = replace(LARGE, lowest_momentum=2.0**12, highest_momentum=2.0**14)
SHOWERS, OTHERS = (toy_showers(number, seed, (1024.0, 4096.0, 16384.0)) for number, seed in ((40, 1), (20, 2)))
OBSERVABLES = (
    Observable("total_energy", total_energy, "Total energy", metrics=("ks",)),
    Observable("first", lambda showers: layer_energy(showers, 0), "Layer 0", figures={4096.0: "1"}, metrics=("ks",)),
    Observable("second", lambda showers: layer_energy(showers, 1), "Layer 1", metrics=("ks",)),
)


class Judged(NamedTuple):
    run: TrainedRun
    test: NetworkTest


TOY = Study(
    name="toy",
    configs={"low": (LARGE, TINY_VOXELS), "upper": (UPPER, TINY_VOXELS)},
    budget=scaled,
    select=selection(GAN_VALUES),
    ensembles={"two GANs": ("low", "upper")},
    observables=OBSERVABLES,
    detailed=(1024.0,),
)


def arguments(folder: Path, **changes: Any) -> Arguments:
    values = {"preset": "smoke", "seeds": (1,), "runs": folder / "runs", "train_data": folder / "train.h5"}
    return Arguments(**(values | {"test_data": folder / "test.h5", "options": GAN_VALUES} | changes))


def read(given: Arguments) -> Data:
    return study.read_data(given, "photons", TINY_VOXELS, check_momenta(GAN_VALUES, "photon"))


def judge(name: str, config: Any, data: Data, directory: Path, options: Any = GAN_VALUES, **more: Any) -> Judged:
    """A run and its test, by an experiment's options."""
    found = study.choose_and_test(name, config, data, directory, selection(GAN_VALUES | options)(config), **more)
    assert found.test is not None
    return Judged(found.run, found.test)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    SHOWERS.write(folder / "train.h5")
    OTHERS.write(folder / "test.h5")
    return folder


@pytest.fixture(scope="module")
def data(folder: Path) -> Data:
    return read(arguments(folder))


@pytest.fixture(scope="module")
def outcome(folder: Path, data: Data) -> Outcome:
    (outcome,) = run_study(TOY, arguments(folder), data)
    return outcome


def test_your_own_files_are_read_whole(data: Data, folder: Path) -> None:
    assert data.held_out is not None
    np.testing.assert_array_equal(data.train.energies, SHOWERS.energies)
    np.testing.assert_array_equal(data.held_out.energies, OTHERS.energies)
    assert dict(data.files) == {name: folder / f"{name}.h5" for name in ("train", "test")}
    assert data.note == "train.h5, test.h5"
    assert list(data.samples) == [TRAIN, HELD_OUT]
    np.testing.assert_array_equal(data.reference.energies, np.concatenate([SHOWERS.energies, OTHERS.energies]))


def test_without_test_data_nothing_is_held_out(folder: Path) -> None:
    data = read(arguments(folder, test_data=None))
    assert (data.held_out, data.note, list(data.samples), list(data.files)) == (None, "train.h5", [TRAIN], ["train"])
    np.testing.assert_array_equal(data.reference.energies, SHOWERS.energies)


def test_test_showers_at_momenta_that_do_not_train_are_left_out(folder: Path, tmp_path: Path) -> None:
    showers = toy_showers(20, 3, (1024.0, 2048.0, 16384.0, 65536.0))
    showers.write(tmp_path / "more.h5")
    data = read(arguments(folder, test_data=tmp_path / "more.h5"))
    kept = np.isin(showers.incident_energies, [1024.0, 16384.0])
    assert data.held_out is not None
    np.testing.assert_array_equal(data.held_out.energies, showers.energies[kept])
    toy_showers(20, 3, (2048.0,)).write(tmp_path / "none.h5")
    with pytest.raises(DataFormatError, match=r"none\.h5 must hold showers at momenta of .*train\.h5. Received: none"):
        read(arguments(folder, test_data=tmp_path / "none.h5"))


@pytest.mark.parametrize("name", ["train_data", "test_data"])
def test_a_single_shower_of_a_momentum_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    chosen = np.append(np.flatnonzero(SHOWERS.incident_energies != 4096.0), SHOWERS.incident_energies.argmin())
    chosen[-1] = np.flatnonzero(SHOWERS.incident_energies == 4096.0)[0]
    SHOWERS[chosen].write(tmp_path / "one.h5")
    with pytest.raises(DataFormatError, match=r"one\.h5 must hold several different showers of each.*at 4096 MeV"):
        read(arguments(folder, **{name: tmp_path / "one.h5"}))


def test_a_range_without_showers_is_refused_before_any_training(data: Data, folder: Path, tmp_path: Path) -> None:
    empty = replace(LARGE, lowest_momentum=2.0**20, highest_momentum=2.0**22)
    configs = {"low": (LARGE, TINY_VOXELS), "empty": (empty, TINY_VOXELS)}
    given = arguments(folder, runs=tmp_path / "runs")
    with pytest.raises(DataFormatError, match=r"at 1048576\.\.4194304 MeV. Received: showers at 1024, 4096"):
        study.run_study(replace(TOY, configs=configs, ensembles={}), given, data)
    assert not (tmp_path / "runs").exists()


def test_momenta_that_an_ensemble_does_not_span_are_refused_before_any_training(folder: Path, tmp_path: Path) -> None:
    given = arguments(folder, runs=tmp_path / "runs")
    low = Data(train=toy_showers(5, 1, (128.0, 1024.0, 4096.0, 16384.0)), held_out=None, files={}, note="")
    expected = r"two GANs needs momenta within 1024\.\.4096, 4096\.\.16384 MeV. Received: 128 MeV"
    with pytest.raises(DataFormatError, match=expected):
        run_study(TOY, given, low)
    between = replace(low, train=SHOWERS, held_out=toy_showers(5, 2, (32768.0,)))
    with pytest.raises(DataFormatError, match="Received: 32768 MeV"):
        run_study(TOY, given, between)
    with pytest.raises(DataFormatError, match=r"one GAN needs momenta within 1024\.\.4096 MeV. Received: 16384 MeV"):
        run_study(replace(TOY, ensembles={**TOY.ensembles, "one GAN": ("low",)}), given, replace(low, train=SHOWERS))
    assert list(tmp_path.iterdir()) == []
    empty = replace(low.train, energies=np.where(low.train.incident_energies[:, None] > 128, low.train.energies, 0))
    study.require_coverage(TOY, replace(low, train=empty))  # what has no energy is not drawn


def test_showers_without_energy_are_no_reference(data: Data) -> None:
    train = replace(SHOWERS, energies=SHOWERS.energies * (np.arange(len(SHOWERS)) % 3 > 0)[:, None])
    found = replace(data, train=train).reference
    kept = SHOWERS.energies[np.arange(len(SHOWERS)) % 3 > 0]
    np.testing.assert_array_equal(found.energies, np.concatenate([kept, OTHERS.energies]))


def test_a_study_trains_judges_and_compares(outcome: Outcome, folder: Path, data: Data) -> None:
    directory = folder / "runs" / "toy" / "smoke-seed1"
    assert list(outcome.networks) == list(outcome.tests) == list(outcome.provenance) == ["low", "upper"]
    for name, config in (("low", LARGE), ("upper", UPPER)):
        assert outcome.networks[name].run.config == replace(config, iterations=4, seed=1)
        assert outcome.provenance[name]["showers"] == 80
        assert len(list((directory / name / "snapshots").iterdir())) == 4
    events = [line.split('"event": "')[1].split('"')[0] for line in (directory / "log.jsonl").read_text().splitlines()]
    assert events == ["started", "network", "judged", "network", "judged", "finished"]
    assert {momentum: list(item) for momentum, item in outcome.comparisons.by_energy.items()} == {
        1024.0: ["total_energy", "first", "second"],
        4096.0: ["total_energy", "first"],
        16384.0: ["total_energy"],
    }
    assert list(outcome.comparisons.together) == ["total_energy", "first", "second"]
    assert len(outcome.comparisons.reference) == len(data.reference)
    assert list(outcome.comparisons.generated) == ["two GANs"]


def test_a_second_launch_trains_nothing(
    outcome: Outcome, folder: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calogen.training.train.write_state", None)
    (again,) = run_study(TOY, arguments(folder), data)
    ours, theirs = (item.comparisons.generated["two GANs"].energies for item in (again, outcome))
    np.testing.assert_array_equal(ours, theirs)
    assert {name: test.chi2 for name, test in again.tests.items()} == {
        name: test.chi2 for name, test in outcome.tests.items()
    }


def test_variants_are_trained_with_the_first_seed_only(folder: Path, data: Data, tmp_path: Path) -> None:
    toy = replace(TOY, ensembles={"one": ("low",), "other": ("upper",)}, variants={"upper"}, detailed=())
    low = replace(data, train=SHOWERS.at(4096.0), held_out=OTHERS.at(4096.0))
    first, second = run_study(toy, arguments(folder, runs=tmp_path, seeds=(1, 2)), low)
    assert [list(item.networks) for item in (first, second)] == [["low", "upper"], ["low"]]
    assert [list(item.comparisons.generated) for item in (first, second)] == [["one", "other"], ["one"]]
    assert [path.name for path in sorted((tmp_path / "toy" / "smoke-seed2").glob("*/"))] == ["low"]


def check(test: Any, run: TrainedRun, reference: Showers, seed: int, rule: str = "caloshowergan") -> None:
    """The chi2 of the chosen iteration, computed directly."""
    ours = generate(run, reference.incident_energies, seed)
    assert test.chi2 == chi2_by_momentum(reference, ours, RULES[rule])
    assert set(test.num_showers.items()) == {
        (momentum, int((reference.incident_energies == momentum).sum())) for momentum in test.chi2
    }


def judge_seed(outcome: Outcome, name: str) -> int:
    """The seed that judges: of the training's own stream."""
    return named_seed(outcome.networks[name].run.config.seed, "select")


def test_networks_are_judged_in_their_range(outcome: Outcome, folder: Path, data: Data) -> None:
    test, rule = outcome.tests["low"], RULES["caloshowergan"]
    train, held_out = (showers[showers.incident_energies <= 4096] for showers in (SHOWERS, OTHERS))
    assert list(test.scans) == [ALL, TRAIN, HELD_OUT, WITH_SHAPES]
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
        found = judge("low", config, alone, copied)
        assert list(found.test.scans) == [ALL, WITH_SHAPES]
        assert (dict(found.test.floor), found.test.held_out_within(None)) == ({}, None)
        inside = SHOWERS[SHOWERS.incident_energies <= 4096]
        check(found.test, found.run, inside, judge_seed(outcome, "low"))


def test_held_out_showers_may_lack_momenta(outcome: Outcome, data: Data, copied: Path) -> None:
    held_out = toy_showers(60, 4, (1024.0,))
    found = judge("low", outcome.networks["low"].run.config, replace(data, held_out=held_out), copied)
    assert found.test.floor == chi2_by_momentum(SHOWERS.at(1024.0), held_out[:40], RULES["caloshowergan"])
    assert found.test.scans[HELD_OUT].momenta.tolist() == [1024.0]
    assert found.test.num_showers == {1024.0: 100, 4096.0: 40}


def test_shapes_choose_where_they_are_wanted(outcome: Outcome, data: Data, copied: Path) -> None:
    config, reference = outcome.networks["low"].run.config, data.reference[data.reference.incident_energies <= 4096]
    own = Judge(
        reference=reference,
        merits={name: Chi2Merit("caloshowergan", name == WITH_SHAPES) for name in (ALL, WITH_SHAPES)},
    )
    scan(copied, own)  # another judge's record is in the way
    found = judge("low", config, data, copied, {"merit": "shapes"})
    table = found.test.scans[WITH_SHAPES]
    assert found.test.chosen_by == WITH_SHAPES
    assert found.test.iteration == table.iterations[table.best]
    assert read_json(copied / "selected" / "selection.json") == {
        "iteration": found.test.iteration,
        "chi2_per_ndf": table.total[table.best],
    }


@pytest.mark.parametrize(("particle", "rule"), [("photon", "fastcalogan-photons"), ("pion", "fastcalogan-hadrons")])
def test_fastcalogans_rule_judges_where_it_is_wanted(
    particle: str, rule: str, outcome: Outcome, data: Data, copied: Path
) -> None:
    config = replace(outcome.networks["low"].run.config, particle=particle)
    found = judge("low", config, data, copied, {"rule": "fastcalogan"})
    inside = data.reference[data.reference.incident_energies <= 4096]
    check(found.test, found.run, inside, judge_seed(outcome, "low"), rule)
    assert found.test.chi2 != outcome.tests["low"].chi2
    assert list(found.test.scans) == [ALL, TRAIN, HELD_OUT], "it is of energies only"
    assert found.test.floor == {
        momentum: chi2_by_momentum(SHOWERS.at(momentum)[:20], OTHERS.at(momentum), RULES[rule])[momentum]
        for momentum in (1024.0, 4096.0)
    }
    table = found.test.scans[ALL]
    assert table.chi2[table.best].tolist() == [part.value for part in found.test.chi2.values()]


def test_fastcalogans_rule_has_no_shapes(outcome: Outcome, data: Data, copied: Path) -> None:
    options, before = {"rule": "fastcalogan", "merit": "shapes"}, set(copied.rglob("*"))
    with pytest.raises(ConfigError, match="--merit shapes goes with --rule caloshowergan. Received: fastcalogan"):
        judge("low", outcome.networks["low"].run.config, data, copied, options)
    assert set(copied.rglob("*")) == before


def test_a_choice_need_not_be_written(outcome: Outcome, data: Data, copied: Path) -> None:
    config = outcome.networks["low"].run.config
    found = judge("low", config, data, copied, save=False)
    assert found.test.chi2 == outcome.tests["low"].chi2
    assert not (copied / "selected").exists()
    judge("low", config, data, copied)
    assert read_json(copied / "selected" / "selection.json")["iteration"] == found.test.iteration


def test_showers_without_energy_do_not_judge(outcome: Outcome, data: Data, copied: Path) -> None:
    low = SHOWERS.at(1024.0)
    empty = replace(low[:7], energies=np.zeros_like(low[:7].energies))
    more = replace(data, train=concatenate([empty, SHOWERS]), held_out=concatenate([empty, OTHERS]))
    found = judge("low", outcome.networks["low"].run.config, more, copied).test
    assert (found.chi2, found.floor) == (outcome.tests["low"].chi2, outcome.tests["low"].floor)
    assert found.num_showers == outcome.tests["low"].num_showers


def contents(directory: Path) -> dict[Path, tuple[bytes, int]]:
    """Of all files: bytes, and time of the last change."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.rglob("*") if path.is_file()}


def other(folder: Path, paper: str, name: str, seed: int, **changes: Any) -> NetworkTest | None:
    """The other experiment's test, with this one's arguments and the showers that they name."""
    given = arguments(folder, **changes)
    return study.other_test(paper, name, seed, given, read(given), selection(GAN_VALUES))


def test_the_test_of_another_experiment(outcome: Outcome, folder: Path) -> None:
    selected = folder / "runs" / "toy" / "smoke-seed1" / "low" / "selected"
    before = contents(selected)
    found = other(folder, "toy", "low", 1)
    assert found is not None
    assert contents(selected) == before != {}
    assert (found.chi2, found.floor, found.iteration) == (
        outcome.tests["low"].chi2,
        outcome.tests["low"].floor,
        outcome.tests["low"].iteration,
    )
    assert other(folder, "toy", "low", 2) is None
    assert other(folder, "toy", "medium", 1) is None
    assert other(folder, "others", "low", 1) is None
    assert other(folder, "toy", "low", 1, preset="laptop") is None


def test_a_run_of_other_showers_is_no_other_test(outcome: Outcome, folder: Path, tmp_path: Path) -> None:
    directory = folder / "runs" / "toy" / "smoke-seed1" / "low"
    before = contents(directory)
    toy_showers(40, 9, (1024.0, 4096.0, 16384.0)).write(tmp_path / "other.h5")
    assert other(folder, "toy", "low", 1, train_data=tmp_path / "other.h5") is None
    assert contents(directory) == before
    upper = SHOWERS.incident_energies > 4096  # showers that this network never sees may differ
    replace(SHOWERS, energies=SHOWERS.energies * np.where(upper, 2, 1)[:, None]).write(tmp_path / "same.h5")
    found = other(folder, "toy", "low", 1, train_data=tmp_path / "same.h5")
    assert found is not None and found.chi2 == outcome.tests["low"].chi2  # noqa: PT018
    assert contents(directory / "selected") == {path: old for path, old in before.items() if "selected" in path.parts}


def test_another_experiments_run_is_judged_by_one_process_at_a_time(outcome: Outcome, folder: Path) -> None:
    lock = directory_lock(folder / "runs" / "toy" / "smoke-seed1" / "low")
    with lock, pytest.raises(CalogenError, match="in use by process"):
        other(folder, "toy", "low", 1)


def test_a_run_that_was_selected_generates(outcome: Outcome, folder: Path) -> None:
    paths = [folder / "runs" / "toy" / "smoke-seed1" / name / "selected" for name in ("low", "upper")]
    momenta = np.repeat([1024.0, 4096.0, 16384.0], 5)
    expected = generate([outcome.networks[name].run for name in ("low", "upper")], momenta, 4)
    np.testing.assert_array_equal(generate(paths, momenta, 4).energies, expected.energies)
    assert load_run(paths[0]).momentum_range == (1024.0, 4096.0)
