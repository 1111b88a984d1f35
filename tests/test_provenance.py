import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from calogen import provenance
from calogen.errors import ConfigError, DataFormatError
from calogen.provenance import collect, device, seed_streams, stream_seed


def _numbers(stream: np.random.SeedSequence) -> list[int]:
    return np.random.default_rng(stream).integers(1 << 60, size=4).tolist()


def test_streams_depend_on_seed_and_name_alone() -> None:
    one, two = seed_streams(7, "split", "train", "generate"), seed_streams(7, "generate", "split")
    assert _numbers(one["generate"]) == _numbers(two["generate"])
    assert _numbers(one["split"]) == _numbers(two["split"])
    assert _numbers(one["train"]) != _numbers(one["split"])
    assert _numbers(seed_streams(8, "train")["train"]) != _numbers(one["train"])


def test_streams_stay_the_same_between_versions() -> None:
    # golden: printed once by this very call; another value makes old runs unrepeatable
    assert stream_seed(seed_streams(1, "train")["train"]) == 1850768679


def test_stream_seeds_fit_signed_integers_and_rarely_collide() -> None:
    seeds = [stream_seed(seed_streams(seed, "train")["train"]) for seed in range(1000)]
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert len(set(seeds)) == 1000  # false alarm: 2.3e-4 if the seed were drawn anew; it is fixed


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed must be 0 to 9223372036854775807. Received: -1"):
        seed_streams(-1, "train")


def test_collect_is_complete_and_plain_json(tmp_path: Path) -> None:
    (tmp_path / "showers.h5").write_bytes(b"abc")
    found = collect(3, {"train": tmp_path / "showers.h5"})
    assert json.loads(json.dumps(found)) == found
    assert found["seed"] == 3
    assert found["data"]["train"]["file"] == "showers.h5"
    assert found["data"]["train"]["sha256"].startswith("ba7816bf")
    assert found["versions"]["numpy"] == np.__version__
    assert set(found["versions"]) == {"python", "calogen", "numpy", "h5py", "keras", "tensorflow"}
    assert abs(datetime.now(UTC) - datetime.fromisoformat(found["time"])).total_seconds() < 60
    assert found["cpu"]
    assert str(tmp_path) not in json.dumps(found)


def test_missing_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="no such file"):
        collect(3, {"train": tmp_path / "none.h5"})


def test_commit_and_changes_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for name in ("calogen/provenance.py", "setup.cfg", "experiments/a.py", "experiments/results/a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "calogen" / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance._commit() == ("unknown", None)
    git("init", "--quiet")
    assert provenance._commit() == ("unknown", None)
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    head = git("rev-parse", "HEAD")
    assert provenance._commit() == (head, False)
    (tmp_path / "experiments" / "results" / "a.json").write_text("{}")
    assert provenance._commit() == (head, False)
    (tmp_path / "experiments" / "a.py").write_text("changed = True")
    assert provenance._commit() == (head, True)


def test_commit_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance._commit() == ("unknown", None)


def test_device_asks_only_an_imported_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    assert device() == "CPU"
    details = SimpleNamespace(get_device_details=lambda gpu: {"device_name": f"Accelerator {gpu}"})
    config = SimpleNamespace(list_physical_devices=lambda kind: ["0", "1"], experimental=details)
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    assert device() == "Accelerator 0, Accelerator 1"
