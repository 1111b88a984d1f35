"""What generation costs, also of a model that knows more than the incident energy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_VOXELS
from toy_gan import make_conditioned

from calogen.errors import DataFormatError
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import format_graph
from calogen.reproduction.timing import TIMED, measure_costs
from calogen.showers.sample import Showers


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
