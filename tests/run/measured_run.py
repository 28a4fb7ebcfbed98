"""`python measured_run.py CONFIG.yaml`: plan and dump in a process of its own; peak memory and seconds as JSON.

Memory is what the process grew by since its libraries were loaded and a first tiny plan was made.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.planning import plan_run
from pipeline.run.progress import Silent
from pipeline.store.store import Store
from schemas.config import Config
from schemas.config_file import load_config
from schemas.errors import NeuronmillError


@dataclass(frozen=True)
class Measured:
    """What a run came to, or the error that ended it."""

    grown_mb: int
    plan_seconds: float = 0.0
    dump_seconds: float = 0.0
    n_sentences: int = 0
    n_rows: int = 0
    error: str = ""


def peak_mb() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _both(config: Config) -> dict[str, float]:
    store = Store.create(config.store)
    started = time.perf_counter()
    plan = plan_run(config, store, LocalExecutor(), Silent())
    planned = time.perf_counter()
    dump(plan, store, LocalExecutor(), Silent())
    return {
        "plan_seconds": round(planned - started, 1),
        "dump_seconds": round(time.perf_counter() - planned, 1),
        "n_sentences": sum(shard.n_sentences for shard in plan.shards),
        "n_rows": plan.n_rows,
    }


def measured_run(config: Path, timeout: float = 1_800) -> Measured:
    """The same from outside."""
    command = [sys.executable, str(Path(__file__)), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True)
    found = Measured(**json.loads(done.stdout.strip().splitlines()[-1]))
    sys.stdout.write(f"{found}\n")  # shown by `pytest -s`
    return found


def main() -> None:
    """Warm up beside the config's store, then measure."""
    config = load_config(Path(sys.argv[1]))
    small = Path(config.store).with_name("warm-up.txt")
    small.write_text("the cat.\n", encoding="utf-8")
    source = config.corpus.sources[0].model_copy(update={"path": str(small)})
    corpus = config.corpus.model_copy(update={"sources": (source,), "format": "text"})
    _both(config.model_copy(update={"store": str(small.with_suffix("")), "corpus": corpus}))
    before = peak_mb()
    try:
        facts: dict[str, object] = {**_both(config)}
    except NeuronmillError as error:
        facts = {"error": str(error)}
    sys.stdout.write(json.dumps({"grown_mb": peak_mb() - before, **facts}) + "\n")


if __name__ == "__main__":
    main()
