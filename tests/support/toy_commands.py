"""The command `calogen` and scripts, as tests run them."""

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from calogen.cli import main as cli


def run(*arguments: str) -> str:
    """What a command prints; its exceptions are raised."""
    return run_both(*arguments)[0]


def run_both(*arguments: str) -> tuple[str, str]:
    """What a command prints on stdout and on stderr; its exceptions are raised."""
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def page_of(text: str) -> str:
    """The page whose path is the last line of what `calogen evaluate` prints."""
    return Path(text.splitlines()[-1]).read_text(encoding="utf-8")


def steps(told: str) -> list[list[str]]:
    """The commands that a command proposes on stderr, each as words; they must be commands of calogen."""
    found = [shlex.split(line.removeprefix("next: "), comments=True) for line in told.splitlines() if "next: " in line]
    commands = [words for words in found if words[0] == "calogen"]
    for words in commands:
        command = typer.main.get_group(cli.app).commands[words[1]]
        command.make_context(words[1], words[2:])  # refuses what is no option of it
    return found


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
