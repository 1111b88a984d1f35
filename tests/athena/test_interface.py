"""Athena's conventions, with its numbers written out here a second time."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import TINY_VOXELS

from calogen.athena import interface as athena
from calogen.athena.closure import TOLERANCE, closure
from calogen.athena.interface import SELECTOR, V1, V2, Slot, VoxelGenerator
from calogen.errors import ExportError
from calogen.features.conditions import Constant, LinearEnergy, LogEnergy
from calogen.features.transforms import AbsoluteEnergies, Chain, KineticFractions, Noise
from calogen.lwtnn.graph import Graph, format_graph, parse_graph
from calogen.lwtnn.runtime import evaluate_graph
from calogen.models import caloshowergan, fastcalogan
from calogen.showers.conditions import Conditions
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry, VoxelLayer
from calogen.training.latent import Latent

PION_MASS = 139.57039
NORMAL, UNIFORM = Latent(dim=3, mean=0.5, spread=0.5), Latent(dim=3, distribution="uniform")


def _generator(
    low: float = 2.0**8, high: float = 2.0**18, particle: str = "photon", **changes: object
) -> VoxelGenerator:
    """A linear network: 3 latent numbers and the condition, voxel by voxel."""
    latent, condition = keras.Input((3,), name="latent"), keras.Input((1,), name="condition")
    output = keras.layers.Dense(TINY_VOXELS.size, "relu")(keras.layers.Concatenate()([latent, condition]))
    mass = {"photon": 0.0, "pion": PION_MASS}[particle]
    fields = {
        "model": keras.Model({"latent": latent, "condition": condition}, output),
        "transform": Chain((KineticFractions(mass),), (LogEnergy(low, high, mass),)),
        "latent": NORMAL,
        "geometry": TINY_VOXELS,
        "particle": particle,
        "momentum_range": (low, high),
    }
    return VoxelGenerator(**fields | changes)  # type: ignore[arg-type]


def _kinetic(momentum: float, mass: float) -> float:
    return math.sqrt(momentum**2 + mass**2) - mass


def _seen(graph: Graph, momentum: float, mass: float, exponents: tuple[int, int]) -> float:
    """What the network gets when Athena's class fills the condition for this momentum."""
    lowest, highest = (_kinetic(2.0**exponent, mass) for exponent in exponents)
    given = math.log(_kinetic(momentum, mass) / lowest) / math.log(highest / lowest)
    variable = graph.inputs[1].variables[0]
    return (given + variable.offset) * variable.scale


@pytest.mark.parametrize(
    ("pid", "files"),
    [(22, ["High12", "UltraLow12"]), (11, ["High12", "UltraLow12"]), (211, ["All"]), (2212, ["High10"])],
)
def test_the_class_finds_its_files(pid: int, files: list[str]) -> None:
    particle = next(name for name, number in athena.PIDS.items() if number == pid)
    found = sorted(athena.file_stem(particle, slot, 20) for slot in athena.SLOTS[pid])
    assert found == [f"neural_net_{pid}_eta_20_25_{name}" for name in files]
    assert athena.file_stem("photon", Slot("", 0, 1, "momentum", 0, 1), 125) == "neural_net_22_eta_125_130"


def test_the_class_takes_the_lower_network_up_to_4096_mev() -> None:
    low, high = athena.SLOTS[22]
    assert (low.range, low.up_to, high.above, high.up_to) == ("UltraLow12", 4096.0, 4096.0, 2.0**22)


@pytest.mark.parametrize(
    ("particle", "pid_slot", "exponents"),
    [("photon", (22, 0), (6, 12)), ("photon", (22, 1), (12, 22)), ("pion", (211, 0), (8, 22))],
)
def test_limits_of_the_class_are_absorbed(particle: str, pid_slot: tuple[int, int], exponents: tuple[int, int]) -> None:
    generator = _generator(2.0**9, 2.0**17, particle)
    graph = athena.lwtnn_graph(generator, athena.SLOTS[pid_slot[0]][pid_slot[1]], V2)
    mass = PION_MASS if particle == "pion" else 0.0
    for momentum in (256.0, 5000.0, 2.0**17):
        wanted = generator.transform.encodings[0].forward(Conditions(np.array([momentum])))[0, 0]
        assert _seen(graph, momentum, mass, exponents) == pytest.approx(wanted, abs=1e-12)


