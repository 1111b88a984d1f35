import json
import re
import signal
import subprocess
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from athena_exports import (
    HIGH,
    LINEAR,
    LOG,
    LOW,
    NOISE,
    PION_MASS,
    SELECTOR,
    V1,
    V2,
    affine,
    build_programs,
    call,
    constant,
    deep,
    load_compare,
    make_export,
    write,
)
from scipy.stats import kstest

from calogen.lwtnn.graph import format_graph


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_programs(tmp_path_factory.mktemp("build")) / "calogen_athena"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_compare()


def _generate(program: Path, export: Path, *arguments: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Momenta, energies and noise of a run that has to succeed."""
    folder = export.parent
    files = ("--output", folder / "showers.csv", "--noise", folder / "noise.csv")
    done = call(program, export, *files, *map(str, arguments))
    assert (done.returncode, done.stderr) == (0, "")
    rows = np.loadtxt(folder / "showers.csv", delimiter=",", skiprows=1, ndmin=2)
    noise = np.loadtxt(folder / "noise.csv", delimiter=",", ndmin=2)
    assert len(rows) == len(noise)
    return rows[:, 0], rows[:, 1:], noise


@pytest.mark.needs_lwtnn
@pytest.mark.parametrize("interface", [V1, V2, SELECTOR])
def test_python_gives_the_same_showers(
    interface: str, program: Path, script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export, momenta = make_export(tmp_path / "export", interface), tmp_path / "momenta.txt"
    wanted = np.geomspace(3.0, 4194304.0, 50)
    momenta.write_text("".join(f"{value!r}\n" for value in wanted.tolist()))
    found, energies, noise = _generate(program, export, "--momenta", momenta)
    assert np.array_equal(found, wanted)
    assert (energies.shape, noise.shape) == ((50, 12), (50, 2))
    assert (tmp_path / "showers.csv").read_text().split("\n")[0].split(",")[:3] == ["momentum", "out_0", "out_1"]
    script.main([str(export), str(tmp_path / "showers.csv"), str(tmp_path / "noise.csv")])
    printed = capsys.readouterr().out
    assert printed.startswith("50 showers: ")
    assert float(printed.split()[4]) < 1e-12


@pytest.mark.needs_lwtnn
@pytest.mark.parametrize("interface", [V2, SELECTOR])
def test_a_momentum_at_the_boundary_belongs_to_the_lower_network(interface: str, program: Path, tmp_path: Path) -> None:
    networks = [(LOW | {"condition": LOG}, constant(1, 0)), (HIGH | {"condition": LOG}, constant(0, 1))]
    export, momenta = write(tmp_path / "export", interface, networks), tmp_path / "momenta.txt"
    above = float(np.nextafter(4096.0, np.inf))
    momenta.write_text(f"4096\n{above!r}\n\n 4194304 \n1e-3\n")
    found, energies, _ = _generate(program, export, "--momenta", momenta)
    assert found.tolist() == [4096.0, above, 4194304.0, 1e-3]
    assert energies.tolist() == [[4096.0, 0.0], [0.0, above], [0.0, 4194304.0], [1e-3, 0.0]]


@pytest.mark.needs_lwtnn
@pytest.mark.parametrize("interface", [V2, SELECTOR])
def test_condition_is_the_logarithm_of_the_kinetic_energy(interface: str, program: Path, tmp_path: Path) -> None:
    graph = affine([[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], [0, 0.5, 1])  # condition, 0.5 + second condition, 1
    slot = HIGH | {"above": 256.0, "condition": LOG | {"lowest": 256.0, "highest": 4194304.0}}
    export = write(tmp_path / "export", interface, [(slot, graph)], mass=PION_MASS)
    _, energies, _ = _generate(program, export, "--momentum", "10000", "--showers", "2")
    kinetic = [np.sqrt(p**2 + PION_MASS**2) - PION_MASS for p in (10000.0, 256.0, 4194304.0)]
    condition = np.log(kinetic[0] / kinetic[1]) / np.log(kinetic[2] / kinetic[1])
    expected = kinetic[0] * np.array([condition, 0.5, 1.0])
    np.testing.assert_allclose(energies, [expected, expected], rtol=1e-12)


@pytest.mark.needs_lwtnn
def test_version_1_has_other_names_and_the_momentum_as_condition(program: Path, tmp_path: Path) -> None:
    graph = affine([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], [0, 0, 0, -1], prefix="")
    slot = {"file": "all.json", "above": 0.0, "up_to": 4194304.0, "condition": LINEAR}
    export = write(tmp_path / "export", V1, [(slot, graph)], mass=PION_MASS)
    _, energies, noise = _generate(program, export, "--momentum", "1000", "--showers", "200")
    kinetic = np.sqrt(1000.0**2 + PION_MASS**2) - PION_MASS
    fixed = np.broadcast_to([1000.0 / 2**22, -1.0], (200, 2))
    np.testing.assert_allclose(energies, kinetic * np.hstack([noise, fixed]), rtol=1e-12)
    assert (energies < 0).any()  # nothing is cut off


@pytest.mark.needs_lwtnn
@pytest.mark.parametrize("interface", [V2, SELECTOR])
def test_only_version_2_cuts_off_what_is_negative(interface: str, program: Path, tmp_path: Path) -> None:
    graph = affine([[1, 0, 0], [0, 1, 0], [0, 0, 0]], [-0.4, -0.6, 0.01])
    latent = {"distribution": "normal", "mean": 0.5, "spread": 0.5, "dim": 2}
    networks = [(LOW | {"condition": LOG}, graph)]
    export = write(tmp_path / "export", interface, networks, latent=latent)
    _, energies, noise = _generate(program, export, "--momentum", "100", "--showers", "500")
    outputs = np.hstack([noise - np.array([0.4, 0.6]), np.full((500, 1), 0.01)])
    empty = outputs.sum(axis=1) < 0
    if interface == V2:
        outputs = np.where(empty[:, None], 0, np.maximum(outputs, 0))
    np.testing.assert_allclose(energies, 100 * outputs, rtol=1e-12, atol=1e-9)
    assert 100 < empty.sum() < 400
    assert ((energies == 0).any(axis=1) & ~empty).any() == (interface == V2)  # one voxel cut off, the others kept


@pytest.mark.needs_lwtnn
@pytest.mark.parametrize(("hidden", "energy"), [(-2.5, 0.0), (-1.5, 100.0)])
def test_outputs_beyond_the_voxels_count_in_the_sum(
    hidden: float, energy: float, program: Path, tmp_path: Path
) -> None:
    networks = [(LOW | {"condition": LOG}, constant(1, 1, hidden))]
    export = write(tmp_path / "export", V2, networks, num_voxels=2)
    _, energies, _ = _generate(program, export, "--momentum", "100")
    assert energies.tolist() == [[energy, energy]]


@pytest.mark.needs_lwtnn
@pytest.mark.parametrize("interface", [V1, V2, SELECTOR])
def test_noise_is_drawn_as_the_manifest_says(interface: str, program: Path, tmp_path: Path) -> None:
    """Each of two tests fails a good generator with a probability of 1e-6; the seed is fixed."""
    export = make_export(tmp_path / "export", interface)
    _, _, noise = _generate(program, export, "--momentum", "1000", "--showers", "10000", "--seed", "7")
    mean, spread = NOISE[interface]["mean"], NOISE[interface]["spread"]
    expected = ("norm", (mean, spread)) if interface == V2 else ("uniform", (mean - spread, 2 * spread))
    assert kstest(noise.ravel(), *expected).pvalue > 1e-6
    flat = (noise.ravel() - mean) / noise.std()
    correlation = [np.mean(flat[:-lag] * flat[lag:]) for lag in (1, 2)]
    assert np.abs(correlation).max() < 5.03 / np.sqrt(flat.size)  # 5.03 standard deviations: 5e-7 for each lag


@pytest.mark.needs_lwtnn
def test_of_several_slices_one_is_named(
    program: Path, script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = make_export(tmp_path / "export", V2)
    for name in ("manifest_22_eta_20_25.json", "manifest_22_eta_25_30.json"):
        (export / name).write_text((export / "manifest.json").read_text())
    (export / "manifest.json").unlink()
    refused = call(program, export, "--momentum", "100")
    assert refused.returncode == 2
    assert "holds several particles or slices: name the manifest of one, e.g. manifest_22_eta_20_25" in refused.stderr
    _generate(program, export / "manifest_22_eta_25_30.json", "--momentum", "100")
    (export / "manifest_22_eta_20_25.json").unlink()
    _generate(program, export, "--momentum", "100")
    script.main([str(export), str(tmp_path / "showers.csv"), str(tmp_path / "noise.csv")])
    assert capsys.readouterr().out.startswith("1 showers: ")


@pytest.mark.needs_lwtnn
def test_the_seed_decides(program: Path, tmp_path: Path) -> None:
    export = make_export(tmp_path / "export", V2)
    runs = [
        _generate(program, export, "--momentum", "500", "--showers", "5", "--seed", str(seed))[1] for seed in (1, 1, 2)
    ]
    default = _generate(program, export, "--momentum", "500", "--showers", "5")[1]
    assert np.array_equal(runs[0], runs[1])
    assert np.array_equal(runs[0], default)
    assert not np.isin(runs[2], runs[0]).any()
    assert len(np.unique(runs[0][:, 0])) == 5


@pytest.mark.needs_lwtnn
def test_help_and_times(program: Path, tmp_path: Path) -> None:
    shown = call(program, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    for option in ("DIRECTORY", "--momentum", "--momenta", "--showers", "--seed", "--output", "--noise", "--time"):
        assert re.search(rf"^  {option} .*  \w", shown.stdout, re.MULTILINE), option
    export, momenta = make_export(tmp_path / "export", V2), tmp_path / "momenta.txt"
    momenta.write_text("4000\n5000\n4000\n")
    done = call(program, export, "--momenta", momenta, "--time", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "showers.csv: 3 showers\n")
    pattern = r"high\.json: \S+ microseconds per shower \(median of 1\)\nlow\.json: \S+ .* \(median of 2\)\n"
    assert re.fullmatch(pattern, done.stderr)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "momenta.txt", "showers.csv"]


def _edit(export: Path, name: str = "manifest.json", **changes: Any) -> None:
    path = export / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


WRONG = {
    "no manifest": (lambda e: (e / "manifest.json").unlink(), "is this the directory of an export"),
    "broken manifest": (lambda e: (e / "manifest.json").write_text('{"interface": '), r"manifest.json\(1\)"),
    "missing key": (lambda e: (e / "manifest.json").write_text("{}"), "manifest.json: the key interface is missing"),
    "interface": (
        lambda e: _edit(e, interface="TFCSOther"),
        f"one of {V1}, {V2}, {SELECTOR}, null. Received: TFCSOther",
    ),
    "mass": (lambda e: _edit(e, mass="heavy"), "the key mass is missing, or holds no number"),
    "negative mass": (lambda e: _edit(e, mass=-1), "mass must be 0 or more"),
    "latent": (lambda e: _edit(e, latent=NOISE[V2] | {"dim": 0}), "dim must be 1 or more. Received: 0"),
    "spread": (lambda e: _edit(e, latent=NOISE[V2] | {"spread": 0, "dim": 2}), "spread must be above 0. Received: 0"),
    "distribution": (lambda e: _edit(e, latent={"distribution": "x"}), "one of uniform, normal. Received: x"),
    "no networks": (lambda e: _edit(e, networks=[]), "networks must not be empty"),
    "no condition": (lambda e: _edit(e, networks=[LOW]), "the key condition is missing"),
    "condition": (lambda e: _edit(e, networks=[LOW | {"condition": LOG | {"lowest": 4096}}]), "less than its highest"),
    "range": (lambda e: _edit(e, networks=[LOW | {"condition": LOG, "above": 5000}]), "above must be less than up_to"),
    "voxels": (lambda e: _edit(e, num_voxels=13), "each of 13 voxels.* Received: 12 outputs, none of them 12"),
    "no network": (lambda e: (e / "high.json").unlink(), "cannot read the network .*high.json"),
    "broken network": (lambda e: (e / "low.json").write_text("{"), r"low.json: .*\(is it an LWTNN graph\?\)"),
    "other network": (lambda e: (e / "low.json").write_text("{}"), "low.json: No such node .inputs"),
    "names": (lambda e: (e / "low.json").write_text(format_graph(deep(0, ""))), "low.json: can't find input: 0"),
    "too few draws": (lambda e: _edit(e, latent=NOISE[V2] | {"dim": 1}), "low.json: can't find input: variable_1"),
    "one output": (
        lambda e: write(e, V2, [(LOW | {"condition": LOG}, constant(1))]),
        "two at least. Received: 1 outputs",
    ),
    "two outputs": (
        lambda e: _edit(e, "low.json", outputs={key: {"node_index": 4, "labels": []} for key in "ab"}),
        "one output. Received: 2",
    ),
    "infinite": (
        lambda e: (e / "low.json").write_text(format_graph(constant(*[1e300] * 12)).replace("1e+300", "1e308")),
        "low.json: its outputs for the momentum 100 MeV are not finite",
    ),
}


@pytest.mark.needs_lwtnn
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_export_is_refused(name: str, program: Path, tmp_path: Path) -> None:
    export, output = make_export(tmp_path / "export", V2), tmp_path / "output"
    output.mkdir()
    change, message = WRONG[name]
    change(export)
    done = call(program, export, "--momentum", "100", "--output", output / "a.csv", "--noise", output / "b.csv")
    assert done.returncode == 2
    assert re.match(f"calogen_athena: error: .*{message}", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert list(output.iterdir()) == []


@pytest.mark.needs_lwtnn
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the directory"),
        (["export"], "either --momentum or --momenta"),
        (["export", "--momentum", "5", "--momenta", "good.txt"], "either --momentum or --momenta"),
        (["export", "--momenta", "good.txt", "--showers", "2"], "--showers goes with --momentum"),
        (["export", "--momentum"], "--momentum needs a value"),
        (["export", "--momentum", "1 GeV"], "--momentum must be a number. Received: 1 GeV"),
        (["export", "--momentum", "nan"], "--momentum must be a number. Received: nan"),
        (["export", "--momentum", "5", "--showers", "0"], "--showers must be an integer, 1 or more. Received: 0"),
        (["export", "--momentum", "5", "--seed", "-1"], "--seed must be an integer, 0 or more. Received: -1"),
        (["export", "--momentum", "5", "--sed", "1"], "unknown argument --sed"),
        (["export", "other", "--momentum", "5"], "unknown argument other"),
        (["other", "--momentum", "5"], "other/manifest.json: cannot open file"),
        (
            ["export", "--momentum", "0"],
            "must be one that a network takes. Received: 0 MeV (low.json takes those above 0",
        ),
        (
            ["export", "--momentum", "4194304.1"],
            "Received: 4194304.1 MeV (low.json takes those above 0 up to 4096, high",
        ),
        (["export", "--momenta", "none.txt"], "cannot read the momenta in none.txt"),
        (["export", "--momenta", "empty.txt"], "empty.txt must hold a momentum on each line"),
        (["export", "--momenta", "bad.txt"], "bad.txt, line 3: must be a number. Received: 10,20"),
        (["export", "--momentum", "5", "--output", "export"], "cannot write export: Is a directory"),
        (["export", "--momentum", "0", "--output", "a/b.csv"], "must be one that a network takes"),
        (["export", "--momentum", "5", "--output", "a/b.csv"], "cannot write a/b.csv: No such file or directory"),
        (["export", "--momentum", "5", "--noise", "showers.csv"], "must be different files. Received: showers.csv"),
    ],
)
def test_a_wrong_command_is_refused(arguments: list[str], message: str, program: Path, tmp_path: Path) -> None:
    make_export(tmp_path / "export", V2)
    for name, text in {"good": "10\n", "bad": "10\n\n10,20\n", "empty": "\n"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    done = call(program, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("calogen_athena: error: ")
    assert message in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.needs_lwtnn
def test_an_output_is_refused_before_the_first_shower(program: Path, tmp_path: Path) -> None:
    export = make_export(tmp_path / "export", V2)
    (export / "low.json").write_text(format_graph(deep(0, prefix="other")))  # the first shower fails
    done = call(program, export, "--momentum", "100", "--output", export)
    assert (done.returncode, done.stderr) == (2, f"calogen_athena: error: cannot write {export}: Is a directory\n")


@pytest.mark.needs_lwtnn
def test_a_full_disk_is_told_and_leaves_nothing(program: Path, tmp_path: Path) -> None:
    make_export(tmp_path / "export", V2)
    (tmp_path / "showers.csv").write_text("old\n")
    command = 'ulimit -f 8; trap "" XFSZ; exec "$0" export --momentum 100 --showers 1000'
    done = call("bash", "-c", command, program, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "calogen_athena: error: cannot write showers.csv: File too large\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "showers.csv"]
    assert (tmp_path / "showers.csv").read_text() == "old\n"


@pytest.mark.needs_lwtnn
def test_an_interrupt_leaves_nothing(program: Path, tmp_path: Path) -> None:
    export, output = make_export(tmp_path / "export", V2), tmp_path / "output"
    output.mkdir()
    options = ("--momentum", "100", "--showers", "1" + "0" * 12, "--output", str(output / "showers.csv"))
    with subprocess.Popen([program, export, *options], stderr=subprocess.PIPE, text=True) as process:
        while not list(output.iterdir()) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        try:
            _, error = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, error) == (130, "calogen_athena: interrupted\n")
    assert list(output.iterdir()) == []
