"""Co-moments of all pairs of neurons, tile by tile: the fold behind clusters, partners and similarities of layers.

A task is a tile, the co-moments of one block of neurons with another over all rows; of a block with itself, half of
them. Tiles stay in the store under a stage that is named by what decides them, so whatever else is made of them reads
no activation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.correlate.shuffled_blocks import null_rows
from pipeline.run.alignment import Alignment
from pipeline.run.array_file import open_arrays, save_arrays
from pipeline.run.fold import fold_tasks, kernel_threads
from pipeline.run.member_rows import Member, MemberReader, StoredRows
from pipeline.run.neuron_blocks import NeuronAxis, NeuronBlock
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.run.progress import Progress
from pipeline.run.work import Executor
from pipeline.stats.cross_moments import CHUNK, Centred, CrossMoments, HostProducts, Precision, cut_evenly
from pipeline.store.paths import state_file
from pipeline.store.receipts import Receipt
from pipeline.store.store import Store
from schemas.fingerprints import fingerprint

if TYPE_CHECKING:
    from pipeline.stats.device_products import DeviceProducts

#: Raised whenever the same activations would give other co-moments.
VERSION = 2
#: Neurons of a block at most: tiles of more take memory and gain nothing.
MAX_BLOCK = 3072
#: Bytes of the rows that a worker reads for a tile, as they are stored and in pieces: less makes smaller tiles, which
#: read the store more often.
ROWS_BYTES = 3 * 2**29

#: Device and arithmetic of products.
Place = tuple[Literal["cpu", "cuda"], Literal["float32", "bf16x3", "tf32"]]
T = TypeVar("T")


@dataclass(frozen=True)
class TileTask:
    """The tile of block ``row`` with block ``column``, row ≤ column."""

    row: int
    column: int
    n_pairs: int

    @property
    def key(self) -> str:
        """Receipt key."""
        return f"{self.row:04d}-{self.column:04d}"

    @property
    def neurons(self) -> range:
        """As many as it has pairs of neurons, which is what progress counts."""
        return range(self.n_pairs)


@dataclass(frozen=True)
class TileJob:
    """Recipe of a worker; picklable. ``members[0]`` leads: batches are cut by its shards."""

    store_url: str
    stage: str
    members: tuple[Member, ...]
    blocks: tuple[NeuronBlock, ...]
    alignment: Alignment
    precision: Precision
    null: int | None
    """Seed: co-moments of different members with the rows of the second shuffled too."""
    place: Place = ("cpu", "float32")

    @property
    def shards(self) -> tuple[ShardPlan, ...]:
        """The leader's."""
        return self.members[0].plan.shards

    def open(self) -> TileWorker:
        """Make the worker."""
        return TileWorker(Store.open(self.store_url).pinned(), self)


