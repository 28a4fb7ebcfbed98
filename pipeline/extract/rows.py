"""Which activation row a token goes into, at token, word and sentence unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.extract.encoded import EncodedSentence
from pipeline.extract.model_facts import ModelInfo
from schemas.errors import ConfigError

_POOLINGS = {"token": (None,), "word": ("last", "first", "mean", "max"), "sentence": ("mean", "max", "cls", "last")}
_DEFAULT_POOLING = {"token": None, "word": "last", "sentence": "mean"}


@dataclass(frozen=True, slots=True, eq=False)
class RowAssignment:
    """Rows of one sentence.

    ``token_row``: int64 per token, the row of this sentence (from 0) it goes into, -1 for tokens that pooling leaves
    out. Per row: ``word`` int32 (index in the sentence, -1 for none), ``is_special`` bool, ``is_counted`` bool
    (enters statistics: neither special nor word-less).
    """

    token_row: npt.NDArray[np.int64]
    word: npt.NDArray[np.int32]
    is_special: npt.NDArray[np.bool_]
    is_counted: npt.NDArray[np.bool_]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.word)


def resolve_pooling(unit: str, pooling: str | None) -> str | None:
    """Pooling in force for a unit: the default for None; raises :class:`ConfigError` for one the unit does not have."""
    if pooling is None:
        return _DEFAULT_POOLING[unit]
    if pooling not in _POOLINGS[unit]:
        valid = ", ".join(p for p in _POOLINGS[unit] if p) or "none (leave it out)"
        raise ConfigError(f"dump.pooling {pooling!r} does not go with dump.unit {unit!r}; choose {valid}")
    return pooling


def check_pooling(info: ModelInfo, unit: str, pooling: str | None) -> str | None:
    """Pooling in force for a unit of this model.

    Raises :class:`ConfigError` as :func:`resolve_pooling` does, and for ``cls`` where the model is not a bidirectional
    encoder: the first token of a causal decoder sees nothing but itself, so its neurons would be constant.
    """
    pooling = resolve_pooling(unit, pooling)
    if pooling == "cls" and not info.is_bidirectional:
        raise ConfigError(
            f"dump.pooling 'cls' is for bidirectional encoders only, and {info.name!r} is of architecture "
            f"{info.architecture!r}: the first token of a causal decoder sees nothing but itself, so every neuron "
            "would be constant; choose mean, max or last"
        )
    return pooling


def assign_rows(sentence: EncodedSentence, unit: str, pooling: str | None) -> RowAssignment:
    """Rows of ``sentence``.

    ``token``: every token, special ones included. ``word``: one row per word with at least one token, in word order.
    ``sentence``: one row if any token has a word, pooled over tokens that have one; ``cls`` takes the first special
    token. Raises :class:`ConfigError` for a pooling the unit does not have, or ``cls`` where nothing special comes
    first.
    """
    pooling = resolve_pooling(unit, pooling)
    if unit == "token":
        counted = ~sentence.is_special & (sentence.word >= 0)
        return RowAssignment(np.arange(len(sentence)), sentence.word, sentence.is_special, counted)
    return _word_rows(sentence, pooling) if unit == "word" else _sentence_row(sentence, pooling)


def _word_rows(sentence: EncodedSentence, pooling: str | None) -> RowAssignment:
    with_word = np.flatnonzero(sentence.word >= 0)
    words, first, row = np.unique(sentence.word[with_word], return_index=True, return_inverse=True)
    token_row = np.full(len(sentence), -1, dtype=np.int64)
    if pooling == "first":
        token_row[with_word[first]] = np.arange(len(words))
    elif pooling == "last":
        last = np.zeros(len(words), dtype=np.int64)
        np.maximum.at(last, row, with_word)
        token_row[last] = np.arange(len(words))
    else:
        token_row[with_word] = row
    return _pooled(token_row, words.astype(np.int32))


def _sentence_row(sentence: EncodedSentence, pooling: str | None) -> RowAssignment:
    with_word = np.flatnonzero(sentence.word >= 0)
    token_row = np.full(len(sentence), -1, dtype=np.int64)
    if len(with_word) == 0:
        return _pooled(token_row, np.empty(0, dtype=np.int32))
    if pooling == "cls":
        if not sentence.is_special[0]:
            raise ConfigError(
                "dump.pooling 'cls': this model's tokenizer puts no special token first; choose mean, max or last"
            )
        token_row[0] = 0
    elif pooling == "last":
        token_row[with_word[-1]] = 0
    else:
        token_row[with_word] = 0
    return _pooled(token_row, np.full(1, -1, dtype=np.int32))


def _pooled(token_row: npt.NDArray[np.int64], word: npt.NDArray[np.int32]) -> RowAssignment:
    return RowAssignment(token_row, word, np.zeros(len(word), dtype=bool), np.ones(len(word), dtype=bool))