def test_a_low_network_from_256_mev_gets_the_known_offset_and_scale() -> None:
    graph = athena.lwtnn_graph(_generator(2.0**8, 2.0**12), athena.SLOTS[22][0], V2)
    (variable,) = graph.inputs[1].variables
    assert (variable.offset, variable.scale) == (pytest.approx(-1 / 3), pytest.approx(1.5))


@pytest.mark.parametrize(("mean", "spread"), [(0.5, 0.5), (0.0, 1.0), (-1.0, 0.1)])
def test_other_noise_is_absorbed(mean: float, spread: float) -> None:
    generator = _generator(latent=Latent(dim=3, mean=mean, spread=spread))
    variables = athena.lwtnn_graph(generator, athena.SLOTS[22][0], V2).inputs[0].variables
    assert [variable.name for variable in variables] == ["variable_0", "variable_1", "variable_2"]
    for variable in variables:
        for standard in (-2.0, 0.0, 1.0):
            given = 0.5 + 0.5 * standard  # what Athena draws
            assert (given + variable.offset) * variable.scale == pytest.approx(mean + spread * standard)


def test_a_second_constant_condition_is_the_classes_zero() -> None:
    generator = _generator()
    encodings = (generator.transform.encodings[0], Constant(0.25))
    condition = keras.Input((2,), name="condition")
    latent = keras.Input((3,), name="latent")
    output = keras.layers.Dense(TINY_VOXELS.size, "relu")(keras.layers.Concatenate()([latent, condition]))
    model = keras.Model({"latent": latent, "condition": condition}, output)
    generator = replace(generator, model=model, transform=Chain(generator.transform.steps, encodings))
    second = athena.lwtnn_graph(generator, athena.SLOTS[22][0], V2).inputs[1].variables[1]
    assert (second.name, (0.0 + second.offset) * second.scale) == ("variable_1", 0.25)


def test_version_1_has_names_without_prefix_and_the_momentum_over_two_to_the_22() -> None:
    chain = Chain((KineticFractions(),), (LinearEnergy(2.0**18),))
    generator = _generator(latent=UNIFORM, transform=chain)
    assert athena.choose_interface([generator]) == V1
    ((slot, _),) = athena.slots_of([generator], V1)
    graph = athena.lwtnn_graph(generator, slot, V1)
    assert [variable.name for variable in graph.inputs[0].variables] == ["0", "1", "2"]
    (variable,) = graph.inputs[1].variables
    assert (5000.0 / 2.0**22 + variable.offset) * variable.scale == pytest.approx(5000.0 / 2.0**18)
    assert athena.manifest([generator], V1, 20)["latent"] == {
        "distribution": "uniform",
        "mean": 0.0,
        "spread": 1.0,
        "dim": 3,
    }


def test_alpha_runs_fastest_in_version_2_and_r_in_version_1() -> None:
    geometry = VoxelGeometry("two", (VoxelLayer(0, (0.0, 1.0, 2.0), 1), VoxelLayer(1, (0.0, 1.0, 2.0, 3.0), 2)))
    order = athena.voxel_order(geometry, V2)
    expected = [
        geometry.index(layer, alpha, r)
        for layer, part in enumerate(geometry.layers)
        for r in range(part.num_r)
        for alpha in range(part.num_alpha)
    ]
    assert order.tolist() == expected != list(range(geometry.size))
    assert athena.voxel_order(geometry, V1).tolist() == list(range(geometry.size))
    with pytest.raises(ExportError, match="in the order of their ids"):
        athena.voxel_order(VoxelGeometry("back", geometry.layers[::-1]), V2)


