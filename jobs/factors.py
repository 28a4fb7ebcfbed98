"""`neuronmill factors`: non-negative factors of layers."""

from __future__ import annotations

from typing import Any

import click

from jobs.next_command import command_of_store
from jobs.options import parse_names, parse_numbers, with_settings
from jobs.stage import run_stage, stage_options
from pipeline.run.factors import factors

_QUERY = (
    '"SELECT component, layer, factor, round(value, 2) AS value, word FROM factor_rows JOIN rows USING (row_id) '
    'JOIN words USING (word_id) WHERE rank <= 5 ORDER BY ALL LIMIT 50"'
)


@click.command()
@stage_options
@click.option("--factors", "k", type=click.IntRange(min=1), metavar="K", help="Factors per layer; 16 by default.")
@click.option("--components", metavar="NAMES", help="Comma-separated; all that were dumped by default.")
@click.option("--layers", metavar="NUMBERS", help="Such as `0,3-5`; all that were dumped by default.")
@click.option("--passes", type=click.IntRange(min=0), help="Passes over all rows, at most; 5 by default.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the sample that factors start from; 0 by default.")
@click.option("--batch-rows", type=click.IntRange(min=1), help="Rows multiplied together; 1,024 by default.")
@click.option("--rows-per-factor", metavar="N", help="Rows kept of each factor, a number or `all`; 100 by default.")
def command(
    config_path: str | None,
    store_url: str | None,
    alias: str | None,
    dry_run: bool,
    k: int | None,
    components: str | None,
    layers: str | None,
    passes: int | None,
    seed: int | None,
    batch_rows: int | None,
    rows_per_factor: str | None,
    wait: float,
    **placement: Any,
) -> None:
    """Non-negative factors of each layer: groups of neurons that fire together, and the rows where they do.

    The non-negative parts max(x, 0) of the activations over all counted rows are fitted by a sum of K factors, each a
    weight per neuron times a value per row (NMF). They start from a sample of the rows; every pass over all rows then
    lowers the error. Written to `factors` (with the error, and the share that was cut off as negative),
    `factor_neurons` and `factor_rows`, in place of those of other settings.
    """
    given: dict[str, Any] = {"k": k, "passes": passes, "seed": seed, "batch_rows": batch_rows}
    given |= {"components": parse_names(components), "layers": parse_numbers(layers, "--layers")}
    given["rows_per_factor"] = rows_per_factor
    run_stage(
        factors,
        lambda plan, _: with_settings(plan.config, "factors", given),
        command_of_store("sql", _QUERY),
        config_path=config_path,
        store_url=store_url,
        alias=alias,
        dry_run=dry_run,
        wait=wait,
        placement=placement,
    )
