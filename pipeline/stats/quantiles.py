"""Exact quantiles from counts: numpy's linear definition, read off a histogram instead of a sorted column."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.stats.threads import over_neurons
from schemas.errors import UsageError


def histogram_quantiles(
    counts: NDArray[np.int64],
    values: NDArray[np.float64],
    levels: NDArray[np.float64],
    *,
    negated: bool = False,
    threads: int = 1,
) -> NDArray[np.float64]:
    """Quantiles of each neuron, float64 (L, N), equal to ``numpy.quantile(x, levels)`` on the expanded values.

    ``counts`` int64 (N, B) over ascending ``values`` (B,); ``levels`` (L,) in [0, 1]. With ``negated`` the quantiles of
    −x. With h = (T − 1)·level, the result interpolates linearly between the order statistics ⌊h⌋ and ⌊h⌋ + 1 (Hyndman
    & Fan 1996, definition 7). NaN without rows.
    """
    levels = np.asarray(levels, np.float64)
    if levels.size and not (levels.min() >= 0 and levels.max() <= 1):
        raise UsageError(f"quantile levels must be in [0, 1], got {levels.min()}..{levels.max()}")
    n_neurons = len(counts)
    result = np.full((len(levels), n_neurons), np.nan)
    n_rows = int(counts[0].sum()) if n_neurons else 0
    if n_rows == 0 or not levels.size:
        return result
    position = (n_rows - 1) * levels
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, n_rows - 1)
    weight = (position - below)[:, None]
    ranks = np.concatenate([below, above])
    if negated:
        ranks = n_rows - 1 - ranks
    order = np.argsort(ranks, kind="stable")
    codes = np.empty((n_neurons, len(ranks)), np.int64)
    over_neurons(lambda first, last: _order_statistics(first, last, counts, ranks, order, codes), n_neurons, threads)
    found = values[codes].T * (-1.0 if negated else 1.0) + 0.0
    a, b = found[: len(levels)], found[len(levels) :]
    # numpy's own two-sided interpolation, so that results are equal to the bit and never leave [a, b].
    return np.where(weight >= 0.5, b - (b - a) * (1 - weight), a + (b - a) * weight)


def linear_quantile(values: NDArray[np.float64], level: float) -> float:
    """``numpy.quantile(values, level)`` of a vector (T,), T ≥ 1, without NaN, to the bit: one selection, not three."""
    position = (len(values) - 1) * level
    below = int(np.floor(position))
    parted = np.partition(values, below)
    a = parted[below]
    b = parted[below + 1 :].min() if below + 1 < len(values) else a
    weight = position - below
    return float(b - (b - a) * (1 - weight) if weight >= 0.5 else a + (b - a) * weight)


@kernel
def _order_statistics(
    first: int,
    last: int,
    counts: NDArray[np.int64],
    ranks: NDArray[np.int64],
    order: NDArray[np.int64],
    codes: NDArray[np.int64],
) -> None:
    """Bin of the ``ranks``-th smallest row (from 0) of each neuron; ``order`` sorts ``ranks``."""
    for neuron in range(first, last):
        n_below = 0
        done = 0
        for code in range(counts.shape[1]):
            n_below += counts[neuron, code]
            while done < len(order) and ranks[order[done]] < n_below:
                codes[neuron, order[done]] = code
                done += 1
            if done == len(order):
                break
