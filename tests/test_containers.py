"""The recipes of container images: the same steps in both, which work in a bare environment."""

import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKER, APPTAINER = ((ROOT / name).read_text(encoding="utf-8") for name in ("Dockerfile", "Apptainer.def"))


def step_of(text: str, start: str) -> str:
    """The command that installs, on one line."""
    found = re.search(rf"{start}\s*(python3 -m venv (?:.*\\\n)*.*)", text)
    assert found is not None
    return " ".join(found[1].replace("\\\n", " ").split())


def test_both_recipes_take_the_same_steps() -> None:
    extras = {text for recipe in (DOCKER, APPTAINER) for text in re.findall(r"(?m)^(?:ARG| *) *EXTRAS=(\S+)$", recipe)}
    bases = {text for recipe in (DOCKER, APPTAINER) for text in re.findall(r"(?m)^(?:ARG| *) *BASE=(\S+)$", recipe)}
    assert (len(extras), len(bases)) == (1, 1)
    assert step_of(DOCKER, "RUN") == step_of(APPTAINER, "%post").replace("{{ EXTRAS }}", "$EXTRAS")
    copied = {path for text in re.findall(r"(?m)^COPY (?!--)(.*) /source\S*$", DOCKER) for path in text.split()}
    assert copied == set(re.findall(r"(?m)^    (\S+) /source/\1$", APPTAINER))
    assert all((ROOT / path).exists() for path in copied)
    options = ConfigParser()
    options.read(ROOT / "setup.cfg")
    named = {name for text in re.findall(r"EXTRAS=([a-z0-9,]+)", DOCKER + APPTAINER) for name in text.split(",")}
    assert named <= set(options["options.extras_require"])
    assert "gpu" in named


@pytest.mark.slow
def test_the_steps_work_in_a_bare_environment(tmp_path: Path) -> None:
    """As in the image, with the CPU build: without the checkout, the user's own packages or a home."""
    source, target, work = (tmp_path / name for name in ("source", "opt", "work"))
    for folder in (source, work):
        folder.mkdir()
    copied = re.findall(r"(?m)^    (\S+) /source/\1$", APPTAINER)
    files = subprocess.run(["git", "ls-files", "-z", *copied], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-cf", str(tmp_path / "a.tar"), "--null", "-T", "-"], cwd=ROOT, input=files, check=True)
    subprocess.run(["tar", "-xf", str(tmp_path / "a.tar"), "-C", str(source)], check=True)
    step = step_of(DOCKER, "RUN").replace("/opt/calogen", str(target)).replace("/source", str(source))
    step = step.replace("python3", sys.executable, 1)
    subprocess.run(["sh", "-ec", step], env=dict(os.environ) | {"EXTRAS": "cluster,export"}, check=True)
    found = re.search(r"(?m)^ENV (.*)$", DOCKER)
    assert found is not None
    environment = dict(pair.split("=", 1) for pair in found[1].replace("/opt/calogen", str(target)).split())
    for words in (
        ["calogen", "generate", "atlas-vae-drawn", "--energies", "65536", "--showers", "10", "--output", "a.h5"],
        ["calogen", "train", "atlas-vae", "--set", "epochs=1", "--output", "run"],
        ["python", str(target / "experiments" / "atlas_vae.py"), "--help"],
    ):
        subprocess.run(words, cwd=work, env=environment, check=True, capture_output=True)
    assert sorted(path.name for path in work.iterdir()) == ["a.h5", "run"]
