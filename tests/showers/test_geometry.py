import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calogen.errors import CalogenError, DataFormatError, GeometryError
from calogen.showers.cells import ATLAS_BARREL_STORED, CellGrid
from calogen.showers.grid import GridLayer, RegularGrid
from calogen.showers.grids import AHCAL_GRID
from calogen.showers.kinds import geometry_from_json
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry, VoxelLayer
from calogen.showers.windows import ATLAS_VAE_WINDOW

GEOMETRIES = [ATLAS_BARREL_STORED, ATLAS_VAE_WINDOW, PHOTONS_DATASET1, PIONS_DATASET1]


@pytest.mark.parametrize(
    ("geometry", "sizes"),
    [
        (ATLAS_BARREL_STORED, [21, 192, 49, 35]),
        (ATLAS_VAE_WINDOW, [21, 171, 49, 35]),
        (PHOTONS_DATASET1, [8, 160, 190, 5, 5]),
        (PIONS_DATASET1, [8, 100, 100, 5, 150, 160, 10]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_layer_sizes_are_the_published_ones(geometry: CellGrid | VoxelGeometry, sizes: list[int]) -> None:
    assert [layer.size for layer in geometry.layers] == sizes
    assert geometry.size == sum(sizes)
    assert [part.stop - part.start for part in geometry.slices] == sizes


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry.name)
def test_index_maps_are_bijections(geometry: CellGrid | VoxelGeometry) -> None:
    places = [geometry.unravel(index) for index in range(geometry.size)]
    assert len(set(places)) == geometry.size
    assert [geometry.index(*place) for place in places] == list(range(geometry.size))
    assert [place[0] for place in places] == geometry.layer_of.tolist()


def test_order_of_the_vector() -> None:
    assert ATLAS_BARREL_STORED.index(1, 0, 1) == 22  # phi runs fastest
    assert PHOTONS_DATASET1.index(1, 0, 1) == 9  # r runs fastest
    assert PHOTONS_DATASET1.index(1, 1, 0) == 8 + 16


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry.name)
def test_a_cell_outside_is_refused(geometry: CellGrid | VoxelGeometry) -> None:
    for place in ((0, -1, 0), (0, 7, 0), (0, 0, 8)):
        with pytest.raises(GeometryError, match="no (cell|voxel)"):
            geometry.index(*place)


def test_layer_energies_are_sums() -> None:
    energies = np.arange(2 * 297, dtype=np.float32).reshape(2, 297)
    expected = [[block[part].sum() for part in ATLAS_BARREL_STORED.slices] for block in energies.astype(float)]
    np.testing.assert_array_equal(ATLAS_BARREL_STORED.layer_energies(energies), expected)
    assert [block.shape for block in ATLAS_BARREL_STORED.blocks(energies)] == [
        (2, 7, 3), (2, 64, 3), (2, 7, 7), (2, 5, 7)
    ]  # fmt: skip


def test_another_number_of_cells_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"\[n, 368\]. Received: \[1, 533\]"):
        PHOTONS_DATASET1.require(np.zeros((1, 533)))


@given(st.floats(0.2, 0.25, exclude_max=True), st.floats(0, 6.283))
def test_windows_hold_the_impact_cell(eta: float, phi: float) -> None:
    for grid in (ATLAS_BARREL_STORED, ATLAS_VAE_WINDOW):
        for layer in grid.layers:
            first_eta, first_phi = layer.first_cell(eta, phi)
            assert 0 <= eta / layer.eta_size - first_eta < layer.num_eta
            # an odd window is centred on the impact cell
            assert int(phi / layer.phi_size) - first_phi == layer.num_phi // 2
            if layer.num_eta % 2 and not layer.eta_anchor:
                assert int(eta / layer.eta_size) - first_eta == layer.num_eta // 2


def test_stored_strips_begin_28_before_the_middle_cell() -> None:
    front = ATLAS_BARREL_STORED.layers[1]
    for eta in (0.2001, 0.2249, 0.2251, 0.2499):
        assert front.first_cell(eta, 0.0)[0] == 8 * int(eta / 0.025) - 28


