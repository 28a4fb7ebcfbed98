"""The rows of a search: counted rows or units pooled of them, selected on (`train`) and re-measured on (`test`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.run.labelling import ConceptSet
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.config import Pooling, Unit
from schemas.errors import ConfigError, IntegrityError

SplitName = Literal["train", "test", "all"]


@dataclass(frozen=True)
class RowRule:
    """What one row of a search is: a counted row of the dump, or several of them pooled; and whose labels it has."""

    unit: Unit
    """Unit of the search."""
    pooling: Pooling | None
    """How the dump's rows of a unit become one: ``last``, ``first``, ``max`` or ``mean``; None: they are units."""
    shuffle: int | None = None
    """Seed of a permutation of the labels inside each sentence: what scores come to without any relation."""

    @classmethod
    def as_dumped(cls, plan: Plan) -> RowRule:
        """Every counted row of the dump is one."""
        return cls(plan.capture.unit, None)

    @classmethod
    def of(cls, plan: Plan) -> RowRule:
        """The rule of the plan's settings; :class:`ConfigError` where the dump has no such rows."""
        unit, pooling = plan.config.search.unit or plan.capture.unit, plan.config.search.pooling
        if unit == "sentence" and plan.config.search.null is not None:
            raise ConfigError("search.null: labels are shuffled inside sentences, and here each one is a single row")
        if unit == plan.capture.unit:
            if pooling is not None:
                raise ConfigError(f"search.pooling: rows are {unit}s already; give search.unit too, or leave it out")
            return cls(unit, None)
        if _UNITS.index(unit) < _UNITS.index(plan.capture.unit):
            raise ConfigError(f"search.unit: {plan.capture.unit}s were dumped, which have no {unit}s any more")
        return cls(unit, pooling or _DEFAULT_POOLING[unit])

    def pool(self, values: npt.NDArray[Any], starts: npt.NDArray[np.int64] | None) -> npt.NDArray[Any]:
        """(n, T) codes or float32 of counted rows to (n, U) of units, each from one of ``starts`` to the next.

        A mean is float32, of values summed in float64; the others choose one of the values.
        """
        if starts is None or self.pooling is None:
            return values
        stops = np.append(starts[1:], values.shape[1])
        if self.pooling == "mean":
            sums = np.add.reduceat(values, starts, axis=1, dtype=np.float64)
            return (sums / (stops - starts)).astype(np.float32)
        if self.pooling == "max":
            return np.maximum.reduceat(values, starts, axis=1)
        return np.take(values, starts if self.pooling == "first" else stops - 1, axis=1)

    def is_float32(self, value_dtype: str) -> bool:
        """Whether rows of a dump with ``value_dtype`` come to values that have no 16-bit codes."""
        return value_dtype == "float32" or self.pooling == "mean"

    def shuffled(self, labels: LabelMatrix, sentences: npt.NDArray[np.int64]) -> LabelMatrix:
        """``labels`` with the rows of each sentence permuted; ``sentences`` (T,) ascending."""
        if self.shuffle is None:
            return labels
        # drawn per shard from its first sentence on, so that retries and other executors draw the same
        first = int(sentences[0]) if len(sentences) else 0
        noise = np.random.default_rng([self.shuffle, first]).random(len(sentences))
        place = np.lexsort((noise, sentences))
        return LabelMatrix.from_pairs(place[labels.rows], labels.concepts, labels.n_rows, labels.n_concepts)


_UNITS: tuple[Unit, ...] = ("token", "word", "sentence")
_DEFAULT_POOLING: dict[Unit, Pooling] = {"word": "last", "sentence": "max"}


@dataclass(frozen=True, eq=False)
class ShardLabels:
    """Rows and labels of one shard, per split: which of the shard's rows (units), and the concepts they carry."""

    rows: dict[str, npt.NDArray[np.int64]]
    labels: dict[str, LabelMatrix]
    n_named: int
    """Rows that are in some split."""
    starts: npt.NDArray[np.int64] | None
    """First counted row of each unit; None where every counted row is one."""


