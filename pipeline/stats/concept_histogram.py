"""Which values each neuron takes where each concept holds: the state behind every exact ranking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.stats.codes import N_CODES, HalfDtype, check_half_dtype
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.stats.threads import over_neurons
from pipeline.stats.value_block import check_codes, check_mergeable, check_rows
from pipeline.stats.value_histogram import count_codes
from schemas.errors import UsageError

#: Positives from which 65,536 int64 counts are smaller than one uint16 code per positive.
DENSE_FROM = N_CODES * 8 // 2


@dataclass(slots=True, eq=False)
class ConceptHistogram:
    """Histogram of N neurons over the 65,536 codes, of all T rows and of the positives of each of C concepts. Exact.

    The positives of a concept are kept as their codes (2 bytes each, in no particular order) while that is smaller than
    65,536 counts, as int64 counts from :data:`DENSE_FROM` positives on. :meth:`bytes_per_neuron` gives the size.
    """

    dtype: HalfDtype
    n_rows: int
    n_pos: NDArray[np.int64]
    """Positives (C,)."""
    total: NDArray[np.int64]
    """Counts over all rows (N, 65,536)."""
    sparse: NDArray[np.uint16]
    """Codes of positives (N, capacity), used up to the last segment's stop."""
    segments: list[tuple[int, int, int]] = field(default_factory=list)
    """(concept, start, stop) ranges of ``sparse``, by start and without gaps."""
    dense: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    """Counts (N, 65,536) of the concepts with many positives."""

    @classmethod
    def empty(
        cls,
        n_neurons: int,
        n_concepts: int,
        dtype: str = "float16",
        expected_positives: NDArray[np.int64] | None = None,
    ) -> ConceptHistogram:
        """The state of no rows. ``expected_positives`` (C,) only saves regrowing; it need not be right."""
        expected = np.zeros(n_concepts, np.int64) if expected_positives is None else np.asarray(expected_positives)
        is_dense = expected >= DENSE_FROM
        state = cls(
            check_half_dtype(dtype),
            0,
            np.zeros(n_concepts, np.int64),
            np.zeros((n_neurons, N_CODES), np.int64),
            np.empty((n_neurons, int(expected[~is_dense].sum())), np.uint16),
        )
        state._make_dense(np.flatnonzero(is_dense))
        return state

    @staticmethod
    def bytes_per_neuron(n_positives: NDArray[np.int64]) -> int:
        """Bytes of one neuron's state with so many positives per concept, all counts included."""
        n_positives = np.asarray(n_positives, np.int64)
        is_dense = n_positives >= DENSE_FROM
        return int(8 * N_CODES * (1 + is_dense.sum()) + 2 * n_positives[~is_dense].sum())

    @property
    def n_neurons(self) -> int:
        """N."""
        return len(self.total)

    @property
    def n_concepts(self) -> int:
        """C."""
        return len(self.n_pos)

    @property
    def n_sparse(self) -> int:
        """Codes of positives in use per neuron."""
        return self.segments[-1][2] if self.segments else 0

    def update(self, codes: NDArray[np.uint16], labels: LabelMatrix, threads: int = 1) -> ConceptHistogram:
        """Add a batch: ``codes`` uint16 (N, T) as made by ``encode_codes``, ``labels`` of the same T rows."""
        codes = check_codes(codes, self.n_neurons)
        check_rows(codes.shape[1], labels.n_rows, "labels")
        self._check_concepts(labels.n_concepts)
        self._make_dense(np.flatnonzero(self.n_pos + labels.counts >= DENSE_FROM))
        dense = [c for c in self.dense if labels.counts[c]]
        kept = np.array([c for c in np.flatnonzero(labels.counts) if c not in self.dense], np.int64)
        rare = labels.select_concepts(kept)
        start = self._append(kept, rare.indptr)

        def work(first: int, last: int) -> None:
            count_codes(first, last, codes, self.total)
            _gather(first, last, codes, rare.rows, start, self.sparse)
            for c in dense:
                _count_rows(first, last, codes, labels.rows[labels.indptr[c] : labels.indptr[c + 1]], self.dense[c])

        over_neurons(work, self.n_neurons, threads)
        self.n_pos = self.n_pos + labels.counts
        self.n_rows += labels.n_rows
        return self

    def merge(self, other: ConceptHistogram) -> ConceptHistogram:
        """Add the rows of ``other`` in place; ``other`` is left as it is."""
        if self.dtype != other.dtype:
            raise UsageError(
                f"histograms of {self.dtype} and {other.dtype} do not merge; their codes mean different values"
            )
        self._check_concepts(other.n_concepts)
        check_mergeable(self.total.shape, other.total.shape)
        self.total += other.total
        self._make_dense(np.union1d(np.flatnonzero(self.n_pos + other.n_pos >= DENSE_FROM), list(other.dense)))
        for concept, counts in other.dense.items():
            self.dense[concept] += counts
        for concept, start, stop in other.segments:
            if concept in self.dense:
                count_codes(0, self.n_neurons, other.sparse[:, start:stop], self.dense[concept])
            else:
                begin = self._append(np.array([concept]), np.array([0, stop - start]))
                self.sparse[:, begin : begin + stop - start] = other.sparse[:, start:stop]
        self.n_pos = self.n_pos + other.n_pos
        self.n_rows += other.n_rows
        return self

    def finalize(self, concept: int) -> NDArray[np.int64]:
        """Counts of one concept's positives, int64 (N, 65,536); the searches read the state itself instead."""
        if concept in self.dense:
            return self.dense[concept].copy()
        counts = np.zeros_like(self.total)
        for owner, start, stop in self.segments:
            if owner == concept:
                count_codes(0, self.n_neurons, self.sparse[:, start:stop], counts)
        return counts

    def segments_by_concept(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``indptr`` (C + 1,) and ranges (S, 2) of ``sparse``; concept c has ``ranges[indptr[c]:indptr[c + 1]]``."""
        table = np.array(self.segments, np.int64).reshape(-1, 3)
        table = table[np.argsort(table[:, 0], kind="stable")]
        indptr = np.searchsorted(table[:, 0], np.arange(self.n_concepts + 1))
        return indptr.astype(np.int64), np.ascontiguousarray(table[:, 1:])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as named arrays; :meth:`from_arrays` is the inverse."""
        dense = sorted(self.dense)
        return {
            "dtype": np.array(self.dtype),
            "n_rows": np.array(self.n_rows),
            "n_pos": self.n_pos,
            "total": self.total,
            "sparse": self.sparse[:, : self.n_sparse],
            "segments": np.array(self.segments, np.int64).reshape(-1, 3),
            "dense_concepts": np.array(dense, np.int64),
            "dense": np.array([self.dense[c] for c in dense], np.int64).reshape(-1, *self.total.shape),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> ConceptHistogram:
        """The state that :meth:`arrays` wrote."""
        dense = np.array(arrays["dense"], np.int64)
        return cls(
            check_half_dtype(str(arrays["dtype"])),
            int(np.asarray(arrays["n_rows"], np.int64)),
            np.array(arrays["n_pos"], np.int64),
            np.array(arrays["total"], np.int64),
            np.array(arrays["sparse"], np.uint16),
            [(int(c), int(a), int(b)) for c, a, b in np.asarray(arrays["segments"], np.int64)],
            {int(c): dense[i] for i, c in enumerate(np.asarray(arrays["dense_concepts"], np.int64))},
        )

    def _check_concepts(self, found: int) -> None:
        if found != self.n_concepts:
            raise UsageError(
                f"labels must have the {self.n_concepts} concepts of the state, not {found}; give each one a column"
            )

    def _append(self, concepts: NDArray[np.int64], indptr: NDArray[np.int64]) -> int:
        """Open segments for ``concepts`` behind the used codes, growing the array; where the first one starts."""
        start = self.n_sparse
        needed = start + int(indptr[-1])
        if needed > self.sparse.shape[1]:
            grown = np.empty((self.n_neurons, max(needed, start * 3 // 2)), np.uint16)
            grown[:, :start] = self.sparse[:, :start]
            self.sparse = grown
        for concept, low, high in zip(concepts, indptr[:-1], indptr[1:], strict=True):
            self.segments.append((int(concept), start + int(low), start + int(high)))
        return start

    def _make_dense(self, concepts: NDArray[np.int64]) -> None:
        """Turn the codes of ``concepts`` into counts and close the gaps they leave."""
        new = {int(c) for c in concepts} - self.dense.keys()
        if not new:
            return
        self.dense |= {c: np.zeros_like(self.total) for c in new}
        kept: list[tuple[int, int, int]] = []
        for concept, start, stop in self.segments:
            if concept in new:
                count_codes(0, self.n_neurons, self.sparse[:, start:stop], self.dense[concept])
                continue
            begin = kept[-1][2] if kept else 0
            if begin < start:
                self.sparse[:, begin : begin + stop - start] = self.sparse[:, start:stop].copy()
            kept.append((concept, begin, begin + stop - start))
        self.segments = kept


@kernel
def _gather(
    first: int, last: int, codes: NDArray[np.uint16], rows: NDArray[np.int32], start: int, sparse: NDArray[np.uint16]
) -> None:
    for neuron in range(first, last):
        column = codes[neuron]
        place = sparse[neuron, start : start + len(rows)]
        for entry in range(len(rows)):
            place[entry] = column[rows[entry]]


@kernel
def _count_rows(
    first: int, last: int, codes: NDArray[np.uint16], rows: NDArray[np.int32], counts: NDArray[np.int64]
) -> None:
    for neuron in range(first, last):
        column = codes[neuron]
        for row in rows:
            counts[neuron, column[row]] += 1
