"""A grid of a small GAN and its showers: what the tests of scans share."""

from pathlib import Path

import numpy as np
from conftest import make_showers

from calogen.metrics.distributions import Value
from calogen.reproduction.scan_criteria import Measured
from calogen.reproduction.scan_files import read_grid
from calogen.reproduction.scan_grid import Grid, with_choices
from calogen.reproduction.scan_study import Outcome, ScanStudy
from calogen.reproduction.scan_workers import Data, Task
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_GAN_WINDOW

MODEL = "atlas_gan"
GRID = """
sampler = "one-at-a-time"

[start]
config = "paper"
changes = { generator_units = [8], critic_units = [8], energy_critic_units = [4], latent_dim = 4, batch_size = 8 }

[criterion]
name = "ks"
observables = ["total_energy", "front_energy"]

[budget.smoke]
changes = { iterations = 3 }

[budget.laptop]
changes = { iterations = 150 }

[budget.paper]

[parameters.learning_rate]
values = [1e-4, 1e-3]
source = "a toy"

[parameters.critic_steps]
values = [1, 5]
source = "a toy"

[variants."both"]
changes = { learning_rate = 1e-3, critic_steps = 1 }

[finalists.parameters.critic_steps]
values = [2]
source = "a toy"
"""


def grid_of(folder: Path, text: str = GRID, preset: str = "smoke", **options: object) -> Grid:
    """The grid that a text describes, with options as the command line gives them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "toy.toml"
    path.write_text(text, encoding="utf-8")
    chosen: dict[str, object] = {"sampler": None, "trials": None, "seeds": None, **options}
    return with_choices(read_grid(path, MODEL, preset), **chosen)  # type: ignore[arg-type]


def toy_showers(num_showers: int = 240, seed: int = 1) -> Showers:
    """Showers in the GAN's window, at two energies, with impact positions."""
    showers = make_showers(ATLAS_GAN_WINDOW, num_showers, seed)
    incident = np.where(np.arange(num_showers) % 2, 4096.0, 65536.0)
    energies = showers.energies * (incident / showers.incident_energies)[:, None].astype(np.float32)
    rng = np.random.default_rng(seed)
    conditions = {"impact_eta": rng.uniform(0.2, 0.25, num_showers), "impact_phi": rng.uniform(0.0, 0.1, num_showers)}
    return Showers(ATLAS_GAN_WINDOW, incident, energies, conditions)


def task_of(root: Path, grid: Grid) -> Task:
    """A scan of the toy showers, which are written into a file."""
    path = root / "train.h5"
    root.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        toy_showers().write(path)
    return Task(root=root, folder=root / grid.sampler, grid=grid, data=Data(train=path))


def study_of(folder: Path, grid: Grid) -> ScanStudy:
    """A study without showers, whose trials are ended by hand."""
    return ScanStudy(folder / "journal.log", folder / grid.sampler, grid, "none")


def measured(value: float) -> Measured:
    """What came of a trial that was not trained."""
    return Measured(value=Value(value, 0.1), response=1.0, seconds=2.0)


def end(study: ScanStudy, value: float) -> str | None:
    """Ends the next trial; gives its point's name."""
    with study.take() as taken:
        if taken is None:
            return None
        study.complete(taken.number, measured(value))
        return taken.point.name


def counted(outcomes: list[Outcome]) -> list[Outcome]:
    """Outcomes that count: each point's last."""
    return [outcome for outcome in outcomes if outcome.counts]
