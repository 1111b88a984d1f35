import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from athena_exports import ATHENA, HIGH, LINEAR, LOG, LOW, SELECTOR, V1, V2, affine, call, constant, load_compare, write

from calogen.lwtnn.graph import Graph, GraphInput, GraphOutput, Node, Variable, format_graph
from calogen.lwtnn.layers import Activation, Dense


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_compare()


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A folder with an export, showers.csv and noise.csv, worked out by hand."""
    graph = affine([[1, 0, 0], [0, -1, 0], [0, 0, 2]], [0, 0, 0])  # z0, -z1, 2 condition
    write(tmp_path / "export", V2, [(LOW | {"condition": LOG}, graph), (HIGH | {"condition": LOG}, constant(0, 3, 0))])
    showers = ["momentum,out_0,out_1,out_2", "512,128,0,512", "4096,0,4096,8192", "64,0,0,0", "5000,0,15000,0"]
    (tmp_path / "showers.csv").write_text("\n".join(showers) + "\n")
    (tmp_path / "noise.csv").write_text("0.25,0.5\n-0.5,-1\n1,1.5\n0,0\n")
    return tmp_path


def _compare(script: ModuleType, sample: Path, *options: str) -> None:
    script.main([str(sample / name) for name in ("export", "showers.csv", "noise.csv")] + list(options))


def test_compare_agrees_with_showers_by_hand(
    script: ModuleType, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _compare(script, sample)
    assert re.fullmatch(r"4 showers: largest difference \S+ of the shower's energy\n", capsys.readouterr().out)


@pytest.mark.parametrize("interface", [V1, SELECTOR])
def test_compare_knows_the_other_interfaces(interface: str, script: ModuleType, sample: Path) -> None:
    slot = HIGH | {"above": 0.0, "condition": LINEAR | {"highest": 800.0}}
    weights = [[1, 0, 0], [0, 1, 0], [0, 0, 1]] if interface == V1 else [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]
    graph = affine(weights, [0, 0, 0], prefix="" if interface == V1 else "variable_")
    write(sample / "export", interface, [(slot, graph)], mass=300.0)  # a momentum of 400: kinetic energy 500 - 300
    (sample / "showers.csv").write_text("momentum,out_0,out_1,out_2\n400,-200,50,100\n")
    (sample / "noise.csv").write_text("-1,0.25\n")
    _compare(script, sample)


def test_compare_knows_the_service_for_cells(script: ModuleType, sample: Path) -> None:
    nodes = (Node("input", (0,), size=1), Node("feed_forward", (0,), layer_index=0))
    layer = Dense(np.ones((266, 1)), np.arange(266.0), Activation())
    variable = Variable("0", offset=9.70406053 / 1.76099569, scale=1.76099569)  # log(energy)
    output = GraphOutput(1, tuple(map(str, range(266))))
    graph = Graph((GraphInput("E_true", (variable,)),), nodes, (layer,), {"out": output})
    (sample / "export" / "DNNCaloSim_GAN_nn_v0.json").write_text(format_graph(graph))
    (sample / "export" / "manifest.json").write_text('{"interface": "DNNCaloSimSvc"}')
    rows = [["energy", "eta", "phi", *(f"out_{cell}" for cell in range(266))]]
    for energy in (1000.0, 5.0):
        cells = [energy * (np.log(energy) + cell) if energy >= 10.0 else 0.0 for cell in range(266)]
        rows.append([str(value) for value in (energy, -0.21, 1.0, *cells)])
    (sample / "showers.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    (sample / "noise.csv").write_text((",".join(["0.5"] * 300) + "\n") * 2)
    _compare(script, sample)
    (sample / "noise.csv").write_text((",".join(["0.5"] * 299) + "\n") * 2)
    with pytest.raises(SystemExit):
        _compare(script, sample)


def test_compare_needs_neither_keras_nor_tensorflow(sample: Path) -> None:
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__');"
        "print({'keras', 'tensorflow', 'matplotlib'} & set(sys.modules))"
    )
    done = call(sys.executable, "-c", code, ATHENA / "compare.py", "export", "showers.csv", "noise.csv", cwd=sample)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nset()\n")


def _replace(name: str, old: str, new: str) -> Callable[[Path], object]:
    def change(sample: Path) -> None:
        text = (sample / name).read_text()
        assert old in text
        (sample / name).write_text(text.replace(old, new, 1))

    return change


DISAGREES = {
    "energy": (_replace("showers.csv", "8192", "8192.00002"), "Received: 1.63e-09 .do showers"),
    "noise": (_replace("noise.csv", "0.25", "0.26"), "must agree with Python to 1e-09"),
    "momentum": (_replace("showers.csv", "512,", "513,"), "must agree with Python"),
    "cut off": (_replace("showers.csv", "128,0,512", "128,-256,512"), "must agree with Python"),
    "empty shower": (_replace("showers.csv", "64,0,0,0", "64,64,0,0"), "must agree with Python"),
    "boundary": (_replace("export/manifest.json", '"above": 4096', '"above": 4095'), "must agree with Python"),
    "not a number": (_replace("showers.csv", "8192", "nan"), "showers.csv must hold finite numbers"),
    "text": (_replace("noise.csv", "0.25", "x"), "noise.csv must hold lines of as many numbers: .*'x'"),
    "ragged": (_replace("noise.csv", "0.25,", ""), "noise.csv must hold lines of as many numbers"),
    "width": (lambda s: (s / "noise.csv").write_text("1\n" * 4), r"4 lines of 2 numbers, .*Received: \[4, 1\]"),
    "line": (lambda s: (s / "noise.csv").write_text("1,2\n" * 3), r"4 lines of 2 numbers, .*Received: \[3, 2\]"),
    "columns": (_replace("showers.csv", ",out_2", ""), "columns momentum, out_0 to out_2. Received: 3 columns"),
    "no showers": (lambda s: (s / "showers.csv").write_text("momentum,out_0,out_1,out_2\n"), "Received: none"),
    "no file": (lambda s: (s / "noise.csv").unlink(), "cannot read .*noise.csv"),
    "no manifest": (lambda s: (s / "export/manifest.json").unlink(), "cannot read .*manifest.json"),
    "key": (_replace("export/manifest.json", '"mass"', '"weight"'), "must describe an export .* KeyError 'mass'"),
    "network": (lambda s: (s / "export/low.json").unlink(), "cannot read .*low.json"),
    "range": (_replace("showers.csv", "5000", "5e6"), "one that a network takes.* Received: 5000000 MeV"),
    "voxels": (
        lambda s: (s / "export/low.json").write_text(format_graph(constant(1, 1))),
        "low.json must have outputs",
    ),
}


@pytest.mark.parametrize("name", DISAGREES)
def test_compare_refuses_what_does_not_belong_together(
    name: str, script: ModuleType, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = DISAGREES[name]
    change(sample)
    with pytest.raises(SystemExit) as stopped:
        _compare(script, sample)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.match(f"compare: error: .*{message}", printed.err), printed.err


def test_compare_takes_another_tolerance(script: ModuleType, sample: Path) -> None:
    DISAGREES["energy"][0](sample)
    _compare(script, sample, "--tolerance", "1e-8")
