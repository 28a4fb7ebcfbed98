"""Kill points: before and after every operation by which a process changes the store.

Everything the store does to a disk ends in a handful of calls of the operating system: making a folder, fsync, link,
rename, unlink. They are counted here in the process that is to be killed, if they concern the store's folder; at the
n-th point the process gets SIGKILL, so between any two operations of any commit there is a point.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any
from unittest import mock

_OPERATIONS = ("mkdir", "fsync", "link", "replace", "rename", "unlink", "rmdir")


class KillPoints:
    """Counts the operations on ``store`` and kills this process at point ``kill_at``, naming it in ``last_point``."""

    def __init__(self, store: Path, last_point: Path, kill_at: int | None) -> None:
        self.store = str(store)
        self.last_point = last_point
        self.kill_at = kill_at
        self.n = 0
        self._lock = Lock()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """While this holds, operations count."""
        with mock.patch.multiple(os, **{name: self._wrapped(name, getattr(os, name)) for name in _OPERATIONS}):
            yield

    def _wrapped(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            place = self._place(arguments, options)
            if place is None:
                return operation(*arguments, **options)
            self._pass(f"before {name} {place}")
            result = operation(*arguments, **options)
            self._pass(f"after {name} {place}")
            return result

        return wrapped

    def _place(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> str | None:
        """The first folder inside the store of what is written; None for what is elsewhere."""
        last = arguments[-1] if len(arguments) > 1 and isinstance(arguments[-1], str | os.PathLike) else arguments[0]
        if isinstance(last, int):
            last = Path(f"/proc/self/fd/{last}").readlink()
        folder = options.get("dir_fd")
        if folder is not None:  # how shutil.rmtree works
            last = Path(f"/proc/self/fd/{folder}").readlink() / last
        path = os.fspath(last)
        if not path.startswith(self.store):
            return None
        return path[len(self.store) :].strip("/").partition("/")[0] or "."

    def _pass(self, name: str) -> None:
        with self._lock:
            self.n += 1
            if self.n == self.kill_at:
                self.last_point.write_text(name, encoding="utf-8")
                os.kill(os.getpid(), signal.SIGKILL)
