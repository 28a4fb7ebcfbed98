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

    def checked(
        self, values: torch.Tensor, component: str, layer: int, neurons: Sequence[int] | None = None
    ) -> torch.Tensor:
        """CPU ``values`` (T, N) rounded to this dtype; ``neurons``: the numbers of the columns, by default 0 … N − 1.

        Raises :class:`ActivationError` naming component, layer, neuron and value for NaN, infinity and overflow.
        """
        stored = self.converted(values)
        if not self.is_finite(stored):
            raise self._not_storable(values, stored, f"{component} layer {layer}", neurons)
        return stored

    def is_finite(self, stored: torch.Tensor) -> bool:
        """Whether all values of a CPU tensor are finite."""
        if stored.numel() == 0:
            return True
        # NaN and infinity survive any sum, and sums take half the time; those of float16 stay small row by row
        if stored.sum(dim=-1).isfinite().all():
            return True
        # its extremes are finite, and NaN would be both of them
        low, high = torch.aminmax(stored)
        return math.isfinite(low.item()) and math.isfinite(high.item())

    def _not_storable(
        self, values: torch.Tensor, stored: torch.Tensor, target: str, neurons: Sequence[int] | None
    ) -> ActivationError:
        """The error for the first of ``values`` that is not finite when ``stored``."""
        row, column = (int(i) for i in (~torch.isfinite(stored)).nonzero()[0])
        value = float(values[row, column])
        where = f"{target} neuron {column if neurons is None else neurons[column]}"
        if not math.isfinite(value):
            return ActivationError(
                f"{where}: the model produced {value}, which is never stored; "
                "check its weights, or compute in another dtype (model.compute_dtype)"
            )
        largest = torch.finfo(self.torch_dtype).max
        wider = "bfloat16" if self.torch_dtype is torch.float16 else "float32"
        return ActivationError(
            f"{where}: value {value:g} overflows {self.name} (largest {largest:g}); dump with --dtype {wider}"
        )


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
