"""Pairs of neurons within a distance, tile by tile, and the components that they connect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.correlate.correlation_distance import (
    checked_thresholds,
    kernel_values,
    refuse_beyond_one,
    similarity,
)
from pipeline.correlate.tile import Tile

#: Correlations that are looked at together; most stretches of so many have no edge.
STRETCH = 64

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Pairs of neurons, each once: ``i < j``."""

    i: Ints
    """(E,)."""
    j: Ints
    """(E,)."""
    r: NDArray[np.floating]
    """(E,): correlation in [−1, 1], of the tile's dtype."""


def edges(tiles: Iterable[Tile], threshold: float, *, signed: bool = False) -> Iterator[Edges]:
    """The pairs of each tile with 1 − |r| ≤ ``threshold`` (1 − r where ``signed``), ordered by i, then j within a tile.

    A least |r| of m is the threshold 1 − m. One :class:`Edges` a tile, empty ones included. Raises :class:`UsageError`
    for a threshold that is negative or not finite, and for |r| beyond 1.
    """
    limit = float(checked_thresholds(threshold)[0])
    for tile in tiles:
        values = kernel_values(tile)
        a, b = _near_pairs(values, tile.is_diagonal, limit, signed)
        r = values[a, b]
        refuse_beyond_one(float(np.abs(r).max(initial=0)), tile)
        yield Edges(a + tile.rows.start, b + tile.columns.start, np.clip(r, -1, 1))


class ThresholdComponents:
    """Connected components of the graphs {d ≤ t} over N neurons, for K thresholds in one pass over the tiles.

    These are the flat clusters of single linkage, and every merge of average or complete linkage at height ≤ t lies
    within one (reducibility; Müllner 2011). Memory is 8 K N bytes, whatever the number of edges.
    """

    def __init__(self, n_neurons: int, thresholds: NDArray[np.float64], *, signed: bool, within: Ints | None) -> None:
        """``thresholds`` ascend; pairs whose ``within`` (N,) differs are never joined."""
        self.thresholds, self.signed = thresholds, signed
        self.within = np.zeros(n_neurons, np.int64) if within is None else within
        self.parents = np.tile(np.arange(n_neurons), (len(thresholds), 1))
        self.n_edges = 0
        """Pairs within the largest threshold so far."""

    def update(self, tile: Tile) -> None:
        """Join the pairs of a tile; :class:`UsageError` for |r| beyond 1."""
        values = kernel_values(tile)
        n_edges, largest = _connect(
            values, tile.rows.start, tile.columns.start, tile.is_diagonal, self.signed, self.thresholds, self.within,
            self.parents,
        )  # fmt: skip
        refuse_beyond_one(largest, tile)
        self.n_edges += n_edges

    def roots(self) -> Ints:
        """(K, N): the smallest neuron of each neuron's component at each threshold."""
        for parent in self.parents:
            flatten(parent)
        return self.parents


@kernel
def find_root(parent: Ints, neuron: int) -> int:
    """The root of a neuron in a forest (N,), halving the path to it."""
    while parent[neuron] != neuron:
        parent[neuron] = parent[parent[neuron]]
        neuron = parent[neuron]
    return neuron


@kernel
def join(parent: Ints, i: int, j: int) -> bool:
    """Join the trees of two neurons below the smaller root; False where they are one already."""
    if parent[i] == parent[j]:
        return False
    a, b = find_root(parent, i), find_root(parent, j)
    if a == b:
        return False
    parent[max(a, b)] = min(a, b)
    return True


@kernel
def flatten(parent: Ints) -> None:
    """Replace every parent by its root."""
    for neuron in range(len(parent)):  # parents are never larger, so their roots are known by now
        parent[neuron] = parent[parent[neuron]]


@kernel
def _count_near(row: NDArray[Any], start: int, stop: int, limit: float, signed: bool) -> int:
    near = 0
    for b in range(start, stop):
        r = np.float64(row[b])
        near += int(1.0 - (r if signed else abs(r)) <= limit)
    return near


@kernel
def _near_pairs(values: NDArray[Any], is_diagonal: bool, limit: float, signed: bool) -> tuple[Ints, Ints]:
    n_rows, n_columns = values.shape
    n_pairs = 0
    for a in range(n_rows):
        n_pairs += _count_near(values[a], a + 1 if is_diagonal else 0, n_columns, limit, signed)
    rows, columns = np.empty(n_pairs, np.int64), np.empty(n_pairs, np.int64)
    k = 0
    for a in range(n_rows):
        for b in range(a + 1 if is_diagonal else 0, n_columns):
            if 1.0 - similarity(values[a, b], signed) <= limit:
                rows[k], columns[k] = a, b
                k += 1
    return rows, columns


@kernel
def _connect(
    values: NDArray[Any],
    row: int,
    column: int,
    is_diagonal: bool,
    signed: bool,
    thresholds: NDArray[np.float64],
    within: Ints,
    parents: Ints,
) -> tuple[int, float]:
    """Edges within the largest threshold, and the largest |r| among them."""
    n_edges, largest, limit, n_columns = 0, 0.0, thresholds[-1], values.shape[1]
    for a in range(values.shape[0]):
        i = row + a
        for start in range(a + 1 if is_diagonal else 0, n_columns, STRETCH):
            stop = min(start + STRETCH, n_columns)
            if _count_near(values[a], start, stop, limit, signed) == 0:
                continue
            for b in range(start, stop):
                d = 1.0 - similarity(values[a, b], signed)
                if d <= limit and within[i] == within[column + b]:
                    n_edges += 1
                    largest = max(largest, abs(values[a, b]))
                    _join_levels(i, column + b, d, thresholds, parents)
    return n_edges, largest


@kernel
def _join_levels(i: int, j: int, d: float, thresholds: NDArray[np.float64], parents: Ints) -> None:
    """Join at every threshold of d and more; what is joined at one is joined at all above it."""
    for level in range(np.searchsorted(thresholds, d), len(thresholds)):
        if not join(parents[level], i, j):
            break
