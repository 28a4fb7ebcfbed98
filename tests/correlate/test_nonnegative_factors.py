"""Non-negative factors: as good as scikit-learn's on the whole matrix, and the same bits however rows are cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, nnls
from sklearn.decomposition import NMF

from pipeline.correlate.factor_pass import FactorPass, factor_values
from pipeline.correlate.factor_start import sample_rows
from pipeline.correlate.nonnegative_factors import FactorSettings, batches, nonnegative_factors
from pipeline.correlate.nonnegative_least_squares import nonnegative_least_squares
from pipeline.correlate.nonnegative_part import NonnegativePart
from schemas.errors import ActivationError, UsageError


def planted(n_rows=1500, n_neurons=60, n_factors=5, noise=0.01, seed=0):
    """Values (N, T) of sparse factors, and these (K, N)."""
    rng = np.random.default_rng(seed)
    rows = rng.exponential(1, (n_rows, n_factors)) * (rng.random((n_rows, n_factors)) < 0.4)
    weights = rng.exponential(1, (n_factors, n_neurons)) * (rng.random((n_factors, n_neurons)) < 0.3)
    values = rows @ weights + noise * rng.standard_normal((n_rows, n_neurons))
    return values.T.astype(np.float32), weights


def awkward(n_rows=400, n_neurons=40, seed=1):
    """Signed values with constant, zero, duplicate and negated neurons, and one far from 0."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n_neurons, n_rows)) + rng.standard_normal((1, n_rows))
    values[0], values[1], values[2] = 0, -3, 5
    values[4], values[6] = values[3], -values[5]
    values[7] = 300 + rng.standard_normal(n_rows)
    return values.astype(np.float32)


def cut(values, *, width):
    """The rows in blocks of ``width``, one of them empty and one of one row."""
    edges = [0, 0, 1, *range(1 + width, values.shape[1], width), values.shape[1]]
    return lambda: (values[:, a:b] for a, b in pairwise(edges))


def found(values, n_factors=5, threads=1, width=333, receive=lambda *_: None, **settings):
    settings = FactorSettings(n_factors, **settings)
    return nonnegative_factors(cut(values, width=width), *values.shape, settings, receive, threads)


def gathered(values, **settings):
    """The result, and the factors' values on all rows (K, T) as they were handed out."""
    parts = []

    def receive(first, part):
        assert first == sum(p.shape[1] for p in parts)
        parts.append(part)

    result = found(values, receive=receive, **settings)
    return result, np.concatenate([np.empty((len(result.weights), 0)), *parts], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_least_squares_equal_scipy(seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((20, 6)) + seed * rng.standard_normal((20, 1))
    b = rng.standard_normal((20, 50)) * 10.0 ** rng.integers(-6, 6, 50)
    expected = np.stack([nnls(a, column)[0] for column in b.T], axis=1)
    scale = np.abs(expected).max(axis=0) + 1e-300
    solved = nonnegative_least_squares(a.T @ a, a.T @ b)
    np.testing.assert_allclose(solved / scale, expected / scale, atol=2e-5)
    from_there = nonnegative_least_squares(a.T @ a, a.T @ b, np.abs(b[:6]))
    np.testing.assert_allclose(from_there / scale, expected / scale, atol=2e-5)


def test_least_squares_of_equal_and_empty_factors():
    a = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]])
    solved = nonnegative_least_squares(a.T @ a, a.T @ np.array([[3.0, -1.0], [6.0, -2.0]]))
    np.testing.assert_allclose(solved.sum(axis=0), [3, 0])
    assert (solved[2] == 0).all()
    with pytest.raises(UsageError, match=r"gram must be \(K, K\)"):
        nonnegative_least_squares(np.eye(2), np.ones((3, 4)))
    with pytest.raises(UsageError, match="start must have the shape"):
        nonnegative_least_squares(np.eye(2), np.ones((2, 4)), np.ones((2, 3)))


