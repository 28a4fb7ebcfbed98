"""Folds over activations: the tasks, and the batches of counted rows that a worker feeds to the states.

A task is a range of neurons of one (component, layer) over all shards, so its states are whole when it ends and nothing
has to be merged across processes; its size follows from the memory a neuron's states take. Rows that are not counted
(special tokens, tokens without a word) never reach a state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.run.cores import usable_cores
from pipeline.run.dump_files import Series, missing_shards
from pipeline.run.failures import FailureLog
from pipeline.run.heap import keep_freed_memory
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.run.progress import Progress
from pipeline.run.series_reader import SeriesReader
from pipeline.run.work import Executor, Job, Outcome, Task, Worker, run_tasks
from pipeline.stats.codes import bits_to_float32, encode_codes
from pipeline.store.receipts import Receipt
from pipeline.store.store import Store
from pipeline.store.value_columns import Values
from schemas.amounts import counted
from schemas.components import Component
from schemas.config import Config
from schemas.errors import IncompleteError

#: Neurons of one task at most: small enough to spread over workers and to lose little by a kill.
MAX_NEURONS = 512
#: Rows whose tables a worker keeps in memory: some tens of MB of words and ids.
KEPT_ROWS = 2**18

T = TypeVar("T")


@dataclass(frozen=True)
class NeuronTask:
    """Neurons ``first`` … ``stop`` − 1 of one component and layer, inside one block, or some of them."""

    component: Component
    layer: int
    first: int
    stop: int
    chosen: tuple[int, ...] | None = None
    """These neurons only, ascending from ``first`` to ``stop`` − 1; None for all between."""

    @property
    def key(self) -> str:
        """Receipt key; sorts by component, layer, neuron. Tells how many: another memory limit cuts other tasks."""
        return f"{self.component}-{self.layer:03d}-{self.first:06d}-{self.first + len(self.neurons):06d}"

    @property
    def neurons(self) -> Sequence[int]:
        """The neurons."""
        return range(self.first, self.stop) if self.chosen is None else self.chosen

    def only(self, neurons: Sequence[int]) -> NeuronTask:
        """The task of these of its neurons, at least one, ascending."""
        first, stop = neurons[0], neurons[-1] + 1
        chosen = None if len(neurons) == stop - first else tuple(neurons)
        return NeuronTask(self.component, self.layer, first, stop, chosen)


def neuron_tasks(
    plan: Plan,
    bytes_per_neuron: int,
    memory_mb: int,
    keep: Callable[[str, int], bool],
    neurons: Collection[int] | None = None,
) -> list[NeuronTask]:
    """Tasks over the plan's targets that ``keep(component, layer)`` wants, sized so that states fit ``memory_mb``.

    Over all ``neurons``, or those of the given numbers that there are.
    """
    size = int(np.clip(memory_mb * 2**20 // max(bytes_per_neuron, 1), 1, MAX_NEURONS))
    tasks = []
    for component, layer in plan.capture.targets:
        if not keep(component, layer):
            continue
        for block in plan.capture.blocks(component):
            for run in [block] if neurons is None else _runs(number for number in neurons if number in block):
                step = -(-len(run) // -(-len(run) // size))  # alike, so that workers end together
                tasks += [
                    NeuronTask(component, layer, at, min(at + step, run.stop))
                    for at in range(run.start, run.stop, step)
                ]
    return tasks


def _runs(numbers: Iterable[int]) -> list[range]:
    """The numbers as ranges, ascending, each as long as can be."""
    runs: list[range] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1].stop == number:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


class NeuronPiece(Task, Protocol):
    """A task over some neurons."""

    @property
    def neurons(self) -> Sized:
        """The neurons."""


@dataclass(frozen=True)
class FoldJob:
    """Recipe of a worker that needs no more than the plan: ``worker(store, plan, stage)``."""

    store_url: str
    plan: Plan
    stage: str
    worker: Callable[[Store, Plan, str], Worker]

    def open(self) -> Worker:
        """Make the worker."""
        return self.worker(Store.open(self.store_url).pinned(), self.plan, self.stage)


def fold_tasks(
    stage: str,
    receipts: str,
    store: Store,
    executor: Executor,
    progress: Progress,
    job: Job,
    tasks: Sequence[NeuronPiece],
    unit: str = "neurons",
) -> list[Receipt]:
    """Run the tasks that have no receipt under ``receipts``; returns the receipts of all tasks in their order.

    ``unit``: what the tasks have so many of, for those who watch.
    """
    finished = store.receipts(receipts)
    n_neurons = sum(len(task.neurons) for task in tasks)
    missing = [task for task in tasks if task.key not in finished]
    progress.start(stage, n_neurons, unit, n_neurons - sum(len(task.neurons) for task in missing))
    sizes = {task.key: len(task.neurons) for task in missing}

    def on_success(outcome: Outcome) -> None:
        progress.advance(sizes[outcome.key])

    run_tasks(stage, FailureLog(store, receipts), executor, job, missing, on_success)
    done = store.receipts(receipts)
    return [done[task.key] for task in tasks]


def kernel_threads(config: Config) -> int:
    """Threads of one worker's kernels: the cores, shared by the workers. Never changes a result."""
    return max(1, usable_cores() // config.executor.workers)


def require_dump(plan: Plan, store: Store) -> None:
    """Raise :class:`IncompleteError` unless every shard of the plan is in the manifest."""
    component, layer = plan.capture.targets[0]
    missing = missing_shards(plan, store.files("activations", plan.run_id, component=component, layer=layer))
    if missing and plan.is_imported:
        raise IncompleteError(
            f"model {plan.model}: its last import did not come to its end; start the same `neuronmill import` again"
        )
    if missing:
        raise IncompleteError(
            f"run {plan.run_id} ({plan.model}): {len(missing)} of {counted(len(plan.shards), 'shard')} not dumped yet; "
            f"finish with `neuronmill dump --store {store.url}`"
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """Counted rows of one shard for one task.

    ``bits`` is (n, T), neuron-major; ``selected`` are the numbers of its rows in the shard.
    """

    shard: ShardPlan
    bits: Values
    selected: npt.NDArray[np.int64]
    dtype: str

    def codes(self, threads: int = 1) -> npt.NDArray[np.uint16]:
        """Order-preserving codes of 16-bit values, (n, T)."""
        return encode_codes(self.bits.view(np.uint16), self.dtype, threads=threads)

    def values(self) -> npt.NDArray[np.float32]:
        """Values as float32, (n, T)."""
        if self.dtype == "float32":
            return self.bits.view(np.float32)
        return bits_to_float32(self.bits.view(np.uint16), self.dtype)


class ShardCache(Generic[T]):
    """The last few shards' tables in memory, loaded on demand: bounded by :data:`KEPT_ROWS`, not by the corpus."""

    def __init__(self, load: Callable[[ShardPlan], T]) -> None:
        self._load = load
        self._kept: OrderedDict[int, tuple[int, T]] = OrderedDict()

    def __getitem__(self, shard: ShardPlan) -> T:
        if shard.shard not in self._kept:
            self._kept[shard.shard] = shard.n_rows, self._load(shard)
            while len(self._kept) > 1 and sum(n_rows for n_rows, _ in self._kept.values()) > KEPT_ROWS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(shard.shard)
        return self._kept[shard.shard][1]


class ActivationFold:
    """Reads a task's neurons shard by shard, reduced to rows of interest."""

    def __init__(self, store: Store, plan: Plan) -> None:
        keep_freed_memory()
        self.store = store
        self.plan = plan
        self._reader = SeriesReader(store, plan)
        self.counted = ShardCache(self._load_counted)

    def _load_counted(self, shard: ShardPlan) -> npt.NDArray[np.int64]:
        rows = self.store.read_table(self.store.files("rows", self.plan.row_space, shard=shard.shard), ["is_counted"])
        return np.flatnonzero(rows["is_counted"].to_numpy())

    def batches(self, task: NeuronTask) -> Iterator[Batch]:
        """The counted rows of every shard that has any, in shard order; the next one is read meanwhile."""
        with ThreadPoolExecutor(1, thread_name_prefix="fold-read") as ahead:
            coming: Future[Batch] | None = None
            for shard in self.plan.shards:
                current, coming = coming, ahead.submit(self._batch, task, shard)
                if current is not None and len(current.result().selected):
                    yield current.result()
            if coming is not None and len(coming.result().selected):
                yield coming.result()

    def _batch(self, task: NeuronTask, shard: ShardPlan) -> Batch:
        """The counted rows of one shard."""
        selected, dtype = self.counted[shard], self.plan.capture.value_dtype
        if not len(selected):
            none: Values = np.empty((len(task.neurons), 0), np.uint16)
            return Batch(shard, none, selected, dtype)
        bits = self.read(task, shard)
        if len(selected) < shard.n_rows:
            bits = bits.take(selected, axis=1)  # contiguous, unlike [:, selected]
        return Batch(shard, bits if bits.flags.c_contiguous else bits.copy(), selected, dtype)

    def read(self, task: NeuronTask, shard: ShardPlan) -> Values:
        """All rows of one shard, (n, T) neuron-major bits (float32 for float32 stores)."""
        blocks = self.plan.capture.blocks(task.component)
        block = next(number for number, neurons in enumerate(blocks) if task.first in neurons)
        bits = self._reader.read(Series(task.component, task.layer, block), shard, range(task.first, task.stop))
        return bits if task.chosen is None else bits[np.subtract(task.chosen, task.first)]

    def floats(self, task: NeuronTask, shard: ShardPlan) -> npt.NDArray[np.float32]:
        """All rows of one shard as float32, (n, T)."""
        bits = self.read(task, shard)
        bits = bits if bits.flags.c_contiguous else bits.copy()
        return Batch(shard, bits, np.arange(shard.n_rows), self.plan.capture.value_dtype).values()
