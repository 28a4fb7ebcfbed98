"""`neuronmill explain`: formulas over concepts for neurons."""

from __future__ import annotations

from typing import Any

import click

from jobs.next_command import command_of_store
from jobs.options import parse_names, with_settings
from jobs.stage import run_stage, stage_options
from pipeline.run.neuron_explanations import explain
from pipeline.run.plan_record import Plan
from pipeline.store.store import Store
from schemas.config import Config
from schemas.errors import ConfigError

_QUERY = (
    '"SELECT component, layer, neuron, formula, round(iou, 3) AS iou, round(heldout_iou, 3) AS heldout_iou '
    'FROM explanations ORDER BY score DESC LIMIT 20"'
)


@click.command()
@stage_options
@click.option(
    "--neurons",
    metavar="SPEC",
    help="Comma-separated: mlp:3:63, mlp:3:0-99, mlp:3 (a whole layer); with `-` in front by their low values.",
)
@click.option(
    "--top", type=click.IntRange(min=1), help="Instead: the best neurons per concept in `rankings`; 1 by default."
)
@click.option("--method", help="The method of that ranking; ap by default.")
@click.option("--alpha", type=float, help="Share of rows where a neuron is active; 0.005 by default.")
@click.option("--beam", type=click.IntRange(min=1), help="Formulas kept of each length; 10 by default.")
@click.option("--length", type=click.IntRange(min=1), help="Concepts of a formula at most; 5 by default.")
@click.option("--penalty", type=float, help="Taken off the IoU for every concept after the first; 0.01 by default.")
@click.option("--max-rows", type=click.IntRange(min=1), help="Sample so many rows of a split; 1,000,000 by default.")
def command(
    config_path: str | None,
    store_url: str | None,
    alias: str | None,
    dry_run: bool,
    wait: float,
    neurons: str | None,
    top: int | None,
    method: str | None,
    alpha: float | None,
    beam: int | None,
    length: int | None,
    penalty: float | None,
    max_rows: int | None,
    kind: str | None,
    workers: int | None,
    gpus_per_worker: float | None,
    address: str | None,
) -> None:
    """Explain neurons by formulas: the AND, OR and AND NOT of concepts that hold where a neuron is active.

    A neuron is active in the top share alpha of the rows. A beam search maximises the IoU of the formula's rows with
    these, on the train split (on all rows where there is none); the IoU is re-measured on the test split. Written to
    the table `explanations`, in place of earlier ones of the same run.
    """
    if neurons is not None and (top is not None or method is not None):
        raise ConfigError(
            "--neurons and --top (or --method) exclude each other: name neurons, or take those of rankings"
        )
    given: dict[str, Any] = {"top": top, "method": method, "alpha": alpha, "beam": beam, "length": length}
    given |= {"penalty": penalty, "max_rows": max_rows, "neurons": parse_names(neurons)}

    def change(plan: Plan, _: Store) -> Config:
        config = plan.config
        if config.explain is not None and (top is not None or method is not None):
            config = config.model_copy(update={"explain": config.explain.model_copy(update={"neurons": None})})
        return with_settings(config, "explain", given)

    run_stage(
        explain,
        change,
        command_of_store("sql", _QUERY),
        config_path=config_path,
        store_url=store_url,
        alias=alias,
        dry_run=dry_run,
        wait=wait,
        placement={"kind": kind, "workers": workers, "gpus_per_worker": gpus_per_worker, "address": address},
    )
