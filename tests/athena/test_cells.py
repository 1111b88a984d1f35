"""Networks of cells, exported for any program and for Athena's service."""

import json
import pkgutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from keras import layers, ops
from toy_cells import make_cell_gan, make_cell_network, random_photons

from calogen import models
from calogen.athena import cells, service
from calogen.athena.cells import build_cells, network_closure, plain_graph, service_closure, service_graph
from calogen.athena.export import export_set, find_sets
from calogen.errors import ExportError
from calogen.features.conditions import (
    CellAlignment,
    CellPosition,
    Column,
    Encoding,
    LinearEnergy,
    LogEnergy,
    StandardLogEnergy,
)
from calogen.features.transforms import AbsoluteEnergies, KineticFractions, Mask
from calogen.files import listed
from calogen.lwtnn.graph import Graph, format_graph, parse_graph, read_graph
from calogen.showers.cells import CellGrid
from calogen.showers.windows import ATLAS_GAN_WINDOW, ATLAS_VAE_WINDOW
from calogen.training.latent import Latent
from calogen.training.run import TrainedRun, assemble_run, save_run

ALIGNMENTS = CellAlignment("impact_phi", np.pi / 128, 4), CellAlignment("impact_eta", 0.025, 2)


@pytest.fixture(scope="module")
def gan() -> TrainedRun:
    return make_cell_gan()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "PER_ENERGY", 100)


def _read(graph: Graph) -> Graph:
    return parse_graph(format_graph(graph))


def _dense(size: int = 266, activation: str = "sigmoid") -> list[layers.Layer]:
    return [layers.Dense(6, "tanh"), layers.Dense(size, activation)]


@pytest.mark.parametrize("position", [True, False])
def test_what_the_service_adds_is_what_keras_gives(position: bool) -> None:
    run = make_cell_gan(position=position)
    graph = _read(service_graph(run))
    assert service_closure(graph, run) < 1e-8
    assert cells.service_distributions(graph, run).agrees
    sizes = {item.name: len(item.variables) for item in graph.inputs}
    assert sizes == {"Z": 3, "E_true": 1, "pconfig": 4, "econfig": 2} | ({"ripos": 2} if position else {})
    assert graph.output().labels == tuple(map(str, range(266)))
    assert list(graph.outputs) == ["out"]


def _with_input(graph: Graph, name: str, change: object) -> Graph:
    """The graph with the variables of one input changed."""
    inputs = tuple(
        replace(item, variables=change(item.variables)) if item.name == name else item for item in graph.inputs
    )  # type: ignore[operator]
    return replace(graph, inputs=inputs)


@pytest.mark.parametrize("name", ["pconfig", "econfig", "ripos", "Z"])
def test_another_order_of_the_inputs_shows(gan: TrainedRun, name: str) -> None:
    turned = _with_input(service_graph(gan), name, lambda variables: variables[::-1])
    assert service_closure(turned, gan) > 1e-4


@pytest.mark.parametrize("name", ["E_true", "ripos"])
def test_constants_that_are_not_the_services_show(gan: TrainedRun, name: str) -> None:
    as_trained = _with_input(
        service_graph(gan), name, lambda items: tuple(replace(item, offset=0.0, scale=1.0) for item in items)
    )
    assert service_closure(as_trained, gan) > 1e-4


def test_another_order_of_the_cells_shows(gan: TrainedRun) -> None:
    graph = service_graph(gan)
    (output,) = graph.outputs.values()
    turned = replace(graph, outputs={"out": replace(output, labels=output.labels[::-1])})
    assert service_closure(turned, gan) > 1e-4


def test_the_plain_network_closes_and_a_wrong_weight_shows(gan: TrainedRun) -> None:
    graph = _read(plain_graph(gan))
    assert network_closure(graph, gan) < 1e-8
    assert cells.distributions(graph, gan).agrees
    first, *rest = graph.layers
    wrong = replace(graph, layers=(replace(first, weights=first.weights * 1.001), *rest))  # type: ignore[union-attr]
    assert network_closure(wrong, gan) > 1e-6


def test_random_conditions_show_every_alignment(gan: TrainedRun) -> None:
    columns = gan.transform.columns(cells._conditions(gan, np.full(500, 1000.0)))
    assert len(np.unique(columns[:, 3:], axis=0)) == 8
    assert np.abs(columns[:, 1:3]).max() > 1.6  # a flat distribution ends at the root of 3