@pytest.mark.parametrize("edges", [(0.0, 5.0, 5.0), (0.0,), (0.0, np.nan), (0.0, np.inf)])
def test_radial_edges_must_increase(edges: tuple[float, ...]) -> None:
    with pytest.raises(GeometryError, match="increasing"):
        VoxelLayer(0, edges, 1)


# Binning XML: the published binning of the CaloChallenge's dataset 1 as (id, num_alpha, offset, r_edges).
PHOTONS = [
    (0, 1, 0, [0, 5, 10, 30, 50, 100, 200, 400, 600]),
    (1, 10, 8, [0, 2, 4, 6, 8, 10, 12, 15, 20, 30, 40, 50, 70, 90, 120, 150, 200]),
    (2, 10, 168, [0, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 130, 160, 200, 250, 300, 350, 400]),
    (3, 1, 358, [0, 50, 100, 200, 400, 600]),
    (12, 1, 363, [0, 100, 200, 400, 1000, 2000]),
]
PIONS = [
    (0, 1, 0, [0, 5, 10, 30, 50, 100, 200, 400, 600]),
    (1, 10, 8, [0, 1, 4, 7, 10, 15, 30, 50, 90, 150, 200]),
    (2, 10, 108, [0, 5, 10, 20, 30, 50, 80, 130, 200, 300, 400]),
    (3, 1, 208, [0, 50, 100, 200, 400, 600]),
    (12, 10, 213, [0, 10, 20, 30, 50, 80, 100, 130, 160, 200, 250, 300, 350, 400, 1000, 2000]),
    (13, 10, 363, [0, 10, 20, 30, 50, 80, 100, 130, 160, 200, 250, 300, 350, 400, 600, 1000, 2000]),
    (14, 1, 523, [0, 50, 100, 150, 200, 250, 300, 400, 600, 1000, 2000]),
]
ATHENA = {"regionId": "1", "latentDim": "50", "ganVersion": "2", "symmetriseAlpha": "false"}
SELECTORS = {"pid": "22", "etaMin": "0", "etaMax": "130"}


@pytest.mark.parametrize(
    ("geometry", "layers", "size", "attributes"),
    [
        (PHOTONS_DATASET1, PHOTONS, 368, {"pid": "22", "etaMin": "0", "etaMax": "130", "name": "photon"}),
        (PIONS_DATASET1, PIONS, 533, {"pid": "211", "etaMin": "0", "etaMax": "80", "name": "pion"}),
    ],
    ids=["photons", "pions"],
)
def test_shipped_binnings_are_the_published_ones(
    geometry: VoxelGeometry, layers: list, size: int, attributes: dict[str, str]
) -> None:
    found = zip(geometry.layers, geometry.slices, strict=True)
    assert [(layer.id, layer.num_alpha, part.start, list(layer.r_edges)) for layer, part in found] == layers
    assert geometry.size == size
    assert dict(geometry.attributes) == attributes


def test_the_athena_dialect_is_written_as_athena_reads_it(tmp_path: Path) -> None:
    PIONS_DATASET1.write_xml(tmp_path / "binning.xml", "athena", ATHENA)
    lines = (tmp_path / "binning.xml").read_text().splitlines()
    assert [line.strip() for line in lines[1:3]] == [
        '<Particle pid="211" latentDim="50" symmetriseAlpha="false">',
        '<Bin etaMin="0" etaMax="80" name="pion" regionId="1" ganVersion="2" symmetriseAlpha="false">',
    ]
    layers = [line.strip() for line in lines if "<Layer" in line]
    assert layers[4] == '<Layer id="4" r_edges="0" n_bin_alpha="1" />'
    assert layers[14] == '<Layer id="14" r_edges="0,50,100,150,200,250,300,400,600,1000,2000" n_bin_alpha="1" />'
    assert len(layers) == 24  # FastCaloGAN's programs find a layer by its place
    read = VoxelGeometry.read_xml(tmp_path / "binning.xml", "pions_dataset1", pid=211, eta=0.225)
    assert read == PIONS_DATASET1
    assert dict(read.attributes) == dict(PIONS_DATASET1.attributes) | ATHENA


