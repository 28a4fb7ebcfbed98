"""Clusters and redundancy of plain arrays, and maps as far as they need no UMAP: see test_run_map.py."""

from __future__ import annotations

import numpy as np
import pytest
from clustering_oracle import SWEEP, noisy_groups, scipy_labels

from pipeline.correlate import LayerIndex, correlation_clusters, correlation_map, layer_redundancy
from pipeline.correlate.array_clusters import product_tiles
from schemas.errors import ActivationError, UsageError


def grouped_activations(n_rows: int, n_neurons: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    factors = random.standard_normal((n_rows, n_neurons // 4))
    return factors[:, np.arange(n_neurons) // 4 % (n_neurons // 4)] + random.standard_normal((n_rows, n_neurons))


@pytest.mark.parametrize(("n_rows", "mean"), [(200, 0), (12, 0), (200, 300), (200, -1e6)])
def test_activations_and_their_correlations_give_the_same(n_rows, mean):
    values = grouped_activations(n_rows, 60, 0) + mean
    expected = scipy_labels(np.corrcoef(values.T), SWEEP, "average")
    for found in (correlation_clusters(values, SWEEP), correlation_clusters(r=np.corrcoef(values.T), thresholds=SWEEP)):
        for clusters, labels in zip(found.clusters, expected, strict=True):
            np.testing.assert_array_equal(clusters.labels, labels)
    assert 1 < len(found.clusters[5].size) < 60


def test_more_neurons_than_a_block(monkeypatch):
    monkeypatch.setattr("pipeline.correlate.array_clusters.product_tiles", lambda z: product_tiles(z, 16))
    values = grouped_activations(80, 60, 1)
    found = correlation_clusters(values, 0.6)
    np.testing.assert_array_equal(
        found.clusters[0].labels, scipy_labels(np.corrcoef(values.T), [0.6], "average")[0]
    )  # fmt: skip


def test_constant_neurons_are_alone_at_any_scale():
    values = np.array([[1e-200, 2, 0.1, 1e200], [2e-200, 4, 0.1, 2e200], [4e-200, 8, 0.1, 4e200]])
    found = correlation_clusters(values, 0.1)
    assert found.clusters[0].labels.tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(found.clusters[0].mean_r, [1, np.nan])


def test_groups_signs_and_single_precision():
    r = noisy_groups(40, 3, np.float32)
    halves = np.arange(40) // 20
    found = correlation_clusters(r=r, thresholds=[0.5], within=halves, signed=True, linkage="complete")
    labels = [scipy_labels(r[a : a + 20, a : a + 20], [0.5], "complete", signed=True)[0] for a in (0, 20)]
    np.testing.assert_array_equal(
        found.clusters[0].labels, np.concatenate([labels[0], labels[1] + labels[0].max() + 1])
    )  # fmt: skip
    assert found.signed


def test_few_rows_and_few_neurons():
    for values, expected in (
        (np.zeros((0, 3)), [0, 1, 2]),
        (np.ones((1, 3)), [0, 1, 2]),
        (np.array([[0, 5.0, 1], [1, 3.0, 1]]), [0, 0, 1]),
        (np.arange(4.0)[:, None], [0]),
        (np.zeros((4, 0)), []),
    ):
        assert correlation_clusters(values, 0.3).clusters[0].labels.tolist() == expected
    assert correlation_clusters(np.zeros((0, 3)), 1.0).clusters[0].labels.tolist() == [0, 1, 2]  # r is undefined, not 0


def test_what_is_no_input_is_refused():
    with pytest.raises(UsageError, match="not both and not neither"):
        correlation_clusters()
    with pytest.raises(UsageError, match="not both and not neither"):
        correlation_clusters(np.eye(2), r=np.eye(2))
    with pytest.raises(UsageError, match=r"r must be \(neurons, neurons\), not of shape \(2, 3\)"):
        correlation_clusters(r=np.ones((2, 3)))
    with pytest.raises(UsageError, match="r must be symmetric"):
        correlation_clusters(r=np.array([[1, 0.5], [0.2, 1]]))
    with pytest.raises(UsageError, match=r"activations must be \(rows, neurons\)"):
        correlation_clusters(np.ones(3))
    with pytest.raises(ActivationError, match="row 1, neuron 0: inf"):
        correlation_clusters(np.array([[0.0], [np.inf]]))
    with pytest.raises(UsageError, match="activations must be an array of numbers"):
        correlation_clusters([["a", "b"]])


@pytest.mark.parametrize(("linkage", "signed"), [("average", False), ("complete", True)])
def test_redundancy_is_counted_in_the_clusters_of_scipy(linkage, signed):
    values, layers = grouped_activations(300, 60, 2), np.random.default_rng(3).integers(4, 7, 60)
    r = np.corrcoef(values.T)
    across = [len(set(labels)) for labels in scipy_labels(r, SWEEP, linkage, signed=signed)]
    within = np.zeros((len(SWEEP), 3), int)
    for place, layer in enumerate((4, 5, 6)):
        inside = layers == layer
        own = scipy_labels(r[np.ix_(inside, inside)], SWEEP, linkage, signed=signed)
        within[:, place] = [len(set(labels)) for labels in own]
    index = LayerIndex.of(["mlp"] * 60, layers)
    for found in (
        layer_redundancy(values, layers, SWEEP, linkage, signed=signed),
        layer_redundancy(None, index, SWEEP, linkage, r=r, signed=signed),
    ):
        assert found.n_neurons.tolist() == np.bincount(layers)[4:].tolist()
        np.testing.assert_array_equal(found.n_clusters, across)
        np.testing.assert_array_equal(found.n_clusters_per_layer, within)
        np.testing.assert_allclose(found.share, 1 - np.array(across) / 60)
        np.testing.assert_allclose(found.share_within_layers, 1 - within.sum(axis=1) / 60)


def test_redundancy_of_copies_constants_and_nothing():
    values = np.random.default_rng(0).standard_normal((50, 3))
    values = np.column_stack([values, -values[:, 0], np.ones(50), np.ones(50)])
    found = layer_redundancy(values, [0, 0, 1, 1, 1, 1], 0.1)
    assert (found.n_clusters.tolist(), found.n_clusters_per_layer.tolist()) == ([5], [[2, 4]])
    assert np.isnan(layer_redundancy(np.zeros((5, 0)), np.zeros(0, int)).share).all()
    assert layer_redundancy(values[:, :1], [3]).share.tolist() == [0]
    for layers in ([0, 1], np.zeros(6), LayerIndex.of(["mlp"], [1]), None):
        with pytest.raises(UsageError, match=r"6 (components|whole numbers)"):
            layer_redundancy(values, layers)
    with pytest.raises(UsageError, match="not both and not neither"):
        layer_redundancy(None, [0])
    values[3, 2] = np.nan
    with pytest.raises(ActivationError, match="row 3, neuron 2: nan"):
        layer_redundancy(values, [0, 0, 1, 1, 1, 1])


def test_a_map_of_what_has_none_is_refused():
    values = grouped_activations(50, 12, 0)
    for arguments, said in (
        ({"activations": values}, "k is the number of clusters of k-means"),
        ({"activations": values, "k": 2, "r": np.eye(2)}, "not both and not neither"),
        ({"activations": values, "k": 2, "seed": -1}, "seed must be at least 0, got -1"),
        ({"activations": values, "k": 2, "space": "plane"}, "space must be `embedding` or `profile`, got 'plane'"),
        ({"r": 2 * np.eye(6), "k": 1}, r"correlations must be in \[−1, 1\]"),
        ({"r": np.ones((6, 7)), "k": 1}, "r must be \\(neurons, neurons\\)"),
    ):
        with pytest.raises(UsageError, match=said):
            correlation_map(**arguments)
    values[7, 5] = np.inf
    with pytest.raises(ActivationError, match="row 7, neuron 5: inf"):
        correlation_map(values, 2)
