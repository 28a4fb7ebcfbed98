"""Rows of factors on their way into ``factor_rows``: the best of each factor, or all where it is active."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.stats.top_rows import TopRows

#: Rows of one file of ``factor_rows``, where all are kept.
ROWS_PER_FILE = 2**20

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
#: Writes a numbered part of the table: the columns factor, rank, row_id and value.
Write = Callable[[int, dict[str, Any]], None]


class KeptRows(Protocol):
    """Rows that go into the table."""

    def add(self, row_ids: Ints, values: Floats) -> None:
        """Take row ids (T,) and the factors' values on them (K, T)."""

    def finish(self) -> None:
        """Write what is left."""


class TopFactorRows:
    """The rows with the largest values of each factor, above 0; ties by row id."""

    def __init__(self, write: Write, n_factors: int, n_rows: int) -> None:
        self._write, self._top = write, TopRows.empty(n_factors, n_rows)

    def add(self, row_ids: Ints, values: Floats) -> None:
        """See :class:`KeptRows`."""
        self._top.update(values, row_ids)

    def finish(self) -> None:
        """Write one part."""
        best = self._top.finalize()
        factor, place = np.nonzero(best.top_values > 0)
        self._write(
            0,
            {
                "factor": factor.astype(np.int32),
                "rank": (place + 1).astype(np.int32),
                "row_id": best.top_row_ids[factor, place],
                "value": best.top_values[factor, place],
            },
        )


class AllRows:
    """Every row on which a factor is above 0, by row and then factor, in files of about a million rows."""

    def __init__(self, write: Write) -> None:
        self._write, self._n_parts, self._n_waiting = write, 0, 0
        self._waiting: list[tuple[npt.NDArray[np.int32], Ints, Floats]] = []

    def add(self, row_ids: Ints, values: Floats) -> None:
        """See :class:`KeptRows`."""
        row, factor = np.nonzero(values.T > 0)
        self._waiting.append((factor.astype(np.int32), row_ids[row], values[factor, row]))
        self._n_waiting += len(row)
        if self._n_waiting >= ROWS_PER_FILE:
            self._write_waiting()

    def finish(self) -> None:
        """Write the last part; the only one, if there is no row."""
        if self._n_waiting or not self._n_parts:
            self._write_waiting()

    def _write_waiting(self) -> None:
        nothing = (np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))
        factor, row_id, value = (np.concatenate(column) for column in zip(nothing, *self._waiting, strict=True))
        rank = [None] * len(factor)
        self._write(self._n_parts, {"factor": factor, "rank": rank, "row_id": row_id, "value": value})
        self._waiting, self._n_waiting, self._n_parts = [], 0, self._n_parts + 1


class Rows:
    """Takes the factors' values of consecutive rows, gives these their ids, and measures each factor."""

    def __init__(self, n_factors: int, kept: KeptRows, row_ids: Iterator[Ints]) -> None:
        self._kept, self._row_ids = kept, row_ids
        self._waiting: Ints = np.empty(0, np.int64)
        self._n_rows = 0
        self._sums: Floats = np.zeros(n_factors)
        self._largest: Floats = np.full(n_factors, np.nan)
        self.n_active: Ints = np.zeros(n_factors, np.int64)

    @property
    def mean(self) -> Floats:
        """Mean value of each factor (K,); NaN without rows."""
        return self._sums / self._n_rows if self._n_rows else np.full(len(self._sums), np.nan)

    @property
    def largest(self) -> Floats:
        """Largest value of each factor (K,); NaN without rows."""
        return self._largest

    def add(self, first: int, values: Floats) -> None:
        """Take the values (K, T) of the rows from number ``first`` on, which is where the last ones ended."""
        n_rows = values.shape[1]
        self._n_rows = first + n_rows
        self._sums += values.sum(axis=1)
        self.n_active += (values > 0).sum(axis=1)
        self._largest = np.fmax(self._largest, values.max(axis=1))
        self._kept.add(self._take(n_rows), values)

    def _take(self, n_rows: int) -> Ints:
        while len(self._waiting) < n_rows:
            self._waiting = np.concatenate([self._waiting, next(self._row_ids)])
        taken, self._waiting = self._waiting[:n_rows], self._waiting[n_rows:]
        return taken
