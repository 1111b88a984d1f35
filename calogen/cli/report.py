"""The command `calogen report`."""

from pathlib import Path
from typing import Annotated

import typer

from calogen.config import require
from calogen.process import show


def report_command(
    directories: Annotated[
        list[Path] | None, typer.Argument(help="Evaluations to compare, or one directory of results JSON files.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Directory for the page of a comparison; by default comparison.")
    ] = None,
    tables: Annotated[list[Path] | None, typer.Option(help="Write tables between the marks of this file.")] = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="Write .tex files, too, with the main numbers as tables for a paper.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the file's tables are stale.")] = False,
) -> None:
    """Compare evaluations side by side, or print the tables of results.

    Directories that calogen evaluate has written, and runs (their report/ holds results or evaluations), are compared
    on one page. One directory of results (default: experiments/results) is printed, paper beside ours.
    """
    from calogen.files import read_text
    from calogen.reports.results import read_tables, update_tables

    several = directories is not None and len(directories) > 1
    require(bool(tables) or not check, "--check is of the files of --tables. Received: none")
    require(several or output is None, "--output is of a comparison of several directories. Received: one or none")
    results = directories[0] if directories else Path("experiments/results")
    if directories and several:
        from calogen.reports.comparison import compare_directories

        require(not tables, "--tables takes one directory of results. Received: several")
        show(compare_directories(directories, output or Path("comparison"), latex=latex))
    elif tables:
        require(not latex, "--latex goes with directories, not with --tables. Received: both")
        fresh = {path: update_tables(path, results, check) for path in tables}
        stale = ", ".join(str(path) for path, found in fresh.items() if check and not found)
        require(not stale, f"the tables of {stale} are stale: run make tables")
    elif latex:
        from calogen.reports.latex import write_latex_of

        show("\n".join(map(str, write_latex_of(results))))
    elif (results / "report.md").is_file():
        show(read_text(results / "report.md"))
    else:
        show("\n\n".join(read_tables(results)))
