"""Peak memory as the corpus grows: the whole pipeline on 1, 4 and 16 copies of a corpus, each in a fresh process.

    python -m benchmarks.memory [--corpus FILES] [--copies 1 4 16] [--layers 3]

Copies are distinct documents. Memory is bounded by the shard, so the peak resident size must stay flat.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.dump import LEE, MODEL, corpus_config
from pipeline.corpus.reader import read_corpus


def repeat(corpus: str, copies: int, folder: Path) -> int:
    """Write ``copies`` of the corpus as JSONL documents of words; returns the number of words."""
    sentences = list(read_corpus(corpus_config(corpus)))
    n_words = 0
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(copies):
            for sentence in sentences:
                file.write(json.dumps({"text": " ".join(sentence.text.split())}) + "\n")
                n_words += len(sentence.words)
    return n_words


def peak_memory(folder: Path, layers: list[int]) -> tuple[float, float]:
    """Peak resident size (bytes) of the run's process, and its seconds."""
    config = {
        "store": str(folder / "store"),
        "corpus": {"sources": [str(folder / "corpus.jsonl")], "format": "sentences"},
        "model": {"name": MODEL, "alias": "minilm"},
        "dump": {"layers": layers, "memory_mb": 64},
        "concepts": {"include": [{"name": "capitalised", "regex": "[A-Z].*"}, {"name": "digits", "regex": "[0-9]+"}]},
        "executor": {"memory_mb": 256},
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    start = time.perf_counter()
    run = subprocess.Popen(
        [sys.executable, "-m", "jobs", "run", str(folder / "config.yaml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        raise SystemExit(f"the run failed with exit code {run.returncode}")
    return usage.ru_maxrss * 1024, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default=LEE)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--layers", type=int, nargs="+", default=[3])
    options = parser.parse_args()
    print(f"{'copies':>6}  {'words':>10}  {'peak MB':>8}  {'seconds':>8}")
    for copies in options.copies:
        with tempfile.TemporaryDirectory() as name:
            n_words = repeat(options.corpus, copies, Path(name))
            n_bytes, seconds = peak_memory(Path(name), options.layers)
        print(f"{copies:>6}  {n_words:>10,}  {n_bytes / 1e6:>8,.0f}  {seconds:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
