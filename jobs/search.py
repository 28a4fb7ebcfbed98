"""`neuronmill search`: rank neurons for every concept."""

from __future__ import annotations

from typing import Any

import click

from jobs.next_command import top_command
from jobs.options import (
    label_on_option,
    parse_concepts,
    parse_names,
    parse_numbers,
    round_to_option,
    with_settings,
)
from jobs.stage import run_stage, stage_options
from pipeline.run.labelling import planned_concepts
from pipeline.run.neuron_search import search
from pipeline.run.plan_record import Plan
from pipeline.store.store import Store
from schemas.analysis_config import METHODS
from schemas.config import Config


@click.command()
@stage_options
@click.option("--methods", help=f"Comma-separated, or `all`: {', '.join(METHODS)}.")
@click.option(
    "--concepts",
    multiple=True,
    metavar="NAMES",
    help="A concept's name, or several with commas between; may be given again. All concepts by default.",
)
@click.option("--components", help="Comma-separated, such as `resid,mlp`; all that were dumped by default.")
@click.option("--layers", help="Numbers and ranges, such as `0,3-5`.")
@click.option("--neurons", help="Numbers and ranges, such as `63,100-199`, in every layer.")
@click.option("--unit", type=click.Choice(["word", "sentence"]), help="Pool tokens (or words) to these first.")
@click.option(
    "--pooling",
    type=click.Choice(["last", "first", "mean", "max"]),
    help="How --unit pools; by default `last` to words and `max` to sentences.",
)
@click.option("--keep", help="Best neurons kept per concept and method, or `all`.")
@label_on_option
@round_to_option
@click.option("--alpha", type=float, help="`iou`: the mask is the top share alpha of the rows; 0.005 by default.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where 16-bit values are counted; cpu by default.")
@click.option("--null", "null", is_flag=True, help="Search shuffled labels too, into the table `null_checks`.")
@click.option("--threshold", type=float, help="`iou`: the mask is x > THRESHOLD instead; 0 are the active rows.")
def command(
    config_path: str | None,
    store_url: str | None,
    alias: str | None,
    dry_run: bool,
    methods: str | None,
    concepts: tuple[str, ...],
    components: str | None,
    layers: str | None,
    neurons: str | None,
    unit: str | None,
    pooling: str | None,
    keep: str | None,
    alpha: float | None,
    threshold: float | None,
    device: str | None,
    null: bool,
    label_on: str | None,
    round_to: str | None,
    wait: float,
    **placement: Any,
) -> None:
    """Rank neurons for every concept, exactly, in both directions, with held-out scores and q-values.

    Scores are selected on the train split (on all rows where there is none) and re-measured on the test split. Written
    to the table `rankings`, in place of an earlier search of the same run. What neurons came to stays in the store:
    another method, another --keep or fewer layers read no activations again.
    """
    given = {
        "methods": METHODS if methods == "all" else parse_names(methods),
        "components": parse_names(components),
        "layers": parse_numbers(layers, "--layers"),
        "neurons": parse_numbers(neurons, "--neurons"),
        "unit": unit,
        "pooling": pooling,
        "keep": int(keep) if keep and keep.isdecimal() else keep,
        "alpha": alpha,
        "threshold": threshold,
        "device": device,
        "null": 0 if null else None,
        "round_to": round_to,
    }

    def change(plan: Plan, store: Store) -> Config:
        names = parse_concepts(concepts, planned_concepts(plan, store).names) if concepts else None
        config = with_settings(plan.config, "search", {**given, "concepts": names})
        return with_settings(config, "concepts", {"label_on": label_on})

    run_stage(
        search,
        change,
        top_command,
        config_path=config_path,
        store_url=store_url,
        alias=alias,
        dry_run=dry_run,
        wait=wait,
        placement=placement,
    )
