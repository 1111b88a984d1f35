"""What generation costs, also of a model that knows more than the incident energy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_VOXELS
from toy_gan import make_conditioned
from toy_runs import showers_of

from calogen.errors import ConfigError, DataFormatError
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import format_graph
from calogen.models import atlas_note_gan, atlas_note_vae
from calogen.models.atlas_note_gan import AtlasNoteGanConfig
from calogen.models.atlas_note_vae import AtlasNoteVaeConfig
from calogen.reproduction import timing
from calogen.reproduction.timing import TIMED, measure_costs, require_times, seconds_per_step
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_GAN_WINDOW
from calogen.training.run import assemble_run


def test_a_model_with_conditions_is_timed_with_those_of_the_test_showers(tmp_path: Path) -> None:
    run, decoder = make_conditioned(), tmp_path / "decoder.json"
    decoder.write_text(format_graph(convert(run.generator, ["latent", "condition"])))
    energies = np.repeat([*TIMED], 3)
    given = {"impact_eta": np.full(6, 0.25), "cpu_seconds": np.repeat([2.0, 60.0], 3)}
    test = Showers(TINY_VOXELS, energies, np.ones((6, TINY_VOXELS.size), np.float32), given)
    costs = measure_costs(run, decoder, test, simulate=False)
    assert dict(costs.geant4_seconds) == {8192.0: 2.0, 262144.0: 60.0}
    assert costs.batch_seconds > 0
    assert costs.one_by_one_seconds > 0
    assert costs.speedup(262144.0) == 60 / costs.one_by_one_seconds
    assert (costs.json_bytes, costs.weight_bytes) == (decoder.stat().st_size, 4 * (4 * 10 + 10))
    with pytest.raises(DataFormatError, match="the model needs impact_eta of each shower"):
        measure_costs(run, decoder, replace(test, conditions={"cpu_seconds": given["cpu_seconds"]}), simulate=False)


def test_times_are_asked_for_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of Geant4 where it is timed and installed, else those of the test file."""
    energies = np.repeat([*TIMED], 3)
    without = Showers(TINY_VOXELS, energies, np.ones((6, TINY_VOXELS.size), np.float32))
    timed = replace(without, conditions={"cpu_seconds": np.ones(6)})
    wanted = r"needs a test file with cpu_seconds at \[8192.0, 262144.0\] MeV, or Geant4"
    for simulate in (True, False):
        require_times(timed, simulate)
    with pytest.raises(ConfigError, match=f"{wanted}, which the preset smoke does not time"):
        require_times(without, simulate=False)
    monkeypatch.setattr(timing, "require_geant4", lambda physics: None)
    require_times(without, simulate=True)

    def missing(physics: str) -> None:
        raise ConfigError(f"no {physics}")

    monkeypatch.setattr(timing, "require_geant4", missing)
    with pytest.raises(ConfigError, match=rf"{wanted}. Received: neither \(no em-datafree\)"):
        require_times(without, simulate=True)
    with pytest.raises(ConfigError, match=wanted):
        require_times(timed[:3], simulate=True)


@pytest.mark.parametrize(("epochs", "rows"), [(True, 3), (False, 10)])
def test_a_step_takes_the_least_time_of_several_calls(epochs: bool, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of the VAE is an epoch of three batches, one of the GAN ten iterations; the first one compiles."""
    showers = showers_of(ATLAS_GAN_WINDOW, (1024.0, 4096.0), (32, 32))
    if epochs:
        module, config = atlas_note_vae, AtlasNoteVaeConfig(batch_size=20, encoder_units=(4,), decoder_units=(4,))
    else:
        module, config = atlas_note_gan, AtlasNoteGanConfig(batch_size=4, hidden_units=4, critic_steps=1)
    transform = module.build_transform(config, ATLAS_GAN_WINDOW).fit(showers)
    networks = module.build(config, ATLAS_GAN_WINDOW)
    run = assemble_run(module, config, ATLAS_GAN_WINDOW, networks, transform)
    clock = iter([0.0, 900.0, 0.0, 6.0, 0.0, 3.0, 0.0, 9.0])
    monkeypatch.setattr(timing.time, "process_time", lambda: next(clock))
    assert seconds_per_step(run, showers, repeats=3) == pytest.approx(3.0 / rows)
