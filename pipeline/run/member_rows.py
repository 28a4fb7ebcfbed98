"""The rows of one model among those that are correlated: counted rows as they were dumped, or pooled to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.run.fold import ActivationFold, Batch, NeuronTask, ShardCache
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.run.search_rows import RowRule, unit_starts
from pipeline.store.store import Store
from schemas.errors import ConfigError


@dataclass(frozen=True)
class Member:
    """One model of a correlation: where it is, and what a row of it is."""

    store_url: str
    plan: Plan
    rule: RowRule

    @classmethod
    def alone(cls, store: Store, plan: Plan) -> Member:
        """A model by itself: every counted row of the dump."""
        return cls(store.url, plan, RowRule.as_dumped(plan))

    @classmethod
    def of_words(cls, store: Store, plan: Plan) -> Member:
        """A model beside others: a row is a word, by its last token where tokens were dumped.

        Raises :class:`ConfigError` where sentences were dumped, which have no words.
        """
        if plan.capture.unit == "sentence":
            raise ConfigError(
                f"model {plan.model!r}: its rows are sentences, and models are aligned word by word; "
                "dump it with `unit: token` or `word`"
            )
        return cls(store.url, plan, RowRule("word", "last" if plan.capture.unit == "token" else None))

    @property
    def identity(self) -> list[Any]:
        """What decides its rows and values, for fingerprints."""
        return [self.plan.run_id, self.rule.unit, self.rule.pooling]


@dataclass(frozen=True, eq=False)
class Units:
    """The units of one shard: ``rows`` (U,) is the row in the shard that stands for each, ``words`` (U,) its word."""

    rows: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]


class MemberReader:
    """Reads rows of one member."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.store = Store.open(member.store_url).pinned()
        self._fold = ActivationFold(self.store, member.plan)
        self.units = ShardCache(self._units)

    def values(
        self, task: NeuronTask, shard: ShardPlan, units: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.float32]:
        """float32 (n, U) of a task's neurons over the ``units`` of a shard, all by default."""
        rows = self.units[shard].rows
        rows = rows if units is None else rows[units]
        if not len(rows):
            return np.empty((len(task.neurons), 0), np.float32)
        bits = self._fold.read(task, shard)
        chosen = bits if len(rows) == shard.n_rows else bits.take(rows, axis=1)
        whole = chosen if chosen.flags.c_contiguous else chosen.copy()
        return Batch(shard, whole, rows, self.member.plan.capture.value_dtype).values()

    def gather(
        self, task: NeuronTask, places: Sequence[tuple[ShardPlan, npt.NDArray[np.int64] | None]]
    ) -> npt.NDArray[np.float32]:
        """:meth:`values` of units of several shards, one after the other."""
        parts = [self.values(task, *place) for place in places]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _units(self, shard: ShardPlan) -> Units:
        files = self.store.files("rows", self.member.plan.row_space, shard=shard.shard)
        table = self.store.read_table(files, ["word_id", "is_counted"])
        counted = np.flatnonzero(table["is_counted"].to_numpy())
        words = table["word_id"].fill_null(-1).to_numpy()[counted]
        if self.member.rule.pooling is None:
            return Units(counted, words)
        starts = unit_starts(words, "word")
        return Units(counted[np.append(starts[1:], len(counted)) - 1] if len(counted) else counted, words[starts])
