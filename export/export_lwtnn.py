"""Write the decoders of trained runs as LWTNN JSON, checked against Keras.

A run is a directory with decoder.keras, config.json and transform.json, as training leaves it under
runs/<paper>/<preset>-seed<k>/. For each run this writes, into <run>/lwtnn/ or below --output,

  decoder.json   the network as an LWTNN graph: its inputs are those of the Keras model, its only output is `out`
  manifest.json  names, order and sizes of inputs and outputs, the transform between outputs and energies, SHA-256 of
                 every file, and the largest relative difference to Keras

and prints the path and that difference. The JSON is read back and compared with Keras on 1000 random inputs; where the
difference exceeds 1e-5 of the output's scale, or LWTNN cannot express the network, nothing is written for that run and
the exit code is 2. No C++ is needed here; export/README.md shows how to evaluate the file with lwtnn.
"""

import argparse
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calogen import __version__, files
from calogen.errors import ExportError
from calogen.experiment import clean_exit
from calogen.lwtnn.graph import Graph, format_graph, parse_graph
from calogen.preprocessing import Chain

NUM_INPUTS = 1000
TOLERANCE = 1e-5
SOURCES = ("decoder.keras", "config.json", "transform.json")
EXAMPLES = """examples:
  python export/export_lwtnn.py                                  every run below runs/
  python export/export_lwtnn.py runs/atlas_vae/laptop-seed1      this run only
  python export/export_lwtnn.py --output /tmp/networks           to /tmp/networks/<paper>/<run>/
"""


def find_runs(path: Path) -> list[Path]:
    """The trained runs: `path` itself, or all `path`/<paper>/<run>, in order of their names.

    Raises:
        ExportError: there is none.
    """
    candidates = [path, *sorted(path.glob("*/*/"))]
    runs = [run for run in candidates if all((run / name).is_file() for name in SOURCES)]
    if not runs:
        raise ExportError(
            f"no run with {', '.join(SOURCES)} in {path}: train one first, as by make reproduce-atlas-vae"
        )
    return runs


def export_run(run: Path, output: Path) -> float:
    """Write decoder.json and manifest.json of one run.

    Args:
        run: directory of the trained run.
        output: directory to write to, made if need be.

    Returns:
        The largest difference to Keras relative to the output's scale.

    Raises:
        ExportError: the network cannot be read, expressed, or does not agree with its conversion; nothing is written.
    """
    import keras  # seconds: --help does without

    from calogen.lwtnn.convert import convert, largest_difference

    transform = files.read_json(run / "transform.json")
    chain = Chain.from_json(transform)
    try:
        decoder = keras.saving.load_model(run / "decoder.keras", compile=False, safe_mode=True)
    except Exception as error:  # whatever a foreign or truncated file makes Keras raise
        raise ExportError(f"cannot load {run / 'decoder.keras'}: {error} (was it saved by Keras 3?)") from error
    # latent first, as Athena has it: Keras sorts the inputs of a model that was built from a dictionary
    names = sorted(
        (tensor.name for tensor in getattr(decoder, "inputs", ())), key=lambda name: (name != "latent", name)
    )
    text = format_graph(convert(decoder, names))
    graph = parse_graph(text)
    difference = largest_difference(decoder, graph, NUM_INPUTS)
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{run}: LWTNN must agree with Keras to {TOLERANCE:g} of the output's scale. Received: {difference:.2e} "
            "(nothing was written; was the model saved by another version of Keras?)"
        )
    manifest = {
        **_describe(graph, chain),
        "transform": transform,
        "check": {"inputs": NUM_INPUTS, "largest_relative_difference": difference, "tolerance": TOLERANCE},
        "sha256": {"decoder.json": hashlib.sha256(text.encode()).hexdigest()}
        | {name: files.sha256(run / name) for name in SOURCES},
        "versions": {"calogen": __version__, "keras": keras.__version__},
    }
    files.write_text(output / "decoder.json", text)
    files.write_json(output / "manifest.json", manifest)
    return difference


def _describe(graph: Graph, chain: Chain) -> dict[str, Any]:
    """What someone who evaluates the graph must know of its inputs and outputs."""
    labels = graph.output().labels
    return {
        "network": "decoder.json",
        "lwtnn": ">=2.14" if any(node.type == "add" for node in graph.nodes) else ">=2.13",
        "inputs": [
            {"name": given.name, "size": len(given.variables), "variables": [v.name for v in given.variables]}
            for given in graph.inputs
        ],
        "condition": [_first_line(encoding) for encoding in chain.encodings],
        "output": {
            "name": next(iter(graph.outputs)),
            "size": len(labels),
            "labels": [labels[0], "...", labels[-1]],
            "order": "the features of the transform, whose steps are undone from the last to the first",
            "features": [_first_line(step) for step in chain.steps],
        },
    }


def _first_line(part: object) -> str:
    """The class and its docstring's first line: what the numbers mean, said in one place."""
    return f"{type(part).__name__}: {(type(part).__doc__ or '').splitlines()[0]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Export the runs that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"), help="a run, or the directory of all runs")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write to DIR/<paper>/<run>/ (default: <run>/lwtnn/)"
    )
    given = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's greetings
    with clean_exit("export_lwtnn"):
        for run in find_runs(given.runs):
            name = Path(*run.resolve().parts[-2:])
            output = given.output / name if given.output else run / "lwtnn"
            difference = export_run(run, output)
            print(f"{output / 'decoder.json'}: largest relative difference to Keras {difference:.1e}")


if __name__ == "__main__":
    main()
