"""Jobs for tests of executors: their workers add, raise, or kill their own process. Importable by worker processes."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Number:
    """A task that is a number and what its worker does with it: ``add``, ``raise``, ``die`` or ``die_once``;
    ``write`` (computes quickly, then writes slowly), ``write_badly`` and ``write_and_die``."""

    value: int
    deed: str = "add"

    @property
    def key(self) -> str:
        return f"number-{self.value:03d}"


@dataclass(frozen=True)
class NumberJob:
    """Leaves a file per attempt in ``folder``. ``unopened`` is the error of workers that cannot be opened: of all, or,
    with ``first_opens``, of all but one, whose tasks wait until another has failed."""

    folder: Path
    unopened: Exception | None = None
    first_opens: bool = False

    def open(self) -> NumberWorker:
        if self.unopened is None:
            return NumberWorker(self.folder)
        if self.first_opens:
            with suppress(FileExistsError):
                (self.folder / "first").touch(exist_ok=False)
                return NumberWorker(self.folder, waits=True)
        (self.folder / f"open-{os.getpid()}-{secrets.token_hex(4)}").touch()
        raise self.unopened


class NumberWorker:
    def __init__(self, folder: Path, *, waits: bool = False) -> None:
        self.folder = folder
        self.waits = waits
        self.writer = ThreadPoolExecutor(1)

    def process(self, task: Number, attempt: int) -> dict[str, Any] | Future[dict[str, Any]]:
        (self.folder / f"{task.key}-{attempt}").touch()
        while self.waits and not list(self.folder.glob("open-*")):
            time.sleep(0.01)
        time.sleep(1.0 if self.waits else 0.0)  # the driver hears of the other one first
        if task.deed == "raise":
            raise ValueError(f"{task.value} is odd today")
        if task.deed == "die" or (task.deed == "die_once" and attempt == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if task.deed.startswith("write"):
            began, thread = time.monotonic(), threading.get_ident()
            time.sleep(0.05)
            return self.writer.submit(self.write, task, {"began": began, "thread": thread})
        return {"sum": task.value + 1, "attempt": attempt, "process": os.getpid()}

    def write(self, task: Number, facts: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.3)
        if task.deed == "write_badly":
            raise OSError("the disk is full today")
        if task.deed == "write_and_die":
            os.kill(os.getpid(), signal.SIGKILL)
        return facts | {"sum": task.value + 1, "process": os.getpid(), "written": time.monotonic()}
