"""Export of networks that generate regular grids of cells, as ONNX models.

LWTNN has no 3-D convolution, and no class of Athena takes such showers: the model is for any program with an ONNX
runtime. It takes latent points and conditions as the Keras networks do, and gives energies in MeV.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any  # Any: the values of manifests, which are JSON

import numpy as np

from calogen.athena.cells import first_line, network_name
from calogen.athena.closure import deviation_scale, in_float64, keras_energies
from calogen.athena.onnx import IR_VERSION, evaluate_onnx, package
from calogen.athena.onnx_volumes import OPSET, OUTPUT, volumes_to_onnx
from calogen.errors import ExportError
from calogen.features.conditions import Column, Encoding, LinearEnergy
from calogen.features.transforms import Chain
from calogen.showers.conditions import Conditions
from calogen.training.latent import Latent
from calogen.training.run import TrainedRun
from calogen.units import GeV

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-5
"""Largest allowed deviation of a cell from the Keras networks in float64, by the shower's energy; ONNX is float32."""
NUM_SHOWERS = 24
"""Number of showers, from the same noise, to measure deviations."""
LACKS = "no LWTNN network, since lwtnn has no 3-D convolution, and no class of Athena that takes such showers"
"""What an export of a regular grid lacks."""
_TOGETHER = 8  # showers that Keras computes at once
_ENERGIES = 10_000.0, 100_000.0  # MeV, where no training says better
_ANGLES = 0.0, np.pi / 2  # of other conditions, rad
_LATENT_FILE = "latent.npz"


@dataclass(frozen=True)
class GridExport:
    """The files of a network that generates a regular grid, and its distance from Keras.

    Args:
        file: name of the model's file.
        contents: contents of the files, by name.
        deviation: largest deviation of a cell from the networks in float64, by the shower's energy.
        of_float32: the same of the Keras networks in their own precision.
        about: content of the manifest.
    """

    file: str
    contents: Mapping[str, bytes]
    deviation: float
    of_float32: float
    about: Mapping[str, Any]

    def page(self) -> str:
        """The comparison with Keras, as Markdown."""
        columns = "\n".join(f"- {text}" for text in self.about["condition"])
        return f"""# Closure: {self.file}

From the same noise, {NUM_SHOWERS} showers at random conditions, the first of them alone: the largest deviation of a
cell from Keras in float64, of the shower's energy, or of a hundredth of the incident one if that is more (allowed:
{TOLERANCE:g}). Networks trained in float32 deviate from themselves in float64, too.

| file | computed by | from Keras in float64 |
|---|---|---|
| `{self.file}` | onnxruntime | {self.deviation:.1e} |
| the networks | Keras in float32 | {self.of_float32:.1e} |

The output `{OUTPUT}` is in MeV. The columns of the input `condition` are

{columns}

This folder has {LACKS}.
"""


def build_grids(run: TrainedRun, trained_range: Sequence[float] | None = None) -> GridExport:
    """Converts the networks of a run that generate a regular grid; compares with Keras.

    Args:
        run: the run.
        trained_range: lowest and highest incident energy of the training showers, MeV; None: it is not known.

    Raises:
        ExportError: a layer or the transform cannot be expressed, or the model deviates from Keras.
    """
    file = f"{network_name(run)}.onnx"
    content = grid_model(run).SerializeToString()
    deviation, of_float32 = closure(content, run, _random_conditions(run.transform, trained_range or _ENERGIES))
    if not deviation <= TOLERANCE:
        raise ExportError(
            f"{file} must agree with Keras in float64 to {TOLERANCE:g} of the shower's energy. "
            f"Received: {deviation:.2e} (Keras in float32: {of_float32:.2e})"
        )
    contents = {file: content}
    if not isinstance(run.latent, Latent):
        contents[_LATENT_FILE] = _archive(run.latent.arrays)
    measured = {"onnx": deviation, "keras_float32": of_float32, "showers": NUM_SHOWERS}
    about = {"network": file, "interface": None, **_description(run), "closure": measured}
    return GridExport(file, contents, deviation, of_float32, about)


