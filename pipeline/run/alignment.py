"""Rows of several models that are of the same word: by document, sentence and characters, never by position.

Models of one store share its words. A word of another store is the same where document and sentence have the same names
and the word the same characters and form. Only words that every model has a row for are correlated; they are found once
per shard of the leading model and stay in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.run.array_file import open_arrays, save_arrays
from pipeline.run.member_rows import Member, MemberReader, Place
from pipeline.run.plan_record import ShardPlan
from pipeline.run.progress import Progress
from pipeline.store.paths import state_file
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.errors import CorpusError, IncompleteError
from schemas.fingerprints import fingerprint

#: Raised whenever the same rows would be aligned otherwise.
VERSION = 1

Ints = npt.NDArray[np.int64]
_SAME = ["document", "sentence", "start", "end", "word"]


@dataclass(frozen=True)
class Alignment:
    """Which units of every member belong together, shard by shard of the leader."""

    stage: str | None
    """Of the receipts of :func:`align`; None for a model alone, with all its rows."""
    shards: tuple[tuple[ShardPlan, ...], ...]
    """Of every member."""

    def places(self, store: Store, shard: ShardPlan) -> list[list[Place]]:
        """Of every member, where the rows of the leader's ``shard`` are, in the same order."""
        if self.stage is None:
            return [[(shard, None)]]
        receipt = store.receipt(self.stage, shard.key)
        if receipt is None:
            raise IncompleteError(f"{self.stage}: the words of {shard.key} are gone; start the same command again")
        with open_arrays(store, receipt.files[0].path) as file:
            return [
                _places(file[f"shard_{number}"], file[f"unit_{number}"], shards)
                for number, shards in enumerate(self.shards)
            ]

    @classmethod
    def alone(cls, member: Member) -> Alignment:
        """Of a model by itself."""
        return cls(None, (member.plan.shards,))

    @classmethod
    def of_words(cls, members: Sequence[Member]) -> Alignment:
        """Of several models, the first of which leads; :func:`align` finds the words."""
        digest = fingerprint(kind="alignment", version=VERSION, members=[member.identity for member in members])
        return cls(f"aligned-{members[0].plan.run_id}-{digest[:12]}", tuple(member.plan.shards for member in members))


