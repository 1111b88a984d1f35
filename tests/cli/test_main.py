import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_showers
from hypothesis import given
from hypothesis import strategies as st
from toy_commands import exit_of_main, run, run_both, steps

import calogen
from calogen.cli import inspect as inspected
from calogen.cli.options import parse_angles, parse_counts, parse_energies, parse_uniform
from calogen.config import Paper, assumed, paper
from calogen.errors import CalogenError, ConfigError, DataFormatError
from calogen.observables.cells import CELL_OBSERVABLES
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_VAE_WINDOW


@dataclass(frozen=True, kw_only=True)
class Config:
    latent_dim: int = paper(5, "Table 1")
    batch_size: int = assumed(100, "not stated")


@pytest.fixture
def toy_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with one network of 6 trainable and 8 parameters in all, and a singular vector that is none."""
    kernel, bias, mean, vector = (
        SimpleNamespace(name=name, shape=shape)
        for name, shape in (("kernel", (2, 2)), ("bias", (2,)), ("moving_mean", (2,)), ("singular_vector", (5,)))
    )
    network = SimpleNamespace(trainable_variables=[kernel, bias], variables=[kernel, bias, mean, vector])
    toy = SimpleNamespace(
        PAPER=Paper(title="T", authors="A"),
        CONFIGS={"paper": (Config(), None), "small": (Config(latent_dim=2), None)},
        build=lambda config, geometry: {"decoder": network},
    )
    monkeypatch.setattr(inspected, "_models", lambda: iter([("toy", toy)]))


@pytest.mark.usefixtures("toy_model")
def test_inspect_counts() -> None:
    rows = json.loads(run("inspect", "--counts", "--json"))
    assert rows[0] == {"model": "toy", "config": "paper", "network": "decoder", "trainable": 6, "total": 8}
    assert [row["config"] for row in rows] == ["paper", "small"]
    assert run("inspect", "toy", "--counts").splitlines()[1].split() == ["toy", "paper", "decoder", "6", "8"]


def test_inspect_a_file_in_a_window(tmp_path: Path) -> None:
    path = tmp_path / "showers.h5"
    showers = Showers(
        ATLAS_BARREL_STORED,
        np.array([4096.0, 4096.0]),
        np.full((2, 297), 10.0, np.float32),
        {"impact_eta": np.array([0.21, 0.24]), "impact_phi": np.array([1.0, 2.0])},
    )
    showers.write(path)
    for window, cells in (((), 297), (("--window", "vae"), 276), (("--window", "gan"), 266)):
        (row,) = json.loads(run("inspect", str(path), *window, "--json"))
        assert row["response"] == pytest.approx(cells * 10 / 4096)
    with pytest.raises(ConfigError, match="--window must be one of vae, gan"):
        run("inspect", str(path), "--window", "cms")


@pytest.mark.usefixtures("toy_model")
def test_inspect_sources() -> None:
    described = json.loads(run("inspect", "--json"))
    assert described[0]["paper"] == 'A, "T"'
    assert described[0]["configs"]["paper"][1] == {
        "name": "batch_size",
        "value": 100,
        "kind": "assumed",
        "source": "not stated",
    }
    assert "latent_dim = 2  [assumed: changed; the paper has 5 (Table 1)]" in run("inspect")
    with pytest.raises(ConfigError, match="model must be one of toy. Received: other"):
        run("inspect", "other")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("65536", [65536]),
        ("1024:262144:x2", [2**k for k in range(10, 19)]),
        ("1000:3500:+1000", [1000, 2000, 3000]),
        ("0.1:0.3:+0.1", [0.1, 0.2, 0.3]),
        ("256,1024:2048:x2,24576", [256, 1024, 2048, 24576]),
        ("5:5", [5]),
    ],
)
def test_parse_energies(text: str, expected: list[float]) -> None:
    assert parse_energies(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "4 GeV", "0", "-1", "nan", "1:inf:x2", "1:9:x1", "9:1:x2", "1:9:3", "1:2:x2:3", "1,", "1:9e9:+1"]
)
def test_other_energies_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="energies must be values above 0"):
        parse_energies(text)


@given(st.text(alphabet="0123456789.:,x+-e ", max_size=12))
def test_energies_are_parsed_or_refused(text: str) -> None:
    with suppress(ConfigError):
        assert all(0 < energy < float("inf") for energy in parse_energies(text))


def test_energies_are_rounded_to_ten_digits() -> None:
    """1000 times 1.1 twice is 1210, and not another energy beside it."""
    assert parse_energies("1000:1331:x1.1,1210") == (1000.0, 1100.0, 1210.0, 1331.0, 1210.0)


def test_parse_counts() -> None:
    assert parse_counts("1000", "1:4:x2,8") == (1000, 1000, 1000, 1000)
    assert parse_counts("1000,600", "1:4:x2,8") == (1000, 1000, 1000, 600)


@pytest.mark.parametrize("text", ["", "0", "x", "1,", "1.5", "3,-1", "1,2,3"])
def test_other_counts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="showers must be one number above 0, or 2 of them"):
        parse_counts(text, "1:4:x2,8")


def test_uniform_energies_and_angles_are_parsed_or_refused() -> None:
    assert parse_uniform("10000:100000:uniform") == (10_000.0, 100_000.0)
    assert parse_uniform("10000,20000") is None
    assert parse_counts("70", "10000:100000:uniform") == (70,)
    assert (parse_angles("60"), parse_angles("40:90")) == ((60.0, 60.0), (40.0, 90.0))
    for text in ("uniform", ":uniform", "1:uniform", "1:2:3:uniform", "1,2:3:uniform", "x:2:uniform", "0:2:uniform"):
        with pytest.raises(ConfigError, match="energies must be"):
            if parse_uniform(text) is None:
                parse_energies(text)
    for text in ("", "x", "40:50:60", "40:"):
        with pytest.raises(ConfigError, match="must be in degrees"):
            parse_angles(text)


def test_simulate_knows_what_a_grid_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from calogen.simulation import production
    from calogen.simulation.request import Request

    received: list[Request] = []
    monkeypatch.setattr(production, "produce", received.append)
    for options in (
        ["--detector", "ahcal", "--energies", "10000:20000:uniform"],
        ["--detector", "ild-angular", "--energies", "10000,20000", "--angles", "60"],
    ):
        run("simulate", *options, "--output", str(tmp_path / "a.h5"))
    pions, photons = received
    assert (pions.particle, pions.physics, pions.uniform) == ("pion", "ftfp-bert-datafree", True)
    assert pions.energies == (10_000.0, 20_000.0)
    assert (photons.particle, photons.angles, photons.energies) == ("photon", (60.0, 60.0), (10_000.0, 20_000.0))


def test_simulate_passes_every_option_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from calogen.simulation import production
    from calogen.simulation.request import Request

    requests: list[Request] = []
    monkeypatch.setattr(production, "produce", requests.append)
    options = "--detector atlas-barrel --particle electron --physics ftfp-bert --seed 3 --workers 2 --mantissa-bits 12"
    output = tmp_path / "showers.h5"
    run("simulate", "--energies", "1024:2048:x2,4096", "--showers", "9,7", "--output", str(output), *options.split())
    assert requests == [
        Request(
            output=output,
            energies=(1024.0, 2048.0, 4096.0),
            showers=(9, 9, 7),
            detector="atlas-barrel",
            particle="electron",
            physics="ftfp-bert",
            seed=3,
            workers=2,
            mantissa_bits=12,
        )
    ]


def test_download_prints_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fake(name: str, output: Path | None) -> list[Path]:
        return [(output or Path("cache")) / f"{name}_{number}.hdf5" for number in (1, 2)]

    monkeypatch.setattr("calogen.showers.download.download", fake)
    assert run("download", "pions").split() == ["cache/pions_1.hdf5", "cache/pions_2.hdf5"]
    assert run("download", "pions", "--output", "a").split() == ["a/pions_1.hdf5", "a/pions_2.hdf5"]


def test_generate_passes_every_option_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("calogen.generation.production.write_generated", lambda *arguments: asked.append(arguments))
    runs, output = [tmp_path / "low", tmp_path / "high"], tmp_path / "generated.h5"
    options = f"--energies 1024,4096 --showers 2 --seed 7 --output {output} --cluster local:3 --files 5"
    out, told = run_both("generate", *map(str, runs), *options.split())
    assert out.strip() == str(output)
    assert "2 showers at each energy of 1024,4096" in told
    assert steps(told)[0][:4] == ["calogen", "evaluate", "--reference", "GEANT4_FILE"]
    assert asked == [(output, runs, (1024.0, 4096.0), 2, 7, "local:3", 5)]
    for options, last in (
        ("--energies 1024", ((1024.0,), 1000, 1)),
        ("--like a.h5", (Path("a.h5"), 1, 1)),
        ("--like a.h5 --showers 3", (Path("a.h5"), 3, 1)),
    ):
        run("generate", str(runs[0]), "--output", str(output), *options.split())
        assert asked[-1] == (output, runs[:1], *last, None, 1)


@pytest.mark.parametrize(("options", "number"), [("", 0), ("--energies 1024 --like a.h5", 2)])
def test_generate_needs_energies_or_a_file(tmp_path: Path, options: str, number: int) -> None:
    with pytest.raises(ConfigError, match=f"needs either --energies or --like. Received: {number} of them"):
        run("generate", str(tmp_path), "--output", str(tmp_path / "a.h5"), *options.split())


def test_evaluate_writes_one_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("calogen.evaluation.cells.CELL_OBSERVABLES", CELL_OBSERVABLES[:1])
    showers = make_showers(ATLAS_VAE_WINDOW, 400)
    at_energy = showers.at(65536.0)
    at_energy[len(at_energy) // 2 :].write(tmp_path / "reference.h5")
    at_energy[: len(at_energy) // 2].write(tmp_path / "generated.h5")
    files = ["--reference", str(tmp_path / "reference.h5"), "--generated", f"VAE={tmp_path / 'generated.h5'}"]
    shown = run("evaluate", *files, "--classifiers", "0", "--latex", "--output", str(tmp_path / "report")).splitlines()
    page = Path(shown[-1])
    assert shown[0] == f"table: {page.parent / 'table.tex'}"
    assert (page.parent / "table.tex").read_text().count("VAE & $") == 1
    assert len(shown) < 10
    assert page == tmp_path / "report" / "report.html"
    assert "VAE against reference.h5" in page.read_text()
    rows = json.loads((page.parent / "metrics.json").read_text())
    assert {row["incident_energy"] for row in rows} == {65536.0}
    assert {row["sample"] for row in rows} == {"VAE"}
    provenance = json.loads((page.parent / "observables.json").read_text())["provenance"]
    assert provenance["data"]["VAE"]["file"] == "generated.h5"
    shown = run("report", *[str(page.parent)] * 2, "--output", str(tmp_path / "both"))
    assert shown.strip().endswith(str(tmp_path / "both" / "report.html"))
    assert run("report", str(page.parent)).startswith("# VAE against reference.h5")
    (page.parent / "report.md").unlink()
    with pytest.raises(DataFormatError, match="metrics.json must hold the title"):
        run("report", str(page.parent))


def test_faults_are_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["simulate", "--energies", "4 GeV", "--output", str(tmp_path / "a.h5")]
    assert exit_of_main(monkeypatch, arguments) == 2
    assert capsys.readouterr().err.splitlines() == [
        "calogen: error: energies must be values above 0 or rising ranges, in MeV: 4096,65536 or 1024:262144:x2 or "
        "1000:9000:+1000. Received: '4 GeV'"
    ]
    missing = str(tmp_path / "none.h5")
    files = ["--reference", missing, "--generated", f"VAE={missing}"]
    assert exit_of_main(monkeypatch, ["evaluate", *files, "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("calogen: error: no such file")
    assert exit_of_main(monkeypatch, ["report", "--unknown"]) == 2
    assert "No such option" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (CalogenError, 2)])
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, error: type[BaseException], code: int) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(inspected, "_models", fail)
    assert exit_of_main(monkeypatch, ["inspect"]) == code


def test_report_writes_and_checks_the_tables(tmp_path: Path) -> None:
    results = {"title": "T", "paper": "P", "claims": [{"claim": "C", "ours": "O", "verdict": "reproduced"}]}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text(json.dumps(results | {"quantities": []}))
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results -->\n<!-- end of results -->\nafter\n")
    arguments = ("report", str(tmp_path / "results"), "--tables", str(readme))
    with pytest.raises(ConfigError, match=r"the tables of .* are stale: run make tables"):
        run(*arguments, "--check")
    run(*arguments)
    run(*arguments, "--check")
    assert "| C | O | reproduced |" in readme.read_text()
    assert "| C | O | reproduced |" in run("report", str(tmp_path / "results"))


@pytest.mark.parametrize("arguments", [[], ["empty"], ["nowhere"], ["empty", "nowhere"], ["empty", "--tables", "r.md"]])
def test_a_report_of_nothing_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "r.md").write_text("<!-- results -->\n<!-- end of results -->\n")
    monkeypatch.chdir(tmp_path)
    assert exit_of_main(monkeypatch, ["report", *arguments]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert "must hold" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "--check"], "--check is of the files of --tables"),
        (["a", "--check"], "--check is of the files of --tables"),
        (["a", "--output", "page"], "--output is of a comparison of several directories"),
        (["a", "b", "--tables", "r.md", "--check"], "--tables takes one directory"),
    ],
)
def test_options_that_a_report_would_not_heed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        run("report", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_simulate_takes_workers_of_one_place(tmp_path: Path) -> None:
    words = ["simulate", "--energies", "1024", "--output", str(tmp_path / "a.h5")]
    with pytest.raises(ConfigError, match="--workers is of this machine"):
        run(*words, "--workers", "2", "--cluster", "local:2")


def test_a_report_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_bytes(b"\xff")
    with pytest.raises(DataFormatError, match=r"report.md must be a text in UTF-8"):
        run("report", str(tmp_path))


def test_the_installed_command_starts() -> None:
    command = [str(Path(sys.executable).with_name("calogen")), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in ("simulate", "download", "generate", "evaluate", "report", "inspect"))


@pytest.mark.parametrize("program", [["-m", "calogen"], [str(Path(sys.executable).with_name("calogen"))]])
def test_the_version_is_told_without_tensorflow(program: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", *program, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"calogen {calogen.__version__}\n"
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in modules
    assert not modules & {"tensorflow", "keras", "numpy", "matplotlib"}
