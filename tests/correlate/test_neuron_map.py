"""Maps of neurons find planted groups, whatever constant or equal neurons are among them."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from pipeline.correlate.neuron_map import cluster_points, neuron_map
from pipeline.correlate.profile_components import profile_components
from schemas.errors import UsageError


def grouped(sizes=(12, 9, 7), n_constant=2, seed=0):
    """Correlations (N, N) of neurons that each follow the signal of a group, with either sign, and the group (−1)."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    signals = rng.standard_normal((len(sizes), 500))
    signs = rng.choice([-1, 1], len(group))
    values = signs[:, None] * signals[group] + 0.3 * rng.standard_normal((len(group), 500))
    matrix = np.full((len(group) + n_constant,) * 2, np.nan, np.float32)
    varying = np.sort(rng.choice(len(matrix), len(group), replace=False))
    matrix[np.ix_(varying, varying)] = np.corrcoef(values)
    found = np.full(len(matrix), -1)
    found[varying] = group
    return matrix, found


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shape", [(40, 40), (30, 200), (200, 30), (150, 150)])
def test_the_components_are_those_of_a_pca(shape, signed):
    rng = np.random.default_rng(1)
    low = rng.exponential(1, (shape[0], 6)) * 2.0 ** -np.arange(6) @ rng.exponential(1, (6, shape[1]))
    profiles = low / low.max() + 0.001 * rng.random(shape)
    if not signed:
        profiles *= rng.choice([-1, 1], shape)
    profiles = profiles.astype(np.float32)
    found = profile_components(profiles, n_components=6, signed=signed)
    values = profiles if signed else np.abs(profiles)
    expected = PCA(n_components=6, svd_solver="full").fit_transform(values.astype(np.float64))
    expected *= np.sign(expected[np.abs(expected).argmax(axis=0), np.arange(6)])
    np.testing.assert_allclose(found.values, expected, atol=2e-3 * np.abs(expected).max())
    assert found.neurons.tolist() == list(range(shape[0]))


def test_constant_neurons_have_no_profile(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.correlate.profile_components._BLOCK", 4)
    matrix, group = grouped()
    matrix.tofile(tmp_path / "r.bin")
    mapped = np.memmap(tmp_path / "r.bin", np.float32, "r", shape=matrix.shape)
    found, varying = profile_components(mapped), np.flatnonzero(group >= 0)
    np.testing.assert_array_equal(found.neurons, varying)
    whole = profile_components(matrix[np.ix_(varying, varying)])
    np.testing.assert_allclose(found.values, whole.values, atol=1e-6)
    assert found.values.shape == (28, 27)


def test_profiles_without_spread_have_no_components():
    assert profile_components(np.full((6, 6), 0.5)).values.shape == (6, 0)
    assert profile_components(np.ones((1, 1))).values.shape == (1, 0)
    assert profile_components(np.full((3, 3), np.nan)).neurons.tolist() == []


def test_what_is_no_profile_is_refused():
    matrix, _ = grouped(n_constant=0)
    with pytest.raises(UsageError, match=r"profiles must be \(N, M\)"):
        profile_components(matrix[0])
    matrix[3, 4] = np.nan
    with pytest.raises(UsageError, match="row 3 has 1 NaN, and 0 columns are NaN throughout"):
        profile_components(matrix)
    matrix[3, 4] = np.inf
    with pytest.raises(UsageError, match="must not be infinite"):
        profile_components(matrix)


@pytest.mark.parametrize(("method", "k"), [("kmeans", 3), ("hdbscan", None)])
def test_planted_groups_are_clusters(method, k):
    matrix, group = grouped()
    reduced = profile_components(matrix)
    found = cluster_points(reduced.values, k, method)
    assert adjusted_rand_score(group[reduced.neurons], found) == 1
    assert np.bincount(found).tolist() == [12, 9, 7]
    np.testing.assert_array_equal(found, cluster_points(reduced.values, k, method))


def test_clusters_are_numbered_by_size_then_first_member():
    points = np.repeat(np.array([[0.0], [50.0], [100.0], [900.0]]), [2, 3, 3, 1], axis=0)[::-1]
    points = points + np.linspace(0, 0.1, len(points))[:, None]
    assert cluster_points(points, 4).tolist() == [3, 0, 0, 0, 1, 1, 1, 2, 2]
    lonely = np.concatenate([points[1:7], [[1e6]]])
    assert cluster_points(lonely, None, "hdbscan", min_cluster_size=3).tolist() == [0, 0, 0, 1, 1, 1, -1]


def test_a_map_of_planted_groups():
    """All that needs UMAP, which compiles itself for some seconds in every process."""
    matrix, group = grouped()
    found = neuron_map(matrix, 3)
    varying = group >= 0
    assert adjusted_rand_score(group[varying], found.cluster[varying]) == 1
    assert found.n_clusters == 3
    assert (found.cluster[~varying] == -1).all()
    np.testing.assert_array_equal(np.isnan(found.coordinates), ~varying[:, None] | np.zeros((1, 2), bool))
    assert (found.n_neighbors, found.n_components) == (15, 27)
    again = neuron_map(matrix, 3)
    np.testing.assert_array_equal(again.coordinates, found.coordinates)
    np.testing.assert_array_equal(again.cluster, found.cluster)
    assert (neuron_map(matrix, 3, seed=1).coordinates[varying] != found.coordinates[varying]).any()
    dense = neuron_map(matrix, method="hdbscan", space="profile", n_neighbors=100)
    assert dense.n_neighbors == 27
    assert adjusted_rand_score(group[varying], dense.cluster[varying]) == 1
    equal = neuron_map(np.ones((6, 6), np.float32), 1)
    assert np.isfinite(equal.coordinates).all()
    assert equal.cluster.tolist() == [0] * 6
    with pytest.raises(UsageError, match="k must be at most the 1 different neurons, got 2"):
        neuron_map(np.ones((6, 6), np.float32), 2, space="profile")
    with pytest.raises(UsageError, match="at least 5 neurons that are not constant, got 3"):
        neuron_map(matrix[:4], 1)


def test_wrong_choices():
    matrix, _ = grouped()
    for choice, said in (
        ({}, "k is the number of clusters"),
        ({"k": 3, "method": "hdbscan"}, "k is the number of clusters"),
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"k": 2, "n_neighbors": 1}, "n_neighbors must be at least 2, got 1"),
        ({"method": "tsne"}, "method must be `kmeans` or `hdbscan`, got 'tsne'"),
    ):
        with pytest.raises(UsageError, match=said):
            neuron_map(matrix, **choice)


def test_without_umap_one_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest):
        if name == "umap":
            raise ModuleNotFoundError("No module named 'umap'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UsageError, match=r'pip install "neuronmill\[map\]"'):
        neuron_map(grouped()[0], 3)
