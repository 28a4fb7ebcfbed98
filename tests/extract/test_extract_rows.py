"""Rows at every unit and pooling, sequences and batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.encoded import EncodedSentence
from pipeline.extract.model_facts import ModelInfo
from pipeline.extract.rows import assign_rows, check_pooling, resolve_pooling
from pipeline.extract.sequences import Sequences, build_sequences, make_batches
from schemas.errors import ConfigError


def _sentence(word: list[int], special: list[int], window: list[int] | None = None) -> EncodedSentence:
    """A sentence from the word of every token; ``special`` tokens by index."""
    n = len(word)
    window = window or [0] * n
    ints = np.arange(n, dtype=np.int32)
    windows = np.array(window, dtype=np.int32)
    position = np.concatenate([[0] * 0, *(np.arange((windows == w).sum()) for w in sorted(set(window)))]).astype(
        np.int32
    )
    is_special = np.isin(ints, special)
    return EncodedSentence(
        ints,
        ints,
        ints + 1,
        np.array(word, dtype=np.int32),
        is_special,
        windows,
        position,
        ("x",) * n,
        0,
        max(window) + 1,
        False,
    )


#: [CLS] w0 w0 (white space) w2 w2 w2 [SEP]; word 1 has no token
BERT_LIKE = _sentence([-1, 0, 0, -1, 2, 2, 2, -1], [0, 7])


def test_token_unit_has_all_tokens_and_counts_those_with_a_word() -> None:
    rows = assign_rows(BERT_LIKE, "token", None)
    assert rows.token_row.tolist() == list(range(8))
    assert rows.is_special.tolist() == [True, *[False] * 6, True]
    assert rows.is_counted.tolist() == [False, True, True, False, True, True, True, False]
    assert rows.word.tolist() == BERT_LIKE.word.tolist()


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (None, [-1, -1, 0, -1, -1, -1, 1, -1]),
        ("last", [-1, -1, 0, -1, -1, -1, 1, -1]),
        ("first", [-1, 0, -1, -1, 1, -1, -1, -1]),
        ("mean", [-1, 0, 0, -1, 1, 1, 1, -1]),
        ("max", [-1, 0, 0, -1, 1, 1, 1, -1]),
    ],
)
def test_word_unit(pooling: str | None, expected: list[int]) -> None:
    rows = assign_rows(BERT_LIKE, "word", pooling)
    assert rows.token_row.tolist() == expected
    assert rows.word.tolist() == [0, 2]
    assert rows.is_counted.all()
    assert not rows.is_special.any()


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (None, [-1, 0, 0, -1, 0, 0, 0, -1]),
        ("max", [-1, 0, 0, -1, 0, 0, 0, -1]),
        ("cls", [0, -1, -1, -1, -1, -1, -1, -1]),
        ("last", [-1, -1, -1, -1, -1, -1, 0, -1]),
    ],
)
def test_sentence_unit(pooling: str | None, expected: list[int]) -> None:
    rows = assign_rows(BERT_LIKE, "sentence", pooling)
    assert rows.token_row.tolist() == expected
    assert rows.word.tolist() == [-1]
    assert rows.is_counted.tolist() == [True]


@pytest.mark.parametrize("unit", ["word", "sentence"])
def test_a_sentence_without_word_tokens_has_no_row(unit: str) -> None:
    rows = assign_rows(_sentence([-1, -1], [0, 1]), unit, None)
    assert rows.n_rows == 0
    assert rows.token_row.tolist() == [-1, -1]


def test_cls_needs_a_special_token_in_front() -> None:
    with pytest.raises(ConfigError, match=r"dump.pooling 'cls'.*choose mean, max or last"):
        assign_rows(_sentence([0, 1], []), "sentence", "cls")


@pytest.mark.parametrize(("unit", "pooling"), [("token", "mean"), ("word", "cls"), ("sentence", "first")])
def test_pooling_must_go_with_the_unit(unit: str, pooling: str) -> None:
    with pytest.raises(ConfigError, match=f"dump.pooling '{pooling}' does not go with dump.unit '{unit}'; choose"):
        resolve_pooling(unit, pooling)


def _info(architecture: str) -> ModelInfo:
    return ModelInfo("m", "some-model", architecture, 2, {"resid": 16}, 48, 64, 0, "0" * 64, None, "folder")


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "qwen2", "gemma3_text", "smollm3", "unheard_of"])
def test_the_first_token_of_a_decoder_is_no_pooling(architecture: str) -> None:
    with pytest.raises(ConfigError, match=f"'cls' is for bidirectional .*'{architecture}'.*; choose mean, max or last"):
        check_pooling(_info(architecture), "sentence", "cls")
    assert check_pooling(_info(architecture), "sentence", "mean") == "mean"
    assert check_pooling(_info(architecture), "sentence", None) == "mean"
    assert check_pooling(_info(architecture), "token", None) is None


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "distilbert", "albert", "modernbert"])
def test_the_first_token_of_an_encoder_is_one(architecture: str) -> None:
    assert check_pooling(_info(architecture), "sentence", "cls") == "cls"
    with pytest.raises(ConfigError, match=r"'cls' does not go with dump\.unit 'word'"):
        check_pooling(_info(architecture), "word", "cls")


def test_windows_become_sequences_and_rows_run_on() -> None:
    two_windows = _sentence([-1, 0, -1, -1, 0, -1], [0, 2, 3, 5], [0, 0, 0, 1, 1, 1])
    sentences = [two_windows, BERT_LIKE]
    sequences = build_sequences(sentences, [assign_rows(s, "word", "mean") for s in sentences])
    assert sequences.offsets.tolist() == [0, 3, 6, 14]
    assert sequences.token_row.tolist() == [-1, 0, -1, -1, 0, -1, -1, 1, 1, -1, 2, 2, 2, -1]
    assert sequences.n_rows == 3


def test_no_sentences_make_no_sequences() -> None:
    sequences = build_sequences([], [])
    assert (sequences.n_rows, sequences.lengths.tolist()) == (0, [])


@pytest.mark.parametrize(
    ("offsets", "rows", "n_rows"),
    [
        ([0, 2], [0, 1, 2], 3),
        ([0, 0, 3], [0, 1, 2], 3),
        ([0, 3], [0, 1, 3], 3),
        ([0, 3], [0, 0, 2], 3),
        ([0, 3], [0, 1], 2),
    ],
)
def test_sequences_that_do_not_fit_together_are_refused(offsets: list[int], rows: list[int], n_rows: int) -> None:
    with pytest.raises(ValueError, match=r"token_row|offsets|row"):
        Sequences(np.zeros(3, dtype=np.int32), np.array(offsets), np.array(rows), n_rows)


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 120))
def test_batches_hold_every_sequence_once_within_the_budget(lengths: list[int], budget: int) -> None:
    sizes = np.array(lengths, dtype=np.int64)
    batches = make_batches(sizes, budget)
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sizes[batch].max() * len(batch) <= budget
    order = np.concatenate([np.empty(0, dtype=np.int64), *batches])
    assert sizes[order].tolist() == sorted(lengths, reverse=True)
