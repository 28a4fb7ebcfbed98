"""Which values of a layer a sparse dump keeps, and what it loses: the rules ``topk`` and ``threshold``.

Values come as stored (``uint16`` bits of 16-bit floats, or float32), so the order is that of what would be read back.
Letters: T rows, N neurons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.extract.storage_dtype import Bits, stored_values
from schemas.config import ValueDtype

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
#: Magnitudes (T, N) → what is kept of them (T, N).
Rule = Callable[[npt.NDArray[np.unsignedinteger]], Mask]

#: Values looked at once: 2 MB in float64.
_CHUNK = 2**18


@dataclass(frozen=True, slots=True, eq=False)
class Selected:
    """Kept values in row order: ``row`` (from 0), ``neuron`` (from 0) and ``values`` as they came, (n,) each.

    ``total`` and ``lost`` are sums of squares per neuron, float64 (N,): of all values, and of those not kept.
    """

    row: npt.NDArray[np.int64]
    neuron: npt.NDArray[np.int32]
    values: Bits
    total: Floats
    lost: Floats


def top_k(k: int) -> Rule:
    """Keep the ``k`` values of a row that are largest in magnitude; of equal ones, those of the lower neurons."""

    def keep(magnitude: npt.NDArray[np.unsignedinteger]) -> Mask:
        n_neurons = magnitude.shape[1]
        if k >= n_neurons:
            return magnitude > 0
        smallest = np.partition(magnitude, n_neurons - k, axis=1)[:, n_neurons - k, None]
        kept: Mask = magnitude >= smallest
        surplus = np.flatnonzero(kept.sum(axis=1) > k)
        if len(surplus):
            above = magnitude[surplus] > smallest[surplus]
            tied = kept[surplus] & ~above
            room = k - above.sum(axis=1, keepdims=True)
            kept[surplus] = above | (tied & (np.cumsum(tied, axis=1) <= room))
        return kept & (magnitude > 0)

    return keep


def above(threshold: float, dtype: ValueDtype) -> Rule:
    """Keep values with |x| > ``threshold`` (≥ 0)."""
    largest_left_out = _magnitude_up_to(threshold, dtype)
    return lambda magnitude: magnitude > largest_left_out


def _magnitude_up_to(threshold: float, dtype: ValueDtype) -> np.unsignedinteger:
    """The bits of the largest value of ``dtype`` that is ≤ ``threshold``."""
    with np.errstate(over="ignore"):
        nearest = np.float16(threshold) if dtype == "float16" else np.float32(threshold)
    if float(nearest) > threshold:
        nearest = np.nextafter(nearest, nearest.dtype.type(0))
    if dtype == "float16":
        return np.uint16(nearest.view(np.uint16))
    bits = np.uint32(nearest.view(np.uint32))
    return np.uint16(bits >> np.uint32(16)) if dtype == "bfloat16" else bits


def select(values: Bits, rule: Rule, dtype: ValueDtype) -> Selected:
    """Apply ``rule`` to ``values`` (T, N), a few rows at a time; zeros are never kept."""
    n_rows, n_neurons = values.shape
    rows, neurons, kept_values = [], [], []
    total, lost = np.zeros(n_neurons), np.zeros(n_neurons)
    step = max(1, _CHUNK // max(n_neurons, 1))
    for first in range(0, n_rows, step):
        part = values[first : first + step]
        kept = rule(_magnitudes(part))
        row, neuron = np.nonzero(kept)
        rows.append(row + first)
        neurons.append(neuron.astype(np.int32))
        kept_values.append(part[kept])
        squares = np.square(stored_values(part, dtype), dtype=np.float64)
        total += squares.sum(axis=0)
        squares[kept] = 0
        lost += squares.sum(axis=0)
    return Selected(
        np.concatenate([np.zeros(0, np.int64), *rows]),
        np.concatenate([np.zeros(0, np.int32), *neurons]),
        np.concatenate([np.zeros(0, values.dtype), *kept_values]),
        total,
        lost,
    )


def _magnitudes(values: Bits) -> npt.NDArray[np.unsignedinteger]:
    """Bits without the sign, ordered as |x|; 0 for both zeros."""
    if values.dtype == np.uint16:
        return values.view(np.uint16) & np.uint16(0x7FFF)
    return np.ascontiguousarray(values).view(np.uint32) & np.uint32(0x7FFFFFFF)
