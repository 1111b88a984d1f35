"""The command `calogen` and scripts, as tests run them."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from calogen.cli import main as cli


def run(*arguments: str) -> str:
    """What a command prints; its exceptions are raised."""
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def exit_of_main(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]) -> int:
    """The exit code of `calogen` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["calogen", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    return int(exit_info.value.code or 0)


def load_script(path: Path) -> ModuleType:
    """A script as a module, called `script_` and its name."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
