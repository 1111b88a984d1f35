import hashlib
import json
import math
from importlib import resources

import pytest

from calogen.errors import CalogenError, DataFormatError
from calogen.evaluation.criteria import criteria
from calogen.evaluation.submissions import read_submissions, reference_warning
from calogen.metrics.distributions import Value
from calogen.showers.download import DATASETS

PARTICLES = ("photon", "pion")
NUM_SUBMISSIONS = {"photon": 15, "pion": 12}


def _file(particle):
    return resources.files("calogen").joinpath("data", f"calochallenge_{particle}s.json")


@pytest.mark.parametrize("particle", PARTICLES)
def test_files_are_whole_and_say_their_source(particle):
    content = json.loads(_file(particle).read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert "arXiv:2410.21611" in content["source"]
    assert "9b41df72a03a" in content["source"]
    assert len(content["sha256"]) == 64
    published = read_submissions(particle)
    assert len(published.submissions) == NUM_SUBMISSIONS[particle]
    assert published.source == content["source"]
    known = criteria(particle)
    lacking = {item.name: set(known) - set(item.numbers) for item in published.submissions}
    assert {name for name, metrics in lacking.items() if metrics} == {"CaloForest", "CaloGraph"}
    assert lacking["CaloForest"] == {"time_gpu_1", "time_gpu_100", "time_gpu_10000"}
    assert lacking["CaloGraph"] == {"time_gpu_10000"}
    for item in (published.geant4, *published.submissions):
        assert all(math.isfinite(value.value) for value in item.numbers.values())
        assert all(value.error >= 0 for name, value in item.numbers.items() if name in ("auc_low", "fpd", "kpd"))
    assert all(0 < item.numbers[name].value < 1 for item in published.submissions for name in known if "power" in name)
    assert set(known) - set(published.geant4.numbers) == {
        name for name in known if name.startswith(("time", "num", "log"))
    }


def _damaged(**changes):
    entry = {"name": "A", "numbers": {"auc_low": [0.6, 0.01]}}
    return {"particle": "photon", "source": "x", "geant4": entry, "submissions": [entry]} | changes


def _entry(number, name="A", metric="auc_low"):
    return [{"name": name, "numbers": {metric: number}}]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "null", '{"particle": "photon"}', '{"particle": "photon", "source": "x", "geant4": 3}'),
        *(
            json.dumps(_damaged(**changes))
            for changes in (
                {"particle": "pion"},
                {"submissions": []},
                {"submissions": 3},
                {"submissions": _entry(0.5) * 2},
                {"submissions": [{"name": "A"}]},
                {"submissions": [{"numbers": {}}]},
                {"submissions": [{"name": "A", "numbers": []}]},
                {"submissions": _entry(0.5, name=3)},
                {"submissions": _entry(0.5, metric="auc")},
                {"submissions": _entry(0.5, metric="separation_power")},
                {"submissions": _entry({"layer_energy": {"7": 0.1}}, metric="separation_power")},
                {"submissions": _entry({"layer_energy": {"0": None}}, metric="separation_power")},
                *(
                    {"submissions": _entry(number)}
                    for number in (math.nan, math.inf, None, "0.5", True, 10**400, [], [0.5], [0.5, 0.1, 0.1])
                ),
                *({"submissions": _entry([0.5, error])} for error in (-0.1, math.nan, math.inf, None, "0", False)),
            )
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path, text):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(CalogenError, match="table.json"):
        read_submissions("photon", path)


def test_another_file_of_the_format(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(_damaged()))
    found = read_submissions("photon", path)
    assert found.submissions[0].numbers == {"auc_low": Value(0.6, 0.01)}
    with pytest.raises(DataFormatError, match="no submission of x has fpd"):
        found.ranking("fpd")
    path.write_text(json.dumps(_damaged(submissions=_entry(0.5, metric="recall"))))
    with pytest.raises(DataFormatError, match="no value of Geant4"):
        read_submissions("photon", path).ranking("recall")
    with pytest.raises(CalogenError, match="cannot read"):
        read_submissions("photon", tmp_path / "missing.json")


def test_the_challenges_files_are_known_by_their_content(tmp_path, monkeypatch):
    names = ("dataset_1_pions_1.hdf5", "dataset_1_pions_2.hdf5")
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
        digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(DATASETS["calochallenge-pions"], name, f"md5:{digest}")
    assert reference_warning(tmp_path / names[1], "pion") == ""
    assert "dataset_1_pions_1.hdf5 is the CaloChallenge's training file" in reference_warning(
        tmp_path / names[0], "pion"
    )
    assert "dataset_1_photons_2.hdf5" in reference_warning(tmp_path / names[1], "photon")
    (tmp_path / names[1]).write_bytes(b"other showers")
    assert "pions_2.hdf5 is not a file of the CaloChallenge" in reference_warning(tmp_path / names[1], "pion")
    for bad in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataFormatError, match="cannot read"):
            reference_warning(bad, "pion")
    with pytest.raises(DataFormatError, match="one of photon, pion"):
        reference_warning(tmp_path / names[0], "electron")
