"""Rows chosen, rounded and checked in one pass over memory, which is what storing an activation costs.

Each kernel copies rows ``source`` of ``values`` (T, N) to ``stored`` (n, N), both as their bits, and returns the
largest magnitude it met, as the bits of ``values``' dtype without their sign: finite values order like their bits, and
infinity and NaN are above them all. ``IndexError`` for a row that is not there; shapes are the caller's to check.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.compiled import kernel

Uint32s = npt.NDArray[np.uint32]
Uint16s = npt.NDArray[np.uint16]
Unsigned = npt.NDArray[np.unsignedinteger[Any]]
Ints = npt.NDArray[np.int64]


@kernel
def _checked(row: int, n_rows: int) -> int:
    """``row``, if it is one of ``n_rows``."""
    if not 0 <= row < n_rows:
        raise IndexError("source names a row that is not there")
    return row


@kernel
def float16_rows(values: Uint32s, source: Ints, stored: Uint16s) -> int:
    """float32 to float16."""
    largest = np.uint32(0)
    for row in range(len(source)):
        given, rounded = values[_checked(source[row], len(values))], stored[row]
        for column in range(given.shape[0]):
            magnitude = np.uint32(given[column] & 0x7FFFFFFF)
            rounded[column] = np.uint16((given[column] >> 16) & 0x8000 | _float16_bits(magnitude))
            largest = max(largest, magnitude)
    return int(largest)


@kernel
def _float16_bits(magnitude: np.uint32) -> np.uint32:
    """Of the float32 with bits ``magnitude`` ≥ 0, rounded to nearest, ties to even; infinity for what is not finite."""
    if magnitude >= 0x477FF000:  # 65,520 and more
        return np.uint32(0x7C00)
    # added to 0.5, a value below 2^-14 leaves the bits of its denormal; the addition rounds as it should
    small = np.uint32(np.float32(np.uint32(magnitude).view(np.float32) + np.float32(0.5)).view(np.uint32) - 0x3F000000)
    # any other loses 13 bits, and 112 of its exponent
    normal = np.uint32(np.uint32(magnitude - 0x37FFF001 + ((magnitude >> 13) & 1)) >> 13)
    return small if magnitude < 0x38800000 else normal


@kernel
def bfloat16_rows(values: Uint32s, source: Ints, stored: Uint16s) -> int:
    """float32 to bfloat16: the upper half, rounded to nearest, ties to even; any bits for NaN."""
    largest = np.uint32(0)
    for row in range(len(source)):
        given, rounded = values[_checked(source[row], len(values))], stored[row]
        for column in range(given.shape[0]):
            bits = given[column]
            rounded[column] = np.uint16(np.uint32(bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
            largest = max(largest, np.uint32(bits & 0x7FFFFFFF))
    return int(largest)


@kernel
def same_rows(values: Unsigned, source: Ints, stored: Unsigned) -> int:
    """16- or 32-bit floats as they are."""
    unsigned = values.dtype.type
    signless = unsigned((1 << (8 * values.itemsize - 1)) - 1)
    largest = unsigned(0)
    for row in range(len(source)):
        given, kept = values[_checked(source[row], len(values))], stored[row]
        for column in range(given.shape[0]):
            kept[column] = given[column]
            largest = max(largest, unsigned(given[column] & signless))
    return int(largest)