@pytest.mark.parametrize("interface", [V1, V2])
def test_labels_name_voxels_in_the_order_of_the_interface(interface: str) -> None:
    generator, slot = _generator(), athena.SLOTS[22][1]
    if interface == V1:
        slot = Slot("", 0.0, 2.0**22, "momentum", 0.0, 2.0**22)
        generator = replace(generator, latent=UNIFORM, transform=Chain((KineticFractions(),), (LinearEnergy(2.0**18),)))
    bias = np.arange(1.0, 1.0 + TINY_VOXELS.size)
    generator.model.layers[-1].set_weights([np.zeros((4, TINY_VOXELS.size)), bias])
    graph = athena.lwtnn_graph(generator, slot, interface)
    values = evaluate_graph(graph, {"node_0": np.zeros(3), "node_1": np.zeros(1)})
    by_label = dict(zip(graph.output().labels, values.tolist(), strict=True))
    found = [by_label[f"out_{position}"] for position in range(TINY_VOXELS.size)]
    order = athena.voxel_order(TINY_VOXELS, interface)
    assert found == bias[order].tolist()


def test_negative_outputs_become_zero() -> None:
    generator = _generator()
    swish = keras.layers.Activation("swish")(keras.layers.Dense(10)(generator.model.layers[-2].output))
    generator = replace(generator, model=keras.Model(generator.model.input, swish))
    graph = athena.lwtnn_graph(generator, athena.SLOTS[22][1], V2)
    values = evaluate_graph(
        graph, {"node_0": np.random.default_rng(1).normal(size=(50, 3)), "node_1": np.zeros((50, 1))}
    )
    assert 0 == values.min() < values.max()


def test_the_interface_follows_from_noise_condition_and_momenta() -> None:
    low, upper = _generator(2.0**8, 2.0**12), _generator(2.0**12, 2.0**18)
    three = [low, _generator(2.0**12, 2.0**16), _generator(2.0**16, 2.0**18)]
    assert athena.choose_interface([_generator()]) == athena.choose_interface([low, upper]) == V2
    assert athena.choose_interface([_generator(particle="pion")]) == V2
    for other in (three, [low], [upper], [three[1]], [low, replace(upper, latent=UNIFORM)], [upper, low]):
        assert athena.choose_interface(other) == SELECTOR
    for split in (2.0**10, 2.0**14):  # some momenta would go to the other network
        assert athena.choose_interface([_generator(2.0**8, split), _generator(split, 2.0**18)]) == SELECTOR
    maximum = Chain((KineticFractions(),), (LinearEnergy(2.0**18),))
    wide = _generator(transform=maximum, latent=replace(UNIFORM, dim=51))  # more noise than version 1 draws
    assert athena.choose_interface([wide]) == SELECTOR
    assert athena.choose_interface([_generator(transform=maximum)]) == SELECTOR  # normal noise: not version 1


def test_one_network_fills_both_slots_of_the_photon() -> None:
    generator = _generator()
    slots = athena.slots_of([generator], V2)
    assert [(slot.range, filled) for slot, filled in slots] == [("UltraLow12", generator), ("High12", generator)]
    networks = athena.manifest([generator], V2, 20)["networks"]
    assert [item["file"] for item in networks] == [f"neural_net_22_eta_20_25_{slot.range}.json" for slot, _ in slots]
    assert networks[0]["condition"] == {"kind": "log-kinetic", "lowest": 64.0, "highest": 4096.0}


