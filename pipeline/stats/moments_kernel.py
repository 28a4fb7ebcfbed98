"""Sums over rows of concepts, for sixteen neurons at a time.

Gathering a concept's rows from one neuron's column takes a load for every value. In a tile of sixteen neurons side by
side a row is one line of the cache, and four rows are added at once, which the compiler turns into vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel

Floats = NDArray[np.float64]

#: Neurons of a tile: sixteen float32 fill a line of the cache.
LANES = 16
#: What the values of a batch are.
FLOATS, FLOAT16, BFLOAT16 = 0, 1, 2


@kernel
def batch_moments(
    first: int,
    last: int,
    values: NDArray[Any],
    kind: int,
    tile: NDArray[Any],
    every_row: NDArray[np.int32],
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    mean_all: Floats,
    m2_all: Floats,
    min_all: Floats,
    max_all: Floats,
    mean: Floats,
    m2: Floats,
) -> None:
    """Moments of neurons ``first`` … ``last`` − 1 of ``values`` (N, T), of all rows and of each concept's.

    ``kind`` says what the values are: :data:`FLOATS`, or raw bits of 16, :data:`FLOAT16` or :data:`BFLOAT16`. ``tile``
    (T, 16) of floats is written over; ``every_row`` (T,) counts from 0. Each mean is computed before the squares around
    it. Concepts without rows are left as they are; a neuron with a value that is not finite gets a mean that is not.
    """
    centre, sums = np.empty(LANES), np.empty(LANES)
    for start in range(first, last, LANES):
        n = min(LANES, last - start)
        _fill(values, kind, start, n, tile)
        if len(tile):
            _range(tile, min_all[start : start + n], max_all[start : start + n])
            _moments(tile, every_row, centre, sums)
            for lane in range(n):
                mean_all[start + lane], m2_all[start + lane] = centre[lane], sums[lane]
        for concept in range(len(indptr) - 1):
            if indptr[concept] < indptr[concept + 1]:
                _moments(tile, rows[indptr[concept] : indptr[concept + 1]], centre, sums)
                for lane in range(n):
                    mean[start + lane, concept], m2[start + lane, concept] = centre[lane], sums[lane]


@kernel
def _fill(values: NDArray[Any], kind: int, start: int, n: int, tile: NDArray[Any]) -> None:
    """Neurons side by side, as floats; the last one again where there are fewer than lanes."""
    for row in range(len(tile)):
        for lane in range(LANES):
            value = values[start + min(lane, n - 1), row]
            if kind == FLOAT16:
                tile[row, lane] = of_float16(np.uint32(value))
            elif kind == BFLOAT16:
                tile[row, lane] = np.uint32(np.uint32(value) << 16).view(np.float32)
            else:
                tile[row, lane] = value


@kernel
def of_float16(bits: np.uint32) -> np.float32:
    """The float32 of the same value: its fraction and exponent moved, times 2^112 for the exponents' biases; exact.

    Infinity for NaN too.
    """
    magnitude = np.uint32((bits & 0x7FFF) << 13).view(np.float32) * np.float32(2.0**112)
    magnitude = magnitude if magnitude < 65536 else np.float32(np.inf)
    return -magnitude if bits & 0x8000 else magnitude


@kernel
def _range(tile: NDArray[Any], low: Floats, high: Floats) -> None:
    for row in range(len(tile)):
        for lane in range(len(low)):
            low[lane] = min(low[lane], tile[row, lane])
            high[lane] = max(high[lane], tile[row, lane])


@kernel
def _moments(tile: NDArray[Any], rows: NDArray[np.int32], mean: Floats, m2: Floats) -> None:
    """Mean and Σ(x − mean)² over ``rows``, at least one, of every lane."""
    for lane in range(LANES):
        mean[lane] = np.float64(tile[rows[0], lane])
    _sum_from(tile, rows, mean, m2)
    for lane in range(LANES):
        mean[lane] += m2[lane] / len(rows)
    _squares_from(tile, rows, mean, m2)


@kernel
def _sum_from(tile: NDArray[Any], rows: NDArray[np.int32], centre: Floats, sums: Floats) -> None:
    """Σ(x − centre) of every lane."""
    sums[:] = 0
    whole = len(rows) // 4 * 4
    for entry in range(0, whole, 4):
        a, b = tile[rows[entry]], tile[rows[entry + 1]]
        c, d = tile[rows[entry + 2]], tile[rows[entry + 3]]
        for lane in range(LANES):
            at = centre[lane]
            sums[lane] += ((np.float64(a[lane]) - at) + (np.float64(b[lane]) - at)) + (
                (np.float64(c[lane]) - at) + (np.float64(d[lane]) - at)
            )
    for entry in range(whole, len(rows)):
        for lane in range(LANES):
            sums[lane] += np.float64(tile[rows[entry], lane]) - centre[lane]


# a loop of its own beside that of _sum_from: the time goes into them, and neither carries a branch
@kernel
def _squares_from(tile: NDArray[Any], rows: NDArray[np.int32], centre: Floats, sums: Floats) -> None:
    """Σ(x − centre)² of every lane."""
    sums[:] = 0
    whole = len(rows) // 4 * 4
    for entry in range(0, whole, 4):
        a, b = tile[rows[entry]], tile[rows[entry + 1]]
        c, d = tile[rows[entry + 2]], tile[rows[entry + 3]]
        for lane in range(LANES):
            at = centre[lane]
            w, x = np.float64(a[lane]) - at, np.float64(b[lane]) - at
            y, z = np.float64(c[lane]) - at, np.float64(d[lane]) - at
            sums[lane] += (w * w + x * x) + (y * y + z * z)
    for entry in range(whole, len(rows)):
        for lane in range(LANES):
            w = np.float64(tile[rows[entry], lane]) - centre[lane]
            sums[lane] += w * w
