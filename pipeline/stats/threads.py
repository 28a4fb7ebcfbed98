"""How a block of neurons is spread over threads.

The kernels of statistics are functions over arrays whose first two arguments are a range of neurons; neurons are
independent of each other, so the number of threads never changes a bit of a result.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

#: More pieces than threads, so that a slow piece does not leave the others idle.
_PIECES_PER_THREAD = 4


def over_neurons(work: Callable[[int, int], None], n_neurons: int, threads: int = 1) -> None:
    """Call ``work(first, last)`` on ranges that cover ``0 .. n_neurons``, on up to ``threads`` threads.

    ``work`` must write only to the neurons of its own range. The first exception of a range is raised.
    """
    if n_neurons == 0:
        return
    if threads <= 1 or n_neurons == 1:
        work(0, n_neurons)
        return
    n_pieces = min(n_neurons, threads * _PIECES_PER_THREAD)
    edges = [n_neurons * piece // n_pieces for piece in range(n_pieces + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, first, last) for first, last in pairwise(edges)]:
            future.result()
