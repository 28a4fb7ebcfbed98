"""What one pass over rows tells of non-negative factors: enough to improve them, and to measure their error.

Letters: T rows, N neurons, K factors. X (T, N) are the non-negative parts max(x, 0) of activations, H (K, N) the
factors' weights, W (T, K) the factors' values on the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.correlate.nonnegative_least_squares import nonnegative_least_squares
from pipeline.stats.value_block import check_mergeable, check_values
from schemas.errors import UsageError

Floats = NDArray[np.float64]


def factor_values(weights: Floats, values: NDArray[np.floating]) -> Floats:
    """Wᵀ: the values ≥ 0 of the factors ``weights`` H (K, N) on rows ``values`` (N, T), float64 (K, T).

    A row's values minimise |max(x, 0) − w H|² over w ≥ 0 and do not depend on the rows beside it. Raises
    :class:`UsageError` on a wrong shape or dtype; values are not checked for NaN, see
    :class:`~pipeline.correlate.nonnegative_part.NonnegativePart`.
    """
    positive = nonnegative(check_values(values, weights.shape[1]))
    return nonnegative_least_squares(weights @ weights.T, weights @ positive)


def nonnegative(values: NDArray[np.floating]) -> Floats:
    """max(x, 0) in float64."""
    positive: Floats = np.maximum(values, 0.0, dtype=np.float64)
    return positive


@dataclass(slots=True, eq=False)
class FactorPass:
    """The products of W and X over the rows of a pass with fixed weights H, where W is best for them row by row."""

    weights: Floats
    """H (K, N), fixed."""
    n_rows: int
    sum_squares: float
    """‖X‖²."""
    gram: Floats
    """Wᵀ W (K, K)."""
    cross: Floats
    """Wᵀ X (K, N)."""

    @classmethod
    def empty(cls, weights: Floats) -> FactorPass:
        """The state of no rows for weights (K, N), K ≥ 1, float64 and not negative."""
        if weights.ndim != 2 or len(weights) < 1:
            raise UsageError(f"weights must be (K, N) with at least one factor, got {weights.shape}")
        n_factors, n_neurons = weights.shape
        return cls(weights, 0, 0.0, np.zeros((n_factors, n_factors)), np.zeros((n_factors, n_neurons)))

    def update(self, values: NDArray[np.floating]) -> Floats:
        """Add a batch of ``values``, float32 or float64 (N, T); returns the factors' values on it, (K, T)."""
        positive = nonnegative(check_values(values, self.weights.shape[1]))
        found = nonnegative_least_squares(self.weights @ self.weights.T, self.weights @ positive)
        self.n_rows += positive.shape[1]
        self.sum_squares += float(np.square(positive).sum())
        self.gram += found @ found.T
        self.cross += found @ positive.T
        return found

    def merge(self, other: FactorPass) -> FactorPass:
        """Add the rows of ``other``, a state of the same weights, in place; ``other`` is left as it is."""
        check_mergeable(self.weights.shape, other.weights.shape)
        self.n_rows += other.n_rows
        self.sum_squares += other.sum_squares
        self.gram += other.gram
        self.cross += other.cross
        return self

    def squared_error(self, weights: Floats | None = None) -> float:
        """‖X − W H‖², with ``weights`` in place of H and the same W if they are given; never below 0."""
        chosen = self.weights if weights is None else weights
        fitted = float(np.sum(self.gram * (chosen @ chosen.T)))
        return max(0.0, self.sum_squares - 2.0 * float(np.sum(self.cross * chosen)) + fitted)

    def finalize(self) -> Floats:
        """The weights that are best for these W: min ‖X − W H‖² over H ≥ 0, (K, N).

        The error over the same rows with W anew is never larger (up to rounding). A factor that was 0 on every row
        keeps its weights.
        """
        return nonnegative_least_squares(self.gram, self.cross, self.weights)


def unit_rows(weights: Floats) -> Floats:
    """Rows divided by their length √(Σ h²); a row of zeros stays."""
    lengths = np.sqrt(np.square(weights).sum(axis=1, keepdims=True))
    unit: Floats = weights / np.where(lengths > 0, lengths, 1.0)
    return unit
