"""The concept histogram's two representations, its size and its limits."""

import numpy as np
import pytest

from pipeline.stats import ConceptHistogram, LabelMatrix, encode_codes
from pipeline.stats.concept_histogram import DENSE_FROM
from schemas.errors import UsageError


def test_codes_become_counts_at_the_stated_number_of_positives():
    n_rows = DENSE_FROM
    codes = np.random.default_rng(0).integers(30_000, 34_000, (1, n_rows)).astype(np.uint16)
    mask = np.ones((n_rows, 2), bool)
    mask[0, 1] = False  # one positive short of the limit
    labels = LabelMatrix.from_dense(mask)
    state = ConceptHistogram.empty(1, 2)
    for rows in np.array_split(np.arange(n_rows), 2):
        part = np.zeros(n_rows, bool)
        part[rows] = True
        state.update(codes[:, rows], labels.select_rows(part))
    assert set(state.dense) == {0}
    assert state.n_sparse == n_rows - 1
    for concept in range(2):
        expected = np.bincount(codes[0, mask[:, concept]], minlength=65_536)
        np.testing.assert_array_equal(state.finalize(concept)[0], expected)


def test_expected_positives_avoid_growing_and_give_the_size():
    expected = np.array([3, DENSE_FROM])
    state = ConceptHistogram.empty(2, 2, expected_positives=expected)
    assert set(state.dense) == {1}
    n_bytes = state.total.nbytes + state.sparse.nbytes + sum(counts.nbytes for counts in state.dense.values())
    assert n_bytes == 2 * ConceptHistogram.bytes_per_neuron(expected)


def test_wrong_expectations_do_no_harm():
    codes = encode_codes(np.arange(6, dtype=np.float16).view(np.uint16)[None], "float16")
    labels = LabelMatrix.from_dense(np.ones((6, 1), bool))
    for expected in (np.array([0]), np.array([2]), np.array([DENSE_FROM])):
        state = ConceptHistogram.empty(1, 1, expected_positives=expected).update(codes, labels)
        np.testing.assert_array_equal(np.flatnonzero(state.finalize(0)[0]), np.sort(codes[0]))


def test_no_neurons_no_concepts_no_rows():
    labels = LabelMatrix.from_dense(np.zeros((4, 0), bool))
    state = ConceptHistogram.empty(2, 0).update(np.zeros((2, 4), np.uint16), labels)
    assert state.n_rows == 4
    labels = LabelMatrix.from_dense(np.ones((4, 2), bool))
    assert ConceptHistogram.empty(0, 2).update(np.zeros((0, 4), np.uint16), labels).n_pos.tolist() == [4, 4]


def test_what_does_not_fit_is_refused():
    labels = LabelMatrix.from_dense(np.ones((4, 2), bool))
    state = ConceptHistogram.empty(1, 2)
    with pytest.raises(UsageError, match="as many rows"):
        state.update(np.zeros((1, 3), np.uint16), labels)
    with pytest.raises(UsageError, match="uint16"):
        state.update(np.zeros((1, 4), np.float16), labels)
    with pytest.raises(UsageError, match="concepts of the state"):
        state.update(np.zeros((1, 4), np.uint16), LabelMatrix.from_dense(np.ones((4, 3), bool)))
    with pytest.raises(UsageError, match="concepts of the state"):
        state.merge(ConceptHistogram.empty(1, 3))
    with pytest.raises(UsageError, match="do not merge"):
        state.merge(ConceptHistogram.empty(1, 2, "bfloat16"))
    with pytest.raises(UsageError, match="16-bit"):
        ConceptHistogram.empty(1, 2, "float32")
