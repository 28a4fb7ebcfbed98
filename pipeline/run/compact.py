"""Compaction: the activation files of consecutive shards rewritten as long ones, which queries open faster.

A shard is the unit of recovery, and memory or a slow model may keep it small; a query opens every file of a layer. Each
group of shards becomes one file per series, committed with a receipt of its own. Once all are there the manifest lists
them instead of the shards' files, which stay for the snapshots that name them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.run.dump_files import (
    Series,
    all_series,
    compact_key,
    compact_stage,
    compacted_shards,
    dump_stage,
    series_of,
)
from pipeline.run.failures import FailureLog
from pipeline.run.fold import require_dump
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.records import register_dump
from pipeline.run.work import Executor, Outcome, run_tasks
from pipeline.store.concatenation import concat_activations
from pipeline.store.paths import compacted_file
from pipeline.store.receipts import FileEntry
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.errors import ConfigError

#: Rows of a file, at least (as far as there are so many) and at most, and the decoded bytes between them.
MIN_ROWS, MAX_ROWS = 32_768, 131_072
FILE_BYTES = 250_000_000


@dataclass(frozen=True)
class CompactTask:
    """One file to make: one series over consecutive shards."""

    series: Series
    shards: range
    sources: tuple[FileEntry, ...]
    """The files it replaces, in row order."""

    @property
    def key(self) -> str:
        """Receipt key."""
        return compact_key(self.series, self.shards)

    @property
    def n_bytes(self) -> int:
        """Bytes to read, and about as many to write."""
        return sum(source.n_bytes for source in self.sources)


@dataclass(frozen=True)
class CompactJob:
    """Recipe of a worker."""

    store_url: str
    model: str
    stage: str

    def open(self) -> CompactWorker:
        """Make the worker."""
        return CompactWorker(Store.open(self.store_url), self)


class CompactWorker:
    """Makes one long file after the other."""

    def __init__(self, store: Store, job: CompactJob) -> None:
        self.store = store
        self.job = job

    def process(self, task: CompactTask, attempt: int) -> dict[str, Any]:
        """Read, write, commit. Facts: rows and bytes written."""
        with self.store.staging() as staging:
            path = compacted_file(self.job.model, *task.series, task.shards)
            staging.wrote(path, concat_activations(self.store.storage, task.sources, staging.path(path)))
            receipt = self.store.commit(staging, self.job.stage, task.key, {"attempt": attempt})
        (file,) = receipt.files
        return {"n_rows": file.n_rows, "n_bytes": file.n_bytes}


def rows_per_file(plan: Plan) -> int:
    """Rows of a long file by default: so many that the widest is 250 MB in memory, but 32,768 to 131,072."""
    itemsize = 2 if plan.capture.dtype == "float16" else 4  # other values are stored as floats
    widest = max(len(block) for component in plan.capture.components for block in plan.capture.blocks(component))
    return int(np.clip(FILE_BYTES // (widest * itemsize), MIN_ROWS, MAX_ROWS))


def compact_tasks(plan: Plan, store: Store, rows: int) -> list[CompactTask]:
    """The files to make of those that the manifest lists now; none where they are long enough."""
    listed: dict[Series, list[FileEntry]] = {}
    for series in all_series(plan):
        files = store.files("activations", plan.run_id, **series._asdict())
        listed[series] = sorted(files, key=lambda file: file.shards[0])
    tasks = []
    for shards in group_shards([shard.n_rows for shard in plan.shards], listed.values(), rows):
        for series, files in listed.items():
            sources = tuple(file for file in files if file.shards[0] in shards)
            if len(sources) > 1 and any(source.n_rows for source in sources):
                tasks.append(CompactTask(series, shards, sources))
    return tasks


def shard_tasks(plan: Plan, store: Store, keys: Iterable[str]) -> list[CompactTask]:
    """The files with these receipt keys, made of the shards' own files, all of which must be dumped."""
    receipts = store.receipts(dump_stage(plan))
    tasks = []
    for series, shards in map(compacted_shards, keys):
        files = [file for number in shards for file in receipts[plan.shards[number].key].files]
        tasks.append(CompactTask(series, shards, tuple(file for file in files if series_of(file) == series)))
    return tasks


def group_shards(n_rows: Sequence[int], listed: Iterable[Sequence[FileEntry]], rows: int) -> list[range]:
    """Consecutive shards of up to ``rows`` rows together, never ending inside a file of any series.

    ``n_rows`` are the shards' rows. What is in one file already stays together, whatever its rows. With some of the
    long files in place the groups come out as before, so a compaction that was stopped goes on where it was.
    """
    starts = [{file.shards[0] for file in files} for files in listed]
    cuts = [*sorted(set.intersection(*starts)), len(n_rows)]
    groups: list[range] = []
    for first, stop in pairwise(cuts):
        together = range(groups[-1].start, stop) if groups else range(first, stop)
        if groups and sum(n_rows[shard] for shard in together) <= rows:
            groups[-1] = together
        else:
            groups.append(range(first, stop))
    return groups


def check_compactable(plan: Plan, store: Store) -> None:
    """Raise :class:`ConfigError` for activations that are not rewritten, :class:`IncompleteError` for a part dump."""
    if plan.is_imported:
        raise ConfigError(
            f"model {plan.model}: was imported, and an import's files are as long as its --memory-mb allows; import "
            "into another store with more"
        )
    if plan.capture.rule is not None:
        raise ConfigError(
            f"model {plan.model}: its files hold a part of the values ({plan.capture.rule}) and say how large that "
            "part is, shard by shard; only dense float files are rewritten. Nothing was changed"
        )
    require_dump(plan, store)


def make_files(
    plan: Plan,
    store: Store,
    tasks: Sequence[CompactTask],
    executor: Executor,
    on_success: Callable[[Outcome], None],
) -> None:
    """Make these long files; raises :class:`~schemas.errors.IncompleteError` when some are missing at the end."""
    stage = compact_stage(plan)
    run_tasks(
        "compact", FailureLog(store, stage), executor, CompactJob(store.url, plan.model, stage), tasks, on_success
    )


def compact(plan: Plan, store: Store, executor: Executor, progress: Progress, rows: int | None = None) -> int:
    """Make the long files that are missing and show them to readers; returns how many files the run then has.

    ``rows``: rows of a file at most, :func:`rows_per_file` by default. Raises like :func:`check_compactable`, and
    :class:`~schemas.errors.IncompleteError` when files are missing at the end.
    """
    check_compactable(plan, store)
    tasks = compact_tasks(plan, store, rows or rows_per_file(plan))
    finished = set(store.receipt_keys(compact_stage(plan)))
    missing = [task for task in tasks if task.key not in finished]
    store.check_space(sum(task.n_bytes for task in missing))
    n_before = len(store.files("activations", plan.run_id))
    progress.start(f"compact {plan.model}", len(tasks), "files", len(tasks) - len(missing))

    def on_success(outcome: Outcome) -> None:
        progress.advance(1, n_rows=(outcome.facts or {})["n_rows"])

    make_files(plan, store, missing, executor, on_success)
    if tasks:
        register_dump(plan, store, dump_stage(plan))
    n_after = len(store.files("activations", plan.run_id))
    change = f"{counted(n_before, 'file')} before, {n_after:,} now"
    progress.finish(change if tasks else "nothing to do: the files are long")
    return n_after
