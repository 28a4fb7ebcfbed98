"""The rows of one model among those that are correlated: counted rows as they were dumped, or pooled to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.run.fold import ActivationFold, NeuronTask, ShardCache
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.run.search_rows import RowRule, unit_starts
from pipeline.stats.cross_kernel import centre, decode, decode_centred
from pipeline.stats.moments_kernel import BFLOAT16, FLOAT16, FLOATS
from pipeline.stats.threads import over_neurons
from pipeline.store.store import Store
from pipeline.store.value_columns import Values
from schemas.config import ValueDtype
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


#: Some units of one shard; None for all of them.
Place = tuple[ShardPlan, npt.NDArray[np.int64] | None]


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Values of n neurons over U units, as they are stored; what is asked for becomes float32, not all at once."""

    n_neurons: int
    dtype: ValueDtype
    parts: list[tuple[Values, npt.NDArray[np.int64]]]
    """Of each shard: (n, T) stored values, and the rows among them that stand for the units."""

    @property
    def n_units(self) -> int:
        """U."""
        return sum(len(rows) for _, rows in self.parts)

    def take(self, units: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """float32 (n, u) of some of the units, in their order."""
        made = np.empty((self.n_neurons, len(units)), np.float32)
        self.decode(units, made)
        return made

    def decode(self, units: npt.NDArray[np.int64], out: npt.NDArray[Any], threads: int = 1) -> None:
        """Values of some of the units into ``out[:, :u]`` (n, ≥ u), float32 or float64."""
        if len(self.parts) == 1:
            stored, rows = self.parts[0]
            self._decode(stored, rows[units], out, threads)
            return
        first = 0
        for stored, rows in self.parts:
            here = np.flatnonzero((units >= first) & (units < first + len(rows)))
            some = np.empty((self.n_neurons, len(here)), out.dtype)
            self._decode(stored, rows[units[here] - first], some, threads)
            out[:, here] = some
            first += len(rows)

    def centre(
        self, units: npt.NDArray[np.int64], out: npt.NDArray[Any], facts: npt.NDArray[np.float64], threads: int = 1
    ) -> None:
        """Values of some of the units into ``out[:, :u]`` less their means, which ``facts`` (n, 4) has."""
        if len(self.parts) == 1:
            stored, rows = self.parts[0]
            values, kind, chosen = *self._bits(stored), rows[units]
            over_neurons(lambda a, b: decode_centred(a, b, values, kind, chosen, out, facts), self.n_neurons, threads)
            return
        self.decode(units, out, threads)
        over_neurons(lambda a, b: centre(a, b, len(units), out, out, facts), self.n_neurons, threads)

    def _decode(self, stored: Values, rows: npt.NDArray[np.int64], out: npt.NDArray[Any], threads: int) -> None:
        values, kind = self._bits(stored)
        over_neurons(lambda a, b: decode(a, b, values, kind, rows, out), self.n_neurons, threads)

    def _bits(self, stored: Values) -> tuple[npt.NDArray[Any], int]:
        """What kernels take: values, and what they are."""
        kind = {"float16": FLOAT16, "bfloat16": BFLOAT16}.get(self.dtype, FLOATS)
        return stored.view(np.float32 if kind == FLOATS else np.uint16), kind


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

    def stored(self, task: NeuronTask, places: Sequence[Place]) -> StoredRows:
        """A task's neurons over units of several shards, one after the other; a place without units means all."""
        parts = []
        for shard, units in places:
            rows = self.units[shard].rows
            rows = rows if units is None else rows[units]
            if len(rows):
                parts.append((self._fold.read(task, shard), rows))
        return StoredRows(len(task.neurons), self.member.plan.capture.value_dtype, parts)

    def _units(self, shard: ShardPlan) -> Units:
        files = self.store.files("rows", self.member.plan.row_space, shard=shard.shard)
        table = self.store.read_table(files, ["word_id", "is_counted"])
        counted = np.flatnonzero(table["is_counted"].to_numpy())
        words = table["word_id"].fill_null(-1).to_numpy()[counted]
        if self.member.rule.pooling is None:
            return Units(counted, words)
        starts = unit_starts(words, "word")
        return Units(counted[np.append(starts[1:], len(counted)) - 1] if len(counted) else counted, words[starts])
