"""How far rankings agree: overlap and correlation of pairs, and the compatibility scores of Fan et al. (2023).

A ranking is an array of scores over the same U neurons, NaN for a neuron that it does not rank. M rankings are (M, U).
Top lists follow the one tie rule, score descending and then neuron ascending, so column order is the neurons' order.
Undefined is NaN, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.search.ranking import rank_order
from schemas.errors import UsageError

#: Neurons that a ranking votes for in :func:`neuron_vote`, as in the code that the paper's authors released.
BALLOT = 100
#: A correlation of fewer neurons than this is undefined.
MIN_COMMON = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Every measure of M rankings; the matrices are symmetric."""

    k: int
    n_top: NDArray[np.int64]
    """(M,): length of each top list, fewer than k where fewer neurons are ranked."""
    jaccard: Floats
    """(M, M): :func:`top_jaccard`."""
    overlap: Floats
    """(M, M): :func:`top_overlap`."""
    spearman: Floats
    """(M, M): :func:`spearman`."""
    n_common: NDArray[np.int64]
    """(M, M): neurons ranked by both, which the correlation is over."""
    avg_overlap: Floats
    """(M,): :func:`average_overlap`."""
    neuron_vote: Floats
    """(M,): :func:`neuron_vote`."""


def compare_rankings(scores: ArrayLike, k: int, ballot: int = BALLOT) -> Agreement:
    """All measures of ``scores`` (M, U), float, NaN where a ranking lacks the neuron.

    Raises :class:`UsageError` for k < 1, infinite scores or another number of dimensions.
    """
    matrix = _score_matrix(scores)
    top = top_masks(matrix, k)
    rho, n_common = spearman(matrix)
    shared = top_overlap(top)
    return Agreement(
        k, top.sum(axis=1), top_jaccard(top), shared, rho, n_common, average_overlap(shared), neuron_vote(
            matrix, k, ballot
        )
    )  # fmt: skip


def top_masks(scores: ArrayLike, k: int) -> NDArray[np.bool_]:
    """Which neurons are among the first k of each ranking, bool (M, U); ``scores`` as :func:`compare_rankings`."""
    matrix = _score_matrix(scores)
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}")
    neurons = np.arange(matrix.shape[1])
    masks = np.zeros(matrix.shape, bool)
    for mask, row in zip(masks, matrix, strict=True):
        best = rank_order(row, neurons)[:k]
        mask[best[~np.isnan(row[best])]] = True
    return masks


def top_jaccard(top: NDArray[np.bool_]) -> Floats:
    """|A ∩ B| / |A ∪ B| of all pairs of top lists, (M, M) from masks (M, U); NaN where one of the two is empty."""
    shared, sizes = _shared(top)
    return _ratio(shared, sizes[:, None] + sizes[None, :] - shared, sizes)


def top_overlap(top: NDArray[np.bool_]) -> Floats:
    """|A ∩ B| / s of all pairs of top lists, (M, M) from masks (M, U); NaN where one of the two is empty.

    s is the length of the longer list: k, unless neither ranking has so many neurons. Fan et al. 2023.
    """
    shared, sizes = _shared(top)
    return _ratio(shared, np.maximum(sizes[:, None], sizes[None, :]), sizes)


def average_overlap(overlap: Floats) -> Floats:
    """AvgOverlap of every ranking (M,): the mean of its overlaps (M, M) with all *others*; NaN without any.

    Fan et al. 2023, "Evaluating Neuron Interpretation Methods of NLP Models", NeurIPS.
    """
    others = np.where(np.eye(len(overlap), dtype=bool), np.nan, overlap)
    n_others = np.sum(~np.isnan(others), axis=1)
    return np.where(n_others > 0, np.nansum(others, axis=1) / np.maximum(n_others, 1), np.nan)


def neuron_vote(scores: ArrayLike, k: int, ballot: int = BALLOT) -> Floats:
    """NeuronVote of every ranking (M,): how far its first k are the first k by the votes of all rankings.

    A ranking, itself included, gives its r-th neuron B − r + 1 votes for r ≤ B, where B is ``ballot`` or k, whichever
    is larger. The score is the Jaccard index of the ranking's first k and the k neurons with most votes (equal votes:
    the smaller index), as in the authors' code for Fan et al. 2023; NaN for a ranking without neurons.
    """
    matrix = _score_matrix(scores)
    votes, neurons, length = np.zeros(matrix.shape[1]), np.arange(matrix.shape[1]), max(ballot, k)
    for row in matrix:
        order = rank_order(row, neurons)[:length]
        order = order[~np.isnan(row[order])]
        votes[order] += length - np.arange(len(order))
    elected = top_masks(np.where(votes > 0, votes, np.nan)[None], k)
    found: Floats = top_jaccard(np.concatenate([top_masks(matrix, k), elected]))[:-1, -1]
    return found


def spearman(scores: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Rank correlation of all pairs (M, M) over the neurons that both rank, and how many these are (M, M).

    Pearson's r of the ranks within those neurons, equal scores with the mean of their ranks; NaN where the neurons are
    fewer than 3 or all tied in one of the rankings.
    """
    matrix = _score_matrix(scores)
    n_rankings = len(matrix)
    is_ranked = ~np.isnan(matrix)
    whole = [_centred_ranks(row[ranked]) for row, ranked in zip(matrix, is_ranked, strict=True)]
    rho, n_common = np.full((n_rankings, n_rankings), np.nan), np.zeros((n_rankings, n_rankings), np.int64)
    for a in range(n_rankings):
        for b in range(a, n_rankings):
            both = is_ranked[a] & is_ranked[b]
            n_common[a, b] = n_common[b, a] = n = int(both.sum())
            x, y = (whole[i] if len(whole[i]) == n else _centred_ranks(matrix[i, both]) for i in (a, b))
            rho[a, b] = rho[b, a] = _correlation(x, y) if n >= MIN_COMMON else np.nan
    return rho, n_common


def _centred_ranks(scores: Floats) -> Floats:
    """Twice the mid-ranks, less their mean: whole numbers, so sums below 2**53 are exact."""
    from scipy.stats import rankdata  # noqa: PLC0415 - half a second, which every command would wait for

    ranks: Floats = 2 * rankdata(scores) - len(scores) - 1
    return ranks


def _correlation(x: Floats, y: Floats) -> float:
    """Of centred ranks; NaN where all are tied."""
    spread = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / spread, -1, 1)) if spread else float("nan")


def _shared(top: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    counts = top.astype(np.float64)
    return counts @ counts.T, counts.sum(axis=1)


def _ratio(shared: Floats, of: Floats, sizes: Floats) -> Floats:
    """``shared / of`` where both lists have a neuron."""
    is_defined = (sizes[:, None] > 0) & (sizes[None, :] > 0)
    return np.where(is_defined, shared / np.where(is_defined, of, 1), np.nan)


def _score_matrix(scores: ArrayLike) -> Floats:
    matrix = np.asarray(scores, np.float64)
    if matrix.ndim != 2:
        raise UsageError(f"scores must be (rankings, neurons), not of shape {matrix.shape}")
    if np.isinf(matrix).any():
        raise UsageError("scores must be finite, or NaN for a neuron that a ranking does not have; found infinity")
    return matrix
