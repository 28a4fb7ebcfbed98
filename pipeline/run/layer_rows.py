"""The counted rows of whole layers, for analyses that need all neurons of a layer at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.run.fold import ActivationFold, Batch, NeuronTask
from pipeline.run.plan_record import Plan
from pipeline.store.store import Store
from pipeline.store.value_columns import Values
from schemas.components import Component

#: Rows that are decoded to float32 together.
_ROWS = 4096


@dataclass(frozen=True)
class LayerTask:
    """All dumped neurons of one component and layer."""

    component: Component
    layer: int
    blocks: tuple[range, ...]
    """The neurons of each of its files."""

    @classmethod
    def of(cls, plan: Plan, component: Component, layer: int) -> LayerTask:
        """The task of a layer of the plan."""
        return cls(component, layer, plan.capture.blocks(component))

    @property
    def key(self) -> str:
        """Receipt key; sorts by component and layer."""
        return f"{self.component}-{self.layer:03d}"

    @property
    def neurons(self) -> npt.NDArray[np.int64]:
        """Numbers of its neurons, ascending, (N,)."""
        return np.concatenate([np.arange(block.start, block.stop) for block in self.blocks])

    @property
    def pieces(self) -> list[NeuronTask]:
        """Its neurons, block by block."""
        return [NeuronTask(self.component, self.layer, block.start, block.stop) for block in self.blocks]


class LayerRows:
    """Passes over the counted rows of one layer, in the order of the shards.

    A pass holds two shards in memory, one of them while it is read. A layer of at most ``n_bytes`` is read once and
    kept.
    """

    def __init__(self, store: Store, plan: Plan, task: LayerTask, n_bytes: int = 0) -> None:
        self._plan = plan
        # one reader each: a compacted file is held until the next one of its block
        self._folds = [(ActivationFold(store, plan), piece) for piece in task.pieces]
        itemsize = 4 if plan.capture.value_dtype == "float32" else 2
        self._may_keep = plan.n_rows * len(task.neurons) * itemsize <= n_bytes
        self._kept: list[tuple[Batch, ...]] | None = None
        self.n_rows = sum(len(self._folds[0][0].counted[shard]) for shard in plan.shards)

    def blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """A pass: values (N, T) in blocks of a few thousand rows."""
        for batches in self._shards():
            n_rows = len(batches[0].selected)
            for first in range(0, n_rows, _ROWS):
                yield np.concatenate([_values(batch, slice(first, first + _ROWS)) for batch in batches])

    def row_ids(self) -> Iterator[npt.NDArray[np.int64]]:
        """Row ids of the same rows, shard by shard."""
        counted = self._folds[0][0].counted
        for shard in self._plan.shards:
            yield counted[shard] + shard.first_row

    def _shards(self) -> Iterator[tuple[Batch, ...]]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[tuple[Batch, ...]] = []
        for batches in zip(*(fold.batches(piece) for fold, piece in self._folds), strict=True):
            if self._may_keep:
                kept.append(batches)
            yield batches
        if self._may_keep:
            self._kept = kept


def _values(batch: Batch, rows: slice) -> npt.NDArray[np.float32]:
    bits: Values = batch.bits[:, rows].copy()
    return replace(batch, bits=bits).values()
