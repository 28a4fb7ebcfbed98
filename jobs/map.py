"""`neuronmill map`: neurons on a map, by whom they correlate with."""

from __future__ import annotations

from typing import Any

import click

from jobs.next_command import command_of_store
from jobs.options import with_settings
from jobs.stage import run_stage, stage_options
from pipeline.run.neuron_mapping import map_neurons


@click.command()
@stage_options
@click.option("--groups", type=click.IntRange(min=1), help="Groups of k-means; 20 by default.")
@click.option("--method", type=click.Choice(["kmeans", "hdbscan"]), help="How groups are found; kmeans by default.")
@click.option(
    "--space",
    type=click.Choice(["embedding", "profile"]),
    help="Find groups on the map, or in the 50 principal components of the profiles; embedding by default.",
)
@click.option("--signed/--unsigned", default=None, help="Profiles of r instead of |r|.")
@click.option("--neighbors", type=click.IntRange(min=2), help="Neighbours that UMAP looks at; 15 by default.")
@click.option("--min-size", type=click.IntRange(min=2), help="Smallest group of hdbscan; 5 by default.")
@click.option("--seed", type=click.IntRange(min=0), help="0 by default.")
def command(
    config_path: str | None,
    store_url: str | None,
    alias: str | None,
    dry_run: bool,
    groups: int | None,
    method: str | None,
    space: str | None,
    signed: bool | None,
    neighbors: int | None,
    min_size: int | None,
    seed: int | None,
    wait: float,
    **placement: Any,
) -> None:
    """Put neurons on a map by their correlation profiles, and into groups (Meyes et al. 2020: UMAP and k-means).

    The profile of a neuron is its |r| with every neuron of the run, of those that the section `cluster` of the config
    chooses. Profiles are reduced to 50 principal components and embedded in two dimensions. Written to `neuron_map`;
    the page of `neuronmill report` shows it. Needs the extra `map`: pip install "neuronmill[map]".
    """
    given: dict[str, Any] = {"groups": groups, "method": method, "space": space, "signed": signed}
    given |= {"neighbors": neighbors, "min_size": min_size, "seed": seed}
    run_stage(
        map_neurons,
        lambda plan, _: with_settings(plan.config, "map", given),
        command_of_store("report"),
        config_path=config_path,
        store_url=store_url,
        alias=alias,
        dry_run=dry_run,
        wait=wait,
        placement=placement,
    )
