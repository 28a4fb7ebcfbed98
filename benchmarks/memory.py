"""Peak memory as the corpus grows: the whole pipeline on copies of a corpus, each in fresh processes.

    python -m benchmarks.memory [--model MODEL] [--corpus FILES] [--copies 1 10 100] [--workers 2]

Copies are distinct documents. Memory is bounded by the shard, so the peak resident size of the driver (which plans,
publishes and writes the page) and of each worker (which dumps, computes statistics and searches) must stay flat.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import yaml

from benchmarks.inputs import EWT_DEV, HAS_SHARED, LEE, MINILM, STORIES, line_config, sentence_texts, write_lines
from benchmarks.watched import Watched, neuronmill


def run(lines: Path, folder: Path, model: str, layers: list[int], workers: int) -> Watched:
    """The whole run; two concepts, small budgets."""
    concepts = [{"name": "capitalised", "regex": "[A-Z].*"}, {"name": "digits", "regex": "[0-9]+"}]
    config = line_config(
        lines,
        folder / "store",
        model,
        dump={"components": ["resid"], "layers": layers, "memory_mb": 64},
        concepts={"include": concepts},
        executor={"memory_mb": 256, "workers": workers, "threads": 1},
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    return neuronmill("run", str(folder / "config.yaml"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=STORIES if HAS_SHARED else MINILM)
    parser.add_argument("--corpus", default=EWT_DEV if HAS_SHARED else LEE)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--layers", type=int, nargs="+", default=[3])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    texts = sentence_texts(options.corpus)
    print(f"{'copies':>7} {'sentences':>10} {'driver MB':>10} {'worker MB':>10} {'seconds':>8}")
    for copies in options.copies:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            lines = write_lines(texts, folder / "sentences.txt", copies)
            took = run(lines, folder, options.model, options.layers, options.workers)
        driver, worker = took.driver_bytes / 1e6, took.worker_bytes / 1e6
        print(f"{copies:7} {len(texts) * copies:10,} {driver:10,.0f} {worker:10,.0f} {took.seconds:8.0f}", flush=True)


if __name__ == "__main__":
    main()
