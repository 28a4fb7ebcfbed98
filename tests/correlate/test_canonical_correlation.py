"""Canonical correlations from moments equal QR and SVD of the activations; so do SVCCA, PWCCA, weights and null."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from sklearn.cross_decomposition import CCA

from pipeline.correlate import linreg, pwcca, svcca
from pipeline.correlate.canonical_correlation import (
    canonical_correlations,
    correlate_components,
    independent_correlation,
    svcca_scores,
)
from pipeline.correlate.principal_components import principal_components
from schemas.errors import ActivationError, UsageError


def related(n_rows: int, n_a: int, n_b: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    sources = random.standard_normal((n_rows, 6)) * np.geomspace(3, 0.3, 6)
    x, y = (
        sources @ random.standard_normal((6, n)) + random.standard_normal((n_rows, n)) * random.uniform(0.05, 2, n)
        for n in (n_a, n_b)
    )
    return x, y


def basis(values: np.ndarray, share: float) -> np.ndarray:
    """Orthonormal rows' coordinates (T, k) of the smallest k components with the share of the variance."""
    centred = values - values.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    sizes = sizes[: np.linalg.matrix_rank(centred)]
    k = len(sizes)
    while k > 1 and share < 1 and (sizes[: k - 1] ** 2).sum() >= share * (sizes**2).sum():
        k -= 1
    return left[:, :k]