def test_noise_of_another_mean_and_spread_is_absorbed() -> None:
    latent = Latent(dim=300, mean=0.5, spread=0.25)
    run = make_cell_network([StandardLogEnergy(), *ALIGNMENTS], _dense(), latent=latent)
    assert service_closure(_read(service_graph(run)), run) < 1e-8


def test_energies_below_zero_are_not_taken_away() -> None:
    """The service adds whatever it is given."""
    encodings = [LogEnergy(), *ALIGNMENTS]
    run = make_cell_network(encodings, _dense(activation="tanh"), steps=(Mask(1.0), KineticFractions()))
    graph = _read(service_graph(run))
    photons, noise = random_photons(50), np.random.default_rng(1).standard_normal((50, 300))
    assert service.energies_of(graph, photons, noise).min() == 0.0
    assert service_closure(graph, run) < 1e-8


def test_columns_that_lie_apart_are_brought_together() -> None:
    """Position in eta, energy, position in phi: two columns of one of the service's inputs, one of another between."""
    eta, phi = CellPosition("impact_eta", 0.025), CellPosition("impact_phi", np.pi / 128)
    run = make_cell_network([eta, LogEnergy(), phi, *reversed(ALIGNMENTS)], _dense())
    assert service_closure(_read(service_graph(run)), run) < 1e-8


REFUSED: dict[str, tuple[list[Encoding], dict[str, object]]] = {
    "gives a photon's log energy": ([LinearEnergy(), LogEnergy(), *ALIGNMENTS], {}),
    r"Received: Column \(value impact_eta\)": ([LogEnergy(), Column("impact_eta", 0.2, 0.1)], {}),
    "fills 7x3": ([StandardLogEnergy()], {"geometry": ATLAS_VAE_WINDOW}),
    "draws 300 numbers. Received: a network for 301": ([LogEnergy()], {"latent": Latent(dim=301)}),
    "draws normal noise. Received: a network for uniform": (
        [LogEnergy()],
        {"latent": Latent(dim=2, distribution="uniform")},
    ),
    "multiplies outputs by the photon's energy and does nothing else": (
        [LogEnergy()],
        {"steps": (AbsoluteEnergies(1e5),)},
    ),
    r"Received: KineticFractions\(mass=1.0\)": ([LogEnergy()], {"steps": (KineticFractions(1.0),)}),
}


@pytest.mark.parametrize("refusal", REFUSED)
def test_what_the_service_cannot_load_is_exported_for_others_and_says_why(refusal: str) -> None:
    encodings, options = REFUSED[refusal]
    geometry = options.get("geometry", ATLAS_GAN_WINDOW)
    run = make_cell_network(encodings, _dense(geometry.size), **options)  # type: ignore[arg-type, attr-defined]
    with pytest.raises(ExportError, match=refusal):
        service_graph(run)
    built = build_cells(run)
    assert (built.kind, [item.file for item in built.networks]) == ("generator", ["generator.json"])
    assert built.networks[0].float64 < 1e-8
    assert built.refusal in built.page()
    assert built.about["service"] == {"refused": built.refusal}
    assert built.about["interface"] is None


def test_a_column_for_which_two_numbers_are_one_is_refused() -> None:
    run = make_cell_network([LogEnergy(), StandardLogEnergy()], _dense())
    with pytest.raises(ExportError, match="variables must have names, each once. Received: '0' 2 times"):
        service_graph(run)
    assert build_cells(run).kind == "generator"