def test_attributes_are_passed_in_and_replaced(tmp_path: Path) -> None:
    PHOTONS_DATASET1.write_xml(tmp_path / "a.xml", attributes={"pid": "11", "name": 'e<\n"-">', "extra": "é"})
    read = VoxelGeometry.read_xml(tmp_path / "a.xml")
    assert read.name == "a"
    assert dict(read.attributes) == dict(PHOTONS_DATASET1.attributes) | {
        "pid": "11",
        "name": 'e<\n"-">',
        "extra": "é",
    }


def binnings(athena: bool) -> st.SearchStrategy[VoxelGeometry]:
    """Geometries with attributes that a dialect can hold."""
    edges = st.lists(
        st.floats(0, 1e6, allow_subnormal=False), min_size=3 if athena else 2, max_size=6, unique=True
    ).map(lambda values: tuple(sorted(values)))
    num_alpha = st.integers(1, 40).filter(lambda number: not athena or number != 32)
    layers = st.lists(st.integers(0, 30), min_size=1, max_size=6, unique=True).flatmap(
        lambda ids: st.tuples(*(st.builds(VoxelLayer, st.just(number), edges, num_alpha) for number in sorted(ids)))
    )
    text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"], include_characters="\n\t\r"))
    extra = st.dictionaries(st.sampled_from(["name", "beta", "label_definition", "été", *ATHENA]), text)
    required = st.fixed_dictionaries(dict.fromkeys(ATHENA, text)) if athena else st.just({})
    selectors = st.fixed_dictionaries(
        {"pid": st.integers(-3000, 3000).map(str), "etaMin": st.just("0"), "etaMax": st.floats(1, 500).map(str)}
    )
    attributes = st.tuples(extra, required, selectors).map(
        lambda parts: tuple((parts[0] | parts[1] | parts[2]).items())
    )
    return st.builds(VoxelGeometry, st.just("binning"), layers, attributes)


@pytest.mark.parametrize("dialect", ["calochallenge", "athena"])
@given(data=st.data())
def test_what_is_written_is_read(dialect: str, data: st.DataObject) -> None:
    geometry = data.draw(binnings(dialect == "athena"))
    with TemporaryDirectory() as folder:
        geometry.write_xml(Path(folder) / "binning.xml", dialect)
        read = VoxelGeometry.read_xml(
            Path(folder) / "binning.xml", pid=int(dict(geometry.attributes)["pid"]), eta=0.005
        )
    assert read == geometry
    assert dict(read.attributes) == dict(geometry.attributes)


LAYER = "<Layer id='0' r_edges='0,5,10' n_bin_alpha='{}'/>"
SEVERAL = f"""<Bins>
  <Particle pid="22" latentDim="50" symmetriseAlpha="true">
    <Bin etaMin="0" etaMax="130" ganVersion="2">{LAYER.format(1)}</Bin>
    <Bin etaMin="130" etaMax="150" ganVersion="1" latentDim="100">{LAYER.format(2)}</Bin>
  </Particle>
  <Particle pid="211" latentDim="60" symmetriseAlpha="false">
    <EnergyRanges><Range name="All"/></EnergyRanges>
    <Bin etaMin="0" etaMax="80" ganVersion="2">{LAYER.format(3)}<Layer id="4" r_edges="0" n_bin_alpha="1"/></Bin>
  </Particle>
</Bins>"""


