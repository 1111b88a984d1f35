"""The import rule: every module stands on a floor and imports only downward, or sideways without a cycle."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import calogen

ROOT = Path(__file__).parents[1]

# A name stands for the module and for all modules of the package.
FLOORS = {
    0: (
        "unfinished",
        *("units", "errors", "files", "locks", "process", "provenance", "progress", "config", "parallel", "backend"),
        *("cluster", "hdf5", "hdf5_writing", "command", "metrics"),
    ),
    1: ("showers",),
    2: ("features", "simulation", "observables"),
    3: ("evaluation", "training"),
    4: ("models", "plots"),
    5: ("lwtnn", "generation", "claims"),
    6: ("athena", "reports"),
    7: ("reproduction",),
    8: ("cli", "__main__"),
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}

KERAS = ("calogen.backend", "keras", "tensorflow", "tensorboard", "torch", "jax")
# Who must not import what, beyond the floors (a name stands for all modules of the package).
FORBIDDEN = {
    **dict.fromkeys(("showers", "simulation", "observables", "metrics", "evaluation"), KERAS),
    **dict.fromkeys(("lwtnn.runtime", "lwtnn.graph", "lwtnn.inputs", "athena.service"), KERAS),
    **dict.fromkeys(("features.transforms", "features.conditions"), KERAS),
    "claims": (*KERAS, "calogen.models"),
    "plots": (*KERAS, "calogen.models"),
    "reports": (*KERAS, "calogen.models"),
    "reports.page": ("calogen.evaluation", "calogen.plots"),
    "lwtnn": ("calogen.generation",),
    "models": ("calogen.models", "calogen.features.batches", "calogen.evaluation", "calogen.plots"),
    "": ("experiments", "export", "benchmarks", "tests"),
}
ALLOWED = {("metrics.classifier", name) for name in KERAS}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT / "calogen").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


SOURCES = {_name(path): path for path in sorted((ROOT / "calogen").rglob("*.py"))}


def _imports(name: str, text: str) -> set[str]:
    """Modules that a source imports anywhere, in functions too; `from calogen import x` counts as `calogen.x`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} line {node.lineno}: relative import"
            assert node.module is not None
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {member for member in members if member.removeprefix("calogen.") in SOURCES}
            found |= members if node.module == "calogen" else modules or {node.module}
    return found


def _internal(imports: set[str]) -> set[str]:
    return {imported.removeprefix("calogen.") for imported in imports if imported.startswith("calogen.")}


def _covers(package: str, name: str) -> bool:
    return package in ("", name) or name.startswith(package + ".")


def _floor(name: str) -> int:
    return FLOOR_OF[name.split(".", maxsplit=1)[0]]


def _violations(name: str, imports: set[str]) -> list[str]:
    upward = [imported for imported in _internal(imports) if _floor(imported) > _floor(name)]
    forbidden = [
        imported
        for package, names in FORBIDDEN.items()
        for imported in imports
        for banned in names
        if _covers(package, name) and _covers(banned, imported) and (name, banned) not in ALLOWED
    ]
    return sorted(upward + forbidden)


def _cycle(edges: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("name", [name for name in SOURCES if name])
def test_imports_go_downward(name: str) -> None:
    assert name.split(".", maxsplit=1)[0] in FLOOR_OF, f"calogen.{name} stands on no floor of FLOORS"
    found = _violations(name, _imports(name, SOURCES[name].read_text(encoding="utf-8")))
    assert found == []


@pytest.mark.parametrize("path", [*sorted(ROOT.glob("e*/**/*.py")), *SOURCES.values()], ids=str)
def test_only_files_lists_folders(path: Path) -> None:
    """Whoever lists a folder by himself reads what another process is writing: `files.listed` leaves that out."""
    allowed = {
        "calogen/files.py": 2,
        "calogen/unfinished.py": 1,
        "calogen/locks.py": 1,
        "calogen/simulation/physics.py": 1,
    }  # the last: Geant4's data
    called = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    names = [getattr(function, "attr", getattr(function, "id", "")) for function in called]
    listing = [name for name in names if name in ("glob", "rglob", "iglob", "iterdir", "listdir", "scandir", "walk")]
    assert len(listing) == allowed.get(path.relative_to(ROOT).as_posix(), 0), listing


def test_imports_have_no_cycle() -> None:
    imports = {name: _imports(name, path.read_text(encoding="utf-8")) for name, path in SOURCES.items() if name}
    assert _cycle({name: _internal(found) for name, found in imports.items()}) == []


def test_keras_comes_from_the_backend_alone() -> None:
    """Whoever imported it before would take the settings of the user's home."""
    folders = ("calogen", "experiments", "export", "benchmarks")
    found = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for name in _imports(str(path), path.read_text(encoding="utf-8"))
        if name.split(".")[0] in ("keras", "tensorflow")
    }
    assert found == {"calogen/backend.py"}


