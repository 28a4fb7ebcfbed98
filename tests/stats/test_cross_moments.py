"""Co-moments beside numpy in float64, on what rounds badly; and that neither threads nor cuts change a bit."""

import numpy as np
import pytest

from pipeline.stats import CrossMoments
from pipeline.stats.cross_moments import SQUARE, cut_evenly
from schemas.errors import ActivationError, UsageError


def oracle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r (n, m) in float64; NaN where numpy divides 0 by 0."""
    x, y = (v - v.mean(axis=1, keepdims=True) for v in (x.astype(np.float64), y.astype(np.float64)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x @ y.T) / np.sqrt(np.outer((x**2).sum(axis=1), (y**2).sum(axis=1)))


def folded(x: np.ndarray, y: np.ndarray | None, precision: str, cuts: list[int], threads: int = 1) -> CrossMoments:
    state = CrossMoments.empty(len(x), None if y is None else len(y), precision)
    for first, stop in zip([0, *cuts], [*cuts, x.shape[1]], strict=True):
        state.update(x[:, first:stop], None if y is None else y[:, first:stop], threads)
    return state


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_correlations_equal_numpy_in_float64_even_far_from_zero(precision, error, offset):
    rng = np.random.default_rng(5)
    mixed = rng.standard_normal((40, 12)) @ rng.standard_normal((12, 3000)) / 3 + rng.standard_normal((40, 3000))
    x = (mixed / mixed.std(axis=1, keepdims=True) + offset).astype(np.float32)
    state = folded(x, None, precision, [1, 2, 2, 900])
    assert np.abs(state.correlations() - oracle(x, x)).max() <= error
    apart = folded(x[:15], x[15:], precision, [700])
    assert np.abs(apart.correlations() - oracle(x[:15], x[15:])).max() <= error
    np.testing.assert_allclose(state.finalize()["covariance"], np.cov(x.astype(np.float64), bias=True), atol=2e-6)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_duplicates_negations_and_constants(precision):
    x = np.random.default_rng(1).standard_normal((6, 500)).astype(np.float32)
    x[1], x[2], x[3], x[4] = x[0], -x[0], 0.1, x[0] * 3 + 7
    r = folded(x, None, precision, [3, 250]).correlations()
    assert r[0, [0, 1, 2, 4]].tolist() == [1, 1, -1, 1]
    assert np.isnan(r[3]).all()
    assert np.isnan(r[:, 3]).all()
    assert np.isfinite(np.delete(np.delete(r, 3, 0), 3, 1)).all()
    assert np.abs(r[5, 0]) < 0.2


def test_extreme_values_neither_overflow_nor_vanish():
    x = np.array([[65504, -65504, 65504, 0], [6e-8, 0, 6e-8, 6e-8], [-65504, 65504, 65504, 1]], np.float32)
    for precision in ("float32", "float64"):
        np.testing.assert_allclose(folded(x, None, precision, [1]).correlations(), oracle(x, x), atol=1e-6)


@pytest.mark.parametrize("n_neurons", [1, SQUARE - 1, SQUARE + 1])
def test_threads_change_no_bit_and_one_block_is_the_block_with_itself(n_neurons):
    x = np.random.default_rng(n_neurons).standard_normal((n_neurons, 64)).astype(np.float32)
    one, two = (folded(x, None, "float32", [10, 11], threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.whole(), two.whole())
    np.testing.assert_allclose(one.whole(), folded(x, x, "float32", [10, 11]).whole(), rtol=1e-5, atol=1e-5)


def test_single_rows_and_no_rows():
    x = np.random.default_rng(2).standard_normal((3, 5)).astype(np.float32)
    np.testing.assert_allclose(folded(x, None, "float64", [1, 2, 3, 4]).correlations(), oracle(x, x), atol=1e-12)
    assert np.isnan(CrossMoments.empty(3).correlations()).all()
    assert np.isnan(folded(x[:, :1], None, "float32", []).correlations()).all()


def test_bad_input_is_refused_and_changes_nothing():
    x = np.random.default_rng(2).standard_normal((3, 5)).astype(np.float32)
    state = folded(x, None, "float32", [])
    before = state.whole().copy()
    bad = x.copy()
    bad[1, 3] = np.nan
    with pytest.raises(ActivationError, match="neuron 1 of the block, row 3: nan"):
        state.update(bad)
    with pytest.raises(UsageError, match="neuron-major"):
        state.update(x[:2])
    with pytest.raises(UsageError, match="block B"):
        CrossMoments.empty(3, 3).update(x, x[:, :4])
    np.testing.assert_array_equal(state.whole(), before)
    assert state.n_rows == 5


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 100])
def test_even_parts_follow_each_other_and_are_few(n):
    parts = cut_evenly(n, 8)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == -(-n // 8)
    assert all(size <= 8 for size in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
