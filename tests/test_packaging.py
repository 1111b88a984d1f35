"""What is declared about the package agrees with what it is."""

import ast
import configparser
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

import calogen

ROOT = Path(__file__).parents[1]
DECLARED_ONLY = {"tensorboard"}  # TensorFlow no longer brings what its summaries need
IN_EXTRAS = {"geant4_pybind", "onnx", "onnxruntime", "dask", "dask_jobqueue", "distributed", "yaml"}
IN_EXTRAS |= {"_typeshed"}  # for type checkers alone
NAMES = {"ai_edge_litert": "ai-edge-litert", "PIL": "pillow"}  # of imports whose package is called differently

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def _imported(paths: list[Path]) -> set[str]:
    """Top-level names of all packages that sources import from outside the standard library."""
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                names.add(node.module.partition(".")[0])
    return {NAMES.get(name, name) for name in names - set(sys.stdlib_module_names) - {"calogen"}}


def _requirements(section: str, key: str) -> dict[str, str]:
    """Version ranges by name."""
    lines = SETUP[section][key].strip().splitlines()
    found = [re.fullmatch(r"([\w.-]+)(?:\[.*?\])?(.*)", line) for line in lines if not line.startswith("#")]
    return {match[1]: match[2] for match in found if match is not None}


def test_dependencies_are_those_that_are_imported() -> None:
    declared = set(_requirements("options", "install_requires"))
    assert _imported(list((ROOT / "calogen").rglob("*.py"))) - IN_EXTRAS == declared - DECLARED_ONLY


@pytest.mark.parametrize("name", _requirements("options", "install_requires"))
def test_dependencies_have_a_range(name: str) -> None:
    assert re.fullmatch(r">=[\d.]+,<[\d.]+", _requirements("options", "install_requires")[name])


def test_version_and_python_are_the_same_everywhere() -> None:
    assert metadata.version("calogen") == calogen.__version__
    assert f"version: {calogen.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert SETUP["options"]["python_requires"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_only_the_package_is_shipped() -> None:
    assert SETUP["options.packages.find"]["include"] == "calogen*"
    folders = {path.parent for path in (ROOT / "calogen").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_all_files_of_the_package_are_shipped() -> None:
    patterns = SETUP["options.package_data"]["calogen"].split()
    files = [path for path in (ROOT / "calogen").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert {path.suffix for path in files} >= {".toml", ".json", ".h5"}
    shipped = {path for pattern in patterns for path in (ROOT / "calogen").glob(pattern)}
    assert [path for path in files if path not in shipped] == []


def test_the_page_of_the_data_names_every_file() -> None:
    folder = ROOT / "calogen" / "data"
    named = re.findall(r"`(\w+\.\w+)`|## (\w+\.json), (\w+\.json)", (folder / "README.md").read_text(encoding="utf-8"))
    there = {path.name for path in folder.iterdir()} - {"README.md"}
    assert {name for names in named for name in names if name} == there


def test_what_the_page_for_contributors_calls_exists() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "calogen").rglob("*.py")))
    called = set(re.findall(r"`(\w+)\(", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert "conversion_error" in called
    assert {name for name in called if not re.search(rf"(def|class) {name}\b", code)} == set()


def test_docstrings_begin_with_a_short_line() -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    too_long = []
    for folder in ("calogen", "experiments", "export", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, documented) and len((ast.get_docstring(node) or "").partition("\n")[0]) >= 88:
                    too_long.append(f"{path.relative_to(ROOT)}:{node.body[0].lineno}")
    assert too_long == []


def test_licence_is_apache() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert SETUP["metadata"]["license"] == "Apache-2.0"
