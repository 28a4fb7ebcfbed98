"""Squared lengths of rows, layer by layer: what the debiased kernel alignment needs beside co-moments.

q of a row in a layer is Σ (x − mean)² over the layer's neurons. A task is a shard of the leading model; it leaves
Σ q and Σ q qᵀ over the layers, which add up over shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.correlate.kernel_alignment import row_norms
from pipeline.run.array_file import open_arrays, save_arrays
from pipeline.run.fold import fold_tasks
from pipeline.run.member_rows import MemberReader
from pipeline.run.moment_tiles import MomentTiles, TileJob, null_order
from pipeline.run.plan_record import ShardPlan
from pipeline.run.progress import Progress
from pipeline.run.work import Executor
from pipeline.stats.single_thread import on_one_thread
from pipeline.store.paths import state_file
from pipeline.store.store import Store

#: Rows that are centred at a time: in float64 they are four times as large as they are stored.
_ROWS = 1024

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RowNorms:
    """Over all rows: ``sums`` (L,) of q, ``products`` (L, L) of q with q, ``null`` with that of the shuffled rows."""

    sums: Floats
    products: Floats
    null: Floats


@dataclass(frozen=True)
class ShardTask:
    """One shard of the leader."""

    shard: ShardPlan

    @property
    def key(self) -> str:
        """Receipt key."""
        return self.shard.key

    @property
    def neurons(self) -> range:
        """As many as it has rows, which is what progress counts."""
        return range(self.shard.n_rows)


@dataclass(frozen=True, eq=False)
class NormJob:
    """Recipe of a worker; picklable."""

    tiles: TileJob
    stage: str
    layers: tuple[tuple[int, str, int], ...]
    mean: Floats
    """Of every neuron of the axis (N,)."""

    def open(self) -> NormWorker:
        """Make the worker."""
        return NormWorker(Store.open(self.tiles.store_url).pinned(), self)


class NormWorker:
    """Folds one shard after the other."""

    def __init__(self, store: Store, job: NormJob) -> None:
        self.store = store
        self.job = job
        self.readers = [MemberReader(member) for member in job.tiles.members]

    def process(self, task: ShardTask, attempt: int) -> dict[str, Any]:
        """Write the sums of one shard."""
        job, tiles = self.job, self.job.tiles
        places = tiles.alignment.places(self.store, task.shard)
        number = {layer: place for place, layer in enumerate(job.layers)}
        n_units = sum(len(self.readers[0].units[shard].rows if units is None else units) for shard, units in places[0])
        q = np.zeros((len(job.layers), n_units))
        first = 0
        for block in tiles.blocks:
            for piece in block.pieces:
                stored = self.readers[block.member].stored(piece, places[block.member])
                mean = job.mean[first : first + stored.n_neurons]
                of_layer = q[number[block.member, piece.component, piece.layer]]
                for at in range(0, n_units, _ROWS):
                    values = stored.take(np.arange(at, min(at + _ROWS, n_units)))
                    of_layer[at : at + _ROWS] += row_norms(values, mean)
                first += stored.n_neurons
        shuffled = q[:, null_order(n_units, tiles.null, task.shard)]
        with on_one_thread():
            arrays = {"sums": q.sum(axis=1), "products": q @ q.T, "null": q @ shuffled.T}
        with self.store.staging() as staging:
            path = state_file(tiles.members[0].plan.run_id, f"{job.stage}/{task.key}.npz")
            save_arrays(staging.path(path), arrays)
            self.store.commit(staging, job.stage, task.key, {"attempt": attempt})
        return {"n_rows": n_units}


def norms_stage(tiles_stage: str) -> str:
    """Stage name of the receipts that go with those of the tiles."""
    return f"norms-{tiles_stage.removeprefix('tiles-')}"


def fold_norms(store: Store, executor: Executor, progress: Progress, job: TileJob, tiles: MomentTiles) -> RowNorms:
    """Sums over all rows; shards that are there stay."""
    stage = norms_stage(job.stage)
    recipe = NormJob(job, stage, tuple(tiles.axis.layers), tiles.mean)
    tasks = [ShardTask(shard) for shard in job.shards]
    receipts = fold_tasks("row norms", stage, store, executor, progress, recipe, tasks, "rows")
    progress.finish(f"{tiles.n_rows:,} rows")
    return _total(store, [receipt.files[0].path for receipt in receipts], len(recipe.layers))


def _total(store: Store, paths: Sequence[str], n_layers: int) -> RowNorms:
    total = RowNorms(np.zeros(n_layers), np.zeros((n_layers, n_layers)), np.zeros((n_layers, n_layers)))
    for path in paths:
        with open_arrays(store, path) as file:
            for name in ("sums", "products", "null"):
                np.add(getattr(total, name), file[name], out=getattr(total, name))
    return total
