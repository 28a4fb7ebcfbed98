"""Correlations of neurons with numbers of rows equal numpy's, column by column over the rows that have the number."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from pipeline.correlate import column_correlations, shuffled
from pipeline.correlate.column_moments import ColumnMoments
from pipeline.correlate.shuffled_blocks import null_rows
from schemas.errors import ActivationError, UsageError


def case(n_rows=400, n_neurons=6, seed=0):
    """Activations with a constant neuron and one of a mean of 300 sd, and three columns, the second with gaps."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_rows, n_neurons))
    columns = x[:, :3] + rng.standard_normal((n_rows, 3))
    x[:, 3], x[:, 4] = 0.1, x[:, 0] + 300
    columns[rng.random(n_rows) < 0.2, 1] = np.nan
    return x, columns


def oracle(x, column):
    given = ~np.isnan(column)
    known = np.delete(np.arange(x.shape[1]), 3)
    r = np.full(x.shape[1], np.nan)
    r[known] = np.corrcoef((x[given] - x.mean(axis=0))[:, known].T, column[given])[-1, :-1]
    return r


@pytest.mark.parametrize("seed", [0, 3])
def test_r_and_null_equal_numpy(seed):
    x, columns = case()
    found = column_correlations(x, columns, null=seed)
    assert found.n_rows.tolist() == (~np.isnan(columns)).sum(axis=0).tolist()
    for k, column in enumerate(columns.T):
        given = ~np.isnan(column)
        np.testing.assert_allclose(found.r[k], oracle(x, column), atol=1e-11)
        null = np.full(len(x), np.nan)
        null[given] = shuffled(column[given], seed)
        np.testing.assert_allclose(found.null_r[k], oracle(x, null), atol=1e-11)
    assert np.nanmax(np.abs(found.null_r)) < 0.25 < found.r[[0, 1, 2], [0, 1, 2]].min()


def test_no_scale_changes_a_bit():
    x, columns = case()
    found, scaled = column_correlations(x, columns), column_correlations(x * 2.0**900, columns * 2.0**-700)
    np.testing.assert_array_equal(scaled.r, found.r)
    np.testing.assert_array_equal(scaled.null_r, found.null_r)
    copies = column_correlations(np.column_stack([x[:, 0] * 1e-300, -x[:, 0]]), x[:, 0])
    np.testing.assert_array_equal(copies.r, [[1, -1]])


def test_constants_single_rows_and_no_numbers_are_undefined():
    x, columns = case()
    columns[:, 0], columns[:, 1], columns[1:, 2] = 7, np.nan, np.nan
    found = column_correlations(x, columns)
    assert np.isnan(found.r).all()
    assert np.isnan(found.null_r).all()
    assert found.n_rows.tolist() == [400, 0, 1]
    assert np.isnan(column_correlations(x[:1], columns[:1]).r).all()
    assert column_correlations(x[:, 0], x[:, 0]).r.tolist() == [[1]]
    assert column_correlations(x[:, :0], columns).r.shape == (3, 0)


def test_batches_merge_to_the_whole():
    x, columns = case()
    order = partial(null_rows, seed=1)
    whole, merged = ColumnMoments.empty(6, 3), ColumnMoments.empty(6, 3)
    for part in (slice(0, 0), slice(0, 150), slice(150, 151), slice(151, 400)):
        batch = x[part].T, columns[part].T, order
        whole.update(*batch)
        merged.merge(ColumnMoments.empty(6, 3).update(*batch))
    merged.merge(ColumnMoments.empty(6, 3))
    one, other = whole.finalize(), merged.finalize()
    np.testing.assert_allclose(one.r, column_correlations(x, columns).r, atol=1e-12)
    np.testing.assert_array_equal(one.n_rows, other.n_rows)
    for name in ("r", "null_r"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-12)
    with pytest.raises(UsageError, match="do not merge"):
        whole.merge(ColumnMoments.empty(6, 2))
    with pytest.raises(UsageError, match=r"columns must be \(3, T\)"):
        whole.update(x.T, columns[:, :2].T, order)
    with pytest.raises(UsageError, match="as many rows as the activations, 400"):
        whole.update(x.T, columns[:9].T, order)


def test_what_is_refused():
    x, columns = case()
    broken = x.copy()
    broken[7, 2] = np.nan
    with pytest.raises(ActivationError, match="activations must be finite; row 7, neuron 2"):
        column_correlations(broken, columns)
    infinite = columns.copy()
    infinite[9, 1] = -np.inf
    for given, said in (
        ((x, infinite), "row 9, column 1 is infinite"),
        ((x, columns[:-1]), "columns must have the 400 rows of the activations, not 399"),
        ((x, columns[:, :0]), "columns must be at least one, got 0"),
        ((x, [["noun"]] * 400), "columns must be an array of numbers"),
        ((x[:0], columns[:0]), "activations must be .* at least one row"),
        ((x, columns, -1), "seed must be at least 0, got -1"),
    ):
        with pytest.raises(UsageError, match=said):
            column_correlations(*given)
