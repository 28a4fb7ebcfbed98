"""How often each 16-bit value occurs in each neuron: the sorted column, in mergeable form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.stats.codes import N_CODES, HalfDtype, check_half_dtype, code_values
from pipeline.stats.moments import Moments
from pipeline.stats.quantiles import histogram_quantiles
from pipeline.stats.threads import over_neurons
from pipeline.stats.value_block import check_codes, check_mergeable
from schemas.errors import UsageError


@dataclass(slots=True, eq=False)
class ValueHistogram:
    """Counts of N neurons over the 65,536 order-preserving codes: int64 (N, 65,536), 512 KiB a neuron. Exact.

    A float32 column has no such histogram; round it first (``round_to_bits``) and say so beside the result.
    """

    dtype: HalfDtype
    n_rows: int
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, n_neurons: int, dtype: str = "float16") -> ValueHistogram:
        """The state of no rows of ``dtype`` (float16 or bfloat16)."""
        return cls(check_half_dtype(dtype), 0, np.zeros((n_neurons, N_CODES), np.int64))

    @property
    def n_neurons(self) -> int:
        """N."""
        return len(self.counts)

    def update(self, codes: NDArray[np.uint16], threads: int = 1) -> ValueHistogram:
        """Add a batch: ``codes`` uint16 (N, T) as made by ``encode_codes``."""
        codes = check_codes(codes, self.n_neurons)
        over_neurons(lambda first, last: count_codes(first, last, codes, self.counts), self.n_neurons, threads)
        self.n_rows += codes.shape[1]
        return self

    def merge(self, other: ValueHistogram) -> ValueHistogram:
        """Add the rows of ``other`` in place; ``other`` is left as it is."""
        if self.dtype != other.dtype:
            raise UsageError(
                f"histograms of {self.dtype} and {other.dtype} do not merge; their codes mean different values"
            )
        check_mergeable(self.counts.shape, other.counts.shape)
        self.counts += other.counts
        self.n_rows += other.n_rows
        return self

    def finalize(self, levels: Sequence[float], threads: int = 1) -> NDArray[np.float64]:
        """Exact quantiles, float64 (L, N), by numpy's linear definition; NaN without rows."""
        values = code_values(self.dtype)
        return histogram_quantiles(self.counts, values, np.asarray(levels, np.float64), threads=threads)

    def moments(self, threads: int = 1) -> Moments:
        """The :class:`Moments` of the same rows, from the distinct values: the same bits however the rows were cut."""
        floats, found = np.empty((6, self.n_neurons)), np.zeros((3, self.n_neurons), np.int64)
        if not self.n_rows:
            return Moments.empty(self.n_neurons)
        values = code_values(self.dtype)
        over_neurons(
            lambda first, last: _moments_of_counts(first, last, self.counts, values, floats, found),
            self.n_neurons,
            threads,
        )
        return Moments.of_batch(self.n_rows, floats, found)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as named arrays; :meth:`from_arrays` is the inverse."""
        return {"dtype": np.array(self.dtype), "n_rows": np.array(self.n_rows), "counts": self.counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> ValueHistogram:
        """The state that :meth:`arrays` wrote."""
        counts = np.array(arrays["counts"], np.int64)
        return cls(check_half_dtype(str(arrays["dtype"])), int(np.asarray(arrays["n_rows"], np.int64)), counts)


@kernel
def count_codes(first: int, last: int, codes: NDArray[np.uint16], counts: NDArray[np.int64]) -> None:
    """Add the codes (N, T) of neurons ``first .. last`` to ``counts`` (N, 65,536)."""
    for neuron in range(first, last):
        for row in range(codes.shape[1]):
            counts[neuron, codes[neuron, row]] += 1


@kernel
def _moments_of_counts(
    first: int,
    last: int,
    counts: NDArray[np.int64],
    values: NDArray[np.float64],
    floats: NDArray[np.float64],
    found: NDArray[np.int64],
) -> None:
    for neuron in range(first, last):
        n_rows = np.int64(0)
        low_code, high_code = -1, -1
        total = 0.0
        for code in range(counts.shape[1]):
            count = counts[neuron, code]
            if count:
                n_rows += count
                total += np.float64(count) * values[code]
                low_code = code if low_code < 0 else low_code
                high_code = code
        mean = values[low_code] if low_code == high_code else total / n_rows
        m2 = m3 = m4 = 0.0
        n_active = np.int64(0)
        for code in range(low_code, high_code + 1):
            count = counts[neuron, code]
            if count:
                d = values[code] - mean
                weighted = np.float64(count) * d * d
                m2 += weighted
                m3 += weighted * d
                m4 += weighted * d * d
                n_active += count if values[code] > 0 else 0
        floats[0, neuron], floats[1, neuron], floats[2, neuron], floats[3, neuron] = mean, m2, m3, m4
        floats[4, neuron], floats[5, neuron] = values[low_code], values[high_code]
        found[0, neuron] = n_active
        found[1, neuron], found[2, neuron] = counts[neuron, low_code], counts[neuron, high_code]
