"""The pilot: a few real batches through the real dump, timed, to say what the whole dump will take.

Mini-shards are made of every k-th length-sorted batch of a planned shard, so padding and batch sizes are those of the
dump, and they go through the executor into a scratch store beside the real one: loading, computing, encoding, hashing
and committing overlap as they will. Nothing of it stays.
"""

from __future__ import annotations

import heapq
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from pipeline.extract.extractor import Extractor
from pipeline.extract.int8_codes import choose_scales
from pipeline.extract.sequences import Sequences, make_batches, select_sequences, with_rows
from pipeline.run.dump import DumpWorker, make_extractor, memory_per_row, open_extractor, read_sequences
from pipeline.run.executors import make_executor
from pipeline.run.failures import FailureLog
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.run.scales import largest_values
from pipeline.run.work import Facts, Outcome, run_tasks
from pipeline.store.owners import owned_name
from pipeline.store.paths import STAGING
from pipeline.store.storage import LocalStorage
from pipeline.store.store import Store

#: Seconds of computing in one mini-shard, and mini-shards per worker at most: the first fills the pipeline.
MINI_SHARD_SECONDS = 2.0
MINI_SHARDS = 4
#: Seconds of computing that a token budget is judged by, if one batch of it is not longer.
TUNING_SECONDS = 1.0


@dataclass(frozen=True)
class Forecast:
    """What a dump will take, from a pilot of ``pilot_rows`` rows."""

    n_bytes: int
    """Bytes of the activation files."""
    seconds: float
    """Seconds of the whole dump, ``startup_seconds`` (processes, libraries, the model) included."""
    startup_seconds: float
    memory_per_worker: int
    """Peak resident bytes of one worker."""
    rows_per_second: float
    """Of all workers together, once they run."""
    pilot_rows: int


@dataclass(frozen=True)
class PilotTask:
    """One mini-shard."""

    number: int

    @property
    def key(self) -> str:
        """Name of the mini-shard."""
        return f"pilot-{self.number:03d}"


@dataclass(frozen=True)
class PilotJob:
    """Recipe of a pilot worker: reads from the store, writes into a scratch store."""

    store_url: str
    scratch_url: str
    plan: Plan

    def open(self) -> PilotWorker:
        """Load the model."""
        return PilotWorker(Store.open(self.store_url).pinned(), Store.open(self.scratch_url), self.plan)


