"""`neuronmill plan`: read the corpus, cut it into shards, compile the concepts."""

from __future__ import annotations

from typing import Any

import click

from jobs.console import say
from jobs.held_store import held, run_lease
from jobs.new_store import store_to_fill
from jobs.next_command import of_model
from jobs.options import choose_executor, config_to_plan, planning_options
from pipeline.run.overview import overview, planned_already
from pipeline.run.pilot import Forecast, forecast
from pipeline.run.plan_record import Plan
from pipeline.run.planning import plan_run
from pipeline.run.preview import preview
from schemas.amounts import counted, human_bytes, human_seconds


def describe(plan: Plan) -> list[str]:
    """The plan in a few lines."""
    capture = plan.capture
    held = human_bytes(max(shard.n_rows for shard in plan.shards) * capture.memory_per_row)
    stored = capture.dtype if capture.mode == "dense" else f"{capture.dtype}, {capture.rule}"
    if capture.mode == "threshold":
        stored += " (at most)"
    if capture.sample is not None:
        stored += f", a sample of rows ({capture.sample})"
    shards, n_layers = counted(len(plan.shards), "shard"), counted(len(capture.targets), "layer")
    layers = ", ".join(f"{c} {capture.n_neurons(c)}" for c in capture.components)
    return [
        f"run {plan.run_id}: {plan.model} ({plan.model_info.architecture}; {layers} neurons a layer)",
        f"  {counted(plan.n_rows, 'row')} ({capture.unit}) in {shards}, {n_layers} captured",
        f"  {human_bytes(plan.n_bytes)} to write as {stored}; the values of a shard take {held} in memory",
    ]


def describe_forecast(found: Forecast, n_workers: int) -> list[str]:
    """What the dump will take, and the memory to size a worker for."""
    startup = f"{human_seconds(found.startup_seconds)} to start"
    how = f"{counted(n_workers, 'worker')} ({found.rows_per_second:,.0f} rows/s; {startup})"
    amount = f"{human_bytes(found.n_bytes)}, about {human_seconds(found.seconds)} with {how}"
    memory = f"size a worker for {human_bytes(found.memory_per_worker)} of memory: model, libraries, shards in flight"
    return [f"dump, by a pilot of {counted(found.pilot_rows, 'row')}: {amount}", f"  {memory}"]


@click.command()
@planning_options
@click.option(
    "--pilot/--no-pilot", default=True, help="Measure on a few batches what the dump will take (some seconds)."
)
def command(
    config_path: str,
    store_url: str | None,
    on_error: str | None,
    label_on: str | None,
    round_to: str | None,
    dry_run: bool,
    pilot: bool,
    wait: float,
    **placement: Any,
) -> None:
    """Read the corpus, cut it into shards of whole sentences, tokenise it, compile the concepts.

    It ends with a pilot: a few real batches go through the whole dump into a scratch folder, and it prints the bytes,
    the time and the memory that the dump will take with the same executor.

    The plan is written into the store and freezes everything that decides a byte of the dump. Planning the same config
    again does nothing; planning another one into the same store is refused where it would change existing data.
    """
    config = config_to_plan(config_path, store_url, on_error, label_on, round_to)
    if dry_run:
        say(preview(config) if (planned := planned_already(config)) is None else overview(planned[1], planned[0]))
        return
    config_executor, executor = choose_executor(config, **placement)
    config = config.model_copy(update={"executor": config_executor})
    with store_to_fill(config.store) as store, held(store, run_lease(config.model_alias), wait) as progress:
        plan = plan_run(config, store, executor, progress)
        say(describe(plan))
        if pilot:
            say(describe_forecast(forecast(plan, store), config_executor.workers))
    following = f"neuronmill dump {of_model(store, plan.model)}"
    say([f"next: {following}"])
