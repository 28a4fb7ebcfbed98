"""Heat maps show groups as blocks, and clusters by their mean correlation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.correlate.heat_map_order import heat_map_order, mean_correlations
from schemas.errors import UsageError


def blocks(seed=0):
    """|r| of .9 inside and .1 between three groups, shuffled, with negated neurons and a constant one."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat([0, 1, 2], [6, 4, 3]))
    matrix = np.where(group[:, None] == group[None, :], 0.9, 0.1) + 0.02 * rng.random((13, 13))
    matrix = (matrix + matrix.T) / 2
    signs = rng.choice([-1, 1], 13)
    matrix = matrix * signs[:, None] * signs[None, :]
    np.fill_diagonal(matrix, 1)
    matrix = np.insert(np.insert(matrix, 5, np.nan, axis=0), 5, np.nan, axis=1)
    return matrix.astype(np.float32), np.insert(group, 5, -1)


def test_leaves_keep_groups_together_and_constants_last():
    matrix, group = blocks()
    order = heat_map_order(matrix)
    assert sorted(order.tolist()) == list(range(14))
    assert order[-1] == 5
    assert len(list(itertools.groupby(group[order[:-1]].tolist()))) == 3


def test_turned_leaves_have_the_shortest_way(monkeypatch):
    matrix, _ = blocks(3)
    varying = np.delete(np.delete(matrix, 5, 0), 5, 1)

    def way(order):
        return sum(1 - abs(varying[a, b]) for a, b in itertools.pairwise(order))

    turned = way(heat_map_order(varying))
    monkeypatch.setattr("pipeline.correlate.heat_map_order.MAX_TURNED", 0)
    assert turned <= way(heat_map_order(varying))


def test_clusters_stand_in_order_their_centres_first():
    matrix, group = blocks()
    order = heat_map_order(matrix, group)
    assert group[order].tolist() == [0] * 6 + [1] * 4 + [2] * 3 + [-1]
    for number in range(3):
        members = order[group[order] == number]
        strength = [np.mean([abs(matrix[a, b]) for b in members if b != a]) for a in members]
        assert strength == sorted(strength, reverse=True)
    loose = group.copy()
    loose[[0, 13]] = -1
    assert heat_map_order(matrix, loose)[-3:].tolist() == [0, 13, 5]


@pytest.mark.parametrize("signed", [False, True])
def test_mean_correlations_equal_all_pairs(signed):
    matrix, group = blocks()
    group[3] = 3  # a cluster of its own
    found = mean_correlations(matrix, group, signed=signed)
    for a, b in itertools.product(range(4), repeat=2):
        pairs = [
            matrix[i, j] if signed else abs(matrix[i, j])
            for i, j in itertools.product(np.flatnonzero(group == a), np.flatnonzero(group == b))
            if i != j
        ]
        np.testing.assert_allclose(found[a, b], np.mean(pairs) if pairs else np.nan, atol=1e-6)
    assert np.isnan(found[3, 3])


def test_a_constant_neuron_in_a_cluster_is_left_out():
    matrix, group = blocks()
    before = mean_correlations(matrix, group)
    group[5] = 1
    np.testing.assert_allclose(mean_correlations(matrix, group), before)


def test_few_neurons_and_wrong_shapes():
    assert heat_map_order(np.empty((0, 0))).tolist() == []
    assert heat_map_order(np.ones((1, 1))).tolist() == [0]
    assert heat_map_order(np.full((2, 2), np.nan)).tolist() == [0, 1]
    assert heat_map_order(np.ones((1, 1)), np.array([0])).tolist() == [0]
    assert mean_correlations(np.ones((2, 2)), np.array([-1, -1])).shape == (0, 0)
    with pytest.raises(UsageError, match=r"correlations must be \(N, N\), got \(2, 3\)"):
        heat_map_order(np.ones((2, 3)))
    with pytest.raises(UsageError, match="one number for each of 2 neurons"):
        heat_map_order(np.eye(2), np.array([0]))