class PilotWorker:
    """A dump worker that is given mini-shards and tells its times."""

    def __init__(self, store: Store, scratch: Store, plan: Plan) -> None:
        self.store = store
        self.plan = plan
        self.dump = DumpWorker(scratch, plan, scales={})
        self.name = owned_name("pilot")
        self._largest = max(plan.shards, key=lambda shard: shard.n_rows)
        self._sequences = with_rows(read_sequences(store, plan, self._largest))
        self._n_batches = self._calibrate()
        self._base_memory = _peak_memory()

    def _calibrate(self) -> int:
        """Warm up, then time one batch of middling length: batches of a mini-shard."""
        batches = make_batches(self._sequences.lengths, self.plan.capture.token_budget)
        middle = select_sequences(self._sequences, batches[len(batches) // 2])
        rows = self.dump.extractor.extract(middle)
        if self.plan.capture.dtype == "int8":  # any scales of about the right size will do
            self.dump.scales = {t: choose_scales(largest) for t, largest in largest_values(rows).items()}
        started = time.monotonic()
        self.dump.extractor.extract(middle)
        seconds = max(time.monotonic() - started, 1e-6)
        return int(np.clip(MINI_SHARD_SECONDS / seconds, 1, len(batches)))

    def process(self, task: PilotTask, attempt: int) -> Future[Facts]:
        """Dump one mini-shard; facts: rows, bytes, the worker, and when it was begun, computed and written."""
        began = time.monotonic()
        sequences = spread_batches(self._sequences, self.plan.capture.token_budget, self._n_batches, task.number)
        shard = replace(self._largest, shard=task.number, n_rows=sequences.n_rows)
        written = self.dump.begin(shard, sequences, attempt)
        times = {"began": began, "computed": time.monotonic(), "base_memory": self._base_memory}
        facts: Future[Facts] = Future()
        written.add_done_callback(lambda ended: _tell(ended, facts, {"worker": self.name, **times}))
        return facts


def _tell(ended: Future[Facts], told: Future[Facts], times: Facts) -> None:
    """The facts of a mini-shard with its times."""
    error = ended.exception()
    if error is not None:
        told.set_exception(error)
    else:
        told.set_result({**ended.result(), **times, "written": time.monotonic()})


def _peak_memory() -> int:
    """Largest resident size of this process so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def spread_batches(sequences: Sequences, token_budget: int, n_batches: int, offset: int = 0) -> Sequences:
    """About ``n_batches`` of the batches of ``sequences``, evenly spread over their lengths.

    Batched again they give the same batches, since the size of a batch follows from its longest sequence.
    """
    batches = make_batches(sequences.lengths, token_budget)
    step = max(1, len(batches) // n_batches)
    return select_sequences(sequences, np.sort(np.concatenate(batches[offset % step :: step][:n_batches])))


def forecast(plan: Plan, store: Store) -> Forecast:
    """Run a pilot with the plan's executor and say what its dump will take.

    Workers are processes of their own, so that their memory is not that of the planning before.
    """
    config = plan.config.executor
    executor = LocalExecutor(config.workers, spawn=True) if config.kind == "local" else make_executor(config)
    # of a short dump fewer: the pilot should not take longer; one fills the pipeline, one is measured
    n_each = min(MINI_SHARDS, max(2, -(-len(plan.shards) // config.workers)))
    tasks = [PilotTask(number) for number in range(n_each * config.workers)]
    told: list[Facts] = []

    def on_success(outcome: Outcome) -> None:
        told.append(outcome.facts or {})

    launched = time.monotonic()
    with scratch_store(store) as scratch:
        job = PilotJob(store.url, scratch.url, plan)
        run_tasks("pilot", FailureLog(scratch, "pilot"), executor, job, tasks, on_success)
    startup = min(facts["began"] for facts in told) - launched
    workers = [[facts for facts in told if facts["worker"] == name] for name in sorted({f["worker"] for f in told})]
    return _extrapolate(plan, [_Pace.of(facts) for facts in workers], told, startup)


@dataclass(frozen=True)
class _Pace:
    """Seconds that one worker takes for a row, to compute it and to write it, and both as they overlap."""

    compute: float
    write: float
    overlapped: float

    @classmethod
    def of(cls, told: list[Facts]) -> _Pace:
        """From the mini-shards of a worker; the first one fills the pipeline and does not count for the overlap."""
        ordered = sorted(told, key=lambda facts: facts["began"])
        idle_until = [facts["computed"] for facts in ordered[:1]] + [facts["written"] for facts in ordered[:-1]]
        n_rows = sum(facts["n_rows"] for facts in ordered)
        write = sum(f["written"] - max(f["computed"], idle) for f, idle in zip(ordered, idle_until, strict=True))
        compute = sum(facts["computed"] - facts["began"] for facts in ordered)
        later = sum(facts["n_rows"] for facts in ordered[1:])
        overlapped = (ordered[-1]["written"] - ordered[0]["written"]) / later if later else (compute + write) / n_rows
        return cls(compute / n_rows, write / n_rows, overlapped)


def _extrapolate(plan: Plan, paces: list[_Pace], told: list[Facts], startup: float) -> Forecast:
    pilot_rows = sum(facts["n_rows"] for facts in told)
    largest = max(shard.n_rows for shard in plan.shards)
    busy = min(len(paces), len(plan.shards))
    pace_of_all = statistics.mean(pace.overlapped for pace in paces)
    filling = max(pace.compute + pace.write - pace.overlapped for pace in paces) * largest
    n_each = -(-len(plan.shards) // len(paces))
    memory = memory_per_row(plan, n_each)
    return Forecast(
        n_bytes=round(plan.n_rows * sum(facts["n_bytes"] for facts in told) / pilot_rows),
        seconds=startup + pace_of_all * _rows_of_busiest(plan.shards, busy) + filling,
        startup_seconds=startup,
        memory_per_worker=max(facts["base_memory"] for facts in told) + memory * largest,
        rows_per_second=busy / pace_of_all,
        pilot_rows=pilot_rows,
    )


def _rows_of_busiest(shards: Sequence[ShardPlan], n_workers: int) -> int:
    """Rows of the worker that ends last when every idle worker takes the next shard."""
    rows = [0] * n_workers
    for shard in shards:
        heapq.heapreplace(rows, rows[0] + shard.n_rows)
    return max(rows)


@contextmanager
def scratch_store(store: Store) -> Iterator[Store]:
    """A store of its own on the same disk or bucket, removed at the end."""
    if isinstance(store.storage, LocalStorage):
        with store.staging() as staging:
            yield Store.create(str(staging.folder / "pilot"))
        return
    folder = f"{STAGING}/{owned_name('pilot')}"
    try:
        yield Store.create(f"{store.url}/{folder}")
    finally:
        for path in store.storage.list(folder):
            store.storage.delete(path)


def tune_token_budget(plan: Plan, store: Store) -> tuple[int, dict[int, float]]:
    """The fastest token budget here, and the tokens per second of each that was tried.

    Measured in this process on batches spread over the lengths of the largest shard. The plan's own budget is kept
    unless another one is at least 5 % faster.
    """
    sequences = with_rows(read_sequences(store, plan, max(plan.shards, key=lambda shard: shard.n_rows)))
    loaded = open_extractor(plan).loaded
    rates: dict[int, float] = {}
    n_tokens = plan.capture.token_budget
    for factor in (4, 1, 2, 8, 16):
        budget = max(1, plan.capture.token_budget * factor // 4)
        part = spread_batches(sequences, budget, max(1, n_tokens // budget))
        extractor = make_extractor(loaded, replace(plan, capture=replace(plan.capture, token_budget=budget)))
        seconds = min(_seconds(extractor, part) for _ in range(3))
        rates[budget] = len(part.token_ids) / seconds
        n_tokens = round(TUNING_SECONDS * rates[budget])
    kept, best = plan.capture.token_budget, max(rates, key=lambda budget: rates[budget])
    return (best if rates[best] > 1.05 * rates[kept] else kept), rates


def _seconds(extractor: Extractor, sequences: Sequences) -> float:
    started = time.monotonic()
    extractor.extract(sequences)
    return time.monotonic() - started
