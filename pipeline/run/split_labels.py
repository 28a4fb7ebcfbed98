"""Labels by split: the counted rows of a shard that are selected on (`train`) and re-measured on (`test`), or all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.run.labelling import ConceptSet
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.store.store import Store
from schemas.amounts import counted

SplitName = Literal["train", "test", "all"]


@dataclass(frozen=True, eq=False)
class ShardLabels:
    """Counted rows and labels of one shard, per split: which of the counted rows, and the concepts they carry."""

    rows: dict[str, npt.NDArray[np.int64]]
    labels: dict[str, LabelMatrix]
    n_named: int
    """Counted rows that are in some split."""


class SplitLabels:
    """Labels of a shard by split, over its counted rows."""

    def __init__(self, store: Store, plan: Plan, labels: str, concepts: tuple[str, ...]) -> None:
        self.store = store
        self.plan = plan
        self.labels = store.receipts(labels)
        self.concepts = {name: index for index, name in enumerate(concepts)}

    def load(self, shard: ShardPlan) -> ShardLabels:
        """Read one shard's rows and labels."""
        where = {"shard": shard.shard}
        rows = self.store.read_table(self.store.files("rows", self.plan.row_space, **where), ["split", "is_counted"])
        counted = np.flatnonzero(rows["is_counted"].to_numpy())
        split = np.asarray(rows["split"].to_pylist(), dtype=object)[counted]
        place = np.full(shard.n_rows, -1, np.int64)
        place[counted] = np.arange(len(counted))
        labels = self.store.read_table(self.labels[shard.key].files)
        concept = labels["concept"].combine_chunks()
        known = np.array([self.concepts.get(name, -1) for name in concept.dictionary.to_pylist()], np.int64)
        index = known[concept.indices.to_numpy()] if len(labels) else np.zeros(0, np.int64)
        kept = index >= 0
        row = place[labels["row_id"].to_numpy()[kept] - shard.first_row]
        every = LabelMatrix.from_pairs(row, index[kept], len(counted), len(self.concepts))
        masks = {"train": split == "train", "test": split == "test", "all": np.ones(len(counted), np.bool_)}
        return ShardLabels(
            {name: np.flatnonzero(mask) for name, mask in masks.items()},
            {name: every.select_rows(mask) for name, mask in masks.items()},
            int(sum(name is not None for name in split)),
        )


@dataclass(frozen=True, eq=False)
class Positives:
    """Positive rows per concept (C,) of each split that is used: `train` and `test`, or `all` without a train split."""

    splits: dict[SplitName, npt.NDArray[np.int64]]
    remark: str
    """What a user should know of rows that don't count, or count though they are called dev or test."""

    @property
    def selection(self) -> npt.NDArray[np.int64]:
        """Counts on the rows that neurons are selected on."""
        return self.splits["train"] if "train" in self.splits else self.splits["all"]


def count_positives(store: Store, plan: Plan, concept_set: ConceptSet) -> Positives:
    """Count every concept's positive rows per split, one shard in memory at a time."""
    names = concept_set.names
    loader = SplitLabels(store, plan, concept_set.stage, tuple(names))
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
        return Positives({"all": totals["all"]}, remark)
    n_unsplit = n_rows["all"] - n_named
    remark = f"{counted(n_unsplit, 'row')} in no split, not counted" if n_unsplit else ""
    used: list[SplitName] = ["train", "test"] if n_rows["test"] else ["train"]
    return Positives({split: totals[split] for split in used}, remark)
