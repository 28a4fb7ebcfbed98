"""The spectrum of an array is that of a singular value decomposition, whatever its scale."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.correlate import principal_spectrum
from schemas.errors import ActivationError, UsageError


def values(n_rows=300, n_neurons=10, seed=0):
    """(T, N) with a constant, a copy, a negation, and a mean of 300 sd."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_rows, n_neurons)) @ rng.standard_normal((n_neurons, n_neurons))
    x[:, 0], x[:, 2], x[:, 3] = 0.1, x[:, 1], -x[:, 1]
    x[:, 4] += 300 * x[:, 4].std()
    return x


@pytest.mark.parametrize(
    "x",
    [values(), values(5), values(2), values() * 1e-6, values() * 1e70],
    ids=["tall", "wide", "two rows", "small", "large"],
)
def test_it_equals_a_singular_value_decomposition(x):
    found = principal_spectrum(x)
    sizes = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    variances = np.zeros(10)
    variances[: len(sizes)] = sizes**2 / len(x)
    np.testing.assert_allclose(found.eigenvalues, variances, atol=1e-12 * variances[0])
    assert found.total == pytest.approx(x.var(axis=0).sum())
    assert found.rank == min(7, len(x) - 1)
    assert found.participation_ratio == pytest.approx(variances.sum() ** 2 / np.square(variances).sum())
    share = np.cumsum(variances) / variances.sum()
    assert [found.n_components(level) for level in (0.5, 0.9)] == [
        np.argmax(share >= level) + 1 for level in (0.5, 0.9)
    ]


def test_what_has_no_variance_has_no_dimensions():
    for x in (np.ones((9, 4)), np.ones((1, 4)), np.arange(4.0)[None], np.empty((3, 0))):
        found = principal_spectrum(x)
        assert found.eigenvalues.tolist() == [0] * x.shape[1]
        assert np.isnan([found.participation_ratio, found.effective_rank]).all()
        assert (found.rank, found.n_components(0.9)) == (0, None)


def test_one_neuron_is_one_dimension():
    found = principal_spectrum([3, 5, 10])
    assert found.eigenvalues == pytest.approx([np.var([3, 5, 10])])
    assert (found.participation_ratio, found.effective_rank, found.rank) == (1, 1, 1)


def test_what_is_refused():
    for wrong, said in ((np.nan, "row 4, neuron 1: nan"), (1e200, "squares overflow")):
        x = values()
        x[4, 1] = wrong
        with pytest.raises(ActivationError, match=said):
            principal_spectrum(x)
    for x in (np.empty((0, 3)), np.zeros((2, 2, 2)), np.float64(3), [["a"]], [[1, 2], [3]]):
        with pytest.raises(UsageError, match="activations must be"):
            principal_spectrum(x)
