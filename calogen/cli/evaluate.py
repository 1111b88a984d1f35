"""The command `calogen evaluate`."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from calogen.cli.options import TolerantOption, find_files, find_labelled
from calogen.command import ClusterOption
from calogen.config import MAX_SEED, require
from calogen.files import FigureFormat
from calogen.process import show, tell_next


class SeveralValues(TyperCommand):
    """A command without arguments, whose repeatable options take several values at once.

    So they can be given files by a pattern of the shell: `--generated part*.h5`.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Repeats an option before each of its values, as typer needs it."""
        repeatable = {name for item in self.params if getattr(item, "multiple", False) for name in item.opts}
        given: list[str] = []
        option, has_value = "", False
        for text in args:
            if option and not has_value:  # an option's first value may begin with a dash
                has_value = True
            elif text.startswith("-"):
                name, mark, _ = text.partition("=")
                option, has_value = name if name in repeatable else "", bool(mark)
            elif option:
                given.append(option)
            given.append(text)
        return super().parse_args(ctx, given)


def evaluate_command(
    reference: Annotated[
        list[str],
        typer.Option(help="Geant4's showers, one file or several: CaloChallenge's format, ATLAS cells or a grid."),
    ],
    generated: Annotated[
        list[str], typer.Option(help="Generated showers; LABEL=FILE names the model. Several: side by side.")
    ],
    output: Annotated[Path, typer.Option(help="Directory for the report.")],
    second_reference: Annotated[
        list[str] | None, typer.Option(help="Other Geant4 showers, one file or several: the floor of numbers.")
    ] = None,
    training: Annotated[
        list[str] | None, typer.Option(help="Showers, one file or several, that the models were trained on.")
    ] = None,
    geometry: Annotated[Path | None, typer.Option(help="Binning file (XML); data set 1 needs none.")] = None,
    binning: Annotated[
        str | None, typer.Option(help="1-photons, 1-pions, 2, 3 (the CaloChallenge's) or reference.")
    ] = None,
    min_energy: Annotated[
        float | None, typer.Option(help="Voxels below are empty, MeV; by default the binning's.")
    ] = None,
    classifiers: Annotated[
        int | None,
        typer.Option(min=0, help="Trainings of each classifier: 3 by default, 10 in the CaloChallenge."),
    ] = None,
    max_showers: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Of each file, for classifiers, neighbourhoods and pictures; by default 121,000 or 512 MiB of them.",
        ),
    ] = None,
    tolerant: TolerantOption = False,
    match_energies: Annotated[
        bool, typer.Option("--match-energies", help="Leave out showers so that energies have the reference's shares.")
    ] = False,
    figures: Annotated[
        FigureFormat | None,
        typer.Option(help="Write figures to files of this format, too: figures/ beside the report."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of everything random.")] = 1,
    latex: Annotated[
        bool, typer.Option("--latex", help="Write table.tex, too: a row for each model, for a paper (booktabs).")
    ] = False,
    cluster: ClusterOption = None,
) -> None:
    """Judge anyone's showers: every metric of the CaloChallenge and more, a rank, one page.

    It prints the verdict, a few numbers and the page's path; all tables are beside the page.

    Voxels: report.html, report.md, evaluation.json (all numbers and histograms), metrics.json and .csv (a row for each
    metric, for pandas.read_json); of several labels each in a directory of its own, beside a page that compares them.
    ATLAS cells and regular grids (30x30x30 and others): the observables of the papers, one by one and together, all
    labels on one page.

    --reference, --generated, --second-reference and --training take one file, several (a.h5 b.h5, part*.h5) or a
    quoted pattern ('part*.h5'). Several are read as one sample; of --generated each is a model of its own, but those
    of LABEL='part*.h5' are one.

    Files may be larger than memory. Most of the time goes into the classifiers: some 40 minutes for each training on
    121,000 showers without a GPU, a minute on the bundled ones; --classifiers 0 leaves them out. After an interrupt,
    the same command goes on with the next training. Workers (--cluster) read files in parts and train a model's
    classifiers side by side; they need to see the files.
    """
    from calogen.cluster import common_pool
    from calogen.evaluation.judging import Options
    from calogen.reports.evaluate import evaluate_voxels, judge_of
    from calogen.reports.plan import planned

    first, second, learned = (find_files(texts or []) for texts in (reference, second_reference, training))
    files = find_labelled(generated)
    repetitions = Options().repetitions if classifiers is None else classifiers
    options = Options(repetitions=repetitions, seed=seed, tolerant=tolerant, figures=figures, latex=latex)
    judge = judge_of([path for paths in files.values() for path in paths], [*first, *second, *learned])
    if judge:
        voxels_only = {
            "--geometry": geometry,
            "--binning": binning,
            "--min-energy": min_energy is not None,
            "--max-showers": max_showers,
            "--match-energies": match_energies,
        }
        more = ", ".join(name for name, value in voxels_only.items() if value)
        require(not more, f"cells and grids take no {', '.join(voxels_only)}. Received: {more}")
    options = replace(
        options, binning=binning, min_energy=min_energy, max_showers=max_showers, match_energies=match_energies
    )
    with planned(judge is not None, first, files, second, options), common_pool(cluster):
        if judge:
            text = judge(first, files, output, second or None, options, learned or None)
        else:
            text = evaluate_voxels(first, files, output, second or None, geometry, options, learned or None)
    show(text)
    page = text.rpartition("\n")[2]
    tell_next(f"open {shlex.quote(page)} in a browser; all tables lie beside it (report.md, metrics.csv)")
