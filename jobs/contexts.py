"""`neuronmill contexts`: extreme rows per neuron, with their words."""

from __future__ import annotations

from typing import Any

import click

from jobs.next_command import command_of_store
from jobs.options import with_settings
from jobs.stage import run_stage, stage_options
from pipeline.run.neuron_contexts import contexts


@click.command()
@stage_options
@click.option("--k", type=click.IntRange(min=1), help="Rows per tail.")
@click.option("--window", type=click.IntRange(min=0), help="Words on each side.")
def command(
    config_path: str | None,
    store_url: str | None,
    alias: str | None,
    dry_run: bool,
    k: int | None,
    window: int | None,
    wait: float,
    **placement: Any,
) -> None:
    """The K largest and K smallest rows of every neuron, each with the words around it and their activations.

    Written to the table `contexts`.
    """
    given = {"k": k, "window": window}

    run_stage(
        contexts,
        lambda plan, _: with_settings(plan.config, "contexts", given),
        command_of_store("publish"),
        config_path=config_path,
        store_url=store_url,
        alias=alias,
        dry_run=dry_run,
        wait=wait,
        placement=placement,
    )
