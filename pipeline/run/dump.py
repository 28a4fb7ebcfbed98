"""The dump: one forward pass per shard, every captured layer written as Parquet with its receipt."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np

from pipeline.extract.capture import Target
from pipeline.extract.extractor import Extractor
from pipeline.extract.model import LoadedModel, load_model
from pipeline.extract.rows_in_memory import Rows
from pipeline.extract.sae import SaeFacts, load_sae
from pipeline.extract.sequences import Sequences
from pipeline.run.activation_files import LayerFiles, layer_blocks
from pipeline.run.cores import usable_cores
from pipeline.run.dump_files import dump_stage, unfinished_shards
from pipeline.run.encoders import Encoders
from pipeline.run.failures import FailureLog
from pipeline.run.heap import keep_freed_memory
from pipeline.run.plan_record import Plan, ShardPlan, library_versions
from pipeline.run.plans import refuse_imported
from pipeline.run.progress import Progress
from pipeline.run.records import register_dump
from pipeline.run.scales import Scales, ScalesWorker, ensure_scales, load_scales
from pipeline.run.work import MAX_UNFINISHED, Executor, Facts, Outcome, run_tasks
from pipeline.store.staging import Staging
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes
from schemas.errors import ActivationError, ConfigError, IntegrityError


@dataclass(frozen=True)
class DumpJob:
    """Recipe of a dump worker: it loads the model once and takes shard after shard."""

    store_url: str
    plan: Plan

    def open(self) -> DumpWorker:
        """Load the model."""
        return DumpWorker(Store.open(self.store_url).pinned(), self.plan)


@dataclass(frozen=True)
class ScalesJob:
    """Recipe of the worker that chooses the scales of an ``int8`` dump."""

    store_url: str
    plan: Plan

    def open(self) -> ScalesWorker:
        """Load the model."""
        return ScalesWorker(Store.open(self.store_url).pinned(), self.plan, open_extractor(self.plan), read_sequences)


def open_extractor(plan: Plan) -> Extractor:
    """The plan's model, loaded and hooked for its targets."""
    capture = plan.capture
    path = plan.model_info.path  # found at planning: a relative name would mean another folder in a worker
    name = path if Path(path).is_dir() else plan.config.model.name
    model = plan.config.model.model_copy(update={"device": capture.device, "name": name})
    modules = plan.config.dump.modules
    return make_extractor(load_model(model, threads=capture.threads, info=plan.model_info, modules=modules), plan)


