"""Non-negative factors of arrays: as good as scikit-learn's, the best values for their weights, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, nnls
from sklearn.decomposition import NMF

from pipeline.correlate import nmf
from pipeline.correlate.nonnegative_factors import FactorSettings, nonnegative_factors
from schemas.errors import ActivationError, UsageError


def planted(n_rows=500, n_neurons=30, n_factors=4, noise=0.05, seed=0):
    """Activations (T, N) of factors that are often 0, some values below 0, and the weights (K, N) of length 1."""
    rng = np.random.default_rng(seed)
    weights = rng.gamma(0.5, 1, (n_factors, n_neurons)) * (rng.random((n_factors, n_neurons)) < 0.4)
    rows = rng.gamma(1, 1, (n_rows, n_factors)) * (rng.random((n_rows, n_factors)) < 0.5)
    values = rows @ weights + noise * rng.standard_normal((n_rows, n_neurons))
    return values, weights / np.linalg.norm(weights, axis=1, keepdims=True)


@pytest.mark.parametrize("negated", [False, True])
def test_the_fit_is_as_good_as_that_of_scikit_learn(negated):
    x = planted()[0] if not negated else -planted()[0] + 0.5
    found, positive = nmf(x, 4, passes=30), np.maximum(x, 0)
    model = NMF(4, init="nndsvda", max_iter=2000, tol=1e-6).fit(positive)
    lost = np.linalg.norm(positive - found.values @ found.weights)
    assert lost <= 1.02 * model.reconstruction_err_
    assert found.relative_error == pytest.approx(lost / np.linalg.norm(positive))
    assert found.explained == pytest.approx(1 - lost**2 / np.square(positive).sum())
    assert found.variance_explained == pytest.approx(1 - lost**2 / (positive.var(axis=0).sum() * len(x)))
    assert found.part.negative_share == pytest.approx(-x[x < 0].sum() / np.abs(x).sum())
    for row in (0, 7, 499):
        best, _ = nnls(found.weights.T, positive[row])
        np.testing.assert_allclose(found.values[row], best, atol=1e-5)


def test_planted_factors_are_found():
    x, weights = planted()
    found = nmf(x, 4, passes=30)
    cosine = found.weights @ weights.T
    assert cosine[linear_sum_assignment(-cosine)].min() > 0.99
    assert (np.diff(found.share) <= 0).all()


def test_it_is_the_kernel_of_the_jobs_bit_for_bit():
    x = planted(n_rows=3000)[0].astype(np.float32)
    rows = []
    kernel = nonnegative_factors(
        lambda: (x[at : at + 700].T for at in range(0, 3000, 700)),
        30, 3000, FactorSettings(3, seed=5, passes=2), lambda _, values: rows.append(values.T), threads=2,
    )  # fmt: skip
    found = nmf(x, 3, seed=5, passes=2)
    np.testing.assert_array_equal(found.weights, kernel.weights)
    np.testing.assert_array_equal(found.share, kernel.share)
    np.testing.assert_array_equal(found.values, np.concatenate(rows))


def test_nothing_positive_one_neuron_one_row_and_constants():
    for x in (np.zeros((6, 3)), np.full((6, 3), -2.0)):
        found = nmf(x, 2)
        assert (found.weights == 0).all()
        assert (found.values == 0).all()
        assert np.isnan([found.relative_error, found.variance_explained, *found.share]).all()
    one = nmf(np.array([-1.0, 2, 3]), 1)
    np.testing.assert_allclose(one.values @ one.weights, [[0], [2], [3]], atol=1e-6)
    np.testing.assert_allclose(nmf([[1.0, 2, 0]], 1).relative_error, 0, atol=1e-6)
    constant = nmf(np.tile([1.0, 0, 3], (9, 1)), 2)
    assert constant.share.sum() == pytest.approx(1)
    assert np.isnan(constant.variance_explained)
    assert np.isnan(constant.neuron_share[:, 1]).all()


def test_what_is_refused():
    x = planted()[0]
    for wrong in (np.nan, np.inf, -np.inf):
        broken = x.copy()
        broken[450, 2] = wrong
        with pytest.raises(ActivationError, match="activations must be finite; row 450, neuron 2"):
            nmf(broken, 2)
    with pytest.raises(ActivationError, match="squares overflow float64"):
        nmf(x * 1e200, 2)
    for array, settings, said in (
        (x[:0], {}, "at least one row"),
        (x[None], {}, r"not of shape \(1, 500, 30\)"),
        ([["a"]], {}, "activations must be an array of numbers"),
        (x.astype(complex), {}, "array of real numbers, not of complex128"),
        (x[:, 0], {"n_factors": 2}, "n_factors must be at most the 1 neurons, got 2"),
        (x, {"n_factors": 0}, "n_factors must be at least 1, got 0"),
        (x, {"seed": -1}, "seed must be at least 0, got -1"),
    ):
        with pytest.raises(UsageError, match=said):
            nmf(array, **settings)
