"""Where the columns of an activation file come from: rows as a model gives them, or columns already.

Letters: T rows, N neurons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: Rows and columns that are transposed at once: both sides of the copy stay in the cache.
_ROWS, _COLUMNS = 256, 128


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
    """(M, N) ``values``, one token a row; ``places`` (T,) says which of them is row 0, 1, …; in order if None."""

    values: Array
    places: npt.NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """See :class:`ColumnSource`."""
        return self.values.shape[1], len(self.values if self.places is None else self.places)

    @property
    def dtype(self) -> np.dtype[Any]:
        """See :class:`ColumnSource`."""
        return self.values.dtype

    def copy(self, columns: slice, into: Array) -> None:
        """See :class:`ColumnSource`; a transposition, tile by tile."""
        numbers = range(*columns.indices(self.shape[0]))
        for first in range(0, len(numbers), _COLUMNS):
            part = numbers[first : first + _COLUMNS]
            chosen = slice(part.start, part.stop, part.step)
            for start in range(0, self.shape[1], _ROWS):
                rows = slice(start, start + _ROWS)
                places = rows if self.places is None else self.places[rows]
                into[first : first + _COLUMNS, rows] = self.values[places, chosen].T


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