class SplitLabels:
    """Labels of a shard by split, over the rows that a rule makes of its counted rows."""

    def __init__(self, store: Store, plan: Plan, labels: str, concepts: tuple[str, ...], rule: RowRule) -> None:
        self.store = store
        self.plan = plan
        self.rule = rule
        self.labels = store.receipts(labels)
        self.concepts = {name: index for index, name in enumerate(concepts)}

    def splits(self, shard: ShardPlan) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]:
        """Numbers of one shard's counted rows, and the split that each is in."""
        rows, counted = self._rows(shard, ["split"])
        return counted, _strings(rows["split"])[counted]

    def _rows(self, shard: ShardPlan, columns: list[str]) -> tuple[Any, npt.NDArray[np.int64]]:
        """These columns of one shard's rows, and the numbers of the counted ones."""
        files = self.store.files("rows", self.plan.row_space, shard=shard.shard)
        rows = self.store.read_table(files, [*columns, "is_counted"])
        return rows, np.flatnonzero(rows["is_counted"].to_numpy())

    def load(self, shard: ShardPlan) -> ShardLabels:
        """Read one shard's rows and labels."""
        rows, counted = self._rows(shard, ["split", "sentence_id", "word_id"])
        sentence = rows["sentence_id"].to_numpy()[counted]
        starts, unit = self._units(rows, counted)
        place = np.full(shard.n_rows, -1, np.int64)
        place[counted] = unit
        labels = self.store.read_table(self.labels[shard.key].files)
        concept = labels["concept"].combine_chunks()
        known = np.array([self.concepts.get(name, -1) for name in concept.dictionary.to_pylist()], np.int64)
        index = known[concept.indices.to_numpy()] if len(labels) else np.zeros(0, np.int64)
        kept = index >= 0
        row = place[labels["row_id"].to_numpy()[kept] - shard.first_row]
        first = np.arange(len(counted)) if starts is None else starts
        every = LabelMatrix.from_pairs(row, index[kept], len(first), len(self.concepts))
        every = self.rule.shuffled(every, sentence[first])
        split = _strings(rows["split"])[counted[first]]
        is_named = split != ""
        masks = {"train": split == "train", "test": split == "test", "all": np.ones(len(first), np.bool_)}
        return ShardLabels(
            {name: np.flatnonzero(mask) for name, mask in masks.items()},
            {name: every.select_rows(mask) for name, mask in masks.items()},
            int(is_named.sum()),
            starts,
        )

    def _units(
        self, rows: Any, counted: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.int64]]:
        """First counted row of each unit (None: all), and the unit of every counted row."""
        if self.rule.pooling is None:
            return None, np.arange(len(counted))
        of = rows[f"{self.rule.unit}_id"].fill_null(-1).to_numpy()[counted]
        starts = unit_starts(of, self.rule.unit)
        return starts, np.searchsorted(starts, np.arange(len(of)), side="right") - 1


def unit_starts(of: npt.NDArray[np.int64], unit: Unit) -> npt.NDArray[np.int64]:
    """First row of each unit, ``of`` being the unit of every row."""
    if (np.diff(of) < 0).any():
        raise IntegrityError(f"rows of a {unit} do not stand together; `neuronmill verify` says where")
    return np.flatnonzero(np.diff(of, prepend=-2) != 0)


def _strings(column: Any) -> npt.NDArray[np.str_]:
    """An Arrow column of few different strings; null is empty."""
    encoded = column.combine_chunks().dictionary_encode()
    names = np.array([*encoded.dictionary.to_pylist(), ""], np.str_)
    indices: npt.NDArray[np.int64] = encoded.indices.fill_null(len(names) - 1).to_numpy()
    return names[indices]


@dataclass(frozen=True, eq=False)
class Positives:
    """Positive rows per concept (C,) of each split that is used: `train` and `test`, or `all` without a train split."""

    splits: dict[SplitName, npt.NDArray[np.int64]]
    n_rows: dict[SplitName, int]
    """All rows of each of them."""
    remark: str
    """What a user should know of rows that don't count, or count though they are called dev or test."""

    @property
    def selection(self) -> npt.NDArray[np.int64]:
        """Counts on the rows that neurons are selected on."""
        return self.splits["train"] if "train" in self.splits else self.splits["all"]


def count_positives(store: Store, plan: Plan, concept_set: ConceptSet, rule: RowRule) -> Positives:
    """Count every concept's positive rows per split, one shard in memory at a time."""
    names = concept_set.names
    loader = SplitLabels(store, plan, concept_set.stage, tuple(names), rule)
    every: tuple[SplitName, ...] = ("train", "test", "all")
    totals = {split: np.zeros(len(names), np.int64) for split in every}
    n_rows = dict.fromkeys(every, 0)
    n_named = 0
    for shard in plan.shards:
        found = loader.load(shard)
        for split in every:
            totals[split] += found.labels[split].counts
            n_rows[split] += len(found.rows[split])
        n_named += found.n_named
    if not n_rows["train"]:
        remark = f"no train split: all {n_rows['all']:,} rows are selected on, dev and test included" if n_named else ""
        return Positives({"all": totals["all"]}, {"all": n_rows["all"]}, remark)
    n_unsplit = n_rows["all"] - n_named
    remark = f"{counted(n_unsplit, 'row')} in no split, not counted" if n_unsplit else ""
    used: list[SplitName] = ["train", "test"] if n_rows["test"] else ["train"]
    return Positives({split: totals[split] for split in used}, {split: n_rows[split] for split in used}, remark)
