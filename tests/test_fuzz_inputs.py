"""Damaged inputs of every kind are read or refused with a message, never anything else.

No case may leave a file, start a process, unpickle anything, take more than seconds or more memory than some times what
an undamaged file of its size could take.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import keras
import pytest
from conftest import TINY_VOXELS, make_showers
from damage import damage_bytes, damaged_json
from damaged_grids import TINY_GRID, damaged_grids
from damaged_showers import bomb, damaged_showers
from fuzzing import Input, outcomes, watched

from calogen.config import config_from_json, config_to_json
from calogen.errors import CalogenError
from calogen.evaluation.assessment import Assessment
from calogen.evaluation.judgement import judge_samples
from calogen.evaluation.streaming import sample_of
from calogen.evaluation.submissions import read_submissions
from calogen.features.conditions import Constant, LogEnergy
from calogen.features.transforms import Chain, LayerFractions, Noise
from calogen.files import read_json
from calogen.generation.load import load_run, model_module
from calogen.metrics.distributions import Value
from calogen.reports.evaluation import build_comparison_page
from calogen.reports.page import build_markdown
from calogen.showers.files import ShowerFile
from calogen.showers.kinds import geometry_from_json
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry
from calogen.showers.windows import ATLAS_VAE_WINDOW

DATA = Path(__file__).parents[1] / "calogen" / "data"
MODELS = ("atlas_vae", "caloshowergan", "fastcalogan")


def xml(random: Random) -> dict[str, bytes]:
    """A binning file with faults in its text, or a document that means harm."""
    if random.random() < 0.15:
        return {"binning.xml": harmful_xml(random)}
    text = (DATA / f"binning_{random.choice(('photons', 'pions'))}_dataset1.xml").read_text()
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        old = random.choice(
            ('n_bin_alpha="', 'r_edges="', 'id="', 'etaMin="', 'pid="', "<Layer", "<Bin ", '"', ",", "/>", "5", "Layer")
        )
        number = random.choice(
            (
                "-1",
                "nan",
                "inf",
                "1e400",
                "10" * 30,
                "9" * 5000,
                "2.5",
                "",
                "x",
                "&lt;",
                "&#0;",
                "\N{ARABIC-INDIC DIGIT TWO}",
            )
        )
        new = random.choice((old + number, old + number + '" ' + old, number, "", old + old, f"<Layer {old}", " "))
        text = text.replace(old, new, random.choice((1, 1, 3, -1)))
        if random.random() < 0.2:
            part = random.randrange(len(text) + 1)
            text = text[part:] + text[:part] if random.random() < 0.3 else text[:part]
    data = text.encode(random.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-32"))) or b" "
    return {"binning.xml": damage_bytes(data, random) if random.random() < 0.2 else data}


def harmful_xml(random: Random) -> bytes:
    """Entities that contain entities or files, deep nesting, many attributes; in an encoding that hides them."""
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    kinds = (
        f'<!DOCTYPE b [<!ENTITY l0 "lol">{laughs}]><Bins a="&l9;">&l9;</Bins>',
        f'<!DOCTYPE b [<!ENTITY x "{"a" * 10**5}">]><Bins>{"&x;" * 10**4}</Bins>',
        '<!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/hosts">]><Bins>&x;</Bins>',
        '<!DOCTYPE b SYSTEM "http://localhost:9/x.dtd"><Bins/>',
        "<Bins>" * 10**5 + "</Bins>" * random.choice((0, 10**5)),
        "<Bins " + " ".join(f'a{i}="1"' for i in range(10**4)) + "/>",
    )
    encoding = random.choice(("utf-8", "utf-16", "cp037", "cp500", "utf-16-be"))
    declaration = random.choice(("", f'<?xml version="1.0" encoding="{encoding}"?>')).encode()
    return declaration + random.choice(kinds).encode(encoding)


@cache
def documents() -> dict[str, Any]:
    """Whole JSON documents by name."""
    chain = Chain((LayerFractions((2, 8), 0.5, True), Noise(0.1, 2)), (LogEnergy(256.0, 4096.0), Constant(0.5)))
    geometries = {"atlas_vae": ATLAS_VAE_WINDOW, "caloshowergan": TINY_VOXELS, "fastcalogan": TINY_VOXELS}
    about = [
        {
            "model": model,
            "config": config_to_json(config),
            "geometry": geometries[model].to_json(),
            "networks": ["net"],
        }
        for model in MODELS
        for config, _ in model_module(model).CONFIGS.values()
    ]
    submissions = read_json(DATA / "calochallenge_photons.json")
    submissions["submissions"] = submissions["submissions"][:3]
    history = [{"loss": 1.5, "epoch": 1}, {"loss": 1.0, "epoch": 2}]
    first = sample_of(make_showers(TINY_VOXELS, 40, 1))
    judgement = judge_samples(first, sample_of(make_showers(TINY_VOXELS, 40, 2), reference=first))
    judgement = replace(judgement, scored=judgement.scored[:2])
    numbers = {"auc_low": Value(0.7, 0.01)}
    data = {"data": {"reference": {"sha256": "0"}}}
    evaluation = Assessment("GAN", "tiny", "", judgement, numbers, numbers, ("few",), data).to_json()
    found = {"transform": chain.to_json(), "run": about, "submissions": submissions, "history": history}
    return found | {"evaluation": evaluation}


@cache
def network(latent: int, condition: int, features: int) -> bytes:
    """A small Keras file."""
    inputs = [keras.Input((latent,), name="latent"), keras.Input((condition,), name="condition")]
    joined = keras.layers.Concatenate()([keras.layers.Dense(1)(inputs[0]), inputs[1]])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.keras"
        keras.Model(inputs, keras.layers.Dense(features)(joined)).save(path)
        return path.read_bytes()


def run_folder(random: Random) -> dict[str, bytes]:
    """A run with one of its files damaged."""
    about = random.choice(documents()["run"])
    module, geometry = model_module(about["model"]), geometry_from_json(about["geometry"])
    config = config_from_json(type(next(iter(module.CONFIGS.values()))[0]), about["config"])
    showers = make_showers(geometry, 4)
    chain = module.build_transform(config, geometry).fit(showers)
    net = network(module.build_latent(config).dim, chain.condition_dim, chain.forward(showers).shape[1])
    files = {"transform.json": chain.to_json(), "history.json": documents()["history"], "config.json": about}
    chosen = random.choice((*files, "config.json", "config.json", "net.keras"))
    found = {name: json.dumps(value).encode() for name, value in files.items()} | {"net.keras": net}
    found[chosen] = damage_bytes(net, random) if chosen == "net.keras" else damaged_json(files[chosen], random)
    return found


def document(name: str) -> Callable[[Random], dict[str, bytes]]:
    """Damages one of the documents."""
    return lambda random: {"input.json": damaged_json(documents()[name], random)}


def config(random: Random) -> dict[str, bytes]:
    """A configuration beside the name of its model."""
    about = random.choice(documents()["run"])
    return {"input.json": damaged_json(about["config"], random), "model": about["model"].encode()}


def read_config(folder: Path) -> Any:
    """The configuration of the model that is named beside it."""
    module = model_module((folder / "model").read_text())
    return config_from_json(type(next(iter(module.CONFIGS.values()))[0]), read_json(folder / "input.json"))


def read_xml(folder: Path) -> None:
    """A geometry that can be used and written again."""
    geometry = VoxelGeometry.read_xml(folder / "binning.xml")
    assert geometry.slices[-1].stop == len(geometry.layer_of) == geometry.size
    assert geometry_from_json(json.loads(json.dumps(geometry.to_json()))) == geometry


def read_chain(folder: Path) -> None:
    """A chain that survives JSON."""
    chain = Chain.from_json(read_json(folder / "input.json"))
    assert Chain.from_json(json.loads(json.dumps(chain.to_json(), allow_nan=False))) == chain


def read_block_by_block(folder: Path) -> None:
    """All showers of a file, a few at a time; not more than a thousand blocks."""
    with ShowerFile(folder / "showers.h5", TINY_VOXELS, 2**20) as file:
        for rows in file.rows[:1000]:
            assert len(file.read(rows)) == rows.stop - rows.start


def read_grids(folder: Path) -> None:
    """All showers of a file at once, and a few at a time."""
    showers = Showers.read(folder / "showers.h5", TINY_GRID)
    with ShowerFile(folder / "showers.h5", TINY_GRID, 1000) as file:
        assert sum(len(block) for _, block in file.blocks()) == len(showers)


def read_evaluation(folder: Path) -> None:
    """An evaluation that makes a page beside another one, and survives JSON."""
    found = Assessment.from_json(read_json(folder / "input.json"))
    assert Assessment.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))).to_json() == found.to_json()
    build_markdown(build_comparison_page([found, replace(found, label=f"not {found.label}")]))


INPUTS = {
    "showers": Input(
        lambda random: {"showers.h5": damaged_showers(random)},
        lambda folder: Showers.read(folder / "showers.h5", TINY_VOXELS),
    ),
    "shower blocks": Input(lambda random: {"showers.h5": damaged_showers(random)}, read_block_by_block),
    "grids": Input(lambda random: {"showers.h5": damaged_grids(random)}, read_grids),
    "binning": Input(xml, read_xml),
    "transform": Input(document("transform"), read_chain),
    "submissions": Input(
        document("submissions"), lambda folder: read_submissions("photon", folder / "input.json").ranking("auc_low")
    ),
    "config": Input(config, read_config),
    "evaluation": Input(document("evaluation"), read_evaluation),
    "run": Input(run_folder, load_run),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one."""
    return watched(tmp_path, monkeypatch)


