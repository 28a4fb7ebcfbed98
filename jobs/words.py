"""`neuronmill words`: the words that each neuron responds to most."""

from __future__ import annotations

from typing import Any

import click

from jobs.neuron_options import ChosenNeurons, neuron_options
from jobs.next_command import command_of_store
from jobs.options import with_settings
from jobs.stage import run_stage, stage_options
from pipeline.run.plan_record import Plan
from pipeline.run.top_words import top_words
from pipeline.store.store import Store
from schemas.config import Config


@click.command()
@stage_options
@click.option("--k", type=click.IntRange(min=1), help="Words per tail.")
@click.option("--min-count", type=click.IntRange(min=1), help="Leave out words with fewer occurrences; 5 by default.")
@click.option("--shrinkage", metavar="K", help="k of the score, a number, or `auto`.")
@click.option("--ignore-case/--keep-case", default=None, help="Take words of other case for the same.")
@neuron_options
def command(
    config_path: str | None,
    store_url: str | None,
    alias: str | None,
    dry_run: bool,
    k: int | None,
    min_count: int | None,
    shrinkage: str | None,
    ignore_case: bool | None,
    neurons: str | None,
    sql: str | None,
    wait: float,
    **placement: Any,
) -> None:
    """The words with the highest and lowest mean activation of every neuron, over all their occurrences.

    Ranked by (mean − the neuron's mean) · n / (n + k), where n is how often the word occurs and k, by default, the
    variance within words over the variance between them: rare words do not lead by chance. Written to `top_words`, in
    place of those of other settings, which the same command as then shows again at once.
    """
    given = {"k": k, "min_count": min_count, "shrinkage": shrinkage, "ignore_case": ignore_case}
    chosen = ChosenNeurons(neurons, sql)

    def change(plan: Plan, store: Store) -> Config:
        return with_settings(plan.config, "top_words", {**given, "neurons": chosen.setting(plan, store)})

    run_stage(
        top_words,
        change,
        command_of_store("sql", '"SELECT * FROM top_words WHERE rank = 1 ORDER BY abs(score) DESC LIMIT 10"'),
        config_path=config_path,
        store_url=store_url,
        alias=alias,
        dry_run=dry_run,
        wait=wait,
        placement=placement,
    )
