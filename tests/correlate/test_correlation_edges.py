"""Edges are the pairs within the distance, each once."""

from __future__ import annotations

import numpy as np
import pytest
from clustering_oracle import distances, noisy_groups, uneven_tiles

from pipeline.correlate import Tile, edges, matrix_tiles
from schemas.errors import UsageError


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("signed", [False, True])
def test_edges_are_the_pairs_within_the_distance(dtype, signed):
    r = noisy_groups(90, 4, dtype)
    r[7], r[:, 7] = np.nan, np.nan
    for threshold in (0.0, 0.3, 0.8, 2.0):
        found = list(edges(uneven_tiles(r, [20, 3])(), threshold, signed=signed))
        assert len(found) == len(list(uneven_tiles(r, [20, 3])()))
        i, j = (np.concatenate([getattr(part, name) for part in found]) for name in ("i", "j"))
        values = np.concatenate([part.r for part in found])
        assert values.dtype == dtype
        expected = np.argwhere(np.triu(distances(r, signed) <= threshold, 1))
        order = np.lexsort((j, i))
        np.testing.assert_array_equal(np.stack([i, j], axis=1)[order], expected)
        np.testing.assert_array_equal(values, np.clip(r[i, j], -1, 1))


def test_edges_are_ordered_inside_a_tile():
    (found,) = edges(matrix_tiles(np.ones((3, 3)))(), 0.5)
    assert found.i.tolist() == [0, 0, 1]
    assert found.j.tolist() == [1, 2, 2]


def test_the_least_correlation_counts_itself():
    r = np.array([[1, 0.75], [0.75, 1]])
    assert [len(part.r) for part in edges(matrix_tiles(r)(), 0.25)] == [1]
    assert [len(part.r) for part in edges(matrix_tiles(r)(), np.nextafter(0.25, 0))] == [0]


def test_rounding_is_cut_off_and_more_is_refused():
    beyond = np.array([[1, -1 - 1e-6], [-1 - 1e-6, 1]])
    (found,) = edges(matrix_tiles(beyond)(), 0.0)
    assert found.r.tolist() == [-1]
    with pytest.raises(UsageError, match="neurons 0–1 with 0–1"):
        list(edges(matrix_tiles(beyond * 2)(), 0.0))
    with pytest.raises(UsageError, match="got -1"):
        list(edges(matrix_tiles(beyond)(), -1.0))
    with pytest.raises(UsageError, match="must have values of shape"):
        list(edges([Tile(range(2), range(2), np.ones((2, 1)))], 0.5))
