"""Non-negative least squares of many right-hand sides at once, by their Gram matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from schemas.errors import UsageError

#: A column ends when no step of a sweep moves its fit by more than this share of its largest single-factor fit.
TOLERANCE = 1e-7
#: Sweeps over one column at most; only factors that are almost parallel come near it.
MAX_SWEEPS = 1000

Floats = NDArray[np.float64]


def nonnegative_least_squares(gram: Floats, products: Floats, start: Floats | None = None) -> Floats:
    """For every column p of ``products`` (K, M) the v ≥ 0 that minimises ½ vᵀ G v − vᵀ p; float64 (K, M).

    With ``gram`` G = A Aᵀ (K, K) and ``products`` = A X, v are the coefficients of the rows of A that come nearest to
    a column of X in squares. By cyclic coordinate descent, each step v_k ← max(0, v_k + (p_k − (G v)_k) / G_kk); a
    column goes by itself, so its result does not depend on the others. Where G_kk is 0, v_k stays at its start.

    ``start`` (K, M), zeros by default, is where the descent begins; it is left as it is. Raises :class:`UsageError` on
    a wrong shape. Franc, Hlaváč and Navara 2005, "Sequential coordinate-wise algorithm for the NNLS problem".
    """
    n = len(gram)
    if gram.shape != (n, n) or products.ndim != 2 or len(products) != n:
        raise UsageError(f"gram must be (K, K) and products (K, M), got {gram.shape} and {products.shape}")
    if start is not None and start.shape != products.shape:
        raise UsageError(f"start must have the shape of products, {products.shape}, got {start.shape}")
    found = np.zeros(products.shape) if start is None else np.array(start, np.float64)
    _descend(np.ascontiguousarray(gram, np.float64), np.ascontiguousarray(products, np.float64), found)
    return found


@kernel
def _descend(gram: Floats, products: Floats, found: Floats) -> None:
    """Coordinate descent of each column of ``found`` (K, M), in place."""
    n_factors, n_columns = products.shape
    value, gradient = np.empty(n_factors), np.empty(n_factors)
    for column in range(n_columns):
        largest = 0.0
        for k in range(n_factors):
            value[k], gradient[k] = found[k, column], -products[k, column]
            if gram[k, k] > 0.0:
                largest = max(largest, products[k, column] / np.sqrt(gram[k, k]))
        for k in range(n_factors):
            if value[k] != 0.0:
                for other in range(n_factors):
                    gradient[other] += value[k] * gram[k, other]
        for _ in range(MAX_SWEEPS):
            if _sweep(gram, value, gradient) <= TOLERANCE * largest:
                break
        for k in range(n_factors):
            found[k, column] = value[k]


@kernel
def _sweep(gram: Floats, value: Floats, gradient: Floats) -> float:
    """One step along each coordinate of ``value`` (K,), in place; returns the most that a step moved the fit."""
    moved = 0.0
    for k in range(len(value)):
        if gram[k, k] > 0.0:
            new = max(0.0, value[k] - gradient[k] / gram[k, k])
            step = new - value[k]
            if step != 0.0:
                value[k] = new
                moved = max(moved, abs(step) * np.sqrt(gram[k, k]))
                for other in range(len(value)):
                    gradient[other] += step * gram[k, other]
    return moved
