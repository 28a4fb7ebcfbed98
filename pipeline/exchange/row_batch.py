"""Consecutive rows of a table as columns of text, each row with the line it was read from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from schemas.errors import ExchangeError

#: Rows of a batch.
BATCH_ROWS = 8192


@dataclass(frozen=True)
class RowBatch:
    """``columns`` hold one text per row; ``""`` is no value. Row i stands in line ``lines[i]`` of ``source``."""

    source: str
    lines: Sequence[int]
    columns: dict[str, list[str]]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def place(self, row: int) -> str:
        """`source:line` of a row of the batch."""
        return f"{self.source}:{self.lines[row]}"

    def cut(self, start: int, stop: int) -> RowBatch:
        """Some of its rows."""
        columns = {name: values[start:stop] for name, values in self.columns.items()}
        return RowBatch(self.source, self.lines[start:stop], columns)


def rebatched(batches: Iterator[RowBatch], size: int = BATCH_ROWS) -> Iterator[RowBatch]:
    """The same rows in batches of ``size``, the last one of what is left."""
    parts: list[RowBatch] = []
    n_rows = 0
    for batch in batches:
        start = 0
        while n_rows + batch.n_rows - start >= size:
            parts.append(batch.cut(start, start + size - n_rows))
            start += size - n_rows
            yield _joined(parts)
            parts, n_rows = [], 0
        if start < batch.n_rows:
            parts.append(batch.cut(start, batch.n_rows))
            n_rows += batch.n_rows - start
    if parts:
        yield _joined(parts)


def _joined(parts: Sequence[RowBatch]) -> RowBatch:
    if len(parts) == 1:
        return parts[0]
    columns = {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns}
    return RowBatch(parts[0].source, [line for part in parts for line in part.lines], columns)


def beside(base: Iterator[RowBatch], labels: Iterator[RowBatch], *, same_words: bool = True) -> Iterator[RowBatch]:
    """The rows of ``base`` with the columns of ``labels``, which stand in place of those of the same name.

    Both name the same rows: raises :class:`ExchangeError` for another number of them, and (``same_words``) for another
    word.
    """
    for batch, other in zip_longest(rebatched(base), rebatched(labels)):
        n_both = min(batch.n_rows if batch else 0, other.n_rows if other else 0)
        if batch is None or other is None or batch.n_rows != other.n_rows:
            longer = max((part for part in (batch, other) if part is not None), key=lambda part: part.n_rows)
            raise ExchangeError(
                f"{longer.place(n_both)}: there must be as many rows of labels as words with activations, and the "
                "other file has ended before this row; give labels of the same rows"
            )
        if same_words and "word" in other.columns and other.columns["word"] != batch.columns["word"]:
            pairs = zip(other.columns["word"], batch.columns["word"], strict=True)
            row = next(row for row, (new, old) in enumerate(pairs) if new != old)
            raise ExchangeError(
                f"{other.place(row)}: the word is {other.columns['word'][row]!r} here and "
                f"{batch.columns['word'][row]!r} in {batch.place(row)}; give labels of the same rows"
            )
        yield RowBatch(other.source, other.lines, {**batch.columns, **other.columns})
