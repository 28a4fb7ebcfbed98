"""The neurons whose correlations are shown: the first members of the largest clusters, as many as there is room for."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.correlate.clusters import Clusters
from pipeline.correlate.leading_members import N_CLUSTERS, N_MEMBERS, N_NEURONS, leading_members


def clusters(sizes: list[int]) -> Clusters:
    """Of these sizes, neurons of all of them mixed; the mean r falls with the neuron, except for equal ones."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    means = 1 - (np.arange(len(labels)) // 2) / max(len(labels), 1)
    first = np.array([np.flatnonzero(labels == number)[0] for number in range(len(sizes))])
    return Clusters(0.3, labels, np.array(sizes), first, np.full(len(sizes), 0.8), means)


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        ([2], {0: 2}),
        ([1, 1, 1], {}),
        ([1, 2, 1, 3], {3: 3, 1: 2}),
        ([70, 70, 70, 30], {0: 50, 1: 50, 2: 50, 3: 30}),
        ([30, 60, 30, 60, 60], {1: 50, 3: 50, 4: 50, 0: 30}),
        ([2] * 60, dict.fromkeys(range(N_CLUSTERS), 2)),
        ([5000] * 9, dict.fromkeys(range(N_NEURONS // N_MEMBERS), N_MEMBERS)),
        ([49] * 5, dict.fromkeys(range(4), 49)),
    ],
)
def test_the_first_members_of_the_largest_clusters_are_taken(sizes: list[int], taken: dict[int, int]) -> None:
    found = clusters(sizes)
    neurons = leading_members(found)
    labels = found.labels[neurons]
    assert list(dict.fromkeys(labels.tolist())) == list(taken)
    assert len(neurons) == sum(taken.values()) <= N_NEURONS
    for number, n in taken.items():
        members = np.flatnonzero(found.labels == number)
        assert neurons[labels == number].tolist() == members[:n].tolist()
        assert found.representative[number] == members[0]


def test_members_come_by_their_mean_r() -> None:
    found = Clusters(
        0.3, np.zeros(4, int), np.array([4]), np.array([2]), np.array([0.7]), np.array([0.5, 0.7, 0.9, 0.7])
    )
    assert leading_members(found).tolist() == [2, 1, 3, 0]
