"""Mean and max of the tokens of a row, in float32, also where the tokens lie in several sequences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.extract.sequences import Sequences

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

POOLINGS = ("mean", "max")


class RowPool:
    """Pooled rows of one target.

    A row whose tokens all lie in one sequence is finished with its batch; one that spans windows waits in a small
    float32 accumulator, so memory beyond the output grows with the number of such rows only. Sums run in token order
    inside a batch and in batch order between batches: the same batches give the same bits.
    """

    def __init__(self, pooling: str, n_tokens: Ints, spanning: Ints, n_neurons: int) -> None:
        """``n_tokens``: int64[T], tokens of a row; ``spanning``: rows with tokens in several sequences, ascending."""
        self._mean = pooling == "mean"
        self._n_tokens = n_tokens
        self._spanning = spanning
        self._waiting: Floats = np.full((len(spanning), n_neurons), 0.0 if self._mean else -np.inf, dtype=np.float32)

    def add(self, values: Floats, row: Ints) -> tuple[Ints, Floats]:
        """Take in tokens ordered by row, ``values`` (n, N) and ``row`` (n,); return the rows that they finish."""
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        rows = row[starts]
        reduce: np.ufunc = np.add if self._mean else np.maximum
        pooled: Floats = values if len(starts) == len(row) else reduce.reduceat(values, starts, axis=0)
        waits = np.isin(rows, self._spanning)
        if waits.any():
            slot = np.searchsorted(self._spanning, rows[waits])
            self._waiting[slot] = reduce(self._waiting[slot], pooled[waits])
            rows, pooled = rows[~waits], pooled[~waits]
        return rows, self._finished(rows, pooled)

    def rest(self) -> tuple[Ints, Floats]:
        """Rows that span sequences; call after the last batch."""
        return self._spanning, self._finished(self._spanning, self._waiting)

    def _finished(self, rows: Ints, pooled: Floats) -> Floats:
        if not self._mean:
            return pooled
        return np.divide(pooled, self._n_tokens[rows, None], dtype=np.float32)


def spanning_rows(sequences: Sequences) -> Ints:
    """Rows with tokens in more than one sequence, ascending."""
    owner = np.repeat(np.arange(len(sequences.lengths)), sequences.lengths)
    has_row = sequences.token_row >= 0
    first = np.full(sequences.n_rows, len(sequences.lengths), dtype=np.int64)
    last = np.full(sequences.n_rows, -1, dtype=np.int64)
    np.minimum.at(first, sequences.token_row[has_row], owner[has_row])
    np.maximum.at(last, sequences.token_row[has_row], owner[has_row])
    return np.flatnonzero(last > first)
