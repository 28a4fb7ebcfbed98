"""An order of rows for the null of a comparison: blocks of neighbouring rows change places, and so lose their partners.

Neighbouring rows of text are alike. A null that shuffled single rows would take that likeness away too, and would be
narrower than what unrelated models of the same text show.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.errors import UsageError

#: Rows that stay together when a null shuffles them, about a sentence.
NULL_ROWS = 32


def shuffled_blocks(n_rows: int, block: int, seed: int | np.random.Generator) -> NDArray[np.int64]:
    """Indices (n_rows,) that put every block of ``block`` rows elsewhere; the last block may be shorter.

    Drawn evenly from the orders that leave no block at its place, which leave no row at its place either. A single
    block stays as it is, and gives no null: choose ``block`` ≤ n_rows / 2. The same seed gives the same order. Raises
    :class:`UsageError` for a negative ``n_rows`` or a block of fewer than one row.
    """
    if n_rows < 0 or block < 1:
        raise UsageError(f"n_rows must be at least 0 and block at least 1, got {n_rows} and {block}")
    if isinstance(seed, int | np.integer) and seed < 0:
        raise UsageError(f"seed must be at least 0, got {seed}")
    starts = np.arange(0, n_rows, block)
    blocks = np.arange(len(starts))
    if len(starts) < 2:
        return np.arange(n_rows)
    random = np.random.default_rng(seed)
    order = random.permutation(blocks)
    while (order == blocks).any():  # an order in e leaves none at its place
        order = random.permutation(blocks)
    return np.concatenate([np.arange(starts[b], min(starts[b] + block, n_rows)) for b in order])


def null_rows(n_rows: int, seed: int | np.random.Generator, block: int = NULL_ROWS) -> NDArray[np.int64]:
    """The order of ``n_rows`` rows that a null takes: blocks of ``block``, or of half the rows where these are fewer.

    So no row stays at its place, unless it is the only one. Errors as :func:`shuffled_blocks`.
    """
    return shuffled_blocks(n_rows, min(block, max(1, n_rows // 2)), seed)


def shuffled(activations: ArrayLike, seed: int = 0, block: int = NULL_ROWS) -> NDArray[np.generic]:
    """A copy of ``activations`` (T, N) or (T,), of their dtype, with blocks of rows at each other's places.

    What a figure of two models is by chance: ``maxcorr(X, [shuffled(Y)])`` in place of ``maxcorr(X, [Y])``, and so for
    every other one. Raises :class:`UsageError` for another shape, for fewer than two rows, which have no other order,
    for a negative ``seed`` and for a ``block`` of fewer than one row.
    """
    rows = np.asarray(activations)
    if rows.ndim not in (1, 2) or len(rows) < 2:
        raise UsageError(f"activations must be (T, N) or (T,) with at least two rows, not of shape {rows.shape}")
    return np.asarray(rows[null_rows(len(rows), seed, block)])