def grid_model(run: TrainedRun) -> "onnx.ModelProto":
    """Gives the model of all networks that generate, with texts on inputs and output."""
    model = volumes_to_onnx(run.generator, run.transform.steps)
    texts = {
        "latent": _latent_text(run),
        "condition": "; ".join(map(_condition_text, run.transform.encodings)),
        OUTPUT: _output_text(run),
    }
    model.doc_string = f"{' and '.join(run.generates)} of {run.model}"
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.doc_string = texts[tensor.name]
    package("onnx").helper.set_model_props(model, texts)
    return model


def closure(content: bytes, run: TrainedRun, conditions: Conditions) -> tuple[float, float]:
    """Largest deviations of a cell from the networks in float64, by the shower's energy.

    Args:
        content: content of the model's file.
        run: the run whose networks were converted.
        conditions: conditions of the showers, of which the first is computed alone, the others together.

    Returns:
        the model's deviation, and that of the Keras networks in their own precision.
    """
    condition = run.transform.condition(conditions)
    latent = run.latent.draw(len(conditions), seed=0, condition=condition)
    ours = np.concatenate(
        [
            evaluate_onnx(content, {"latent": latent[rows], "condition": condition[rows]})
            for rows in (slice(1), slice(1, None))
            if len(latent[rows])
        ]
    )
    worst = np.zeros(2)
    exact = in_float64(run.generator)
    for start in range(0, len(conditions), _TOGETHER):
        rows = slice(start, start + _TOGETHER)
        expected = keras_energies(exact, run.transform, latent[rows].astype(np.float64), conditions[rows], clip=False)
        theirs = keras_energies(run.generator, run.transform, latent[rows], conditions[rows], clip=False)
        scale = deviation_scale(expected, conditions.incident_energies[rows, None])
        found = [float((np.abs(energies - expected) / scale).max()) for energies in (ours[rows], theirs)]
        worst = np.maximum(worst, found)
    return float(worst[0]), float(worst[1])


def _random_conditions(transform: Chain, energies: Sequence[float]) -> Conditions:
    rng, (low, high) = np.random.default_rng(0), energies
    others = {name: rng.uniform(*_ANGLES, NUM_SHOWERS) for name in transform.needs}
    return Conditions(low * (high / low) ** rng.random(NUM_SHOWERS), others)


def _condition_text(encoding: Encoding) -> str:
    """What a column of the condition is, with its unit."""
    match encoding:
        case LinearEnergy(highest=unit):
            return "incident energy, GeV" if unit == GeV else f"incident energy / {unit:.10g} MeV"
        case Column(condition=name, offset=0.0, scale=scale) if np.isclose(scale, np.pi / 180, rtol=1e-9):
            return f"{name}, degrees"
        case Column(condition=name, offset=offset, scale=scale):
            return f"({name} - {offset:.10g}) / {scale:.10g}"
    return first_line(encoding)


def _latent_text(run: TrainedRun) -> str:
    prior = run.latent
    if isinstance(prior, Latent):
        spread = "standard deviation" if prior.distribution == "normal" else "half-width"
        return f"{prior.dim} numbers, {prior.distribution}, mean {prior.mean:.10g}, {spread} {prior.spread:.10g}"
    return f"{prior.dim} numbers, drawn from {_LATENT_FILE}. {first_line(prior)}"


def _output_text(run: TrainedRun) -> str:
    layers, (rows, columns) = len(run.geometry.layers), run.geometry.layers[0].shape
    return f"energies of the cells, MeV: {layers} layers of {rows} x {columns} cells, x and z (fastest)"


def _description(run: TrainedRun) -> dict[str, Any]:
    """Description of inputs and output, for the programs that evaluate the model."""
    chain, prior = run.transform, run.latent
    drawn = asdict(prior) if isinstance(prior, Latent) else {"dim": prior.dim, "file": _LATENT_FILE}
    return {
        "onnx": {"operators": OPSET, "ir_version": IR_VERSION},
        "latent": {**drawn, "text": _latent_text(run)},
        "inputs": [{"name": "latent", "size": prior.dim}, {"name": "condition", "size": chain.condition_dim}],
        "condition": [_condition_text(encoding) for encoding in chain.encodings],
        "output": {"name": OUTPUT, "size": run.geometry.size, "text": _output_text(run)},
        "transform": chain.to_json(),
        "geometry": run.geometry.to_json(),
    }


def _archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as NumPy's archive."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
