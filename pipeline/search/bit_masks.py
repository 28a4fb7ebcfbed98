"""Masks of rows packed to bits: row t is bit t mod 64 of word ⌊t / 64⌋, and bits beyond the last row are 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.stats.label_matrix import LabelMatrix
from schemas.errors import UsageError

Words = NDArray[np.uint64]


def n_words(n_rows: int) -> int:
    """Words of a mask over so many rows."""
    return -(-n_rows // 64)


def pack(mask: NDArray[np.bool_]) -> Words:
    """A boolean mask (T,) as words, uint64 (⌈T / 64⌉,)."""
    packed = np.zeros(n_words(len(mask)) * 8, np.uint8)
    found = np.packbits(mask, bitorder="little")
    packed[: len(found)] = found
    return packed.view(np.dtype("<u8")).astype(np.uint64, copy=False)


def count(words: Words) -> int:
    """Number of rows in a mask."""
    return int(np.bitwise_count(words).sum())


@dataclass(frozen=True, slots=True, eq=False)
class ConceptMasks:
    """The masks of C concepts over T rows, packed once and shared by all neurons."""

    words: Words
    """uint64 (C, ⌈T / 64⌉)."""
    counts: NDArray[np.int64]
    """Rows of each concept (C,)."""
    n_rows: int
    """T."""

    @classmethod
    def empty(cls, n_concepts: int, n_rows: int) -> ConceptMasks:
        """Masks of ``n_rows`` rows that no concept holds for, to be filled by :meth:`add`."""
        if n_rows >= 2**31:
            raise UsageError(f"masks have at most 2^31 - 1 rows, not {n_rows}; sample the rows")
        return cls(np.zeros((n_concepts, n_words(n_rows)), np.uint64), np.zeros(n_concepts, np.int64), n_rows)

    @classmethod
    def of(cls, labels: LabelMatrix) -> ConceptMasks:
        """The masks of a label matrix."""
        masks = cls.empty(labels.n_concepts, labels.n_rows)
        masks.add(labels, 0)
        return masks

    def add(self, labels: LabelMatrix, first_row: int) -> None:
        """Fill in ``labels`` of the rows from ``first_row`` on; every row once."""
        _set_bits(self.words, labels.indptr, labels.rows, first_row)
        self.counts[:] += labels.counts


@kernel
def _set_bits(words: NDArray[Any], indptr: NDArray[np.int64], rows: NDArray[np.int32], first_row: int) -> None:
    for concept in range(len(indptr) - 1):
        for entry in range(indptr[concept], indptr[concept + 1]):
            row = first_row + np.int64(rows[entry])
            words[concept, row >> 6] |= np.uint64(1) << np.uint64(row & 63)
