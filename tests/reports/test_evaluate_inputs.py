"""`calogen evaluate` on files as others write them: what is accepted, what is said, what is refused and how."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from toy_commands import page_of

from calogen.cli.options import find_files, find_labelled
from calogen.errors import ConfigError, DataFormatError
from calogen.evaluation import judging
from calogen.evaluation.assessment import Assessment
from calogen.evaluation.judging import Options, assess, read_reference
from calogen.observables.cells import CELL_OBSERVABLES
from calogen.provenance import file_record
from calogen.reports.evaluate_cells import evaluate_cells
from calogen.showers.sample import Showers, concatenate
from calogen.showers.windows import ATLAS_VAE_WINDOW

QUICK = Options(repetitions=0)
TOLERANT = replace(QUICK, tolerant=True)

REFERENCE, GENERATED = make_showers(TINY_VOXELS, 200, 1), make_showers(TINY_VOXELS, 200, 2)
LABELS = GENERATED.incident_energies


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reference; distances, pictures and errors by resampling are left out."""
    REFERENCE.write(tmp_path / "reference.h5")
    monkeypatch.setattr(judging, "_numbers", lambda *_: ({}, frozenset()))
    monkeypatch.setattr(judging, "take_pictures", lambda *_: None)
    return tmp_path


def write(path: Path, energies: np.ndarray, labels: np.ndarray) -> Path:
    """A file that need not hold what `Showers` accept."""
    with h5py.File(path, "w") as file:
        file["incident_energies"], file["showers"] = labels[:, None], energies
    return path


def evaluate(folder: Path, generated: Any, reference: Any = None, training: Any = None, **options: Any) -> Assessment:
    """The assessment, without classifiers."""
    settings = Options(repetitions=0, **options)
    prepared = read_reference(reference or folder / "reference.h5", TINY_VOXELS, None, settings, training)
    return assess(prepared, generated, "GAN")[0]


def test_labels_of_a_logarithm_change_no_number(folder: Path) -> None:
    exact = write(folder / "exact.h5", GENERATED.energies, LABELS)
    noisy = write(folder / "noisy.h5", GENERATED.energies, 10 ** np.log10(LABELS.astype(np.float32)).astype(float))
    with h5py.File(noisy) as file:
        assert (file["incident_energies"][:, 0] != LABELS).any()
    expected, found = evaluate(folder, exact), evaluate(folder, noisy)
    assert expected.warnings == ()
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("generated: ")
    assert "incident energies were off the reference's by up to" in found.warnings[0]
    assert found.rows() == expected.rows()


def test_a_reference_with_noisy_labels_has_discrete_energies(folder: Path) -> None:
    noise = np.resize([1 + 1e-7, 1 - 1e-7], 200)
    write(folder / "reference.h5", REFERENCE.energies, REFERENCE.incident_energies * noise)
    rows = evaluate(folder, write(folder / "a.h5", GENERATED.energies, LABELS)).rows()
    energies = {row["incident_energy"] for row in rows if row["quantity"] == "response"}
    assert energies == {None, *np.unique(LABELS).tolist()}


