"""Kernels of ``CrossMoments``: rows centred on their mean, and products added to float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.stats.moments_kernel import BFLOAT16, FLOAT16, of_float16

#: Sums of one neuron that are run side by side: one alone waits for its own last addition.
_LANES = 8
#: Places of a centred batch's facts (4, N): the mean, Σ(x − mean)², what the centre misses of the mean, the sum.
MEAN, M2, REST, SUM = range(4)
#: Rows of a square that is mirrored: both squares stay in the cache.
MIRROR_ROWS = 64


@kernel
def centre(first: int, last: int, values: NDArray[Any], centred: NDArray[Any], facts: NDArray[np.float64]) -> None:
    """``centred`` (N, T) = ``values`` (N, T) less their mean, in the dtype of ``centred``; ``facts`` (4, N).

    The mean of equal values is that value, so a constant neuron is 0 throughout.
    """
    n_rows = values.shape[1]
    even = n_rows - n_rows % _LANES
    sums = np.empty(_LANES)
    for neuron in range(first, last):
        sums[:] = 0.0
        low = high = values[neuron, 0]
        for row in range(0, even, _LANES):
            for lane in range(_LANES):
                x = values[neuron, row + lane]
                sums[lane] += np.float64(x)
                low = min(low, x)
                high = max(high, x)
        total = sums.sum()
        for row in range(even, n_rows):
            x = values[neuron, row]
            total += np.float64(x)
            low = min(low, x)
            high = max(high, x)
        mean = np.float64(low) if low == high else total / n_rows
        place = centred.dtype.type(mean)
        sums[:] = 0.0
        for row in range(0, even, _LANES):
            for lane in range(_LANES):
                difference = values[neuron, row + lane] - place
                centred[neuron, row + lane] = difference
                sums[lane] += np.float64(difference) * np.float64(difference)
        squares = sums.sum()
        for row in range(even, n_rows):
            difference = values[neuron, row] - place
            centred[neuron, row] = difference
            squares += np.float64(difference) * np.float64(difference)
        rest = mean - np.float64(place)
        facts[MEAN, neuron] = mean
        facts[M2, neuron] = max(squares - n_rows * rest * rest, 0.0)
        facts[REST, neuron] = rest
        facts[SUM, neuron] = total


@kernel
def add_products(
    comoment: NDArray[np.float64],
    product: NDArray[Any],
    shift_a: NDArray[np.float64],
    shift_b: NDArray[np.float64],
    rest_a: NDArray[np.float64],
    rest_b: NDArray[np.float64],
) -> None:
    """``comoment`` (n, m) += ``product`` + shift_a ⊗ shift_b − rest_a ⊗ rest_b."""
    for i in range(comoment.shape[0]):
        shift, rest = shift_a[i], rest_a[i]
        for j in range(comoment.shape[1]):
            comoment[i, j] += np.float64(product[i, j]) + (shift * shift_b[j] - rest * rest_b[j])


@kernel
def decode(
    first: int, last: int, values: NDArray[Any], kind: int, rows: NDArray[np.int64], out: NDArray[Any], at: int
) -> None:
    """``out[:, at : at + u]`` = ``values[:, rows]`` as floats, ``rows`` (u,); ``kind`` as in ``moments_kernel``."""
    for neuron in range(first, last):
        if kind == FLOAT16:
            for k in range(len(rows)):
                out[neuron, at + k] = of_float16(np.uint32(values[neuron, rows[k]]))
        elif kind == BFLOAT16:
            for k in range(len(rows)):
                out[neuron, at + k] = np.uint32(np.uint32(values[neuron, rows[k]]) << 16).view(np.float32)
        else:
            for k in range(len(rows)):
                out[neuron, at + k] = values[neuron, rows[k]]


@kernel
def correlate(
    first: int,
    last: int,
    comoment: NDArray[Any],
    scale_a: NDArray[np.float64],
    scale_b: NDArray[np.float64],
    resolution: float,
    r: NDArray[Any],
) -> None:
    """``r`` (n, m) = ``comoment`` · scale_a ⊗ scale_b, ±1 from ``resolution`` below 1 on; NaN where a scale is."""
    for i in range(first, last):
        for j in range(comoment.shape[1]):
            x = np.float64(comoment[i, j]) * scale_a[i] * scale_b[j]
            if abs(x) >= 1.0 - resolution:
                x = 1.0 if x > 0 else -1.0
            r[i, j] = x


@kernel
def mirror(first: int, last: int, matrix: NDArray[Any]) -> None:
    """The upper half of a square matrix onto the lower one, ``first`` … ``last`` − 1 of its :data:`MIRROR_ROWS`."""
    n = len(matrix)
    for block in range(first, last):
        top, bottom = block * MIRROR_ROWS, min((block + 1) * MIRROR_ROWS, n)
        for left in range(0, bottom, MIRROR_ROWS):
            for i in range(top, bottom):
                for j in range(left, min(left + MIRROR_ROWS, i)):
                    matrix[i, j] = matrix[j, i]
