"""The command `calogen inspect`."""

import json
import math
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calogen.config import require, sources
from calogen.errors import ConfigError
from calogen.process import show, tell

if TYPE_CHECKING:
    from calogen.config import Config
    from calogen.showers.geometry import Geometry
    from calogen.training.module import ModelModule

    AnyModel = ModelModule[Config, Geometry]


def inspect_command(
    model: Annotated[
        str,
        typer.Argument(help="A model, e.g. atlas_vae, a file of showers, or an LWTNN graph (.json); else all models."),
    ] = "",
    counts: Annotated[bool, typer.Option("--counts", help="Print the networks' parameter counts only.")] = False,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Print the networks that ship with calogen, with their figures.")
    ] = False,
    window: Annotated[str, typer.Option(help="Of a file's 297 cells, only a paper's window: vae or gan.")] = "",
    draw: Annotated[
        Path | None, typer.Option(help="Draw showers, or an LWTNN graph, into this file: png, pdf or svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what a model, a file of showers or an LWTNN graph holds.

    --pretrained lists networks that generate without a training; their figures are the mean energy and its spread over
    Geant4's, and the mean KS distance beside its floor. Of a model values, sources and counts; of a file response and
    layer shares ("above 1": the share of showers with more than the incident energy), or, of one in a regular grid,
    visible energy and hits; of a graph its nodes. --draw shows the mean and the first three showers of the incident
    energy in the middle.
    """
    is_file = Path(model).is_file() and not pretrained
    kind = "--pretrained" if pretrained else f"the file {model}"
    require(not counts or not (is_file or pretrained), f"--counts is of models. Received: {kind}")
    require(draw is None or not pretrained, "--draw draws showers or an LWTNN graph. Received: --pretrained")
    foreign_window = "--window is of a file of showers. Received: "
    if pretrained:
        require(not window, f"{foreign_window}--pretrained")
        show(_inspect_pretrained(model, as_json))
        return
    path = Path(model)
    if draw is not None:
        require(
            path.is_file(), f"--draw needs a file of showers or of an LWTNN graph. Received: {model or 'all models'}"
        )
        suffixes = (".png", ".pdf", ".svg")
        require(draw.suffix in suffixes, f"--draw must name a file in {', '.join(suffixes)}. Received: {draw}")
    if path.suffix == ".json" and path.is_file():
        require(not window, foreign_window + model)
        show(_inspect_graph(path, as_json, draw))
        return
    if path.is_file():
        show(_inspect_showers(path, as_json, window, draw))
        return
    models = {name: module for name, module in _models() if model in ("", name)}
    if not models:
        kind = ", a directory" if path.is_dir() else ""
        raise ConfigError(f"model must be one of {', '.join(name for name, _ in _models())}. Received: {model}{kind}")
    require(not window, f"{foreign_window}{model or 'all models'}")
    if counts:
        rows = [row for name, module in models.items() for row in _counts(name, module)]
        show(json.dumps(rows, indent=2) if as_json else _count_text(rows))
    else:
        show(json.dumps([_description(*item) for item in models.items()], indent=2) if as_json else _text(models))


def _inspect_pretrained(name: str, as_json: bool) -> str:
    """Text about the networks that ship with calogen, or about those of one name."""
    from calogen.generation.pretrained import FIGURES, names, read_card

    cards = [read_card(item) for item in ([name] if name else names())]
    if as_json:
        return json.dumps([asdict(card) for card in cards], indent=2)
    texts = []
    for card in cards:
        rows = [f"{card.name}: {card.title}", f"  paper: {card.paper}", f"  trained: {card.recipe}; {card.command}"]
        rows += [f"  data: {card.data}; seed {card.seed}; licence: {card.licence}"]
        rows += ["  " + " ".join(f"{title:>12}" for title in ("energy, MeV", *FIGURES))]
        rows += ["  " + " ".join(f"{value:>12g}" for value in figures) for figures in card.figures]
        texts.append("\n".join([*rows, f"  {card.limits}"]))
    return "\n\n".join(texts)


def _inspect_graph(path: Path, as_json: bool, draw: Path | None) -> str:
    """Text about an LWTNN graph, which is also drawn into a file if `draw` names one."""
    from calogen.lwtnn.describe import boxes, describe, format_description
    from calogen.lwtnn.graph import read_graph

    graph = read_graph(path)
    if draw is not None:
        from calogen.plots.networks import draw_network
        from calogen.plots.style import write_figure

        write_figure(draw_network(boxes(graph), "times: how often lwtnn evaluates a node for one shower"), draw)
    described = describe(path, graph)
    return json.dumps(described, indent=2) if as_json else format_description(described)


def _inspect_showers(path: Path, as_json: bool, window: str, draw: Path | None) -> str:
    """Text about a file of showers; `draw` names a file for pictures of some of them."""
    from calogen.evaluation.grids import format_grid_energy_table, grid_energy_table, read_table
    from calogen.evaluation.summary import energy_table, format_energy_table, read_layer_energies
    from calogen.showers.bundled import known_geometry, read_showers
    from calogen.showers.grid import RegularGrid
    from calogen.showers.windows import WINDOWS, in_geometry

    if window and window not in WINDOWS:
        raise ConfigError(f"--window must be one of {', '.join(WINDOWS)}. Received: {window}")
    geometry = known_geometry(path)
    table = read_table(path, geometry) if isinstance(geometry, RegularGrid) else None
    shown = WINDOWS[window] if window else geometry
    if draw is not None:
        from calogen.plots.style import write_figure
        from calogen.reports.portrait import draw_portrait

        drawn = table.examples if table else read_showers(path)
        write_figure(draw_portrait(in_geometry(drawn, shown), path.name), draw)
        tell(f"drawn: {draw}, showers of the incident energy in the middle")
    if table is not None:
        grid_rows = grid_energy_table(table)
        return json.dumps(grid_rows, indent=2) if as_json else format_grid_energy_table(grid_rows, table.grid)
    rows = energy_table(read_layer_energies(path, shown))
    return json.dumps(rows, indent=2) if as_json else format_energy_table(rows)


def _models() -> Iterator[tuple[str, "AnyModel"]]:
    """Gives name and module of every model in calogen.models, in the order of the names."""
    from calogen.generation.load import model_module

    for item in pkgutil.iter_modules(import_module("calogen.models").__path__):
        yield item.name, model_module(item.name)


def _counts(name: str, module: "AnyModel") -> list[dict[str, object]]:
    """Numbers of parameters of all networks of all variants of a model.

    As in the papers, the vectors from which spectral normalisation computes singular values do not count.
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


def _sources(module: "AnyModel") -> dict[str, list[dict[str, object]]]:
    """Values of a model's configurations with their sources, by variant."""
    return {variant: [asdict(source) for source in sources(config)] for variant, (config, _) in module.CONFIGS.items()}


def _description(name: str, module: "AnyModel") -> dict[str, object]:
    """Citation of a model, and the sources of its values."""
    return {"model": name, "paper": str(module.PAPER), "configs": _sources(module)}


def _count_text(counts: list[dict[str, object]]) -> str:
    lines = [f"{'model':20} {'config':20} {'network':14} {'trainable':>12} {'total':>12}"]
    lines += ["{model:20} {config:20} {network:14} {trainable:12,} {total:12,}".format(**row) for row in counts]
    return "\n".join(lines)


def _text(models: Mapping[str, "AnyModel"]) -> str:
    """Descriptions of models, line by line."""
    lines = []
    for name, module in models.items():
        lines.append(f"{name}: {module.PAPER}")
        for variant, values in _sources(module).items():
            lines += [f"  {variant}"]
            lines += ["    {name} = {value!r}  [{kind}: {source}]".format(**value) for value in values]
    return "\n".join(lines)
