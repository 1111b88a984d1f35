"""The command `calogen export`."""

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from calogen.errors import CalogenError
from calogen.files import require_writable_file
from calogen.process import show, tell


def export_command(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="A trained run, a folder of runs, or pretrained networks by name; by default the folder runs, or, "
            "where it has no run, all pretrained networks that LWTNN can hold.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Directory for the exported networks.")] = Path("export/out"),
    eta: Annotated[int, typer.Option(help="Lower edge of the slice in eta, times 100: 0, 5, 10 to 495.")] = 20,
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="One directory for all particles and slices, as Athena needs it."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Export only the networks of this name, e.g. photon-2-gans; repeatable."),
    ] = None,
) -> None:
    """Write trained runs as networks for Athena (LWTNN JSON, ONNX), checked against Keras.

    Each run gives a directory below --output. GANs of voxels give neural_net_<pid>_eta_<a>_<b>_<range>.json and .onnx,
    binning.xml and rootFiles/ as Athena's classes look for them; networks that share the momenta go together.
    Networks of cells give decoder.json or generator.json, and DNNCaloSim_GAN_nn_v0.json if Athena's service for cells
    can load them. Networks of regular grids, whose 3-D convolutions LWTNN lacks, give one ONNX model from noise and
    condition to energies in MeV: generator.onnx, or the names of all networks that generate, joined by _then_. Beside
    them lie a manifest (interface, noise, condition, momenta, hashes, origin) and a closure page (how far from Keras).
    Other slices and particles that a directory holds already stay, with one binning.xml; --into brings those of several
    runs together.

    A network is written only if every voxel or cell agrees with Keras in float64 to 1e-6 of the shower's energy (ONNX
    models of grids: 1e-5). The exit code is 2 if one does not, or if distributions of showers from independent noise
    differ from Keras'. That says nothing of the physics: the lines below each directory say how long the network was
    trained, how far it is from Geant4, and what the directory lacks.
    """
    from calogen.athena.export import export_runs
    from calogen.generation.pretrained import exported_folders

    require_writable_file((into or output) / "manifest.json")
    folders = exported_folders(run)
    exported = [export_runs(folder, output, eta, into=into, only=only or ()) for folder in folders]
    tell(f"exporting {', '.join(map(str, folders))} into {into or output}; each network is compared with Keras")
    failed = []
    for text, fault in chain.from_iterable(exported):
        show(text)
        failed += [fault] if fault else []
    if failed:
        raise CalogenError(f"{len(failed)} failed: {'; '.join(failed)}")
