"""LinReg: each neuron of a model regressed on all neurons of another one, from tiles of co-moments.

A task is one other model; it leaves R² of every neuron, and that of the null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.correlate.linear_regression import TOLERANCE, ColumnSpace, RegressionScores
from pipeline.run.array_file import open_arrays, save_arrays
from pipeline.run.fold import fold_tasks
from pipeline.run.moment_tiles import MomentTiles
from pipeline.run.progress import Progress
from pipeline.run.work import Executor
from pipeline.stats.cross_moments import Precision
from pipeline.stats.single_thread import on_one_thread
from pipeline.store.paths import state_file
from pipeline.store.store import Store

#: Share of a neuron's variance below which it adds no direction; products in float32 leave noise of 1e−7.
REGRESSION_TOLERANCE: dict[Precision, float] = {"float64": TOLERANCE, "float32": 1e-4}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RegressionTask:
    """On all neurons of one other member."""

    member: int
    n_neurons: int

    @property
    def key(self) -> str:
        """Receipt key."""
        return f"model-{self.member:02d}"

    @property
    def neurons(self) -> range:
        """As many as that member has."""
        return range(self.n_neurons)


@dataclass(frozen=True, eq=False)
class RegressionJob:
    """Recipe of a worker; picklable."""

    store_url: str
    run_id: str
    stage: str
    tiles: MomentTiles
    ridge: float

    def open(self) -> RegressionWorker:
        """Make the worker."""
        return RegressionWorker(Store.open(self.store_url).pinned(), self)


class RegressionWorker:
    """Regresses on one model after the other."""

    def __init__(self, store: Store, job: RegressionJob) -> None:
        self.store = store
        self.job = job

    def process(self, task: RegressionTask, attempt: int) -> dict[str, Any]:
        """Write R² of every neuron of the first member."""
        tiles, axis = self.job.tiles, self.job.tiles.axis
        other = axis.of_member(task.member)
        tolerance = REGRESSION_TOLERANCE[tiles.precision]
        with on_one_thread():
            space = ColumnSpace.of(tiles.co_moments(other, other), tiles.n_rows, self.job.ridge, tolerance)
            parts: dict[str, list[RegressionScores]] = {"comoment": [], "null": []}
            for block, neurons in zip(axis.blocks, axis.ranges, strict=True):
                if block.member == 0:
                    m2 = tiles.m2[neurons.start : neurons.stop]
                    for name, found in parts.items():
                        found.append(space.regress(tiles.co_moments(neurons, other, name), m2))
        scores = {name: np.concatenate([part.r2 for part in found]) for name, found in parts.items()}
        arrays = {"r2": scores["comoment"], "null_r2": scores["null"], "r2_facts": regression_facts(parts["null"][0])}
        with self.store.staging() as staging:
            path = state_file(self.job.run_id, f"{self.job.stage}/{task.key}.npz")
            save_arrays(staging.path(path), arrays)
            self.store.commit(staging, self.job.stage, task.key, {"attempt": attempt})
        return {"n_rows": tiles.n_rows}


def regression_facts(found: RegressionScores) -> Floats:
    """Rank, R² expected of independent models, and whether any neuron would have R² = 1."""
    return np.array([found.rank, found.expected_r2, found.is_trivial], np.float64)


def fold_regressions(
    store: Store, executor: Executor, progress: Progress, job: RegressionJob, members: Sequence[int]
) -> dict[int, dict[str, Floats]]:
    """Arrays ``r2``, ``null_r2`` (N,) and ``r2_facts`` for each other member; those that are there stay."""
    tasks = [RegressionTask(member, len(job.tiles.axis.of_member(member))) for member in members]
    receipts = fold_tasks("regression", job.stage, store, executor, progress, job, tasks)
    progress.finish(f"{len(tasks):,} other models")
    made: dict[int, dict[str, Floats]] = {}
    for task, receipt in zip(tasks, receipts, strict=True):
        with open_arrays(store, receipt.files[0].path) as file:
            made[task.member] = {name: file[name] for name in file.files}
    return made
