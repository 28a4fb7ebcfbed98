"""The K rows with the largest and with the smallest activation of each neuron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.stats.codes import check_half_dtype, code_values
from pipeline.stats.threads import over_neurons
from pipeline.stats.value_block import check_codes, check_mergeable, check_rows, check_values, refuse_non_finite
from schemas.errors import UsageError


class ExtremeRows(NamedTuple):
    """Both tails, best first, (N, min(K, T)): row ids int64 and values float64."""

    top_row_ids: NDArray[np.int64]
    top_values: NDArray[np.float64]
    bottom_row_ids: NDArray[np.int64]
    bottom_values: NDArray[np.float64]


@dataclass(slots=True, eq=False)
class TopRows:
    """K rows per tail of N neurons; of equal values the smaller row id comes first, in both tails.

    Exact for any order of batches and merges, provided that no row id is given twice. The bottom tail is kept as the
    top tail of −x. Places that no row fills hold −inf and row id −1.
    """

    n_rows: int
    values: NDArray[np.float64]
    """(2, N, K): the values of the top tail, the negated values of the bottom tail; descending."""
    row_ids: NDArray[np.int64]
    """(2, N, K)."""

    @classmethod
    def empty(cls, n_neurons: int, k: int) -> TopRows:
        """The state of no rows, with ``k`` ≥ 1 places per tail."""
        if k < 1:
            raise UsageError(f"k must be at least 1, got {k}")
        return cls(0, np.full((2, n_neurons, k), -np.inf), np.full((2, n_neurons, k), -1, np.int64))

    @property
    def n_neurons(self) -> int:
        """N."""
        return int(self.values.shape[1])

    @property
    def k(self) -> int:
        """Places per tail."""
        return int(self.values.shape[2])

    def update(self, values: NDArray[np.floating], row_ids: NDArray[np.int64], threads: int = 1) -> TopRows:
        """Add a batch: ``values`` float32 or float64 (N, T), ``row_ids`` int64 (T,), not negative.

        Raises :class:`ActivationError` when a value is NaN or infinite, :class:`UsageError` on a wrong shape; the state
        is then unchanged.
        """
        values = check_values(values, self.n_neurons)
        batch = self._batch(values, row_ids, threads)
        return self.merge(batch)

    def update_codes(
        self, codes: NDArray[np.uint16], row_ids: NDArray[np.int64], dtype: str, threads: int = 1
    ) -> TopRows:
        """Add a batch of stored 16-bit values by their codes (``encode_codes``), which sort as they do: no decoding."""
        table = code_values(check_half_dtype(dtype))
        batch = self._batch(check_codes(codes, self.n_neurons), row_ids, threads)
        for side in (0, 1):  # the kernel ranked codes, negated in the bottom tail
            filled = batch.row_ids[side] >= 0
            sign = 1 - 2 * side
            batch.values[side, filled] = sign * table[(sign * batch.values[side, filled]).astype(np.int64)]
        return self.merge(batch)

    def _batch(self, values: NDArray[Any], row_ids: NDArray[np.int64], threads: int) -> TopRows:
        check_rows(values.shape[1], len(row_ids), "row_ids")
        row_ids = np.ascontiguousarray(row_ids, np.int64)
        if row_ids.size and row_ids.min() < 0:
            raise UsageError(f"row_ids must not be negative, got {row_ids.min()}")
        batch = TopRows.empty(self.n_neurons, self.k)
        batch.n_rows = len(row_ids)
        probe = np.zeros(self.n_neurons)
        over_neurons(
            lambda first, last: _extremes(first, last, values, row_ids, probe, batch.values, batch.row_ids),
            self.n_neurons,
            threads,
        )
        refuse_non_finite(probe, values)
        return batch

    def merge(self, other: TopRows) -> TopRows:
        """Add the rows of ``other`` in place; ``other`` is left as it is."""
        check_mergeable(self.values.shape, other.values.shape)
        _merge_sorted(self.values, self.row_ids, other.values, other.row_ids)
        self.n_rows += other.n_rows
        return self

    def finalize(self) -> ExtremeRows:
        """Both tails, best first; fewer than K places where there are fewer than K rows."""
        n = min(self.k, self.n_rows)
        values, row_ids = self.values[:, :, :n], self.row_ids[:, :, :n]
        return ExtremeRows(row_ids[0].copy(), values[0] + 0.0, row_ids[1].copy(), 0.0 - values[1])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as named arrays; :meth:`from_arrays` is the inverse."""
        return {"n_rows": np.array(self.n_rows), "values": self.values, "row_ids": self.row_ids}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> TopRows:
        """The state that :meth:`arrays` wrote."""
        n_rows = int(np.asarray(arrays["n_rows"], np.int64))
        return cls(n_rows, np.array(arrays["values"], np.float64), np.array(arrays["row_ids"], np.int64))


@kernel
def _extremes(
    first: int,
    last: int,
    values: NDArray[Any],
    row_ids: NDArray[np.int64],
    probe: NDArray[np.float64],
    best: NDArray[np.float64],
    best_ids: NDArray[np.int64],
) -> None:
    """Fill both tails; ``probe`` (N,) becomes NaN where a value is not finite."""
    last_place = best.shape[2] - 1
    for neuron in range(first, last):
        tops, bottoms, top_ids, bottom_ids = best[0, neuron], best[1, neuron], best_ids[0, neuron], best_ids[1, neuron]
        floor, ceiling = -np.inf, np.inf
        probe[neuron] = 0.0
        for row in range(values.shape[1]):
            value = np.float64(values[neuron, row])
            if ceiling < value < floor:
                continue  # nearly every row, once the tails have filled
            row_id = row_ids[row]
            if not abs(value) < np.inf:
                probe[neuron] = np.nan
            if value > floor or (value == floor and row_id < top_ids[last_place]):
                _insert(value, row_id, tops, top_ids)
                floor = tops[last_place]
            if value < ceiling or (value == ceiling and row_id < bottom_ids[last_place]):
                _insert(-value, row_id, bottoms, bottom_ids)
                ceiling = -bottoms[last_place]


@kernel
def _insert(value: float, row_id: int, best: NDArray[np.float64], best_ids: NDArray[np.int64]) -> None:
    """Put (value, row id) into a list sorted by value descending, then row id, in place of its last entry."""
    place = len(best) - 1
    while place > 0 and (value > best[place - 1] or (value == best[place - 1] and row_id < best_ids[place - 1])):
        best[place] = best[place - 1]
        best_ids[place] = best_ids[place - 1]
        place -= 1
    best[place] = value
    best_ids[place] = row_id


@kernel
def _merge_sorted(
    values: NDArray[np.float64], row_ids: NDArray[np.int64], others: NDArray[np.float64], other_ids: NDArray[np.int64]
) -> None:
    """Keep the best K of two sorted lists per tail and neuron, in place."""
    k = values.shape[2]
    kept = np.empty(k)
    kept_ids = np.empty(k, np.int64)
    for tail in range(2):
        for neuron in range(values.shape[1]):
            a = b = 0
            for place in range(k):
                x, y = values[tail, neuron, a], others[tail, neuron, b]
                if x > y or (x == y and row_ids[tail, neuron, a] <= other_ids[tail, neuron, b]):
                    kept[place], kept_ids[place] = x, row_ids[tail, neuron, a]
                    a += 1
                else:
                    kept[place], kept_ids[place] = y, other_ids[tail, neuron, b]
                    b += 1
            values[tail, neuron, :] = kept
            row_ids[tail, neuron, :] = kept_ids
