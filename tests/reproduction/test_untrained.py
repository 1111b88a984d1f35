"""Figures of merit of a network before its training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_gan import CONFIG, toy_showers, train

from calogen.evaluation.iterations import ALL, WITH_SHAPES, IterationScan
from calogen.evaluation.merits import Chi2Merit
from calogen.provenance import named_seed
from calogen.reproduction import selection

SHOWERS = toy_showers(40)
MERITS = {ALL: Chi2Merit("caloshowergan"), WITH_SHAPES: Chi2Merit("caloshowergan", shapes=True)}


def test_an_untrained_network_is_judged_where_the_saved_ones_do_not_show_what_was_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch normalisation has settled, as that of a training without progress has."""
    config = replace(CONFIG, iterations=400, learning_rate=1e-12, critic_steps=1)
    still = train(tmp_path, SHOWERS, config)
    expected = MERITS[ALL](SHOWERS, selection.generate_like(still, SHOWERS, named_seed(config.seed, "select"))).value

    seed = named_seed(config.seed, "select")
    judge = selection.Judge(reference=SHOWERS, merits=MERITS | {"other": MERITS[ALL]}, seed=seed)

    def judged(*totals: float, first: int = 1000, **fields: Any) -> dict[str, float]:
        iterations = first * np.arange(1, 1 + len(totals))
        found = IterationScan(iterations, np.zeros(1), np.array(totals)[:, None], np.ones((len(totals), 1)))
        return selection.untrained_merits(tmp_path, judge, found, config, SHOWERS, **fields)

    found = judged(5.0, 4.0, 6.0)
    assert list(found) == list(MERITS), "what tells whether a network has learned"
    assert found[ALL] == pytest.approx(expected, rel=0.1)
    assert judged(5.0, 6.0, 4.0, 3.0) == judged(5.0, 4.0, 6.0, first=3) == {}
    with monkeypatch.context() as patch:
        patch.setattr(selection, "untrained", None)
        assert judged(9.0, 4.0, 6.0, 9.9) == found, "it scatters, and is not generated again"
        assert judged(5.0, 4.0, 6.0, first=3, unit="epoch") == found, "an epoch has many steps"
