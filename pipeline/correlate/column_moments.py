"""Correlation of neurons with numbers of rows, beside the same with these numbers on other rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.stats.cross_moments import CrossMoments
from pipeline.stats.value_block import check_mergeable, check_rows
from schemas.errors import UsageError

Floats = NDArray[np.float64]
#: The order of so many rows that the null takes, indices (n,).
NullOrder = Callable[[int], NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class ColumnCorrelations:
    """Pearson's r of K columns and N neurons over the rows that have the column's number. Undefined is NaN."""

    r: Floats
    """(K, N), in [−1, 1]; NaN where the neuron or the column is constant, or the column has no number."""
    null_r: Floats
    """(K, N): the same with the column's numbers shuffled in blocks of rows."""
    n_rows: NDArray[np.int64]
    """(K,): rows with the number."""


@dataclass(slots=True, eq=False)
class ColumnMoments:
    """Co-moments, in float64, of N neurons with each of K columns and with its null."""

    states: list[CrossMoments]
    """(K,): of the neurons with two values, the column and its null."""

    @classmethod
    def empty(cls, n_neurons: int, n_columns: int) -> ColumnMoments:
        """The state of no rows; :class:`UsageError` for no columns."""
        if n_columns < 1:
            raise UsageError(f"columns must be at least one, got {n_columns}")
        return cls([CrossMoments.empty(n_neurons, 2, "float64") for _ in range(n_columns)])

    def update(
        self, values: NDArray[np.floating], columns: Floats, null_order: NullOrder, threads: int = 1
    ) -> ColumnMoments:
        """Add a batch: ``values`` float32 or float64 (N, T), and ``columns`` (K, T), NaN where a row has no number.

        A row without a column's number counts for the other columns only; the null takes a column's numbers in the
        order ``null_order`` of so many rows. Raises :class:`UsageError` on a wrong shape, :class:`ActivationError` for
        NaN or infinity in ``values`` and for infinity in ``columns``.
        """
        if columns.ndim != 2 or len(columns) != len(self.states):
            raise UsageError(f"columns must be ({len(self.states)}, T), not of shape {columns.shape}")
        check_rows(values.shape[-1], columns.shape[1], "columns")
        for state, column in zip(self.states, columns, strict=True):
            rows = np.flatnonzero(~np.isnan(column))
            if len(rows):
                numbers = column[rows]
                both = np.stack([numbers, numbers[null_order(len(rows))]])
                state.update(values if len(rows) == len(column) else values[:, rows], both, threads)
        return self

    def merge(self, other: ColumnMoments) -> ColumnMoments:
        """Add the rows of ``other`` in place; ``other`` is left as it is."""
        check_mergeable((len(self.states),), (len(other.states),))
        for state, more in zip(self.states, other.states, strict=True):
            state.merge(more)
        return self

    def finalize(self) -> ColumnCorrelations:
        """The correlations."""
        r = np.stack([state.correlations() for state in self.states])
        return ColumnCorrelations(r[:, :, 0], r[:, :, 1], np.array([state.n_rows for state in self.states], np.int64))
