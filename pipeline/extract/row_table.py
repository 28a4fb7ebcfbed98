"""The activation rows of one target as they are filled, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from pipeline.extract.batch import Batch
from pipeline.extract.pooling import POOLINGS, RowPool, spanning_rows
from pipeline.extract.rows_in_memory import RowMemory, Rows
from pipeline.extract.sequences import Sequences
from pipeline.extract.storage_dtype import Bits, StorageDtype
from schemas.errors import ActivationError

Ints = npt.NDArray[np.int64]


class RowTable:
    """Rows (T, N) of one ``(component, layer)`` in the stored dtype, with every value checked as it is written.

    ``neurons`` are those to keep of each token, N in all, ascending ranges; ``memory`` is where the rows go.
    :meth:`write` and :meth:`write_rows` raise :class:`~schemas.errors.ActivationError` for a value that is not finite
    in the stored dtype.
    """

    def __init__(
        self,
        target: tuple[str, int],
        neurons: Sequence[range],
        storage: StorageDtype,
        pooling: str | None,
        sequences: Sequences,
        memory: RowMemory,
    ) -> None:
        self._target = target
        self._neurons = tuple(neurons)
        self._storage = storage
        self._numbers = [neuron for piece in self._neurons for neuron in piece]
        n_neurons = len(self._numbers)
        self._pool = None
        if pooling in POOLINGS:
            n_tokens = np.bincount(sequences.token_row[sequences.token_row >= 0], minlength=sequences.n_rows)
            self._pool = RowPool(pooling, n_tokens, spanning_rows(sequences), n_neurons)
        n_bytes = n_neurons * storage.numpy_dtype.itemsize
        self._memory = memory.take(sequences.n_rows, n_bytes)
        places = self._memory[: sequences.n_rows * n_bytes].numpy().view(storage.numpy_dtype)
        self._rows: Bits = places.reshape(sequences.n_rows, n_neurons)
        self._places = np.full(sequences.n_rows, -1, np.int64)
        self._n_used = 0

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
            self._append(batch.row, flat, batch.source.numpy())
        else:
            self.write_rows(flat.index_select(0, batch.source), batch)

    def write_rows(self, tokens: torch.Tensor, batch: Batch) -> None:
        """Write the rows of ``batch`` from its selected ``tokens`` (n, N) on the CPU, ordered as ``source``."""
        if self._pool is None:
            self._append(batch.row, tokens, np.arange(len(tokens)))
        else:
            self._append_pooled(*self._pool.add(tokens.float().numpy(), batch.row))

    def finish(self) -> Rows:
        """The finished rows: uint16 bits or float32 (T, N); call once, after the last batch."""
        if self._pool is not None:
            self._append_pooled(*self._pool.rest())
        n_written = int((self._places >= 0).sum())
        if n_written != len(self._places):
            component, layer = self._target
            raise ActivationError(
                f"{component} layer {layer}: the forward pass gave {n_written} of {len(self._places)} rows; "
                "this is a defect of neuronmill, please report it"
            )
        return Rows(self._rows, self._places, self._memory)

    def restart(self) -> None:
        """Forget what was written."""
        self._n_used = 0

    def _append(self, rows: Ints, values: torch.Tensor, source: Ints) -> None:
        """The shard's ``rows`` are ``source`` of ``values``."""
        start, end = self._n_used, self._n_used + len(rows)
        self._storage.store(values, source, self._rows[start:end], self._target, self._numbers)
        self._places[rows] = np.arange(start, end)
        self._n_used = end

    def _append_pooled(self, rows: Ints, pooled: npt.NDArray[np.float32]) -> None:
        self._append(rows, torch.from_numpy(pooled), np.arange(len(pooled)))
