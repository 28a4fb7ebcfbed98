"""Correlation clustering of any number of neurons: flat clusters of exact linkage, from tiles of correlations.

Dalvi et al. 2020, "Analyzing redundancy in pretrained transformer models": the distance of two neurons is 1 − |r|, and
clusters are those of a hierarchical clustering at a threshold on it. Merges at heights ≤ t lie inside the connected
components of the pairs with d ≤ t, so the linkage of each component is the linkage of all neurons, as far as t.

Passes over the tiles: one for components, one for each group of components whose distances fit into memory (none for
single linkage), one for the correlations inside clusters. One largest threshold serves a whole sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.correlate.component_matrices import ComponentMatrices, components_of, memory_groups, same_group
from pipeline.correlate.correlation_distance import checked_thresholds, kernel_values, similarity
from pipeline.correlate.correlation_edges import ThresholdComponents, flatten, join
from pipeline.correlate.linkage_kernel import link
from pipeline.correlate.tile import Tile
from schemas.errors import UsageError

Linkage = Literal["average", "complete", "single"]
TileSource = Callable[[], Iterator[Tile]]

#: Memory for distances, MiB, unless told otherwise.
MEMORY_MB = 4096
#: Correlations are summed as whole multiples of this, so that sums do not depend on the tiles' order.
UNIT = 2.0**-40

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """The G flat clusters of N neurons at one threshold. ``r`` is |r|, or r where the clustering is signed."""

    threshold: float
    labels: Ints
    """(N,): cluster of each neuron, 0 to G − 1 in the order of the clusters' first neurons."""
    size: Ints
    """(G,)."""
    representative: Ints
    """(G,): the member with the largest mean r to the rest, of equal ones the first; a lone neuron itself."""
    mean_r: Floats
    """(G,): mean r of all pairs; NaN for a lone neuron."""
    member_mean_r: Floats
    """(N,): mean r of each neuron with the rest of its cluster; NaN for a lone neuron."""


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """Clusters at every threshold of a sweep."""

    linkage: Linkage
    signed: bool
    clusters: tuple[Clusters, ...]
    """In the order of the thresholds that were given."""
    n_edges: int
    """Pairs with a distance of at most the largest threshold."""
    largest_component: int
    """Neurons of the largest component they connect; 0 without neurons."""
    is_tied: NDArray[np.bool_]
    """(N,): in a component where the next merge had to be chosen among equal distances (never for single linkage).
    Its clusters are those of scipy's linkage of the component alone; without ties no choice exists."""


def cluster_tiles(
    tiles: TileSource,
    n_neurons: int,
    thresholds: float | Sequence[float] | NDArray[np.floating],
    linkage: Linkage = "average",
    *,
    signed: bool = False,
    scopes: Sequence[NDArray[np.integer] | None] = (None,),
    memory_mb: int = MEMORY_MB,
) -> list[Clustering]:
    """Cluster ``n_neurons`` N by their correlations, once for each of ``scopes``, all in the same passes.

    ``tiles()`` iterates over the symmetric matrix of correlations anew; NaN leaves a constant neuron alone, |r| just
    beyond 1 is 1. ``thresholds``: distances ≥ 0, in any order, repeated ones too. A scope None clusters all neurons; an
    array (N,) of group numbers, such as layers, clusters each group by itself.

    Flat clusters equal ``fcluster(linkage(d, method), t, "distance")`` of scipy on the same distances in float64, save
    where ties let several answers be right (:attr:`Clustering.is_tied`). Memory is ``memory_mb`` MiB of distances, a
    few arrays of N for each threshold, and what the source needs.

    Raises :class:`UsageError` for a bad argument, for tiles that lack pairs, and for a component whose distances exceed
    ``memory_mb``.
    """
    given = checked_thresholds(thresholds)
    _check(n_neurons, linkage, memory_mb)
    levels, order = np.unique(given, return_inverse=True)
    graphs = [ThresholdComponents(n_neurons, levels, signed=signed, within=_ids(ids, n_neurons)) for ids in scopes]
    for tile in tiles():
        for graph in graphs:
            graph.update(tile)
    roots = [graph.roots() for graph in graphs]
    largest = [int(np.bincount(forest[-1]).max(initial=0)) for forest in roots]
    ties = [np.zeros(n_neurons, bool) for _ in graphs]
    if linkage != "single":
        _link_components(tiles, levels, linkage, roots, ties, signed=signed, memory_mb=memory_mb)
    labels = [np.stack([np.unique(root, return_inverse=True)[1] for root in forest]) for forest in roots]
    sums = _similarity_sums(tiles, labels, signed=signed)
    clusterings = []
    for graph, label, total, n, tied in zip(graphs, labels, sums, largest, ties, strict=True):
        found = [_clusters(float(level), label[k], total[k]) for k, level in enumerate(levels)]
        clusterings.append(Clustering(linkage, signed, tuple(found[k] for k in order), graph.n_edges, n, tied))
    return clusterings


