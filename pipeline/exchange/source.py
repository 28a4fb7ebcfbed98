"""What every reader of foreign activations gives: rows × neurons of one or more layers, any range of rows at a time.

Letters: T rows, N neurons. Memory is bounded by the range asked for, whatever the size of the file.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pipeline.exchange.row_batch import RowBatch
from schemas.config import ValueDtype
from schemas.errors import ExchangeError

Array = npt.NDArray[Any]

_HASH_BYTES = 4 << 20


class ActivationSource(ABC):
    """One foreign file, or several of them one below the other.

    ``layers`` are the numbers the file itself gives to its layers; empty where it holds one array without a number.
    ``dtype`` is that of the values: ``float16``, ``bfloat16`` (given as raw bits, uint16), ``float32``, ``float64``,
    or a numpy name of integers.
    """

    name: str
    n_rows: int
    n_neurons: int
    dtype: str
    layers: tuple[int, ...] = ()
    has_words = True
    """Whether the words of :meth:`rows` are words; labels may say others than token ids."""

    @abstractmethod
    def read(self, start: int, stop: int) -> list[Array]:
        """(stop − start, N) values per layer (one array without layers); cheapest when asked for in order."""

    @abstractmethod
    def files(self) -> list[Path]:
        """The files behind it, in order."""

    def rows(self) -> Iterator[RowBatch] | None:
        """Columns ``sentence``, ``position`` and ``word`` of every row, where the file says them; else None."""
        return None

    def place(self, row: int) -> str:
        """`file: row n`, rows from 0."""
        return f"{self.name}: row {row}"

    @property
    def stored_dtype(self) -> ValueDtype:
        """Dtype that keeps the values: the file's own, and float32 for float64 and integers."""
        return cast("ValueDtype", self.dtype) if self.dtype in ("float16", "bfloat16") else "float32"

    def sha256(self) -> str:
        """SHA-256 of the file, or of the files' SHA-256 in order."""
        digests = [file_sha256(file) for file in self.files()]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


class Concatenated(ActivationSource):
    """Sources one below the other; they must agree in neurons, dtype and layers."""

    def __init__(self, parts: Sequence[ActivationSource]) -> None:
        first = parts[0]
        for part in parts[1:]:
            for what in ("n_neurons", "dtype", "layers"):
                if getattr(part, what) != getattr(first, what):
                    raise ExchangeError(
                        f"{part.name}: files that follow each other must agree in {what}: it has "
                        f"{getattr(part, what)!r} and {first.name} has {getattr(first, what)!r}; import them apart"
                    )
        self._parts = list(parts)
        self._starts = [0, *np.cumsum([part.n_rows for part in parts]).tolist()]
        self.name = f"{first.name} … {parts[-1].name}"
        self.n_rows, self.n_neurons = self._starts[-1], first.n_neurons
        self.dtype, self.layers = first.dtype, first.layers

    def read(self, start: int, stop: int) -> list[Array]:
        """See :meth:`ActivationSource.read`."""
        pieces: list[list[Array]] = []
        at = start
        while at < stop:
            index = bisect_right(self._starts, at) - 1
            end = min(stop, self._starts[index + 1])
            pieces.append(self._parts[index].read(at - self._starts[index], end - self._starts[index]))
            at = end
        if len(pieces) == 1:
            return pieces[0]
        return [np.concatenate(layer) for layer in zip(*pieces, strict=True)]

    def files(self) -> list[Path]:
        """See :meth:`ActivationSource.files`."""
        return [file for part in self._parts for file in part.files()]

    def place(self, row: int) -> str:
        """`file: row n`, rows of that file from 0."""
        index = bisect_right(self._starts, row) - 1
        return self._parts[index].place(row - self._starts[index])

    def rows(self) -> Iterator[RowBatch] | None:
        """See :meth:`ActivationSource.rows`; sentences go on counting from file to file."""
        parts = [part.rows() for part in self._parts]
        if any(part is None for part in parts):
            return None
        return _renumbered([part for part in parts if part is not None])


def _renumbered(parts: Sequence[Iterator[RowBatch]]) -> Iterator[RowBatch]:
    """The rows of NeuroX files with sentence numbers that are unique over all of them."""
    first = 0
    for part in parts:
        last = -1
        for batch in part:
            numbers = [int(sentence) for sentence in batch.columns["sentence"]]
            last = max(last, *numbers)
            yield RowBatch(
                batch.source,
                batch.lines,
                {**batch.columns, "sentence": [str(first + number) for number in numbers]},
            )
        first += last + 1


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while chunk := handle.read(_HASH_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def check_shape(name: str, shape: Sequence[int]) -> tuple[int, int]:
    """``(T, N)`` of a matrix; raises :class:`ExchangeError` for another number of axes, no rows or no neurons."""
    if len(shape) != 2:
        raise ExchangeError(f"{name}: activations are a T × N array (rows × neurons); this has shape {tuple(shape)}")
    if 0 in shape:
        raise ExchangeError(f"{name}: there must be a row and a neuron; this has shape {tuple(shape)}")
    return int(shape[0]), int(shape[1])


def check_dtype(name: str, dtype: np.dtype[Any]) -> str:
    """Name of a numpy dtype of numbers; raises :class:`ExchangeError` for any other."""
    if dtype.kind in "iub":
        return dtype.name
    if dtype.kind == "f" and dtype.itemsize in (2, 4, 8):
        return dtype.newbyteorder("=").name
    raise ExchangeError(
        f"{name}: activations are float16, bfloat16, float32, float64 or integers; this array is {dtype}; convert it"
    )