def test_files_of_a_run_that_the_service_loads(
    gan: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(tmp_path / "runs" / "atlas_gan" / "smoke-seed1", gan)
    (item,) = find_sets(tmp_path / "runs")
    done = export_set(item, tmp_path / "out")
    folder = tmp_path / "out" / "atlas_gan" / "smoke-seed1"
    assert done.agrees
    assert done.line.startswith(f"{folder} (DNNCaloSimSvc): largest deviation ")
    names = ["DNNCaloSim_GAN_nn_v0.json", "closure.md", "generator.json", "manifest.json"]
    assert [path.name for path in listed(folder)] == names
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["interface"], manifest["network"]) == ("DNNCaloSimSvc", "generator.json")
    assert sorted(manifest["sha256"]) == [names[0], names[2]]
    about = manifest["service"]
    assert about["properties"] == {"ParamsInputFilename": names[0], "ParamsInputArchitecture": "GANv0"}
    assert [item["name"] for item in about["inputs"]] == ["Z", "E_true", "ripos", "pconfig", "econfig"]
    assert about["closure"]["float64"] < 1e-8
    assert about["distributions"]["agrees"] is True
    page = (folder / "closure.md").read_text()
    assert f"| `{names[0]}` | DNNCaloSimSvc, GANv0 | " in page
    assert page.count("The distributions agree") == 2
    assert service_closure(read_graph(folder / names[0]), gan) < 1e-8
    monkeypatch.setattr(service, "GIVEN", {})
    (folder / "manifest.json").write_text("{")  # damaged: it names nothing, so nothing is removed
    (folder / names[0]).unlink()
    assert export_set(item, tmp_path / "out").line.startswith(f"{folder} (generator): largest deviation ")
    assert [path.name for path in listed(folder)] == names[1:]
    assert "DNNCaloSimSvc cannot load this network: DNNCaloSimSvc gives " in (folder / "closure.md").read_text()


def test_a_network_that_deviates_is_not_written(
    gan: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(tmp_path / "runs" / "atlas_gan" / "smoke-seed1", gan)
    for check, name in (("service_closure", service.FILE), ("network_closure", "generator.json")):
        monkeypatch.setattr(cells, check, lambda graph, run: 2e-6)
        with pytest.raises(
            ExportError, match=f"^{name} must agree with Keras in float64 to 1e-06 .*Received: 2.00e-06"
        ):
            export_set(find_sets(tmp_path)[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


ACTIVATIONS: dict[str, list[layers.Layer]] = {
    "sigmoid": [layers.Dense(266, "sigmoid")],
    "relu": [layers.Dense(266, "relu")],
    "clipped relu": [layers.Dense(266), layers.ReLU(max_value=1.0)],
    "softmax": [layers.Dense(266, "softmax")],
    "sigmoid, then dense relu": [layers.Dense(266, "sigmoid"), layers.Dense(266, "relu")],
    "softmax, then dense relu": [layers.Dense(266, "softmax"), layers.Dense(266, "relu")],
    "selu": [layers.Dense(5), layers.Activation("selu"), layers.Dense(266, "sigmoid")],
    "elu": [layers.Dense(5, "elu"), layers.Dense(266, "sigmoid")],
    "leaky relu": [layers.Dense(5), layers.LeakyReLU(negative_slope=0.3), layers.Dense(266, "sigmoid")],
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_close(name: str) -> None:
    run = make_cell_network([LinearEnergy(), LogEnergy(), *ALIGNMENTS], [layers.Dense(6, "tanh"), *ACTIVATIONS[name]])
    graph = _read(plain_graph(run))
    assert network_closure(graph, run) < 1e-8
    assert cells.distributions(graph, run).agrees  # behind a softmax, though totals differ by rounding


def test_a_gauss_is_refused() -> None:
    gauss = [layers.Dense(266), lambda x: ops.exp(-ops.square(x))]
    run = make_cell_network([LogEnergy()], gauss)  # type: ignore[arg-type]
    with pytest.raises(
        ExportError, match=r"Square .* cannot be converted: lwtnn has no square .*; train with an activ"
    ):
        build_cells(run)


CONFIGS = [
    (name, config)
    for name in (found.name for found in pkgutil.iter_modules(models.__path__))
    for config, (_, geometry) in import_module(f"calogen.models.{name}").CONFIGS.items()
    if isinstance(geometry, CellGrid)
]


@pytest.mark.parametrize(("name", "chosen"), CONFIGS)
def test_every_model_of_cells_closes_or_is_refused_in_a_sentence(name: str, chosen: str) -> None:
    module = import_module(f"calogen.models.{name}")
    config, geometry = module.CONFIGS[chosen]
    transform = module.build_transform(config, geometry).fit(random_photons(200))
    run = assemble_run(module, config, geometry, module.build(config, geometry), transform)
    if chosen in ("gauss", "drawn"):
        with pytest.raises(ExportError, match="lwtnn has no square" if chosen == "gauss" else "no product of tensors"):
            plain_graph(run)
    else:
        assert network_closure(_read(plain_graph(run)), run) < 1e-8
