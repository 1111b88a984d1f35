"""The command `calogen`.

Commands import what they need themselves: `calogen --help` starts without TensorFlow.
"""

import json
import math
import pkgutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand

from calogen.cli.ranges import parse_counts, parse_energies
from calogen.config import MAX_SEED, require, sources
from calogen.errors import ConfigError
from calogen.files import require_writable_file
from calogen.process import show
from calogen.reproduction.experiment import EXIT_CODES, clean_exit

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Generative fast calorimeter simulation: simulate, train, generate, judge, export. Energies are in MeV.",
    epilog=EXIT_CODES,
)

Energies = Annotated[str, typer.Option(help="MeV: values 4096,65536 or ranges first:last:xfactor, first:last:+step.")]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same showers.")]
Output = Annotated[Path, typer.Option(help="The file to write, whole or not at all.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line; faults end in one line and an exit code of `EXIT_CODES`."""
    with clean_exit("calogen"):
        app()


@app.command()
def simulate(
    energies: Energies,
    output: Annotated[
        Path | None, typer.Option(help="The file to write, whole or not at all; by default the file of --extend.")
    ] = None,
    showers: Annotated[
        str, typer.Option(help="Showers at each energy: one number, or one for each value or range.")
    ] = "1000",
    detector: Annotated[str | None, typer.Option(help="Name of the detector; by default atlas-barrel.")] = None,
    particle: Annotated[str | None, typer.Option(help="photon (the default), electron, pion ...")] = None,
    physics: Annotated[str | None, typer.Option(help="Physics list; by default em-datafree.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same showers; by default 1.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, by default one for each core; the showers do not depend on it."),
    ] = None,
    mantissa_bits: Annotated[int | None, typer.Option(help="Round energies to so many bits: smaller files.")] = None,
    extend: Annotated[
        Path | None,
        typer.Option(help="An earlier output: keep its showers and simulate those that are missing, by its settings."),
    ] = None,
    depths: Annotated[
        bool, typer.Option("--depths", help="Also write the mean depth of the energy in each layer.")
    ] = False,
) -> None:
    """Simulate showers with Geant4; a second call goes on where an interrupted one stopped.

    Showers are numbered at each energy, and each number gives the same shower whenever it is simulated: --extend FILE
    --showers 3000 makes of a file with 1,000 showers the file that --showers 3000 would have written.
    """
    from calogen.simulation.production import Request, produce, request_of

    chosen = output or extend
    require(chosen is not None, "simulate needs --output, or --extend. Received: neither")
    given = {
        "detector": detector,
        "particle": particle,
        "physics": physics,
        "seed": seed,
        "mantissa_bits": mantissa_bits,
    }
    settings = request_of(extend) if extend else {}
    settings |= {name: value for name, value in given.items() if value is not None} | (
        {"depths": True} if depths else {}
    )
    request = Request(
        output=cast(Path, chosen),
        energies=parse_energies(energies),
        showers=parse_counts(showers, energies),
        workers=workers,
        extend=extend,
        **settings,
    )
    produce(request)
    typer.echo(chosen)


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="calochallenge-photons or calochallenge-pions.")],
    output: Annotated[
        Path | None, typer.Option(help="Directory for the files; else $CALOGEN_DATA, else the user's cache.")
    ] = None,
) -> None:
    """Download a public data set; a second call goes on where an interrupted one stopped."""
    from calogen.showers.download import download as download_files

    for path in download_files(name, output):
        typer.echo(path)


@app.command()
def generate(
    run: Annotated[
        list[Path],
        typer.Argument(help="Directory of a trained run; several, by rising momentum, share the momenta between them."),
    ],
    output: Output,
    energies: Energies = "",
    like: Annotated[Path | None, typer.Option(help="Instead: a file of showers whose conditions are taken.")] = None,
    showers: Annotated[int | None, typer.Option(min=1, help="Of each energy: 1000; of each of --like: 1.")] = None,
    seed: Seed = 1,
) -> None:
    """Generate showers with a trained run, or with several that share the momenta.

    What a model knows besides the incident energy (impact position, angle ...) it takes from the datasets of --like. A
    file may be larger than memory: at most 10,000 showers at a time are made and written.
    """
    from calogen.generation.generate import write_generated

    number = bool(energies) + (like is not None)
    require(number == 1, f"generate needs either --energies or --like. Received: {number} of them")
    require_writable_file(output)
    write_generated(output, run, like or parse_energies(energies), showers or (1 if like else 1000), seed)
    typer.echo(output)


