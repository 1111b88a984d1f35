import importlib.metadata
import platform
from pathlib import Path

import pytest

from calogen.errors import ConfigError
from calogen.simulation import physics


def test_unknown_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="em-datafree"):
        physics.load_geant4("qgsp")


@pytest.mark.parametrize("folder", [None, "empty"])
def test_the_reference_list_needs_the_data_sets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str | None
) -> None:
    monkeypatch.delenv("G4LEDATA", raising=False)
    monkeypatch.delenv("GEANT4_DATA_DIR", raising=False)
    if folder:
        monkeypatch.setenv("GEANT4_DATA_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="brem_SB/br1.*em-datafree"):
        physics.load_geant4("ftfp-bert")


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.2.0")
    with pytest.raises(ConfigError, match=r"geant4-pybind==0\.1\.3 on Linux x86-64. Received: .*0\.2\.0"):
        physics.load_geant4("em-datafree")


def test_another_platform_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(ConfigError, match="Received: .*arm64"):
        physics.load_geant4("em-datafree")


def test_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ConfigError, match=r"pip install 'calogen\[geant4\]'"):
        physics.load_geant4("em-datafree")
