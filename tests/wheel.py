"""What a user of the wheel alone does: train, generate, evaluate and export, by commands and by ten lines of Python.

    python -m build && python3 -m venv bare && bare/bin/pip install dist/*.whl
    bare/bin/python tests/wheel.py elsewhere

The folder is made, and must lie outside of a checkout; the script ends with exit code 0 if all of it works.
"""

import subprocess
import sys
from pathlib import Path

COMMANDS = (
    "train atlas-vae --set epochs=2 --output runs/mine",
    "generate runs/mine --energies 65536 --showers 200 --output mine.h5",
    "evaluate --reference {data}/photons_test.h5 --generated mine=mine.h5 --classifiers 0 --output report",
    "export runs/mine --output exported",
    "train fastcalogan --set iterations=20 --set batch_size=64 --output runs/gan",
    "generate runs/gan --energies 1024,4096 --showers 20 --output gan.h5",
    "export runs/gan --output exported",
)
SCRIPT = """
from dataclasses import replace
from pathlib import Path
from calogen import evaluate, fit, generate
from calogen.athena.export import export_runs
from calogen.models import atlas_vae
from calogen.showers.bundled import bundled, read_window
config, window = atlas_vae.CONFIGS["paper"]
run = fit(atlas_vae, replace(config, epochs=2), window, read_window(bundled("photons_train"), window), Path("runs/py"))
test = read_window(bundled("photons_test"), window).at(65536.0)
print(evaluate(test, {"mine": generate(run, test.incident_energies)}, "report-py").head())
print(*export_runs(Path("runs/py"), Path("exported-py")))
"""
OUTPUTS = ("runs/mine/decoder.keras", "report/report.html", "report/metrics.csv", "exported/runs/mine/decoder.json")
MORE_OUTPUTS = ("gan.h5", "exported/runs/gan/binning.xml", "report-py/report.html", "exported-py/runs/py/decoder.json")


def main(folder: Path) -> None:
    """Run all of it in a folder."""
    folder.mkdir(parents=True)
    command = Path(sys.executable).with_name("calogen")
    about = "import calogen; print(calogen.__path__[0])"
    package = subprocess.run([sys.executable, "-c", about], cwd=folder, capture_output=True, text=True, check=True)
    data = Path(package.stdout.strip()) / "data"
    if "site-packages" not in data.parts:
        raise SystemExit(f"the wheel must be installed. Received: {data}")
    for text in COMMANDS:
        print(f"calogen {text.format(data=data)}", flush=True)
        subprocess.run([command, *text.format(data=data).split()], cwd=folder, check=True)
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=folder, check=True)
    missing = [name for name in (*OUTPUTS, *MORE_OUTPUTS) if not (folder / name).is_file()]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
