"""The activation rows of one target as they are filled, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from pipeline.extract.batch import Batch
from pipeline.extract.pooling import POOLINGS, RowPool, spanning_rows
from pipeline.extract.sequences import Sequences
from pipeline.extract.storage_dtype import Bits, StorageDtype, not_storable

Ints = npt.NDArray[np.int64]


class RowTable:
    """Rows (T, N) of one ``(component, layer)`` in the stored dtype, with every value checked as it is written.

    ``neurons`` are those to keep of each token, N in all, ascending ranges. :meth:`write` and :meth:`write_rows` raise
    :class:`~schemas.errors.ActivationError` for a value that is not finite in the stored dtype.
    """

    def __init__(
        self,
        target: tuple[str, int],
        neurons: Sequence[range],
        storage: StorageDtype,
        pooling: str | None,
        sequences: Sequences,
    ) -> None:
        self._target = target
        self._neurons = tuple(neurons)
        self._storage = storage
        n_neurons = sum(map(len, self._neurons))
        self._rows = storage.empty(sequences.n_rows, n_neurons)
        self._pool = None
        if pooling in POOLINGS:
            n_tokens = np.bincount(sequences.token_row[sequences.token_row >= 0], minlength=sequences.n_rows)
            self._pool = RowPool(pooling, n_tokens, spanning_rows(sequences), n_neurons)

    @property
    def staged_dtype(self) -> torch.dtype:
        """Dtype that :meth:`write_rows` wants: float32 before pooling, else the stored one."""
        return self._storage.torch_dtype if self._pool is None else torch.float32

    def select(self, tokens: torch.Tensor) -> torch.Tensor:
        """The neurons to keep of ``tokens`` (…, all neurons), on any device: (…, N)."""
        parts = [tokens[..., piece.start : piece.stop] for piece in self._neurons]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def write(self, activations: torch.Tensor, batch: Batch) -> None:
        """Write the rows of ``batch`` from CPU ``activations`` (B, S, all neurons)."""
        flat = self.select(activations)
        flat = flat.reshape(-1, flat.shape[-1])
        if self._pool is None:
            # one conversion and one check of the whole batch; selecting rows afterwards moves half the bytes
            stored = self._storage.empty(*flat.shape).copy_(flat)
            if self._storage.is_finite(stored):
                self._rows.index_copy_(0, torch.from_numpy(batch.row), stored.index_select(0, batch.source))
                return
            # padding may hold anything: only tokens with a row decide
        self.write_rows(flat.index_select(0, batch.source), batch)

    def write_rows(self, tokens: torch.Tensor, batch: Batch) -> None:
        """Write the rows of ``batch`` from its selected ``tokens`` (n, N) on the CPU, ordered as ``source``."""
        if self._pool is None:
            self._scatter(batch.row, tokens)
            return
        rows, pooled = self._pool.add(tokens.float().numpy(), batch.row)
        self._scatter(rows, torch.from_numpy(pooled))

    def finish(self) -> Bits:
        """The finished rows: uint16 bits or float32 (T, N); call once, after the last batch."""
        if self._pool is not None:
            rows, pooled = self._pool.rest()
            self._scatter(rows, torch.from_numpy(pooled))
        return self._storage.bits(self._rows)

    def _scatter(self, rows: Ints, values: torch.Tensor) -> None:
        stored = self._storage.empty(*values.shape).copy_(values)
        if not self._storage.is_finite(stored):
            raise not_storable(values, self._storage, *self._target, [n for piece in self._neurons for n in piece])
        self._rows.index_copy_(0, torch.from_numpy(rows), stored)