def test_tolerant_clips_and_rounds_and_says_how_much(folder: Path) -> None:
    energies = GENERATED.energies.astype(float)
    energies[3, 2] = -5e-4 * LABELS[3]
    path = write(folder / "a.h5", energies, LABELS)
    with pytest.raises(DataFormatError, match=r"1 negative energies in 1 showers.*--tolerant sets them to 0"):
        evaluate(folder, path)
    rounded = write(folder / "b.h5", energies, LABELS * (1 + 4e-4))
    with pytest.raises(DataFormatError, match=r"others, as .* MeV; --tolerant takes those within 0.1 %"):
        evaluate(folder, rounded)
    warnings = evaluate(folder, rounded, tolerant=True).warnings
    assert [warning.partition(" up to")[0] for warning in warnings] == [
        "generated: 200 incident energies were off the reference's by",
        "generated: set to 0 were 1 negative energies in 1 showers, together",
    ]


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("match", [False, True])
def test_gev_is_named_wherever_it_is(folder: Path, tolerant: bool, match: bool) -> None:
    options = {"tolerant": tolerant, "match_energies": match}
    gev = GENERATED.energies / 1000
    for energies, labels in ((gev, LABELS / 1000), (GENERATED.energies, LABELS / 1000), (gev, LABELS)):
        with pytest.raises(DataFormatError, match="in MeV.*multiply by 1000 what is in GeV"):
            evaluate(folder, write(folder / "a.h5", energies, labels), **options)
    write(folder / "reference.h5", REFERENCE.energies / 1000, REFERENCE.incident_energies / 1000)
    with pytest.raises(DataFormatError, match=r"reference\.h5: energies must be in MeV"):
        evaluate(folder, write(folder / "a.h5", gev, LABELS / 1000), **options)


def test_shares_that_differ_have_a_remedy(folder: Path) -> None:
    uneven = concatenate([GENERATED, *[make_showers(TINY_VOXELS, 400, seed) for seed in (3, 4)]])
    uneven = uneven[(uneven.incident_energies < 2**13) | (np.arange(len(uneven)) < 200)]
    uneven.write(folder / "uneven.h5")
    with pytest.raises(DataFormatError, match="in the same shares.*--match-energies leaves out showers"):
        evaluate(folder, folder / "uneven.h5")
    found = evaluate(folder, folder / "uneven.h5", match_energies=True)
    assert f"of its {len(uneven)} showers were taken, so that the shares of energies agree" in found.warnings[0]
    assert 50 < found.judgement.num_showers["generated"] < 250


def test_several_files_are_one_sample_and_all_are_hashed(folder: Path) -> None:
    parts = []
    for number, rows in enumerate((slice(0, 90), slice(90, 200))):
        parts.append(folder / f"part{number}.h5")
        REFERENCE[rows].write(parts[-1])
    GENERATED.write(folder / "a.h5")
    whole, joint = evaluate(folder, folder / "a.h5"), evaluate(folder, (folder / "a.h5",), tuple(parts))
    assert joint.rows() == whole.rows()
    found = joint.provenance["data"]
    assert found["reference"] == {path.name: file_record(path) for path in parts}
    assert found["generated"]["file"] == "a.h5"


def test_a_copy_is_called_one_whatever_its_order(folder: Path) -> None:
    REFERENCE[::-1].write(folder / "backwards.h5")
    for name in ("reference.h5", "backwards.h5"):
        warning = evaluate(folder, folder / name).warnings[0]
        assert warning.startswith("ATTENTION: 200 of the 200 generated showers are showers of the reference")


def empty(showers: Showers) -> Showers:
    return replace(showers, energies=0 * showers.energies)


def copied(showers: Showers) -> Showers:
    return replace(showers, energies=REFERENCE.energies[: len(showers)], incident_energies=REFERENCE.incident_energies)


@pytest.mark.parametrize(
    ("change", "message"),
    [(empty, "all of the 200 generated showers are empty"), (copied, "generated showers are showers of the training")],
)
def test_what_is_no_model_is_said_loudly(folder: Path, change: Callable[[Showers], Showers], message: str) -> None:
    change(GENERATED).write(folder / "a.h5")
    REFERENCE.write(folder / "training.h5")
    make_showers(TINY_VOXELS, 200, 9).write(folder / "reference.h5")
    warnings = evaluate(folder, folder / "a.h5", training=folder / "training.h5").warnings
    alarms = [warning for warning in warnings if warning.startswith("ATTENTION: ")]
    assert list(warnings[: len(alarms)]) == alarms
    assert any(message in warning for warning in alarms)


