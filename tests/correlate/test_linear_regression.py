"""R² from moments equals `numpy.linalg.lstsq` on the activations, of any rank."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from pipeline.correlate.linear_regression import ColumnSpace, linear_regression
from schemas.errors import ActivationError, UsageError


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0)


def by_lstsq(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, int]:
    """R² of each column of x on all columns of y with an intercept, and the rank of the centred y."""
    xc, yc = centred(x), centred(y)
    weights, _, rank, _ = np.linalg.lstsq(yc, xc, rcond=None)
    with np.errstate(invalid="ignore"):
        return 1 - ((xc - yc @ weights) ** 2).sum(axis=0) / (xc**2).sum(axis=0), int(rank)


def by_moments(x: np.ndarray, y: np.ndarray, **options: float):
    xc, yc = centred(x), centred(y)
    return linear_regression((xc**2).sum(axis=0), yc.T @ yc, xc.T @ yc, len(x), **options)


def related(n_rows: int, n_a: int, n_b: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    sources = random.standard_normal((n_rows, 10))
    x, y = (
        sources @ random.standard_normal((10, n)) + random.standard_normal((n_rows, n)) * random.uniform(0.1, 9, n)
        for n in (n_a, n_b)
    )
    return x, y


@pytest.mark.parametrize("offset", [0, 300])
@pytest.mark.parametrize(("n_rows", "n_a", "n_b"), [(500, 30, 60), (2000, 5, 1), (61, 3, 60), (100, 1, 40)])
def test_equals_least_squares_where_neurons_are_independent(n_rows, n_a, n_b, offset):
    x, y = related(n_rows, n_a, n_b)
    x, y = (v * np.geomspace(1e-3, 1e4, v.shape[1]) for v in (x, y))
    x, y = (v + offset * v.std(axis=0) for v in (x, y))
    expected, rank = by_lstsq(x, y)
    found = by_moments(x, y)
    np.testing.assert_allclose(found.r2, expected, atol=1e-8)
    assert found.rank == rank == min(n_b, n_rows - 1)
    assert not found.is_trivial or n_rows == n_b + 1
    if n_rows > n_b + 1:
        adjusted = 1 - (1 - expected) * (n_rows - 1) / (n_rows - rank - 1)
        np.testing.assert_allclose(found.adjusted_r2, adjusted, atol=1e-7)


def test_equals_least_squares_with_copies_negations_constants_and_combinations():
    x, y = related(400, 8, 50)
    y[:, 3], y[:, 4], y[:, 5] = y[:, 7], -2 * y[:, 9], 6.25
    y[:, 6] = y[:, 10] + 3 * y[:, 11] - 0.5 * y[:, 49]
    expected, rank = by_lstsq(x, y)
    found = by_moments(x, y)
    np.testing.assert_allclose(found.r2, expected, atol=1e-8)
    assert found.rank == rank == 46
    random = np.random.default_rng(5)
    low = random.standard_normal((400, 12)) @ random.standard_normal((12, 90))
    expected, rank = by_lstsq(x, low)
    found = by_moments(x, low)
    np.testing.assert_allclose(found.r2, expected, atol=1e-8)
    assert found.rank == rank == 12
    assert found.expected_r2 == pytest.approx(12 / 399)


@pytest.mark.parametrize(("n_rows", "n_b"), [(2, 3), (30, 80), (60, 60)])
def test_fewer_rows_than_neurons_explain_everything_and_say_so(n_rows, n_b):
    x, y = related(n_rows, 4, n_b)
    found = by_moments(x, y)
    np.testing.assert_allclose(found.r2, np.ones(4), atol=1e-10)
    assert found.rank == n_rows - 1
    assert found.is_trivial
    assert found.expected_r2 == 1
    assert np.isnan(found.adjusted_r2).all()


def test_fewer_rows_than_neurons_of_low_rank_are_no_trivial_answer():
    random = np.random.default_rng(2)
    x, y = random.standard_normal((30, 3)), random.standard_normal((30, 5)) @ random.standard_normal((5, 80))
    expected, rank = by_lstsq(x, y)
    found = by_moments(x, y)
    assert found.rank == rank == 5
    assert not found.is_trivial
    np.testing.assert_allclose(found.r2, expected, atol=1e-10)


def test_many_rows_do_not_turn_copies_into_rank():
    random = np.random.default_rng(3)
    x, y = random.standard_normal((100_000, 2)), random.standard_normal((100_000, 6))
    y = np.hstack([y, y * [1e3, -1, 1, 1e-5, 7, 3], y[:, :1] + y[:, 1:2]]) + 300
    assert by_moments(x, y).rank == 6


def test_constant_neurons_have_no_score_and_explain_nothing():
    x, y = related(50, 3, 4)
    x[:, 1], y[:, 2] = 3.0, -1.0
    expected, rank = by_lstsq(x, np.delete(y, 2, axis=1))
    found = by_moments(x, y)
    assert found.rank == rank == 3
    np.testing.assert_allclose(found.r2[[0, 2]], expected[[0, 2]], atol=1e-12)
    assert np.isnan(found.r2[1])
    assert np.isnan(found.adjusted_r2[1])
    nothing = by_moments(x, np.ones((50, 4)))
    assert nothing.rank == 0
    assert np.isnan(nothing.r2).all()
    assert np.isnan(nothing.expected_r2)
    assert np.isnan(by_moments(x[:1], y[:1]).r2).all()


def test_ridge_is_relative_to_the_mean_variance_and_bounded_by_the_fit():
    x, y = related(200, 5, 30)
    y[:, 4] = 1.0
    y[:, 5] = y[:, 6]
    xc, yc = centred(x), centred(y)
    ridge = 0.3
    m2 = (yc**2).sum(axis=0)
    added = ridge * m2[m2 > 0].mean()
    found = by_moments(x, y, ridge=ridge)
    fit = Ridge(alpha=added, fit_intercept=False).fit(yc, xc)
    dual = np.einsum("ij,ji->i", fit.coef_, yc.T @ xc) / (xc**2).sum(axis=0)
    np.testing.assert_allclose(found.r2, dual, atol=1e-10)
    explained = 1 - ((xc - fit.predict(yc)) ** 2).sum(axis=0) / (xc**2).sum(axis=0)
    assert (found.r2 < explained).all()
    assert found.rank == 29
    assert np.isnan(found.adjusted_r2).all()
    few = by_moments(x[:20], y[:20], ridge=ridge)
    assert not few.is_trivial
    assert (few.r2 < 1).all()


def test_independent_models_score_as_expected_and_adjusted_nothing():
    random = np.random.default_rng(4)
    found = by_moments(random.standard_normal((1000, 400)), random.standard_normal((1000, 200)))
    assert found.expected_r2 == pytest.approx(200 / 999)
    assert found.r2.mean() == pytest.approx(found.expected_r2, abs=0.003)
    assert found.adjusted_r2.mean() == pytest.approx(0, abs=0.004)


def test_covariances_give_the_same_and_a_space_serves_many_blocks():
    x, y = related(300, 2500, 20)
    xc, yc = centred(x), centred(y)
    m2, bb, ab = (xc**2).sum(axis=0), yc.T @ yc, xc.T @ yc
    whole = linear_regression(m2, bb, ab, 300)
    space = ColumnSpace.of(bb / 299, 300)
    parts = [space.regress(ab[rows] / 299, m2[rows] / 299).r2 for rows in (slice(0, 700), slice(700, 2500))]
    np.testing.assert_allclose(np.concatenate(parts), whole.r2, atol=1e-12)
    np.testing.assert_allclose(whole.r2, by_lstsq(x, y)[0], atol=1e-10)


def test_the_tolerance_is_the_share_of_variance_left_and_the_rank_below_the_rows():
    for r, rank in ((1 - 5e-13, 1), (1 - 1e-9, 2)):  # 1 − r² is left: 1e−12, 2e−9
        bb, ab = np.array([[1, r], [r, 1]]), np.array([[0.5, 0.5 * r]])
        found = linear_regression([1.0], bb, ab, 100)
        assert found.rank == rank
        np.testing.assert_allclose(found.r2, 0.25, atol=1e-6)
        assert linear_regression([1.0], bb, ab, 100, tolerance=1e-8).rank == 1
    assert linear_regression([1.0], np.eye(9), np.zeros((1, 9)), 5).rank == 4


def test_bad_arguments_are_named():
    good = {"m2_a": [1.0], "bb": [[1.0]], "ab": [[0.5]], "n_rows": 9}
    for change, error, words in (
        ({"bb": [[1.0, 0.0]]}, UsageError, "bb"),
        ({"ab": [[0.5, 0.5]]}, UsageError, "ab"),
        ({"bb": [[np.nan]]}, ActivationError, "bb"),
        ({"ab": [[np.inf]]}, ActivationError, "ab"),
        ({"n_rows": 0}, UsageError, "n_rows"),
        ({"ridge": -1.0}, UsageError, "ridge"),
        ({"ridge": np.nan}, UsageError, "ridge"),
        ({"tolerance": 0.0}, UsageError, "tolerance"),
    ):
        with pytest.raises(error, match=words):
            linear_regression(**(good | change))
    assert linear_regression(**good).r2.tolist() == [0.25]
