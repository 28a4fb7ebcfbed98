"""The distance that neurons are clustered by: 1 − |r|, or 1 − r where the sign counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.correlate.tile import Tile
from schemas.errors import UsageError

#: How far beyond ±1 a correlation may be by rounding; it is taken for ±1.
ROUNDING = 1e-3


@kernel
def similarity(r: float, signed: bool) -> float:
    """|r|, or r where ``signed``, at most 1 (and at least −1); NaN for NaN."""
    value = np.float64(r)
    value = value if signed else abs(value)
    if value > 1.0:
        return 1.0
    return max(value, -1.0)


def kernel_values(tile: Tile) -> NDArray[np.floating]:
    """The values of a tile as kernels take them: float32 or float64, rows contiguous.

    Raises :class:`UsageError` for a shape other than that of its ranges.
    """
    shape = (len(tile.rows), len(tile.columns))
    if tile.values.shape != shape:
        raise UsageError(
            f"the tile of neurons {tile.rows.start}–{tile.rows.stop - 1} with {tile.columns.start}–"
            f"{tile.columns.stop - 1} must have values of shape {shape}, not {tile.values.shape}"
        )
    is_single = tile.values.dtype == np.float32
    values: NDArray[np.floating] = np.ascontiguousarray(tile.values, np.float32 if is_single else np.float64)
    return values


def refuse_beyond_one(largest: float, tile: Tile) -> None:
    """Raise :class:`UsageError` where the largest |r| of a tile is beyond 1 by more than rounding."""
    if largest > 1 + ROUNDING:
        raise UsageError(
            f"correlations must be in [−1, 1]; neurons {tile.rows.start}–{tile.rows.stop - 1} with "
            f"{tile.columns.start}–{tile.columns.stop - 1}: |r| = {largest}; divide covariances by both deviations"
        )


def checked_thresholds(thresholds: float | Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Thresholds on the distance as float64 (K,), in the order given; one number is a list of one.

    Raises :class:`UsageError` for none, a negative one, NaN or infinity.
    """
    values = np.atleast_1d(np.asarray(thresholds, np.float64))
    if values.ndim != 1 or not len(values):
        raise UsageError(f"thresholds must be one number or a list of them, not of shape {values.shape}")
    for value in values.tolist():
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"a threshold is a distance 1 − |r| of 0 or more, such as 0.3; got {value}")
    return values
