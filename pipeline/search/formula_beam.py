"""The beam search for formulas: which of AND, OR and AND NOT of concepts overlap a neuron's mask most.

Level 1 is the single concepts; level ℓ is all formulas of level ℓ − 1 with one further concept. Of each level the
``beam`` best are kept, by IoU = |formula ∧ neuron| / |formula ∨ neuron|; of equal ones the one whose parent stands
higher, then the concept that comes first, then AND before OR before AND NOT. No formula has

- a concept twice: ``F op c`` with c in F is a shorter formula (F with c held true or false) op c;
- no row in common with the neuron: nothing made of it is better than the same without it;
- the mask of its parent, of the concept it adds, of a shorter formula that was kept, or of a better one of its level:
  equal masks are kept once, so neither ``a AND b`` and ``b AND a`` nor two concepts of the same rows fill the beam.

(Mu & Andreas 2020, §3, whose beam mixes the lengths.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from pipeline.search import formula_kernel as k
from pipeline.search.bit_masks import ConceptMasks, Words, count, n_words
from pipeline.search.formula import Formula, Operator, Step

#: The kernel's operators by number.
OPERATORS: dict[int, Operator] = {k.AND: "AND", k.OR: "OR", k.AND_NOT: "AND NOT"}


@dataclass(frozen=True, slots=True)
class Found:
    """A formula of the beam with its counts over the rows searched."""

    formula: Formula
    n_both: int
    """Rows of formula and neuron, the true positives."""
    n_formula: int
    """Rows of the formula."""
    n_active: int
    """Rows of the neuron."""

    @property
    def iou(self) -> float:
        """n_both / (n_active + n_formula − n_both)."""
        return self.n_both / (self.n_active + self.n_formula - self.n_both)

    def score(self, penalty: float) -> float:
        """IoU − penalty · (length − 1)."""
        return self.iou - penalty * (self.formula.length - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Beam:
    """What a search kept: for each length the best formulas, best first."""

    entries: NDArray[np.int64]
    """(L, K, N_COLUMNS), places as named in :mod:`pipeline.search.formula_kernel`."""
    n_kept: NDArray[np.int64]
    """(L,); 0 where nothing is left to keep."""
    n_active: int

    def best(self, penalty: float) -> Found | None:
        """The formula of the largest score, of equal ones the shortest; None where no concept overlaps the neuron."""
        first = [self.found(level, 0) for level in range(len(self.n_kept)) if self.n_kept[level]]
        return max(first, key=lambda found: found.score(penalty), default=None)

    def found(self, level: int, rank: int) -> Found:
        """The formula of length ``level`` + 1 in place ``rank``, from 0."""
        entry, steps, place = self.entries[level, rank], [], rank
        for at in range(level, -1, -1):
            row = self.entries[at, place]
            steps.append(Step(OPERATORS[row[k.OPERATOR]] if at else "OR", int(row[k.CONCEPT])))
            place = int(row[k.PARENT])
        return Found(Formula(tuple(steps[::-1])), int(entry[k.TRUE_POSITIVES]), int(entry[k.SIZE]), self.n_active)


@dataclass(slots=True)
class Work:
    """How much a search counted."""

    n_pairs: int = 0
    """Pairs of a formula and a concept looked at; each is three candidates."""
    n_in_full: int = 0
    """Pairs that were counted over all rows."""


@dataclass(eq=False)
class Overlaps:
    """Rows that two concepts have in common, counted for a concept when a beam first takes it; shared by threads."""

    masks: ConceptMasks
    _rows: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def of(self, concepts: NDArray[np.int64]) -> NDArray[np.int64]:
        """(len(concepts), C) int64."""
        return np.stack([self._of(concept) for concept in concepts.tolist()])

    def _of(self, concept: int) -> NDArray[np.int64]:
        with self._lock:
            row = self._rows.get(concept)
        if row is None:
            row = np.empty(len(self.masks.counts), np.int64)
            k.count_with_each(self.masks.words[concept], self.masks.words, row)
            with self._lock:
                self._rows[concept] = row
        return row


def search_beam(overlaps: Overlaps, target: Words, *, beam: int, length: int, work: Work | None = None) -> Beam:
    """The best formulas of each length 1 … ``length`` for the neuron's mask ``target`` (W,).

    There are none for a neuron without an active row.
    """
    masks, n_active = overlaps.masks, count(target)
    n_concepts = len(masks.counts)
    entries, n_kept = np.zeros((length, beam, k.N_COLUMNS), np.int64), np.zeros(length, np.int64)
    if n_active and n_concepts:
        gathered = np.empty((n_concepts, n_words(n_active)), np.uint64)
        k.gather(masks.words, target, n_active, gathered)
        counted = np.zeros(2, np.int64)
        _search(overlaps, gathered, n_active, entries, n_kept, counted)
        if work is not None:
            work.n_pairs += int(counted[k.PAIRS])
            work.n_in_full += int(counted[k.PAIRS_IN_FULL])
    return Beam(entries, n_kept, n_active)


def _search(
    overlaps: Overlaps,
    gathered: Words,
    n_active: int,
    entries: NDArray[np.int64],
    n_kept: NDArray[np.int64],
    counted: NDArray[np.int64],
) -> None:
    masks = overlaps.masks
    words, sizes = masks.words, masks.counts
    n_levels, beam = entries.shape[:2]
    tps = np.bitwise_count(gathered).sum(axis=1, dtype=np.int64)
    kept = np.empty((n_levels, beam, words.shape[1]), np.uint64)
    short = np.empty((n_levels, beam, gathered.shape[1]), np.uint64)
    shared, least, most = (np.empty((n_levels, beam, len(sizes)), np.int32) for _ in range(3))
    k.first_level(words, sizes, tps, n_active, kept, entries, n_kept)
    for level in range(1, n_levels):
        before = level - 1
        if not n_kept[before]:
            return
        chosen = entries[before, : n_kept[before]]
        chains = _chains(entries, before, int(n_kept[before]))
        k.settle(before, words, entries, n_kept, kept)
        k.settle(before, gathered, entries, n_kept, short)
        k.share_with_concepts(
            before, sizes, tps, gathered, overlaps.of(chosen[:, k.CONCEPT]), masks.n_rows - n_active,
            entries, n_kept, short, shared, least, most,
        )  # fmt: skip
        k.next_level(
            level, words, sizes, tps, n_active, chains, kept, entries, n_kept, shared, least, most, counted
        )  # fmt: skip


def _chains(entries: NDArray[np.int64], level: int, n: int) -> NDArray[np.int64]:
    """Concepts of the first ``n`` entries of a level (n, level + 1), in the order in which they were added."""
    chains = np.empty((n, level + 1), np.int64)
    place = np.arange(n)
    for at in range(level, -1, -1):
        chains[:, at] = entries[at, place, k.CONCEPT]
        place = entries[at, place, k.PARENT]
    return chains
