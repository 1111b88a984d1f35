"""`calogen inspect` of an LWTNN graph."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toy_commands import exit_of_main, run
from toy_graphs import input_nodes, layer_nodes

from calogen.errors import ConfigError, DataFormatError, ExportError
from calogen.lwtnn.describe import boxes, describe, format_description
from calogen.lwtnn.graph import parse_graph

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parents[1] / "golden" / "lwtnn_graph.json"


def _affine(num_outputs: int, num_inputs: int) -> dict[str, Any]:
    return {"weights": [0.5] * (num_outputs * num_inputs), "bias": [0] * num_outputs}


def _variables(count: int, **preprocessing: float) -> list[dict[str, Any]]:
    return [{"name": f"v{i}", "offset": 0, "scale": 1} | preprocessing for i in range(count)]


NODES: list[dict[str, Any]] = [
    *input_nodes(3, 1),
    {"type": "concatenate", "sources": [0, 1]},
    *layer_nodes(2, 3, 3),
    {"type": "add", "sources": [4, 5, 4]},
    *layer_nodes(6, first=3),
    {"type": "concatenate", "sources": [2]},
]
DOCUMENT: dict[str, Any] = {
    "inputs": [
        {"name": "[bold]latent", "variables": [*_variables(2), {"name": "v2", "offset": -3.5, "scale": 0.25}]},
        {"name": "condition", "variables": _variables(1)},
    ],
    "input_sequences": [],
    "nodes": NODES,
    "layers": [
        {"architecture": "dense", **_affine(5, 4), "activation": {"function": "swish", "alpha": 0.75}},
        {"architecture": "normalization", "weights": [1] * 5, "bias": [0] * 5},
        {
            "architecture": "highway",
            "components": {part: _affine(5, 5) for part in ("t", "carry")},
            "activation": "linear",
        },
        {"architecture": "maxout", "sublayers": [_affine(2, 5), _affine(2, 5)]},
        {"architecture": "dense", **_affine(2, 5), "activation": "linear"},
    ],
    "outputs": {"out": {"node_index": 7, "labels": ["out_0", "out_1"]}},
}
"""Every kind of node and layer; node 8 and layer 4 serve no output."""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "network.json"
    path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    return path


def test_everything_is_counted(network: Path) -> None:
    described = json.loads(run("inspect", str(network), "--json"))
    assert described["inputs"] == [
        {
            "name": given["name"],
            "variables": [v | {"offset": v["offset"], "scale": v["scale"]} for v in given["variables"]],
        }
        for given in DOCUMENT["inputs"]
    ]
    rows = described["nodes"]
    assert [row["node"] for row in rows] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [row["type"] for row in rows] == [node["type"] for node in NODES[:8]]
    assert [row["input"] for row in rows[:3]] == ["[bold]latent", "condition", None]
    assert [row["sources"] for row in rows] == [[], [], *(node["sources"] for node in NODES[2:8])]
    layers = [(row["layer_index"], row["layer"], row["activation"]) for row in rows if row["layer"]]
    assert layers == [
        (0, "dense", "swish(0.75)"),
        (1, "normalization", None),
        (2, "highway", "linear"),
        (3, "maxout", None),
    ]
    assert [row["inputs"] for row in rows] == [0, 0, 4, 4, 5, 5, 5, 5]
    assert [row["outputs"] for row in rows] == [3, 1, 4, 5, 5, 5, 5, 2]
    assert [row["parameters"] for row in rows] == [0, 0, 0, 25, 10, 60, 0, 24]
    assert [row["multiplications"] for row in rows] == [0, 0, 0, 20, 5, 50, 0, 20]
    assert [row["evaluations"] for row in rows] == [3, 3, 3, 3, 2, 1, 1, 1]
    assert described["outputs"] == [{"name": "out", "node": 7, "labels": 2, "first": "out_0", "last": "out_1"}]
    assert described["unused"] == {"nodes": [8], "layers": [4]}
    assert described["parameters"] == 25 + 10 + 60 + 24 + 12
    assert described["evaluations"] == 17
    assert described["multiplications"] == 20 + 5 + 50 + 20
    assert described["multiplications_lwtnn"] == 3 * 20 + 2 * 5 + 50 + 20
    assert described["ratio"] == 140 / 95
    assert (described["file"], described["bytes"]) == (str(network), network.stat().st_size)
    assert described["sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()


def test_add_needs_a_newer_lwtnn(network: Path, tmp_path: Path) -> None:
    assert json.loads(run("inspect", str(network), "--json"))["lwtnn"] == ">=2.14"
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(json.loads(GOLDEN.read_text())["graph"]), encoding="utf-8")
    assert json.loads(run("inspect", str(path), "--json"))["lwtnn"] == ">=2.13"


def test_the_text_has_a_line_for_everything(network: Path) -> None:
    text = run("inspect", str(network))
    cells = [line.split() for line in text.splitlines()]
    assert text.splitlines()[0] == f"{network}: {network.stat().st_size:,} bytes, needs lwtnn >=2.14"
    assert ["sha256", hashlib.sha256(network.read_bytes()).hexdigest()] in cells
    assert ["[bold]latent", "v0", "..", "v1", "2"] in cells, "no offset, no scale"
    assert ["v2", "1", "-3.5", "0.25"] in cells
    assert ["3", "feed_forward", "2", "0", "dense", "swish(0.75)", "4", "5", "25", "3"] in cells
    assert ["6", "add", "4,", "5,", "4", "5", "5", "1"] in cells
    assert ["out", "7", "2", "out_0", "out_1"] in cells
    assert ["parameters", "131"] in cells
    assert "95 per shower if every node is computed once" in text
    assert "140 as lwtnn evaluates the graph (1.47 times as many)" in text
    assert "no output needs nodes 8" in text
    assert "no output needs layers 4" in text


def test_odd_and_long_names_stay_on_their_line(network: Path) -> None:
    document = json.loads(network.read_text())
    document["inputs"][0]["name"] = "a\nb\x1b[31m"
    document["inputs"][1]["name"] = "long" * 1000
    document["outputs"] = {":smile:": {"node_index": 2, "labels": ["x", "y"]}}
    network.write_text(json.dumps(document))
    text = run("inspect", str(network))
    assert max(map(len, text.splitlines()[2:])) < 150
    assert "\x1b" not in text
    assert "'a\\nb\\x1b[31m'" in text
    assert ":smile:" in text
    assert "times as many" not in text, "nothing is multiplied"


def test_many_sources_are_shortened(network: Path) -> None:
    document = json.loads(network.read_text())
    document["nodes"][2]["sources"] = [0, 1] * 5
    document["layers"][0]["weights"] = [0] * 100
    network.write_text(json.dumps(document))
    assert "0, 1, 0, 1, 0, 1 .. 1 (10)" in run("inspect", str(network))


def test_boxes_are_the_nodes_and_the_outputs() -> None:
    found = boxes(parse_graph(json.dumps(DOCUMENT)))
    assert [(box.title, box.detail) for box in found] == [
        ("0 [bold]latent", "3, 3 times"),
        ("1 condition", "1, 3 times"),
        ("2 concatenate", "4 → 4, 3 times"),
        ("3 dense, swish(0.75)", "4 → 5, 3 times"),
        ("4 normalization", "5 → 5, 2 times"),
        ("5 highway", "5 → 5"),
        ("6 add", "5 → 5"),
        ("7 maxout", "5 → 2"),
        ("out", "2"),
    ]
    assert [box.depth for box in found] == [0, 0, 1, 2, 3, 3, 4, 5, 6]
    assert [box.sources for box in found] == [(), (), (0, 1), (2,), (3,), (3,), (4, 5, 4), (6,), (7,)]
    assert [box.kind for box in found] == ["input", "input", "join", *["layer"] * 3, "join", "layer", "output"]


def test_box_numbers_are_positions_not_node_numbers() -> None:
    """Nodes that no output needs have no box; consumers may come before their sources in the file."""
    document = json.loads(json.dumps(DOCUMENT))
    document["nodes"] = [{"type": "add", "sources": [3]}, {"type": "add", "sources": [2]}, *NODES[:2]]
    document["outputs"] = {"out": {"node_index": 0, "labels": ["a"]}}
    found = boxes(parse_graph(json.dumps(document)))
    assert [(box.title, box.sources) for box in found] == [("3 condition", ()), ("0 add", (0,)), ("out", (1,))]


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_graph_is_drawn(network: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"drawn{suffix}"
    json.loads(run("inspect", str(network), "--draw", str(path), "--json"))
    starts = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    assert path.read_bytes().startswith(starts[suffix])


def test_showers_are_drawn(tmp_path: Path) -> None:
    """Their table is printed as without it."""
    file = str(ROOT / "calogen/data/photons_test.h5")
    assert run("inspect", file, "--draw", str(tmp_path / "drawn.png")) == run("inspect", file)
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_refused_and_leaves_no_file(network: Path, tmp_path: Path) -> None:
    for model, file, message in (
        (str(network), "drawn.txt", "--draw must name a file in .png, .pdf, .svg. Received: .*drawn.txt"),
        (str(network), "drawn", "--draw must name a file"),
        ("", "drawn.png", "--draw needs a file of showers or of an LWTNN graph. Received: all models"),
        ("atlas_vae", "drawn.png", "--draw needs a file of showers"),
        (str(ROOT / "calogen/data/photons_test.h5"), "drawn.jpg", "--draw must name a file in .png, .pdf, .svg"),
    ):
        with pytest.raises(ConfigError, match=message):
            run("inspect", *[model] * bool(model), "--draw", str(tmp_path / file))
    document = json.loads(network.read_text())
    document["nodes"] += [{"type": "add", "sources": [9 + i - 1]} for i in range(100)]
    document["nodes"][9]["sources"] = [2]
    document["outputs"]["out"] = {"node_index": 108, "labels": ["a"]}
    network.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="1 to 60 boxes"):
        run("inspect", str(network), "--draw", str(tmp_path / "drawn.png"))
    assert [path.name for path in tmp_path.iterdir()] == [network.name]


def test_other_files_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text, message in (
        ("manifest.json", '{"network": "decoder.json"}', "not an LWTNN graph: the key 'input_sequences' is missing"),
        ("broken.json", '{"inputs": [', "not an LWTNN graph: no JSON that lwtnn reads"),
        ("deep.json", "[" * 100_000, "not an LWTNN graph: no JSON that lwtnn reads"),
        ("showers.h5", "{}", "is not a whole HDF5 file"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert exit_of_main(monkeypatch, ["inspect", str(tmp_path / name)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1
        assert message in captured.err
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ExportError, match="cannot read .*bytes.json"):
        run("inspect", str(tmp_path / "bytes.json"))
    with pytest.raises(DataFormatError, match="is not a whole HDF5 file"):
        run("inspect", str(tmp_path / "showers.h5"))


def test_inspecting_needs_neither_tensorflow_nor_matplotlib(network: Path) -> None:
    check = (
        "import sys; from calogen.cli.main import app; app(['inspect', sys.argv[1]], standalone_mode=False); "
        "sys.exit(','.join({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", check, str(network)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr.strip() == ""
    assert done.stdout.strip() == format_description(describe(network, parse_graph(network.read_text()))).strip()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pretrained", "--draw", "a.png"), "--draw draws showers or an LWTNN graph. Received: --pretrained"),
        (("--pretrained", "--counts"), "--counts is of models. Received: --pretrained"),
        ((str(GOLDEN), "--counts"), "--counts is of models. Received: the file .*lwtnn_graph.json"),
        ((str(GOLDEN), "--window", "vae"), "--window is of a file of showers. Received: .*lwtnn_graph.json"),
        (("atlas_vae", "--window", "vae"), "--window is of a file of showers. Received: atlas_vae"),
        (("--window", "vae"), "--window is of a file of showers. Received: all models"),
        (("--pretrained", "--window", "vae"), "--window is of a file of showers. Received: --pretrained"),
        (("missing.h5", "--window", "vae"), "model must be one of .*Received: missing.h5"),
    ],
)
def test_an_option_of_something_else_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run("inspect", *words)