def test_a_pass_is_a_sum_over_rows_and_its_error_is_of_the_matrix():
    values, weights = awkward(), np.random.default_rng(0).random((4, 40))
    whole = FactorPass.empty(weights)
    rows = whole.update(values)
    np.testing.assert_allclose(factor_values(weights, values), rows)
    merged = FactorPass.empty(weights)
    for block in cut(values, width=77)():
        part = FactorPass.empty(weights)
        part.update(block)
        merged.merge(part).merge(FactorPass.empty(weights))
    for name in ("gram", "cross", "sum_squares", "n_rows"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), rtol=1e-10, atol=1e-8)
    positive = np.maximum(values, 0).astype(np.float64)
    assert whole.squared_error() == pytest.approx(np.square(positive - weights.T @ rows).sum())
    better = whole.finalize()
    assert whole.squared_error(better) == pytest.approx(np.square(positive - better.T @ rows).sum())
    assert whole.squared_error(better) < whole.squared_error()
    with pytest.raises(UsageError, match="do not merge"):
        whole.merge(FactorPass.empty(weights[:2]))
    with pytest.raises(UsageError, match="at least one factor"):
        FactorPass.empty(weights[:0])


def test_sizes_of_the_parts_equal_numpy():
    values = awkward()
    part = NonnegativePart.empty(len(values))
    for block in cut(values, width=50)():
        part.update(block)
    sizes, x = part.finalize(), values.astype(np.float64)
    positive = np.maximum(x, 0)
    assert sizes.n_rows == x.shape[1]
    assert sizes.sum_squares == pytest.approx(np.square(positive).sum())
    assert sizes.sum_squared_deviations == pytest.approx(positive.var(axis=1).sum() * x.shape[1])
    assert sizes.negative_share == pytest.approx(-x[x < 0].sum() / np.abs(x).sum())
    assert sizes.negative_square_share == pytest.approx(np.square(x[x < 0]).sum() / np.square(x).sum())
    np.testing.assert_allclose(sizes.neuron_sum_squares, np.square(positive).sum(axis=1))
    for value, share in ((0, np.nan), (2.5, 0), (-2.5, 1)):
        constant = NonnegativePart.empty(3).update(np.full((3, 5), value, np.float32)).finalize()
        np.testing.assert_equal([constant.negative_share, constant.negative_square_share], [share, share])


@pytest.mark.parametrize("values", [planted()[0], awkward()], ids=["planted", "awkward"])
def test_the_error_is_near_that_of_a_factorisation_of_the_whole(values):
    positive = np.maximum(values, 0).astype(np.float64)
    result, rows = gathered(values, passes=30)
    model = NMF(5, init="nndsvda", max_iter=1000, tol=1e-6, random_state=0)
    model.fit(positive.T)
    best = model.reconstruction_err_ / np.linalg.norm(positive)
    assert result.relative_error <= 1.02 * best
    lost = np.square(positive - result.weights.T @ rows).sum()
    assert result.relative_error == pytest.approx(np.sqrt(lost / np.square(positive).sum()))
    assert result.variance_explained == pytest.approx(1 - lost / (positive.var(axis=1).sum() * positive.shape[1]))
    assert result.share.sum() == pytest.approx(result.explained, abs=1e-5)
    parts = [float(np.sum(positive * np.outer(weight, row))) for weight, row in zip(result.weights, rows, strict=True)]
    np.testing.assert_allclose(result.share, parts / np.square(positive).sum(), atol=1e-9)
    assert (np.diff(result.share) <= 1e-4).all()
    is_seen = (positive > 0).any(axis=1)
    assert (np.isnan(result.neuron_share) == ~is_seen).all()
    assert (result.weights >= 0).all()
    assert (rows >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(result.weights, axis=1), 1)
    assert (np.diff(result.errors) <= 1e-9).all()


def test_planted_factors_are_found_up_to_order_and_scale():
    values, weights = planted()
    result = found(values, passes=30)
    planted_unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    cosine = result.weights @ planted_unit.T
    mine, theirs = linear_sum_assignment(-cosine)
    assert cosine[mine, theirs].min() > 0.999
    assert result.is_converged
    assert result.n_passes < 30
    assert result.relative_error < 0.02
    assert 0 < result.part.negative_share < 0.05


