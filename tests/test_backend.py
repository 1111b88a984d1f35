"""Keras with calogen's settings, whatever the environment and the user's home ask for."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

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


def python(*command: str, home: Path, settings: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in a new process whose home has this keras.json."""
    (home / ".keras").mkdir()
    (home / ".keras" / "keras.json").write_text(settings)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KERAS_", "TF_CPP_"))}
    return subprocess.run(
        [sys.executable, *command],
        env={**clean, "HOME": str(home), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
    )


@pytest.mark.parametrize("settings", [json.dumps(HOSTILE), '{"floatx": "bfloat16"}', "[]"])
def test_environment_and_home_change_no_numbers(
    settings: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(NETWORK, {})  # here conftest.py keeps the user's home away
    expected = capsys.readouterr().out
    assert expected.startswith("float32 ")
    theirs = {"KERAS_BACKEND": "torch", "KERAS_NNX_ENABLED": "1", "KERAS_MAX_EPOCHS": "many"}
    theirs["KERAS_HOME"] = str(tmp_path / ".keras")
    code = NETWORK + "import os\nprint({name: os.environ[name] for name in sorted(os.environ) if 'KERAS_' in name})"
    found = python("-c", code, home=tmp_path, settings=settings, **theirs)
    changed = dict(sorted((theirs | {"KERAS_BACKEND": "tensorflow", "KERAS_NNX_ENABLED": "0"}).items()))
    assert found.stdout == f"{expected}{changed}\n", found.stderr  # processes that this one starts find theirs


SCRIPTS = [*sorted(ROOT.glob("experiments/*.py")), *ROOT.glob("export/*.py")]


@pytest.mark.parametrize(
    "script",
    [pytest.param(path, marks=[] if path.name == "fastcalogan.py" else pytest.mark.slow) for path in SCRIPTS],
    ids=lambda path: path.name,
)
def test_scripts_end_in_a_line_whatever_the_home_holds(script: Path, tmp_path: Path) -> None:
    """They import Keras, and ask for cores, before their commands begin."""
    found = python(str(script), home=tmp_path, settings='{"floatx": "bfloat16"}', CALOGEN_CORES="0")
    (line,) = found.stderr.splitlines()
    assert line.endswith(": error: CALOGEN_CORES must be a whole number above 0. Received: '0'")
    assert found.returncode == 2


STARTED = """
import multiprocessing, os, sys
from importlib import import_module
from calogen.backend import tf

print(float(tf.function(lambda x: 2 * x, jit_compile=True)(tf.constant(2.0))))
print("a line of ours", file=sys.stderr)
with multiprocessing.get_context("spawn").Pool(1, import_module, ["calogen.backend"]) as pool:
    assert pool.apply(os.getpid) != os.getpid()
print(os.environ.get("TF_CPP_MIN_LOG_LEVEL"))
"""
"""Starts TensorFlow here and in a worker."""


def test_tensorflow_starts_without_a_word(tmp_path: Path) -> None:
    found = python("-c", STARTED, home=tmp_path)
    assert found.stdout == "4.0\nNone\n"
    lines = found.stderr.splitlines()
    assert "a line of ours" in lines
    assert lines == ["a line of ours"] or backend._HAS_GPU  # with a GPU, what is wrong with it is said
    assert not any("oneDNN" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "environment"),
    [(["--verbose"], {}), (["--options=--ablation --verbose"], {}), ([], {"TF_CPP_MIN_LOG_LEVEL": "0"})],
)
def test_tensorflow_speaks_when_asked(words: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    ask = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # by itself it is off on some processors
    found = python("-c", "import calogen.backend", *words, home=tmp_path, **environment, **ask)
    assert "oneDNN custom operations are on" in found.stderr


def test_lines_of_errors_are_left_in() -> None:
    lines = {
        "I0000 00:00:1.5   7 port.cc:153] oneDNN custom operations are on.": (True, True),
        "W0000 00:00:1.5   7 gpu_device.cc:2431] Cannot dlopen some GPU libraries.": (True, False),
        "E0000 00:00:1.5   7 cuda_platform.cc:52] failed call to cuInit: INTERNAL": (True, False),
        "E0000 00:00:1.5   7 tensor.cc:9] out of memory": (False, False),
        "F0000 00:00:1.5   7 cpu_feature_guard.cc:2] needs AVX instructions": (False, False),
        "Fatal Python error: Aborted": (False, False),
    }
    for line, dropped in lines.items():
        found = tuple(bool(re.match(item, line)) for item in (backend._WITHOUT_GPU, backend._GREETINGS))
        assert found == dropped, line


def test_keras_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "keras.py").write_text("raise ImportError('half installed')")
    code = "import sys; sys.argv[1:] = ['generate', 'run', '--energies', '1024', '--output', 'x.h5']; "
    found = python(
        "-c", code + "from calogen.cli.main import main; main()", home=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}"
    )
    (line,) = found.stderr.splitlines()
    assert line == "calogen: error: Keras must be importable. Received: half installed (is it installed as a whole?)"
    assert found.returncode == 2


@pytest.mark.parametrize(("name", "value"), [("backend", "jax"), ("floatx", "float64")])
def test_keras_that_was_imported_before_is_not_changed_but_refused(name: str, value: str, tmp_path: Path) -> None:
    """JAX is not there: a stand-in for Keras on it."""
    settings = {**backend._SETTINGS, name: value}
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
    found = python("-c", code, home=tmp_path)
    assert found.stderr == ""
    assert found.stdout.startswith("Keras must have {'backend': 'tensorflow', ")
    assert f"'{name}': '{value}'" in found.stdout
    assert "imported before calogen" in found.stdout
