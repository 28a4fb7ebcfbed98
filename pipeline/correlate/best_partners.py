"""The best partner of each neuron of one model among the neurons of another: best(i, m') = max_j |r(i, j)|.

Source: Bau et al. 2019, "Identifying and controlling important neurons in neural machine translation", ICLR.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.correlate.second_moments import EXCESS, check_moments, correlations
from pipeline.correlate.tile import Tile
from schemas.errors import UsageError

#: Neurons of B whose correlations are in memory at a time.
TILE_NEURONS = 1024


@dataclass(slots=True, eq=False)
class BestPartners:
    """Of N neurons of A: the largest |r| with a neuron of B seen so far, that neuron, and the sign of r.

    A commutative monoid over tiles of r: updates and merges in any order and cut give the same state. Of equal |r| the
    partner with the lowest index stays. NaN never wins: a neuron that has met nothing else has no partner.
    """

    abs_r: NDArray[np.float64]
    """(N,): max |r|; NaN without a partner."""
    partner: NDArray[np.int64]
    """(N,): index in B; −1 without a partner."""
    sign: NDArray[np.int8]
    """(N,): −1 or 1, the sign of r; 0 where r = 0 and without a partner."""

    @classmethod
    def empty(cls, n_neurons: int) -> BestPartners:
        """The state of no tiles."""
        return cls(np.full(n_neurons, np.nan), np.full(n_neurons, -1, np.int64), np.zeros(n_neurons, np.int8))

    @property
    def n_neurons(self) -> int:
        """N."""
        return len(self.abs_r)

    def update(self, tile: Tile) -> BestPartners:
        """Add ``tile``: r (n, m), float32 or float64, of the neurons ``rows`` of A with the neurons ``columns`` of B.

        Each pair of neurons must come once. Raises :class:`UsageError` when the tile does not fit or some |r| is more
        than 1; the state is then unchanged.
        """
        self._check(tile)
        n = len(tile.rows)
        if n == 0 or len(tile.columns) == 0:
            return self
        strength = np.abs(tile.values)
        strength[np.isnan(strength)] = -1
        place = np.argmax(strength, axis=1)  # the first of equals
        best = strength[np.arange(n), place].astype(np.float64)
        if best.max() > 1 + EXCESS:
            raise UsageError(f"a tile must hold correlations in [−1, 1], found |r| = {best.max():.6g}; scale it first")
        found = best >= 0
        sign = np.sign(tile.values[np.arange(n), place])
        self._add(
            slice(tile.rows.start, tile.rows.stop),
            np.where(found, np.minimum(best, 1), np.nan),
            np.where(found, tile.columns.start + place, -1),
            np.where(found, sign, 0).astype(np.int8),
        )
        return self

    def merge(self, other: BestPartners) -> BestPartners:
        """Add the tiles of ``other``, of the same neurons of A, in place; ``other`` is left as it is."""
        if self.n_neurons != other.n_neurons:
            raise UsageError(
                f"states of {self.n_neurons} and {other.n_neurons} neurons do not merge; fold the tiles of one model"
            )
        self._add(slice(None), other.abs_r, other.partner, other.sign)
        return self

    def _check(self, tile: Tile) -> None:
        shape = (len(tile.rows), len(tile.columns))
        if tile.values.shape != shape or tile.rows.step != 1 or tile.columns.step != 1:
            raise UsageError(
                f"a tile of {tile.rows} and {tile.columns} must have one value a pair, {shape}, not {tile.values.shape}"
            )
        if tile.rows.start < 0 or tile.columns.start < 0 or tile.rows.stop > self.n_neurons:
            raise UsageError(f"a tile's rows must lie in 0 .. {self.n_neurons}, not {tile.rows}; its columns from 0 on")

    def _add(self, rows: slice, abs_r: NDArray[np.float64], partner: NDArray[np.int64], sign: NDArray[np.int8]) -> None:
        known_r, known = self.abs_r[rows], self.partner[rows]
        wins = (partner >= 0) & ((known < 0) | (abs_r > known_r) | ((abs_r == known_r) & (partner < known)))
        self.abs_r[rows] = np.where(wins, abs_r, known_r)
        self.partner[rows] = np.where(wins, partner, known)
        self.sign[rows] = np.where(wins, sign, self.sign[rows])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as named arrays; :meth:`from_arrays` is the inverse."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> BestPartners:
        """The state that :meth:`arrays` wrote."""
        return cls(**cast("dict[str, Any]", {field.name: np.array(arrays[field.name]) for field in fields(cls)}))


def best_partners(ab: ArrayLike, m2_a: ArrayLike, m2_b: ArrayLike) -> BestPartners:
    """best(i, B) of every neuron of A from Σ_AB (N_A, N_B) and the diagonals ``m2_a`` (N_A,) and ``m2_b`` (N_B,).

    The null is the same function of null moments. Errors as :func:`pipeline.correlate.second_moments.correlations`.
    """
    spread_b = check_moments(m2_b, "m2_b", (None,))
    matrix = check_moments(ab, "ab", (None, len(spread_b)))
    found = BestPartners.empty(len(matrix))
    for columns in column_ranges(len(spread_b)):
        cut = slice(columns.start, columns.stop)
        values = correlations(matrix[:, cut], m2_a, spread_b[cut])
        found.update(Tile(range(len(matrix)), columns, values))
    return found


def column_ranges(n_neurons: int, size: int = TILE_NEURONS) -> Iterator[range]:
    """0 .. n_neurons in ranges of ``size``, the last one shorter."""
    for first in range(0, n_neurons, size):
        yield range(first, min(first + size, n_neurons))
