"""The command `calogen download`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from calogen.process import show, tell_next


def download_command(
    name: Annotated[str, typer.Argument(help="calochallenge-photons, calochallenge-pions or getting-high.")],
    output: Annotated[
        Path | None, typer.Option(help="Directory for the files; else $CALOGEN_DATA, else the user's cache.")
    ] = None,
) -> None:
    """Download a public data set; a second call goes on where an interrupted one stopped."""
    from calogen.showers.download import download as download_files

    paths = download_files(name, output)
    show("\n".join(map(str, paths)))
    tell_next(*(shlex.join(["calogen", "inspect", str(path)]) for path in paths))