class TileWorker:
    """Folds one tile after the other."""

    def __init__(self, store: Store, job: TileJob) -> None:
        self.store = store
        self.job = job
        self.readers = [MemberReader(member) for member in job.members]
        self.threads = kernel_threads(job.members[0].plan.config)

    def process(self, task: TileTask, attempt: int) -> dict[str, Any]:
        """Write the tile."""
        job = self.job
        row, column = job.blocks[task.row], job.blocks[task.column]
        is_one = task.row == task.column
        state = CrossMoments.empty(row.n_neurons, None if is_one else column.n_neurons, job.precision)
        has_null = job.null is not None and row.member != column.member
        null = CrossMoments.empty(row.n_neurons, column.n_neurons, job.precision) if has_null else None
        products = self._products(state)
        null_products = None if null is None else self._products(null)
        for parts in self._centred([row] if is_one else [row, column], has_null):
            products.add_centred(parts[0], parts[0] if is_one else parts[1])
            if null_products is not None:
                null_products.add_centred(parts[0], parts[2])
        products.finish()
        if null_products is not None:
            null_products.finish()
        with self.store.staging() as staging:
            path = state_file(job.members[0].plan.run_id, f"{job.stage}/{task.key}.npz")
            _save(staging.path(path), state, null)
            self.store.commit(staging, job.stage, task.key, {"attempt": attempt})
        return {"n_rows": state.n_rows}

    def _products(self, state: CrossMoments) -> HostProducts | DeviceProducts:
        device, arithmetic = self.job.place
        if device == "cpu":
            return HostProducts(state, self.threads)
        from pipeline.stats.device_products import DeviceProducts  # noqa: PLC0415 - torch, for those who ask for it

        return DeviceProducts(state, device, arithmetic)

    def _centred(self, blocks: Sequence[NeuronBlock], has_null: bool) -> Iterator[list[Centred]]:
        """The blocks' next rows, centred, then those of the null; the next shard is read meanwhile.

        Up to :data:`CHUNK` rows, in the same memory again and again.
        """
        sizes = [block.n_neurons for block in [*blocks, *(blocks[-1:] if has_null else [])]]
        chunk = [np.empty((n, CHUNK), self.job.precision) for n in sizes]
        for shard, stored in read_ahead(self._stored(blocks)):
            n_units = stored[0][0].n_units
            orders = [np.arange(n_units)] * len(blocks) + [null_order(n_units, self.job.null, shard)] * has_null
            sources = [*stored, *(stored[-1:] if has_null else [])]
            for part in cut_evenly(n_units, CHUNK):
                yield [
                    self._centre(pieces, order[part], made)
                    for pieces, order, made in zip(sources, orders, chunk, strict=True)
                ]

    def _centre(self, pieces: Sequence[StoredRows], units: npt.NDArray[np.int64], made: npt.NDArray[Any]) -> Centred:
        facts = np.empty((len(made), 4))
        top = 0
        for piece in pieces:
            here = slice(top, top + piece.n_neurons)
            piece.centre(units, made[here], facts[here], self.threads)
            top += piece.n_neurons
        values = made[:, : len(units)]
        return Centred.of(values, facts, values)

    def _stored(self, blocks: Sequence[NeuronBlock]) -> Iterator[tuple[ShardPlan, list[list[StoredRows]]]]:
        """The pieces of each block in the rows of one of the leader's shards after the other."""
        for shard in self.job.shards:
            places = self.job.alignment.places(self.store, shard)
            yield (
                shard,
                [
                    [self.readers[block.member].stored(piece, places[block.member]) for piece in block.pieces]
                    for block in blocks
                ],
            )


def null_order(n_rows: int, seed: int | None, shard: ShardPlan) -> npt.NDArray[np.int64]:
    """The rows of a shard as the null takes them; two blocks at least, so that none stays."""
    return null_rows(n_rows, np.random.default_rng([seed or 0, shard.shard]))


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; the next one is made on a thread while one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="tile-read") as ahead:
        coming = ahead.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = ahead.submit(next, items, None)
            yield item


