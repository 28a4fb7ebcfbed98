"""Clusters from tiles are those of scipy on the whole matrix, ties included, and their figures those of a loop."""

from __future__ import annotations

import numpy as np
import pytest
from clustering_oracle import (
    LINKAGES,
    SWEEP,
    by_first,
    distances,
    labels_by_component,
    noisy_groups,
    scipy_labels,
    uneven_tiles,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.correlate import Clusters, cluster_tiles, matrix_tiles
from schemas.errors import UsageError


def same_labels(clustering, expected) -> bool:
    return all(
        np.array_equal(found.labels, labels) for found, labels in zip(clustering.clusters, expected, strict=True)
    )


def slow_figures(r: np.ndarray, labels: np.ndarray, signed: bool) -> Clusters:
    """The figures of clusters, one at a time."""
    similarity = 1 - distances(r, signed)
    member_mean = np.full(len(r), np.nan)
    representative, mean, size = [], [], []
    for cluster in range(labels.max(initial=-1) + 1):
        members = np.flatnonzero(labels == cluster)
        size.append(len(members))
        if len(members) == 1:
            representative.append(members[0])
            mean.append(np.nan)
            continue
        inside = similarity[np.ix_(members, members)]
        member_mean[members] = (inside.sum(axis=1) - np.diag(inside)) / (len(members) - 1)
        representative.append(members[np.argmax(np.round(member_mean[members], 9))])
        mean.append(inside[np.triu_indices(len(members), 1)].mean())
    return Clusters(0, labels, np.array(size), np.array(representative), np.array(mean), member_mean)


def check_figures(found: Clusters, r: np.ndarray, signed: bool) -> None:
    expected = slow_figures(r, found.labels, signed)
    np.testing.assert_array_equal(found.size, expected.size)
    np.testing.assert_array_equal(found.representative, expected.representative)
    np.testing.assert_allclose(found.member_mean_r, expected.member_mean_r, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.mean_r, expected.mean_r, rtol=0, atol=1e-12)


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sweep_equals_scipy(linkage, signed, dtype):
    n_merged = 0
    for seed in range(6):
        r = noisy_groups(150, seed, dtype)
        (found,) = cluster_tiles(uneven_tiles(r, [17, 1, 40]), 150, SWEEP, linkage, signed=signed)
        assert same_labels(found, scipy_labels(r, SWEEP, linkage, signed))
        assert [clusters.threshold for clusters in found.clusters] == SWEEP
        for clusters in found.clusters:
            check_figures(clusters, r, signed)
            n_merged += 150 - len(clusters.size)
        near = np.triu(distances(r, signed) <= 0.9, 1)
        assert found.n_edges == near.sum()
    assert n_merged > 1000


@given(
    grid=hnp.arrays(np.int64, st.integers(1, 9).map(lambda n: (n, n)), elements=st.integers(-4, 4)),
    thresholds=st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.8, 1.0, 1.5]), min_size=1, max_size=4),
    linkage=st.sampled_from(LINKAGES),
    signed=st.booleans(),
    constant=st.lists(st.booleans(), min_size=9, max_size=9),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_ties_are_decided_as_scipy_does(grid, thresholds, linkage, signed, constant, sizes):
    """Correlations of nine values: nearly every merge has equals."""
    upper = np.triu(grid, 1) / 4
    r = upper + upper.T + np.eye(len(grid))
    is_constant = np.array(constant[: len(grid)])
    r[is_constant], r[:, is_constant] = np.nan, np.nan
    (found,) = cluster_tiles(uneven_tiles(r, sizes), len(r), thresholds, linkage, signed=signed)
    assert same_labels(found, labels_by_component(r, thresholds, linkage, signed))
    if not found.is_tied.any():
        assert same_labels(found, scipy_labels(r, thresholds, linkage, signed))
    for clusters in found.clusters:
        check_figures(clusters, r, signed)
        assert (clusters.size[clusters.labels[is_constant]] == 1).all()


def test_a_choice_among_equals_is_reported():
    """One neuron is as near to two others, which are apart: either pair may be first. Three equals leave no choice."""
    for middle, labels in ((0, [0, 0, 1]), (1, [0, 0, 1]), (2, [0, 1, 0])):
        chain = np.full((3, 3), 0.1)
        chain[middle] = chain[:, middle] = 0.75
        (found,) = cluster_tiles(matrix_tiles(chain), 3, [0.25])
        assert found.is_tied.all()
        assert found.clusters[0].labels.tolist() == labels
    equal = np.full((3, 3), 0.8)
    (found,) = cluster_tiles(matrix_tiles(equal), 3, [0.3])
    assert not found.is_tied.any()
    assert found.clusters[0].labels.tolist() == [0, 0, 0]
    (found,) = cluster_tiles(matrix_tiles(chain), 3, [0.3], "single")
    assert not found.is_tied.any()


