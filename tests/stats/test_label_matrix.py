"""The sparse label matrix against a dense one."""

import numpy as np
import pytest

from pipeline.stats import LabelMatrix
from schemas.errors import UsageError


def dense(labels: LabelMatrix) -> np.ndarray:
    mask = np.zeros((labels.n_rows, labels.n_concepts), bool)
    mask[labels.rows, labels.concepts] = True
    return mask


@pytest.fixture
def mask() -> np.ndarray:
    return np.random.default_rng(0).random((40, 5)) < [0, 0.1, 0.5, 0.9, 1]


def test_dense_and_pairs_in_any_order_agree(mask):
    row, concept = np.nonzero(mask)
    shuffle = np.random.default_rng(1).permutation(np.tile(np.arange(len(row)), 2))  # every pair twice
    labels = LabelMatrix.from_pairs(row[shuffle], concept[shuffle], *mask.shape)
    np.testing.assert_array_equal(dense(labels), mask)
    np.testing.assert_array_equal(dense(LabelMatrix.from_dense(mask)), mask)
    np.testing.assert_array_equal(labels.counts, mask.sum(axis=0))


def test_selections(mask):
    labels = LabelMatrix.from_dense(mask)
    rows = np.random.default_rng(2).random(40) < 0.5
    np.testing.assert_array_equal(dense(labels.select_rows(rows)), mask[rows])
    np.testing.assert_array_equal(dense(labels.select_concepts(np.array([3, 1]))), mask[:, [3, 1]])
    assert labels.select_concepts(np.array([], np.int64)).n_concepts == 0


def test_no_rows_and_no_concepts():
    empty = np.array([], np.int64)
    assert LabelMatrix.from_pairs(empty, empty, 0, 3).counts.tolist() == [0, 0, 0]
    assert LabelMatrix.from_pairs(empty, empty, 5, 0).n_concepts == 0


@pytest.mark.parametrize(
    ("row", "concept", "rule"),
    [
        ([5], [0], r"row must be in 0\.\.4"),
        ([-1], [0], "row must be"),
        ([0], [2], r"concept must be in 0\.\.1"),
        ([0, 1], [0], "equally long"),
    ],
)
def test_pairs_outside_are_refused(row, concept, rule):
    with pytest.raises(UsageError, match=rule):
        LabelMatrix.from_pairs(np.array(row), np.array(concept), 5, 2)


def test_a_mask_of_other_rows_is_refused(mask):
    with pytest.raises(UsageError, match="row mask"):
        LabelMatrix.from_dense(mask).select_rows(np.ones(3, bool))