def test_the_selector_gives_networks_what_they_were_trained_with() -> None:
    first = _generator(2.0**8, 2.0**12, latent=Latent(dim=5, mean=0.0, spread=2.0))
    second = _generator(2.0**12, 2.0**16, latent=Latent(dim=3, mean=0.0, spread=2.0))
    third = _generator(2.0**16, 2.0**18, latent=Latent(dim=3, mean=0.0, spread=2.0))
    about = athena.manifest([first, second, third], SELECTOR, 20)
    assert about["latent"] == {"distribution": "normal", "mean": 0.0, "spread": 2.0, "dim": 5}
    assert [(item["above"], item["up_to"]) for item in about["networks"]] == [
        (0.0, 2.0**12),
        (2.0**12, 2.0**16),
        (2.0**16, 2.0**18),
    ]
    slot, generator = athena.slots_of([first, second, third], SELECTOR)[1]
    graph = athena.lwtnn_graph(generator, slot, SELECTOR)
    assert {(v.offset, v.scale) for given in graph.inputs for v in given.variables} == {(0.0, 1.0)}


def test_a_proton_has_its_own_files_and_the_pions_binning() -> None:
    generator = replace(_generator(), particle="proton")
    assert athena.binning_attributes([generator], V2, 20)["pid"] == "211"
    assert athena.file_stem("proton", athena.SLOTS[2212][0], 20).startswith("neural_net_2212_")


def test_what_cannot_be_absorbed_is_refused() -> None:
    slot, good = athena.SLOTS[22][1], _generator()
    linear = Chain((KineticFractions(),), (LinearEnergy(2.0**18),))
    noisy = Chain((Noise(1.0), KineticFractions()), good.transform.encodings)
    absolute = Chain((AbsoluteEnergies(1000.0),), good.transform.encodings)
    massive = Chain((KineticFractions(),), (LogEnergy(2.0**8, 2.0**18, 5.0),))
    three = Chain((KineticFractions(),), (*good.transform.encodings, Constant(), Constant()))
    strange = Chain((KineticFractions(),), (Constant(), LinearEnergy(2.0**18)))
    for changed, message in (
        ({"latent": UNIFORM}, "draws normal noise. Received: a network for uniform noise"),
        ({"transform": linear}, "LinearEnergy is no affine function of it"),
        ({"transform": noisy}, "the photon's kinetic energy and nothing else.*Noise"),
        ({"transform": absolute}, "AbsoluteEnergies"),
        ({"transform": massive}, "must have the mass of a photon. Received: 5.0 MeV"),
        ({"transform": strange}, "the condition must be the energy"),
        ({"transform": three}, "gives 2 numbers as condition. Received: a network that needs 3"),
    ):
        with pytest.raises(ExportError, match=message):
            athena.lwtnn_graph(replace(good, **changed), slot, V2)


MODELS = {
    f"{module.__name__.rsplit('.', maxsplit=1)[-1]}, {name}": (module, *value)
    for module in (caloshowergan, fastcalogan)
    for name, value in module.CONFIGS.items()
}


@pytest.mark.parametrize("name", MODELS)
def test_every_generator_of_voxels_closes(name: str) -> None:
    """At its full size; random weights and batch statistics; the interface that it is chosen for."""
    module, config, geometry = MODELS[name]
    model = module.build_generator(config, geometry)
    rng = np.random.default_rng(4)
    for variable in model.weights:
        if "variance" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif "moving_mean" in variable.path or "beta" in variable.path:
            variable.assign(rng.normal(0.0, 0.3, variable.shape))
    last = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)][-1]
    last.bias.assign(np.full(last.units, 2.0))  # else most totals, and showers, are zero
    generator = VoxelGenerator(
        model=model,
        transform=module.build_transform(config, geometry),
        latent=module.build_latent(config),
        geometry=geometry,
        particle=config.particle,
        momentum_range=config.momentum_range,
    )
    interface = athena.choose_interface([generator])
    assert (interface == V1) == (name in ("fastcalogan, photon", "fastcalogan, pion"))
    slot, _ = athena.slots_of([generator], interface)[-1]
    graph = parse_graph(format_graph(athena.lwtnn_graph(generator, slot, interface)))
    assert geometry in (PHOTONS_DATASET1, PIONS_DATASET1)
    assert len(graph.output().labels) == geometry.size
    found = closure(graph, generator, slot, interface, num_showers=100)
    assert found.float64 < TOLERANCE
    assert found.float64 < found.float32 < 1e-4
