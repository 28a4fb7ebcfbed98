"""Verification speed: what `verify` checks per second, against hashing and reading the same files.

    python -m benchmarks.verify [--model MODEL] [--corpus FILES] [--copies 1] [--rounds 3]

All layers of resid and mlp are dumped as float16 (stories260K over EWT-dev, where they are beside the repository), then
measured warm, in turn, round by round:

verify    every file of the store: size, SHA-256, rows, numbering, finite values (pipeline.store.verify)
sha256    SHA-256 of the same files on one thread: the limit of any check of checksums
read      reading the same files into a buffer: the limit of any check at all
command   `neuronmill verify` as a process, once, with its start and 200 sentences tokenised again
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.inputs import (
    EWT_DEV,
    HAS_SHARED,
    LEE,
    MINILM,
    STORIES,
    line_config,
    planned,
    sentence_texts,
    show,
    write_lines,
)
from benchmarks.watched import neuronmill
from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.progress import Silent
from pipeline.store.storage import CHUNK_BYTES
from pipeline.store.store import Store
from pipeline.store.verify import verify


def read(path: Path) -> None:
    buffer = bytearray(CHUNK_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def checked(store: Store) -> None:
    if problems := verify(store):
        raise SystemExit(f"the store is broken: {problems[0]}")


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=STORIES if HAS_SHARED else MINILM)
    parser.add_argument("--corpus", default=EWT_DEV if HAS_SHARED else LEE)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = write_lines(sentence_texts(options.corpus), folder / "sentences.txt", options.copies)
        store, plan = planned(line_config(lines, folder / "store", options.model))
        dump(plan, store, LocalExecutor(), Silent())
        files = sorted(Path(store.url).rglob("*.parquet"))
        n_bytes = sum(file.stat().st_size for file in files)
        sides: dict[str, Callable[[], object]] = {
            "verify": lambda: checked(store),
            "sha256": lambda: [store.storage.sha256(str(file.relative_to(store.url))) for file in files],
            "read": lambda: [read(file) for file in files],
        }
        found: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for side, action in [*sides.items()] * (options.rounds + 1):
            found[side].append(timed(action))
        command = neuronmill("verify", "--store", store.url).seconds
    median = {side: [statistics.median(kind) for kind in zip(*times[1:], strict=True)] for side, times in found.items()}
    wall = {side: times[0] for side, times in median.items()}
    show(
        {
            "files": f"{len(files):,} of {n_bytes / 1e6:,.1f} MB",
            **{
                side: f"{seconds:.2f} s, {n_bytes / seconds / 1e6:,.0f} MB/s, {cpu:.2f} s of CPU"
                for side, (seconds, cpu) in median.items()
            },
            "command": f"{command:.2f} s, with its start",
            "verify ÷ sha256": f"{wall['sha256'] / wall['verify']:.2f}",
            "verify ÷ read": f"{wall['read'] / wall['verify']:.2f}",
        }
    )


if __name__ == "__main__":
    main()