def make_extractor(loaded: LoadedModel, plan: Plan) -> Extractor:
    """What takes the plan's targets from its model, loaded."""
    capture, saes = plan.capture, []
    for sae in plan.config.dump.saes:
        facts = SaeFacts(capture.widths[sae.name], plan.sae_paths[sae.name], capture.saes[sae.name])
        saes.append(load_sae(sae, facts, loaded.device))
    return Extractor(
        loaded,
        list(capture.targets),
        dtype=capture.forward_dtype,
        token_budget=capture.token_budget,
        pooling=capture.pooling,
        neurons={component: capture.pieces(component) for component in capture.neurons},
        saes=saes,
        packing=capture.packing,
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


#: Threads that encode at most: on a machine of many cores their files would take more memory than the rows.
MAX_ENCODERS = 16


def worker_cores(plan: Plan) -> int:
    """A worker's share of the cores of this machine."""
    return max(1, usable_cores() // plan.config.executor.workers)


def spare_cores(plan: Plan) -> int:
    """Those of a worker's cores that do not compute."""
    cores = worker_cores(plan)
    return cores if plan.capture.device == "cuda" else max(0, cores - plan.capture.threads)


def encoder_threads(plan: Plan) -> int:
    """Threads of a worker that encode while nothing computes beside them: one for each core and one at the disk.

    Each has one layer's file in memory.
    """
    return min(worker_cores(plan) + 1, len(plan.capture.targets), MAX_ENCODERS)


def memory_per_row(plan: Plan, n_shards: int) -> int:
    """Bytes per row of a shard that a worker holds at most while it dumps ``n_shards`` of them.

    The rows of one shard, of two where one is encoded while the next is computed; and per encoding thread one layer as
    a file, with what its mode makes of it.
    """
    layers, has_spare = plan.capture.memory_per_target_row, spare_cores(plan) > 0
    held = sum(layers) * (2 if has_spare and n_shards > 1 else 1)
    # in the order of the corpus, as codes or chosen values, and as a table
    per_thread = 1 if plan.capture.rule is None else 3
    # with no cores to spare, the last layer is still being encoded when the next shard begins
    return held + max(layers) * (per_thread * encoder_threads(plan) + (0 if has_spare else 1))


class DumpWorker:
    """Turns one shard after the other into activation files.

    Where there are cores to spare, they encode and write a shard's files while the next shard is computed; after the
    last one the other cores help. Where all cores compute, they encode between two shards, and only the disk works
    beside them.
    """

    def __init__(self, store: Store, plan: Plan, scales: Scales | None = None) -> None:
        """``scales`` of an ``int8`` dump are those of the store unless given."""
        keep_freed_memory()
        self.store = store
        self.plan = plan
        self.extractor = open_extractor(plan)
        self.scales = load_scales(plan, store) if scales is None else scales
        self._has_spare_cores = spare_cores(plan) > 0
        self._committers = ThreadPoolExecutor(MAX_UNFINISHED, thread_name_prefix="dump-commit")
        n_encoders = encoder_threads(plan)
        self._encoders = Encoders(n_encoders, beside=min(spare_cores(plan) or n_encoders, n_encoders))

    def process(self, task: ShardPlan, attempt: int) -> Future[Facts]:
        """Forward, then encode and commit on threads of their own. Facts: rows and bytes."""
        return self.begin(task, read_sequences(self.store, self.plan, task), attempt)

    def begin(self, task: ShardPlan, sequences: Sequences, attempt: int) -> Future[Facts]:
        """See :meth:`process`; ``sequences`` are those of the task."""
        started = time.monotonic()
        try:
            with self._encoders.computing():
                rows = self.extractor.capture(sequences)
        except ActivationError as error:
            raise ActivationError(f"{task.key}: {error}") from error
        facts = {"attempt": attempt, "token_budget": self.extractor.token_budget_used}
        encoded = Event()
        written = self._committers.submit(self.commit, task, rows, facts, started, encoded)
        if not self._has_spare_cores:
            encoded.wait()  # side by side, computing and encoding would each take more than their share
        return written

    def commit(self, task: ShardPlan, rows: dict[Target, Rows], facts: Facts, started: float, encoded: Event) -> Facts:
        """Write the shard's files and its receipt; ``encoded`` is set when cores have hardly anything left to do."""
        try:
            with self.store.staging() as staging:
                self._encode(task, rows, staging, encoded)
                facts["seconds"] = round(time.monotonic() - started, 3)
                receipt = self.store.commit(staging, dump_stage(self.plan), task.key, facts)
        finally:
            encoded.set()
        return {"n_rows": task.n_rows, "n_bytes": sum(file.n_bytes for file in receipt.files)}

    def _encode(self, task: ShardPlan, rows: dict[Target, Rows], staging: Staging, encoded: Event) -> None:
        """Write the files of all layers, the largest first; of several, ``encoded`` leaves the last one to one core."""
        by_size = sorted(rows, key=lambda target: -rows[target].bits.nbytes)
        files = [self._encoders.submit(self._write, staging, task, target, rows.pop(target)) for target in by_size]
        for n_finished, _ in enumerate(as_completed(files), 1):  # all of them, before the staging folder may go
            if n_finished >= len(files) - 1:
                encoded.set()
        for file in files:
            file.result()

    def _write(self, staging: Staging, shard: ShardPlan, target: Target, rows: Rows) -> None:
        """The files of one layer."""
        row_ids = range(shard.first_row, shard.first_row + shard.n_rows)
        files = LayerFiles(staging, self.plan.model, *target, shard.shard, row_ids, self.scales.get(target))
        files.write(rows, layer_blocks(self.plan.capture.blocks(target[0])), self.plan.capture)
        self.extractor.memory.give_back(rows)


def _versions(libraries: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in libraries.items())


def refuse_other_libraries(plan: Plan) -> None:
    """Raise :class:`ConfigError` if the libraries that decide the bits are not those of the plan."""
    if plan.libraries != library_versions():
        raise ConfigError(
            f"run {plan.run_id} was planned with {_versions(plan.libraries)}, here is {_versions(library_versions())}, "
            "which can change the last bits; install the planned versions, or dump into another store"
        )


def dump(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Dump every shard that is not finished yet; returns the bytes of all activation files.

    Raises :class:`~schemas.errors.IncompleteError` when shards are missing at the end; all others are kept.
    """
    refuse_imported(plan)
    tasks = unfinished_shards(plan, store)
    if tasks:
        refuse_other_libraries(plan)
    if plan.capture.mode != "threshold":  # what a threshold keeps is not known before
        store.check_space(sum(shard.n_rows for shard in tasks) * plan.capture.bytes_per_row)
    ensure_scales(plan, store, executor, progress, ScalesJob(store.url, plan))
    progress.start(f"dump {plan.model}", len(plan.shards), "shards", len(plan.shards) - len(tasks))

    def on_success(outcome: Outcome) -> None:
        progress.advance(1, n_rows=(outcome.facts or {})["n_rows"])

    run_tasks("dump", FailureLog(store, dump_stage(plan)), executor, DumpJob(store.url, plan), tasks, on_success)
    n_bytes = register_dump(plan, store, dump_stage(plan))
    layers = counted(len(plan.capture.targets), "layer")
    progress.finish(f"{counted(plan.n_rows, 'row')} × {layers}, {human_bytes(n_bytes)}")
    return n_bytes
