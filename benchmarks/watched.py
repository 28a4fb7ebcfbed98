"""A command in a process of its own, with the peak resident sizes of it and of the processes it starts."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
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
