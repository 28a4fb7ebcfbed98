"""Verification speed: what `neuronmill verify` checks per second, against hashing and reading the same files.

    python -m benchmarks.verify [--model DIR] [--corpus FILES] [--copies 1] [--rounds 3]

All layers of resid and mlp are dumped as float16 (stories260K over EWT-dev by default, both beside the repository),
then measured warm, in turn, round by round:

verify    every file of the store: size, SHA-256, rows, numbering, finite values (pipeline.store.verify)
sha256    SHA-256 of the same files, one thread and as many as verify has: the limit of any check of checksums
read      reading the same files into a buffer: the limit of any check at all
command   `neuronmill verify --store STORE` as a process, once, with its start and 200 sentences tokenised again

It prints medians: MB/s, CPU seconds, and verify ÷ the limits. With --copies the corpus is dumped several times over.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.planning import plan_run
from pipeline.run.progress import Silent
from pipeline.store.store import Store
from pipeline.store.verify import _LOCAL_READERS, verify
from schemas.config import Config

BESIDE = Path(__file__).resolve().parents[2] / "shared"
MODEL = BESIDE / "models" / "stories260K"
CORPUS = BESIDE / "data" / "ewt" / "en_ewt-ud-dev.conllu.gz"


def fill(folder: Path, model: str, corpus: str, copies: int) -> Store:
    """A store with a finished dump of ``copies`` of the corpus, as files of their own."""
    sources = []
    for copy in range(copies):
        sources.append(folder / f"{copy}-{Path(corpus).name}")
        sources[-1].symlink_to(Path(corpus).resolve())
    config = Config.model_validate(
        {
            "store": str(folder / "store"),
            "corpus": {"sources": [str(source) for source in sources]},
            "model": {"name": model, "alias": "model", "device": "cpu"},
            "concepts": {"include": [{"name": "word", "regex": r"\w+"}]},
        }
    )
    store = Store.create(config.store)
    dump(plan_run(config, store, LocalExecutor(), Silent()), store, LocalExecutor(), Silent())
    return store


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path) -> None:
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def on_threads(action: Callable[[Path], object], files: list[Path], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(action, files))


def command(store: Store) -> None:
    subprocess.run([sys.executable, "-m", "jobs", "verify", "--store", store.url], check=True, capture_output=True)


def checked(store: Store) -> None:
    if problems := verify(store):
        raise SystemExit(f"the store is broken: {problems[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(MODEL), help="local directory or hub id")
    parser.add_argument("--corpus", default=str(CORPUS))
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not Path(options.corpus).is_file():
        parser.error(f"--corpus {options.corpus}: there is no such file; name a corpus, and a model with --model")
    with tempfile.TemporaryDirectory() as folder:
        store = fill(Path(folder), options.model, options.corpus, options.copies)
        files = sorted(Path(store.url).rglob("*.parquet"))
        n_bytes = sum(file.stat().st_size for file in files)
        subjects: dict[str, Callable[[], None]] = {
            "verify": lambda: checked(store),
            "sha256, 1 thread": lambda: on_threads(sha256, files, 1),
            f"sha256, {_LOCAL_READERS} threads": lambda: on_threads(sha256, files, _LOCAL_READERS),
            "read, 1 thread": lambda: on_threads(read, files, 1),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in subjects}
        for name, action in [*subjects.items()] * (options.rounds + 1):
            wall, cpu = time.perf_counter(), time.process_time()
            action()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        start = time.perf_counter()
        command(store)
        whole = time.perf_counter() - start
    medians = {
        name: [statistics.median(kind) for kind in zip(*found[1:], strict=True)] for name, found in times.items()
    }
    print(f"{'files':24} {len(files):,} of {n_bytes / 1e6:,.1f} MB")
    for name, (wall, cpu) in medians.items():
        print(f"{name:24} {wall:.2f} s, {n_bytes / wall / 1e6:,.0f} MB/s, {cpu:.2f} s of CPU")
    print(f"{'command':24} {whole:.2f} s, {n_bytes / whole / 1e6:,.0f} MB/s with its start")
    verified = medians["verify"]
    for name in subjects:
        if name != "verify":
            wall, cpu = medians[name]
            print(f"{'verify ÷ ' + name:24} {wall / verified[0]:.0%} of its rate, {verified[1] / cpu:.1f} × its CPU")


if __name__ == "__main__":
    main()
