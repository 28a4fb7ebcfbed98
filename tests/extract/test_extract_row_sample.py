"""Rows drawn by hash: the same words for every unit and tokenisation, independent draws, an exact share in the mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.extract.encoded import EncodedSentence
from pipeline.extract.row_sample import RowSample, assigned_rows, count_rows, is_drawn, sampled_rows
from pipeline.extract.rows import assign_rows

UNITS = [("token", None), ("word", "last"), ("word", "mean"), ("sentence", "mean"), ("sentence", "cls")]


def sentence(words: list[int]) -> EncodedSentence:
    """Tokens of these words (−1 for none) between two special tokens."""
    word = np.array([-1, *words, -1], np.int32)
    special = np.zeros(len(word), bool)
    special[[0, -1]] = True
    number = np.arange(len(word), dtype=np.int32)
    zeros = np.zeros(len(word), np.int32)
    return EncodedSentence(
        number, number, number + 1, word, special, zeros, number, ("t",) * len(word), 0, 1, False
    )  # fmt: skip


def drawn_in_plain_python(share: float, seed: int, *keys: int) -> bool:
    """SplitMix64 with Python's own integers."""

    def mixed(value: int) -> int:
        z = (value + 0x9E3779B97F4A7C15) % 2**64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    found = mixed(seed)
    for key in keys:
        found = mixed(found ^ (key % 2**64))
    return (found >> 11) / 2**53 < share


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    share=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
    keys=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
)
def test_the_hash(share, seed, keys):
    """What was drawn in one version has to be drawn in the next."""
    arrays = [np.array([key], np.int64) for key in keys]
    assert is_drawn(share, seed, *arrays).tolist() == [drawn_in_plain_python(share, seed, *keys)]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    words=st.lists(st.integers(-1, 5), min_size=1, max_size=9).map(lambda found: sorted(found, key=lambda w: w < 0)),
    kind=st.sampled_from(UNITS),
    sample=st.builds(
        RowSample, st.sampled_from([0.1, 0.5, 0.9, 1.0]), st.sampled_from(["row", "sentence"]), st.integers(0, 99)
    ),
    sentence_id=st.integers(0, 2**40),
)
def test_drawn_rows_are_rows_of_the_full_dump(words, kind, sample, sentence_id):
    encoded = sentence(words)
    every = assign_rows(encoded, *kind)
    some = sampled_rows(encoded, sentence_id, *kind, sample)
    kept = [row for row in range(every.n_rows) if is_kept(encoded, every, row, sentence_id, kind[0], sample)]
    assert some.word.tolist() == every.word[kept].tolist()
    assert some.is_special.tolist() == every.is_special[kept].tolist()
    assert some.is_counted.tolist() == every.is_counted[kept].tolist()
    assert some.token_row.tolist() == [kept.index(row) if row in kept else -1 for row in every.token_row.tolist()]


def is_kept(encoded, every, row: int, sentence_id: int, unit: str, sample: RowSample) -> bool:
    if sample.by == "sentence" or unit == "sentence":
        return drawn_in_plain_python(sample.share, sample.seed, sentence_id)
    word = int(every.word[row])
    key = word if word >= 0 else -1 - every.token_row.tolist().index(row)
    return drawn_in_plain_python(sample.share, sample.seed, sentence_id, key)


def test_two_tokenisations_give_the_same_words():
    sample = RowSample(0.5, "row", 3)
    coarse, fine = sentence([0, 1, 2, 3, 4, 5]), sentence([0, 0, 1, 2, 2, 2, 3, 4, 5, 5])
    for number in range(20):
        drawn = [
            {word for word in sampled_rows(found, number, unit, pooling, sample).word.tolist() if word >= 0}
            for found in (coarse, fine)
            for unit, pooling in (("token", None), ("word", "mean"))
        ]
        assert all(words == drawn[0] for words in drawn)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.75])
def test_the_share_is_that_of_independent_draws(share):
    n = 200_000
    of_rows = is_drawn(share, 0, np.arange(n) // 20, np.arange(n) % 20)
    of_sentences = is_drawn(share, 0, np.arange(n))
    deviation = 4 * np.sqrt(n * share * (1 - share))
    for drawn in (of_rows, of_sentences):
        assert abs(int(drawn.sum()) - n * share) < deviation
    both = int((of_sentences & is_drawn(share, 1, np.arange(n))).sum())
    assert abs(both - n * share**2) < 4 * np.sqrt(n * share**2)


def test_everything_and_nothing():
    encoded = sentence([0, 1, 2])
    assert sampled_rows(encoded, 0, "token", None, None).n_rows == 5
    assert sampled_rows(encoded, 0, "token", None, RowSample(1.0, "row", 0)).n_rows == 5
    nothing = sampled_rows(encoded, 0, "token", None, RowSample(1e-18, "row", 0))
    assert (nothing.n_rows, nothing.token_row.tolist()) == (0, [-1] * 5)


@pytest.mark.parametrize("sample", [None, RowSample(0.5, "row", 3), RowSample(0.5, "sentence", 3)])
@pytest.mark.parametrize("kind", UNITS)
def test_rows_of_many_sentences_are_those_of_each(kind, sample):
    sentences = [sentence(words) for words in ([0, 1, 2], [-1, 0], [0, 0, 1, -1], [-1], [0, 1, 1, 2, 3])]
    ids = [7, 3, 2**40, 8, 9]
    assigned, n_rows = assigned_rows(sentences, ids, *kind, sample)
    each = [sampled_rows(encoded, id_, *kind, sample) for encoded, id_ in zip(sentences, ids, strict=True)]
    assert n_rows.tolist() == [rows.n_rows for rows in each]
    assert n_rows.tolist() == [
        count_rows(encoded, id_, *kind, sample) for encoded, id_ in zip(sentences, ids, strict=True)
    ]
    token_row, first = [], 0
    for rows in each:
        token_row += [row + first if row >= 0 else -1 for row in rows.token_row.tolist()]
        first += rows.n_rows
    assert assigned.token_row.tolist() == token_row
    for name in ("word", "is_special", "is_counted"):
        assert getattr(assigned, name).tolist() == [value for rows in each for value in getattr(rows, name).tolist()]
