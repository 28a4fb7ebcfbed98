"""What every state asks of a block of activations: its shape, its dtype, and finite values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ActivationError, UsageError


def check_values(values: NDArray[Any], n_neurons: int) -> NDArray[np.floating]:
    """``values`` as a C-contiguous float32 or float64 (N, T) block."""
    if values.ndim != 2 or values.shape[0] != n_neurons:
        raise UsageError(
            f"values must be neuron-major of shape ({n_neurons}, T), not {values.shape}; transpose or slice them"
        )
    if values.dtype not in (np.float32, np.float64):
        raise UsageError(
            f"values must be float32 or float64, not {values.dtype}; decode 16-bit values with bits_to_float32"
        )
    return np.ascontiguousarray(values)


def check_codes(codes: NDArray[Any], n_neurons: int) -> NDArray[np.uint16]:
    """``codes`` as a C-contiguous uint16 (N, T) block of order-preserving codes."""
    if codes.ndim != 2 or codes.shape[0] != n_neurons:
        raise UsageError(
            f"codes must be neuron-major of shape ({n_neurons}, T), not {codes.shape}; transpose or slice them"
        )
    if codes.dtype != np.uint16:
        raise UsageError(f"codes must be uint16, not {codes.dtype}; make them with encode_codes")
    return np.ascontiguousarray(codes)


def check_rows(n_rows: int, found: int, name: str) -> None:
    """Raise :class:`UsageError` unless ``found`` rows of ``name`` go with ``n_rows`` rows of activations."""
    if n_rows != found:
        raise UsageError(
            f"{name} must have as many rows as the activations, {n_rows}, not {found}; cut both from the same batch"
        )


def check_mergeable(shape: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Raise :class:`UsageError` unless two states are of the same block."""
    if shape != other:
        raise UsageError(f"states of blocks {shape} and {other} do not merge; fold the shards of one block only")


def refuse_non_finite(sums: NDArray[np.float64], values: NDArray[np.floating]) -> None:
    """Raise :class:`ActivationError` when a neuron's sum, and so one of its values, is not finite."""
    bad = np.flatnonzero(~np.isfinite(sums))
    if bad.size:
        neuron = int(bad[0])
        rows = np.flatnonzero(~np.isfinite(values[neuron]))
        place = f"row {rows[0]}: {values[neuron, rows[0]]}" if rows.size else "the sum overflows float64"
        raise ActivationError(
            f"activations must be finite; neuron {neuron} of the block, {place}; drop or repair the batch"
        )
