"""Clusters of plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
from clustering_oracle import SWEEP, noisy_groups, scipy_labels

from pipeline.correlate import correlation_clusters
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
