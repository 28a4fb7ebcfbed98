"""The dump: one forward pass per shard, every captured layer written as Parquet with its receipt."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.extract.capture import Target
from pipeline.extract.extractor import Extractor
from pipeline.extract.model import LoadedModel, load_model
from pipeline.extract.sequences import Sequences
from pipeline.extract.storage_dtype import Bits
from pipeline.run.failures import FailureLog
from pipeline.run.plan_record import Capture, Plan, ShardPlan, library_versions
from pipeline.run.plans import refuse_imported
from pipeline.run.progress import Progress
from pipeline.run.records import register_dump
from pipeline.run.work import Executor, Facts, Outcome, run_tasks
from pipeline.store.parquet import BLOCK_NEURONS, write_activations
from pipeline.store.paths import activation_file
from pipeline.store.staging import Staging
from pipeline.store.store import Store
from schemas.config import Component
from schemas.errors import ActivationError, ConfigError, IntegrityError


@dataclass(frozen=True)
class DumpJob:
    """Recipe of a dump worker: it loads the model once and takes shard after shard."""

    store_url: str
    plan: Plan

    def open(self) -> DumpWorker:
        """Load the model."""
        return DumpWorker(Store.open(self.store_url).pinned(), self.plan)


def open_extractor(plan: Plan) -> Extractor:
    """The plan's model, loaded and hooked for its targets."""
    capture = plan.capture
    path = plan.model_info.path  # found at planning: a relative name would mean another folder in a worker
    name = path if Path(path).is_dir() else plan.config.model.name
    model = plan.config.model.model_copy(update={"device": capture.device, "name": name})
    return make_extractor(load_model(model, threads=capture.threads, info=plan.model_info), capture)


def make_extractor(loaded: LoadedModel, capture: Capture) -> Extractor:
    """What takes the targets of ``capture`` from a loaded model."""
    return Extractor(
        loaded,
        list(capture.targets),
        dtype=capture.dtype,
        token_budget=capture.token_budget,
        pooling=capture.pooling,
    )


def read_sequences(store: Store, plan: Plan, shard: ShardPlan) -> Sequences:
    """The token windows of a shard, from the tokens table: what the plan tokenised is what the model sees."""
    columns = ["row_id", "sentence_id", "window", "token_id"]
    tokens = store.read_table(store.files("tokens", plan.row_space, shard=shard.shard), columns)
    token_ids = tokens["token_id"].to_numpy()
    if len(token_ids) != shard.n_tokens:
        raise IntegrityError(
            f"{shard.key}: the tokens table has {len(token_ids)} tokens, the plan {shard.n_tokens}; "
            "`neuronmill verify` finds the damaged file"
        )
    sentence, window = tokens["sentence_id"].to_numpy(), tokens["window"].to_numpy()
    starts = np.flatnonzero(np.diff(sentence, prepend=-1) | np.diff(window, prepend=-1))
    rows = tokens["row_id"].fill_null(-1).to_numpy()
    return Sequences(
        token_ids=token_ids.astype(np.int32, copy=False),
        offsets=np.append(starts, len(token_ids)).astype(np.int64),
        token_row=np.where(rows >= 0, rows - shard.first_row, -1),
        n_rows=shard.n_rows,
    )


class DumpWorker:
    """Turns one shard after the other into activation files, which are written while the next shard is computed."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store = store
        self.plan = plan
        self.extractor = open_extractor(plan)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="dump-writer")

    def process(self, task: ShardPlan, attempt: int) -> Future[Facts]:
        """Forward, then write and commit on the writer's thread. Facts: rows and bytes."""
        return self.begin(task, read_sequences(self.store, self.plan, task), attempt)

    def begin(self, task: ShardPlan, sequences: Sequences, attempt: int) -> Future[Facts]:
        """See :meth:`process`; ``sequences`` are those of the task."""
        started = time.monotonic()
        try:
            blocks = self.extractor.extract(sequences)
        except ActivationError as error:
            raise ActivationError(f"{task.key}: {error}") from error
        facts = {"attempt": attempt, "token_budget": self.extractor.token_budget_used}
        return self._writer.submit(self._commit, task, blocks, facts, started)

    def _commit(self, task: ShardPlan, blocks: dict[Target, Bits], facts: Facts, started: float) -> Facts:
        """Write the shard's files and its receipt."""
        row_ids = np.arange(task.first_row, task.first_row + task.n_rows, dtype=np.int64)
        with self.store.staging() as staging:
            for target in self.plan.capture.targets:
                self._write(staging, *target, task.shard, row_ids, blocks.pop(target))
            facts["seconds"] = round(time.monotonic() - started, 3)
            receipt = self.store.commit(staging, dump_stage(self.plan), task.key, facts)
        return {"n_rows": task.n_rows, "n_bytes": sum(file.n_bytes for file in receipt.files)}

    def _write(self, staging: Staging, component: Component, layer: int, shard: int, row_ids: Any, values: Any) -> None:
        """One file per block of neurons."""
        capture = self.plan.capture
        for block, first in enumerate(range(0, values.shape[1], BLOCK_NEURONS)):
            path = staging.path(activation_file(self.plan.model, component, layer, block, shard))
            part = values[:, first : first + BLOCK_NEURONS]
            write_activations(path, part, first_neuron=first, row_ids=row_ids, dtype=capture.dtype)


def _versions(libraries: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in libraries.items())


def dump_stage(plan: Plan) -> str:
    """Stage name of the dump's receipts."""
    return f"dump-{plan.run_id}"


def dump(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Dump every shard that has no receipt yet; returns the bytes of all activation files.

    Raises :class:`~schemas.errors.IncompleteError` when shards are missing at the end; all others are kept.
    """
    refuse_imported(plan)
    finished = store.receipts(dump_stage(plan))
    tasks = [shard for shard in plan.shards if shard.key not in finished]
    if tasks and plan.libraries != library_versions():
        raise ConfigError(
            f"run {plan.run_id} was planned with {_versions(plan.libraries)}, here is {_versions(library_versions())}, "
            "which can change the last bits; install the planned versions, or dump into another store"
        )
    store.check_space(sum(shard.n_rows for shard in tasks) * plan.capture.bytes_per_row)
    progress.start(f"dump {plan.model}", len(plan.shards), "shards", len(plan.shards) - len(tasks))

    def on_success(outcome: Outcome) -> None:
        progress.advance(1, n_rows=(outcome.facts or {})["n_rows"])

    run_tasks("dump", FailureLog(store, dump_stage(plan)), executor, DumpJob(store.url, plan), tasks, on_success)
    n_bytes = register_dump(plan, store, dump_stage(plan))
    progress.finish(f"{plan.n_rows:,} rows × {len(plan.capture.targets)} layers, {n_bytes / 1e6:,.1f} MB")
    return n_bytes
