"""Correlation of the neurons of plain arrays with numbers of their rows, for notebooks."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from pipeline.correlate.column_moments import ColumnCorrelations, ColumnMoments
from pipeline.correlate.second_moments import Floats, finite_rows, number_rows
from pipeline.correlate.shuffled_blocks import null_rows
from schemas.errors import UsageError


def column_correlations(activations: ArrayLike, columns: ArrayLike, null: int = 0) -> ColumnCorrelations:
    """Pearson's r of activations X (T, N) with ``columns`` (T, K) of numbers; (T,) for one neuron or one column.

    A NaN in a column is a row without that number, which is left out and shows in ``n_rows``. ``null_r`` is the same
    with each column's numbers shuffled by the seed ``null``, as :func:`~pipeline.correlate.shuffled` does. NaN for
    constants. What `neuronmill correlate --column` computes, in one shard of rows.

    Raises :class:`UsageError` for shapes that do not fit, no rows or columns, a negative seed and infinite numbers,
    :class:`ActivationError` for NaN and infinity in X.
    """
    x, numbers = finite_rows(activations, "activations"), number_rows(columns, "columns")
    if len(numbers) != len(x):
        raise UsageError(f"columns must have the {len(x)} rows of the activations, not {len(numbers)}")
    if np.isinf(numbers).any():
        row, column = np.argwhere(np.isinf(numbers))[0]
        raise UsageError(f"columns must be finite, or NaN for no number; row {row}, column {column} is infinite")
    state = ColumnMoments.empty(x.shape[1], numbers.shape[1])
    return state.update(_scaled(x).T, _scaled(numbers).T, partial(null_rows, seed=null)).finalize()


def _scaled(values: Floats) -> Floats:
    """Columns over a power of two that brings them within ±1: no r changes, and squares neither overflow nor vanish."""
    _, exponent = np.frexp(np.nanmax(np.abs(values), axis=0, initial=0.0))
    scaled: Floats = np.ldexp(values, -exponent)
    return scaled
