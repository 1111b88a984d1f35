import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest
from keras import layers

from calogen.lwtnn.graph import read_graph
from calogen.lwtnn.runtime import evaluate
from calogen.preprocessing import Chain, LayerFractions, LinearEnergy

SCRIPT = Path(__file__).parents[1] / "export" / "export_lwtnn.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("export_lwtnn", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _decoder(last: layers.Layer | None = None) -> keras.Model:
    latent, condition = keras.Input((2,), name="latent"), keras.Input((1,), name="condition")
    x = layers.Dense(8, activation="tanh")(layers.Concatenate()([latent, condition]))
    x = layers.Dense(8, activation="sigmoid")(x)
    return keras.Model([latent, condition], last([x, x]) if last else x)


def _write_run(path: Path, model: keras.Model) -> None:
    path.mkdir(parents=True)
    model.save(path / "decoder.keras")
    chain = Chain((LayerFractions((3, 2)),), (LinearEnergy(1000.0),))
    (path / "transform.json").write_text(json.dumps(chain.to_json()))
    (path / "config.json").write_text("{}")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "atlas-vae" / "smoke-seed1"
    _write_run(path, _decoder())
    return path


def test_all_runs_are_exported(
    run: Path, tmp_path: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_run(tmp_path / "runs" / "atlas-vae" / "smoke-seed2", _decoder())
    (tmp_path / "runs" / "atlas-vae" / "unfinished").mkdir()
    script.main([str(tmp_path / "runs")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        str(run.with_name(f"smoke-seed{k}") / "lwtnn" / "decoder.json") for k in (1, 2)
    ]
    assert all(float(line.split()[-1]) <= 1e-5 for line in lines)


def test_manifest_and_network(run: Path, script: ModuleType) -> None:
    script.main([str(run)])
    network, manifest = run / "lwtnn" / "decoder.json", json.loads((run / "lwtnn" / "manifest.json").read_text())
    assert manifest["inputs"] == [
        {"name": "latent", "size": 2, "variables": ["variable_0", "variable_1"]},
        {"name": "condition", "size": 1, "variables": ["variable_0"]},
    ]
    assert (manifest["output"]["size"], manifest["output"]["labels"]) == (8, ["out_0", "...", "out_7"])
    assert manifest["output"]["features"][0].startswith("LayerFractions: ")
    assert manifest["condition"][0].startswith("LinearEnergy: ")
    assert manifest["transform"] == json.loads((run / "transform.json").read_text())
    assert 0 < manifest["check"]["largest_relative_difference"] <= manifest["check"]["tolerance"]
    for name, digest in manifest["sha256"].items():
        path = network if name == "decoder.json" else run / name
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    model = keras.saving.load_model(run / "decoder.keras")
    z, c = np.ones((3, 2), np.float32), np.zeros((3, 1), np.float32)
    result = evaluate(read_graph(network), {"latent": z, "condition": c})
    np.testing.assert_allclose(result, model.predict([z, c], verbose=0), atol=1e-6)


def test_output_directory_and_repetition(run: Path, tmp_path: Path, script: ModuleType) -> None:
    output = tmp_path / "networks"
    script.main([str(run), "--output", str(output)])
    written = sorted((output / "atlas-vae" / "smoke-seed1").iterdir())
    first = [path.read_bytes() for path in written]
    script.main([str(run), "--output", str(output)])
    assert [path.name for path in written] == ["decoder.json", "manifest.json"]
    assert [path.read_bytes() for path in written] == first
    assert not (run / "lwtnn").exists()


def _refused(script: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit_info:
        script.main(arguments)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_nothing_is_written_when_the_networks_disagree(
    run: Path, script: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "TOLERANCE", 1e-12)
    assert "must agree with Keras to 1e-12" in _refused(script, [str(run)], capsys)
    assert not (run / "lwtnn").exists()


def test_refusals(tmp_path: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert "make reproduce-atlas-vae" in _refused(script, [str(tmp_path)], capsys)
    bad = tmp_path / "a" / "b"
    _write_run(bad, _decoder(layers.Multiply(name="product")))
    assert "Multiply 'product'" in _refused(script, [str(bad)], capsys)
    assert not (bad / "lwtnn").exists()
    (bad / "decoder.keras").write_bytes(b"nonsense")
    assert "cannot load" in _refused(script, [str(bad)], capsys)
    (bad / "transform.json").write_text("{")
    assert "not a JSON file" in _refused(script, [str(bad)], capsys)


def test_help_teaches(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        script.main(["--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "1000 random inputs" in text
