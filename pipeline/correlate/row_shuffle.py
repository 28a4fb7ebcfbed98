"""Rows shuffled in blocks: what correlation comes to between models that have nothing to do with each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def shuffled_blocks(n_rows: int, block: int, seed: int | Sequence[int]) -> NDArray[np.int64]:
    """A permutation (T,) of the rows 0 … T − 1 that moves whole blocks of ``block`` rows, the last of fewer.

    Neighbouring rows stay neighbours, so that the correlation of text with the text beside it stays in the null; the
    blocks are dealt out in one cycle, so with two or more none stays at its place. One block is cut in halves, and a
    single row stays.
    """
    if n_rows < 2:
        return np.arange(n_rows)
    n_blocks = max(2, -(-n_rows // block))
    edges = np.linspace(0, n_rows, n_blocks + 1).astype(np.int64) if n_rows <= block else None
    starts = np.arange(n_blocks) * block if edges is None else edges[:-1]
    stops = np.minimum(starts + block, n_rows) if edges is None else edges[1:]
    cycle = np.random.default_rng(seed).permutation(n_blocks)
    source = np.empty(n_blocks, np.int64)
    source[cycle] = np.roll(cycle, 1)
    return np.concatenate([np.arange(starts[k], stops[k]) for k in source])
