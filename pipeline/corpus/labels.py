"""From masks over words to labels of rows: the sparse table of which concept holds for which counted row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.corpus.concepts import Concept

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def label_rows(
    row_word: Ints,
    is_counted: Bools,
    concepts: Sequence[Concept],
    masks: Sequence[Bools],
    *,
    row_sentence: Ints | None = None,
    word_sentence: Ints | None = None,
) -> tuple[Ints, NDArray[np.int32]]:
    """Pairs ``(row_index int64, concept_index int32)`` of all concepts that hold, sorted by row, then concept.

    ``row_word`` (T) is the index of a row's word in the masks (T_words each, one per concept), −1 for none; rows
    that are not ``is_counted`` get no label. A word's concept holds for all, the first or the last of its counted
    rows (`label_on`), a sentence's or document's for all of them. At sentence unit give ``row_sentence`` (T) and
    ``word_sentence`` (T_words), indices from the same numbering: a concept then holds for a row if it holds for any
    word of the sentence.
    """
    if len(concepts) != len(masks):
        raise ValueError(f"masks: one per concept, got {len(masks)} for {len(concepts)} concepts")
    rows: list[Ints] = []
    if row_sentence is not None and word_sentence is not None:
        counted = np.flatnonzero(is_counted & (row_sentence >= 0))
        n_sentences = int(max(row_sentence.max(initial=-1), word_sentence.max(initial=-1))) + 1
        for mask in masks:
            holds = np.zeros(n_sentences, dtype=np.bool_)
            holds[word_sentence[mask]] = True
            rows.append(counted[holds[row_sentence[counted]]])
    else:
        counted = np.flatnonzero(is_counted & (row_word >= 0))
        candidates = {"all": counted}
        for concept, mask in zip(concepts, masks, strict=True):
            on = "all" if concept.kind in ("sentence", "document") else concept.label_on
            if on not in candidates:
                candidates[on] = _one_per_word(row_word, counted, last=on == "last")
            of = candidates[on]
            rows.append(of[mask[row_word[of]]])
    return _sorted_pairs(rows)


def _one_per_word(row_word: Ints, counted: Ints, *, last: bool) -> Ints:
    """The first or last counted row of every word that has one."""
    ordered = counted[::-1] if last else counted
    _, first = np.unique(row_word[ordered], return_index=True)
    return np.sort(ordered[first])


def _sorted_pairs(rows: Sequence[Ints]) -> tuple[Ints, NDArray[np.int32]]:
    if not rows:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
    row_index = np.concatenate(rows).astype(np.int64)
    concept_index = np.repeat(np.arange(len(rows), dtype=np.int32), [len(r) for r in rows])
    # concepts are already ascending, so a stable sort by row leaves them ascending inside a row
    order = np.argsort(row_index, kind="stable")
    return row_index[order], concept_index[order]
