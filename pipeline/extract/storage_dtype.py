"""The stored dtype of activations: torch tensors in, numpy bits out, and no value that could not be stored.

``float16`` and ``bfloat16`` are handed on as their bits in ``uint16`` (numpy has no bfloat16), ``float32`` as it is.
Rounding is to nearest, ties to even.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from schemas.errors import ActivationError

Bits = npt.NDArray[np.uint16] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class StorageDtype:
    """A stored dtype."""

    name: str
    torch_dtype: torch.dtype

    def converted(self, values: torch.Tensor) -> torch.Tensor:
        """CPU ``values`` in this dtype; themselves if they are that already."""
        return values.to(self.torch_dtype)

    def bits(self, stored: torch.Tensor) -> Bits:
        """Numpy view of a CPU tensor: uint16 bits, or float32."""
        return stored.numpy() if self.torch_dtype is torch.float32 else stored.view(torch.uint16).numpy()

    def is_finite(self, stored: torch.Tensor) -> bool:
        """Whether all values of a CPU tensor are finite: its extremes are, and NaN would be both of them."""
        if stored.numel() == 0:
            return True
        low, high = torch.aminmax(stored)
        return math.isfinite(low.item()) and math.isfinite(high.item())


_STORAGE = {
    "float16": StorageDtype("float16", torch.float16),
    "bfloat16": StorageDtype("bfloat16", torch.bfloat16),
    "float32": StorageDtype("float32", torch.float32),
}


def stored_values(bits: npt.NDArray[np.generic], dtype: str) -> npt.NDArray[np.floating]:
    """What ``bits`` as in :data:`Bits` stand for: float16 as it is, bfloat16 as float32, float32 as it is."""
    if dtype == "float16":
        return bits.view(np.float16)
    if dtype == "bfloat16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return bits.view(np.float32)


def storage_dtype(name: str) -> StorageDtype:
    """The stored dtype called ``float16``, ``bfloat16`` or ``float32``; ``ValueError`` for another name."""
    if name not in _STORAGE:
        raise ValueError(f"dtype must be one of {', '.join(_STORAGE)}; got {name!r}")
    return _STORAGE[name]


def to_storage(values: torch.Tensor, dtype: str, *, component: str = "", layer: int = -1) -> Bits:
    """Round ``values`` (T, N) to ``dtype``.

    Raises :class:`ActivationError` naming component, layer, neuron and value for NaN, infinity and overflow.
    """
    storage = storage_dtype(dtype)
    stored = storage.converted(values)
    if not storage.is_finite(stored):
        raise not_storable(values, storage, component, layer)
    return storage.bits(stored)


def not_storable(
    values: torch.Tensor, storage: StorageDtype, component: str, layer: int, neurons: Sequence[int] | None = None
) -> ActivationError:
    """The error for ``values`` (T, N), of which one at least is not finite when stored: names the first.

    ``neurons``: the number of each column in the layer; their place by default.
    """
    stored = values.to(storage.torch_dtype)
    row, column = (int(i) for i in (~torch.isfinite(stored)).nonzero()[0])
    value = float(values[row, column])
    where = f"{component} layer {layer} neuron {column if neurons is None else neurons[column]}"
    if not np.isfinite(value):
        return ActivationError(
            f"{where}: the model produced {value}, which is never stored; "
            "check its weights, or compute in another dtype (model.compute_dtype)"
        )
    largest = torch.finfo(storage.torch_dtype).max
    return ActivationError(
        f"{where}: value {value:g} overflows {storage.name} (largest {largest:g}); dump with --dtype bfloat16"
    )
