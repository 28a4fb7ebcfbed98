"""Kernels of ``CrossMoments``: rows centred on their mean, and products added to float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel

#: Sums of one neuron that are run side by side: one alone waits for its own last addition.
_LANES = 8
#: Places of a centred batch's facts (4, N): the mean, Σ(x − mean)², what the centre misses of the mean, the sum.
MEAN, M2, REST, SUM = range(4)


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
