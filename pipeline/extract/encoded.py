"""Encoded sentences, and how a chunk of them is laid out: windows, special tokens, positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
#: A sentence to encode: text, words, and the character span of each word in the text.
SentenceInput = tuple[str, Sequence[str], Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSentence:
    """Tokens of one sentence, windows one after the other, special tokens included.

    ``token_id``, ``start``, ``end``, ``word``, ``window``, ``position``: int32[n]; ``is_special``: bool[n]; ``tokens``:
    their vocabulary entries. ``start``/``end``: characters of the sentence's text, white space trimmed, -1 for special
    tokens. ``word``: index of the word in the sentence, -1 for none. ``position``: in the window, from 0. ``n_windows``
    is 0 only for no tokens at all. ``truncated``: tokens over the limit were cut off.
    """

    token_id: npt.NDArray[np.int32]
    start: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]
    word: npt.NDArray[np.int32]
    is_special: npt.NDArray[np.bool_]
    window: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]
    tokens: tuple[str, ...]
    n_words_without_token: int
    n_windows: int
    truncated: bool

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.token_id)


@dataclass(frozen=True, slots=True, eq=False)
class FlatTokens:
    """Tokens of a chunk of sentences without special ones, one after the other.

    ``ids``, ``start``, ``end``, ``word``: int64[n], as in :class:`EncodedSentence`. ``bounds``, ``word_bounds``:
    int64[S + 1], sentence i has tokens ``bounds[i]:bounds[i + 1]`` and words ``word_bounds[i]:word_bounds[i + 1]``.
    """

    ids: Ints
    start: Ints
    end: Ints
    word: Ints
    bounds: Ints
    word_bounds: Ints


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Ids of the special tokens before and after every window, and the vocabulary entry of every id."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    vocabulary: Sequence[str]


def lay_out(
    flat: FlatTokens, windows: Sequence[Sequence[tuple[int, int]]], around: Surroundings
) -> Iterator[EncodedSentence]:
    """Put special tokens around the windows of a chunk and hand out its sentences.

    ``windows``: per sentence, the ranges of its tokens (from 0) that make one window each; others are cut off.
    """
    n_windows = np.array([len(w) for w in windows], dtype=np.int64)
    cuts = np.array([cut for w in windows for cut in w], dtype=np.int64).reshape(-1, 2)
    n_body = cuts[:, 1] - cuts[:, 0]
    n_tokens = n_body + len(around.prefix) + len(around.suffix)
    edges = running_total(n_tokens)
    first_window = running_total(n_windows)
    source = _ranges(cuts[:, 0] + np.repeat(flat.bounds[:-1], n_windows), n_body)
    target = _ranges(edges[:-1] + len(around.prefix), n_body)
    columns = {name: np.full(edges[-1], -1, dtype=np.int32) for name in ("token_id", "start", "end", "word")}
    for name, values in (("token_id", flat.ids), ("start", flat.start), ("end", flat.end), ("word", flat.word)):
        columns[name][target] = values[source]
    for k, token in enumerate(around.prefix):
        columns["token_id"][edges[:-1] + k] = token
    for k, token in enumerate(around.suffix):
        columns["token_id"][edges[1:] - len(around.suffix) + k] = token
    is_special = np.ones(edges[-1], dtype=bool)
    is_special[target] = False
    number = np.arange(len(cuts)) - np.repeat(first_window[:-1], n_windows)
    columns["window"] = np.repeat(number, n_tokens).astype(np.int32)
    columns["position"] = _ranges(np.zeros(len(cuts), dtype=np.int64), n_tokens).astype(np.int32)
    sentence_edges = edges[first_window]
    without = _words_without_token(columns["word"], sentence_edges, flat.word_bounds)
    n_kept = np.diff(running_total(n_body)[first_window])
    tokens = [around.vocabulary[i] for i in columns["token_id"].tolist()]
    for i in range(len(windows)):
        part = slice(int(sentence_edges[i]), int(sentence_edges[i + 1]))
        yield EncodedSentence(
            **{name: column[part] for name, column in columns.items()},
            is_special=is_special[part],
            tokens=tuple(tokens[part]),
            n_words_without_token=int(without[i]),
            n_windows=int(n_windows[i]),
            truncated=bool(n_kept[i] < flat.bounds[i + 1] - flat.bounds[i]),
        )


def running_total(counts: Ints) -> Ints:
    """``[0, counts[0], counts[0] + counts[1], …]``, one longer than ``counts``."""
    total = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=total[1:])
    return total


def _words_without_token(word: npt.NDArray[np.int32], sentence_edges: Ints, word_bounds: Ints) -> Ints:
    owner = np.repeat(np.arange(len(sentence_edges) - 1), np.diff(sentence_edges))
    with_word = word >= 0
    is_bare = np.ones(word_bounds[-1], dtype=np.int64)
    is_bare[word[with_word] + word_bounds[owner[with_word]]] = 0
    return np.diff(running_total(is_bare)[word_bounds])


def _ranges(first: Ints, length: Ints) -> Ints:
    """``first[0], first[0]+1, …`` (``length[0]`` of them), then the same of the next, in one array."""
    ends = np.cumsum(length)
    total = int(ends[-1]) if len(ends) else 0
    values: Ints = np.arange(total, dtype=np.int64) + np.repeat(first - (ends - length), length)
    return values
