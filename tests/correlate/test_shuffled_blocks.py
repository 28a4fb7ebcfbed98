"""Blocks of rows change places: all of them, whole, and each order as often as any other."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.correlate import shuffled
from pipeline.correlate.shuffled_blocks import NULL_ROWS, null_rows, shuffled_blocks
from schemas.errors import UsageError


@given(n_rows=st.integers(0, 200), block=st.integers(1, 60), seed=st.integers(0, 2**32))
@settings(max_examples=200, derandomize=True)
def test_every_block_is_whole_and_elsewhere(n_rows, block, seed):
    order = shuffled_blocks(n_rows, block, seed)
    np.testing.assert_array_equal(np.sort(order), np.arange(n_rows))
    np.testing.assert_array_equal(order, shuffled_blocks(n_rows, block, seed))
    if n_rows <= block:
        np.testing.assert_array_equal(order, np.arange(n_rows))
    else:
        assert (order != np.arange(n_rows)).all()
        inside = np.diff(order)[order[:-1] % block != block - 1]
        inside = inside[order[:-1][order[:-1] % block != block - 1] != n_rows - 1]
        assert (inside == 1).all()


def test_all_orders_that_leave_nothing_in_place_are_equally_frequent():
    random = np.random.default_rng(0)
    seen = Counter(tuple(shuffled_blocks(8, 2, random)[::2] // 2) for _ in range(1800))
    assert len(seen) == 9  # derangements of four blocks
    assert min(seen.values()) > 140


def test_bad_arguments_are_refused():
    with pytest.raises(UsageError, match="block at least 1"):
        shuffled_blocks(5, 0, 0)
    with pytest.raises(UsageError, match="n_rows"):
        shuffled_blocks(-1, 2, 0)
    with pytest.raises(UsageError, match="seed must be at least 0, got -1"):
        shuffled_blocks(5, 1, -1)


@pytest.mark.parametrize("n_rows", [2, 3, 31, 63, 64, 65, 500])
def test_the_null_leaves_no_row_in_place_and_blocks_whole(n_rows):
    x = np.arange(2 * n_rows, dtype=np.float32).reshape(n_rows, 2)
    found = shuffled(x, 4)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, x[null_rows(n_rows, 4)])
    assert (found != x).all()
    np.testing.assert_array_equal(np.sort(found, axis=0), x)
    assert np.sum(np.diff(found[:, 0]) != 2) <= n_rows // min(NULL_ROWS, n_rows // 2)
    np.testing.assert_array_equal(shuffled(x[:, 0].tolist(), 4), found[:, 0])


def test_what_has_no_null_is_refused():
    for x in (np.zeros((1, 3)), np.zeros((0, 3)), np.zeros(1), np.zeros((3, 2, 2)), 5.0):
        with pytest.raises(UsageError, match="at least two rows, not of shape"):
            shuffled(x)
    with pytest.raises(UsageError, match="block at least 1, got 5 and 0"):
        shuffled(np.zeros(5), block=0)
    with pytest.raises(UsageError, match="seed must be at least 0"):
        shuffled(np.zeros(5), -2)
