"""Taking the time of an action, and time and memory of a command in a process of its own."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

_SECONDS = 0.05


@dataclass(frozen=True)
class Watched:
    """What a command took."""

    seconds: float
    driver_bytes: int
    """Peak resident size of the command's own process."""
    worker_bytes: int
    """The largest peak of any process below it; 0 if it starts none."""


def neuronmill(*arguments: str) -> Watched:
    """Run ``neuronmill`` with ``arguments``; ends the benchmark with its output if it fails."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "jobs", *arguments], stdout=output, stderr=output)
        root, driver, worker = psutil.Process(process.pid), 0, 0
        while process.poll() is None:
            try:
                driver = max(driver, root.memory_info().rss)
                worker = max([worker, *(child.memory_info().rss for child in root.children(recursive=True))])
            except psutil.NoSuchProcess:  # one has ended just now
                pass
            time.sleep(_SECONDS)
        seconds = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            raise SystemExit(
                f"neuronmill {' '.join(arguments)}: exit code {process.returncode}\n{output.read().decode()}"
            )
    return Watched(seconds, driver, worker)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def median_seconds(action: Callable[[], object], rounds: int) -> float:
    """Median of ``rounds`` after one that warms up."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