def test_no_bit_depends_on_blocks_or_threads(monkeypatch):
    monkeypatch.setattr("pipeline.correlate.nonnegative_factors.SAMPLE_ROWS", 200)
    values = awkward()
    reference, rows = gathered(values, batch_rows=64)
    assert reference.errors[0] > reference.errors[-1]
    for width, threads in ((1, 1), (64, 3), (400, 2)):
        result, other = gathered(values, batch_rows=64, width=width, threads=threads)
        np.testing.assert_array_equal(result.weights, reference.weights)
        np.testing.assert_array_equal(other, rows)
        np.testing.assert_array_equal(result.share, reference.share)
        assert result.errors == reference.errors


def test_the_seed_draws_the_sample(monkeypatch):
    monkeypatch.setattr("pipeline.correlate.nonnegative_factors.SAMPLE_ROWS", 50)
    values = awkward()
    one, same, two = (found(values, seed=seed, passes=1) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.weights, same.weights)
    assert (one.weights != two.weights).any()
    assert sample_rows(10, 10, 0).tolist() == list(range(10))
    drawn = sample_rows(100, 10, 0)
    assert len(set(drawn.tolist())) == 10
    assert (np.diff(drawn) > 0).all()


def test_more_passes_fit_better_than_the_sample_alone(monkeypatch):
    monkeypatch.setattr("pipeline.correlate.nonnegative_factors.SAMPLE_ROWS", 30)
    values, _ = planted(noise=0.3)
    errors = [found(values, passes=passes).relative_error for passes in (0, 1, 4)]
    assert errors[0] > errors[1] > errors[2]


def test_a_layer_of_zeros_and_one_that_is_never_positive():
    for values in (np.zeros((6, 20), np.float32), np.full((6, 20), -2, np.float32)):
        result, rows = gathered(values)
        assert (result.weights == 0).all()
        assert (rows == 0).all()
        assert np.isnan([result.relative_error, result.explained, result.variance_explained, *result.share]).all()
        assert np.isnan(result.neuron_share).all()
    assert result.part.negative_share == 1


def test_constant_neurons_are_one_factor():
    values = np.repeat(np.array([[1.0], [2.0], [4.0], [0.0], [3.0]], np.float32), 12, axis=1)
    result = found(values, n_factors=2)
    assert result.relative_error < 1e-6
    assert result.share.sum() == pytest.approx(1)
    assert np.isnan(result.variance_explained)
    assert result.weights[0, 3] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n_rows", [0, 1, 3])
def test_fewer_rows_than_factors(n_rows):
    values = np.random.default_rng(0).random((8, n_rows), np.float32)
    result, rows = gathered(values)
    assert rows.shape == (5, n_rows)
    if n_rows:
        assert result.relative_error < 1e-3
    else:
        assert np.isnan(result.relative_error)


def test_what_is_refused():
    values = awkward()
    for bad in (np.nan, np.inf, -np.inf):
        values[3, 7] = bad
        with pytest.raises(ActivationError, match="must be finite; neuron 3 of the block"):
            found(values)
    with pytest.raises(UsageError, match="n_factors must be at most the 4 neurons, got 5"):
        found(values[:4])
    with pytest.raises(UsageError, match="n_rows is 3, and the blocks have 2 rows"):
        nonnegative_factors(lambda: [np.ones((5, 2))], 5, 3, FactorSettings(2))
    for name in ("n_factors", "batch_rows"):
        with pytest.raises(UsageError, match=f"{name} must be at least 1, got 0"):
            FactorSettings(**{name: 0})


def test_batches_are_the_rows_in_order():
    values = np.arange(23.0)[None]
    for width in (1, 2, 5, 23, 40):
        cuts = list(batches(cut(values, width=4)(), width))
        np.testing.assert_array_equal(np.concatenate(cuts, axis=1), values)
        assert {part.shape[1] for part in cuts[:-1]} <= {width}
