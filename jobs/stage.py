"""What the stage commands have in common, from dump to words: find the plan, run, say what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from jobs.console import say
from jobs.held_store import held, run_lease
from jobs.next_command import NextCommand
from jobs.options import (
    choose_executor,
    config_argument,
    dry_run_option,
    executor_options,
    find_plan,
    model_option,
    store_option,
    wait_option,
)
from pipeline.run.overview import overview
from pipeline.run.plan_record import Plan
from pipeline.run.plans import save_settings
from pipeline.run.progress import Progress
from pipeline.run.work import Executor
from pipeline.store.staging import sweep_staging
from pipeline.store.store import Store
from schemas.config import Config

Stage = Callable[[Plan, Store, Executor, Progress], Any]
Change = Callable[[Plan, Store], Config]
#: What came of a stage, or what would, in lines.
Description = Callable[[Plan, Store], list[str]]


def stage_options(command: Any) -> Any:
    """Arguments of every stage command."""
    for decorator in (
        dry_run_option,
        wait_option,
        executor_options,
        model_option,
        store_option(required=False),
        config_argument(required=False),
    ):
        command = decorator(command)
    return command


def run_stage(
    stage: Stage,
    change: Change,
    following: NextCommand,
    *,
    config_path: str | None,
    store_url: str | None,
    alias: str | None,
    dry_run: bool,
    wait: float,
    placement: dict[str, Any],
    forecast: Description | None = None,
    describe: Description | None = None,
) -> None:
    """Find the plan, apply the command line's changes to its config, run the stage, name the next command.

    Settings of a config given here stay with the plan once the stage has gone through with them; options of the command
    line are for this once. ``forecast`` has more to say in a dry run, ``describe`` about what the stage has made.
    """
    store, planned = find_plan(config_path, store_url, alias)
    plan = planned.with_config(change(planned, store))
    if dry_run:
        say([*overview(plan, store), *(forecast(plan, store) if forecast else [])])
        return
    chosen, executor = choose_executor(plan.config, **placement)
    plan = plan.with_config(plan.config.model_copy(update={"executor": chosen}))
    with held(store, run_lease(plan.model), wait) as progress:
        stage(plan, store, executor, progress)
        sweep_staging(store.storage)  # of workers that died and were replaced
        if config_path is not None:
            save_settings(store, planned)
    say([*(describe(plan, store) if describe else []), f"next: {following(store, plan)}"])


def stage_command(name: str, stage: Stage, doc: str, following: NextCommand) -> click.Command:
    """A stage command without options of its own."""

    @click.command(name, help=doc)
    @stage_options
    def command(
        config_path: str | None, store_url: str | None, alias: str | None, dry_run: bool, wait: float, **placement: Any
    ) -> None:
        run_stage(
            stage,
            lambda plan, _: plan.config,
            following,
            config_path=config_path,
            store_url=store_url,
            alias=alias,
            dry_run=dry_run,
            wait=wait,
            placement=placement,
        )

    return command