def _check(n_neurons: int, linkage: str, memory_mb: int) -> None:
    if linkage not in get_args(Linkage):
        raise UsageError(f"linkage must be one of {', '.join(get_args(Linkage))}; got {linkage!r}")
    if n_neurons < 0:
        raise UsageError(f"n_neurons must be 0 or more, got {n_neurons}")
    if memory_mb < 1:
        raise UsageError(f"memory_mb must be at least 1, got {memory_mb}")


def _ids(ids: NDArray[np.integer] | None, n_neurons: int) -> Ints | None:
    if ids is None:
        return None
    found = np.asarray(ids)
    if found.shape != (n_neurons,) or found.dtype.kind not in "iu":
        raise UsageError(
            f"a scope must be None or {n_neurons} whole numbers, one for each neuron; got {found.dtype} of shape "
            f"{found.shape}"
        )
    return found.astype(np.int64)


def _link_components(
    tiles: TileSource,
    levels: Floats,
    linkage: Linkage,
    roots: list[Ints],
    ties: list[NDArray[np.bool_]],
    *,
    signed: bool,
    memory_mb: int,
) -> None:
    """Replace the roots of components of three and more by those of their linkage, at every level."""
    components = [part for scope, forest in enumerate(roots) for part in components_of(forest[-1], scope)]
    for group in memory_groups(components, memory_mb):
        matrices = ComponentMatrices(group, roots[0].shape[1], signed=signed)
        for tile in tiles():
            matrices.update(tile)
        for part, distances in matrices.finished():
            m = len(part.neurons)
            pairs, heights = np.empty((m - 1, 2), np.int64), np.empty(m - 1)
            n, is_tied = link(distances, m, linkage == "complete", levels[-1], pairs, heights)
            ties[part.scope][part.neurons] = is_tied
            for forest, level in zip(roots[part.scope], levels, strict=True):
                forest[part.neurons] = part.neurons[_flat(pairs[:n][heights[:n] <= level], m)]
        del matrices, distances  # before the next group's are made


@kernel
def _flat(pairs: Ints, m: int) -> Ints:
    """The smallest of each one's cluster after all merges."""
    parent = np.arange(m)
    for k in range(len(pairs)):
        join(parent, pairs[k, 0], pairs[k, 1])
    flatten(parent)
    return parent


def _similarity_sums(tiles: TileSource, labels: list[Ints], *, signed: bool) -> list[Ints]:
    """Of each clustering (K, N): Σ r over the rest of each neuron's cluster, in units of ``UNIT``."""
    sums = [np.zeros(label.shape, np.int64) for label in labels]
    if all(label[-1].max(initial=-1) + 1 == label.shape[1] for label in labels):  # every neuron is alone
        return sums
    for tile in tiles():
        values = None
        for label, total in zip(labels, sums, strict=True):
            matches = same_group(label[-1], tile)
            if matches is not None:
                values = kernel_values(tile) if values is None else values
                _add(values, tile.rows.start, tile.columns.start, tile.is_diagonal, signed, matches, label, total)
    return sums


@kernel
def _add(
    values: NDArray[Any],
    row: int,
    column: int,
    is_diagonal: bool,
    signed: bool,
    matches: tuple[Ints, Ints, Ints],
    labels: Ints,
    sums: Ints,
) -> None:
    """Clusters at one threshold lie within those at the next, so what is apart at one is apart below it."""
    order, first, last = matches
    for a in range(len(first)):
        i = row + a
        for k in range(first[a], last[a]):
            j = column + order[k]
            if is_diagonal and j <= i:
                continue
            r = np.int64(np.rint(similarity(values[a, order[k]], signed) / UNIT))
            for level in range(len(labels) - 1, -1, -1):
                if labels[level, i] != labels[level, j]:
                    break
                sums[level, i] += r
                sums[level, j] += r


def _clusters(threshold: float, labels: Ints, sums: Ints) -> Clusters:
    size = np.bincount(labels).astype(np.int64)
    rest = size[labels] - 1
    member_mean = np.where(rest > 0, sums * UNIT / np.maximum(rest, 1), np.nan)
    # by cluster, then sum descending, then neuron: the first of each cluster represents it
    order = np.lexsort((np.arange(len(labels)), -sums, labels))
    representative = order[np.cumsum(size) - size]
    totals = np.bincount(labels, sums.astype(np.float64))  # as whole numbers they could overflow
    pairs = size * (size - 1)  # each pair is in two sums
    mean = np.where(pairs > 0, totals * UNIT / np.maximum(pairs, 1), np.nan)
    return Clusters(threshold, labels, size, representative, mean, member_mean)
