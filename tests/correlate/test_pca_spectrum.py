"""The spectrum of co-moments is that of scikit-learn's PCA, and the dimensions follow from it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from pipeline.correlate.pca_spectrum import PcaSpectrum, dimension_columns, pca_spectrum, spectrum_columns
from schemas.errors import ActivationError, UsageError


def rows(n_rows=200, n_neurons=12, seed=0):
    """Values (T, N) with a constant, a duplicate and a negated neuron."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n_rows, n_neurons)) @ rng.standard_normal((n_neurons, n_neurons))
    values[:, 0] = 7
    values[:, 2], values[:, 3] = values[:, 1], -values[:, 1]
    return values


def spectrum_of(values):
    centred = values - values.mean(axis=0) if len(values) else values
    return pca_spectrum(centred.T @ centred, len(values))


@pytest.mark.parametrize(
    "values", [rows(), rows(n_rows=6), rows(n_rows=2), rows() + 300, rows(n_neurons=4) * 1e-4], ids=str
)
def test_the_spectrum_is_that_of_a_pca(values):
    found, n = spectrum_of(values), len(values)
    model = PCA(svd_solver="full").fit(values)
    size = len(model.explained_variance_)
    scale = model.explained_variance_[0]
    np.testing.assert_allclose(found.eigenvalues[:size] * n / (n - 1), model.explained_variance_, atol=1e-10 * scale)
    np.testing.assert_allclose(found.eigenvalues[size:], 0, atol=1e-10 * scale)
    np.testing.assert_allclose(found.share[:size], model.explained_variance_ratio_, atol=1e-10)
    np.testing.assert_allclose(found.cumulative[:size], np.cumsum(model.explained_variance_ratio_), atol=1e-10)
    assert found.total == pytest.approx(values.var(axis=0).sum())
    for level in (0.5, 0.9, 0.95):
        expected = PCA(n_components=level, svd_solver="full").fit(values).n_components_
        assert found.n_components(level) == expected
    assert found.rank == np.linalg.matrix_rank(values - values.mean(axis=0))
    sizes = np.linalg.svd(values - values.mean(axis=0), compute_uv=False)
    sizes = sizes[sizes > 1e-9 * sizes[0]] / sizes[sizes > 1e-9 * sizes[0]].sum()
    assert found.effective_rank == pytest.approx(np.exp(-(sizes * np.log(sizes)).sum()))
    squares = model.explained_variance_
    assert found.participation_ratio == pytest.approx(squares.sum() ** 2 / np.square(squares).sum())


def test_equal_components_count_fully():
    found = PcaSpectrum(5, np.full(10, 0.3))
    assert found.participation_ratio == pytest.approx(10)
    assert found.effective_rank == pytest.approx(10)
    assert [found.n_components(level) for level in (0.1, 0.3, 0.9, 0.91, 1)] == [1, 3, 9, 10, 10]
    one = PcaSpectrum(5, np.array([2.0, 0, 0]))
    assert (one.participation_ratio, one.effective_rank, one.n_components(0.99), one.rank) == (1, 1, 1, 1)
    with pytest.raises(UsageError, match="level must be above 0 and at most 1, got 0"):
        found.n_components(0)


def test_without_variance_everything_is_null():
    constant = dimension_columns("mlp", 2, spectrum_of(np.full((4, 3), 5.0)))
    assert constant["total_variance"] == [0]
    assert constant["rank"] == [0]
    empty = dimension_columns("mlp", 2, spectrum_of(np.empty((0, 3))))
    assert (empty["rank"], empty["total_variance"]) == ([None], [None])
    for columns in (constant, empty):
        assert [columns[name] for name in ("participation_ratio", "effective_rank", "n_90", "n_99")] == [[None]] * 4
    single = spectrum_columns("mlp", 2, spectrum_of(np.array([[5.0]])))
    assert single["share"].mask.all()


def test_the_columns():
    values = rows(n_neurons=5)
    found = spectrum_of(values)
    columns = spectrum_columns("resid", 3, found)
    assert list(columns) == ["component", "layer", "k", "eigenvalue", "share", "cumulative"]
    assert {len(column) for column in columns.values()} == {5}
    assert columns["k"].tolist() == [1, 2, 3, 4, 5]
    assert columns["cumulative"][-1] == pytest.approx(1)
    row = dimension_columns("resid", 3, found)
    assert (row["component"], row["layer"], row["n_rows"], row["n_neurons"]) == (["resid"], [3], [200], [5])
    assert row["n_95"] == [found.n_components(0.95)]


def test_what_is_refused():
    with pytest.raises(UsageError, match=r"co_moments must be \(N, N\) of at least 0 rows, got \(2, 3\)"):
        pca_spectrum(np.ones((2, 3)), 4)
    with pytest.raises(UsageError, match="must be symmetric"):
        pca_spectrum(np.array([[1.0, 2.0], [0.0, 1.0]]), 4)
    with pytest.raises(ActivationError, match="must be finite"):
        pca_spectrum(np.array([[np.nan]]), 4)


def test_rounding_of_single_precision_is_no_dimension():
    values = rows(n_rows=6)
    centred = (values - values.mean(axis=0)).astype(np.float32)
    moments = (centred.T @ centred).astype(np.float64)
    moments = (moments + moments.T) / 2
    exact, rough = spectrum_of(values), pca_spectrum(moments, 6, resolution=1e-6)
    assert pca_spectrum(moments, 6).rank > exact.rank == rough.rank == 5
    assert rough.effective_rank == pytest.approx(exact.effective_rank, rel=1e-4)
    np.testing.assert_allclose(rough.eigenvalues, exact.eigenvalues, atol=1e-6 * exact.total)
