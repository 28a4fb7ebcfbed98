"""Correlation of neurons with numbers of words, as a fold over neurons, beside a null of shuffled rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.correlate.column_moments import ColumnMoments
from pipeline.run.array_file import open_arrays, save_arrays
from pipeline.run.comparison_tables import masked, median
from pipeline.run.fold import NeuronTask, ShardCache, fold_tasks, kernel_threads, neuron_tasks
from pipeline.run.member_rows import Member, MemberReader
from pipeline.run.model_comparison import keep_rule, nothing_left
from pipeline.run.moment_tiles import null_order
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.word_numbers import check_names, find_numbers, load_numbers, numbers_stage
from pipeline.run.work import Executor
from pipeline.store.paths import state_file
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.correlate_config import CorrelateConfig
from schemas.fingerprints import fingerprint

#: Raised whenever the same activations would give other correlations.
VERSION = 1

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ColumnJob:
    """Recipe of a worker; picklable."""

    store_url: str
    member: Member
    stage: str
    numbers: str
    """Stage of the numbers of words."""
    n_columns: int
    null: int

    def open(self) -> ColumnWorker:
        """Make the worker."""
        return ColumnWorker(Store.open(self.store_url).pinned(), self)


class ColumnWorker:
    """Correlates the neurons of one task after the other."""

    def __init__(self, store: Store, job: ColumnJob) -> None:
        self.store = store
        self.job = job
        self.reader = MemberReader(job.member)
        self.numbers = ShardCache(lambda shard: load_numbers(store, job.numbers, shard))
        self.threads = kernel_threads(job.member.plan.config)

    def process(self, task: NeuronTask, attempt: int) -> dict[str, Any]:
        """Write r and null r (K, n) of the task's neurons, and the rows of each column."""
        job = self.job
        state = ColumnMoments.empty(len(task.neurons), job.n_columns)
        for shard in job.member.plan.shards:
            stored = self.reader.stored(task, [(shard, None)])
            values = stored.take(np.arange(stored.n_units))
            state.update(values, self.numbers[shard], partial(null_order, seed=job.null, shard=shard), self.threads)
        found = state.finalize()
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "r": found.r,
            "null_r": found.null_r,
            "n_rows": found.n_rows,
        }
        with self.store.staging() as staging:
            path = state_file(job.member.plan.run_id, f"{job.stage}/{task.key}.npz")
            save_arrays(staging.path(path), arrays)
            self.store.commit(staging, job.stage, task.key, {"attempt": attempt})
        return {"n_rows": int(found.n_rows.sum())}


@dataclass(frozen=True, eq=False)
class ColumnTable:
    """r and null r (K, N) of K columns and N neurons, in the order of the plan's layers."""

    plan: Plan
    key: str
    """Names the table."""
    names: tuple[str, ...]
    tasks: tuple[NeuronTask, ...]
    r: Floats
    null_r: Floats
    n_rows: npt.NDArray[np.int64]
    n_units: int
    """Rows that there are; those of words without the number are left out."""

    def columns(self) -> dict[str, Any]:
        """The columns of ``column_correlations``, column by column by rank."""
        component = np.repeat([t.component for t in self.tasks], [len(t.neurons) for t in self.tasks])
        layer = np.repeat([t.layer for t in self.tasks], [len(t.neurons) for t in self.tasks])
        neuron = np.concatenate([np.asarray(task.neurons, np.int32) for task in self.tasks])
        n, k = len(neuron), len(self.names)
        order = np.argsort(-np.nan_to_num(np.abs(self.r), nan=-1.0), axis=1, kind="stable")
        return {
            "run_id": [self.plan.run_id] * (n * k),
            "model": [self.plan.model] * (n * k),
            "component": component[order].ravel().tolist(),
            "layer": layer[order].ravel().astype(np.int32),
            "neuron": neuron[order].ravel(),
            "word_column": np.repeat(self.names, n).tolist(),
            "r": masked(np.take_along_axis(self.r, order, axis=1).ravel()),
            "rank": np.tile(np.arange(1, n + 1, dtype=np.int32), k),
            "n_rows": np.repeat(self.n_rows, n),
            "null_r": masked(np.take_along_axis(self.null_r, order, axis=1).ravel()),
        }

    def describe(self) -> list[str]:
        """A line for each column."""
        return [self._describe(number) for number in range(len(self.names))]

    def _describe(self, number: int) -> str:
        size, null = np.abs(self.r[number]), np.abs(self.null_r[number])
        rows = counted(int(self.n_rows[number]), "word")
        left = self.n_units - int(self.n_rows[number])
        found = f"{self.names[number]}: {rows}" + (f", {left:,} without it left out" if left else "")
        if np.isnan(size).all():
            return f"{found}; constant, so no correlation is defined"
        return (
            f"{found}; largest |r| {np.nanmax(size):.3f} (null {np.nanmax(null):.3f}), "
            f"median {median(size):.3f} (null {median(null):.3f})"
        )


