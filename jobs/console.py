"""What a job shows: progress on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from schemas.amounts import counted, human_bytes, human_seconds

_LINE_SECONDS = 5.0  # between plain log lines
_DRAW_SECONDS = 0.1  # between redraws of a terminal line


class ConsoleProgress:
    """Progress on standard error; see :class:`pipeline.run.progress.Progress`."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self._begin("", 0, "", 0)

    def _begin(self, stage: str, total: int, unit: str, finished: int) -> None:
        self.stage, self.total, self.unit, self.done = stage, total, unit, finished
        self.already, self.n_rows, self.n_bytes = finished, 0, 0
        self.started = self.shown = time.monotonic()

    def start(self, stage: str, total: int, unit: str, finished: int = 0) -> None:
        """Name the stage and how much of it an earlier run has left."""
        self._begin(stage, total, unit, finished)
        resumed = f", {finished} already done" if finished else ""
        amount = f" {counted(total, unit.removesuffix('s'))}{resumed}" if total else ""
        self._line(f"{stage}:{amount} …")

    def advance(self, n: int = 1, *, n_rows: int = 0, n_bytes: int = 0) -> None:
        """Count, and show now and then."""
        self.done += n
        self.n_rows += n_rows
        self.n_bytes += n_bytes
        now = time.monotonic()
        if now - self.shown >= (_DRAW_SECONDS if self.live else _LINE_SECONDS):
            self.shown = now
            text = self._status(now - self.started)
            if self.live:
                sys.stderr.write(f"\r\x1b[2K{text}")
                sys.stderr.flush()
            else:
                self._line(text)

    def _status(self, seconds: float) -> str:
        of = f"{self.done}/" if self.total else ""
        parts = [of + counted(self.total or self.done, self.unit.removesuffix("s"))]
        fresh = self.done - self.already
        parts.append(f"{self.n_rows / seconds:,.0f} rows/s" if self.n_rows else f"{fresh / seconds:,.0f} {self.unit}/s")
        if self.n_bytes:
            parts.append(f"{human_bytes(self.n_bytes / seconds)}/s")
        if self.total and fresh:
            parts.append(f"{human_seconds(seconds / fresh * (self.total - self.done))} left")
        return f"{self.stage}: " + ", ".join(parts)

    def finish(self, summary: str) -> None:
        """Say what the stage wrote."""
        if self.live:
            sys.stderr.write("\r\x1b[2K")
        self._line(f"{self.stage}: {summary} ({human_seconds(time.monotonic() - self.started)})")

    def _line(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def say(lines: Iterable[str]) -> None:
    """Print the result of a job on standard output."""
    for line in lines:
        print(line)
