"""Correlation of all pairs of neurons: speed beside numpy and the limit of matrix products, in memory and from a store.

    python -m benchmarks.correlate [--neurons 6144] [--rows 25000] [--threads 2] [--rounds 3] [--store STORE]

In turn, medians:

peak      one float32 matrix product of the size that tiles use, on all threads: the limit
arrays    ``numpy.corrcoef`` of a float32 array in memory (numpy multiplies in float64, one triangle) beside ours, whose
          largest difference from it is shown; the work counted is N² T, a multiplication and an addition for each pair
          of the triangle and each row, so nobody who computes one triangle can pass the limit
store     with ``--store``: all tiles of each model of a store folded from its Parquet files by one worker, and what
          that is of the limit. What it writes is taken away again.

Memory is the peak of this process over what it held before.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.inputs import show
from benchmarks.watched import median_seconds
from pipeline.run.alignment import Alignment
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.member_rows import Member
from pipeline.run.moment_tiles import MAX_BLOCK, MomentTiles, TileJob, block_size, fold_tiles, tiles_stage
from pipeline.run.neuron_blocks import neuron_blocks
from pipeline.run.plan_record import Plan
from pipeline.run.plans import load_plan, planned_models
from pipeline.run.progress import Silent
from pipeline.run.ray_executor import RayExecutor
from pipeline.run.work import Executor
from pipeline.stats.cross_moments import CHUNK, CrossMoments
from pipeline.store.store import Store


def peak_rate(threads: int, rounds: int) -> float:
    """Floating-point operations per second of a float32 matrix product."""
    a, b = np.random.default_rng(0).standard_normal((2, MAX_BLOCK, CHUNK), np.float32)
    out = np.empty((MAX_BLOCK, MAX_BLOCK), np.float32)
    with threadpool_limits(threads):
        seconds = median_seconds(lambda: np.matmul(a, b.T, out=out), rounds)
    return 2 * MAX_BLOCK**2 * CHUNK / seconds


def ours(x: NDArray[np.float32], threads: int) -> NDArray[np.float64]:
    """Correlations (N, N) of ``x`` (N, T)."""
    return CrossMoments.empty(len(x)).update(x, threads=threads).correlations(threads)


def arrays(options: argparse.Namespace, peak: float) -> None:
    x = np.random.default_rng(1).standard_normal((options.neurons, options.rows), np.float32)
    x[::7] += 300
    with threadpool_limits(options.threads):
        theirs = median_seconds(lambda: np.corrcoef(x), options.rounds)
        seconds = median_seconds(lambda: ours(x, options.threads), options.rounds)
        error = float(np.abs(ours(x, options.threads) - np.corrcoef(x.astype(np.float64))).max())
    work = options.neurons**2 * options.rows
    show(
        {
            "numpy.corrcoef": f"{theirs:.1f} s, {work / theirs / 1e9:.0f} GFLOP/s",
            "ours": f"{seconds:.1f} s, {work / seconds / 1e9:.0f} GFLOP/s, {work / seconds / peak:.0%} of the limit, "
            f"{theirs / seconds:.2f} times numpy, largest difference {error:.1e}",
        }
    )


def of_store(url: str, model: str | None, memory_mb: int, peak: float) -> None:
    for alias in [model] if model else planned_models(Store.open(url)):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, tiles = folded(url, alias, memory_mb, LocalExecutor(), 1)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        work, blocks = tiles.axis.n_neurons**2 * tiles.n_rows, tiles.axis.blocks
        read = 2 * tiles.n_rows * sum(blocks[a].n_neurons + (a != b) * blocks[b].n_neurons for a, b in tiles.receipts)
        show(
            {
                f"{alias}: {tiles.axis.n_neurons} neurons × {tiles.n_rows} rows": f"{seconds:.1f} s, "
                f"{work / seconds / 1e9:.0f} GFLOP/s, {work / seconds / peak:.0%} of the limit; {len(tiles.receipts)} "
                f"tiles, {read / 1e9:.1f} GB read, {grown / 1e3:.0f} MB more resident"
            }
        )


def of_workers(url: str, model: str | None, memory_mb: int, numbers: list[int]) -> None:
    cores = sorted(os.sched_getaffinity(0))
    for alias in [model] if model else planned_models(Store.open(url)):
        times = []
        for workers in numbers:
            os.sched_setaffinity(0, cores[:workers])  # actors inherit it
            times.append(folded(url, alias, memory_mb, RayExecutor(workers=workers), workers)[0])
            show({f"{alias}, {workers} Ray workers": f"{times[-1]:.1f} s, {times[0] / times[-1]:.2f} times the first"})
    os.sched_setaffinity(0, cores)


def folded(url: str, alias: str, memory_mb: int, executor: Executor, workers: int) -> tuple[float, MomentTiles]:
    """Seconds of folding all tiles, which are taken away again, and what they were."""
    store = Store.open(url)
    plan = with_workers(load_plan(store, alias), workers)
    member = Member.alone(store, plan)
    blocks = tuple(neuron_blocks(0, plan, lambda *_: True, block_size([plan], memory_mb)))
    alignment = Alignment.alone(member)
    stage = tiles_stage([member], blocks, alignment, "float32", null=-1)  # not that of any command
    job = TileJob(store.url, stage, (member,), blocks, alignment, "float32", None)
    pairs = [(a, b) for a in range(len(blocks)) for b in range(a, len(blocks))]
    start = time.perf_counter()
    tiles = fold_tiles(store, executor, Silent(), job, pairs)
    seconds = time.perf_counter() - start
    remove_stage(Path(url), stage)
    return seconds, tiles


def with_workers(plan: Plan, workers: int) -> Plan:
    """They share the cores of this process."""
    executor = plan.config.executor.model_copy(update={"workers": workers})
    return plan.with_config(plan.config.model_copy(update={"executor": executor}))


def remove_stage(folder: Path, stage: str) -> None:
    for path in [folder / "receipts" / stage, *folder.glob(f"states/run=*/{stage}")]:
        shutil.rmtree(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, default=6144)
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", help="a local store; its models are correlated one after the other")
    parser.add_argument("--model", help="one of its models; all by default")
    parser.add_argument("--memory-mb", type=int, default=512)
    parser.add_argument("--workers", type=int, nargs="+", help="instead: by so many Ray workers, each with a core")
    options = parser.parse_args()
    peak = peak_rate(options.threads, 5)
    show({"peak": f"{peak / 1e9:.0f} GFLOP/s, float32, {options.threads} threads"})
    if options.neurons:
        arrays(options, peak)
    if options.store and options.workers:
        of_workers(options.store, options.model, options.memory_mb, options.workers)
    elif options.store:
        of_store(options.store, options.model, options.memory_mb, peak)


if __name__ == "__main__":
    main()
