"""`neuronmill correlate`: neurons and layers beside those of other models, and beside numbers of words."""

from __future__ import annotations

from typing import Any

import click

from jobs.console import say
from jobs.next_command import command_of_store
from jobs.options import parse_names, parse_numbers, with_settings
from jobs.stage import run_stage, stage_options
from pipeline.run.model_correlation import correlate, preview_correlation
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.work import Executor
from pipeline.store.store import Store
from schemas.config import Config

_LAYERS = (
    '"SELECT partner_model, measure, component, layer, partner_component, partner_layer, round(value, 3) AS value, '
    "round(null_value, 3) AS null_value FROM layer_similarity "
    "QUALIFY row_number() OVER (PARTITION BY partner_model, measure ORDER BY layer_similarity.value DESC) <= 3 "
    'ORDER BY ALL"'
)
_COLUMNS = (
    '"SELECT word_column, component, layer, neuron, round(r, 3) AS r, round(null_r, 3) AS null_r '
    'FROM column_correlations ORDER BY abs(r) DESC LIMIT 20"'
)


HELP = """Find the neurons and layers that other models have too, and what numbers of words neurons go with.

\b
With other models (--with):
  maxcorr   the largest |r| with a neuron of any other model
  mincorr   the smallest, over the other models, of the largest |r| with a neuron of each
  linreg    R² of a regression on all neurons of the other model
  svcca     share of a neuron's variance in what two layers share (99 % of the variance), weighted by its
            canonical correlations; the best layer of the other model
  pwcca     mean canonical correlation of a neuron with that layer, of all directions; high for a neuron of
            which little is shared, too: read linreg and maxcorr beside it
  cka       of layers only: linear centred kernel alignment, also debiased

A row is a word that all models have: the same document, sentence, characters and form; of several tokens the last.
Every neuron is ranked in `rankings` (concept null; `partner` names the best partner; of svcca and pwcca the layer),
and every pair of layers is in `layer_similarity`. Both replace those of an earlier comparison of the model, and no
ranking by concepts.

With numbers of words (--column), the table `column_correlations`: length (characters), position (in the sentence,
from 0), frequency (ln of the occurrences of the form in the corpus), or any label layer of numbers.

Beside every figure stands its null: the same with the other model's rows (or the numbers) shuffled in blocks of 32;
that of every neuron's score is in `match_nulls`.
"""


@click.command(help=HELP)
@stage_options
@click.option(
    "--with",
    "with_models",
    multiple=True,
    metavar="MODEL",
    help="Another model: an alias in this store (the model's own too), the path or URL of another store, or "
    "PATH::ALIAS where that holds several. May be given again.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    help="A number of words: length, position, frequency, or a label layer of numbers. May be given again.",
)
@click.option("--methods", help="Comma-separated, of maxcorr, mincorr, linreg, svcca, pwcca, cka; all by default.")
@click.option("--components", help="Components to compare, such as resid,mlp; all that were dumped by default.")
@click.option("--layers", help="Layers to compare, of all models, such as 2,4-6; all by default.")
@click.option("--with-layers", help="Layers of the other models, where they are others than --layers.")
@click.option("--ridge", type=float, help="linreg: share of the mean variance added to each neuron; 0 by default.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float64"]),
    help="Of the products of activations; float64 by default. float32 is faster and rough for linreg, svcca, pwcca.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where they are computed; cpu by default.")
@click.option("--null", type=click.IntRange(min=0), help="Seed of the null's order of rows; 0 by default.")
@click.option(
    "--memory-mb", type=click.IntRange(min=16), help="Memory for the largest matrix at work; 4096 by default."
)
def command(
    config_path: str | None,
    store_url: str | None,
    alias: str | None,
    dry_run: bool,
    wait: float,
    with_models: tuple[str, ...],
    columns: tuple[str, ...],
    methods: str | None,
    components: str | None,
    layers: str | None,
    with_layers: str | None,
    kind: str | None,
    workers: int | None,
    gpus_per_worker: float | None,
    address: str | None,
    **numbers: Any,
) -> None:
    """See HELP."""
    given: dict[str, Any] = {
        "with": with_models or None,
        "columns": columns or None,
        "methods": parse_names(methods),
        "components": parse_names(components),
        "layers": parse_numbers(layers, "--layers"),
        "with_layers": parse_numbers(with_layers, "--with-layers"),
    }

    def change(plan: Plan, _: Store) -> Config:
        return with_settings(plan.config, "correlate", given | numbers)

    def stage(plan: Plan, store: Store, executor: Executor, progress: Progress) -> None:
        say(correlate(plan, store, executor, progress).lines)

    def following(store: Store, plan: Plan) -> str:
        section = plan.config.correlate
        query = _LAYERS if section is not None and section.with_models else _COLUMNS
        return command_of_store("sql", query)(store, plan)

    run_stage(
        stage,
        change,
        following,
        config_path=config_path,
        store_url=store_url,
        alias=alias,
        dry_run=dry_run,
        wait=wait,
        placement={"kind": kind, "workers": workers, "gpus_per_worker": gpus_per_worker, "address": address},
        forecast=preview_correlation,
    )
