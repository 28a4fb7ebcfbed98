"""Heights and merges are scipy's to the last bit, however many distances are equal."""

from __future__ import annotations

import numpy as np
import pytest
from clustering_oracle import by_first
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from pipeline.correlate.clusters import _flat
from pipeline.correlate.linkage_kernel import condensed_place, link


def linked(condensed: np.ndarray, m: int, method: str, cut: float) -> tuple[np.ndarray, np.ndarray, bool]:
    pairs, heights = np.empty((m, 2), np.int64), np.empty(m)
    n, is_tied = link(condensed.copy(), m, method == "complete", cut, pairs, heights)
    return pairs[:n], heights[:n], is_tied


@pytest.mark.parametrize("method", ["average", "complete"])
@pytest.mark.parametrize("values", [2, 5, 40, 10**9])
def test_merges_are_those_of_scipy(method, values):
    """Sizes on both sides of those at which clusters are squeezed out."""
    for seed, m in enumerate((2, 3, 10, 64, 65, 90, 250)):
        condensed = np.random.default_rng(seed).integers(1, values + 1, m * (m - 1) // 2) / values
        tree = linkage(condensed, method)
        for cut in (0.0, 0.3, 0.5, 0.8, 1.0):
            pairs, heights, _ = linked(condensed, m, method, cut)
            np.testing.assert_array_equal(np.sort(heights), tree[tree[:, 2] <= cut, 2])
            for threshold in (0.3, 0.45, 0.8):
                if threshold <= cut:
                    expected = by_first(fcluster(tree, threshold, "distance"))
                    np.testing.assert_array_equal(by_first(_flat(pairs[heights <= threshold], m)), expected)


@pytest.mark.parametrize("method", ["average", "complete"])
def test_without_a_reported_tie_the_order_of_neurons_is_nothing(method):
    n_tied, n_free = 0, 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        m, cut = int(random.integers(3, 9)), 0.6
        square = np.zeros((m, m))
        square[np.triu_indices(m, 1)] = random.integers(1, 12, m * (m - 1) // 2) / 11
        square += square.T
        flats, tied = set(), []
        for _ in range(4):
            order = random.permutation(m)
            pairs, _, is_tied = linked(square[np.ix_(order, order)][np.triu_indices(m, 1)], m, method, cut)
            labels = np.empty(m, np.int64)
            labels[order] = _flat(pairs, m)
            flats.add(tuple(by_first(labels).tolist()))
            tied.append(is_tied)
        n_tied += all(tied)
        if not any(tied):
            n_free += 1
            assert len(flats) == 1
    assert n_tied > 20
    assert n_free > 20


def test_equals_are_decided_as_by_scipy_after_squeezing():
    for seed in range(40):
        m = 130
        points = np.random.default_rng(seed).integers(0, 40, (m, 2))
        condensed = pdist(points, "cityblock") / 80
        tree = linkage(condensed, "average")
        pairs, heights, _ = linked(condensed, m, "average", 1.0)
        np.testing.assert_array_equal(np.sort(heights), tree[:, 2])
        for threshold in (0.05, 0.1, 0.2, 0.3):
            expected = by_first(fcluster(tree, threshold, "distance"))
            np.testing.assert_array_equal(by_first(_flat(pairs[heights <= threshold], m)), expected)


def test_places_are_those_of_a_condensed_matrix():
    m = 7
    rows, columns = np.triu_indices(m, 1)
    assert [condensed_place(m, i, j) for i, j in zip(rows, columns, strict=True)] == list(range(m * (m - 1) // 2))
    assert condensed_place(m, 5, 2) == condensed_place(m, 2, 5)
