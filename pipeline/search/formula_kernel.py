"""One level of the beam search for formulas, on bit-packed masks: the best formulas with one concept more.

A candidate is a formula of the level before (its parent F) with a further concept c behind AND, OR or AND NOT. With n
the neuron's mask, |F ∧ c ∧ n| gives the true positives of all three candidates and |F ∧ c| their sizes. The first is
counted on the neuron's own rows alone, gathered to a few words. The second would take a walk over all rows. It lies in
an interval that follows from the parent's own interval and from the overlap of the two concepts, and is counted only
where the interval's better end would still enter the beam: the result is the same as that of counting every one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel

#: Operators, in the order in which candidates of equal IoU are preferred.
AND, OR, AND_NOT = 0, 1, 2
N_OPERATORS = 3
#: Columns of a level's entries: which candidate it is, and its counts.
ORDER, PARENT, OPERATOR, CONCEPT, TRUE_POSITIVES, SIZE = 0, 1, 2, 3, 4, 5
N_COLUMNS = 6
#: What a search counted: pairs of a parent and a concept, and those of them that were counted over all rows.
PAIRS, PAIRS_IN_FULL = 0, 1

Words = NDArray[np.uint64]
Counts = NDArray[np.int64]
Intervals = NDArray[np.int32]  # arithmetic on two of them is in 64 bits, as all of numba's is


@kernel
def popcount(word: Any) -> Any:
    """Bits set in a word; compilers turn this form into the processor's instruction."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def count_both(first: Words, second: Words) -> Any:
    """Rows in both masks."""
    total = np.uint64(0)
    for place in range(len(first)):
        total += popcount(first[place] & second[place])
    return np.int64(total)


@kernel
def count_with_each(mask: Words, masks: Words, into: Counts) -> None:
    """``into`` (C,) = rows that ``mask`` (W,) has in common with each of ``masks`` (C, W)."""
    for concept in range(len(masks)):
        into[concept] = count_both(mask, masks[concept])


@kernel
def combined(parent: Any, operator: int, concept: Any) -> Any:
    """A word of parent AND, OR or AND NOT concept."""
    if operator == AND:
        return parent & concept
    if operator == OR:
        return parent | concept
    return parent & ~concept


@kernel
def gather(masks: Words, target: Words, n_active: int, into: Words) -> None:
    """The bits of ``masks`` (C, W) at the ``n_active`` rows of ``target`` (W,), side by side in ``into`` (C, A)."""
    rows = np.empty(n_active, np.int64)
    found = 0
    for place in range(len(target)):
        word = target[place]
        for bit in range(64):
            if word == np.uint64(0):
                break
            if word & np.uint64(1):
                rows[found] = place * 64 + bit
                found += 1
            word >>= np.uint64(1)
    for concept in range(len(masks)):
        for place in range(into.shape[1]):
            first, word = place * 64, np.uint64(0)
            for bit in range(min(64, n_active - first)):
                row = rows[first + bit]
                word |= ((masks[concept, row >> 6] >> np.uint64(row & 63)) & np.uint64(1)) << np.uint64(bit)
            into[concept, place] = word


@kernel
def _is_better(tp: int, size: int, order: int, other_tp: int, other_size: int, other_order: int, n_active: int) -> bool:
    """Whether one candidate goes before another: a larger IoU, else an earlier order.

    IoU = TP / (P + size − TP), compared as products: exact below 2^31 rows.
    """
    ours, theirs = tp * (n_active + other_size - other_tp), other_tp * (n_active + size - tp)
    return ours > theirs or (ours == theirs and order < other_order)


@kernel
def _enters(tp: int, size: int, order: int, level: int, entries: Counts, n_kept: Counts, n_active: int) -> bool:
    """Whether a candidate is good enough for a level as it is."""
    last = entries.shape[1] - 1
    return n_kept[level] <= last or _is_better(
        tp, size, order, entries[level, last, TRUE_POSITIVES], entries[level, last, SIZE], entries[level, last, ORDER],
        n_active,
    )  # fmt: skip


@kernel
def _is_same(level: int, kept: Words, concepts: Words, one: Counts, other: Counts) -> bool:
    """Whether two candidates of a level that have the same counts have the same mask."""
    if level == 0:
        return bool((concepts[one[CONCEPT]] == concepts[other[CONCEPT]]).all())
    for place in range(concepts.shape[1]):
        ours = combined(kept[level - 1, one[PARENT], place], one[OPERATOR], concepts[one[CONCEPT], place])
        if ours != combined(kept[level - 1, other[PARENT], place], other[OPERATOR], concepts[other[CONCEPT], place]):
            return False
    return True


