"""Activations in 8 bits: value = code × scale, with a whole code from −127 to 127 and one scale per neuron.

A scale has at most 4 significant bits and is a multiple of 2⁻²⁴, so that every code × scale is exactly a float16: what
reads 16-bit activations reads these without another rounding. Letters: T rows, N neurons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LARGEST_CODE = 127
#: The largest value of a neuron in the pilot sample times this is still in range.
HEADROOM = 1.25
_SIGNIFICANT_BITS = 4
_SMALLEST_SCALE = 2.0**-24
_LARGEST_SCALE = 512.0
#: 65,024, below the largest float16.
LARGEST_VALUE = LARGEST_CODE * _LARGEST_SCALE
#: Values looked at once: 1 MB in float32.
_CHUNK = 2**18


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """Values as stored, and what that cost.

    ``bits``: uint16 (T, N), the float16 values code × scale. Per neuron (N,): ``n_clipped`` int64, values beyond the
    largest code; ``total`` and ``lost`` float64, the sums of x² and of (x − code × scale)².
    """

    bits: npt.NDArray[np.uint16]
    n_clipped: npt.NDArray[np.int64]
    total: npt.NDArray[np.float64]
    lost: npt.NDArray[np.float64]


def choose_scales(largest: Floats) -> Floats:
    """Scale (N,) of neurons with max |x| ``largest`` (N,) in a sample: ``largest`` · HEADROOM / 127, rounded up.

    A neuron that was 0 throughout the sample gets the largest scale of the others, or 1: it may wake up later. Values
    beyond 65,024 are clipped whatever the sample said.
    """
    wanted = largest.astype(np.float64) * HEADROOM / LARGEST_CODE
    _, exponent = np.frexp(wanted)  # wanted = m · 2^exponent with m in [0.5, 1)
    unit = np.maximum(np.ldexp(1.0, exponent - _SIGNIFICANT_BITS), _SMALLEST_SCALE)
    scales = np.clip(np.ceil(wanted / unit) * unit, _SMALLEST_SCALE, _LARGEST_SCALE)
    is_silent = largest == 0
    if is_silent.any():
        scales[is_silent] = 1.0 if is_silent.all() else scales[~is_silent].max()
    chosen: Floats = scales.astype(np.float32)
    return chosen


def quantise(values: Floats, scales: Floats) -> Quantised:
    """Round finite ``values`` (T, N) to the nearest code of their neuron, ties to the even one, and clip."""
    n_rows, n_neurons = values.shape
    bits = np.empty((n_rows, n_neurons), np.uint16)
    n_clipped = np.zeros(n_neurons, np.int64)
    total, lost = np.zeros(n_neurons), np.zeros(n_neurons)
    step = max(1, _CHUNK // max(n_neurons, 1))
    for first in range(0, n_rows, step):
        part = values[first : first + step]
        # in float64 the quotient of a float32 and a scale never rounds onto a tie
        codes = np.rint(np.divide(part, scales, dtype=np.float64))
        n_clipped += (np.abs(codes) > LARGEST_CODE).sum(axis=0)
        np.clip(codes, -LARGEST_CODE, LARGEST_CODE, out=codes)
        codes *= scales
        codes += 0.0  # −0 becomes 0
        bits[first : first + step] = codes.astype(np.float16).view(np.uint16)
        total += np.square(part, dtype=np.float64).sum(axis=0)
        codes -= part
        lost += np.square(codes).sum(axis=0)
    return Quantised(bits, n_clipped, total, lost)
