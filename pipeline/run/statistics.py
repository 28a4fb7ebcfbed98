"""Statistics per neuron, into ``neuron_stats``: one fold of `ValueHistogram` (of `Moments`, for float32)."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.run.fold import (
    ActivationFold,
    FoldJob,
    NeuronTask,
    fold_tasks,
    kernel_threads,
    neuron_tasks,
    require_dump,
)
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.records import concat_run_table, write_run_record
from pipeline.run.work import Executor
from pipeline.stats.codes import N_CODES
from pipeline.stats.moments import Moments
from pipeline.stats.neuron_stats import neuron_statistics
from pipeline.stats.value_histogram import ValueHistogram
from pipeline.store.parquet import write_table
from pipeline.store.paths import state_file
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.fingerprints import fingerprint
from schemas.tables import QUANTILES, TABLES

#: Raised whenever the same activations would give other statistics.
VERSION = 1


class StatsWorker:
    """Folds the statistics of one range of neurons after the other."""

    def __init__(self, store: Store, plan: Plan, stage: str) -> None:
        self.store = store
        self.plan = plan
        self.stage = stage
        self.fold = ActivationFold(store, plan)
        self.threads = kernel_threads(plan.config)

    def process(self, task: NeuronTask, attempt: int) -> dict[str, Any]:
        """Write the task's part of ``neuron_stats``."""
        plan = self.plan
        columns = self._float32(task) if plan.capture.value_dtype == "float32" else self._sixteen_bits(task)
        n = len(task.neurons)
        key = {
            "run_id": [plan.run_id] * n,
            "model": [plan.model] * n,
            "component": [task.component] * n,
            "layer": np.full(n, task.layer, np.int32),
            "neuron": np.arange(task.first, task.stop, dtype=np.int32),
            "unit": [plan.capture.unit] * n,
        }
        with self.store.staging() as staging:
            path = state_file(plan.run_id, f"{self.stage}/{task.key}.parquet")
            write_table(staging.path(path), key | columns, TABLES["neuron_stats"].arrow)
            self.store.commit(staging, self.stage, task.key, {"attempt": attempt})
        return {"n_rows": int(columns["n_rows"][0])}

    def _sixteen_bits(self, task: NeuronTask) -> dict[str, Any]:
        """Everything from the histogram of all 65,536 codes, which is the sorted column."""
        histogram = ValueHistogram.empty(len(task.neurons), self.plan.capture.value_dtype)
        for batch in self.fold.batches(task):
            histogram.update(batch.codes(self.threads), self.threads)
        return nullable(neuron_statistics(None, histogram, self.plan.config.stats.eps, self.threads))

    def _float32(self, task: NeuronTask) -> dict[str, Any]:
        """Moments, and exact quantiles from the whole columns: float32 has no short list of codes."""
        moments, columns = Moments.empty(len(task.neurons)), []
        for batch in self.fold.batches(task):
            moments.update(batch.values(), self.threads)
            columns.append(batch.values())
        found = neuron_statistics(moments, None, self.plan.config.stats.eps, self.threads)
        if columns:
            whole = np.concatenate(columns, axis=1).astype(np.float64)
            found |= dict(zip(QUANTILES, np.quantile(whole, list(QUANTILES.values()), axis=1), strict=True))
        return nullable(found)


def nullable(columns: dict[str, Any]) -> dict[str, Any]:
    """NaN (undefined) as null, in float columns."""
    return {
        name: np.ma.masked_invalid(column) if np.issubdtype(column.dtype, np.floating) else column
        for name, column in columns.items()
    }


def statistics_stage(plan: Plan) -> str:
    """Stage name of the receipts of the parts, and key of the whole table's."""
    return f"stats-{plan.run_id}-{fingerprint(kind='stats', version=VERSION, eps=plan.config.stats.eps)[:8]}"


def compute_statistics(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Fill ``neuron_stats`` for the run; returns the number of neurons."""
    require_dump(plan, store)
    stage = statistics_stage(plan)
    per_neuron = 24 * plan.n_rows if plan.capture.value_dtype == "float32" else 8 * N_CODES
    tasks = neuron_tasks(plan, per_neuron, plan.config.executor.memory_mb, lambda *_: True)
    receipts = fold_tasks(
        "stats", stage, store, executor, progress, FoldJob(store.url, plan, stage, StatsWorker), tasks
    )
    concat_run_table(store, plan, "neuron_stats", stage, receipts)
    write_run_record(store, plan)
    n_neurons = sum(len(task.neurons) for task in tasks)
    progress.finish(counted(n_neurons, "neuron"))
    return n_neurons
