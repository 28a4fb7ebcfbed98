"""Comparison of models on plain arrays: activations X (T rows × N neurons) of one, Y (T × M) of another, rows aligned.

Every function takes float arrays (T, N), or (T,) for one neuron, and works in float64 on centred values, so a mean far
from 0 costs no digits. :class:`UsageError` when shapes do not fit, :class:`ActivationError` for NaN and infinity. What
could be chance says the same function with the rows of Y out of order: ``shuffled(Y)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from pipeline.correlate.best_partners import BestPartners, column_ranges
from pipeline.correlate.canonical_correlation import (
    VARIANCE_SHARE,
    CanonicalCorrelations,
    CanonicalScores,
    canonical_correlations,
    pwcca_scores,
    svcca_scores,
)
from pipeline.correlate.kernel_alignment import RowNormSums, cka, debiased_cka
from pipeline.correlate.linear_regression import TOLERANCE, RegressionScores, linear_regression
from pipeline.correlate.max_corr import ModelPartners, max_corr, min_corr
from pipeline.correlate.second_moments import Floats, centred_columns, correlations
from pipeline.correlate.tile import Tile
from schemas.errors import UsageError


def maxcorr(activations: ArrayLike, others: Sequence[ArrayLike]) -> ModelPartners:
    """MaxCorr (N,) over the other models, a list of arrays (T, M); see :mod:`pipeline.correlate.max_corr`."""
    return max_corr(_partners(activations, others))


def mincorr(activations: ArrayLike, others: Sequence[ArrayLike]) -> ModelPartners:
    """MinCorr (N,) over the other models, a list of arrays (T, M); see :mod:`pipeline.correlate.max_corr`."""
    return min_corr(_partners(activations, others))


def linreg(
    activations: ArrayLike, other: ArrayLike, ridge: float = 0.0, tolerance: float = TOLERANCE
) -> RegressionScores:
    """R² (N,) of each neuron on all neurons of the other model; see :mod:`pipeline.correlate.linear_regression`."""
    x, y = _aligned(activations, other)
    return linear_regression(_m2(x), y.T @ y, x.T @ y, len(x), ridge, tolerance)


def svcca(activations: ArrayLike, other: ArrayLike, variance_share: float = VARIANCE_SHARE) -> CanonicalScores:
    """SVCCA, of components with 99 % of the variance; see :mod:`pipeline.correlate.canonical_correlation`."""
    return svcca_scores(_canonical(activations, other, variance_share))


def pwcca(activations: ArrayLike, other: ArrayLike, variance_share: float = 1.0) -> CanonicalScores:
    """PWCCA, weighted by X's neurons, of all components; see :mod:`pipeline.correlate.canonical_correlation`.

    The weights of neurons don't say how much of a neuron is shared (see there); :func:`linreg` does.
    """
    return pwcca_scores(_canonical(activations, other, variance_share))


def linear_cka(activations: ArrayLike, other: ArrayLike, *, debiased: bool = True) -> float:
    """Linear CKA of two models; see :mod:`pipeline.correlate.kernel_alignment`."""
    x, y = _aligned(activations, other)
    xx, yy, xy = (float(np.sum((left.T @ right) ** 2)) for left, right in ((x, x), (y, y), (x, y)))
    if not debiased:
        return cka(xx, yy, xy)
    rows = RowNormSums.empty().update((x * x).sum(axis=1), (y * y).sum(axis=1))
    return debiased_cka(xx, yy, xy, rows)


def _partners(activations: ArrayLike, others: Sequence[ArrayLike]) -> list[BestPartners]:
    if isinstance(others, np.ndarray) and others.ndim < 3:
        raise UsageError(f"others must be a list with one array a model, not one array {others.shape}; write [Y]")
    x = centred_columns(activations, "activations")
    return [_best(x, _other(x, other, f"others[{place}]")) for place, other in enumerate(others)]


def _best(x: Floats, y: Floats) -> BestPartners:
    best, m2_x, m2_y = BestPartners.empty(x.shape[1]), _m2(x), _m2(y)
    for columns in column_ranges(y.shape[1]):
        cut = slice(columns.start, columns.stop)
        best.update(Tile(range(x.shape[1]), columns, correlations(x.T @ y[:, cut], m2_x, m2_y[cut])))
    return best


def _canonical(activations: ArrayLike, other: ArrayLike, variance_share: float) -> CanonicalCorrelations:
    x, y = _aligned(activations, other)
    return canonical_correlations(x.T @ x, y.T @ y, x.T @ y, len(x), variance_share)


def _aligned(activations: ArrayLike, other: ArrayLike) -> tuple[Floats, Floats]:
    x = centred_columns(activations, "activations")
    return x, _other(x, other, "other")


def _other(x: Floats, other: ArrayLike, name: str) -> Floats:
    y = centred_columns(other, name)
    if len(y) != len(x):
        raise UsageError(f"{name} must have the {len(x)} rows of the activations, not {len(y)}; align them first")
    return y


def _m2(centred: Floats) -> Floats:
    return np.asarray(np.einsum("ti,ti->i", centred, centred), np.float64)
