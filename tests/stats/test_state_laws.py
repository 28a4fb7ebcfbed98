"""The laws every state obeys. A new state is one more line in CASES."""

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stats import (
    ConceptHistogram,
    ConceptMoments,
    CrossMoments,
    LabelMatrix,
    Moments,
    TopRows,
    ValueHistogram,
    WordMoments,
    WordRows,
    encode_codes,
    neuron_statistics,
)
from pipeline.stats import concept_histogram as concept_histogram_module

N, T, C = 5, 120, 4


@dataclass(frozen=True)
class Batch:
    values: np.ndarray
    codes: np.ndarray
    labels: LabelMatrix
    row_ids: np.ndarray

    def rows(self, start: int, stop: int) -> "Batch":
        mask = np.zeros(len(self.row_ids), bool)
        mask[start:stop] = True
        part = Batch(self.values[:, mask], self.codes[:, mask], self.labels.select_rows(mask), self.row_ids[mask])
        for array in (part.values, part.codes, part.row_ids, part.labels.rows, part.labels.indptr):
            array.flags.writeable = False  # an update that writes to its arguments raises
        return part


@dataclass(frozen=True)
class Case:
    empty: Callable[[], Any]
    update: Callable[[Any, Batch, int], Any]
    answers: Callable[[Any], dict[str, np.ndarray]]
    rtol: float = 0.0
    dense_from: int = concept_histogram_module.DENSE_FROM


def histogram_answers(state: ConceptHistogram) -> dict[str, np.ndarray]:
    return {"total": state.total, "n_pos": state.n_pos, **{str(c): state.finalize(c) for c in range(C)}}


def words_of(batch: Batch) -> WordRows:
    """One word a row, of seven types and others; the row id decides the type, so cuts do not change it."""
    types = batch.row_ids % 9 - 2
    return WordRows.of(np.where(types < -1, -1, np.arange(len(types))), types)


CASES = {
    "moments": Case(lambda: Moments.empty(N), lambda s, b, t: s.update(b.values, t), lambda s: s.finalize(0.1), 1e-9),
    "concept_moments": Case(
        lambda: ConceptMoments.empty(N, C),
        lambda s, b, t: s.update(b.values, b.labels, t),
        lambda s: {**s.finalize(), "n_pos": s.n_pos},
        1e-9,
    ),
    "cross_moments": Case(
        lambda: CrossMoments.empty(2, 3, "float64"),
        lambda s, b, t: s.update(b.values[:2], b.values[2:], t),
        lambda s: s.finalize(),
        1e-9,
    ),
    "cross_moments_of_one_block": Case(
        lambda: CrossMoments.empty(N, precision="float64"),
        lambda s, b, t: s.update(b.values, threads=t),
        lambda s: s.finalize(),
        1e-9,
    ),
    "value_histogram": Case(
        lambda: ValueHistogram.empty(N),
        lambda s, b, t: s.update(b.codes, t),
        lambda s: {"counts": s.counts, "quantiles": s.finalize([0, 0.1, 0.5, 0.995, 1]), **s.moments().finalize()},
    ),
    "concept_histogram": Case(
        lambda: ConceptHistogram.empty(N, C), lambda s, b, t: s.update(b.codes, b.labels, t), histogram_answers
    ),
    "concept_histogram_dense": Case(
        lambda: ConceptHistogram.empty(N, C, expected_positives=np.array([0, 9, 0, 50])),
        lambda s, b, t: s.update(b.codes, b.labels, t),
        histogram_answers,
        dense_from=20,
    ),
    "top_rows_of_codes": Case(
        lambda: TopRows.empty(N, 7),
        lambda s, b, t: s.update_codes(b.codes, b.row_ids, "float16", t),
        lambda s: s.finalize()._asdict(),
    ),
    "top_rows": Case(
        lambda: TopRows.empty(N, 7),
        lambda s, b, t: s.update(b.values, b.row_ids, t),
        lambda s: s.finalize()._asdict(),
    ),
    "word_moments": Case(
        lambda: WordMoments.empty(N, 8),  # the last type never occurs
        lambda s, b, t: s.update(b.values, words_of(b), t),
        lambda s: s.finalize()._asdict(),
        1e-9,
    ),
}