@kernel
def _is_shorter(level: int, kept: Words, concepts: Words, entries: Counts, n_kept: Counts, one: Counts) -> bool:
    """Whether a formula kept at an earlier level has the candidate's mask."""
    tp, size = one[TRUE_POSITIVES], one[SIZE]
    for earlier in range(level):
        for rank in range(n_kept[earlier]):
            if entries[earlier, rank, TRUE_POSITIVES] != tp or entries[earlier, rank, SIZE] != size:
                continue
            place = 0
            while place < concepts.shape[1] and kept[earlier, rank, place] == combined(
                kept[level - 1, one[PARENT], place], one[OPERATOR], concepts[one[CONCEPT], place]
            ):
                place += 1
            if place == concepts.shape[1]:
                return True
    return False


@kernel
def _offer(
    level: int, kept: Words, concepts: Words, entries: Counts, n_kept: Counts, n_active: int, one: Counts
) -> None:
    """Put a candidate that is good enough into its place of the level, unless its mask is there already."""
    here, n, last = entries[level], n_kept[level], entries.shape[1] - 1
    tp, size, order = one[TRUE_POSITIVES], one[SIZE], one[ORDER]
    same = 0
    while same < n and not (
        here[same, TRUE_POSITIVES] == tp
        and here[same, SIZE] == size
        and _is_same(level, kept, concepts, one, here[same])
    ):
        same += 1
    if same < n:
        if here[same, ORDER] < order:
            return
        for place in range(same, n - 1):
            here[place] = here[place + 1]
        n -= 1
    elif _is_shorter(level, kept, concepts, entries, n_kept, one):
        return
    place = min(n, last)
    n_kept[level] = place + 1
    while place > 0 and _is_better(
        tp, size, order, here[place - 1, TRUE_POSITIVES], here[place - 1, SIZE], here[place - 1, ORDER], n_active
    ):
        for column in range(N_COLUMNS):
            here[place, column] = here[place - 1, column]
        place -= 1
    here[place] = one


@kernel
def first_level(
    concepts: Words, sizes: Counts, tps: Counts, n_active: int, kept: Words, entries: Counts, n_kept: Counts
) -> None:
    """The best single concepts, in ``entries[0]``."""
    one = np.zeros(N_COLUMNS, np.int64)
    one[OPERATOR] = OR
    for concept in range(len(sizes)):
        one[ORDER] = one[CONCEPT] = concept
        one[TRUE_POSITIVES], one[SIZE] = tps[concept], sizes[concept]
        if tps[concept] and _enters(tps[concept], sizes[concept], concept, 0, entries, n_kept, n_active):
            _offer(0, kept, concepts, entries, n_kept, n_active, one)


@kernel
def settle(level: int, concepts: Words, entries: Counts, n_kept: Counts, kept: Words) -> None:
    """Make the masks of a level's entries, ``kept[level]``, from those of their parents."""
    for rank in range(n_kept[level]):
        parent, operator, concept = (
            entries[level, rank, PARENT],
            entries[level, rank, OPERATOR],
            entries[level, rank, CONCEPT],
        )
        for place in range(concepts.shape[1]):
            before = np.uint64(0) if level == 0 else kept[level - 1, parent, place]
            kept[level, rank, place] = combined(before, operator, concepts[concept, place])


@kernel
def _interval(operator: int, least: int, most: int, overlap: int, fp_c: int) -> tuple[int, int]:
    """Bounds of |F op x ∧ c| from those of |F ∧ c|, from |x ∧ c| and |c|."""
    if operator == AND:
        return max(0, least + overlap - fp_c), min(most, overlap)
    if operator == OR:
        return max(least, overlap), min(most + overlap, fp_c)
    return max(0, least - overlap), min(most, fp_c - overlap)


@kernel
def share_with_concepts(
    level: int,
    sizes: Counts,
    tps: Counts,
    gathered: Words,
    overlaps: Counts,
    n_inactive: int,
    entries: Counts,
    n_kept: Counts,
    short: Words,
    shared: Intervals,
    least: Intervals,
    most: Intervals,
) -> None:
    """What each entry F of a level has in common with each concept c.

    ``shared`` (L, K, C) = |F ∧ c ∧ n|, and ``least`` and ``most`` (L, K, C) the bounds of |F ∧ c ∧ ¬n|. ``gathered``
    (C, A) and ``short`` (L, K, A) are masks over the active rows; ``overlaps`` (K, C) = |x ∧ c| for the concept x that
    each entry added.
    """
    for rank in range(n_kept[level]):
        entry = entries[level, rank]
        parent, operator, added = entry[PARENT], entry[OPERATOR], entry[CONCEPT]
        fp = entry[SIZE] - entry[TRUE_POSITIVES]
        for concept in range(len(sizes)):
            fp_c = sizes[concept] - tps[concept]
            in_both = np.uint64(0)
            in_added = np.uint64(0)
            for place in range(gathered.shape[1]):
                in_both += popcount(short[level, rank, place] & gathered[concept, place])
                in_added += popcount(gathered[added, place] & gathered[concept, place])
            overlap = overlaps[rank, concept] - np.int64(in_added)
            low, high = overlap, overlap
            if level > 0:
                before = least[level - 1, parent, concept], most[level - 1, parent, concept]
                low, high = _interval(operator, before[0], before[1], overlap, fp_c)
            shared[level, rank, concept] = in_both
            least[level, rank, concept] = max(low, fp + fp_c - n_inactive)
            most[level, rank, concept] = min(high, fp)