def test_dask_is_known_to_one_module() -> None:
    imports = {name: _imports(name, path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}
    known = {"dask", "dask_jobqueue", "distributed"}
    assert [name for name, found in imports.items() if known & {item.split(".")[0] for item in found}] == ["cluster"]


@pytest.mark.parametrize("path", [path for path in SOURCES.values() if path.name == "__init__.py"], ids=_name)
def test_packages_import_nothing(path: Path) -> None:
    found = _imports(_name(path), path.read_text(encoding="utf-8"))
    if not _name(path):  # for type checkers; programs get these when they ask for them
        found -= {"importlib", "typing", *calogen._HOMES.values()}
    assert found == set()


def test_what_programs_need_is_there_when_they_ask_for_it() -> None:
    """`import calogen` costs nothing; its names are the rooms' own."""
    script = """
import sys, time
import calogen
assert not {"numpy", "pandas", "tensorflow"} & set(sys.modules), "import calogen must import nothing"
for name in calogen.__all__:
    found = getattr(calogen, name)
    assert found.__module__ == calogen._HOMES[name], found
assert set(calogen.__all__) <= set(dir(calogen))
try:
    calogen.nothing
except AttributeError as error:
    sys.exit(str(error) != "module 'calogen' has no attribute 'nothing'")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("provenance", "from calogen.showers.sample import Showers", ["showers.sample"]),
        ("showers.sample", "def f():\n    import calogen.models.atlas_vae", ["models.atlas_vae"]),
        ("metrics.resampling", "from keras import ops", ["keras"]),
        ("metrics.resampling", "from calogen.backend import keras", ["calogen.backend"]),
        ("metrics.classifier", "import keras", []),
        ("models.atlas_vae", "from calogen.features import batches", ["calogen.features.batches"]),
        ("models.atlas_vae", "from calogen.models import caloshowergan", ["calogen.models.caloshowergan"]),
        ("models.atlas_vae", "from calogen.training.losses import kl_divergence", []),
        ("lwtnn.convert", "from calogen.generation import load", ["calogen.generation.load"]),
        ("lwtnn.runtime", "import tensorflow as tf", ["tensorflow"]),
        ("cli.main", "import experiments.atlas_vae", ["experiments.atlas_vae"]),
    ],
)
def test_the_rule_catches(name: str, text: str, expected: list[str]) -> None:
    assert _violations(name, _imports(name, text)) == expected


def test_the_rule_catches_cycles() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert not _cycle({"a": {"b", "c"}, "b": {"c"}})


@pytest.mark.parametrize(
    "statement",
    [
        "import calogen.metrics.distributions",
        "import calogen.lwtnn.runtime",
        "import calogen.athena.service",
        "import calogen.simulation.detectors",
        "from calogen.cli.main import app; app(['--help'], standalone_mode=False)",
        "from pathlib import Path; from calogen.provenance import collect; collect(1, {})",
    ],
)
def test_tensorflow_is_not_imported(statement: str) -> None:
    check = "import sys; sys.exit(','.join({'tensorflow', 'keras'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; {check}"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) in ((0, ""), (1, "\n")), done.stderr


def test_the_command_line_starts_without_plots() -> None:
    check = "import sys; import calogen.cli.main; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, cwd=ROOT).returncode == 0
