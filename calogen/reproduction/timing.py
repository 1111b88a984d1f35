"""Costs of generation, beside Geant4's on this machine, and of training steps."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calogen.config import require
from calogen.errors import CalogenError, ConfigError
from calogen.features.batches import moments_of, resident
from calogen.generation.generate import compile_one_shower, generate, seconds_per_call
from calogen.generation.load import module_of
from calogen.showers.bundled import read_showers
from calogen.showers.sample import Showers
from calogen.simulation.physics import require_geant4
from calogen.simulation.production import produce
from calogen.simulation.request import Request
from calogen.training.calls import compile_calls
from calogen.training.run import TrainedRun
from calogen.training.train import stages_of

TIMED = {8192.0: 30, 262144.0: 3}
"""Incident energies, MeV, at which papers compare speeds, and how many showers are simulated to time Geant4."""

_ADDED_MEMORY = """
import sys
import numpy as np
from calogen.lwtnn.graph import read_graph
from calogen.lwtnn.runtime import Forward
def resident_memory():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
before = resident_memory()
graph = read_graph(sys.argv[1])
Forward(graph)(np.zeros(sum(len(given.variables) for given in graph.inputs)))
print(resident_memory() - before)
"""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Time and memory of generation.

    Args:
        geant4_seconds: Geant4's CPU seconds per shower, by incident energy, MeV.
        one_by_one_seconds: seconds per generated shower, one at a time.
        batch_seconds: seconds per generated shower, 10,000 at once.
        json_bytes: size of the decoder as LWTNN JSON.
        weight_bytes: size of the decoder's weights in float32.
        added_bytes: memory that a process needs more of to load the JSON and to generate.
        origin: where Geant4's times come from, in words.
    """

    geant4_seconds: Mapping[float, float]
    one_by_one_seconds: float
    batch_seconds: float
    json_bytes: int
    weight_bytes: int
    added_bytes: int
    origin: str

    def speedup(self, energy: float) -> float:
        """Geant4's time per shower over that of the network, one shower at a time."""
        return self.geant4_seconds[energy] / self.one_by_one_seconds


def measure_costs(run: TrainedRun, decoder: Path, test: Showers, simulate: bool) -> Costs:
    """Measures time and memory of generation.

    Args:
        run: the trained run that generates.
        decoder: the run's LWTNN JSON.
        test: showers with the conditions to generate from; `cpu_seconds` in it are used if Geant4 is not timed.
        simulate: whether to time Geant4 now; where Geant4 is not installed the times in `test` are used.
    """
    one_shower, given = compile_one_shower(run), test.given.only(run.transform.needs)
    many = given[np.resize(np.arange(len(given)), 10_000)]
    energy, further = float(given.incident_energies[0]), {name: values[0] for name, values in given.others.items()}
    geant4, origin = geant4_seconds(test, simulate)
    return Costs(
        geant4_seconds=geant4,
        one_by_one_seconds=seconds_per_call(lambda: one_shower(energy, **further)),
        batch_seconds=seconds_per_call(lambda: generate(run, many, 1), repeats=5) / len(many),
        json_bytes=decoder.stat().st_size,
        weight_bytes=4 * run.generator.count_params(),
        added_bytes=added_memory(decoder),
        origin=origin,
    )


def seconds_per_step(run: TrainedRun, showers: Showers, repeats: int = 40) -> float:
    """CPU seconds of a step of a run's training, the least of several calls.

    Time of other processes does not count, so that it is the time on a free core if there is one thread.

    Args:
        run: a trained run, whose training begins anew; of several stages the first one counts.
        showers: showers that train.
        repeats: number of calls of an epoch, or of some iterations, after a first one that compiles.
    """
    module = module_of(run.config)
    chain = module.build_transform(run.config, run.geometry).fit(showers)
    features, networks = resident(showers, chain), module.build(run.config, run.geometry)
    trainers = module.build_trainer(run.config, run.geometry, networks, moments_of(features))
    stage = stages_of(trainers, module.build_schedule(run.config, showers.incident_energies))[0]
    _, rows = next(iter(stage.schedule.calls(0, len(showers), stage.trainer.batches_per_step)))
    call, times = compile_calls(stage.trainer, features), []
    for _ in range(repeats + 1):
        start = time.process_time()
        call(rows)
        times.append(time.process_time() - start)
    return min(times[1:]) / len(rows)


def require_times(test: Showers, simulate: bool) -> None:
    """Refuse a test file without Geant4's times where Geant4 is not timed, or not installed.

    Args:
        test, simulate: as for `measure_costs`.

    Raises:
        ConfigError: there are no times in the file, and no Geant4.
    """
    if "cpu_seconds" in test.conditions and set(TIMED) <= set(test.incident_energies.tolist()):
        return
    wanted = f"the comparison of speeds needs a test file with cpu_seconds at {sorted(TIMED)} MeV, or Geant4"
    require(simulate, f"{wanted}, which the preset smoke does not time. Received: no such times")
    try:
        require_geant4("em-datafree")
    except ConfigError as error:
        raise ConfigError(f"{wanted}. Received: neither ({error})") from error


def geant4_seconds(test: Showers, simulate: bool) -> tuple[dict[float, float], str]:
    """Geant4's CPU seconds per shower at the energies of `TIMED`, and where they come from."""
    origin = "Geant4's times are those of the test file"
    if simulate:
        try:
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder) / "timing.h5"
                produce(Request(output=output, energies=tuple(TIMED), showers=tuple(TIMED.values()), seed=3))
                test, origin = read_showers(output), "Geant4 timed in the same run"
        except ConfigError as error:
            print(f"no Geant4 here ({error}): its times are those of the test file", file=sys.stderr)
    return {energy: float(test.at(energy).conditions["cpu_seconds"].mean()) for energy in TIMED}, origin


def added_memory(decoder: Path) -> int:
    """Resident memory, bytes, that loading the JSON and generating one shower adds.

    Raises:
        CalogenError: the operating system does not tell the memory of a process (Linux does).
    """
    done = subprocess.run(
        [sys.executable, "-c", _ADDED_MEMORY, str(decoder)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        why = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise CalogenError(f"the memory of generation was not measured: {why[-1]}")
    return 1024 * int(done.stdout)
