"""The list of what was skipped, in bounded memory: its first items one by one, then how many more there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pipeline.corpus.sentence import Quarantined

#: Pieces listed one by one, of a corpus and of a shard of it: what a person reads, and a few MB.
MAX_LISTED = 10_000
MAX_LISTED_OF_SHARD = 1_000


class QuarantineList:
    """The first ``limit`` skipped pieces; those after them are one last item, which counts them.

    The same pieces in the same order give the same list, however they came here: an item may itself stand for many.
    """

    def __init__(self, limit: int | None = None, items: Iterable[Quarantined] = ()) -> None:
        self._limit = MAX_LISTED if limit is None else limit
        self._listed: list[Quarantined] = []
        self._rest: Quarantined | None = None
        for item in items:
            self.add(item)

    def add(self, item: Quarantined) -> None:
        """Take in what was skipped."""
        if len(self._listed) < self._limit:
            self._listed.append(item)
        elif self._rest is None:
            self._rest = item
        else:
            self._rest = replace(self._rest, n_pieces=self._rest.n_pieces + item.n_pieces)

    def items(self) -> list[Quarantined]:
        """Up to ``limit`` items, and one more where there was more: where that begins, and how much it is."""
        if self._rest is None:
            return list(self._listed)
        rule = f"{self._rest.n_pieces:,} pieces from here on were skipped and are not listed one by one"
        return [*self._listed, replace(self._rest, rule=rule, excerpt="", way_out="")]
