"""Verification across files: ids go on from shard to shard, and what points to rows and concepts finds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.store.problems import Problem
from pipeline.store.verify_file import NUMBERED, FileFacts

#: Tables of the corpus, whose ids begin with 0; rows and activations begin where their row space does.
_FROM_ZERO = frozenset({"documents", "sentences", "words"})


def check_ids(files: Iterable[FileFacts]) -> Iterator[Problem]:
    """Problems of ids that show only between files; ``files`` in natural order of their paths."""
    known = [facts for facts in files if facts.entry.path.endswith(".parquet")]
    yield from _continuity(known)
    yield from _overlaps(known)
    yield from _pointers(known)
    yield from _concepts(known)


def _continuity(files: Iterable[FileFacts]) -> Iterator[Problem]:
    """Ids of a series of shards follow on from each other; shards that are missing or damaged are passed over."""
    following: dict[tuple[object, ...], tuple[int, int]] = {}
    for facts in files:
        column, entry = NUMBERED.get(facts.table), facts.entry
        if column is None or entry.shard is None or (facts.ids is None and facts.problems):
            continue
        series = (facts.table, entry.rows, entry.model, entry.component, entry.layer, entry.block)
        begins = -1 if facts.table in _FROM_ZERO else None
        before, expected = following.get(series, (begins, 0))
        is_next = before == entry.shard - 1
        if facts.ids is None:  # a shard without a row
            if is_next:
                following[series] = entry.shards[-1], expected
            continue
        if is_next and facts.ids[0] != expected:
            ended = f"the shard before it ends with {expected - 1}" if expected else "the first shard begins with 0"
            yield Problem(entry.path, column, f"begins with {facts.ids[0]} and {ended}")
        following[series] = entry.shards[-1], facts.ids[1] + 1


def _overlaps(files: Iterable[FileFacts]) -> Iterator[Problem]:
    """Files of ``rows`` that have row ids of another row space."""
    ranges = sorted(
        (*facts.ids, facts.entry.rows or "", facts.entry.path) for facts in files if facts.table == "rows" and facts.ids
    )
    furthest: dict[str, tuple[int, str]] = {}
    for first, last, space, path in ranges:
        for other, (reached, other_path) in furthest.items():
            if other != space and first <= reached:
                yield Problem(path, "row_space", f"begins with {first}; {other_path} reaches to {reached}")
        furthest[space] = max(furthest.get(space, (last, path)), (last, path))


def _pointers(files: Iterable[FileFacts]) -> Iterator[Problem]:
    """Row ids of ``tokens`` and ``labels`` that are not in ``rows`` of the same shard."""
    rows = {(facts.entry.rows, facts.entry.shard): facts for facts in files if facts.table == "rows"}
    for facts in files:
        target = rows.get((facts.entry.rows, facts.entry.shard))
        if facts.table not in ("tokens", "labels") or facts.ids is None or target is None or target.problems:
            continue
        first, last = target.ids or (0, -1)
        wrong = facts.ids[0] if facts.ids[0] < first else facts.ids[1]
        if not first <= wrong <= last:
            there = f"the rows {first} to {last}" if target.ids else "no rows"
            yield Problem(facts.entry.path, "row_id", f"points to row {wrong}, and {target.entry.path} has {there}")


def _concepts(files: Iterable[FileFacts]) -> Iterator[Problem]:
    """Labels of concepts that the table of their concepts does not have."""
    tables = {
        (facts.entry.rows, facts.entry.concepts): facts
        for facts in files
        if facts.table == "concepts" and not facts.problems
    }
    for facts in files:
        table = tables.get((facts.entry.rows, facts.entry.concepts))
        if facts.table == "labels" and table is not None and (unknown := sorted(facts.concepts - table.concepts)):
            yield Problem(facts.entry.path, "concept", f"has {unknown[0]!r}, which {table.entry.path} has not")
