"""Keras with calogen's settings, whatever the environment and the user's home ask for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from calogen import backend

ROOT = Path(__file__).parents[1]
HOSTILE = {"floatx": "float16", "epsilon": 0.5, "backend": "jax", "image_data_format": "channels_first"}
NETWORK = """
import numpy as np
from calogen.models.fastcalogan import CONFIGS, build

config, geometry = CONFIGS["photon"]
network = build(config, geometry)["generator"]
energies = network({tensor.name: np.full((1, tensor.shape[1]), 0.3) for tensor in network.inputs}).numpy()
print(energies.dtype, energies.tobytes().hex()[:4000])
"""
"""Prints the output of a network."""


def python(code: str, home: Path, settings: object = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a new process whose home has this keras.json."""
    if settings is not None:
        (home / ".keras").mkdir()
        (home / ".keras" / "keras.json").write_text(json.dumps(settings))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "HOME": str(home), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_environment_and_home_change_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(NETWORK, {})  # here conftest.py keeps the user's home away
    expected = capsys.readouterr().out
    assert expected.startswith("float32 ")
    found = python(NETWORK, tmp_path, HOSTILE, KERAS_BACKEND="torch", KERAS_NNX_ENABLED="1")
    assert found.stdout == expected, found.stderr


@pytest.mark.parametrize("settings", [{"floatx": "bfloat16"}, []])
def test_a_home_that_keras_does_not_read_is_one_line(settings: object, tmp_path: Path) -> None:
    code = "import sys; sys.argv[1:] = ['generate', 'run', '--energies', '1024', '--output', 'x.h5']; "
    found = python(code + "from calogen.cli.main import main; main()", tmp_path, settings)
    (line,) = found.stderr.splitlines()
    assert line.startswith("calogen: error: Keras must be importable. Received: ")
    assert "keras.json" in line
    assert found.returncode == 2


@pytest.mark.parametrize(("name", "value"), [("backend", "jax"), ("floatx", "float64")])
def test_keras_that_was_imported_before_is_not_changed_but_refused(name: str, value: str, tmp_path: Path) -> None:
    """JAX is not there: a stand-in for Keras on it."""
    settings = {"backend": keras.config.backend(), **backend._SETTINGS, name: value}
    code = f"""
import sys, types
config = types.SimpleNamespace(**{{name: lambda value=value: value for name, value in {settings!r}.items()}})
sys.modules["keras"] = types.SimpleNamespace(config=config)
import calogen.metrics.distributions, calogen.showers.sample
from calogen.errors import ConfigError
try:
    import calogen.generation.generate
except ConfigError as error:
    print(error)
"""
    found = python(code, tmp_path)
    assert found.stderr == ""
    assert found.stdout.startswith("Keras must have {'backend': 'tensorflow', ")
    assert f"'{name}': '{value}'" in found.stdout
    assert "imported before calogen" in found.stdout
