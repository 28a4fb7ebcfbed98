"""NumPy files: `.npy` through a memory map, arrays of an `.npz` as a stream; never pickles."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pipeline.exchange.source import ActivationSource, Array, check_dtype, check_shape
from schemas.errors import ExchangeError


class NpyFile(ActivationSource):
    """One T × N array of a `.npy` file, mapped: only the rows asked for are read."""

    def __init__(self, file: Path) -> None:
        self.name = str(file)
        self._file = file
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _unreadable(self.name, error) from error
        self.n_rows, self.n_neurons = check_shape(self.name, array.shape)
        self.dtype = check_dtype(self.name, array.dtype)
        self._array: Array = array

    def read(self, start: int, stop: int) -> list[Array]:
        """See :meth:`ActivationSource.read`."""
        return [self._array[start:stop]]

    def files(self) -> list[Path]:
        """See :meth:`ActivationSource.files`."""
        return [self._file]


class NpzArray(ActivationSource):
    """One array of an `.npz` file, unpacked as it is read: rows come in order, and going back starts over."""

    def __init__(self, file: Path, array: str | None) -> None:
        self._file = file
        try:
            with zipfile.ZipFile(file) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
            self._member = f"{_choose(file, names, array)}.npy"
            self.name = f"{file}:{self._member.removesuffix('.npy')}"
            self._open()
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _unreadable(str(file), error) from error
        self.n_rows, self.n_neurons = check_shape(self.name, self._shape)
        self.dtype = check_dtype(self.name, self._dtype)
        if self._is_fortran and self.n_neurons > 1:
            raise ExchangeError(
                f"{self.name}: the array is stored column by column, which cannot be read as a stream; save "
                "np.ascontiguousarray(x), or a .npy file"
            )

    def _open(self) -> None:
        """Begin at the first row."""
        with zipfile.ZipFile(self._file) as archive:
            self._stream: IO[bytes] = archive.open(self._member)  # keeps the file open until it is closed
        version = np.lib.format.read_magic(self._stream)
        read_header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        self._shape, self._is_fortran, self._dtype = read_header(self._stream)
        if self._dtype.hasobject:
            raise ValueError("it holds Python objects, which are never unpickled")
        self._at = 0

    def read(self, start: int, stop: int) -> list[Array]:
        """See :meth:`ActivationSource.read`."""
        n_bytes = self._dtype.itemsize * self.n_neurons
        try:
            if start < self._at:
                self._stream.close()
                self._open()
            self._skip((start - self._at) * n_bytes)
            content = self._stream.read((stop - start) * n_bytes)
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise _unreadable(self.name, error) from error
        if len(content) != (stop - start) * n_bytes:
            raise ExchangeError(f"{self.name}: the array ends before row {stop}; the file is cut off, restore it")
        self._at = stop
        return [np.frombuffer(content, self._dtype).reshape(stop - start, self.n_neurons)]

    def _skip(self, n_bytes: int) -> None:
        while n_bytes:
            n_read = len(self._stream.read(min(n_bytes, 4 << 20)))
            if not n_read:
                return
            n_bytes -= n_read

    def files(self) -> list[Path]:
        """See :meth:`ActivationSource.files`."""
        return [self._file]


def _choose(file: Path, names: list[str], wanted: str | None) -> str:
    """The array asked for, or the only one."""
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is not None and wanted in names:
        return wanted
    rule = "name one with --array" if wanted is None else f"--array {wanted!r} is not one of them"
    raise ExchangeError(f"{file}: it has the arrays {', '.join(sorted(names)) or 'none'}; {rule}")


def _unreadable(name: str, error: Exception) -> ExchangeError:
    return ExchangeError(f"{name}: cannot be read as NumPy activations: {error}; restore or convert the file")


class NpyWriter:
    """Writes a T × N array of known shape row by row, with the bytes `numpy.save` gives."""

    def __init__(self, handle: IO[bytes], shape: tuple[int, int], dtype: npt.DTypeLike) -> None:
        self._handle, self._dtype = handle, np.dtype(dtype)
        header = io.BytesIO()
        description: dict[str, Any] = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(header, description)
        handle.write(header.getvalue())

    def write(self, values: Array) -> None:
        """Append rows (n, N)."""
        self._handle.write(np.ascontiguousarray(values, self._dtype).tobytes())
