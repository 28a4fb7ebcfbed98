"""Token equality: sentences of the store are tokenised again, and must give the tokens that are stored.

The sample is chosen by hash, so every verification of a store looks at the same sentences; a larger one includes a
smaller one. Compared are ids, words, windows, positions, spans and texts of the tokens. Where the tokenizer is gone or
is another one by now, that is said, and is no problem of the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.extract.encoded import EncodedSentence
from pipeline.extract.tokenizer import Encoder
from pipeline.run.corpus_record import load_corpus_record
from pipeline.run.plan_check import readable_plans
from pipeline.run.plan_record import Plan
from pipeline.run.row_space import row_space_id
from pipeline.store.problems import Problem
from pipeline.store.store import Store
from schemas.errors import NeuronmillError

_COLUMNS = ("word_id", "window", "position", "token_id", "token", "start", "end", "is_special")


@dataclass
class TokenCheck:
    """What came of tokenising a sample again."""

    n_sentences: int = 0
    """Sentences compared, over all tokenisations of the store."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Tokenisations that could not be compared, and why."""


def check_tokens(store: Store, n_sample: int, advance: Callable[[int], None] | None = None) -> TokenCheck:
    """Compare ``n_sample`` sentences of every tokenisation in the store; ``advance`` counts the sentences.

    Imported rows are words that nothing has tokenised: there is nothing to compare.
    """
    found = TokenCheck()
    done: set[str] = set()
    for plan in readable_plans(store)[0]:
        if plan.is_imported or plan.row_space in done or n_sample == 0:
            continue
        try:
            encoder = plan_encoder(store, plan)
        except NeuronmillError as error:
            found.notes.append(f"tokens of model {plan.model} could not be compared: {error}")
            continue
        done.add(plan.row_space)
        for shard, sentences in _by_shard(plan, n_sample):
            found.n_sentences += len(sentences)
            try:
                found.problems.extend(_compare(store, plan, encoder, shard, sentences))
            except NeuronmillError as error:
                found.notes.append(f"tokens of shard {shard} could not be compared: {error}")
            if advance is not None:
                advance(len(sentences))
    return found


def plan_encoder(store: Store, plan: Plan) -> Encoder:
    """The tokenisation of a plan.

    Raises :class:`~schemas.errors.ModelError` if its files are gone, :class:`NeuronmillError` if they have changed.
    """
    dump = plan.config.dump
    encoder = Encoder(plan.config.model, plan.model_info, encode=dump.encode, long_sentences=dump.long_sentences)
    space = row_space_id(load_corpus_record(store).fingerprint, encoder.fingerprint, plan.capture)
    if space != plan.row_space:
        raise NeuronmillError(f"the tokenizer of {plan.config.model.name} has changed; put the old files back")
    return encoder


def chosen_sentences(seed: str, n_sentences: int, n_sample: int) -> list[int]:
    """``n_sample`` different sentence ids out of ``n_sentences`` (all, if there are fewer), by hash of ``seed``."""
    if n_sample >= n_sentences:
        return list(range(n_sentences))
    chosen: dict[int, None] = {}
    number = 0
    while len(chosen) < n_sample:
        digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
        chosen[int.from_bytes(digest[:8]) % n_sentences] = None
        number += 1
    return sorted(chosen)


def _by_shard(plan: Plan, n_sample: int) -> list[tuple[int, list[int]]]:
    ends = np.cumsum([shard.n_sentences for shard in plan.shards])
    chosen = np.array(chosen_sentences(plan.row_space, int(ends[-1]) if len(ends) else 0, n_sample), np.int64)
    place = np.searchsorted(ends, chosen, side="right")
    return [(plan.shards[index].shard, chosen[place == index].tolist()) for index in np.unique(place)]


def _compare(store: Store, plan: Plan, encoder: Encoder, shard: int, chosen: Sequence[int]) -> list[Problem]:
    """Tokenise the chosen sentences of one shard again; a problem for the first one that differs."""
    sentences = _Rows(store, "sentences", ["sentence_id", "text"], shard=shard)
    words = _Rows(store, "words", ["sentence_id", "word_id", "word", "start", "end"], shard=shard)
    tokens = _Rows(store, "tokens", ["sentence_id", *_COLUMNS], scope=plan.row_space, shard=shard)
    inputs, first_words = [], []
    for sentence in chosen:
        (text,) = sentences.of(sentence, "text")
        spans = list(zip(words.of(sentence, "start"), words.of(sentence, "end"), strict=True))
        inputs.append((text, words.of(sentence, "word"), spans))
        first_words.append(next(iter(words.of(sentence, "word_id")), 0))
    for sentence, first_word, encoded in zip(chosen, first_words, encoder.encode(inputs), strict=True):
        for column, expected in _columns(encoded, first_word).items():
            stored = tokens.of(sentence, column)
            if stored != expected:
                at = next((i for i, pair in enumerate(zip(stored, expected, strict=False)) if pair[0] != pair[1]), None)
                where = f"{len(stored)} tokens instead of {len(expected)}"
                if at is not None:
                    where = f"token {at} has {column} {stored[at]!r} instead of {expected[at]!r}"
                return [Problem(tokens.path, "token", f"sentence {sentence}, tokenised again: {where}")]
    return []


def _columns(encoded: EncodedSentence, first_word: int) -> dict[str, list[Any]]:
    """Columns of ``tokens`` as lists; undefined is None."""
    special = encoded.is_special
    return {
        "word_id": [first_word + word if word >= 0 else None for word in encoded.word.tolist()],
        **{name: getattr(encoded, name).tolist() for name in ("window", "position", "token_id", "is_special")},
        "token": list(encoded.tokens),
        **{name: _unless(special, getattr(encoded, name)) for name in ("start", "end")},
    }


def _unless(special: npt.NDArray[np.bool_], values: npt.NDArray[Any]) -> list[int | None]:
    return [None if hidden else value for hidden, value in zip(special.tolist(), values.tolist(), strict=True)]


class _Rows:
    """One shard of a table, by sentence."""

    def __init__(self, store: Store, table: str, columns: list[str], *, shard: int, scope: str | None = None) -> None:
        entries = store.files(table, scope, shard=shard)
        self.path = entries[0].path if entries else table
        self._table = store.read_table(entries, columns)
        self._sentence = self._table["sentence_id"].to_numpy()

    def of(self, sentence: int, column: str) -> list[Any]:
        """Values of a column in one sentence."""
        low, high = np.searchsorted(self._sentence, [sentence, sentence + 1]).tolist()
        values: list[Any] = self._table[column].slice(low, high - low).to_pylist()
        return values