@pytest.mark.parametrize(
    ("pid", "eta", "num_alpha", "latent_dim"),
    [(22, 0.225, 1, "50"), (22, -1.2999, 1, "50"), (22, 1.3, 2, "100"), (211, None, 3, "60"), (None, -1.4, 2, "100")],
)
def test_one_of_several_binnings(
    tmp_path: Path, pid: int | None, eta: float | None, num_alpha: int, latent_dim: str
) -> None:
    (tmp_path / "binning.xml").write_text(SEVERAL)
    read = VoxelGeometry.read_xml(tmp_path / "binning.xml", pid=pid, eta=eta)
    assert read.layers == (VoxelLayer(0, (0.0, 5.0, 10.0), num_alpha),)
    assert dict(read.attributes)["latentDim"] == latent_dim  # a Bin's own value goes before its Particle's
    assert dict(read.attributes)["symmetriseAlpha"] == ("false" if pid == 211 else "true")


@pytest.mark.parametrize(("pid", "eta"), [(None, None), (22, None), (None, 0.3), (11, None), (211, 0.8), (22, np.nan)])
def test_an_unclear_choice_lists_what_is_there(tmp_path: Path, pid: int | None, eta: float | None) -> None:
    (tmp_path / "binning.xml").write_text(SEVERAL)
    with pytest.raises(GeometryError) as refused:
        VoxelGeometry.read_xml(tmp_path / "binning.xml", pid=pid, eta=eta)
    assert f"one <Bin> for pid {pid} and eta {eta}" in str(refused.value)
    assert "Received: pid 22, eta 0 to 130; pid 22, eta 130 to 150; pid 211, eta 0 to 80" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a readable binning file"),
        ("<Bins/>", "Received: none"),
        ("<Bins><Bin/></Bins>", "must hold layers with voxels"),
        ("<Bins><Bin><Layer id='0' r_edges='0,5' n_bin_alpha='x'/></Bin></Bins>", "a Layer must have .*'x'"),
        ("<Bins><Bin><Layer id='0' r_edges='' n_bin_alpha='1'/></Bin></Bins>", "a Layer must have"),
        ("<Bins><Bin><Layer id='0' r_edges='0,nan' n_bin_alpha='1'/></Bin></Bins>", "increasing.*nan"),
        ("<Bins><Bin><Layer id='0' nbins='5' n_bin_alpha='1'/></Bin></Bins>", "a Layer must have .*'nbins'"),
        (f"<Bins><Bin>{LAYER.format(1) * 2}</Bin></Bins>", r"each once.*Received: \[0, 0\]"),
        (f"<Bins isPolar='false'><Bin>{LAYER.format(1)}</Bin></Bins>", "Received: isPolar=false"),
        (f"<Bins optimisedAlphaBins='true'><Bin>{LAYER.format(1)}</Bin></Bins>", "Received: optimisedAlphaBins=true"),
        (f"<Bins><Particle pid='22'><Bin>{LAYER.format(32)}</Bin></Particle></Bins>", r"Athena.*layers \[0\]"),
        ("<Bins><Bin etaMin='a'/></Bins>", "could not convert"),
    ],
)
def test_a_bad_binning_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "binning.xml"
    path.write_text(text)
    with pytest.raises(GeometryError, match=rf"binning\.xml.*{message}"):
        VoxelGeometry.read_xml(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.xml", tmp_path):
        with pytest.raises(GeometryError, match=f"{path.name} is not a readable binning file"):
            VoxelGeometry.read_xml(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_that_fill_the_memory_are_refused_at_once(tmp_path: Path, encoding: str) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE Bins [<!ENTITY e0 "lol">{entities}]><Bins>&e11;</Bins>'
    )
    (tmp_path / "binning.xml").write_text(text, encoding=encoding)
    with pytest.raises(GeometryError, match="without DOCTYPE: remove it"):
        VoxelGeometry.read_xml(tmp_path / "binning.xml")


@pytest.mark.parametrize(
    ("dialect", "attributes", "message"),
    [
        ("xml", {}, "dialect must be one of calochallenge, athena. Received: xml"),
        ("calochallenge", {}, "needs pid, etaMin, etaMax: pass them as attributes. Received: no pid, etaMin, etaMax"),
        ("athena", SELECTORS, "Received: no regionId, latentDim, ganVersion, symmetriseAlpha"),
        ("calochallenge", SELECTORS | {"a b": "1"}, "XML names"),
        ("calochallenge", SELECTORS | {"a": "\0"}, "plain text"),
        ("calochallenge", SELECTORS | {"a": "\ud800"}, "plain text"),
        ("calochallenge", SELECTORS | {"xmlns": "a"}, "XML names"),
        ("calochallenge", SELECTORS | {"pid": 22}, "plain text"),
        ("calochallenge", SELECTORS | {"etaMin": "low"}, "numbers as eta"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, dialect: str, attributes: dict[str, str], message: str
) -> None:
    geometry = VoxelGeometry("toy", (VoxelLayer(0, (0.0, 1.0, 2.0), 1),))
    with pytest.raises(GeometryError, match=message):
        geometry.write_xml(tmp_path / "a.xml", dialect, attributes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make_layers", "dialects"),
    [
        (lambda: (VoxelLayer(1, (0.0, 1.0, 2.0), 1), VoxelLayer(0, (0.0, 1.0, 2.0), 1)), ("calochallenge", "athena")),
        (lambda: (), ("calochallenge", "athena")),
        (lambda: (VoxelLayer(0, (0.0, 1.0), 1),), ("athena",)),
        (lambda: (VoxelLayer(0, (0.0, 1.0, 2.0), 32),), ("athena",)),
    ],
    ids=["order", "none", "one radial bin", "32 in alpha"],
)
def test_layers_that_readers_take_for_others_are_refused(
    tmp_path: Path, make_layers: Callable[[], tuple[VoxelLayer, ...]], dialects: tuple[str, ...]
) -> None:
    geometry = VoxelGeometry("toy", make_layers())
    for dialect in ("calochallenge", "athena"):
        if dialect in dialects:
            with pytest.raises(GeometryError, match="toy must h"):
                geometry.write_xml(tmp_path / "a.xml", dialect, SELECTORS | ATHENA)
        else:
            geometry.write_xml(tmp_path / "a.xml", dialect, SELECTORS | ATHENA)


def test_an_unwritable_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalogenError, match=f"cannot write {re.escape(str(tmp_path))}"):
        PHOTONS_DATASET1.write_xml(tmp_path)


def test_a_regular_grid_is_layers_of_images() -> None:
    grid = RegularGrid("tiny", tuple(GridLayer(number, 2, 3, 5.0, 10.0 * number) for number in range(4)))
    assert (grid.size, grid.shape, grid.layer_ids) == (24, (4, 2, 3), (0, 1, 2, 3))
    energies = np.arange(48.0).reshape(2, 24)
    images = grid.images(energies)
    assert images.shape == (2, 4, 2, 3)
    np.testing.assert_array_equal(images[1, 2, 1], energies[1, 15:18])
    np.testing.assert_allclose(grid.layer_energies(energies), images.sum(axis=(2, 3)))
    assert geometry_from_json(json.loads(json.dumps(grid.to_json()))) == grid
    assert "hit_threshold" not in grid.to_json()  # as in runs of before there was one
    for known in (grid, AHCAL_GRID):
        assert geometry_from_json(json.loads(json.dumps(known.to_json()))) == known
    assert replace(grid, hit_threshold=0.2) != grid
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(GeometryError, match="above 0 MeV"):
            replace(grid, hit_threshold=wrong)
        with pytest.raises(GeometryError, match="above 0 MeV"):
            replace(grid, peak_range=(0.5, wrong))
    for more in ({"hit_threshold": "much"}, {"hit_threshold": 0.2}, {"hit_threshold": 0.2, "peak_range": [0.1]}):
        with pytest.raises(DataFormatError, match="kind"):
            geometry_from_json(grid.to_json() | more)
    with pytest.raises(GeometryError, match="equal numbers of cells"):
        RegularGrid("odd", (GridLayer(0, 2, 3, 5.0, 0.0), GridLayer(1, 3, 3, 5.0, 10.0)))
    with pytest.raises(GeometryError, match="shape"):
        grid.images(energies[:, :-1])
