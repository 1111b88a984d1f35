"""Sparse showers of small grids, against the dense arrays that they came from."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calogen.errors import DataFormatError
from calogen.showers.grids import build_grid
from calogen.showers.sample import Showers, write_blocks
from calogen.showers.sparse import COUNTS, ENERGIES, STEPS, SparseShowers, from_datasets, join_columns, to_datasets

SHOWERS = arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.just(12)),
    elements=st.sampled_from([0.0, 0.0, 0.0, 0.25, 3.0]),
)


@given(SHOWERS)
@settings(max_examples=60, deadline=None)
def test_sparse_showers_are_the_dense_ones(energies: np.ndarray) -> None:
    """Empty showers, and cells at either end, are among them."""
    sparse = SparseShowers.of(energies)
    np.testing.assert_array_equal(sparse.dense(12), energies)
    np.testing.assert_array_equal(SparseShowers.read(sparse.datasets).dense(12), energies)
    order = np.random.default_rng(1).permutation(len(energies))
    np.testing.assert_array_equal(sparse[order].dense(12), energies[order])
    np.testing.assert_array_equal(sparse[1:].dense(12), energies[1:])
    joined = join_columns([sparse, sparse[order]])
    assert isinstance(joined, SparseShowers)
    np.testing.assert_array_equal(joined.dense(12), np.concatenate([energies, energies[order]]))


def test_steps_are_small_numbers() -> None:
    energies = np.zeros((2, 70_000), np.float32)
    energies[0, [3, 5, 69_999]] = 1.0
    energies[1, 5] = 2.0
    datasets = SparseShowers.of(energies).datasets
    assert datasets[COUNTS].tolist() == [3, 1]
    assert datasets[STEPS].tolist() == [3, 2, 69_994, 5]
    assert datasets[STEPS].dtype == np.uint32
    assert SparseShowers.of(energies[:, :60_000]).datasets[STEPS].dtype == np.uint16


def test_blocks_of_a_file_have_steps_of_one_type(tmp_path: Path) -> None:
    """In a large grid, whose first shower has small steps only: HDF5 would cut the others down to 65,535."""
    grid = build_grid("large", (100, 700), 1.0, (1.0,), (0.5,))
    energies = np.zeros((2, grid.size), np.float32)
    energies[0, 5], energies[1, 69_999] = 0.01, 0.01
    showers = Showers(grid, np.full(2, 1000.0), energies)
    write_blocks(tmp_path / "a.h5", (showers[[row]] for row in range(2)), 2)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file[STEPS].dtype == np.uint32
        assert file[STEPS][:].tolist() == [5, 69_999]


def test_a_table_of_columns_becomes_datasets_and_comes_back() -> None:
    energies = np.array([[0.0, 1.5], [0.0, 0.0]], np.float32)
    datasets = to_datasets({"angle": np.array([1.0, 2.0]), "hits": SparseShowers.of(energies)})
    assert set(datasets) == {"angle", COUNTS, STEPS, ENERGIES}
    columns = from_datasets(datasets)
    assert set(columns) == {"angle", "hits"}
    assert isinstance(columns["hits"], SparseShowers)
    np.testing.assert_array_equal(columns["hits"].dense(2), energies)
    assert join_columns([np.arange(2), np.arange(1)]).tolist() == [0, 1, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("counts", "message"), [([1], "add up"), ([2, 2], "add up"), ([4, -1], "add up"), ([3], "cells must be 0 to 1")]
)
def test_what_does_not_fit_is_refused(counts: list[int], message: str) -> None:
    datasets = {COUNTS: np.array(counts), STEPS: np.array([0, 1, 1]), ENERGIES: np.ones(3)}
    with pytest.raises(DataFormatError, match=message):
        SparseShowers.read(datasets).dense(2)
    with pytest.raises(DataFormatError, match="energies"):
        SparseShowers(np.array([2]), np.arange(2), np.ones(3))


def test_a_cell_may_not_come_twice() -> None:
    datasets = SparseShowers.of(np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 0.0, 0.0, 5.0]], np.float32)).datasets
    np.testing.assert_array_equal(SparseShowers.read(datasets).dense(4)[1], [4, 0, 0, 5])
    datasets[STEPS][1] = 0
    with pytest.raises(DataFormatError, match="must be 1 or more but for a shower's first"):
        SparseShowers.read(datasets)
