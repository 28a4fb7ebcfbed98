"""One tie rule, and a top-K state that gives the full sort's answer however the work was cut."""

import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.search import TopNeurons, rank_order
from schemas.errors import UsageError

N, C = 30, 3
SCORES = np.random.default_rng(0).integers(0, 6, (N, C)) / 5
SCORES[::7, 1] = np.nan
SCORES[:, 2] = np.nan
NEURONS = np.random.default_rng(1).permutation(1000)[:N]
COLUMNS = {"sign": np.where(SCORES > 0.5, 1, -1).astype(np.int8), "threshold": SCORES * 2}


def block(rows: np.ndarray, keep: int | None) -> TopNeurons:
    columns = {name: column[rows] for name, column in COLUMNS.items()}
    return TopNeurons.empty(C, keep).update(SCORES[rows], NEURONS[rows], columns)


def test_order_is_score_then_neuron_and_undefined_last():
    scores = np.array([0.5, np.nan, 0.9, 0.5, -np.inf, np.nan, 0.0])
    neurons = np.array([7, 2, 9, 3, 0, 1, 5])
    assert rank_order(scores, neurons).tolist() == [2, 3, 0, 6, 4, 5, 1]


@pytest.mark.parametrize("keep", [1, 5, 30, 100, None])
@given(cuts=st.lists(st.integers(0, N), max_size=4), order=st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_any_cut_and_order_give_the_full_sort(keep, cuts, order):
    parts = [block(rows, keep) for rows in np.split(np.arange(N), sorted(cuts))]
    order.shuffle(parts)
    state = TopNeurons.empty(C, keep)
    for part in parts:
        state.merge(part)
    table = state.finalize()
    n_kept = min(N, keep or N)
    for concept in range(C):
        best = rank_order(SCORES[:, concept], NEURONS)[:n_kept]
        here = table["concept"] == concept
        np.testing.assert_array_equal(table["neuron"][here], NEURONS[best])
        np.testing.assert_array_equal(table["score"][here], SCORES[best, concept])
        np.testing.assert_array_equal(table["sign"][here], COLUMNS["sign"][best, concept])
        np.testing.assert_array_equal(table["threshold"][here], COLUMNS["threshold"][best, concept])
        np.testing.assert_array_equal(table["rank"][here], np.arange(1, n_kept + 1))


@pytest.mark.parametrize("keep", [4, None])
def test_states_survive_pickle_and_npz(keep):
    state = block(np.arange(N), keep)
    file = io.BytesIO()
    np.savez(file, **state.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        restored = TopNeurons.from_arrays(arrays)
    for other in (restored, pickle.loads(pickle.dumps(state))):
        assert other.keep == keep
        for name, column in state.finalize().items():
            np.testing.assert_array_equal(other.finalize()[name], column)


def test_empty_states():
    assert TopNeurons.empty(2, 3).merge(TopNeurons.empty(2, 3)).finalize()["neuron"].shape == (0,)
    assert TopNeurons.empty(0, 3).update(np.empty((4, 0)), np.arange(4)).finalize()["neuron"].shape == (0,)


def test_merging_leaves_the_other_state_alone():
    other = block(np.arange(10), 5)
    before = {name: column.copy() for name, column in other.finalize().items()}
    block(np.arange(10, N), 5).merge(other).update(SCORES[:1] + 9, NEURONS[:1], {n: c[:1] for n, c in COLUMNS.items()})
    for name, column in other.finalize().items():
        np.testing.assert_array_equal(column, before[name])


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="keep must be at least 1"):
        TopNeurons.empty(2, 0)
    with pytest.raises(UsageError, match="do not merge"):
        TopNeurons.empty(2, 1).merge(TopNeurons.empty(3, 1))
    with pytest.raises(UsageError, match=r"scores must have shape \(2, 3\)"):
        TopNeurons.empty(C, 1).update(SCORES, NEURONS[:2])
    with pytest.raises(UsageError, match="columns"):
        block(np.arange(3), 2).update(SCORES[:1], NEURONS[:1])
