"""Concepts over words: every kind but `sql` is a predicate on the distinct values of one column, looked up by code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.corpus.concepts import Concept
from schemas.errors import ConceptError


@dataclass(frozen=True)
class Coded:
    """A column as codes into its distinct values, like an Arrow dictionary: int codes (T_words), −1 for no value."""

    codes: NDArray[np.int64]
    values: tuple[str, ...]

    @classmethod
    def of(cls, column: Sequence[str | None] | Coded) -> Coded:
        """``column`` with its values numbered in order of appearance."""
        if isinstance(column, Coded):
            return column
        numbers: dict[str, int] = {}
        codes = [-1 if value is None else numbers.setdefault(value, len(numbers)) for value in column]
        return cls(np.asarray(codes, dtype=np.int64), tuple(numbers))


Column = Sequence[str | None] | Coded


class WordMasks:
    """Masks of many concepts over the same words; each column is coded once.

    ``columns`` maps ``word`` and label layers to a value per word (T_words); ``sentence_labels`` and
    ``document_labels`` map a label's name to its value for each word's sentence or document. A layer that is
    not there has no value anywhere.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        sentence_labels: Mapping[str, Column] | None = None,
        document_labels: Mapping[str, Column] | None = None,
    ) -> None:
        self._columns = {"layer": columns, "sentence": sentence_labels or {}, "document": document_labels or {}}
        self._coded: dict[tuple[str, str], Coded] = {}
        self._n_words = len(Coded.of(columns["word"]).codes)

    def mask(self, concept: Concept) -> NDArray[np.bool_]:
        """Boolean (T_words): the words ``concept`` holds for. Raises :class:`ConceptError` for kind `sql`."""
        if concept.kind == "sql":
            raise ConceptError(
                f"concept {concept.name!r} is SQL, which the store evaluates, not a word mask; pass its mask in"
            )
        kind, name = ("layer", "word") if concept.layer is None else (concept.kind, concept.layer)
        coded = self._column(kind, name)
        if coded is None:
            return np.zeros(self._n_words, dtype=np.bool_)
        holds = _predicate(concept)
        # the extra last entry is what code −1 (no value) looks up
        table = np.zeros(len(coded.values) + 1, dtype=np.bool_)
        table[:-1] = [holds(value) for value in coded.values]
        mask: NDArray[np.bool_] = table[coded.codes]
        return mask

    def _column(self, kind: str, name: str) -> Coded | None:
        key = (kind, name)
        if key not in self._coded:
            if name not in self._columns[kind]:
                return None
            self._coded[key] = Coded.of(self._columns[kind][name])
        return self._coded[key]


def word_mask(
    concept: Concept,
    columns: Mapping[str, Column],
    sentence_labels: Mapping[str, Column] | None = None,
    document_labels: Mapping[str, Column] | None = None,
) -> NDArray[np.bool_]:
    """Boolean (T_words) mask of one concept; for many concepts over the same words use :class:`WordMasks`."""
    return WordMasks(columns, sentence_labels, document_labels).mask(concept)


def _predicate(concept: Concept) -> Callable[[str], bool]:
    if concept.pattern is not None:
        pattern = re.compile(concept.pattern, re.IGNORECASE if concept.ignore_case else 0)
        return lambda word: pattern.fullmatch(word) is not None
    if concept.words:
        if concept.ignore_case:
            folded = frozenset(word.casefold() for word in concept.words)
            return lambda word: word.casefold() in folded
        return frozenset(concept.words).__contains__
    return concept.values.__contains__
