"""What every comparison of two models asks of their second moments: shape, float64, finite values, sound correlations.

Models A and B have N_A and N_B neurons over the same n rows. Σ_AA (N_A, N_A), Σ_BB and Σ_AB (N_A, N_B) are co-moments
Σ(x − mean)(y − mean), or covariances, all three with the same divisor. A neuron is constant where its diagonal entry is
0 or less; a caller who knows that a neuron is constant sets its entries to 0, as its sums may hold rounding errors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.errors import ActivationError, UsageError

#: Correlations are rounded to multiples of this, 7e−15 at most: the same pair of columns gives another last bit in
#: another block of a matrix product, and a copy of a neuron would not always tie with it, nor reach ±1.
CORRELATION_UNIT = 2.0**-46
#: |r| may exceed 1 by so much through rounding; beyond it the moments are not of the same rows or not of one divisor.
EXCESS = 1e-6

Floats = NDArray[np.float64]


def check_moments(moments: ArrayLike, name: str, shape: tuple[int | None, ...]) -> Floats:
    """``moments`` as a finite float64 array of ``shape``; None stands for any length.

    Raises :class:`UsageError` for another shape, :class:`ActivationError` for NaN and infinity.
    """
    matrix = np.asarray(moments, np.float64)
    fits = matrix.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, matrix.shape, strict=True)
    )
    if not fits:
        wanted_shape = ", ".join("any" if length is None else str(length) for length in shape)
        raise UsageError(f"{name} must be of shape ({wanted_shape}), not {matrix.shape}; cut all moments alike")
    if not np.isfinite(matrix).all():
        place = np.argwhere(~np.isfinite(matrix))[0]
        raise ActivationError(
            f"{name} must be finite; entry {place.tolist()} is {matrix[tuple(place)]}; drop or repair its rows"
        )
    return matrix


def check_square(moments: ArrayLike, name: str) -> Floats:
    """``moments`` of one model with itself, a finite float64 matrix (N, N); errors as :func:`check_moments`."""
    matrix = np.asarray(moments, np.float64)
    n_neurons = len(matrix) if matrix.ndim else 0
    return check_moments(matrix, name, (n_neurons, n_neurons))


def check_n_rows(n_rows: int) -> int:
    """``n_rows``, or :class:`UsageError` where there are none."""
    if n_rows < 1:
        raise UsageError(f"n_rows must be at least 1, got {n_rows}")
    return int(n_rows)


def inverse_spread(m2: Floats) -> Floats:
    """1/√m2 of every neuron (N,), NaN for a constant one."""
    spread = np.sqrt(np.where(m2 > 0, m2, np.nan))
    return np.asarray(1 / spread, np.float64)


def correlations(ab: ArrayLike, m2_a: ArrayLike, m2_b: ArrayLike) -> Floats:
    """Pearson's r (N_A, N_B) = Σ_AB / √(Σ_ii Σ_jj), NaN where a neuron is constant; also of one tile of Σ_AB.

    ``m2_a`` (N_A,) and ``m2_b`` (N_B,) are the diagonals of Σ_AA and Σ_BB. Rounded to multiples of 2⁻⁴⁶ and in [−1, 1],
    so that a neuron and its copy have r = 1, its negation −1. Raises :class:`UsageError` for wrong shapes and where
    |r| > 1 + 1e−6, :class:`ActivationError` for NaN and infinity.
    """
    spread_a = inverse_spread(check_moments(m2_a, "m2_a", (None,)))
    spread_b = inverse_spread(check_moments(m2_b, "m2_b", (None,)))
    r = check_moments(ab, "ab", (len(spread_a), len(spread_b))) * spread_a[:, None]
    r *= spread_b
    largest = np.nanmax(np.abs(r), initial=0.0, where=~np.isnan(r))
    if largest > 1 + EXCESS:
        raise UsageError(
            f"ab, m2_a and m2_b give |r| = {largest:.6g}, more than 1; all must be of the same rows and one divisor"
        )
    r /= CORRELATION_UNIT
    np.rint(r, out=r)
    r *= CORRELATION_UNIT
    return np.clip(r, -1, 1, out=r)


def finite_rows(activations: Any, name: str) -> Floats:
    """Activations (T, N), or (T,) for one neuron, as float64 (T, N).

    Raises :class:`UsageError` for what are no numbers, another shape or no rows, :class:`ActivationError` for NaN and
    infinity.
    """
    matrix = number_rows(activations, name)
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        row, neuron = bad[0]
        raise ActivationError(
            f"{name} must be finite; row {row}, neuron {neuron}: {matrix[row, neuron]}; drop or repair it"
        )
    return matrix


def number_rows(values: Any, name: str) -> Floats:
    """Values (T, N), or (T,) for one column, as float64 (T, N); NaN and infinity are let through.

    Raises :class:`UsageError` for what are no numbers, another shape or no rows.
    """
    matrix = float_array(values, name)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or len(matrix) == 0:
        raise UsageError(f"{name} must be (T, N) or (T,) with at least one row, not of shape {matrix.shape}")
    return matrix


def refuse_overflow(values: Floats, name: str) -> None:
    """Raise :class:`ActivationError` where Σ x² of ``values`` (T, N), finite, is beyond float64."""
    with np.errstate(over="ignore"):
        if not np.isfinite(np.einsum("ti,ti->", values, values)):
            largest = np.abs(values).max()
            raise ActivationError(f"{name} reach {largest:.6g}, and their squares overflow float64; divide them first")


def float_array(values: Any, name: str) -> Floats:
    """``values`` as a float64 array of any shape; :class:`UsageError` for what are no numbers, complex ones too."""
    try:
        found = np.asarray(values)
        if not np.iscomplexobj(found):
            return np.asarray(found, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} must be an array of numbers: {error}") from error
    raise UsageError(f"{name} must be an array of real numbers, not of {found.dtype}")


def centred_columns(activations: Any, name: str) -> Floats:
    """Activations (T, N), or (T,) for one neuron, as float64 (T, N) less the mean of each column.

    The first row is taken off before the mean: constant neurons are exactly 0, and a large mean costs no digits. Errors
    as :func:`finite_rows`.
    """
    matrix = finite_rows(activations, name)
    shifted = matrix - matrix[0]
    return np.asarray(shifted - shifted.mean(axis=0), np.float64)
