"""Two Ray workers against one, and Ray against a local process, each worker limited to one thread on one core.

    python -m benchmarks.workers [--corpus FILES] [--sentences 2000] [--rounds 2]

The same shards of MiniLM-L6 (resid and mlp, all layers), in turn. A rate is rows per second after three shards per
worker: processes, libraries and models are loaded by then, and the memory of a shard is no longer fresh. One
worker on two cores is there too: it computes on one and writes on the other. Also printed is what the machine itself
allows: the bare forward pass in one and in two processes at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.dump import ROWS_PER_SHARD
from benchmarks.inputs import LEE, MINILM, line_config, planned, sentence_texts, show, write_lines
from pipeline.extract.batching import batches_of, model_inputs
from pipeline.run.dump import DumpJob, open_extractor, read_sequences
from pipeline.run.executors import make_executor
from pipeline.run.plan_record import Plan
from pipeline.run.work import Outcome
from pipeline.store.store import Store
from schemas.config import ExecutorConfig
from schemas.errors import IncompleteError

#: Shards of each worker before its rate counts.
_WARM_UP = 3


@dataclass(frozen=True)
class Side:
    """Workers of a kind, and the cores of this machine that they may use."""

    executor: ExecutorConfig
    cores: int


def rate(store: Store, plan: Plan, side: Side) -> float:
    """Rows per second once all workers run."""
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(everything)[: side.cores])  # what is started from here keeps to them
    try:
        return _rate(store, plan, side.executor)
    finally:
        os.sched_setaffinity(0, everything)


def _rate(store: Store, plan: Plan, executor: ExecutorConfig) -> float:
    plan = plan.with_config(plan.config.model_copy(update={"executor": executor}))
    shutil.rmtree(Path(store.url) / "activations", ignore_errors=True)
    shutil.rmtree(Path(store.url) / "receipts" / f"dump-{plan.run_id}", ignore_errors=True)
    rows = {shard.key: shard.n_rows for shard in plan.shards}
    finished: list[tuple[float, int]] = []

    def done(outcome: Outcome) -> None:
        if outcome.error:
            raise IncompleteError(outcome.error)
        finished.append((time.perf_counter(), rows[outcome.key]))

    make_executor(executor).run(DumpJob(store.url, plan), plan.shards, done)
    first = _WARM_UP * executor.workers - 1
    if len(finished) < first + 2:
        raise SystemExit(f"{len(finished)} shards are too few for {executor.workers} workers; give more --sentences")
    return sum(n for _, n in finished[first + 1 :]) / (finished[-1][0] - finished[first][0])


def _forward(store_url: str, plan: Plan, seconds: float, rates: multiprocessing.Queue[float]) -> None:
    extractor = open_extractor(plan)
    sequences = read_sequences(Store.open(store_url), plan, plan.shards[0])
    pad = extractor.loaded.info.pad_token_id
    batches = batches_of(sequences, plan.capture.token_budget, pad, packing=plan.capture.packing)
    n_rows, start = 0, time.perf_counter()
    with torch.inference_mode():
        while time.perf_counter() - start < seconds:
            for batch in batches:
                extractor.loaded.module(**model_inputs(extractor.loaded, batch))
                n_rows += len(batch.row)
    rates.put(n_rows / (time.perf_counter() - start))


def bare_rate(store: Store, plan: Plan, processes: int, seconds: float = 10.0) -> float:
    """Tokens per second of the forward pass alone in so many processes at once."""
    context = multiprocessing.get_context("spawn")
    rates: multiprocessing.Queue[float] = context.Queue()
    started = [context.Process(target=_forward, args=(store.url, plan, seconds, rates)) for _ in range(processes)]
    for process in started:
        process.start()
    total = sum(rates.get() for _ in started)
    for process in started:
        process.join()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default=LEE)
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows-per-shard", type=int, default=ROWS_PER_SHARD // 4)
    parser.add_argument("--components", nargs="+", default=["resid", "mlp"])
    options = parser.parse_args()
    sides = {
        "local, 1": Side(ExecutorConfig(threads=1), 1),
        "Ray, 1": Side(ExecutorConfig(kind="ray", threads=1), 1),
        "Ray, 2": Side(ExecutorConfig(kind="ray", workers=2, threads=1), 2),
        "local, 2": Side(ExecutorConfig(workers=2, threads=1), 2),
        "local, 1 on two cores": Side(ExecutorConfig(threads=1), 2),
        "Ray, 1 on two cores": Side(ExecutorConfig(kind="ray", threads=1), 2),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lines = write_lines(sentence_texts(options.corpus, options.sentences), folder / "sentences.txt")
        dump = {"rows_per_shard": options.rows_per_shard, "components": options.components}
        store, plan = planned(line_config(lines, folder / "store", MINILM, dump=dump, executor={"threads": 1}))
        found: dict[str, list[float]] = {name: [] for name in sides}
        bare: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(options.rounds):
            for name, side in sides.items():
                found[name].append(rate(store, plan, side))
            for processes, rates in bare.items():
                rates.append(bare_rate(store, plan, processes))
    median = {name: statistics.median(rates) for name, rates in found.items()}
    limit = {processes: statistics.median(rates) for processes, rates in bare.items()}
    show(
        {
            "rows, shards": f"{plan.n_rows:,}, {len(plan.shards)}",
            **{f"{name}: rows/s": f"{value:,.0f}" for name, value in median.items()},
            "Ray ÷ local, one worker": f"{median['Ray, 1'] / median['local, 1']:.3f} on one core, "
            f"{median['Ray, 1 on two cores'] / median['local, 1 on two cores']:.3f} on two",
            "Ray ÷ local, two workers": f"{median['Ray, 2'] / median['local, 2']:.3f}",
            "two Ray workers ÷ one": f"{median['Ray, 2'] / median['Ray, 1']:.2f}",
            "bare forward, two processes ÷ one": f"{limit[2] / limit[1]:.2f} ({limit[1]:,.0f} tokens/s each alone)",
        }
    )


if __name__ == "__main__":
    main()
