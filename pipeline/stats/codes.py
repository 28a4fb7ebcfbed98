"""Order-preserving 16-bit codes: a 16-bit float as the unsigned integer that sorts the same way.

For the bits b of a float16 or bfloat16, code = ~b where the sign bit is set and b | 0x8000 elsewhere; −0.0 gets the
code of +0.0. Then x < y exactly when code(x) < code(y), so a histogram over the 65,536 codes is the sorted column.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.stats.threads import over_neurons
from schemas.errors import ActivationError, UsageError

#: Number of codes B.
N_CODES = 1 << 16

HalfDtype = Literal["float16", "bfloat16"]


def check_half_dtype(dtype: str) -> HalfDtype:
    """``dtype`` if it has 16 bits, else :class:`UsageError`."""
    if dtype == "float16":
        return "float16"
    if dtype == "bfloat16":
        return "bfloat16"
    raise UsageError(
        f"dtype must be float16 or bfloat16, which have 16-bit codes, not {dtype!r}; round float32 with round_to_bits"
    )


def encode_codes(bits: NDArray[np.uint16], dtype: str, threads: int = 1) -> NDArray[np.uint16]:
    """Codes of stored values, same shape; ``bits`` are the raw bits of ``dtype`` (float16 or bfloat16).

    Both dtypes keep sign, exponent and mantissa in this order, so one formula serves both. NaN is not expected (the
    store refuses it) and gets the codes at either end.
    """
    check_half_dtype(dtype)
    if bits.dtype != np.uint16:
        raise UsageError(f"bits must be uint16 (the raw bits of {dtype}), not {bits.dtype}; view the array as uint16")
    codes = np.empty(bits.shape, np.uint16)
    given, made = np.ascontiguousarray(bits).reshape(-1), codes.reshape(-1)
    over_neurons(lambda first, last: _encode(given[first:last], made[first:last]), len(given), threads)
    return codes


@kernel
def _encode(bits: NDArray[np.uint16], codes: NDArray[np.uint16]) -> None:
    for place in range(len(bits)):
        found = bits[place]
        code = np.uint16(~found) if found & 0x8000 else np.uint16(found | 0x8000)
        codes[place] = np.uint16(0x8000) if code == 0x7FFF else code  # −0.0, just below +0.0


def decode_codes(codes: NDArray[np.uint16], dtype: str) -> NDArray[np.float64]:
    """Values of codes as float64, same shape; exact."""
    values = code_values(check_half_dtype(dtype))
    return values[codes]


@lru_cache(maxsize=2)
def code_values(dtype: HalfDtype) -> NDArray[np.float64]:
    """Value of every code, float64 (65,536,), read-only and non-decreasing.

    Codes of NaN, which no store holds, carry ±inf so that the table stays sorted.
    """
    codes = np.arange(N_CODES, dtype=np.uint16)
    bits = np.where(codes >= 0x8000, codes ^ np.uint16(0x8000), ~codes).astype(np.uint16)
    with np.errstate(invalid="ignore"):  # the bits of signalling NaN
        values = bits_to_float32(bits, dtype).astype(np.float64)
    infinite = np.where(codes >= 0x8000, np.inf, -np.inf)
    values = np.where(np.isnan(values), infinite, values) + 0.0
    values.flags.writeable = False
    return values


def bits_to_float32(bits: NDArray[np.uint16], dtype: str) -> NDArray[np.float32]:
    """Values of raw 16-bit floats as float32, same shape; exact."""
    if check_half_dtype(dtype) == "float16":
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def round_to_bits(values: NDArray[np.float32], dtype: str) -> NDArray[np.uint16]:
    """Raw bits of float32 values rounded to the nearest 16-bit float, ties to even, same shape.

    Raises :class:`ActivationError` where a value is not finite or rounds to infinity.
    """
    values = np.ascontiguousarray(values, dtype=np.float32)
    if check_half_dtype(dtype) == "float16":
        with np.errstate(over="ignore", invalid="ignore"):
            bits = values.astype(np.float16).view(np.uint16)
        exponent = 0x7C00
    else:
        wide = values.view(np.uint32)
        bits = ((wide + np.uint32(0x7FFF) + ((wide >> 16) & np.uint32(1))) >> 16).astype(np.uint16)
        exponent = 0x7F80
    outside = ((bits & np.uint16(exponent)) == exponent) | ~np.isfinite(values)
    if outside.any():
        value = values[outside].flat[0]
        raise ActivationError(
            f"value {value} cannot be rounded to {dtype} (not finite, or out of range); use bfloat16 or drop rounding"
        )
    return bits
