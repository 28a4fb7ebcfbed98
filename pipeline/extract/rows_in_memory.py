"""Captured rows in the order in which the batches gave them, and the memory they are in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch

from pipeline.extract.storage_dtype import Bits

#: New memory is larger than asked for by this fraction of it: the next shard may have a few rows more.
_SLACK = 16


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one target: row r of the shard is ``bits[places[r]]``; ``places`` (T,) int64, ``bits`` (T, N).

    Putting rows in order is left to who writes them: they are transposed there anyway. ``memory`` is what ``bits`` is
    a view of.
    """

    bits: Bits
    places: npt.NDArray[np.int64]
    memory: torch.Tensor

    def in_order(self) -> Bits:
        """A copy, (T, N), with row 0, 1, … of the shard."""
        return self.bits[self.places]


class RowMemory:
    """Memory for row tables that is used again, shard after shard: fresh pages cost as much time as filling them.

    Safe for several threads: one fills tables, another gives back those that are written.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[torch.Tensor]] = defaultdict(list)
        self._lock = Lock()

    def take(self, n_rows: int, row_bytes: int) -> torch.Tensor:
        """Uninitialised CPU memory, uint8, for at least ``n_rows`` rows."""
        n_bytes = n_rows * row_bytes
        with self._lock:
            free = self._free[row_bytes]
            memory = free.pop() if free else None
        if memory is None or memory.numel() < n_bytes:
            memory = torch.empty(n_bytes + n_bytes // _SLACK, dtype=torch.uint8)
        return memory

    def give_back(self, rows: Rows) -> None:
        """``rows`` are written, and nobody looks at them any more."""
        if len(rows.bits):
            with self._lock:
                self._free[rows.bits[0].nbytes].append(rows.memory)