def _save(path: Any, state: CrossMoments, null: CrossMoments | None) -> None:
    """The same co-moments give the same bytes; in the precision of the products, which has all their digits."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "n_rows": np.asarray(state.n_rows),
        "mean_a": state.mean_a,
        "mean_b": state.mean_b,
        "m2_a": state.m2_a,
        "m2_b": state.m2_b,
        "comoment": state.whole().astype(state.precision),
    }
    if null is not None:
        arrays["null"] = null.comoment.astype(state.precision)
    save_arrays(path, arrays)


def tile_tasks(blocks: Sequence[NeuronBlock], pairs: Sequence[tuple[int, int]]) -> list[TileTask]:
    """The tiles, the costly ones first so that workers end together."""
    tasks = [TileTask(a, b, blocks[a].n_neurons * blocks[b].n_neurons // (1 + (a == b))) for a, b in pairs]
    return sorted(tasks, key=lambda task: (-task.n_pairs, task.key))


def block_size(plans: Sequence[Plan], memory_mb: int) -> int:
    """Neurons of a block: so many that a worker's tile fits ``memory_mb``, and the rows it reads :data:`ROWS_BYTES`."""
    longest = max((shard.n_rows for plan in plans for shard in plan.shards), default=0)
    itemsize = 4 if any(plan.capture.value_dtype == "float32" for plan in plans) else 2
    # of two blocks: a shard as it is stored, and the next one; and a chunk of both and of a null
    per_neuron = 2 * 2 * itemsize * longest + 3 * 4 * CHUNK
    tile = math.isqrt(memory_mb * 2**20 // 12)  # float64, beside a float32 product
    return max(16, min(MAX_BLOCK, tile, ROWS_BYTES // per_neuron))


@dataclass(frozen=True, eq=False)
class MomentTiles:
    """Finished tiles: co-moments of any neurons with any others."""

    store: Store
    axis: NeuronAxis
    receipts: dict[tuple[int, int], Receipt]
    precision: Precision
    n_rows: int
    mean: npt.NDArray[np.float64]
    """Of every neuron (N,)."""
    m2: npt.NDArray[np.float64]
    """Σ(x − mean)² of every neuron (N,)."""

    def tile(self, row: int, column: int, name: str = "comoment") -> npt.NDArray[Any]:
        """Co-moments of block ``row`` with block ``column``; ``name`` "null" for those of shuffled rows."""
        if (row, column) not in self.receipts:
            return self.tile(column, row, name).T
        with open_arrays(self.store, self.receipts[row, column].files[0].path) as file:
            found: npt.NDArray[Any] = file[name]
            return found

    def co_moments(self, rows: range, columns: range, name: str = "comoment") -> npt.NDArray[np.float64]:
        """Σ(a − ā)(b − b̄) (n, m), float64, of two ranges of neurons."""
        made = np.empty((len(rows), len(columns)))
        for i, of_row in enumerate(self.axis.ranges):
            for j, of_column in enumerate(self.axis.ranges):
                a, b = _overlap(of_row, rows), _overlap(of_column, columns)
                if a and b:
                    made[_inside(a, rows), _inside(b, columns)] = self.tile(i, j, name)[
                        _inside(a, of_row), _inside(b, of_column)
                    ]
        return made


def _inside(part: range, whole: range) -> slice:
    """Where ``part`` lies in ``whole``."""
    return slice(part.start - whole.start, part.stop - whole.start)


def _overlap(a: range, b: range) -> range:
    return range(max(a.start, b.start), min(a.stop, b.stop))


def tiles_stage(
    members: Sequence[Member],
    blocks: Sequence[NeuronBlock],
    alignment: Alignment,
    precision: Precision,
    null: int | None,
    place: Place = ("cpu", "float32"),
) -> str:
    """Stage name of the receipts, by everything that decides a tile."""
    digest = fingerprint(
        kind="co-moments",
        version=VERSION,
        members=[member.identity for member in members],
        alignment=alignment.stage,
        blocks=[block.identity for block in blocks],
        precision=precision,
        null=null,
        **({} if place[0] == "cpu" else {"place": place}),
    )
    return f"tiles-{members[0].plan.run_id}-{digest[:12]}"


def fold_tiles(
    store: Store, executor: Executor, progress: Progress, job: TileJob, pairs: Sequence[tuple[int, int]]
) -> MomentTiles:
    """Fold the tiles of these pairs of blocks, each block's own among them; those that are there stay.

    Raises :class:`~schemas.errors.ConfigError` where workers of this machine should have a GPU and there is none.
    """
    if job.place[0] == "cuda" and job.members[0].plan.config.executor.kind == "local":
        from pipeline.stats.device_products import require_device  # noqa: PLC0415 - torch, for those who ask for it

        require_device(job.place[0])
    tasks = tile_tasks(job.blocks, pairs)
    receipts = fold_tasks("co-moments", job.stage, store, executor, progress, job, tasks, "pairs")
    n_pairs = sum(task.n_pairs for task in tasks)
    progress.finish(f"{n_pairs:,} pairs of neurons")
    found = {(task.row, task.column): receipt for task, receipt in zip(tasks, receipts, strict=True)}
    mean, m2, n_rows = [], [], 0
    for number in range(len(job.blocks)):
        with open_arrays(store, found[number, number].files[0].path) as file:
            mean.append(file["mean_a"])
            m2.append(file["m2_a"])
            n_rows = int(file["n_rows"])
    axis = NeuronAxis(job.blocks)
    return MomentTiles(store, axis, found, job.precision, n_rows, np.concatenate(mean), np.concatenate(m2))
