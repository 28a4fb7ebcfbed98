"""The driver of a chaos run: every stage from plan to publish by the library's own functions, in a process to kill.

Nothing here changes what the library does: storage operations are counted, and the executor's jobs are noted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import tiny_run
import torch
from kill_points import KillPoints
from noted_job import NotedExecutor, Notes

from pipeline.run.local_executor import LocalExecutor
from pipeline.run.ray_executor import RayExecutor
from pipeline.store.publish import publish
from schemas.config_file import load_config
from schemas.errors import IncompleteError

#: Exit code of a driver whose tasks lost their workers too often; the next one resumes.
INCOMPLETE = 1
STAGES = {
    "dump": tiny_run.dump,
    "stats": tiny_run.compute_statistics,
    "search": tiny_run.search,
    "contexts": tiny_run.contexts,
}


class FirstAdvance(tiny_run.Silent):
    """Notes how long the driver took to finish its first new piece of work."""

    def __init__(self, path: Path) -> None:
        self.path, self.started = path, time.monotonic()

    def advance(self, n: int = 1, *, n_rows: int = 0) -> None:
        if self.started:
            self.path.write_text(str(time.monotonic() - self.started), encoding="ascii")
            self.started = 0.0


@dataclass(frozen=True)
class Drive:
    """One start of the driver: where it works, and at which storage operation it is killed (None: never).

    ``spread`` are the stages that run on two workers of ``kind`` (`local` or `ray`); the others run embedded.
    """

    config: Path
    notes: Notes
    kind: str = "local"
    spread: tuple[str, ...] = ()
    kill_at: int | None = None

    @property
    def last_point(self) -> Path:
        """File that names the operation at which the driver was killed."""
        return self.notes.folder / "last-point"

    @property
    def first_advance(self) -> Path:
        """File with the seconds from the start to the first finished piece."""
        return self.notes.folder / "first-advance"

    def executor(self, stage: str) -> NotedExecutor:
        """Where a stage runs."""
        kinds = {"local": LocalExecutor, "ray": RayExecutor}
        spread = kinds[self.kind](2, max_attempts=3)
        return NotedExecutor(spread if stage in self.spread else LocalExecutor(1), self.notes)

    def __call__(self) -> None:
        """Run all stages; the process ends with :data:`INCOMPLETE` if a task lost its worker too often."""
        torch.set_num_threads(1)
        config = load_config(self.config)
        points = KillPoints(Path(config.store), self.last_point, self.kill_at)
        progress = FirstAdvance(self.first_advance)
        with points.installed():
            try:
                self.notes.enter("plan")
                planned = tiny_run.plan_only(config, self.executor("plan"))
                for name, stage in STAGES.items():
                    self.notes.enter(name)
                    stage(planned.plan, planned.store, self.executor(name), progress)
                self.notes.enter("publish")
                publish(planned.store)
            except IncompleteError as error:
                (self.notes.folder / "incomplete").write_text(str(error), encoding="utf-8")
                raise SystemExit(INCOMPLETE) from error
        (self.notes.folder / "n-points").write_text(str(points.n), encoding="ascii")
