"""Kernels of ``CrossMoments``: rows centred on their mean, and products added to float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.stats.moments_kernel import BFLOAT16, FLOAT16, of_float16

#: Sums of one neuron that are run side by side: one alone waits for its own last addition.
_LANES = 8
#: Places of a centred batch's facts (N, 4): the mean, Σ(x − mean)², what the centre misses of the mean, the sum.
MEAN, M2, REST, SUM = range(4)
#: Rows of a square that is mirrored: both squares stay in the cache.
MIRROR_ROWS = 64


@kernel
def centre(
    first: int, last: int, n_rows: int, values: NDArray[Any], centred: NDArray[Any], facts: NDArray[np.float64]
) -> None:
    """``centred`` (N, ≥ T) = ``values`` (N, ≥ T) less the means of T = ``n_rows``, in its own dtype; ``facts`` (N, 4).

    The mean of equal values is that value, so a constant neuron is 0 throughout.
    """
    for neuron in range(first, last):
        _centre(values[neuron, :n_rows], centred[neuron, :n_rows], facts[neuron])


@kernel
def decode_centred(
    first: int,
    last: int,
    values: NDArray[Any],
    kind: int,
    rows: NDArray[np.int64],
    centred: NDArray[Any],
    facts: NDArray[np.float64],
) -> None:
    """:func:`decode` and then :func:`centre` of ``centred[:, :u]``, ``rows`` (u,), while a neuron is in the cache."""
    chosen = np.empty(len(rows), values.dtype)
    for neuron in range(first, last):
        made = centred[neuron, : len(rows)]
        _decode(values[neuron], kind, rows, chosen, made)
        _centre(made, made, facts[neuron])


@kernel
def _centre(values: NDArray[Any], centred: NDArray[Any], facts: NDArray[np.float64]) -> None:
    total = _sum(values)
    mean = np.float64(values[0]) if _is_constant(values) else total / len(values)
    place = centred.dtype.type(mean)
    for row in range(len(values)):
        centred[row] = values[row] - place
    rest = mean - np.float64(place)
    facts[MEAN] = mean
    facts[M2] = max(_sum_of_squares(centred) - len(values) * rest * rest, 0.0)
    facts[REST] = rest
    facts[SUM] = total


@kernel
def _sum(values: NDArray[Any]) -> float:
    """In float64, eight sums side by side."""
    even = len(values) - len(values) % _LANES
    lanes = values[:even].reshape(-1, _LANES)
    sums = np.zeros(_LANES)
    for row in range(len(lanes)):
        for lane in range(_LANES):
            sums[lane] += np.float64(lanes[row, lane])
    total: float = sums.sum()
    for x in values[even:]:
        total += np.float64(x)
    return total


@kernel
def _sum_of_squares(values: NDArray[Any]) -> float:
    even = len(values) - len(values) % _LANES
    lanes = values[:even].reshape(-1, _LANES)
    sums = np.zeros(_LANES)
    for row in range(len(lanes)):
        for lane in range(_LANES):
            x = np.float64(lanes[row, lane])
            sums[lane] += x * x
    total: float = sums.sum()
    for x in values[even:]:
        total += np.float64(x) * np.float64(x)
    return total


@kernel
def _is_constant(values: NDArray[Any]) -> bool:
    n_other, x = 0, values[0]
    for row in range(len(values)):  # to the end, which vector instructions do sooner than one by one to the first
        n_other += values[row] != x
    return n_other == 0


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
def decode(first: int, last: int, values: NDArray[Any], kind: int, rows: NDArray[np.int64], out: NDArray[Any]) -> None:
    """``out[:, :u]`` = ``values[:, rows]`` as floats, ``rows`` (u,); ``kind`` as in ``moments_kernel``."""
    chosen = np.empty(len(rows), values.dtype)
    for neuron in range(first, last):
        _decode(values[neuron], kind, rows, chosen, out[neuron, : len(rows)])


@kernel
def _decode(stored: NDArray[Any], kind: int, rows: NDArray[np.int64], chosen: NDArray[Any], made: NDArray[Any]) -> None:
    """Those chosen are put side by side first, so that the compiler makes vector instructions of the other loops."""
    for k in range(len(rows)):
        chosen[k] = stored[rows[k]]
    if kind == FLOAT16:
        for k in range(len(chosen)):
            made[k] = of_float16(np.uint32(chosen[k]))
    elif kind == BFLOAT16:
        for k in range(len(chosen)):
            made[k] = np.uint32(np.uint32(chosen[k]) << 16).view(np.float32)
    else:
        for k in range(len(chosen)):
            made[k] = chosen[k]


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
