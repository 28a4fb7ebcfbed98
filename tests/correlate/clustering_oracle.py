"""Correlation clustering as one would write it with scipy and the whole matrix in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from pipeline.correlate import Tile

LINKAGES = ("average", "complete", "single")
SWEEP = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def distances(r: NDArray, signed: bool) -> NDArray[np.float64]:
    """1 − |r| or 1 − r, NaN as far as can be."""
    exact = np.clip(np.asarray(r, np.float64), -1, 1)
    return np.where(np.isnan(exact), 10.0, 1 - (exact if signed else np.abs(exact)))


def by_first(labels: NDArray) -> NDArray[np.int64]:
    """Labels numbered in the order of their first members."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def scipy_labels(r: NDArray, thresholds: list[float], method: str, signed: bool = False) -> list[NDArray[np.int64]]:
    """Flat clusters of all neurons at once."""
    if len(r) < 2:
        return [np.zeros(len(r), np.int64) for _ in thresholds]
    tree = linkage(squareform(distances(r, signed), checks=False), method)
    return [by_first(fcluster(tree, t, "distance")) for t in thresholds]


def labels_by_component(r: NDArray, thresholds: list[float], method: str, signed: bool) -> list[NDArray[np.int64]]:
    """Flat clusters of scipy's linkage of each component of the pairs within the largest threshold, by itself."""
    near = distances(r, signed) <= max(thresholds)
    components = connected_components(near)[1]
    labels = np.zeros((len(thresholds), len(r)), np.int64)
    for component in np.unique(components):
        members = np.flatnonzero(components == component)
        parts = scipy_labels(r[np.ix_(members, members)], thresholds, method, signed)
        labels[:, members] = np.array(parts) + labels.max() + 1
    return [by_first(row) for row in labels]


def uneven_tiles(r: NDArray, sizes: list[int]) -> Callable[[], Iterator[Tile]]:
    """Tiles of blocks of these sizes, in turn, in an order that is not that of the rows."""
    cuts = [0]
    while cuts[-1] < len(r):
        cuts.append(min(cuts[-1] + sizes[(len(cuts) - 1) % len(sizes)], len(r)))
    blocks = [range(a, b) for a, b in itertools.pairwise(cuts)]
    pairs = [(a, b) for k, b in enumerate(blocks) for a in blocks[: k + 1]]
    return lambda: (Tile(a, b, r[a.start : a.stop, b.start : b.stop]) for a, b in reversed(pairs))


def noisy_groups(n_neurons: int, seed: int, dtype: type = np.float64) -> NDArray:
    """Correlations of neurons around a few factors, of either sign; clusters of every size and distance."""
    random = np.random.default_rng(seed)
    factors = random.standard_normal((60, max(1, n_neurons // 5)))
    values = factors[:, random.integers(0, factors.shape[1], n_neurons)] * random.choice([-1, 1], n_neurons)
    values = values + random.uniform(0.1, 2, n_neurons) * random.standard_normal((60, n_neurons))
    r = np.corrcoef(values.T).reshape(n_neurons, n_neurons).astype(dtype)
    return (r + r.T) / 2
