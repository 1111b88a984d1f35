"""The command `calogen export`."""

from pathlib import Path
from typing import Annotated

import typer

from calogen.errors import CalogenError
from calogen.files import require_writable_file
from calogen.process import tell


def export_command(
    runs: Annotated[Path, typer.Argument(metavar="RUN", help="A trained run, or a folder of runs.")] = Path("runs"),
    output: Annotated[Path, typer.Option(help="Directory for the exported networks.")] = Path("export/out"),
    eta: Annotated[int, typer.Option(help="Lower edge of the slice in eta, times 100.")] = 20,
) -> None:
    """Write trained runs as networks for Athena (LWTNN JSON, ONNX), checked against Keras.

    Each run gives a directory below --output. GANs of voxels give neural_net_<pid>_eta_<a>_<b>_<range>.json and .onnx,
    binning.xml and a parametrisation as Athena's classes look for them; networks that share the momenta go together.
    Networks of cells give decoder.json or generator.json, and DNNCaloSim_GAN_nn_v0.json if Athena's service for cells
    can load them. Beside them lie manifest.json (interface, noise, condition, momenta, hashes, origin) and closure.md
    (how far from Keras).

    A network is written only if every voxel or cell agrees with Keras in float64 to 1e-6 of the shower's energy. The
    exit code is 2 if one does not, or if distributions of showers from independent noise differ from Keras'.
    """
    from calogen.athena.export import export_runs

    require_writable_file(output / "manifest.json")
    tell(f"exporting the networks of {runs} into {output}; each is compared with Keras, some 10 to 30 seconds")
    failed = []
    for line, fault in export_runs(runs, output, eta):
        typer.echo(line)
        failed += [fault] if fault else []
    if failed:
        raise CalogenError(f"{len(failed)} failed: {'; '.join(failed)}")
