"""One ascending walk over the values where a concept's positives lie: every threshold of x and of −x, once.

Thresholds between two positives only lose precision, so average precision, AUROC and the best IoU need nothing but the
distinct values of positives and the cumulative counts of all rows. A walk costs O(positives + distinct values of
positives); an occupancy bit map replaces sorting.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from pipeline.compiled import kernel

#: Places of a walk's results; `_POS` reads x, `_NEG` reads −x.
AP_POS, AP_NEG, RANK_SUM, INFORMATION = 0, 1, 2, 3
BEST_TP_POS, BEST_UNION_POS, BEST_BIN_POS, BEST_TP_NEG, BEST_UNION_NEG, BEST_BIN_NEG = 4, 5, 6, 7, 8, 9
CUT_TP_POS, CUT_N_POS, CUT_TP_NEG, CUT_N_NEG = 10, 11, 12, 13
BEST_CUT_TP_POS, BEST_CUT_N_POS, BEST_CUT_TP_NEG, BEST_CUT_N_NEG = 14, 15, 16, 17
N_RESULTS = 18


@kernel
def _walk(
    counts: NDArray[Any],
    occupied: NDArray[np.uint64],
    below: NDArray[np.float64],
    n_pos: int,
    cut_pos: int,
    cut_neg: int,
    edges: NDArray[np.int64],
    is_heldout: bool,
    best_cut_pos: int,
    best_cut_neg: int,
    results: NDArray[np.float64],
) -> None:
    """Walk one concept's occupied bins and leave ``counts`` and ``occupied`` empty.

    ``counts`` (B,) positives per bin; ``occupied`` one bit per bin; ``below`` (B + 1,) rows in lower bins. The cuts
    count positives and rows in bins ≥ ``*_pos`` and ≤ ``*_neg``; ``edges`` (E + 1,) from 0 to B part the bins into the
    intervals of the mutual information. A held-out walk counts at the best thresholds found before, any other walk
    finds them; of equally good ones that which predicts fewer rows.
    """
    # one loop over two dozen counters, too long to read at once and still whole: they are locals, kept in registers
    n_rows, positives = below[len(below) - 1], np.float64(n_pos)
    n_before = ap_pos = ap_neg = rank_sum = information = before_edge = 0.0
    interval = 0
    tp_pos = tp_neg = 0.0
    union_pos = union_neg = 1.0
    bin_pos = bin_neg = np.int64(0)
    before_cut_pos = through_cut_neg = before_best_pos = through_best_neg = 0.0
    for index in range(len(occupied)):
        word = occupied[index]
        if word == np.uint64(0):
            continue
        occupied[index] = np.uint64(0)
        while word != np.uint64(0):
            here = index * 64 + np.int64(trailing_zeros(word))
            word &= word - np.uint64(1)
            while here >= edges[interval + 1]:
                information += _information(below, edges[interval], edges[interval + 1], n_before - before_edge, n_pos)
                before_edge = n_before
                interval += 1
            weight = np.float64(counts[here])
            counts[here] = 0
            n_below, n_through = below[here], below[here + 1]
            at_or_above = positives - n_before
            n_before += weight
            n_above = n_rows - n_below
            ap_pos += weight * (at_or_above / n_above)
            ap_neg += weight * (n_before / n_through)
            rank_sum += weight * (n_below + n_through)
            before_cut_pos = n_before if here < cut_pos else before_cut_pos
            through_cut_neg = n_before if here <= cut_neg else through_cut_neg
            if is_heldout:
                before_best_pos = n_before if here < best_cut_pos else before_best_pos
                through_best_neg = n_before if here <= best_cut_neg else through_best_neg
                continue
            # TP / union as a comparison of products: exact below 2^53, and no division.
            union = n_above + positives - at_or_above
            if at_or_above * union_pos >= tp_pos * union:
                tp_pos, union_pos, bin_pos = at_or_above, union, here
            union = n_through + positives - n_before
            if n_before * union_neg > tp_neg * union:
                tp_neg, union_neg, bin_neg = n_before, union, here
    for last in range(interval, len(edges) - 1):
        information += _information(below, edges[last], edges[last + 1], n_before - before_edge, n_pos)
        before_edge = n_before
    results[AP_POS], results[AP_NEG] = ap_pos, ap_neg
    results[RANK_SUM], results[INFORMATION] = (rank_sum + positives) / 2, information
    results[BEST_TP_POS], results[BEST_UNION_POS], results[BEST_BIN_POS] = tp_pos, union_pos, bin_pos
    results[BEST_TP_NEG], results[BEST_UNION_NEG], results[BEST_BIN_NEG] = tp_neg, union_neg, bin_neg
    results[CUT_TP_POS], results[CUT_N_POS] = positives - before_cut_pos, n_rows - below[cut_pos]
    results[CUT_TP_NEG], results[CUT_N_NEG] = through_cut_neg, below[cut_neg + 1]
    results[BEST_CUT_TP_POS], results[BEST_CUT_N_POS] = positives - before_best_pos, n_rows - below[best_cut_pos]
    results[BEST_CUT_TP_NEG], results[BEST_CUT_N_NEG] = through_best_neg, below[best_cut_neg + 1]


@kernel
def _information(below: NDArray[np.float64], first: int, stop: int, positives: float, n_pos: int) -> float:
    """What bins ``first`` … ``stop`` − 1 with so many ``positives`` add to the mutual information, in bits."""
    n_rows = below[len(below) - 1]
    inside = below[stop] - below[first]
    negatives, bits = inside - positives, 0.0
    if positives > 0:
        bits += positives * np.log2(positives / inside * (n_rows / n_pos))
    if negatives > 0:
        bits += negatives * np.log2(negatives / inside * (n_rows / (n_rows - n_pos)))
    return float(bits / n_rows)


@kernel
def _cumulate(total: NDArray[np.int64], below: NDArray[np.float64]) -> float:
    """Fill ``below`` (B + 1,); returns Σ t³ − t over tied groups of t rows."""
    n_below = 0
    ties = 0.0
    for here in range(len(total)):
        below[here] = n_below
        count = total[here]
        if count:
            n_below += count
            t = np.float64(count)
            ties += t * t * t - t
    below[len(total)] = n_below
    return ties


@kernel
def sweep_sparse(
    first: int,
    last: int,
    total: NDArray[np.int64],
    sparse: NDArray[np.uint16],
    indptr: NDArray[np.int64],
    segments: NDArray[np.int64],
    n_pos: NDArray[np.int64],
    cuts: NDArray[np.int64],
    edges: NDArray[np.int64],
    is_heldout: bool,
    best_cuts: NDArray[np.int64],
    ties: NDArray[np.float64],
    results: NDArray[np.float64],
) -> None:
    """Sweep the concepts whose positives are segments of ``sparse`` (N, …).

    ``cuts`` (N, 2), ``edges`` (N, E + 1) and, for held-out sweeps, ``best_cuts`` (N, C, 2) are bins as in the walk;
    ``ties`` (N,) and ``results`` (N, C, N_RESULTS) are written.
    """
    n_bins = total.shape[1]
    counts = np.zeros(n_bins, np.int32)
    occupied = np.zeros((n_bins + 63) // 64, np.uint64)
    below = np.empty(n_bins + 1)
    for neuron in range(first, last):
        ties[neuron] = _cumulate(total[neuron], below)
        column = sparse[neuron]
        for concept in range(len(indptr) - 1):
            if indptr[concept] == indptr[concept + 1]:
                continue
            for segment in range(indptr[concept], indptr[concept + 1]):
                for place in range(segments[segment, 0], segments[segment, 1]):
                    here = np.int64(column[place])
                    counts[here] += 1
                    occupied[here >> 6] |= np.uint64(1) << np.uint64(here & 63)
            _walk(
                counts, occupied, below, n_pos[concept], cuts[neuron, 0], cuts[neuron, 1], edges[neuron], is_heldout,
                best_cuts[neuron, concept, 0], best_cuts[neuron, concept, 1], results[neuron, concept],
            )  # fmt: skip


@kernel
def sweep_dense(
    first: int,
    last: int,
    total: NDArray[np.int64],
    concept: int,
    positives: NDArray[np.int64],
    n_pos: int,
    cuts: NDArray[np.int64],
    edges: NDArray[np.int64],
    is_heldout: bool,
    best_cuts: NDArray[np.int64],
    ties: NDArray[np.float64],
    results: NDArray[np.float64],
) -> None:
    """Sweep one concept given by its counts ``positives`` (N, B); the rest as in :func:`sweep_sparse`."""
    n_bins = total.shape[1]
    counts = np.zeros(n_bins, np.int64)
    occupied = np.zeros((n_bins + 63) // 64, np.uint64)
    below = np.empty(n_bins + 1)
    for neuron in range(first, last):
        ties[neuron] = _cumulate(total[neuron], below)
        for here in range(n_bins):
            if positives[neuron, here]:
                counts[here] = positives[neuron, here]
                occupied[here >> 6] |= np.uint64(1) << np.uint64(here & 63)
        _walk(
            counts, occupied, below, n_pos, cuts[neuron, 0], cuts[neuron, 1], edges[neuron], is_heldout,
            best_cuts[neuron, concept, 0], best_cuts[neuron, concept, 1], results[neuron, concept],
        )  # fmt: skip


@kernel
def sweep_ranks(
    ranks: NDArray[np.int64],
    total: NDArray[np.int64],
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    cuts: NDArray[np.int64],
    edges: NDArray[np.int64],
    is_heldout: bool,
    best_cuts: NDArray[np.int64],
    ties: NDArray[np.float64],
    results: NDArray[np.float64],
) -> None:
    """Sweep one neuron of arbitrary floats, given as ``ranks`` (T,) among its B distinct values, ``total`` rows each.

    The rest as in :func:`sweep_sparse`, with N = 1.
    """
    n_bins = len(total)
    counts = np.zeros(n_bins, np.int64)
    occupied = np.zeros((n_bins + 63) // 64, np.uint64)
    below = np.empty(n_bins + 1)
    ties[0] = _cumulate(total, below)
    for concept in range(len(indptr) - 1):
        start, stop = indptr[concept], indptr[concept + 1]
        for entry in range(start, stop):
            here = ranks[rows[entry]]
            counts[here] += 1
            occupied[here >> 6] |= np.uint64(1) << np.uint64(here & 63)
        if start < stop:
            _walk(
                counts, occupied, below, stop - start, cuts[0, 0], cuts[0, 1], edges[0], is_heldout,
                best_cuts[0, concept, 0], best_cuts[0, concept, 1], results[0, concept],
            )  # fmt: skip