def test_what_is_apart_may_stand_in_between():
    """Components whose neurons alternate, cut by tiles in their middle."""
    parts = [noisy_groups(30, seed) for seed in range(4)]
    r = np.zeros((120, 120))
    for k, part in enumerate(parts):
        r[k::4, k::4] = part
    (found,) = cluster_tiles(uneven_tiles(r, [7, 50]), 120, SWEEP)
    assert found.largest_component <= 30
    assert same_labels(found, scipy_labels(r, SWEEP, "average"))


@pytest.mark.parametrize("linkage", LINKAGES)
def test_one_component_of_all(linkage):
    shared = np.random.default_rng(0).standard_normal((40, 1))
    values = 3 * shared + np.random.default_rng(1).standard_normal((40, 300))
    r = np.corrcoef(values.T)
    (found,) = cluster_tiles(matrix_tiles(r, 64), 300, SWEEP, linkage)
    assert found.largest_component == 300
    assert same_labels(found, scipy_labels(r, SWEEP, linkage))
    assert 1 < len(found.clusters[0].size) < 300


def test_copies_negated_copies_and_constants():
    values = np.random.default_rng(3).standard_normal((50, 4))
    values = np.hstack([values, values[:, :2], -values[:, 1:3]])
    r = np.corrcoef(values.T)
    r = np.pad(r, (0, 1), constant_values=np.nan)
    near = 1e-9  # copies differ by rounding
    (found,) = cluster_tiles(matrix_tiles(r, 4), 9, [near])
    assert found.clusters[0].labels.tolist() == [0, 1, 2, 3, 0, 1, 1, 2, 4]
    assert found.clusters[0].representative.tolist() == [0, 1, 2, 3, 8]
    (found,) = cluster_tiles(matrix_tiles(r, 4), 9, [near], signed=True)
    assert found.clusters[0].labels.tolist() == [0, 1, 2, 3, 0, 1, 4, 5, 6]
    np.testing.assert_array_equal(np.isnan(found.clusters[0].member_mean_r), [0, 0, 1, 1, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("linkage", LINKAGES)
def test_the_same_neuron_everywhere(linkage):
    r = np.ones((40, 40))
    (found,) = cluster_tiles(matrix_tiles(r, 16), 40, [0.0, 1.0], linkage)
    for clusters in found.clusters:
        assert clusters.size.tolist() == [40]
        assert clusters.representative.tolist() == [0]
        assert clusters.mean_r.tolist() == [1]


def test_no_edge_one_neuron_and_none():
    (found,) = cluster_tiles(matrix_tiles(np.eye(20), 8), 20, SWEEP)
    assert (found.n_edges, found.largest_component) == (0, 1)
    for clusters in found.clusters:
        assert clusters.labels.tolist() == clusters.representative.tolist() == list(range(20))
        assert np.isnan(clusters.mean_r).all()
    (found,) = cluster_tiles(matrix_tiles(np.ones((1, 1))), 1, 0.5)
    assert found.clusters[0].labels.tolist() == [0]
    assert np.isnan(found.clusters[0].member_mean_r).all()
    (found,) = cluster_tiles(matrix_tiles(np.ones((0, 0))), 0, [0.5, 0.1])
    assert [len(clusters.size) for clusters in found.clusters] == [0, 0]
    assert found.largest_component == 0


def test_thresholds_keep_their_order_and_may_repeat():
    r = noisy_groups(60, 8)
    thresholds = [0.7, 0.2, 0.7, 2.0, 1.0, 0.0]
    (found,) = cluster_tiles(matrix_tiles(r), 60, thresholds)
    assert [clusters.threshold for clusters in found.clusters] == thresholds
    assert same_labels(found, scipy_labels(r, thresholds, "average"))
    assert [len(found.clusters[k].size) for k in (3, 4, 5)] == [1, 1, 60]
    assert len(found.clusters[0].size) < len(found.clusters[1].size)


def test_tiles_and_their_order_change_nothing():
    r = noisy_groups(130, 2, np.float32)
    (once,) = cluster_tiles(matrix_tiles(r, 130), 130, SWEEP)
    for tiles in (uneven_tiles(r, [1]), uneven_tiles(r, [33, 5]), matrix_tiles(np.asfortranarray(r), 50)):
        (found,) = cluster_tiles(tiles, 130, SWEEP)
        for one, other in zip(once.clusters, found.clusters, strict=True):
            for name in ("labels", "size", "representative", "mean_r", "member_mean_r"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_groups_of_components_that_fit_into_memory(monkeypatch):
    r = np.kron(np.eye(5), np.ones((160, 160))) * np.tile(noisy_groups(160, 1), (5, 5))
    passes = []

    def tiles():
        passes.append(None)
        return matrix_tiles(r, 256)()

    (roomy,) = cluster_tiles(tiles, 800, [0.9])
    assert len(passes) == 3
    assert roomy.largest_component > 100
    monkeypatch.setattr("pipeline.correlate.component_matrices.MEBIBYTE", 200_000)  # two of five components at most
    passes.clear()
    (tight,) = cluster_tiles(tiles, 800, [0.9], memory_mb=1)
    assert len(passes) > 4
    np.testing.assert_array_equal(tight.clusters[0].labels, roomy.clusters[0].labels)
    assert same_labels(roomy, scipy_labels(r, [0.9], "average"))


def test_a_component_beyond_memory_is_refused_with_the_way_out():
    r = np.ones((600, 600))
    with pytest.raises(UsageError, match=r"memory_mb must be at least 2 .* 600 neurons, got 1; .* lower the largest"):
        cluster_tiles(matrix_tiles(r), 600, [0.3], memory_mb=1)
    (found,) = cluster_tiles(matrix_tiles(r), 600, [0.3], "single", memory_mb=1)
    assert found.largest_component == 600


def test_each_layer_by_itself_in_the_same_passes():
    r = noisy_groups(120, 5)
    layers = np.arange(120) % 3
    passes = []

    def tiles():
        passes.append(None)
        return matrix_tiles(r, 50)()

    for linkage in LINKAGES:
        passes.clear()
        across, within = cluster_tiles(tiles, 120, SWEEP, linkage, scopes=[None, layers])
        assert len(passes) == (2 if linkage == "single" else 3)
        assert same_labels(across, scipy_labels(r, SWEEP, linkage))
        for k, clusters in enumerate(within.clusters):
            for layer in range(3):
                members = layers == layer
                expected = scipy_labels(r[np.ix_(members, members)], SWEEP, linkage)[k]
                np.testing.assert_array_equal(by_first(clusters.labels[members]), expected)
            assert len(clusters.size) == sum(len(np.unique(clusters.labels[layers == layer])) for layer in range(3))
            check_figures(clusters, r, signed=False)


def test_rounding_beyond_one_is_one():
    r = np.array([[1, 1 + 1e-6, -1 - 1e-6], [1 + 1e-6, 1, -1], [-1 - 1e-6, -1, 1]])
    (found,) = cluster_tiles(matrix_tiles(r), 3, [0.0])
    assert found.clusters[0].mean_r.tolist() == [1]
    (found,) = cluster_tiles(matrix_tiles(r), 3, [0.0, 2.0], signed=True)
    assert [clusters.labels.tolist() for clusters in found.clusters] == [[0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": []}, "one number or a list"),
        ({"thresholds": [-0.1]}, "0 or more, such as 0.3; got -0.1"),
        ({"thresholds": [float("nan")]}, "got nan"),
        ({"thresholds": [float("inf")]}, "got inf"),
        ({"linkage": "ward"}, "average, complete, single; got 'ward'"),
        ({"memory_mb": 0}, "memory_mb must be at least 1"),
        ({"n_neurons": -1}, "n_neurons must be 0 or more"),
        ({"scopes": [np.zeros(4)]}, "5 whole numbers"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    arguments = {"n_neurons": 5, "thresholds": [0.3], **change}
    with pytest.raises(UsageError, match=message):
        cluster_tiles(matrix_tiles(np.eye(5)), **arguments)


def test_tiles_that_are_no_correlations_are_refused():
    near = np.full((4, 4), 0.9)
    hole = near.copy()
    hole[1, 2] = hole[2, 1] = np.nan
    with pytest.raises(UsageError, match="neuron 0 have 5 of 6 correlations"):
        cluster_tiles(matrix_tiles(hole), 4, [0.3])
    with pytest.raises(UsageError, match="of 6 correlations"):
        cluster_tiles(lambda: list(matrix_tiles(near, 2)())[:-1], 4, [0.3])
    with pytest.raises(UsageError, match=r"must be in \[−1, 1\].*= 9"):
        cluster_tiles(matrix_tiles(near * 10), 4, [0.3])
    with pytest.raises(UsageError, match=r"shape \(4, 4\), not \(4, 3\)"):
        cluster_tiles(lambda: iter([type(next(matrix_tiles(near)()))(range(4), range(4), near[:, :3])]), 4, [0.3])
