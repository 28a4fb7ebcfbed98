"""Central moments, range and activity of each neuron: the state behind the statistics table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.stats.threads import over_neurons
from pipeline.stats.value_block import check_mergeable, check_values, refuse_non_finite


@dataclass(slots=True, eq=False)
class Moments:
    """Of N neurons over T rows: T, mean, Σ(x − mean)^k for k = 2, 3, 4, min, max and three counts, float64 and int64.

    Batches are centred on their own mean and merged pairwise (Chan et al. 1983; Pébay 2008 for k = 3, 4), so a large
    offset costs no digits. Of an empty state min is +inf and max −inf; everything derived from it is NaN.
    """

    n_rows: int
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    m3: NDArray[np.float64]
    m4: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    n_active: NDArray[np.int64]
    """Rows with x > 0."""
    n_at_min: NDArray[np.int64]
    """Rows with x equal to the minimum."""
    n_at_max: NDArray[np.int64]
    """Rows with x equal to the maximum."""

    @classmethod
    def empty(cls, n_neurons: int) -> Moments:
        """The state of no rows."""
        mean, m2, m3, m4 = np.zeros((4, n_neurons))
        low, high = np.full(n_neurons, np.inf), np.full(n_neurons, -np.inf)
        return cls(0, mean, m2, m3, m4, low, high, *(np.zeros(n_neurons, np.int64) for _ in range(3)))

    @classmethod
    def of_batch(cls, n_rows: int, floats: NDArray[np.float64], counts: NDArray[np.int64]) -> Moments:
        """From a kernel's ``floats`` (6, N): mean … max, and ``counts`` (3, N): n_active, n_at_min, n_at_max."""
        mean, m2, m3, m4, low, high = floats
        n_active, n_at_min, n_at_max = counts
        return cls(n_rows, mean, m2, m3, m4, low, high, n_active, n_at_min, n_at_max)

    @property
    def n_neurons(self) -> int:
        """N."""
        return len(self.mean)

    def update(self, values: NDArray[np.floating], threads: int = 1) -> Moments:
        """Add a batch: ``values`` float32 or float64 (N, T).

        Raises :class:`ActivationError` when a value is NaN or infinite, :class:`UsageError` on a wrong shape; the state
        is then unchanged.
        """
        values = check_values(values, self.n_neurons)
        if values.shape[1] == 0:
            return self
        floats = np.empty((7, self.n_neurons))
        counts = np.zeros((3, self.n_neurons), np.int64)
        over_neurons(lambda first, last: _moments(first, last, values, floats, counts), self.n_neurons, threads)
        refuse_non_finite(floats[0], values)
        return self.merge(Moments.of_batch(values.shape[1], floats[1:], counts))

    def merge(self, other: Moments) -> Moments:
        """Add the rows of ``other`` in place; ``other`` is left as it is."""
        check_mergeable(self.mean.shape, other.mean.shape)
        if other.n_rows == 0:
            return self
        if self.n_rows == 0:
            for field in fields(self):
                value = getattr(other, field.name)
                setattr(self, field.name, value if field.name == "n_rows" else value.copy())
            return self
        a, b = float(self.n_rows), float(other.n_rows)
        n = a + b
        delta = other.mean - self.mean
        self.m4 += other.m4 + delta**4 * (a * b * (a * a - a * b + b * b) / n**3)
        self.m4 += 6 * (delta / n) ** 2 * (a * a * other.m2 + b * b * self.m2) + 4 * delta / n * (
            a * other.m3 - b * self.m3
        )
        self.m3 += other.m3 + delta**3 * (a * b * (a - b) / n**2) + 3 * delta / n * (a * other.m2 - b * self.m2)
        self.m2 += other.m2 + delta**2 * (a * b / n)
        self.mean += delta * (b / n)
        self.n_at_min = _count_at(self.min, self.n_at_min, other.min, other.n_at_min, np.minimum(self.min, other.min))
        self.n_at_max = _count_at(self.max, self.n_at_max, other.max, other.n_at_max, np.maximum(self.max, other.max))
        self.min, self.max = np.minimum(self.min, other.min), np.maximum(self.max, other.max)
        self.n_active += other.n_active
        self.n_rows += other.n_rows
        return self

    def finalize(self, eps: float = 0.0) -> dict[str, NDArray[np.generic]]:
        """The columns of ``neuron_stats`` that moments answer, one array (N,) each; quantiles are not among them.

        Population variance; skewness and excess kurtosis are NaN where the variance is 0; ``saturation`` is the share
        of rows at the more frequent of the two extreme values; ``is_dead``: all values equal, or max |x| ≤ ``eps``.
        Without rows every share and moment is NaN and nothing is dead.
        """
        n = self.n_rows
        some = n > 0
        divisor = float(n) if some else np.nan
        variance = self.m2 / divisor
        spread = np.where(variance > 0, variance, np.nan)
        with np.errstate(all="ignore"):  # a variance near the smallest double: not finite becomes NaN below
            skewness = self.m3 / divisor / spread**1.5
            kurtosis = self.m4 / divisor / spread**2 - 3
        saturation = np.maximum(self.n_at_min, self.n_at_max) / divisor
        is_dead = some & ((self.min == self.max) | (np.maximum(np.abs(self.min), np.abs(self.max)) <= eps))
        return {
            "n_rows": np.full(self.n_neurons, n, np.int64),
            "mean": np.where(some, self.mean, np.nan),
            "variance": variance,
            "skewness": np.where(np.isfinite(skewness), skewness, np.nan),
            "kurtosis": np.where(np.isfinite(kurtosis), kurtosis, np.nan),
            "min": np.where(some, self.min, np.nan),
            "max": np.where(some, self.max, np.nan),
            "activity_rate": self.n_active / divisor,
            "saturation": saturation,
            "is_dead": is_dead,
            "is_saturated": (saturation >= 0.5) & ~is_dead,
            "eps": np.full(self.n_neurons, eps),
        }

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as named arrays; :meth:`from_arrays` is the inverse."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Moments:
        """The state that :meth:`arrays` wrote."""
        state = cls(**cast("dict[str, Any]", {field.name: np.array(arrays[field.name]) for field in fields(cls)}))
        state.n_rows = int(state.n_rows)
        return state


