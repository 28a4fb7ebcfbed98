"""Average and complete linkage of one component: nearest-neighbour chains over distances that are updated in place.

Müllner 2011, "Modern hierarchical, agglomerative clustering algorithms", fig. 3, step by step as in
``scipy.cluster.hierarchy.linkage``: the chain begins at the smallest cluster that is left, equal distances go to the
one before in the chain and then to the smallest, and a merged cluster takes the place of the larger of its two. So
heights are the same to the last bit, ties included. Two things differ, neither of them in the result: the work ends
when no merge at a height ≤ ``cut`` is possible any more, and clusters that are gone are squeezed out now and then.

Distances are float64, condensed: m(m − 1)/2, as of ``scipy``'s ``pdist``. A square, whose rows are one run each, takes
twice the memory and was no faster: what it saves in reading goes into writing columns, and into new pages.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel

#: Fewer clusters than this are not squeezed.
SMALL = 64
#: Distances of a row that are looked at together; most stretches of so many have none as near.
STRETCH = 64

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel
def link(distances: Floats, m: int, is_complete: bool, cut: float, pairs: Ints, heights: Floats) -> tuple[int, bool]:
    """Merges of m neurons at heights ≤ ``cut``: their number, and whether equal distances had to be decided.

    ``pairs`` (≥ m − 1, 2) takes one neuron of each of the two clusters, ``heights`` (≥ m − 1) the height, in the order
    of the chain. ``distances`` are overwritten. Decided: a cluster had two nearest ones at one distance ≤ ``cut`` that
    are farther from each other; without such ties the merges are those of any order.
    """
    neurons, size, gone = np.arange(m), np.ones(m, np.int64), np.zeros(m)
    beyond = np.zeros(m, np.bool_)  # nearest is above the cut, and can only be farther after any merge
    chain, length, first, n_merges = np.empty(m + 1, np.int64), 0, 0, 0
    n_left, n_within, is_tied = m, m, False
    while n_within > 0 and n_left > 1:
        if length == 0:
            while gone[first] > 0:
                first += 1
            chain[0], length = first, 1
        while True:
            x = chain[length - 1]
            before = chain[length - 2] if length > 1 else -1
            y, nearest, has_tie = _nearest(distances, m, x, before, gone)
            is_tied |= has_tie and nearest <= cut
            if nearest > cut and not beyond[x]:
                beyond[x] = True
                n_within -= 1
            if y == before:
                break
            chain[length] = y
            length += 1
        length -= 2
        x, y = min(x, y), max(x, y)
        if nearest <= cut:
            pairs[n_merges, 0], pairs[n_merges, 1], heights[n_merges] = neurons[x], neurons[y], nearest
            n_merges, n_within = n_merges + 1, n_within - 1
        gone[x] = np.inf
        _merge(distances, m, is_complete, x, y, size, gone)
        size[y] += size[x]
        n_left -= 1
        if 4 * n_left <= 3 * m and m > SMALL:
            left = np.flatnonzero(gone == 0)
            _squeeze(distances, m, left)
            chain[:length] = np.searchsorted(left, chain[:length])
            neurons, size, beyond, gone = neurons[left], size[left], beyond[left], gone[left]
            m, first = n_left, 0
    return n_merges, is_tied


@kernel
def condensed_place(m: int, i: int, j: int) -> int:
    """Where the distance of i and j is among m(m − 1)/2."""
    if i > j:
        i, j = j, i
    return i * m - i * (i + 1) // 2 + j - i - 1


@kernel
def _nearest(distances: Floats, m: int, x: int, before: int, gone: Floats) -> tuple[int, float, bool]:
    """The nearest cluster of x, its distance, and whether another one is as near but farther from it."""
    y, nearest, has_tie = before, np.inf, False
    if before >= 0:
        nearest = distances[condensed_place(m, x, before)]
    place = x - 1
    for i in range(x):  # a column: one distance of every row
        if gone[i] == 0 and distances[place] <= nearest and i != y:
            d = distances[place]
            has_tie = d == nearest and (has_tie or distances[condensed_place(m, y, i)] > d)
            y, nearest = (i, d) if d < nearest else (y, nearest)
        place += m - i - 2
    first, shift = x + 1, condensed_place(m, x, x + 1) - x - 1
    while first < m:  # a row
        stop = min(first + STRETCH, m)
        if _count_as_near(distances[first + shift : stop + shift], gone[first:stop], nearest) > 0:
            for i in range(first, stop):
                d = distances[i + shift] + gone[i]
                if d <= nearest and d < np.inf and i != y:
                    has_tie = d == nearest and (has_tie or distances[condensed_place(m, y, i)] > d)
                    y, nearest = (i, d) if d < nearest else (y, nearest)
        first = stop
    return y, nearest, has_tie


@kernel
def _count_as_near(run: Floats, gone: Floats, nearest: float) -> int:
    near = 0
    for i in range(len(run)):
        near += int(run[i] + gone[i] <= nearest)
    return near


@kernel
def _merge(distances: Floats, m: int, is_complete: bool, x: int, y: int, size: Ints, gone: Floats) -> None:
    """The distances of x ∪ y from all others, in the place of y; x < y."""
    place_x, place_y, n_x, n_y = x - 1, y - 1, size[x], size[y]
    for i in range(x):
        if gone[i] == 0:
            distances[place_y] = _joined(distances[place_x], distances[place_y], is_complete, n_x, n_y)
        place_x, place_y = place_x + m - i - 2, place_y + m - i - 2
    shift = condensed_place(m, x, x + 1) - x - 1
    for i in range(x, y):
        if gone[i] == 0:
            distances[place_y] = _joined(distances[i + shift], distances[place_y], is_complete, n_x, n_y)
        place_y += m - i - 2
    if y + 1 < m:
        of_x = distances[y + 1 + shift : m + shift]
        start = condensed_place(m, y, y + 1)
        of_y = distances[start : start + m - y - 1]
        for i in range(len(of_y)):
            of_y[i] = _joined(of_x[i], of_y[i], is_complete, n_x, n_y)


@kernel
def _joined(d_x: float, d_y: float, is_complete: bool, n_x: int, n_y: int) -> float:
    """Lance–Williams: the distance of x ∪ y from a cluster at d_x and d_y."""
    return max(d_x, d_y) if is_complete else (n_x * d_x + n_y * d_y) / (n_x + n_y)


@kernel
def _squeeze(distances: Floats, m: int, left: Ints) -> None:
    """Keep the clusters ``left``, ascending, as a smaller matrix in the same memory, from its beginning."""
    k = 0  # never beyond the place that is read
    for a in range(len(left)):
        shift = condensed_place(m, left[a], left[a] + 1) - left[a] - 1
        for b in range(a + 1, len(left)):
            distances[k] = distances[left[b] + shift]
            k += 1