def check_columns(plan: Plan, store: Store) -> None:
    """Raise :class:`ConfigError` for a column that is not there, or where nothing is left to correlate."""
    settings = plan.config.correlate or CorrelateConfig()
    check_names(store, settings.columns)
    if settings.columns:
        _tasks(plan, settings)


def columns_stage(plan: Plan, store: Store) -> tuple[tuple[str, str], str]:
    """Stage names of the receipts of the numbers and of the fold, and the key of the table; raises as the fold."""
    settings = plan.config.correlate or CorrelateConfig()
    check_names(store, settings.columns)
    return _stages(plan, store, settings, _tasks(plan, settings))


def _stages(
    plan: Plan, store: Store, settings: CorrelateConfig, tasks: Sequence[NeuronTask]
) -> tuple[tuple[str, str], str]:
    numbers = numbers_stage(Member.of_words(store, plan), settings.columns)
    digest = fingerprint(kind="columns", version=VERSION, numbers=numbers, null=settings.null)[:12]
    which = fingerprint(tasks=[task.key for task in tasks])[:12]
    key = f"columns-{numbers.rpartition('-')[2]}-{digest}-{which}"
    return (numbers, f"columns-{plan.run_id}-{digest}"), key


def compute_columns(plan: Plan, store: Store, executor: Executor, progress: Progress) -> ColumnTable:
    """Fold what is not there yet. Raises :class:`ConfigError` for a column that is not there or holds no numbers."""
    settings = plan.config.correlate or CorrelateConfig()
    member = Member.of_words(store, plan)
    tasks = _tasks(plan, settings)
    numbers = find_numbers(store, member, settings.columns, progress)
    (_, stage), key = _stages(plan, store, settings, tasks)
    job = ColumnJob(store.url, member, stage, numbers, len(settings.columns), settings.null)
    receipts = fold_tasks("columns", stage, store, executor, progress, job, tasks)
    parts: list[dict[str, Any]] = []
    for receipt in receipts:
        with open_arrays(store, receipt.files[0].path) as file:
            parts.append({name: file[name] for name in file.files})
    r, null_r = (np.concatenate([part[name] for part in parts], axis=1) for name in ("r", "null_r"))
    units = MemberReader(member).units
    n_units = sum(len(units[shard].rows) for shard in plan.shards)
    progress.finish(f"{counted(r.shape[1], 'neuron')} × {counted(len(r), 'column')}")
    return ColumnTable(plan, key, settings.columns, tuple(tasks), r, null_r, parts[0]["n_rows"], n_units)


def _tasks(plan: Plan, settings: CorrelateConfig) -> list[NeuronTask]:
    longest = max(shard.n_rows for shard in plan.shards)
    # a shard as it is stored, as float32, centred in float64, and its rows with a number
    tasks = neuron_tasks(plan, 24 * longest, plan.config.executor.memory_mb, keep_rule(settings, is_other=False))
    if not tasks:
        raise nothing_left(plan, settings)
    return tasks
