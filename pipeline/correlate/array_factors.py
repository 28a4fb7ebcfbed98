"""Non-negative factors of plain arrays, for notebooks."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from pipeline.correlate.factor_pass import Floats
from pipeline.correlate.nonnegative_factors import FactorSettings, NonnegativeFactors, nonnegative_factors
from pipeline.correlate.second_moments import finite_rows, refuse_overflow


@dataclass(frozen=True, slots=True, eq=False)
class ArrayFactors(NonnegativeFactors):
    """Factors of an array, and their values on its rows."""

    values: Floats
    """W (T, K) ≥ 0, best for ``weights`` row by row: max(X, 0) ≈ ``values @ weights``."""


def nmf(
    activations: ArrayLike,
    n_factors: int = 16,
    *,
    seed: int = 0,
    passes: int = 5,
    tolerance: float = 1e-4,
    threads: int = 1,
) -> ArrayFactors:
    """Non-negative matrix factors max(X, 0) ≈ W H of activations X (T, N), or (T,) for one neuron.

    K = ``n_factors`` factors, found as by `neuronmill factors`, bit for bit where the same rows are stored. Negative
    values count as 0, and ``part`` of the result says how much of X that cuts off. ``passes`` improve the fit to a
    sample (``seed``) of 4,096 rows, at most; they end once one gains less than the share ``tolerance`` of the first
    error. ``threads`` never change a bit. NaN where no value is positive, and then all weights are 0. See
    :mod:`pipeline.correlate.nonnegative_factors`.

    Raises :class:`UsageError` for another shape, no rows, more factors than neurons, and settings out of range,
    :class:`ActivationError` for NaN, infinity, and values whose squares overflow.
    """
    settings = FactorSettings(n_factors, seed, passes, tolerance=tolerance)
    rows = finite_rows(activations, "activations")
    refuse_overflow(rows, "activations")
    n_rows, n_neurons = rows.shape
    values = np.empty((n_rows, n_factors))

    def receive(first: int, batch: Floats) -> None:
        values[first : first + batch.shape[1]] = batch.T

    found = nonnegative_factors(lambda: [rows.T], n_neurons, n_rows, settings, receive, threads)
    return ArrayFactors(**{field.name: getattr(found, field.name) for field in fields(found)}, values=values)
