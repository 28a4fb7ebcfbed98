"""The stored dtype of activations: torch tensors in, numpy bits out, and no value that could not be stored.

``float16`` and ``bfloat16`` are handed on as their bits in ``uint16`` (numpy has no bfloat16), ``float32`` as it is.
Rounding is to nearest, ties to even.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.extract.row_kernels import bfloat16_rows, float16_rows, same_rows
from schemas.errors import ActivationError

Bits = npt.NDArray[np.uint16] | npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

#: A kernel of :mod:`pipeline.extract.row_kernels`, and the largest magnitude, as its bits, that it leaves finite.
_Kernel = tuple[Callable[[npt.NDArray[Any], Ints, npt.NDArray[Any]], int], int]

_FROM_SAME: dict[torch.dtype, _Kernel] = {
    torch.float16: (same_rows, 0x7BFF),
    torch.bfloat16: (same_rows, 0x7F7F),
    torch.float32: (same_rows, 0x7F7FFFFF),
}
_FROM_FLOAT32: dict[torch.dtype, _Kernel] = {
    torch.float16: (float16_rows, 0x477FEFFF),
    torch.bfloat16: (bfloat16_rows, 0x7F7F7FFF),
    torch.float32: (same_rows, 0x7F7FFFFF),
}


@dataclass(frozen=True)
class StorageDtype:
    """A stored dtype."""

    name: str
    torch_dtype: torch.dtype
    numpy_dtype: np.dtype[np.uint16] | np.dtype[np.float32]
    """Of :data:`Bits`."""

    def store(
        self,
        values: torch.Tensor,
        source: Ints,
        stored: Bits,
        target: tuple[str, int],
        neurons: Sequence[int] | None = None,
    ) -> None:
        """Round rows ``source`` of CPU ``values`` (T, N) into ``stored`` (n, N), in one pass over memory.

        Raises :class:`ActivationError` for NaN, infinity and overflow in these rows, naming the component and layer of
        ``target``, the neuron (``neurons``: the numbers of the columns, by default 0 … N − 1) and the value. Other rows
        may hold anything. ``IndexError`` for a row that is not there.
        """
        if stored.shape != (len(source), values.shape[1]):
            raise ValueError(f"{len(source)} rows of {tuple(values.shape)} do not fit {stored.shape}")
        is_same = values.dtype == self.torch_dtype
        copy_rows, largest = (_FROM_SAME if is_same else _FROM_FLOAT32)[self.torch_dtype]
        given = _unsigned(values if is_same else values.float())
        if copy_rows(given, source, stored.view(f"u{stored.itemsize}")) > largest:
            raise self._not_storable(values[torch.from_numpy(source)], target, neurons)

    def _not_storable(
        self, values: torch.Tensor, target: tuple[str, int], neurons: Sequence[int] | None
    ) -> ActivationError:
        """The error for the first of ``values`` that is not finite when stored."""
        row, column = (int(i) for i in (~torch.isfinite(values.to(self.torch_dtype))).nonzero()[0])
        value = float(values[row, column])
        where = f"{target[0]} layer {target[1]} neuron {column if neurons is None else neurons[column]}"
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


def _unsigned(values: torch.Tensor) -> npt.NDArray[Any]:
    """The bits of CPU ``values``, C-contiguous."""
    dtype = {2: torch.uint16, 4: torch.uint32}[values.element_size()]
    bits: npt.NDArray[Any] = values.detach().contiguous().view(dtype).numpy()
    return bits


_STORAGE = {
    "float16": StorageDtype("float16", torch.float16, np.dtype(np.uint16)),
    "bfloat16": StorageDtype("bfloat16", torch.bfloat16, np.dtype(np.uint16)),
    "float32": StorageDtype("float32", torch.float32, np.dtype(np.float32)),
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
