"""A tile of a symmetric matrix between neurons: how a matrix too large for memory is handed on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tile:
    """``values`` (n, m), float32 or float64: of the neurons ``rows`` with the neurons ``columns``.

    Of a symmetric matrix (N, N) each pair of blocks comes once, ``rows.start <= columns.start``; on the diagonal the
    two ranges are the same and the tile is symmetric itself. Correlations are in [−1, 1], NaN for constant neurons.
    """

    rows: range
    columns: range
    values: NDArray[Any]

    @property
    def is_diagonal(self) -> bool:
        """Whether it is of one block with itself."""
        return self.rows == self.columns


def fill_matrix(matrix: NDArray[Any], tiles: Iterable[Tile]) -> None:
    """Write ``tiles`` and their mirror images into a symmetric ``matrix`` (N, N), in its dtype."""
    for tile in tiles:
        rows, columns = slice(tile.rows.start, tile.rows.stop), slice(tile.columns.start, tile.columns.stop)
        matrix[rows, columns] = tile.values
        matrix[columns, rows] = tile.values.T