def _count_at(
    value: NDArray[np.float64],
    count: NDArray[np.int64],
    other_value: NDArray[np.float64],
    other_count: NDArray[np.int64],
    extreme: NDArray[np.float64],
) -> NDArray[np.int64]:
    return np.where(value == extreme, count, 0) + np.where(other_value == extreme, other_count, 0)


@kernel
def _moments(
    first: int, last: int, values: NDArray[np.floating], floats: NDArray[np.float64], counts: NDArray[np.int64]
) -> None:
    n_rows = values.shape[1]
    for neuron in range(first, last):
        total = 0.0
        low = high = np.float64(values[neuron, 0])
        for row in range(n_rows):
            x = np.float64(values[neuron, row])
            total += x
            low = min(low, x)
            high = max(high, x)
        # A constant neuron has exactly this mean and no spread; sum / n need not give that.
        mean = low if low == high else total / n_rows
        m2 = m3 = m4 = 0.0
        n_active = n_at_min = n_at_max = np.int64(0)
        for row in range(n_rows):
            x = np.float64(values[neuron, row])
            d = x - mean
            square = d * d
            m2 += square
            m3 += square * d
            m4 += square * square
            n_active += x > 0
            n_at_min += x == low
            n_at_max += x == high
        floats[0, neuron] = total
        floats[1, neuron] = mean
        floats[2, neuron] = m2
        floats[3, neuron] = m3
        floats[4, neuron] = m4
        floats[5, neuron] = low + 0.0
        floats[6, neuron] = high + 0.0
        counts[0, neuron] = n_active
        counts[1, neuron] = n_at_min
        counts[2, neuron] = n_at_max