def _places(shard: Ints, unit: Ints, shards: Sequence[ShardPlan]) -> list[Place]:
    """Runs of the same shard."""
    starts = np.flatnonzero(np.diff(shard, prepend=-1) != 0)
    stops = np.append(starts[1:], len(shard))
    found: list[Place] = [(shards[shard[a]], unit[a:b]) for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
    return found or [(shards[0], unit)]


@dataclass(frozen=True)
class AlignmentCounts:
    """Words that every model has, and the words of each."""

    n_aligned: int
    n_words: tuple[int, ...]

    def describe(self, members: Sequence[Member]) -> str:
        """For a user."""
        each = ", ".join(
            f"{member.plan.model} {n:,} ({n - self.n_aligned:,} unaligned)"
            for member, n in zip(members, self.n_words, strict=True)
        )
        return f"{counted(self.n_aligned, 'word')} aligned; of {each}"


def align(store: Store, members: Sequence[Member], progress: Progress) -> tuple[Alignment, AlignmentCounts]:
    """Find the words that all members have; what was found before is not looked for again.

    Raises :class:`CorpusError` with the counts where there are fewer than two.
    """
    alignment = Alignment.of_words(members)
    stage = str(alignment.stage)
    lead, readers = members[0].plan, [MemberReader(member) for member in members]
    finished = store.receipts(stage)
    progress.start("alignment", len(lead.shards), "shards", sum(shard.key in finished for shard in lead.shards))
    others = [_WordIndex(reader, readers[0].store) for reader in readers[1:]]
    n_aligned = 0
    for shard in lead.shards:
        receipt = finished.get(shard.key)
        if receipt is None:
            arrays = _aligned(readers[0], others, shard)
            with store.staging() as staging:
                path = state_file(lead.run_id, f"{stage}/{shard.key}.npz")
                save_arrays(staging.path(path), arrays)
                receipt = store.commit(staging, stage, shard.key, {"n_aligned": len(arrays["unit_0"])})
            progress.advance(1)
        n_aligned += receipt.facts["n_aligned"]
    counts = AlignmentCounts(n_aligned, tuple(sum(len(r.units[s].rows) for s in r.member.plan.shards) for r in readers))
    if n_aligned < 2:
        raise CorpusError(
            f"{counts.describe(members)}; a correlation needs two words: give models whose corpora share documents, "
            "sentences and words by name"
        )
    progress.finish(counts.describe(members))
    return alignment, counts


def _aligned(lead: MemberReader, others: Sequence[_WordIndex], shard: ShardPlan) -> dict[str, Ints]:
    """Arrays ``shard_m``, ``unit_m`` of every member m over the words of the leader's shard that all have."""
    words = lead.units[shard].words
    found = [other.find(words, shard) for other in others]
    kept = np.all([unit >= 0 for _, unit in found], axis=0) & (words >= 0)
    units = np.flatnonzero(kept)
    arrays = {"shard_0": np.full(len(units), lead.member.plan.shards.index(shard)), "unit_0": units}
    for number, (shards, unit) in enumerate(found, 1):
        arrays |= {f"shard_{number}": shards[kept], f"unit_{number}": unit[kept]}
    return arrays


class _WordIndex:
    """Where a member has a word of the leading member's store."""

    def __init__(self, reader: MemberReader, lead: Store) -> None:
        self.reader = reader
        self._numbers = [
            number for number, shard in enumerate(reader.member.plan.shards) if len(reader.units[shard].words)
        ]
        self._first = np.array([reader.units[reader.member.plan.shards[n]].words[0] for n in self._numbers], np.int64)
        self._other = None if reader.store.url == lead.url else _SameWords(lead, reader.store)

    def find(self, words: Ints, shard: ShardPlan) -> tuple[Ints, Ints]:
        """Numbers of shard and unit of each word (U,) of the leader's ``shard``; unit −1 where there is none."""
        own = words if self._other is None else self._other.translate(words, shard.shard)
        place = np.searchsorted(self._first, own, side="right") - 1
        shards, units = np.zeros(len(words), np.int64), np.full(len(words), -1, np.int64)
        for at in np.unique(place[(place >= 0) & (own >= 0)]).tolist():
            number = self._numbers[at]
            known = self.reader.units[self.reader.member.plan.shards[number]].words
            here = np.flatnonzero(place == at)
            unit = np.minimum(np.searchsorted(known, own[here]), len(known) - 1)
            is_known = known[unit] == own[here]
            shards[here[is_known]], units[here[is_known]] = number, unit[is_known]
        return shards, units


class _SameWords:
    """Word numbers of one store to those of another one, by names and characters."""

    def __init__(self, lead: Store, other: Store) -> None:
        self.lead, self.other = lead, other
        self._names = {id(store): _documents(store) for store in (lead, other)}
        known = self._names[id(other)]
        self._numbers = pd.Series(known.index, index=known.to_numpy())
        spans = {
            int(entry.shard or 0): other.read_table([entry], ["document_id"])["document_id"].to_numpy()
            for entry in other.files("sentences")
        }
        self._spans = {shard: (ids.min(), ids.max()) for shard, ids in spans.items() if len(ids)}

    def translate(self, words: Ints, shard: int) -> Ints:
        """The other store's numbers (U,) of ``words`` of the leader's shard; −1 where it has no such word."""
        wanted = self._words(self.lead, shard)
        ids = self._numbers.reindex(wanted["document"].unique()).dropna().to_numpy()
        shards = [s for s, (low, high) in self._spans.items() if ((ids >= low) & (ids <= high)).any()]
        if not shards:
            return np.full(len(words), -1, np.int64)
        there: pd.DataFrame = pd.concat([self._words(self.other, number) for number in shards]).drop_duplicates(_SAME)
        pairs = wanted.drop_duplicates(_SAME).merge(there, on=_SAME, suffixes=("", "_there"))
        known = pd.Series(pairs["word_id_there"].to_numpy(), index=pairs["word_id"].to_numpy())
        found: Ints = known.reindex(words).fillna(-1).to_numpy(np.int64)
        return found

    def _words(self, store: Store, shard: int) -> pd.DataFrame:
        """``word_id`` of a shard's words beside what makes a word the same."""
        columns = ["word_id", "sentence_id", "document_id", "start", "end", "word"]
        words: pd.DataFrame = store.read_table(store.files("words", shard=shard), columns).to_pandas()
        names: pd.DataFrame = store.read_table(
            store.files("sentences", shard=shard), ["sentence_id", "sentence"]
        ).to_pandas()
        found = words.merge(names, on="sentence_id")
        found["document"] = self._names[id(store)].reindex(found["document_id"]).to_numpy()
        return found[["word_id", *_SAME]]


def _documents(store: Store) -> pd.Series[str]:
    """Names of a store's documents by number."""
    table = store.read_table(store.files("documents"), ["document_id", "document"]).to_pandas()
    return pd.Series(table["document"].to_numpy(), index=table["document_id"].to_numpy())
