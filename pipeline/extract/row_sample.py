"""A sample of a corpus' rows, drawn by hash: the same words whoever asks, in whatever order, for whatever model.

A word is drawn by the sentence's number in the corpus and its own in the sentence, so all tokens of a drawn word are
rows, models that tokenise differently get the same words, and neither shards nor workers matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.extract.encoded import EncodedSentence
from pipeline.extract.rows import RowAssignment, assign_rows

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class RowSample:
    """Keep about ``share`` (0 … 1) of the rows, or of the sentences with all their rows; see :func:`sampled_rows`."""

    share: float
    by: Literal["row", "sentence"]
    seed: int

    def __str__(self) -> str:
        return f"{self.share:g} by {self.by}, seed {self.seed}"


def mixed(values: Hashes) -> Hashes:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): evenly spread 64 bits for every 64 bits."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def is_drawn(share: float, seed: int, *keys: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Whether each entry of the parallel (or broadcast) integer ``keys`` is among the drawn ``share``.

    ``int(hash / 2⁶⁴ · 2⁵³) / 2⁵³ < share`` with ``hash`` = mixed(… mixed(mixed(seed) ^ key₀) ^ key₁ …).
    """
    hashes = mixed(np.array([seed], np.int64).view(np.uint64))
    for key in keys:
        hashes = mixed(hashes ^ np.asarray(key, np.int64).view(np.uint64))
    return (hashes >> np.uint64(11)) * 2.0**-53 < share


def sampled_rows(
    sentence: EncodedSentence, sentence_id: int, unit: str, pooling: str | None, sample: RowSample | None
) -> RowAssignment:
    """The rows of :func:`~pipeline.extract.rows.assign_rows` that are drawn, numbered from 0; all without a sample.

    Tokens of the others go into no row. ``by`` ``row``: a row of a word is drawn by ``(sentence_id, word)``, one of a
    token without a word by ``(sentence_id, −1 − its number in the sentence)``. ``by`` ``sentence``, and rows of whole
    sentences: by ``(sentence_id)``.
    """
    assigned = assign_rows(sentence, unit, pooling)
    if sample is None:
        return assigned
    keys = [np.array([sentence_id])]
    if sample.by == "row" and unit != "sentence":
        token = np.zeros(assigned.n_rows, np.int64)  # of a word's row any token will do: its word is the key
        with_row = np.flatnonzero(assigned.token_row >= 0)
        token[assigned.token_row[with_row]] = with_row
        keys.append(np.where(assigned.word >= 0, assigned.word, -1 - token))
    drawn = np.broadcast_to(is_drawn(sample.share, sample.seed, *keys), assigned.n_rows)
    kept = np.flatnonzero(drawn)
    place = np.full(assigned.n_rows + 1, -1, np.int64)  # the last entry is that of tokens without a row
    place[kept] = np.arange(len(kept))
    return RowAssignment(
        place[assigned.token_row], assigned.word[kept], assigned.is_special[kept], assigned.is_counted[kept]
    )


def count_rows(
    sentence: EncodedSentence, sentence_id: int, unit: str, pooling: str | None, sample: RowSample | None
) -> int:
    """How many rows :func:`sampled_rows` gives."""
    if unit == "token" and sample is None:
        return len(sentence)
    return sampled_rows(sentence, sentence_id, unit, pooling, sample).n_rows


def assigned_rows(
    sentences: Sequence[EncodedSentence],
    sentence_ids: Sequence[int],
    unit: str,
    pooling: str | None,
    sample: RowSample | None,
) -> tuple[RowAssignment, npt.NDArray[np.int64]]:
    """Rows of sentences (at least one), numbered on from each to the next, and int64 how many each has.

    The same as :func:`sampled_rows` for each; where every token is a row, for all at once.
    """
    if unit == "token" and sample is None:
        n_rows = np.array([len(sentence) for sentence in sentences], np.int64)
        word = np.concatenate([sentence.word for sentence in sentences])
        is_special = np.concatenate([sentence.is_special for sentence in sentences])
        return RowAssignment(np.arange(len(word)), word, is_special, ~is_special & (word >= 0)), n_rows
    parts = [
        sampled_rows(sentence, sentence_id, unit, pooling, sample)
        for sentence, sentence_id in zip(sentences, sentence_ids, strict=True)
    ]
    n_rows = np.array([part.n_rows for part in parts], np.int64)
    first = np.cumsum(n_rows) - n_rows
    numbered = [
        np.where(part.token_row >= 0, part.token_row + offset, -1) for part, offset in zip(parts, first, strict=True)
    ]
    return RowAssignment(
        np.concatenate(numbered),
        np.concatenate([part.word for part in parts]),
        np.concatenate([part.is_special for part in parts]),
        np.concatenate([part.is_counted for part in parts]),
    ), n_rows
