"""The command `calogen`, as tests run it."""

import sys
from collections.abc import Sequence

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