@kernel
def _try_pair(
    level: int, rank: int, concept: int, both: int, shared: int, concepts: Words, sizes: Counts, tps: Counts,
    kept: Words, entries: Counts, n_kept: Counts, n_active: int, one: Counts,
) -> None:  # fmt: skip
    """Offer the candidates of a parent and a concept that share ``both`` rows, ``shared`` of them active.

    A candidate that is its parent or the concept over again is none.
    """
    parent_tp, parent_size = entries[level - 1, rank, TRUE_POSITIVES], entries[level - 1, rank, SIZE]
    size_c = sizes[concept]
    if size_c == 0 or both == parent_size:
        return
    one[PARENT], one[CONCEPT] = rank, concept
    for operator in range(N_OPERATORS):
        if operator == AND:
            tp, size = shared, both
        elif operator == OR:
            tp, size = parent_tp + tps[concept] - shared, parent_size + size_c - both
        else:
            tp, size = parent_tp - shared, parent_size - both
        # disjoint ones: AND is empty, AND NOT is the parent; a concept inside the parent: AND is it, OR is the parent
        is_idle = (both == 0 and operator != OR) or (both == size_c and operator != AND_NOT)
        order = (rank * len(sizes) + concept) * N_OPERATORS + operator
        if not is_idle and tp and _enters(tp, size, order, level, entries, n_kept, n_active):
            one[ORDER], one[OPERATOR], one[TRUE_POSITIVES], one[SIZE] = order, operator, tp, size
            _offer(level, kept, concepts, entries, n_kept, n_active, one)


@kernel
def _may_enter(
    low: int, high: int, shared: int, tp: int, fp: int, tp_c: int, fp_c: int, order: int,
    last_tp: int, last_size: int, last_order: int, n_active: int,
) -> bool:  # fmt: skip
    """Whether a candidate of a pair can go before the last entry, if the pair shares ``low`` to ``high`` inactive rows.

    AND is best with few of them, OR and AND NOT with many.
    """
    either = tp + tp_c - shared
    return (
        _is_better(shared, shared + low, order, last_tp, last_size, last_order, n_active)
        or _is_better(either, either + fp + fp_c - high, order, last_tp, last_size, last_order, n_active)
        or _is_better(tp - shared, tp - shared + fp - high, order, last_tp, last_size, last_order, n_active)
    )


@kernel
def next_level(
    level: int, concepts: Words, sizes: Counts, tps: Counts, n_active: int, chains: Counts, kept: Words,
    entries: Counts, n_kept: Counts, shared: Intervals, least: Intervals, most: Intervals, work: Counts,
) -> None:  # fmt: skip
    """Fill ``entries[level]`` with the best formulas made from those of the level before.

    ``chains`` (K, level) are the concepts of these, which they don't take up again. Intervals that were counted become
    exact. ``work`` (2,) is added to.
    """
    n_concepts, last = len(sizes), entries.shape[1] - 1
    one, before = np.zeros(N_COLUMNS, np.int64), level - 1
    for rank in range(n_kept[before]):
        tp = entries[before, rank, TRUE_POSITIVES]
        fp = entries[before, rank, SIZE] - tp
        for concept in range(n_concepts):
            low, high = least[before, rank, concept], most[before, rank, concept]
            both_tp, tp_c = shared[before, rank, concept], tps[concept]
            order = (rank * n_concepts + concept) * N_OPERATORS
            if n_kept[level] > last and not _may_enter(
                low, high, both_tp, tp, fp, tp_c, sizes[concept] - tp_c, order, entries[level, last, TRUE_POSITIVES],
                entries[level, last, SIZE], entries[level, last, ORDER], n_active,
            ):  # fmt: skip
                continue
            if _holds(chains, rank, concept):
                continue
            if low < high:
                work[PAIRS_IN_FULL] += 1
                low = count_both(kept[before, rank], concepts[concept]) - both_tp
                least[before, rank, concept] = most[before, rank, concept] = low
            _try_pair(
                level, rank, concept, both_tp + low, both_tp, concepts, sizes, tps, kept, entries, n_kept, n_active, one
            )
    work[PAIRS] += n_kept[before] * n_concepts


@kernel
def _holds(chains: Counts, rank: int, concept: int) -> bool:
    """Whether a formula has the concept."""
    found = False
    for place in range(chains.shape[1]):
        found = found or chains[rank, place] == concept
    return found
