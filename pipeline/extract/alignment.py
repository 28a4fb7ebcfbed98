"""Which word a token belongs to: the one it shares most characters with, by character offsets and nothing else."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@cache
def _whitespace_table() -> npt.NDArray[np.bool_]:
    table = np.zeros(0x110000, dtype=bool)
    table[[code for code in range(0x3001) if chr(code).isspace()]] = True
    return table


def trim_spans(text: str, start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Move ``start`` forward and ``end`` back over white space of ``text``.

    ``start``, ``end``: int64[n], character offsets into ``text``. A span with nothing else in it becomes empty at its
    start.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    n_chars = len(codes)
    is_ink = ~_whitespace_table()[codes]
    here = np.arange(n_chars, dtype=np.int64)
    next_ink = np.full(n_chars + 1, n_chars, dtype=np.int64)
    next_ink[:-1] = np.minimum.accumulate(np.where(is_ink, here, n_chars)[::-1])[::-1]
    after_last_ink = np.zeros(n_chars + 1, dtype=np.int64)
    after_last_ink[1:] = np.maximum.accumulate(np.where(is_ink, here + 1, 0))
    left = np.maximum(next_ink[start], start)
    right = np.minimum(after_last_ink[end], end)
    empty = left >= right
    return np.where(empty, start, left), np.where(empty, start, right)


def align_to_words(start: Ints, end: Ints, word_start: Ints, word_end: Ints) -> Ints:
    """Index of the word that each token shares most characters with; -1 for none; the first word on a tie.

    All int64. Tokens may come in any order and overlap (bytes of one character do). Words may overlap (two syntactic
    words of one written form); ordered, disjoint words take O((T + W) log W).
    """
    if len(word_start) == 0 or len(start) == 0:
        return np.full(len(start), -1, dtype=np.int64)
    ordered = (word_start[1:] >= word_end[:-1]).all() and (word_end > word_start).all()
    if not ordered:
        shared = np.minimum(end[:, None], word_end) - np.maximum(start[:, None], word_start)
        best = shared.argmax(axis=1)
        return np.where(shared[np.arange(len(start)), best] > 0, best, -1).astype(np.int64)
    first = np.searchsorted(word_end, start, side="right")
    last = np.searchsorted(word_start, end, side="left") - 1
    word = np.full(len(start), -1, dtype=np.int64)
    most = np.zeros(len(start), dtype=np.int64)
    open_tokens = np.flatnonzero((first <= last) & (end > start))
    step = 0
    while len(open_tokens):
        candidate = first[open_tokens] + step
        shared = np.minimum(end[open_tokens], word_end[candidate]) - np.maximum(
            start[open_tokens], word_start[candidate]
        )
        better = shared > most[open_tokens]
        word[open_tokens[better]] = candidate[better]
        most[open_tokens[better]] = shared[better]
        open_tokens = open_tokens[candidate < last[open_tokens]]
        step += 1
    return word
