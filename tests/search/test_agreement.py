"""Agreement of rankings equals scipy's correlation and brute-force sets, on awkward rankings too."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.search import compare_rankings
from schemas.errors import UsageError

NAN = float("nan")


def top_list(scores: list[float], k: int) -> list[int]:
    """The first k by score, then index, the slow way."""
    ranked = sorted((i for i, s in enumerate(scores) if s == s), key=lambda i: (-scores[i], i))
    return ranked[:k]


@given(
    scores=hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 4), st.integers(1, 12)),
        elements=st.sampled_from([NAN, -1.0, 0.0, 0.25, 0.5, 0.75, 1.0]),
    ),
    k=st.integers(1, 15),
    ballot=st.integers(1, 15),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_measure_equals_its_definition(scores, k, ballot):
    found = compare_rankings(scores, k, ballot)
    lists = [top_list(row.tolist(), k) for row in scores]
    n = len(lists)
    assert found.n_top.tolist() == [len(tops) for tops in lists]
    overlap = np.full((n, n), NAN)
    for a, b in itertools.product(range(n), repeat=2):
        first, second = set(lists[a]), set(lists[b])
        if first and second:
            overlap[a, b] = len(first & second) / max(len(first), len(second))
            assert found.jaccard[a, b] == len(first & second) / len(first | second)
        else:
            assert np.isnan(found.jaccard[a, b])
        both = ~np.isnan(scores[a]) & ~np.isnan(scores[b])
        assert found.n_common[a, b] == both.sum()
        x, y = scores[a, both], scores[b, both]
        if both.sum() < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
            assert np.isnan(found.spearman[a, b])
        else:
            assert found.spearman[a, b] == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    np.testing.assert_array_equal(found.overlap, overlap)
    length = max(ballot, k)
    votes = np.zeros(scores.shape[1])
    for row in scores:
        for place, neuron in enumerate(top_list(row.tolist(), length)):
            votes[neuron] += length - place
    elected = set(top_list(np.where(votes > 0, votes, NAN).tolist(), k))
    for a in range(n):
        others = [overlap[a, b] for b in range(n) if b != a and overlap[a, b] == overlap[a, b]]
        np.testing.assert_allclose(found.avg_overlap[a], np.mean(others) if others else NAN)
        tops = set(lists[a])
        np.testing.assert_equal(found.neuron_vote[a], len(tops & elected) / len(tops | elected) if tops else NAN)


def test_identical_and_disjoint_rankings():
    scores = np.array([[4, 3, 2, 1, NAN, NAN, NAN, NAN], [4, 3, 2, 1, NAN, NAN, NAN, NAN], [NAN] * 4 + [4, 3, 2, 1]])
    for k in (1, 3, 4, 100):
        found = compare_rankings(scores, k)
        for matrix in (found.jaccard, found.overlap):
            np.testing.assert_array_equal(matrix, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
        np.testing.assert_array_equal(found.avg_overlap, [0.5, 0.5, 0])
    np.testing.assert_array_equal(found.spearman, [[1, 1, NAN], [1, 1, NAN], [NAN, NAN, 1]])
    np.testing.assert_array_equal(found.n_common, [[4, 4, 0], [4, 4, 0], [0, 0, 4]])


def test_the_same_order_and_its_reverse():
    scores = np.array([np.arange(50.0), np.arange(50.0) ** 3, -np.arange(50.0)])
    found = compare_rankings(scores, 25)
    np.testing.assert_array_equal(found.spearman, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]])
    np.testing.assert_array_equal(found.jaccard, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])


def test_ties_go_to_the_smaller_neuron():
    found = compare_rankings(np.array([[1.0, 1, 1, 1], [1.0, 1, 0, 0]]), 2)
    assert found.jaccard[0, 1] == 1
    assert np.isnan(found.spearman[0, 1])


def test_one_neuron_one_ranking_and_none():
    found = compare_rankings(np.array([[0.3], [0.9]]), 10)
    assert (found.jaccard == 1).all()
    assert (found.avg_overlap == 1).all()
    assert (found.neuron_vote == 1).all()
    assert np.isnan(found.spearman).all()
    assert np.isnan(compare_rankings(np.array([[0.3, 0.2]]), 1).avg_overlap).all()
    empty = compare_rankings(np.empty((2, 0)), 1)
    assert np.isnan(empty.jaccard).all()
    assert np.isnan(empty.neuron_vote).all()


def test_votes_are_weighted_by_rank():
    """Second places add up: neuron 1 is elected though no ranking has it first, unless only first places vote."""
    scores = np.array([[0, 0.5, 1, NAN], [NAN, 0.1, 1, 0.5], [1, 0.5, NAN, 0.1]])
    np.testing.assert_array_equal(compare_rankings(scores, 1).neuron_vote, [0, 0, 0])  # 1 is nowhere first
    np.testing.assert_array_equal(compare_rankings(scores, 1, ballot=1).neuron_vote, [1, 1, 0])


def test_what_is_no_ranking_is_refused():
    with pytest.raises(UsageError, match="k must be at least 1"):
        compare_rankings(np.ones((2, 2)), 0)
    with pytest.raises(UsageError, match="rankings, neurons"):
        compare_rankings(np.ones(2), 1)
    with pytest.raises(UsageError, match="infinity"):
        compare_rankings(np.array([[np.inf, 1]]), 1)
