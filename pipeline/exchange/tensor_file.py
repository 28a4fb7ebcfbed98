"""Safetensors files: a header of JSON and raw little-endian tensors behind it, read through memory maps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.exchange.source import ActivationSource, Array, check_shape
from schemas.errors import ExchangeError

#: Dtypes by their names in the header; bfloat16 comes as its raw bits.
_DTYPES = {
    "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "BOOL": "|b1",
    "I8": "|i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U8": "|u1", "U16": "<u2", "U32": "<u4", "U64": "<u8",
}  # fmt: skip
_MAX_HEADER = 100 << 20


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: its dtype in the header's words, its shape, and where its bytes begin."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def map(self, file: Path) -> Array:
        """The tensor, mapped; bfloat16 as uint16 bits."""
        if 0 in self.shape:
            return np.empty(self.shape, _DTYPES[self.dtype])
        return np.memmap(file, _DTYPES[self.dtype], "r", self.offset, self.shape)


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; raises :class:`ExchangeError` for a file that is none or is cut off."""
    try:
        n_bytes = file.stat().st_size
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if n_bytes < 8 or length > min(_MAX_HEADER, n_bytes - 8):
                raise ExchangeError(f"{file}: is no safetensors file, or is cut off; restore it")
            header = json.loads(handle.read(length))
        header.pop("__metadata__", None)
        found = {name: _tensor(file, name, entry, 8 + length, n_bytes) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExchangeError(f"{file}: cannot be read as safetensors: {error!r}; restore the file") from error
    return found


def _tensor(file: Path, name: str, entry: dict[str, object], begin: int, n_bytes: int) -> Tensor:
    """One entry of the header, checked against the size of the file."""
    dtype, shape, offsets = str(entry["dtype"]), entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list):
        raise TypeError(f"tensor {name!r} has no shape or no offsets")
    if dtype not in _DTYPES:
        raise ExchangeError(f"{file}: tensor {name!r} is {dtype}; this program reads {', '.join(_DTYPES)}")
    first, last = (int(offset) for offset in offsets)
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(_DTYPES[dtype]).itemsize
    if last - first != size or begin + last > n_bytes:
        raise ExchangeError(f"{file}: tensor {name!r} needs {size} bytes at {first}; the file is cut off, restore it")
    return Tensor(name, dtype, tuple(int(n) for n in shape), begin + first)


class TensorFile(ActivationSource):
    """One T × N tensor of a safetensors file."""

    def __init__(self, file: Path, tensor: str | None) -> None:
        self._file = file
        tensors = read_header(file)
        names = sorted(tensors)
        if tensor is None and len(names) != 1:
            raise ExchangeError(f"{file}: it has the tensors {', '.join(names) or 'none'}; name one with --tensor")
        if tensor is not None and tensor not in tensors:
            raise ExchangeError(
                f"{file}: it has the tensors {', '.join(names)}; --tensor {tensor!r} is not one of them"
            )
        chosen = tensors[tensor or names[0]]
        self.name = f"{file}:{chosen.name}"
        self.n_rows, self.n_neurons = check_shape(self.name, chosen.shape)
        self.dtype = "bfloat16" if chosen.dtype == "BF16" else np.dtype(_DTYPES[chosen.dtype]).name
        self._array = chosen.map(file)

    def read(self, start: int, stop: int) -> list[Array]:
        """See :meth:`ActivationSource.read`."""
        return [self._array[start:stop]]

    def files(self) -> list[Path]:
        """See :meth:`ActivationSource.files`."""
        return [self._file]
