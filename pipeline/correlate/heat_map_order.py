"""In which order a heat map shows neurons, and the mean correlations of clusters for one that shows these instead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from schemas.errors import UsageError

#: Up to so many neurons, leaves are turned so that neighbours are most alike (which takes N² steps per merge).
MAX_TURNED = 500

Floats = NDArray[np.float64]
Clusters = NDArray[np.int64]


def heat_map_order(
    correlations: NDArray[np.floating], cluster: Clusters | None = None, *, signed: bool = False
) -> NDArray[np.int64]:
    """The neurons of ``correlations`` (N, N), symmetric, in the order of a heat map, int64 (N,).

    Without ``cluster``, the leaves of average linkage by 1 − |r| (1 − r if ``signed``), for N that a tree of all pairs
    is made of in memory; up to 500 neurons turned so that neighbours are most alike (Bar-Joseph et al. 2001). With
    ``cluster`` (N,) from 0, −1 for none: cluster by cluster in their order, inside by descending mean |r| with the
    cluster's others (ties by neuron), those without one last; reads one cluster's rows at a time, also of a memory map.
    Constant neurons, whose own r is NaN, are last among those without a cluster, ascending.

    Raises :class:`UsageError` for a matrix that is not square or another number of clusters.
    """
    _check(correlations, cluster)
    is_constant = np.isnan(np.diagonal(correlations))
    if cluster is None:
        varying = np.flatnonzero(~is_constant)
        return np.concatenate(
            [varying[_leaves(correlations[np.ix_(varying, varying)], signed)], np.flatnonzero(is_constant)]
        )
    parts = []
    for number in range(int(cluster.max(initial=-1)) + 1):
        members = np.flatnonzero(cluster == number)
        parts.append(members[np.argsort(-_mean_with_others(correlations, members, signed), kind="stable")])
    rest = np.flatnonzero(cluster < 0)
    return np.concatenate([*parts, rest[np.argsort(is_constant[rest], kind="stable")]]).astype(np.int64)


def mean_correlations(correlations: NDArray[np.floating], cluster: Clusters, *, signed: bool = False) -> Floats:
    """Mean |r| (r if ``signed``) between the members of each two of C clusters, float64 (C, C).

    On the diagonal over pairs of different members: NaN for a cluster of one. Constant neurons are left out; NaN where
    that leaves no pair. Raises as :func:`heat_map_order`.
    """
    _check(correlations, cluster)
    n_clusters = int(cluster.max(initial=-1)) + 1
    sums, n_pairs = np.zeros((n_clusters, n_clusters)), np.zeros((n_clusters, n_clusters))
    inside = np.flatnonzero(cluster >= 0)
    for number in range(n_clusters):
        members = np.flatnonzero(cluster == number)
        block = _strength(correlations[members], signed)
        block[np.arange(len(members)), members] = np.nan  # a neuron with itself is no pair
        is_pair = ~np.isnan(block[:, inside])
        of_column = np.where(is_pair, block[:, inside], 0.0).sum(axis=0)
        sums[number] = np.bincount(cluster[inside], of_column, n_clusters)
        n_pairs[number] = np.bincount(cluster[inside], is_pair.sum(axis=0), n_clusters)
    return np.where(n_pairs > 0, sums / np.maximum(n_pairs, 1), np.nan)


def _check(correlations: NDArray[np.floating], cluster: Clusters | None) -> None:
    if correlations.ndim != 2 or correlations.shape[0] != correlations.shape[1]:
        raise UsageError(f"correlations must be (N, N), got {correlations.shape}")
    if cluster is not None and cluster.shape != (len(correlations),):
        raise UsageError(f"cluster must be one number for each of {len(correlations)} neurons, got {cluster.shape}")


def _strength(values: NDArray[np.floating], signed: bool) -> Floats:
    found: Floats = np.array(values, np.float64)
    return found if signed else np.abs(found)


def _leaves(correlations: NDArray[np.floating], signed: bool) -> NDArray[np.int64]:
    n = len(correlations)
    if n < 2:
        return np.arange(n)
    distance = np.maximum(1.0 - _strength(correlations, signed), 0.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=n <= MAX_TURNED)
    return np.asarray(leaves_list(tree), np.int64)


def _mean_with_others(correlations: NDArray[np.floating], members: NDArray[np.int64], signed: bool) -> Floats:
    """Mean strength of each member with the others (n,); 0 where there are none."""
    block = _strength(correlations[members][:, members], signed)
    np.fill_diagonal(block, 0.0)
    found: Floats = np.nansum(block, axis=1) / max(len(members) - 1, 1)
    return found