class _SeveralValues(TyperCommand):
    """A command of options only, whose repeated ones also take several values.

    As a shell's `*` gives them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat an option before each of its values."""
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


@app.command(cls=_SeveralValues)
def evaluate(
    reference: Annotated[
        list[str],
        typer.Option(help="Geant4's showers, one file or several: CaloChallenge's format or ATLAS cells."),
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
    tolerant: Annotated[
        bool, typer.Option("--tolerant", help="Clip voxels down to -0.1 % of a shower, round energies 0.1 % off.")
    ] = False,
    match_energies: Annotated[
        bool, typer.Option("--match-energies", help="Leave out showers so that energies have the reference's shares.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of everything random.")] = 1,
) -> None:
    """Judge anyone's showers: every metric of the CaloChallenge and more, a rank, one page.

    Voxels: report.html, report.md, evaluation.json (all numbers and histograms) and metrics.json (a row for each
    metric, for pandas.read_json); of several labels each in a directory of its own, beside a page that compares them.
    ATLAS cells: the observables of the VAE's paper, one by one and together, all labels on one page.

    --reference, --generated, --second-reference and --training take one file, several (a.h5 b.h5, part*.h5) or a
    quoted pattern ('part*.h5'). Several are read as one sample; of --generated each is a model of its own, but those
    of LABEL='part*.h5' are one.

    Files may be larger than memory. Most of the time goes into the classifiers: some 40 minutes for each training on
    121,000 showers without a GPU, a minute on the bundled ones; --classifiers 0 leaves them out. After an interrupt,
    the same command goes on with the next training.
    """
    from calogen.evaluation.judging import Options
    from calogen.reports.evaluate import evaluate_cells, evaluate_voxels, find_files, find_labelled, hold_cells

    first, second, learned = (find_files(texts or []) for texts in (reference, second_reference, training))
    files = find_labelled(generated)
    repetitions = Options().repetitions if classifiers is None else classifiers
    options = Options(repetitions=repetitions, seed=seed, tolerant=tolerant)
    if hold_cells([path for paths in files.values() for path in paths], [*first, *second, *learned]):
        voxels_only = {
            "--geometry": geometry,
            "--binning": binning,
            "--min-energy": min_energy is not None,
            "--max-showers": max_showers,
            "--match-energies": match_energies,
        }
        more = ", ".join(name for name, value in voxels_only.items() if value)
        known = "--reference, --generated, --second-reference, --training, --classifiers, --tolerant and --seed"
        require(not more, f"cells take {known} only. Received: {more}, too")
        typer.echo(evaluate_cells(first, files, output, second or None, options, learned or None))
        return
    options = replace(
        options, binning=binning, min_energy=min_energy, max_showers=max_showers, match_energies=match_energies
    )
    typer.echo(evaluate_voxels(first, files, output, second or None, geometry, options, learned or None))


@app.command()
def report(
    directories: Annotated[
        list[Path] | None, typer.Argument(help="Evaluations to compare, or one directory of results JSON files.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Directory for the page of a comparison.")] = Path("comparison"),
    readme: Annotated[Path | None, typer.Option(help="Write the tables between the marks of this file.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the file's tables are stale.")] = False,
) -> None:
    """Compare evaluations side by side, or print the tables of results.

    Directories that calogen evaluate has written, and runs (their report/ holds results or evaluations), are compared
    on one page. One directory of results (default: experiments/results) is printed, paper beside ours.
    """
    from calogen.files import read_text
    from calogen.reports.results import read_tables, update_readme

    results = directories[0] if directories else Path("experiments/results")
    if directories and len(directories) > 1:
        from calogen.reports.evaluate import compare_directories

        require(readme is None, "--readme takes one directory of results. Received: several")
        typer.echo(compare_directories(directories, output))
    elif readme is not None:
        fresh = update_readme(readme, results, check)
        require(fresh or not check, f"the tables of {readme} are stale: run make tables")
    elif (results / "report.md").is_file():
        show(read_text(results / "report.md"))
    else:
        show("\n\n".join(read_tables(results)))


@app.command()
def inspect(
    model: Annotated[
        str,
        typer.Argument(help="A model, e.g. atlas_vae, a file of showers, or an LWTNN graph (.json); else all models."),
    ] = "",
    counts: Annotated[bool, typer.Option("--counts", help="Print the networks' parameter counts only.")] = False,
    window: Annotated[str, typer.Option(help="Of a file's 297 cells, only a paper's window: vae or gan.")] = "",
    draw: Annotated[Path | None, typer.Option(help="Draw an LWTNN graph into this file: png, pdf or svg.")] = None,
    as_json: Json = False,
) -> None:
    """Print what a model, a file of showers or an LWTNN graph holds.

    Of a model values, sources and counts; of a file response and layer shares; of a graph its nodes.
    """
    path = Path(model)
    is_graph = path.suffix == ".json" and path.is_file()
    require(
        draw is None or is_graph, f"--draw needs the .json file of an LWTNN graph. Received: {model or 'all models'}"
    )
    if is_graph:
        show(_inspect_graph(path, as_json, draw))
        return
    if path.is_file():
        show(_inspect_showers(path, as_json, window))
        return
    models = {name: module for name, module in _models() if model in ("", name)}
    if not models:
        kind = ", a directory" if path.is_dir() else ""
        raise ConfigError(f"model must be one of {', '.join(name for name, _ in _models())}. Received: {model}{kind}")
    if counts:
        rows = [row for name, module in models.items() for row in _counts(name, module)]
        show(json.dumps(rows, indent=2) if as_json else _count_text(rows))
    else:
        described = [_description(name, module) for name, module in models.items()]
        show(json.dumps(described, indent=2) if as_json else "\n".join(map(_description_text, described)))


def _inspect_graph(path: Path, as_json: bool, draw: Path | None) -> str:
    """What `inspect` prints of an LWTNN graph, which it also draws if it is told to."""
    from calogen.lwtnn.describe import boxes, describe, format_description
    from calogen.lwtnn.graph import read_graph

    graph = read_graph(path)
    if draw is not None:
        from calogen.plots.networks import draw_network
        from calogen.plots.style import write_figure

        suffixes = (".png", ".pdf", ".svg")
        require(draw.suffix in suffixes, f"--draw must name a file in {', '.join(suffixes)}. Received: {draw}")
        write_figure(draw_network(boxes(graph), "times: how often lwtnn evaluates a node for one shower"), draw)
    described = describe(path, graph)
    return json.dumps(described, indent=2) if as_json else format_description(described)


def _inspect_showers(path: Path, as_json: bool, window: str) -> str:
    """What `inspect` prints of a file of showers."""
    from calogen.evaluation.summary import energy_table, format_energy_table
    from calogen.showers.bundled import read_showers
    from calogen.showers.windows import WINDOWS, select_window

    showers = read_showers(path)
    if window and window not in WINDOWS:
        raise ConfigError(f"--window must be one of {', '.join(WINDOWS)}. Received: {window}")
    rows = energy_table(select_window(showers, WINDOWS[window]) if window else showers)
    return json.dumps(rows, indent=2) if as_json else format_energy_table(rows)


def _models() -> Iterator[tuple[str, ModuleType]]:
    """Name and module of every model in calogen.models, by name."""
    package = import_module("calogen.models")
    for found in pkgutil.iter_modules(package.__path__):
        yield found.name, import_module(f"calogen.models.{found.name}")


def _counts(name: str, module: ModuleType) -> list[dict[str, Any]]:
    """Parameter counts of every network of every variant of a model.

    As in the papers, the vectors by which spectral normalisation follows a singular value are no parameters.
    """
    vectors = ("singular_vector", "vector_u")  # ours, and those of Keras' layer
    return [
        {
            "model": name,
            "config": variant,
            "network": label,
            "trainable": sum(math.prod(variable.shape) for variable in network.trainable_variables),
            "total": sum(math.prod(item.shape) for item in network.variables if item.name not in vectors),
        }
        for variant, (config, geometry) in module.CONFIGS.items()
        for label, network in module.build(config, geometry).items()
    ]


def _description(name: str, module: ModuleType) -> dict[str, Any]:
    """Citation of a model and the source of every value, by variant."""
    return {
        "model": name,
        "paper": str(module.PAPER),
        "configs": {
            variant: [asdict(source) for source in sources(config)] for variant, (config, _) in module.CONFIGS.items()
        },
    }


def _count_text(counts: list[dict[str, Any]]) -> str:
    lines = [f"{'model':20} {'config':20} {'network':12} {'trainable':>12} {'total':>12}"]
    lines += ["{model:20} {config:20} {network:12} {trainable:12,} {total:12,}".format(**row) for row in counts]
    return "\n".join(lines)


def _description_text(described: dict[str, Any]) -> str:
    lines = [f"{described['model']}: {described['paper']}"]
    for variant, values in described["configs"].items():
        lines += [f"  {variant}"]
        lines += ["    {name} = {value!r}  [{kind}: {source}]".format(**value) for value in values]
    return "\n".join(lines)
