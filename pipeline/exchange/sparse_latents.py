"""Sparse autoencoder latents as delphi caches them: safetensors files of the values that are not zero.

A file has ``locations``, integers (nnz, 3) of sequence, position and latent (or (nnz, 2) of row and latent), in this
order and increasing; ``activations`` (nnz); and ``tokens`` (sequences, length), the ids of the tokens. The row is
sequence · length + position. A file called `START_STOP.safetensors` holds the latents START … STOP (counted from START
in it); such files lie side by side, not one below the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.exchange.row_batch import BATCH_ROWS, RowBatch
from pipeline.exchange.source import ActivationSource, Array
from pipeline.exchange.tensor_file import read_header
from schemas.errors import ExchangeError

Ints = npt.NDArray[np.int64]

_SPLIT = re.compile(r"(\d+)_(\d+)")
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_CHUNK = 1 << 20


def is_sparse(file: Path) -> bool:
    """Whether a safetensors file holds locations and activations."""
    return {"locations", "activations"} <= set(read_header(file))


class _Part:
    """One file: the latents ``first`` … of all rows."""

    def __init__(self, file: Path) -> None:
        self.file = file
        tensors = read_header(file)
        self.locations, self.values = (tensors[name].map(file) for name in ("locations", "activations"))
        self.dtype = _DTYPES.get(tensors["activations"].dtype, "")
        shape = self.locations.shape
        if (
            len(shape) != 2
            or shape[1] not in (2, 3)
            or self.locations.dtype.kind not in "iu"
            or self.values.shape != shape[:1]
            or not self.dtype
        ):
            raise ExchangeError(
                f"{file}: `locations` must be integers (nnz, 3) or (nnz, 2) and `activations` floats (nnz,); they are "
                f"{self.locations.dtype} {shape} and {tensors['activations'].dtype} {self.values.shape}"
            )
        self.tokens = tensors["tokens"].map(file) if "tokens" in tensors else None
        if self.tokens is not None and (self.tokens.ndim != 2 or 0 in self.tokens.shape):
            raise ExchangeError(f"{file}: `tokens` must be (sequences, length); it is {self.tokens.shape}")
        if self.tokens is None and shape[1] == 3:
            raise ExchangeError(
                f"{file}: without `tokens` (sequences, length) nothing says how many rows there are; save the cache "
                "with its tokens"
            )
        named = _SPLIT.fullmatch(file.stem)
        self.first = int(named[1]) if named else 0
        self.n_neurons = int(named[2]) - self.first + 1 if named else 0

    def rows_of(self, start: int, stop: int) -> Ints:
        """Row of the values ``start`` … ``stop`` − 1."""
        found: Ints = self.locations[start:stop].astype(np.int64)
        if self.tokens is None or found.shape[1] == 2:
            return found[:, 0]
        rows: Ints = found[:, 0] * self.tokens.shape[1] + found[:, 1]
        return rows

    def measure(self) -> int:
        """Check the order and the ranges of all locations; returns the number of rows that they reach."""
        last, n_rows, widest = -1, 0, 0
        limit = self.n_neurons or 2**31
        for start in range(0, len(self.values), _CHUNK):
            stop = min(start + _CHUNK, len(self.values))
            row = self.rows_of(start, stop)
            latent = self.locations[start:stop, -1].astype(np.int64)
            in_sequence = self.tokens is None or self.locations.shape[1] == 2
            position = row if in_sequence else self.locations[start:stop, 1].astype(np.int64)
            longest = None if in_sequence or self.tokens is None else self.tokens.shape[1]
            if latent.min() < 0 or latent.max() >= limit or (longest and position.max() >= longest) or row.min() < 0:
                raise ExchangeError(f"{self.file}: `locations` {start} … {stop - 1} name a latent or position too far")
            key = row * 2**31 + latent
            if (np.diff(key, prepend=last) <= 0).any():
                raise ExchangeError(
                    f"{self.file}: `locations` must increase by sequence, position and latent, each once; those from "
                    f"{start} to {stop - 1} do not; sort them"
                )
            last, n_rows, widest = int(key[-1]), int(row[-1]) + 1, max(widest, int(latent.max()) + 1)
        self.n_neurons = self.n_neurons or widest
        return n_rows

    def find(self, row: int) -> int:
        """Number of values in rows before ``row``."""
        low, high = 0, len(self.values)
        while low < high:
            middle = (low + high) // 2
            if self.rows_of(middle, middle + 1)[0] < row:
                low = middle + 1
            else:
                high = middle
        return low


class SparseLatents(ActivationSource):
    """The files of one cache, side by side."""

    has_words = False

    def __init__(self, files: Sequence[Path]) -> None:
        self._parts = sorted((_Part(file) for file in files), key=lambda part: part.first)
        first = self._parts[0]
        self.name = str(first.file) if len(files) == 1 else f"{first.file} … {self._parts[-1].file}"
        self.dtype = first.dtype
        reached = [part.measure() for part in self._parts]
        following = 0
        for part in self._parts:
            if part.first != following:
                raise ExchangeError(
                    f"{part.file}: files of a cache follow each other by latent, START_STOP.safetensors; this one "
                    f"begins with {part.first} and {following} is next; give all of them"
                )
            following += part.n_neurons
            if part.dtype != self.dtype:
                raise ExchangeError(f"{part.file}: has {part.dtype} and {first.file} {self.dtype}; convert one")
        self.n_neurons = following
        tokens = {part.tokens.shape for part in self._parts if part.tokens is not None}
        if len(tokens) > 1:
            raise ExchangeError(f"{self.name}: the files have other `tokens`: {sorted(tokens)}; they are of other text")
        self._tokens = next((part.tokens for part in self._parts if part.tokens is not None), None)
        self.n_rows = max(reached) if self._tokens is None else int(self._tokens.size)
        if not self.n_rows or not self.n_neurons or max(reached) > self.n_rows:
            raise ExchangeError(f"{self.name}: {max(reached)} rows of values and {self.n_rows} of `tokens`")

    @property
    def n_values(self) -> int:
        """Number of values that are not left out."""
        return sum(len(part.values) for part in self._parts)

    def triples(self, start: int, stop: int) -> tuple[Ints, Ints, Array]:
        """Row (from ``start``), latent and value of what is not left out of these rows, file by file."""
        rows, latents, values = [], [], []
        for part in self._parts:
            low, high = part.find(start), part.find(stop)
            rows.append(part.rows_of(low, high) - start)
            latents.append(part.locations[low:high, -1].astype(np.int64) + part.first)
            values.append(np.asarray(part.values[low:high]))
        return np.concatenate(rows), np.concatenate(latents), np.concatenate(values)

    def read(self, start: int, stop: int) -> list[Array]:
        """See :meth:`ActivationSource.read`; what is left out is 0."""
        row, latent, values = self.triples(start, stop)
        dense = np.zeros((stop - start, self.n_neurons), values.dtype)
        dense[row, latent] = values
        return [dense]

    def files(self) -> list[Path]:
        """See :meth:`ActivationSource.files`."""
        return [part.file for part in self._parts]

    def rows(self) -> Iterator[RowBatch] | None:
        """Sequences as sentences, with token ids for words."""
        return None if self._tokens is None else self._rows(self._tokens)

    def _rows(self, tokens: Array) -> Iterator[RowBatch]:
        length = tokens.shape[1]
        for start in range(0, self.n_rows, BATCH_ROWS):
            numbers = range(start, min(start + BATCH_ROWS, self.n_rows))
            ids = tokens[start // length : numbers[-1] // length + 1].ravel()
            columns = {
                "sentence": [str(row // length) for row in numbers],
                "position": [str(row % length) for row in numbers],
                "word": [str(ids[row - start // length * length]) for row in numbers],
            }
            yield RowBatch(self.name, numbers, columns)
