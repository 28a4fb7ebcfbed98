"""Pick the executor that a config names."""

from __future__ import annotations

from pipeline.run.local_executor import LocalExecutor
from pipeline.run.work import Executor
from schemas.config import ExecutorConfig


def make_executor(config: ExecutorConfig) -> Executor:
    """The executor of ``config``; ray is imported only when it is asked for (the import takes seconds)."""
    if config.kind == "local":
        return LocalExecutor(config.workers, config.max_attempts)
    from pipeline.run.ray_executor import RayExecutor  # noqa: PLC0415 - see above

    return RayExecutor(
        config.workers,
        gpus_per_worker=config.gpus_per_worker,
        address=config.address,
        max_attempts=config.max_attempts,
    )
