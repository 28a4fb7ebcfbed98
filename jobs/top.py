"""`neuronmill top`: the best neurons of a concept with their contexts."""

from __future__ import annotations

import shutil
import sys

import click

from jobs.console import say
from jobs.options import dry_run_option, model_option, store_option
from pipeline.report.terminal import load_top, render_top
from pipeline.run.plans import load_plan
from pipeline.store.sql import connect
from pipeline.store.store import Store
from schemas.amounts import counted


@click.command()
@store_option()
@click.option("--concept", required=True, help="Name of the concept, such as upos=NUM.")
@click.option("--method", help="Method of the ranking, such as auroc; ap by default.")
@model_option
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Neurons to show.")
@click.option("--contexts", type=click.IntRange(min=0), default=3, show_default=True, help="Contexts per neuron.")
@click.option("--colour/--no-colour", default=None, help="Colour words by activation; by default on a terminal.")
@dry_run_option
def command(
    store_url: str,
    concept: str,
    method: str | None,
    alias: str | None,
    limit: int,
    contexts: int,
    colour: bool | None,
    dry_run: bool,
) -> None:
    """Show the best neurons of a concept, each with the contexts it responds to most; activations as colour."""
    store = Store.open(store_url)
    run_id = load_plan(store, alias).run_id
    if dry_run:
        say([f"would show {counted(limit, 'neuron')} for {concept} from {store.url}"])
        return
    with connect(store) as connection:
        top = load_top(connection, concept, method=method, run_id=run_id, n_neurons=limit, n_contexts=contexts)
    use_colour = sys.stdout.isatty() if colour is None else colour
    say([render_top(top, colour=use_colour, width=min(160, shutil.get_terminal_size((110, 24)).columns))])
