"""Where the columns of an activation file come from: rows as a model gives them, or columns already.

Letters: T rows, N neurons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.compiled import kernel
from schemas.errors import StoreError

Array = npt.NDArray[Any]

#: Rows and columns that are transposed at once, into memory that stays in the cache; rows that are read side by side.
_ROWS, _COLUMNS, _TOGETHER = 1024, 64, 8


class ColumnSource(Protocol):
    """N columns of T values of one dtype."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, T)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the values."""

    def copy(self, columns: slice, into: Array) -> None:
        """Copy some columns into (n, T) ``into``, whose rows may lie apart."""


@dataclass(frozen=True, eq=False)
class RowMajor:
    """``values`` (M, L), one token a row: N of the columns (consecutive ones; all if None), T of the rows.

    ``places`` (T,) says which of them is row 0, 1, …; in order if None. Raises :class:`StoreError` for rows and columns
    that are not there: the kernels look no more.
    """

    values: Array
    places: npt.NDArray[np.int64] | None = None
    columns: range | None = None

    def __post_init__(self) -> None:
        """Check what is asked for."""
        n_rows, n_columns = self.values.shape
        places, columns = self.places, self._range
        if places is not None and places.size and not 0 <= int(places.min()) <= int(places.max()) < n_rows:
            raise StoreError(f"places must be among {n_rows} rows; got {places.min()} to {places.max()}")
        if columns.step != 1 or not 0 <= columns.start <= columns.stop <= n_columns:
            raise StoreError(f"columns must be consecutive ones of {n_columns}; got {columns}")

    @property
    def _range(self) -> range:
        return range(self.values.shape[1]) if self.columns is None else self.columns

    @property
    def shape(self) -> tuple[int, int]:
        """See :class:`ColumnSource`."""
        return len(self._range), len(self.values if self.places is None else self.places)

    @property
    def dtype(self) -> np.dtype[Any]:
        """See :class:`ColumnSource`."""
        return self.values.dtype

    def copy(self, columns: slice, into: Array) -> None:
        """See :class:`ColumnSource`; a transposition."""
        chosen = self._range[columns]
        places = np.arange(len(self.values)) if self.places is None else self.places
        if chosen.step == 1:
            bits = f"u{self.dtype.itemsize}"
            _transpose(self.values.view(bits), places, chosen.start, chosen.stop, into.view(bits))
        else:
            into[...] = self.values[places, chosen.start : chosen.stop : chosen.step].T


@dataclass(frozen=True, eq=False)
class NeuronMajor:
    """(N, T) ``columns``."""

    columns: Array

    @property
    def shape(self) -> tuple[int, int]:
        """See :class:`ColumnSource`."""
        return self.columns.shape[0], self.columns.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """See :class:`ColumnSource`."""
        return self.columns.dtype

    def copy(self, columns: slice, into: Array) -> None:
        """See :class:`ColumnSource`."""
        into[...] = self.columns[columns]


@kernel
def _transpose(values: Array, places: npt.NDArray[np.int64], first: int, last: int, into: Array) -> None:
    """``into[k, r] = values[places[r], first + k]``.

    Tile by tile: memory that is written in pieces shorter than a line is read first.
    """
    tile = np.empty((_COLUMNS, _ROWS), values.dtype)
    for left in range(first, last, _COLUMNS):
        right = min(left + _COLUMNS, last)
        for start in range(0, len(places), _ROWS):
            rows = places[start : start + _ROWS]
            _fill_tile(values, rows, left, right, tile)
            for column in range(right - left):
                piece, out = tile[column], into[left - first + column, start : start + len(rows)]
                for row in range(len(rows)):
                    out[row] = piece[row]


@kernel
def _fill_tile(values: Array, places: npt.NDArray[np.int64], left: int, right: int, tile: Array) -> None:
    """The same for one tile; eight rows are read together, so that each column is written in pieces of that length."""
    full = len(places) - len(places) % _TOGETHER
    for row in range(0, full, _TOGETHER):
        a, b, c, d = places[row], places[row + 1], places[row + 2], places[row + 3]
        e, f, g, h = places[row + 4], places[row + 5], places[row + 6], places[row + 7]
        for column in range(left, right):
            out = tile[column - left, row : row + _TOGETHER]
            out[0], out[1], out[2], out[3] = values[a, column], values[b, column], values[c, column], values[d, column]
            out[4], out[5], out[6], out[7] = values[e, column], values[f, column], values[g, column], values[h, column]
    for row in range(full, len(places)):
        for column in range(left, right):
            tile[column - left, row] = values[places[row], column]
