import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY_VOLUME, make_grid, make_showers
from toy_commands import exit_of_main, run
from toy_grid_networks import SMALL_GENERATORS

from calogen.athena import cells, grids
from calogen.athena.closure import Agreement
from calogen.cli.export import export_command
from calogen.errors import CalogenError
from calogen.models import atlas_vae
from calogen.models.atlas_vae import AtlasVaeConfig, build, build_transform
from calogen.process import Lenient
from calogen.training.fit import fit
from calogen.training.run import assemble_run, save_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two decoders below runs/atlas_vae."""
    grid = make_grid((2, 1), (3, 2))
    showers = make_showers(grid, 50)
    config = AtlasVaeConfig(encoder_units=(6,), decoder_units=(6,))
    transform = build_transform(config, grid).fit(showers)
    trained = assemble_run(atlas_vae, config, grid, build(config, grid), transform, [{"loss": 1.0}])
    for seed in (1, 2):
        save_run(tmp_path / "runs" / "atlas_vae" / f"smoke-seed{seed}", trained)
    return tmp_path / "runs"


def test_all_runs_are_exported(runs: Path, tmp_path: Path) -> None:
    (runs / "atlas_vae" / "unfinished").mkdir()
    printed = run("export", str(runs), "--output", str(tmp_path / "out")).splitlines()
    lines, notes = printed[::3], [line for line in printed if line.startswith("  ")]
    folders = [tmp_path / "out" / "atlas_vae" / f"smoke-seed{seed}" for seed in (1, 2)]
    assert [line.split(" (decoder): ")[0] for line in lines] == [str(folder) for folder in folders]
    assert [note.split(":")[0] for note in notes] == ["  smoke-seed1", "  lacks", "  smoke-seed2", "  lacks"]
    for folder in folders:
        assert sorted(path.name for path in folder.glob("[!.]*")) == ["closure.md", "decoder.json", "manifest.json"]


def test_what_cannot_be_printed_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = (tmp_path / "log").open("w")
    closed.close()
    monkeypatch.setattr("calogen.athena.export.export_runs", lambda *_, **_options: [("exported", "")])
    monkeypatch.setattr("calogen.generation.pretrained.exported_folders", lambda _: [tmp_path])
    monkeypatch.setattr(sys, "stdout", Lenient(closed))
    with pytest.raises(CalogenError, match="cannot write to the standard output"):
        export_command(output=tmp_path / "out")


def test_one_run_is_exported(runs: Path, tmp_path: Path) -> None:
    run("export", str(runs / "atlas_vae" / "smoke-seed2"), "--output", str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out" / "atlas_vae").iterdir()] == ["smoke-seed2"]


def test_a_run_that_cannot_be_exported_does_not_keep_the_others(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs / "atlas_vae" / "smoke-seed1" / "decoder.keras").write_bytes(b"PK")
    assert exit_of_main(monkeypatch, ["export", str(runs), "--output", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    first, second, *_ = printed.out.splitlines()
    assert first.startswith("not exported: atlas_vae/smoke-seed1: ")
    assert "must be a Keras model file" in first
    assert second.startswith(str(tmp_path / "out" / "atlas_vae" / "smoke-seed2"))
    assert "\ncalogen: error: 1 failed: atlas_vae/smoke-seed1: " in printed.err
    assert printed.err.count("\n") == 2


@pytest.mark.parametrize("eta", ["-25", "500", "22"])
def test_a_slice_that_no_class_asks_for_is_one_line_and_exit_code_2(
    eta: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["export", str(runs), "--eta", eta, "--output", str(tmp_path / "out")]
    assert exit_of_main(monkeypatch, command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "eta must be 100 times the lower edge of a slice: 0, 5, 10 to 495" in line
    assert not (tmp_path / "out").exists()


def test_no_run_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exit_of_main(monkeypatch, ["export", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must hold a trained run" in line


def test_distributions_that_differ_end_in_exit_code_2(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cells, "agreement", lambda *_: Agreement(10, 1e-9, 0.5, "energy at 1024 MeV"))
    assert (
        exit_of_main(
            monkeypatch, ["export", str(runs / "atlas_vae" / "smoke-seed1"), "--output", str(tmp_path / "out")]
        )
        == 2
    )
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].endswith("distributions DIFFER from Keras'")
    assert "atlas_vae/smoke-seed1: its distributions differ from Keras'" in printed.err


def _train_grid(directory: Path) -> None:
    """Two iterations of a generator."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'calogen[export]'")
    module, widths = SMALL_GENERATORS["gan"]
    discriminator = {"discriminator_filters": (2, 2), "discriminator_units": (2,)}
    config = replace(module.CONFIGS["laptop"][0], **widths, **discriminator, batch_size=4, iterations=2)
    fit(module, config, TINY_VOLUME, make_showers(TINY_VOLUME, 30), directory)


def test_a_grids_generator_is_exported_as_onnx(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, folder = tmp_path / "runs" / "grids" / "one", tmp_path / "out" / "grids" / "one"
    _train_grid(trained)
    line, quality, lacks = run("export", str(trained), "--output", str(tmp_path / "out")).splitlines()
    assert line.startswith(f"{folder} (ONNX): largest deviation ")
    assert quality.startswith("  one: trained ")
    assert lacks.startswith("  lacks: no LWTNN network, since lwtnn has no 3-D convolution")
    name = "generator.onnx"
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["closure.md", name, "manifest.json"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sha256"] == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()}
    assert manifest["condition"] == ["incident energy, GeV"]
    assert manifest["closure"]["onnx"] < 1e-5
    assert manifest["sources"][0]["training"]["showers"] > 0
    assert "| onnxruntime |" in (folder / "closure.md").read_text()

    before = {path.name: path.read_bytes() for path in folder.glob("[!.]*")}
    monkeypatch.setattr(grids, "TOLERANCE", 1e-16)
    assert exit_of_main(monkeypatch, ["export", str(trained), "--output", str(tmp_path / "out")]) == 2
    assert "must agree with Keras in float64 to 1e-16" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in folder.glob("[!.]*")}
