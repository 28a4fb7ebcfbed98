"""`neuronmill contexts`: extreme rows per neuron, with their words."""

from __future__ import annotations

from typing import Any

import click

from jobs.neuron_options import ChosenNeurons, neuron_options
from jobs.next_command import command_of_store
from jobs.options import with_settings
from jobs.stage import run_stage, stage_options
from pipeline.run.neuron_contexts import contexts
from pipeline.run.plan_record import Plan
from pipeline.store.store import Store
from schemas.config import Config

_SHOW = "\"SELECT component, layer, neuron, value, words FROM contexts WHERE tail = 'top' AND rank <= 3\""


@click.command()
@stage_options
@click.option("--k", type=click.IntRange(min=1), help="Rows per tail.")
@click.option("--window", type=click.IntRange(min=0), help="Words on each side.")
@neuron_options
def command(
    config_path: str | None,
    store_url: str | None,
    alias: str | None,
    dry_run: bool,
    k: int | None,
    window: int | None,
    neurons: str | None,
    sql: str | None,
    wait: float,
    **placement: Any,
) -> None:
    """The K largest and K smallest rows of every neuron, each with the words around it and their activations.

    Written to the table `contexts`, in place of those of other settings. These stay in the store: the same command as
    then shows them again at once. So after a few neurons with many rows, `contexts` alone brings all neurons back.
    """
    chosen = ChosenNeurons(neurons, sql)

    def change(plan: Plan, store: Store) -> Config:
        given = {"k": k, "window": window, "neurons": chosen.setting(plan, store)}
        return with_settings(plan.config, "contexts", given)

    run_stage(
        contexts,
        change,
        command_of_store("sql", _SHOW) if chosen.are_some else command_of_store("publish"),
        config_path=config_path,
        store_url=store_url,
        alias=alias,
        dry_run=dry_run,
        wait=wait,
        placement=placement,
    )