LAYER = {"id": 0, "r_edges": [0, 1], "num_alpha": 1}
RUN = {"model": "atlas_vae", "networks": [], "config": {}, "geometry": {}}
LAUGHS = '<!DOCTYPE b [<!ENTITY x "y">]><Bins a="&x;"/>'


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (Chain.from_json, [], "known steps"),
        (Chain.from_json, {"steps": [{"name": "Noise", "largest": float("nan")}], "encodings": []}, "'largest': nan"),
        (Chain.from_json, {"steps": [{"name": "Mask", "threshold": 10**400}], "encodings": []}, "'threshold': 1000"),
        (Chain.from_json, {"steps": [{"name": "LogEnergy"}], "encodings": []}, "Received: 'LogEnergy'"),
        (Chain.from_json, {"steps": [], "encodings": [{"name": "LinearEnergy", "highest": "1"}]}, "'highest': '1'"),
        (geometry_from_json, {"kind": "VoxelGeometry", "name": "x", "layers": []}, "needs layers"),
        (geometry_from_json, {"kind": "VoxelGeometry", "name": "x", "layers": [LAYER, LAYER]}, "each once"),
        (geometry_from_json, {"kind": "CellGrid", "name": "x", "layers": [LAYER]}, "kind .CellGrid"),
        (geometry_from_json, {"kind": [], "name": "x", "layers": []}, "kind .CellGrid"),
    ],
)
def test_values_of_other_types_are_refused(read: Callable[[Any], Any], value: Any, message: str) -> None:
    with pytest.raises(CalogenError, match=message):
        read(value)