def by_svd(x: np.ndarray, y: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ρ and the variates (T, K) of both sides, on the activations."""
    base_x, base_y = basis(x, share), basis(y, share)
    left, rho, right = np.linalg.svd(base_x.T @ base_y, full_matrices=False)
    return rho, base_x @ left, base_y @ right.T


@pytest.mark.parametrize("share", [0.6, 0.99, 1.0])
@pytest.mark.parametrize(("n_rows", "n_a", "n_b", "offset"), [(300, 20, 35, 0), (400, 9, 4, 300), (500, 1, 12, 0)])
def test_everything_equals_the_definitions_on_activations(n_rows, n_a, n_b, offset, share):
    x, y = related(n_rows, n_a, n_b)
    x, y = x + offset * x.std(axis=0), y + offset * y.std(axis=0)
    rho, z, w = by_svd(x, y, share)
    sv, pw = svcca(x, y, share), pwcca(x, y, share)
    np.testing.assert_allclose(sv.correlations.rho, rho, atol=1e-9)
    assert (sv.correlations.k_a, sv.correlations.k_b) == (basis(x, share).shape[1], basis(y, share).shape[1])
    assert sv.score == sv.score_b == pytest.approx(rho.mean(), abs=1e-9)
    for side, values, variates in (("a", x, z), ("b", y, w)):
        n = values.shape[1]
        r = np.corrcoef(values.T, variates.T)[:n, n:]
        np.testing.assert_allclose(getattr(sv, f"weights_{side}"), r**2 @ rho, atol=1e-8)
        np.testing.assert_allclose(getattr(pw, f"weights_{side}"), np.abs(r) @ rho / np.abs(r).sum(axis=1), atol=1e-6)
        alpha = np.abs(variates.T @ (values - values.mean(axis=0))).sum(axis=1)
        score = pw.score if side == "a" else pw.score_b
        assert score == pytest.approx(alpha @ rho / alpha.sum(), abs=1e-8)
        own = np.abs((values - values.mean(axis=0)).T @ variates).sum(axis=1)
        assert np.average(getattr(pw, f"weights_{side}"), weights=own) == pytest.approx(score, abs=1e-8)


def test_correlations_equal_those_of_scikit_learn():
    x, y = related(400, 6, 4)
    model = CCA(n_components=4, max_iter=5000, tol=1e-12).fit(x, y)
    z, w = model.transform(x, y)
    expected = [np.corrcoef(z[:, k], w[:, k])[0, 1] for k in range(4)]
    np.testing.assert_allclose(pwcca(x, y).correlations.rho, expected, atol=1e-6)


def test_squared_correlations_and_loadings_add_up_to_the_regression():
    x, y = related(300, 8, 12)
    found = pwcca(x, y).correlations
    np.testing.assert_allclose(found.loadings_a**2 @ found.rho**2, linreg(x, y).r2, atol=1e-10)


@pytest.mark.parametrize(
    ("share", "k"), [(0.5, 1), (0.51, 2), (0.8, 2), (0.95, 3), (0.951, 4), (0.99, 4), (0.9901, 5), (1.0, 5)]
)
def test_the_smallest_number_of_components_with_the_share_is_kept(share, k):
    variances = np.array([0.5, 0.3, 0.15, 0.04, 0.01])
    turn = scipy.linalg.hadamard(8)[:5, :5] + np.eye(5)
    turn, _ = np.linalg.qr(turn)
    matrix = turn * variances @ turn.T
    for moments in (np.diag(variances), matrix, matrix * 1e-9, matrix * 1e9):
        found = principal_components(moments, 1000, share)
        assert found.k == k
        assert found.rank == 5
    even = principal_components(np.eye(100), 1000, 0.99)
    assert even.k == 99


def test_components_reproduce_the_moments_and_rounding_is_no_component():
    random = np.random.default_rng(1)
    x = random.standard_normal((200, 4)) @ random.standard_normal((4, 30))
    x -= x.mean(axis=0)
    found = principal_components(x.T @ x, 200, 1.0)
    assert found.k == found.rank == 4
    np.testing.assert_allclose(found.directions * found.moments @ found.directions.T, x.T @ x, atol=1e-9)
    assert principal_components(np.eye(9), 5, 1.0).rank == 4
    for nothing in (np.zeros((3, 3)), np.empty((0, 0))):
        assert principal_components(nothing, 10, 0.99).k == 0
    assert principal_components(np.eye(3), 1, 0.99).k == 0


def test_independent_models_score_far_from_0_and_the_null_says_so():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((2, 1000, 100))
    found = pwcca(x, y)
    assert found.correlations.k_a == found.correlations.k_b == 100
    rho = found.correlations.rho
    assert rho.mean() == pytest.approx(0.271, abs=0.005)
    assert np.sqrt((rho**2).mean()) == pytest.approx(0.315, abs=0.005)  # √(k/(n − 1)) on average
    assert found.expected == pytest.approx(rho.mean(), abs=0.005)
    assert found.score == pytest.approx(found.expected, abs=0.01)
    assert svcca(x, y, 1.0).score == rho.mean()


@pytest.mark.parametrize(
    ("k_a", "k_b", "n_rows"), [(10, 10, 60), (20, 40, 100), (30, 50, 75), (40, 20, 60), (19, 20, 40)]
)
def test_the_analytic_null_is_the_mean_between_independent_models(k_a, k_b, n_rows):
    random = np.random.default_rng(2)
    means = [
        svcca(random.standard_normal((n_rows, k_a)), random.standard_normal((n_rows, k_b)), 1.0).score
        for _ in range(12)
    ]
    error = np.std(means) / np.sqrt(len(means))
    assert independent_correlation(k_a, k_b, n_rows) == pytest.approx(np.mean(means), abs=0.02 * means[0] + 3 * error)


def test_the_analytic_null_at_its_ends():
    assert independent_correlation(5, 99, 100) == 1.0
    assert independent_correlation(99, 99, 100) == 1.0
    assert independent_correlation(7, 30, 200) == independent_correlation(30, 7, 200)
    assert independent_correlation(10, 10, 10**6) == pytest.approx(8 / (3 * np.pi) / np.sqrt(10**5), rel=1e-3)
    for wrong in ((0, 5, 100), (5, 100, 100)):
        with pytest.raises(UsageError, match="k_a and k_b"):
            independent_correlation(*wrong)


def test_too_few_rows_are_flagged_with_the_number_of_forced_correlations():
    random = np.random.default_rng(3)
    for n_rows, n_a, n_b, forced in ((60, 40, 30, 11), (71, 40, 30, 0), (70, 40, 30, 1), (20, 40, 30, 19)):
        found = pwcca(random.standard_normal((n_rows, n_a)), random.standard_normal((n_rows, n_b)))
        correlations = found.correlations
        assert (correlations.n_forced, correlations.is_trivial) == (forced, forced > 0)
        assert np.sum(correlations.rho > 1 - 1e-9) == forced
    assert found.score == pytest.approx(1)
    assert found.expected == 1
    assert (correlations.k_a, correlations.k_b) == (19, 19)


def test_a_null_of_the_same_models_uses_their_components_again():
    x, y = related(300, 8, 12)
    order = np.random.default_rng(4).permutation(300)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    aa, bb, null = x.T @ x, y.T @ y, x.T @ y[order]
    of_a, of_b = (principal_components(matrix, 300, 0.99) for matrix in (aa, bb))
    found = svcca_scores(correlate_components(of_a, of_b, aa.diagonal(), bb.diagonal(), null, 300))
    assert found.score == pytest.approx(svcca(x, y[order]).score, abs=1e-12)
    assert found.score < svcca(x, y).score - 0.2


def test_constant_neurons_and_models_are_undefined():
    x, y = related(100, 5, 4)
    x[:, 2] = 300.1
    for scores in (svcca(x, y), pwcca(x, y)):
        assert np.isnan(scores.weights_a[2])
        assert np.isfinite(np.delete(scores.weights_a, 2)).all()
        assert np.isfinite(scores.score)
    without = svcca(np.delete(x, 2, axis=1), y)
    assert svcca(x, y).score == pytest.approx(without.score, abs=1e-12)
    for scores in (svcca(x, np.ones((100, 3))), pwcca(x, np.ones((100, 3)))):
        assert np.isnan([scores.score, scores.score_b, scores.expected]).all()
        assert np.isnan(scores.weights_a).all()
        assert np.isnan(scores.weights_b).all()
        assert scores.correlations.n_forced == 0


def test_a_neuron_outside_all_components_has_no_projection():
    matrix = np.diag([100.0, 1e-3])
    found = canonical_correlations(matrix, matrix, np.diag([50.0, 0.0]), 1000)
    assert found.k_a == 1
    assert svcca_scores(found).weights_a.tolist() == [0.5, 0.0]


def test_bad_arguments_are_named():
    good = {"aa": [[1.0]], "bb": [[1.0]], "ab": [[0.5]], "n_rows": 9}
    for change, error, words in (
        ({"aa": [[1.0, 0.0]]}, UsageError, "aa"),
        ({"ab": [[0.5, 0.5]]}, UsageError, "ab"),
        ({"bb": [[np.nan]]}, ActivationError, "bb"),
        ({"ab": [[np.nan]]}, ActivationError, "ab"),
        ({"variance_share": 0.0}, UsageError, "variance_share"),
        ({"variance_share": 1.5}, UsageError, "variance_share"),
        ({"n_rows": 0}, UsageError, "n_rows"),
    ):
        with pytest.raises(error, match=words):
            canonical_correlations(**(good | change))
    assert canonical_correlations(**good).rho == pytest.approx([0.5])
