"""Means per word type equal pandas' groupby; shrinkage keeps words of one occurrence from the top of a null."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stats import WordMoments, WordRows, shrunken_means
from schemas.errors import ActivationError, UsageError


@given(
    lengths=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    n_types=st.integers(1, 6),
    cut=st.integers(0, 40),
    seed=st.integers(0, 999),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_means_equal_a_groupby(lengths, n_types, cut, seed):
    """Words of 0 to 3 rows, rows without a word between them, folded in two batches."""
    random = np.random.default_rng(seed)
    types = random.integers(-1, n_types, len(lengths))
    row_words = np.concatenate([np.full(length, word) for word, length in enumerate(lengths)] or [np.zeros(0, int)])
    row_words = np.insert(row_words, random.integers(0, len(row_words) + 1, 3), -1).astype(np.int64)
    values = random.standard_normal((3, len(row_words))) + 100
    state = WordMoments.empty(3, n_types)
    first = np.where(row_words < cut, row_words, -1)
    second = np.where(row_words >= cut, row_words, -1)
    state.update(values, WordRows.of(first, types))
    state.merge(WordMoments.empty(3, n_types).update(values, WordRows.of(second, types)))
    found = state.finalize()
    for neuron in range(3):
        rows = pd.DataFrame({"word": row_words, "value": values[neuron]})
        words = rows[rows["word"] >= 0].groupby("word")["value"].mean()
        expected = words.groupby(types[words.index]).agg(["count", "mean", "sem"]).reindex(range(n_types))
        np.testing.assert_array_equal(found.n_words, expected["count"].fillna(0))
        np.testing.assert_allclose(found.mean[neuron], expected["mean"], rtol=1e-12)
        np.testing.assert_allclose(found.standard_error[neuron], expected["sem"], rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(found.neuron_mean[neuron], words.mean() if len(words) else np.nan)
        scores = shrunken_means(found, 4.0)[neuron]
        n = expected["count"]
        np.testing.assert_allclose(scores, (expected["mean"] - words.mean()) * n / (n + 4), rtol=1e-7, atol=1e-9)


def zipf_words(seed: int, n_words: int = 20_000) -> np.ndarray:
    """Types of words as in a text: few frequent ones, many that occur once."""
    types = np.random.default_rng(seed).zipf(1.6, n_words)
    return np.unique(types, return_inverse=True)[1].astype(np.int64)


@pytest.mark.parametrize("shrinkage", [None, 0.0])
def test_under_a_pure_null_hapaxes_do_not_take_the_top(shrinkage):
    """20 seeds, activations that no word has any part in, no minimum count: only the shrinkage stands between."""
    n_hapaxes = []
    for seed in range(20):
        types = zipf_words(seed)
        values = np.random.default_rng(1000 + seed).standard_normal((1, len(types)))
        state = WordMoments.empty(1, types.max() + 1).update(values, WordRows.of(np.arange(len(types)), types))
        means = state.finalize()
        assert (means.n_words == 1).mean() > 0.4
        scores = shrunken_means(means, shrinkage)[0]
        tails = (np.argsort(-scores)[:10], np.argsort(scores)[:10])
        n_hapaxes += [int((means.n_words[tail] == 1).sum()) for tail in tails]
    if shrinkage is None:
        assert max(n_hapaxes) <= 1
    else:  # what the shrinkage is for
        assert min(n_hapaxes) >= 7


def test_a_word_with_an_effect_leads_all_the_same():
    types = zipf_words(0)
    values = np.random.default_rng(0).standard_normal((1, len(types)))
    planted = int(np.flatnonzero(np.bincount(types) >= 12)[-1])
    values[0, types == planted] += 3
    state = WordMoments.empty(1, types.max() + 1).update(values, WordRows.of(np.arange(len(types)), types))
    assert shrunken_means(state.finalize())[0].argmax() == planted


@pytest.mark.parametrize("ratio", [0.25, 4.0, 25.0])
def test_the_ratio_of_variances_is_recovered(ratio):
    random = np.random.default_rng(0)
    types = zipf_words(3) % 400
    effects = random.standard_normal((30, 400)) / np.sqrt(ratio) + 50
    values = effects[:, types] + random.standard_normal((30, len(types)))
    found = WordMoments.empty(30, 400).update(values, WordRows.of(np.arange(len(types)), types)).variance_ratio()
    assert np.median(found) == pytest.approx(ratio, rel=0.25)


def test_the_score_predicts_the_effect_better_than_the_mean_does():
    random = np.random.default_rng(1)
    types = zipf_words(4)
    effects = random.standard_normal((20, types.max() + 1)) / 3
    values = effects[:, types] + random.standard_normal((20, len(types)))
    means = WordMoments.empty(20, types.max() + 1).update(values, WordRows.of(np.arange(len(types)), types)).finalize()
    errors = [np.mean((shrunken_means(means, k) - effects) ** 2) for k in (None, 0.0, 1.0, 100.0)]
    assert min(errors) == errors[0]


@pytest.mark.parametrize(
    ("values", "types"),
    [([1, 1, 1, 1], [0, 0, 1, 1]), ([0, 1, 2, 3], [0, 1, 2, 3]), ([0, 1, 2, 3], [1, 1, 1, 1])],
    ids=["a constant neuron", "no type twice", "one type"],
)
def test_where_nothing_can_be_estimated(values, types):
    values, types = np.array([values], float), np.array(types)
    means = WordMoments.empty(1, 4).update(values, WordRows.of(np.arange(4), types)).finalize()
    assert means.variance_ratio[0] == 1000
    assert np.isfinite(shrunken_means(means)[0, types]).all()


def test_what_does_not_fit_is_refused_and_changes_nothing():
    state = WordMoments.empty(2, 2).update(np.ones((2, 2)), WordRows.of(np.arange(2), np.array([0, 1])))
    words = WordRows.of(np.arange(3), np.array([0, 1, -1]))
    with pytest.raises(ActivationError, match="neuron 1 of the block, row 2"):
        state.update(np.array([[1, 1, 1], [1, 1, np.nan]]), words)
    with pytest.raises(UsageError, match="as many rows"):
        state.update(np.ones((2, 4)), words)
    with pytest.raises(UsageError, match=r"−1 … 1, got 2"):
        state.update(np.ones((2, 1)), WordRows.of(np.arange(1), np.array([2])))
    with pytest.raises(UsageError, match="below the 1 entries"):
        WordRows.of(np.array([1]), np.array([0]))
    with pytest.raises(UsageError, match="do not merge"):
        state.merge(WordMoments.empty(2, 3))
    with pytest.raises(UsageError, match="shrinkage"):
        shrunken_means(state.finalize(), -1)
    assert state.n_words.tolist() == [1, 1, 0]
    assert (state.mean[:, :2] == 1).all()