def test_a_training_file_tells_what_a_model_remembers(folder: Path) -> None:
    training = make_showers(TINY_VOXELS, 300, 5)
    training.write(folder / "training.h5")
    GENERATED.write(folder / "a.h5")
    found = evaluate(folder, folder / "a.h5", training=folder / "training.h5")
    assert found.warnings[0].startswith("no sign of memorising: among 300 training and 200 reference showers")
    assert {"remembered", "training_distance"} <= set(found.numbers)
    assert found.provenance["data"]["training"]["file"] == "training.h5"
    noise = np.random.default_rng(1).normal(1, 0.01, training.energies.shape).astype(np.float32)
    replace(training, energies=training.energies * noise).write(folder / "a.h5")
    found = evaluate(folder, folder / "a.h5", training=folder / "training.h5")
    assert found.warnings[0].startswith("ATTENTION: the model remembers its training file: among 300")
    assert found.numbers["remembered"].value > 0.9


def test_cells_are_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calogen.evaluation.cells.CELL_OBSERVABLES", CELL_OBSERVABLES[:1])
    monkeypatch.setattr("calogen.reports.evaluate_cells.draw_cells", lambda *_: {})
    both = make_showers(ATLAS_VAE_WINDOW, 700, 1).at(65536.0)
    first, second = both[::2], both[1::2]
    first[:20].write(tmp_path / "low.h5")
    first[20:].write(tmp_path / "high.h5")
    energies, labels = second.energies.copy(), second.incident_energies * (1 + 3e-7)
    energies[2, 5] = -1.0
    with h5py.File(tmp_path / "vae.h5", "w") as file:
        file["incident_energies"], file["cells"] = labels[:, None], energies
    reference = tmp_path / "low.h5", tmp_path / "high.h5"
    with pytest.raises(DataFormatError, match=r"vae\.h5, showers 0 to .*: energies must not be negative.*--tolerant"):
        evaluate_cells(reference, {"VAE": tmp_path / "vae.h5"}, tmp_path / "out", options=QUICK)
    page = page_of(evaluate_cells(reference, {"VAE": tmp_path / "vae.h5"}, tmp_path / "out", options=TOLERANT))
    assert "set to 0 were 1 negative energies" in page
    assert f"VAE: {len(second)} incident energies were off the reference" in page
    copy = page_of(evaluate_cells(reference, {"VAE": reference}, tmp_path / "copy", options=QUICK))
    assert f"ATTENTION: {len(first)} of the {len(first)} VAE showers are showers of the reference" in copy
    replace(second, incident_energies=labels / 1000).write(tmp_path / "gev.h5")
    with pytest.raises(DataFormatError, match="VAE must have incident energies in MeV"):
        evaluate_cells(reference, {"VAE": tmp_path / "gev.h5"}, tmp_path / "out", options=QUICK)


def write_cells(folder: Path, **numbers: int) -> dict[str, Path]:
    """Files of so many showers of 66 GeV each."""
    for seed, (name, number) in enumerate(numbers.items()):
        showers = make_showers(ATLAS_VAE_WINDOW, number, seed)
        replace(showers, incident_energies=np.full(number, 65536.0)).write(folder / f"{name}.h5")
    return {name: folder / f"{name}.h5" for name in numbers}


@pytest.fixture
def one_observable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calogen.evaluation.cells.CELL_OBSERVABLES", CELL_OBSERVABLES[:1])
    monkeypatch.setattr("calogen.reports.evaluate_cells.draw_cells", lambda *_: {})


@pytest.mark.usefixtures("one_observable")
def test_cells_of_a_single_shower_have_no_metric_and_no_verdict(tmp_path: Path) -> None:
    files = write_cells(tmp_path, reference=60, VAE=1)
    page = page_of(evaluate_cells(files["reference"], {"VAE": files["VAE"]}, tmp_path / "out", options=QUICK))
    text = (tmp_path / "out" / "report.md").read_text()
    for shown in (page, text):
        assert "VAE: one shower at 65.5 GeV, so no metric is defined" in shown
        assert "Nothing was judged" in shown
        assert "All observables together" not in shown, "a table without a row"
        assert not re.search(r"\bnan\b", shown)
    (row,) = (line for line in text.splitlines() if line.startswith("| Energy in the presampler [GeV]"))
    assert row.count("| - (not defined) ") == len(CELL_OBSERVABLES[0].metrics)