@pytest.mark.parametrize("change", [{"networks": ["../net"]}, {"networks": 5}, {"model": ["atlas_vae"]}])
def test_names_in_a_run_are_names(change: dict[str, Any], folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(RUN | change))
    (folder / "history.json").write_text("[]")
    with pytest.raises(CalogenError, match="must hold config.json with model, networks"):
        load_run(folder)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp037"])
def test_entities_do_not_hide_in_an_encoding(encoding: str, folder: Path) -> None:
    """cp037 (EBCDIC) spells DOCTYPE in other bytes; the parser refuses it at once."""
    head = b"" if encoding == "utf-16" else f'<?xml version="1.0" encoding="{encoding}"?>'.encode()
    (folder / "binning.xml").write_bytes(head + LAUGHS.encode(encoding))
    with pytest.raises(CalogenError, match="without DOCTYPE|unknown encoding"):
        VoxelGeometry.read_xml(folder / "binning.xml")


@pytest.mark.parametrize(("attribute", "value"), [("n_bin_alpha", "9" * 12), ("id", "10000"), ("id", "-1")])
def test_layers_of_any_size_are_refused(attribute: str, value: str, folder: Path) -> None:
    layer = {"id": "0", "r_edges": "0,5", "n_bin_alpha": "2"} | {attribute: value}
    text = " ".join(f'{key}="{item}"' for key, item in layer.items())
    (folder / "binning.xml").write_text(f'<Bins><Bin pid="22" etaMin="0" etaMax="5"><Layer {text}/></Bin></Bins>')
    with pytest.raises(CalogenError, match="Layer must have|0 to 9999"):
        VoxelGeometry.read_xml(folder / "binning.xml")


@pytest.mark.parametrize("read", [Showers.read, ShowerFile])
def test_what_unpacks_to_gigabytes_is_refused(read: Callable[..., Any], folder: Path) -> None:
    with h5py.File(folder / "showers.h5", "w") as file:
        bomb(file, Random(1))
    with pytest.raises(CalogenError, match="more than 200 times"):
        read(folder / "showers.h5", TINY_VOXELS)


@pytest.mark.parametrize("kind", INPUTS)
def test_damaged_inputs_are_read_or_refused(kind: str, folder: Path) -> None:
    found = outcomes(kind, INPUTS[kind], range(80), folder)
    assert min(found["read"], found["refused"]) > 2, found


@pytest.mark.slow
@pytest.mark.parametrize("kind", INPUTS)
def test_many_damaged_inputs_are_read_or_refused(kind: str, folder: Path) -> None:
    number = {"showers": 2500, "shower blocks": 2000, "binning": 2000, "run": 500}.get(kind, 1000)
    found = outcomes(kind, INPUTS[kind], range(1000, 1000 + number), folder)
    print(kind, dict(found))
    assert min(found["read"], found["refused"]) > number / 50, found
