"""Which rows carry which concepts: a sparse boolean matrix, T rows × C concepts, by columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class LabelMatrix:
    """Compressed sparse columns: the rows of concept c are ``rows[indptr[c]:indptr[c + 1]]``, ascending and unique.

    ``indptr`` int64 (C + 1,), ``rows`` int32 (number of labels,), ``n_rows`` = T. Rows count from 0 in the batch.
    """

    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]
    n_rows: int

    @classmethod
    def from_pairs(
        cls, row: NDArray[np.integer], concept: NDArray[np.integer], n_rows: int, n_concepts: int
    ) -> LabelMatrix:
        """From (row, concept) pairs in any order; repeated pairs count once.

        Raises :class:`UsageError` when a pair lies outside ``n_rows`` × ``n_concepts``.
        """
        row, concept = np.asarray(row, np.int64), np.asarray(concept, np.int64)
        if row.shape != concept.shape or row.ndim != 1:
            raise UsageError(
                f"label pairs: row and concept must be equally long vectors, not {row.shape} and {concept.shape}"
            )
        if n_rows >= 2**31:
            raise UsageError(f"a batch has at most 2^31 - 1 rows, not {n_rows}; update with smaller batches")
        for name, index, bound in (("row", row, n_rows), ("concept", concept, n_concepts)):
            if index.size and not 0 <= index.min() <= index.max() < bound:
                raise UsageError(f"label pairs: {name} must be in 0..{bound - 1}, got {index.min()}..{index.max()}")
        keys = concept * max(n_rows, 1) + row
        if keys.size > 1 and not (keys[1:] > keys[:-1]).all():
            keys = np.unique(keys)
        concept, row = np.divmod(keys, max(n_rows, 1))
        indptr = np.zeros(n_concepts + 1, np.int64)
        np.cumsum(np.bincount(concept, minlength=n_concepts), out=indptr[1:])
        return cls(indptr, row.astype(np.int32), n_rows)

    @classmethod
    def from_dense(cls, mask: NDArray[np.bool_]) -> LabelMatrix:
        """From a boolean (T, C) array."""
        concept, row = np.nonzero(np.asarray(mask, bool).T)
        return cls.from_pairs(row, concept, *mask.shape)

    @classmethod
    def stack(cls, parts: Sequence[LabelMatrix], n_concepts: int) -> LabelMatrix:
        """The labels of all ``parts``' rows, one part below the other."""
        first = np.cumsum([0, *(part.n_rows for part in parts)])
        rows = [part.rows.astype(np.int64) + at for part, at in zip(parts, first, strict=False)]
        concepts = [part.concepts for part in parts]
        none = np.zeros(0, np.int64)
        return cls.from_pairs(
            np.concatenate([none, *rows]), np.concatenate([none, *concepts]), int(first[-1]), n_concepts
        )

    @property
    def n_concepts(self) -> int:
        """C."""
        return len(self.indptr) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Positives per concept, int64 (C,)."""
        return np.diff(self.indptr)

    @property
    def concepts(self) -> NDArray[np.int64]:
        """Concept of every entry of ``rows``, int64."""
        return np.repeat(np.arange(self.n_concepts), self.counts)

    def select_rows(self, mask: NDArray[np.bool_]) -> LabelMatrix:
        """The labels of the rows where ``mask`` (T,) holds, renumbered from 0 (a split, or counted rows)."""
        if mask.shape != (self.n_rows,):
            raise UsageError(f"row mask must have shape ({self.n_rows},), not {mask.shape}")
        new_row = np.cumsum(mask, dtype=np.int64) - 1
        keep = mask[self.rows]
        return LabelMatrix.from_pairs(new_row[self.rows[keep]], self.concepts[keep], int(mask.sum()), self.n_concepts)

    def select_concepts(self, concepts: NDArray[np.integer]) -> LabelMatrix:
        """The columns ``concepts``, in that order."""
        counts = self.counts[concepts]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        parts = [self.rows[self.indptr[c] : self.indptr[c + 1]] for c in concepts]
        rows = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        return LabelMatrix(indptr, rows, self.n_rows)
