"""Token-to-word alignment and windows against the definitions, written out naively."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.alignment import align_to_words, trim_spans
from pipeline.extract.windows import cut_windows

spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)).map(lambda s: (s[0], s[0] + s[1])), max_size=12)


def _arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _naive(token: tuple[int, int], words: list[tuple[int, int]]) -> int:
    shared = [min(token[1], end) - max(token[0], start) for start, end in words]
    return shared.index(max(shared)) if shared and max(shared) > 0 else -1


@given(spans, spans)
def test_a_token_belongs_to_the_word_it_shares_most_characters_with(tokens: list, words: list) -> None:
    found = align_to_words(*_arrays(tokens), *_arrays(words))
    assert found.tolist() == [_naive(token, words) for token in tokens]


@given(spans, st.lists(st.integers(1, 40), unique=True, max_size=16).map(sorted))
def test_the_same_for_ordered_words(tokens: list, cuts: list[int]) -> None:
    words = list(zip(cuts[::2], cuts[1::2], strict=False))
    found = align_to_words(*_arrays(tokens), *_arrays(words))
    assert found.tolist() == [_naive(token, words) for token in tokens]


def test_a_tie_goes_to_the_first_word() -> None:
    assert align_to_words(*_arrays([(1, 3), (0, 6)]), *_arrays([(0, 2), (2, 4), (4, 6)])).tolist() == [0, 0]


@given(st.text(alphabet="ab \t\n\u00a0\u3000é😀", max_size=12), st.data())
def test_spans_lose_white_space_only(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    left, right = trim_spans(text, np.array([start]), np.array([end]))
    assert text[left[0] : right[0]] == text[start:end].strip()


@given(st.lists(st.integers(-1, 5), max_size=40), st.integers(1, 9))
def test_windows_are_consecutive_full_and_keep_words_whole(words: list[int], limit: int) -> None:
    word = np.sort(np.array(words, dtype=np.int64))
    windows = cut_windows(word, limit)
    assert windows[0][0] == 0
    assert windows[-1][1] == len(word)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(windows))
    assert all(last - first <= limit for first, last in windows)
    assert all(last > first for first, last in windows) or len(word) == 0
    for index in set(word[word >= 0].tolist()):
        n_windows = sum(bool((word[first:last] == index).any()) for first, last in windows)
        assert n_windows == 1 or (word == index).sum() > limit


def test_no_limit_is_one_window() -> None:
    assert cut_windows(np.zeros(5000, dtype=np.int64), None) == [(0, 5000)]
