"""What an evaluation says first."""

from pathlib import Path

import pytest
from conftest import TINY_VOXELS, make_showers

from calogen import progress
from calogen.evaluation.judging import Options
from calogen.reports.plan import planned


def test_one_bar_over_all_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / f"{number}.h5" for number in range(3)]
    for number, path in enumerate(paths):
        make_showers(TINY_VOXELS, 20 + number, number).write(path)
    with planned(False, paths[:1], {"A": paths[1:], "B": paths[2:]}, paths[:1], Options()):
        assert progress._whole is not None
        assert (progress._whole._total, progress._whole._unit) == (3 * 3 * 3 * 50, "epochs")
    assert progress._whole is None
    first, second = capsys.readouterr().err.splitlines()
    assert first == "judging A, B against 0.h5: all metrics, then a page"
    assert second.startswith("trainings of classifiers: 27 (3 samples x 3 classifiers, 3 times each), on up to 20 ")
    with planned(True, paths[:1], {"A": paths[1:]}, [], Options(repetitions=2, max_showers=5)):
        assert progress._whole is not None
        assert progress._whole._total == 2 * 50
    assert "trainings of classifiers: 2 (1 classifier, 2 times each), on up to 5 showers" in capsys.readouterr().err
    with planned(True, paths[:1], {"A": paths[1:]}, [], Options(repetitions=0)):
        assert progress._whole is None
    assert "classifiers" not in capsys.readouterr().err
