"""Redundancy and the reach of clusters across layers, against counting one cluster at a time."""

from __future__ import annotations

import numpy as np
import pytest
from clustering_oracle import SWEEP, noisy_groups

from pipeline.correlate import LayerIndex, cluster_tiles, layer_spread, matrix_tiles, redundancy_curve
from schemas.errors import UsageError


def random_layers(n_neurons: int, seed: int) -> LayerIndex:
    random = np.random.default_rng(seed)
    return LayerIndex.of(random.choice(["resid", "mlp"], n_neurons).tolist(), random.integers(1, 6, n_neurons))


def test_layers_are_ordered_by_component_and_number():
    index = LayerIndex.of(["mlp", "resid", "mlp", "mlp"], [3, 0, 1, 3])
    assert index.components == ("mlp", "resid")
    assert index.layers == (("mlp", 1), ("mlp", 3), ("resid", 0))
    assert index.layer_of.tolist() == [1, 2, 0, 1]
    assert index.numbers.tolist() == [1, 3, 0]


def test_the_curve_counts_what_can_go():
    r = noisy_groups(160, 6)
    r[5], r[:, 5] = np.nan, np.nan
    index = random_layers(160, 0)
    across, within = cluster_tiles(matrix_tiles(r), 160, [0.8, 0.2, 0.5], scopes=[None, index.layer_of])
    curve = redundancy_curve(across, within, index)
    assert curve.thresholds.tolist() == [0.8, 0.2, 0.5]
    for k in range(3):
        assert curve.share[k] == pytest.approx(1 - len(across.clusters[k].size) / 160)
        n_in_layers = 0
        for layer in range(len(index.layers)):
            members = index.layer_of == layer
            (alone,) = cluster_tiles(matrix_tiles(r[np.ix_(members, members)]), int(members.sum()), [0.8, 0.2, 0.5])
            n = len(alone.clusters[k].size)
            n_in_layers += n
            assert curve.n_clusters_per_layer[k, layer] == n
            assert curve.n_neurons[layer] == members.sum()
            assert curve.share_per_layer[k, layer] == pytest.approx(1 - n / members.sum())
        assert curve.share_within_layers[k] == pytest.approx(1 - n_in_layers / 160)
    assert 0 < curve.share[1] < curve.share[2] < curve.share[0] < 1
    assert (curve.share_within_layers < curve.share).all()


def test_reach_of_clusters_equals_counting():
    r = noisy_groups(160, 7)
    index = random_layers(160, 1)
    (found,) = cluster_tiles(matrix_tiles(r), 160, [0.9, 0.1, 0.5])
    for clusters in found.clusters:
        spread = layer_spread(clusters.labels, index)
        assert spread.windows.tolist() == [1, 2, 3, 4, 5]
        assert spread.components == (None, *index.components)
        n, n_within = np.zeros(3, int), np.zeros((3, 5), int)
        shared = np.zeros((len(index.layers),) * 2, int)
        for cluster in np.flatnonzero(clusters.size > 1):
            places = {index.layers[k] for k in index.layer_of[clusters.labels == cluster]}
            names, numbers = {name for name, _ in places}, [number for _, number in places]
            rows = [0, *(1 + index.components.index(name) for name in names if len(names) == 1)]
            n[rows] += 1
            for w in range(1, 6):
                n_within[rows, w - 1] += max(numbers) - min(numbers) + 1 <= w
            for one in places:
                for other in places:
                    shared[index.layers.index(one), index.layers.index(other)] += 1
        np.testing.assert_array_equal(spread.n_clusters, n)
        np.testing.assert_array_equal(spread.n_within, n_within)
        np.testing.assert_array_equal(spread.n_shared, shared)
    assert 0 < n_within[0, 1] < n[0]
    assert n_within[1:].any(axis=1).all()


def test_a_hand_made_model():
    """Three layers of two neurons: {0, 1} in one layer, {2, 4} in two that are adjacent, 3 and 5 alone."""
    index = LayerIndex.of(["resid"] * 6, [0, 0, 1, 1, 2, 2])
    spread = layer_spread(np.array([0, 0, 1, 2, 1, 3]), index)
    assert spread.n_clusters.tolist() == [2, 2]
    assert spread.n_within.tolist() == [[1, 2, 2], [1, 2, 2]]
    assert spread.n_shared.tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]


def test_nobody_and_nothing_shared():
    index = LayerIndex.of([], [])
    across, within = cluster_tiles(matrix_tiles(np.ones((0, 0))), 0, SWEEP, scopes=[None, index.layer_of])
    curve = redundancy_curve(across, within, index)
    assert np.isnan(curve.share).all()
    assert curve.share_per_layer.shape == (9, 0)
    spread = layer_spread(np.zeros(0, np.int64), index)
    assert spread.n_clusters.tolist() == [0]
    assert spread.n_shared.shape == (0, 0)
    spread = layer_spread(np.arange(4), LayerIndex.of(["mlp"] * 4, [2, 2, 7, 7]))
    assert spread.n_clusters.tolist() == [0, 0]
    assert spread.n_within.tolist() == [[0] * 6] * 2
    assert spread.n_shared.tolist() == [[0, 0], [0, 0]]


def test_what_does_not_fit_is_refused():
    r, index = noisy_groups(20, 0), LayerIndex.of(["mlp"] * 20, np.arange(20) % 2)
    across, within = cluster_tiles(matrix_tiles(r), 20, [0.9, 0.3], scopes=[None, index.layer_of])
    with pytest.raises(UsageError, match="a cluster has two layers"):
        redundancy_curve(across, across, index)
    (other,) = cluster_tiles(matrix_tiles(r), 20, [0.9])
    with pytest.raises(UsageError, match="same thresholds"):
        redundancy_curve(other, within, index)
    with pytest.raises(UsageError, match="20 neurons of the layers, not of 3"):
        layer_spread(np.arange(3), index)
    with pytest.raises(UsageError, match="one whole number for each of the 2"):
        LayerIndex.of(["mlp", "mlp"], [0])
    with pytest.raises(UsageError, match="float64"):
        LayerIndex.of(["mlp", "mlp"], [0.5, 1])
