"""Whether a plan's forecast holds: its bytes, seconds and memory against the dump that follows.

    python -m benchmarks.forecast [--corpus FILES] [--model MODEL ...]

For each model: plan and pilot in this process, then `neuronmill dump` in a fresh one, with the same executor. Printed
are forecast, outcome and forecast ÷ outcome; 0.75 to 1.25 was promised.
"""

from __future__ import annotations

import argparse
import tempfile
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
    write_lines,
)
from benchmarks.watched import folder_bytes, neuronmill
from pipeline.run.pilot import forecast

CASES = {
    "float16": {},
    "float16, 2 workers": {"executor": {"workers": 2, "threads": 1}},
    "bfloat16 compute and storage": {"model": {"compute_dtype": "bfloat16"}, "dump": {"dtype": "bfloat16"}},
    "topk 32, mlp": {"dump": {"components": ["mlp"], "mode": "topk", "k": 32}},
    "int8, resid": {"dump": {"components": ["resid"], "dtype": "int8"}},
}


def compare(lines: Path, folder: Path, model: str, name: str) -> None:
    store, plan = planned(line_config(lines, folder / "store", model, **CASES[name]))
    expected = forecast(plan, store)
    took = neuronmill("dump", "--store", store.url)
    outcome = (
        folder_bytes(Path(store.url) / "activations"),
        took.seconds,
        took.worker_bytes if plan.config.executor.workers > 1 else took.driver_bytes,
    )
    sides = zip((expected.n_bytes, expected.seconds, expected.memory_per_worker), outcome, strict=True)
    cells = [f"{found:10.1f} {real:10.1f} {found / real:5.2f}" for found, real in _scaled(sides)]
    print(f"{Path(model).name[:12]:12} {name:30} {'  '.join(cells)}", flush=True)


def _scaled(sides: zip[tuple[float, float]]) -> list[tuple[float, float]]:
    """Bytes as megabytes."""
    return [(a / scale, b / scale) for (a, b), scale in zip(sides, (1e6, 1.0, 1e6), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default=EWT_DEV if HAS_SHARED else LEE)
    parser.add_argument("--model", nargs="+", default=[MINILM, *([STORIES] if HAS_SHARED else [])])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    head = "  ".join(f"{name:>10} {'taken':>10} {'ratio':>5}" for name in ("MB", "seconds", "memory MB"))
    print(f"{'model':12} {'case':30} {head}")
    with tempfile.TemporaryDirectory() as name:
        lines = write_lines(sentence_texts(options.corpus), Path(name) / "sentences.txt")
        for model in options.model:
            for case in options.cases:
                with tempfile.TemporaryDirectory() as folder:
                    compare(lines, Path(folder), model, case)


if __name__ == "__main__":
    main()
