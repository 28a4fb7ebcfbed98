"""The first members of the largest clusters: few enough neurons to show how each of them correlates with all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.correlate.clusters import Clusters

#: Clusters at most, members of one cluster, and neurons in all.
N_CLUSTERS = 40
N_MEMBERS = 50
N_NEURONS = 200

Ints = NDArray[np.int64]


def leading_members(found: Clusters) -> Ints:
    """Neurons (n,) of the first of the 40 largest clusters that have 200 members together, cluster by cluster.

    Of each cluster 50 at most: the representative, then by mean r to the rest, of equal ones the first neuron. Of
    clusters of one size the one with the lower number comes first; a lone neuron is no cluster.
    """
    largest = np.argsort(-found.size, kind="stable")[:N_CLUSTERS]
    largest = largest[found.size[largest] >= 2]
    shown = largest[np.cumsum(np.minimum(found.size[largest], N_MEMBERS)) <= N_NEURONS]
    parts = [np.zeros(0, np.int64)]
    for number in shown.tolist():
        members = np.flatnonzero(found.labels == number)
        order = np.argsort(-found.member_mean_r[members], kind="stable")
        parts.append(members[order[:N_MEMBERS]])
    return np.concatenate(parts)
