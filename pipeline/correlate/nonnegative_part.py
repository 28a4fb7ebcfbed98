"""How much of the activations of a layer is non-negative, which is what non-negative factors are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.stats.value_block import check_mergeable, check_values, refuse_non_finite


class PartSizes(NamedTuple):
    """Sizes of the parts of a layer; undefined is NaN."""

    n_rows: int
    sum_squares: float
    """Σ max(x, 0)²."""
    sum_squared_deviations: float
    """Σ (max(x, 0) − its neuron's mean)²."""
    negative_share: float
    """Σ max(−x, 0) / Σ |x|; NaN where all x are 0."""
    negative_square_share: float
    """Σ max(−x, 0)² / Σ x²; NaN where all x are 0."""
    neuron_sum_squares: NDArray[np.float64]
    """(N,): Σ max(x, 0)² of every neuron."""


@dataclass(slots=True, eq=False)
class NonnegativePart:
    """Means and squared deviations of max(x, 0) of N neurons, and the sums of both parts of x."""

    n_rows: int
    mean: NDArray[np.float64]
    """(N,): of max(x, 0)."""
    m2: NDArray[np.float64]
    """(N,): Σ (max(x, 0) − mean)²."""
    negative: float
    """Σ max(−x, 0) over all neurons."""
    negative_squares: float
    """Σ max(−x, 0)² over all neurons."""

    @classmethod
    def empty(cls, n_neurons: int) -> NonnegativePart:
        """The state of no rows."""
        return cls(0, np.zeros(n_neurons), np.zeros(n_neurons), 0.0, 0.0)

    def update(self, values: NDArray[np.floating]) -> NonnegativePart:
        """Add a batch of ``values``, float32 or float64 (N, T).

        Raises :class:`ActivationError` when a value is NaN or infinite, :class:`UsageError` on a wrong shape; the state
        is then unchanged.
        """
        values = check_values(values, len(self.mean))
        n_rows = values.shape[1]
        if not n_rows:
            return self
        refuse_non_finite(values.sum(axis=1, dtype=np.float64), values)
        positive = np.maximum(values, 0.0, dtype=np.float64)
        mean = positive.sum(axis=1) / n_rows
        deviations = np.square(positive - mean[:, None]).sum(axis=1)
        negative = np.maximum(-values, 0.0, dtype=np.float64)
        sums = float(negative.sum()), float(np.square(negative).sum())
        return self.merge(NonnegativePart(n_rows, mean, deviations, *sums))

    def merge(self, other: NonnegativePart) -> NonnegativePart:
        """Add the rows of ``other`` in place; ``other`` is left as it is."""
        check_mergeable(self.mean.shape, other.mean.shape)
        n_rows = self.n_rows + other.n_rows
        if other.n_rows:
            apart = other.mean - self.mean
            self.m2 += other.m2 + np.square(apart) * (self.n_rows * other.n_rows / n_rows)
            self.mean += apart * (other.n_rows / n_rows)
            self.negative += other.negative
            self.negative_squares += other.negative_squares
            self.n_rows = n_rows
        return self

    def finalize(self) -> PartSizes:
        """The sizes of the parts."""
        squares = self.m2 + self.n_rows * np.square(self.mean)
        size = self.negative + self.n_rows * float(self.mean.sum())
        sum_squares = float(squares.sum())
        all_squares = self.negative_squares + sum_squares
        return PartSizes(
            n_rows=self.n_rows,
            sum_squares=sum_squares,
            sum_squared_deviations=float(self.m2.sum()),
            negative_share=self.negative / size if size > 0 else float("nan"),
            negative_square_share=self.negative_squares / all_squares if all_squares > 0 else float("nan"),
            neuron_sum_squares=squares,
        )
