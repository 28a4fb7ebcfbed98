"""Encode sentences: token ids with the word, character span, window and position of each token."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding

from pipeline.extract.alignment import align_to_words, trim_spans
from pipeline.extract.encoded import EncodedSentence, FlatTokens, SentenceInput, Surroundings, lay_out, running_total
from pipeline.extract.model_facts import ModelInfo
from pipeline.extract.tokenizer_load import load_tokenizer, space_before_words
from pipeline.extract.windows import cut_windows
from schemas.config import ModelConfig
from schemas.errors import CorpusError, ModelError

Ints = npt.NDArray[np.int64]

#: Sentences encoded at once: bounds the memory of the tokenizer's own objects.
_CHUNK = 1024


class Encoder:
    """The tokenisation of one model under one way of encoding.

    ``encode='text'`` encodes the sentence's raw text, ``'words'`` its words pre-split (as if joined by one space).
    ``long_sentences``: ``'split'`` into windows (:func:`~pipeline.extract.windows.cut_windows`), ``'truncate'`` to the
    first of them, ``'error'``. A token that the text itself spells like a special one is an ordinary token.

    ``fingerprint`` is the SHA-256 of the tokenizer and of every setting that changes ids, words or windows;
    ``vocabulary`` the entry of every token id (empty for ids without one).
    """

    def __init__(
        self, config: ModelConfig, info: ModelInfo, encode: str = "text", long_sentences: str = "split"
    ) -> None:
        tokenizer = load_tokenizer(config, info)
        self._name = config.name
        self._backend = tokenizer.backend
        self._by_words = encode == "words"
        self._space = space_before_words(tokenizer.backend, config.name) if self._by_words else ""
        self._long_sentences = long_sentences
        self._vocab_size = info.vocab_size
        self.vocabulary = self._entries()
        self._around = Surroundings(tokenizer.prefix, tokenizer.suffix, self.vocabulary)
        n_special = len(tokenizer.prefix) + len(tokenizer.suffix)
        if info.max_length is not None and info.max_length <= n_special:
            raise ModelError(
                f"model {config.name!r}: its limit of {info.max_length} tokens leaves no room beside "
                f"{n_special} special ones; use another model"
            )
        self._limit = None if info.max_length is None else info.max_length - n_special
        settings = json.dumps([encode, long_sentences, info.max_length, tokenizer.prefix, tokenizer.suffix])
        self.fingerprint = hashlib.sha256((settings + tokenizer.backend.to_str()).encode()).hexdigest()

    @property
    def has_prefix(self) -> bool:
        """Whether a special token comes first (what ``cls`` pooling takes)."""
        return bool(self._around.prefix)

    def encode(self, sentences: Sequence[SentenceInput]) -> list[EncodedSentence]:
        """Encode sentences, in order.

        Raises :class:`CorpusError` for a sentence over the limit under ``long_sentences='error'`` or one that is not
        valid Unicode, :class:`ModelError` for a token id the model has no embedding for.
        """
        result: list[EncodedSentence] = []
        for first in range(0, len(sentences), _CHUNK):
            result.extend(self._encode_chunk(sentences[first : first + _CHUNK]))
        return result

    def _encode_chunk(self, sentences: Sequence[SentenceInput]) -> Iterator[EncodedSentence]:
        encodings = self._encodings(sentences)
        flat = self._flatten(sentences, encodings)
        if flat.ids.max(initial=0) >= self._vocab_size:
            raise ModelError(
                f"model {self._name!r}: its tokenizer gives id {flat.ids.max()}, but the model has embeddings for "
                f"{self._vocab_size}; tokenizer and weights do not belong together"
            )
        windows = [
            self._windows(sentence[0], flat.word[flat.bounds[i] : flat.bounds[i + 1]])
            for i, sentence in enumerate(sentences)
        ]
        return lay_out(flat, windows, self._around)

    def _encodings(self, sentences: Sequence[SentenceInput]) -> list[Encoding]:
        inputs: list[str] | list[list[str]] = [text for text, _, _ in sentences]
        if self._by_words:
            inputs = [[*words[:1], *(self._space + word for word in words[1:])] for _, words, _ in sentences]
        try:
            return self._backend.encode_batch(inputs, is_pretokenized=self._by_words, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError) as error:
            broken = next((text for text, _, _ in sentences if _has_surrogate(text)), None)
            if broken is None:
                raise
            raise CorpusError(
                f"sentence {broken[:60]!a} has a lone surrogate, which is no character; repair the text"
            ) from error

    def _flatten(self, sentences: Sequence[SentenceInput], encodings: list[Encoding]) -> FlatTokens:
        """Ids, spans and words of all tokens; one character coordinate runs through the texts of the chunk."""
        ids = np.array([i for e in encodings for i in e.ids], dtype=np.int64)
        bounds = running_total(np.array([len(e.ids) for e in encodings], dtype=np.int64))
        word_bounds = running_total(np.array([len(words) for _, words, _ in sentences], dtype=np.int64))
        text_start = running_total(np.array([len(text) + 1 for text, _, _ in sentences], dtype=np.int64))[:-1]
        token_base = np.repeat(text_start, np.diff(bounds))
        word_base = np.repeat(text_start, np.diff(word_bounds))
        offsets = np.array([o for e in encodings for o in e.offsets], dtype=np.int64).reshape(-1, 2)
        spans = np.array([s for _, _, spans in sentences for s in spans], dtype=np.int64).reshape(-1, 2)
        spans += word_base[:, None]
        text = "".join([text + "\n" for text, _, _ in sentences])
        if self._by_words:
            word = np.array([w for e in encodings for w in e.word_ids], dtype=np.int64)
            start, end, word = self._place_in_words(offsets, word, spans, np.repeat(word_bounds[:-1], np.diff(bounds)))
            start, end = trim_spans(text, start, end)
        else:
            start, end = trim_spans(text, offsets[:, 0] + token_base, offsets[:, 1] + token_base)
            word = _align_sentences(start, end, spans, bounds, word_bounds)
        return FlatTokens(ids, start - token_base, end - token_base, word, bounds, word_bounds)

    def _place_in_words(self, offsets: Ints, word: Ints, spans: Ints, first_word: Ints) -> tuple[Ints, Ints, Ints]:
        """Span and word of tokens whose word is known, from offsets inside it; only the space in front is no part."""
        inside = np.maximum(offsets - np.where(word > 0, len(self._space), 0)[:, None], 0)
        span = spans[first_word + word]
        start = np.minimum(span[:, 0] + inside[:, 0], span[:, 1])
        end = np.minimum(span[:, 0] + inside[:, 1], span[:, 1])
        return start, end, np.where(inside[:, 1] > inside[:, 0], word, -1)

    def _windows(self, text: str, word: Ints) -> list[tuple[int, int]]:
        if self._limit is not None and len(word) > self._limit and self._long_sentences == "error":
            raise CorpusError(
                f"sentence {text[:60]!r} has {len(word)} tokens, over the limit of {self._limit} beside the special "
                "ones; set dump.long_sentences to 'split' or 'truncate'"
            )
        if len(word) == 0 and not (self._around.prefix or self._around.suffix):
            return []
        windows = cut_windows(word, self._limit)
        return windows[:1] if self._long_sentences == "truncate" else windows

    def _entries(self) -> list[str]:
        entries = self._backend.get_vocab(with_added_tokens=True)
        vocabulary = [""] * max(max(entries.values(), default=0) + 1, self._vocab_size)
        for entry, i in entries.items():
            vocabulary[i] = entry
        return vocabulary


def _align_sentences(start: Ints, end: Ints, spans: Ints, bounds: Ints, word_bounds: Ints) -> Ints:
    """Word of every token of a chunk, counted from the first word of its sentence; -1 for none."""
    word_start, word_end = spans[:, 0], spans[:, 1]
    if (word_start[1:] >= word_end[:-1]).all() and (word_end > word_start).all():
        word = align_to_words(start, end, word_start, word_end)
        return np.where(word >= 0, word - np.repeat(word_bounds[:-1], np.diff(bounds)), -1)
    word = np.full(len(start), -1, dtype=np.int64)
    for i in range(len(bounds) - 1):
        tokens, words = slice(bounds[i], bounds[i + 1]), slice(word_bounds[i], word_bounds[i + 1])
        word[tokens] = align_to_words(start[tokens], end[tokens], word_start[words], word_end[words])
    return word


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