@pytest.mark.usefixtures("one_observable")
def test_training_cells_in_the_reference_are_left_out_of_the_memory(tmp_path: Path) -> None:
    """Half of the reference is the training file; cells below 1 MeV are no part of a copy."""
    files = write_cells(tmp_path, training=60, other=60, VAE=60)
    training, other = (Showers.read(files[name], ATLAS_VAE_WINDOW) for name in ("training", "other"))
    changed = replace(training, energies=np.where(training.energies < 1, np.float32(0.5), training.energies))
    concatenate([changed, other]).write(tmp_path / "both.h5")
    text = page_of(
        evaluate_cells(
            tmp_path / "both.h5", {"VAE": files["VAE"]}, tmp_path / "out", options=QUICK, training=files["training"]
        )
    )
    assert "no sign of memorising: among 60 training and 60 reference showers" in text
    assert not re.search(r"\bnan\b", text)


def test_cells_of_continuous_energies_are_refused(tmp_path: Path) -> None:
    showers = make_showers(ATLAS_VAE_WINDOW, 60, 1)
    replace(showers, incident_energies=np.linspace(1e3, 2e5, 60)).write(tmp_path / "a.h5")
    with pytest.raises(DataFormatError, match="50 incident energies at most.* Received: 60, as of continuous"):
        evaluate_cells(tmp_path / "a.h5", {"VAE": tmp_path / "a.h5"}, tmp_path / "out", options=QUICK)


@pytest.mark.usefixtures("one_observable")
def test_few_cells_are_told_as_few_voxels_are(tmp_path: Path) -> None:
    files = write_cells(tmp_path, reference=90, VAE=60, second=40)
    evaluate_cells(files["reference"], {"VAE": files["VAE"]}, tmp_path / "out", files["second"], QUICK)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "VAE: FPD and KPD are of 60 showers; as they grow with fewer showers, compare only with as many" in text
    assert "second reference: FPD and KPD are of 40 showers" in text
    assert text.count("VAE: the second reference has 40 showers, the generated file 60: distances are larger") == 1
    assert "All observables together" in text


def test_labels() -> None:
    assert find_labelled(["VAE=a=b.h5", "GAN=c.h5"]) == {"VAE": (Path("a=b.h5"),), "GAN": (Path("c.h5"),)}
    assert find_labelled(["some/a.h5", "b=c.h5"]) == {"a": (Path("some/a.h5"),), "b": (Path("c.h5"),)}
    for wrong in (["=a.h5"], ["VAE="], ["VAE=a", "VAE=b"], ["a.h5", "other/a.h5"], ["../up=a.h5"], [""], ["..=a.h5"]):
        with pytest.raises(ConfigError, match="must be FILE or LABEL=FILE"):
            find_labelled(wrong)


def test_patterns_are_files_of_one_sample_or_models_of_their_own(tmp_path: Path) -> None:
    paths = [tmp_path / f"part{number}.h5" for number in (1, 2)]
    for path in (*paths, tmp_path / ".part3.partial.h5"):
        path.touch()
    pattern = str(tmp_path / "*.h5")
    assert find_files([pattern, str(paths[0]), "other.h5"]) == (*paths, Path("other.h5"))
    assert find_labelled([f"GAN={pattern}"]) == {"GAN": tuple(paths)}
    assert find_labelled([pattern]) == {"part1": (paths[0],), "part2": (paths[1],)}
    with pytest.raises(ConfigError, match=r"must match files. Received: .*\*.hdf5, which matches none"):
        find_files([str(tmp_path / "*.hdf5")])