def make_batch() -> Batch:
    random = np.random.default_rng(3)
    values = random.standard_normal((N, T)).astype(np.float16)
    values[1] = np.round(values[1])  # many ties, −0.0 among them
    values[2] = 0.25
    values[3] = values[3] * np.float16(0.5) + np.float16(1000)
    codes = encode_codes(values.view(np.uint16), "float16")
    mask = random.random((T, C)) < [0, 0.05, 0.4, 0.9]
    return Batch(values.astype(np.float32), codes, LabelMatrix.from_dense(mask), random.permutation(T).astype(np.int64))


BATCH = make_batch()


@pytest.fixture(params=CASES, scope="module")
def case(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(concept_histogram_module, "DENSE_FROM", CASES[request.param].dense_from)
        yield CASES[request.param]


def folded(case: Case, start: int = 0, stop: int = T) -> Any:
    return case.update(case.empty(), BATCH.rows(start, stop), 1)


def assert_same(case: Case, a: Any, b: Any, rtol: float | None = None) -> None:
    first, second = case.answers(a), case.answers(b)
    assert first.keys() == second.keys()
    rtol = case.rtol if rtol is None else rtol
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=rtol, atol=rtol, err_msg=name)
        assert first[name].dtype == second[name].dtype, name


def snapshot(state: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in state.arrays().items()}


def test_empty_is_the_identity(case):
    expected = folded(case)
    assert_same(case, folded(case).merge(case.empty()), expected, rtol=0)
    assert_same(case, case.empty().merge(folded(case)), expected, rtol=0)
    assert_same(case, case.empty().merge(case.empty()), case.empty(), rtol=0)
    assert_same(case, folded(case, 4, 4), case.empty(), rtol=0)


@given(cuts=st.lists(st.integers(0, T), max_size=5), order=st.randoms(use_true_random=False))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_cut_and_any_order_give_the_same(case, cuts, order):
    edges = sorted([0, 1, T, T, *cuts])  # always a one-row shard and an empty one
    parts = [folded(case, start, stop) for start, stop in pairwise(edges)]
    order.shuffle(parts)
    half = len(parts) // 2
    left, right = case.empty(), case.empty()
    for part in parts[:half]:
        left.merge(part)
    for part in parts[half:]:
        right.merge(part)
    assert_same(case, left.merge(right), folded(case))


def test_updating_shard_by_shard_is_one_update(case):
    state = case.empty()
    for start, stop in ((0, 1), (1, 50), (50, 50), (50, T)):
        state = case.update(state, BATCH.rows(start, stop), 1)
    assert_same(case, state, folded(case))


def test_merging_leaves_the_other_state_alone(case):
    other = folded(case, 0, 50)
    before = snapshot(other)
    merged = case.empty().merge(other)
    merged.merge(folded(case, 50, T))  # must not write into arrays it took over
    case.update(merged, BATCH.rows(3, 9), 1)
    after = snapshot(other)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_finalize_changes_nothing(case):
    state = folded(case)
    before = snapshot(state)
    first = case.answers(state)
    assert_same(case, state, state, rtol=0)
    for name, array in case.answers(state).items():
        np.testing.assert_array_equal(array, first[name])
    for name, array in snapshot(state).items():
        np.testing.assert_array_equal(array, before[name])


def test_threads_never_change_a_bit(case):
    assert_same(case, case.update(case.empty(), BATCH.rows(0, T), 3), folded(case), rtol=0)


@pytest.mark.parametrize("stop", [0, T])
def test_states_survive_pickle_and_npz(case, stop):
    state = folded(case, 0, stop)
    assert_same(case, pickle.loads(pickle.dumps(state)), state, rtol=0)
    file = io.BytesIO()
    np.savez(file, **state.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        restored = type(state).from_arrays(arrays)
    assert_same(case, restored, state, rtol=0)
    more = BATCH.rows(0, 30)
    assert_same(case, case.update(restored, more, 1), case.update(state, more, 1), rtol=0)


def test_the_statistics_table_is_complete():
    from schemas.tables import NEURON_STATS

    key = {"run_id", "model", "component", "layer", "neuron", "unit"}
    columns = neuron_statistics(folded(CASES["moments"]), folded(CASES["value_histogram"]))
    assert set(columns) == {column.name for column in NEURON_STATS.columns} - key
    assert {column.shape for column in columns.values()} == {(N,)}
