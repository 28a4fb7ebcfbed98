"""An order of rows for the null of a comparison: blocks of neighbouring rows change places, and so lose their partners.

Neighbouring rows of text are alike. A null that shuffled single rows would take that likeness away too, and would be
narrower than what unrelated models of the same text show.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UsageError


def shuffled_blocks(n_rows: int, block: int, seed: int | np.random.Generator) -> NDArray[np.int64]:
    """Indices (n_rows,) that put every block of ``block`` rows elsewhere; the last block may be shorter.

    Drawn evenly from the orders that leave no block at its place, which leave no row at its place either. A single
    block stays as it is, and gives no null: choose ``block`` ≤ n_rows / 2. The same seed gives the same order. Raises
    :class:`UsageError` for a negative ``n_rows`` or a block of fewer than one row.
    """
    if n_rows < 0 or block < 1:
        raise UsageError(f"n_rows must be at least 0 and block at least 1, got {n_rows} and {block}")
    starts = np.arange(0, n_rows, block)
    blocks = np.arange(len(starts))
    if len(starts) < 2:
        return np.arange(n_rows)
    random = np.random.default_rng(seed)
    order = random.permutation(blocks)
    while (order == blocks).any():  # an order in e leaves none at its place
        order = random.permutation(blocks)
    return np.concatenate([np.arange(starts[b], min(starts[b] + block, n_rows)) for b in order])
