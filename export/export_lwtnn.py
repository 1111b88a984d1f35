"""Write every trained run as networks for Athena, checked against Keras.

Runs are found below the given folder, as the experiments leave them. Each gives a folder below export/out/:

  GANs of voxels      neural_net_<pid>_eta_<a>_<b>_<range>.json (LWTNN) and .onnx, binning.xml, as Athena's classes for
                      GAN showers look for them; networks that share the momenta go together, e.g. into photon-2-gans
  decoders of cells   decoder.json (LWTNN): its output is the features of the manifest's transform

and beside them manifest.json (interface, noise, condition, momenta, hashes, where the run comes from) and closure.md
(how far from Keras). What Athena cannot load unchanged is marked calogen-selector; export/README.md explains how to run
either. A network is written only if every voxel or cell agrees with Keras in float64 to 1e-6 of the shower's energy.
The exit code is 2 if one does not, or if distributions of showers from independent noise differ from Keras' (exact
copies fail that at most about once in a thousand times).
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from calogen.errors import CalogenError
from calogen.reproduction.experiment import clean_exit

EXAMPLES = """examples:
  python export/export_lwtnn.py                                       every run below runs/
  python export/export_lwtnn.py runs/caloshowergan/laptop-seed1       this run only
  python export/export_lwtnn.py runs/fastcalogan --output /tmp/nets   to /tmp/nets/fastcalogan/<run>/<network>/
  python export/export_lwtnn.py --check official                      and compare with lwtnn's own converter
"""
OUTPUT = Path(__file__).parent / "out"


def main(arguments: Sequence[str] | None = None) -> None:
    """Export the runs that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"), help="a run, or a folder of runs")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR", help="default: export/out")
    parser.add_argument("--eta", type=int, default=20, help="lower edge of the slice in eta, times 100 (default: 20)")
    parser.add_argument(
        "--check", choices=["official"], help="official: convert with lwtnn's own converter, too (make lwtnn-tools)"
    )
    given = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's greetings
    with clean_exit("export_lwtnn"):
        from calogen.athena.export import export_set, find_sets  # seconds: --help does without
        from calogen.files import require_writable_file

        require_writable_file(given.output / "manifest.json")
        failed = []
        for item in find_sets(given.runs):
            try:
                done = export_set(item, given.output, given.eta)
                print(done.line, flush=True)
                if not done.agrees:
                    failed.append(f"{item.name}: its distributions differ from Keras'")
            except CalogenError as error:
                failed.append(f"{item.name}: {' '.join(str(error).split())}")
                print(f"not exported: {failed[-1]}", flush=True)
        if given.check:
            from official import check_runs  # type: ignore[import-not-found]  # beside this script

            try:
                check_runs(given.runs)
            except CalogenError as error:
                failed.append(str(error))
        if failed:
            raise CalogenError(f"{len(failed)} failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
