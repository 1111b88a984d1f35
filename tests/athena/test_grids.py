import io
import json
from pathlib import Path

import numpy as np
import pytest
from toy_grid_networks import SMALL_GRID, small_grid_run

from calogen.athena import grids
from calogen.athena.closure import in_float64
from calogen.athena.export import export_runs
from calogen.athena.grids import TOLERANCE, build_grids, closure, grid_model
from calogen.athena.onnx import evaluate_onnx
from calogen.errors import ExportError
from calogen.features.conditions import Column, LinearEnergy, LogEnergy
from calogen.generation.generate import generate
from calogen.showers.conditions import Conditions
from calogen.training.latent import EncodedLatent
from calogen.training.run import TrainedRun, save_run

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'calogen[export]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'calogen[export]'")


@pytest.fixture(scope="module")
def inclined() -> TrainedRun:
    """A decoder with a post processor that knows energy and angle."""
    return small_grid_run("bib-ae", angles=True)


def test_a_model_says_what_it_takes_and_gives(inclined: TrainedRun) -> None:
    model = grid_model(inclined)
    texts = {
        "latent": "5 numbers, normal, mean 0, standard deviation 1",
        "condition": "incident energy, GeV; angle, degrees",
        "energies": "energies of the cells, MeV: 5 layers of 8 x 7 cells, x and z (fastest)",
    }
    assert {item.key: item.value for item in model.metadata_props} == texts
    assert {item.name: item.doc_string for item in (*model.graph.input, *model.graph.output)} == texts
    assert model.doc_string == "decoder and post_processor of bib_ae"
    uniform = grid_model(small_grid_run("gan"))
    assert uniform.graph.input[1].doc_string == "5 numbers, uniform, mean 0, half-width 1"


def test_columns_of_the_condition_have_units() -> None:
    texts = [
        grids._condition_text(encoding)
        for encoding in (LinearEnergy(250.0), Column("angle", 0.1, 2.0), Column("x"), LogEnergy(1.0, 2.0))
    ]
    assert texts[:3] == ["incident energy / 250 MeV", "(angle - 0.1) / 2", "(x - 0) / 1"]
    assert texts[3].startswith("LogEnergy: ")


def test_the_file_gives_the_showers_that_calogen_generates() -> None:
    run = small_grid_run("bib-ae", angles=True, post_processing=False)
    made = build_grids(run)
    assert list(made.contents) == [made.file] == ["decoder.onnx"]
    given = Conditions(np.array([2e4, 5e4, 9e4]), {"angle": np.array([0.8, 1.2, 1.5])})
    condition = np.array([[20.0, np.rad2deg(0.8)], [50.0, np.rad2deg(1.2)], [90.0, np.rad2deg(1.5)]])
    latent = run.latent.draw(3, np.random.SeedSequence(7))
    found = evaluate_onnx(made.contents[made.file], {"latent": latent, "condition": condition})
    expected = generate(run, given, 7).energies
    assert np.abs(found - expected).max() < 1e-5 * expected.sum(axis=1).min()


def test_manifest_and_page_say_how_far_from_keras(inclined: TrainedRun) -> None:
    made = build_grids(inclined)
    assert made.file == made.about["network"] == "decoder_then_post_processor.onnx"
    assert f"| `{made.file}` | onnxruntime | {made.deviation:.1e} |" in made.page()
    assert "- incident energy, GeV\n- angle, degrees\n" in made.page()
    assert made.about["closure"] == {"onnx": made.deviation, "keras_float32": made.of_float32, "showers": 24}
    assert made.about["output"]["size"] == SMALL_GRID.size


def test_a_wrong_network_does_not_close(inclined: TrainedRun) -> None:
    content = build_grids(inclined).contents["decoder_then_post_processor.onnx"]
    conditions = grids._random_conditions(inclined.transform, (1e4, 1e5))
    assert closure(content, inclined, conditions)[0] < TOLERANCE
    (kernel, *_) = inclined.networks["post_processor"].trainable_variables[-1:]
    weights = kernel.numpy()
    kernel.assign(1.01 * weights)
    try:
        assert closure(content, inclined, conditions)[0] > TOLERANCE
    finally:
        kernel.assign(weights)


def test_what_deviates_is_refused(inclined: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "TOLERANCE", 1e-16)
    with pytest.raises(ExportError, match=r"must agree with Keras in float64 to 1e-16 .* \(Keras in float32: "):
        build_grids(inclined)


def test_models_inside_models_are_doubled_in_precision(inclined: TrainedRun) -> None:
    latent, condition = inclined.latent.draw(2, 1).astype(np.float64), np.array([[20.0, 50.0], [90.0, 80.0]])
    values = {"latent": latent, "condition": condition}
    for name in inclined.generates:
        network = in_float64(inclined.networks[name])
        values["shower"] = network({tensor.name: values[tensor.name] for tensor in network.inputs}).numpy()
    both = in_float64(inclined.generator)({"latent": latent, "condition": condition}).numpy()
    np.testing.assert_allclose(both, values["shower"], rtol=1e-9, atol=1e-9 * np.abs(both).max())


def test_a_fitted_latent_space_goes_with_the_model(tmp_path: Path) -> None:
    """Its conditions are those of the showers from which it was fitted."""
    run = small_grid_run("bib-ae", latent_sampler="posterior", post_processing=False)
    rng = np.random.default_rng(1)
    sampler = EncodedLatent(rng.normal(size=(9, 3)), rng.uniform(10, 100, (9, 1)), dim=5)
    save_run(tmp_path / "runs" / "grids" / "one", TrainedRun(**{**vars(run), "latent": sampler}))
    ((text, fault),) = export_runs(tmp_path / "runs", tmp_path / "out")
    folder = tmp_path / "out" / "grids" / "one"
    assert fault == ""
    assert text.splitlines()[0].startswith(f"{folder} (ONNX): largest deviation ")
    about = json.loads((folder / "manifest.json").read_text())
    assert about["latent"]["file"] == "latent.npz"
    assert set(about["sha256"]) == {"decoder.onnx", "latent.npz"}
    assert "drawn from latent.npz. EncodedLatent: A kernel density" in about["latent"]["text"]
    with np.load(io.BytesIO((folder / "latent.npz").read_bytes()), allow_pickle=False) as file:
        read = EncodedLatent.from_arrays(dict(file))
    condition = np.full((4, 1), 50.0)
    np.testing.assert_array_equal(read.draw(4, 1, condition), sampler.draw(4, 1, condition))
