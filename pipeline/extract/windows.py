"""Sentences longer than the model's limit: consecutive windows that keep words whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def cut_windows(word: npt.NDArray[np.int64], limit: int | None) -> list[tuple[int, int]]:
    """Cut a sentence's tokens into windows ``[first, last)`` of at most ``limit`` tokens.

    ``word``: int64[n], the word of each token (-1 none). A window ends before a token of another word where it can,
    so that every word is in one window; a single word of more than ``limit`` tokens is cut inside. No tokens: one
    empty window.
    """
    n_tokens = len(word)
    if limit is None or n_tokens <= limit:
        return [(0, n_tokens)]
    is_boundary = np.ones(n_tokens, dtype=bool)
    is_boundary[1:] = (word[1:] != word[:-1]) | (word[1:] < 0)
    boundaries = np.flatnonzero(is_boundary)
    windows, first = [], 0
    while n_tokens - first > limit:
        last = int(boundaries[np.searchsorted(boundaries, first + limit, side="right") - 1])
        if last <= first:
            last = first + limit
        windows.append((first, last))
        first = last
    return [*windows, (first, n_tokens)]
