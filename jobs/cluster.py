"""`neuronmill cluster`: neurons that are active together."""

from __future__ import annotations

from typing import Any

import click

from jobs.next_command import of_store
from jobs.options import parse_names, parse_numbers, with_settings
from jobs.stage import run_stage, stage_options
from pipeline.run.cluster_summary import describe_clusters, forecast_clusters
from pipeline.run.neuron_clusters import cluster
from pipeline.run.plan_record import Plan
from pipeline.run.plans import planned_models
from pipeline.store.store import Store
from schemas.analysis_config import ClusterConfig
from schemas.config import Config

#: The threshold that the next command shows, if there is one like it.
_SHOWN = 0.3

HELP = """Group neurons whose activations are correlated, over all layers, at a sweep of thresholds.

The distance of two neurons is 1 - |r|, r being Pearson's correlation over all counted rows, and clusters are
those of a hierarchical clustering cut at a threshold (Dalvi et al. 2020): exact, as if all pairs were in memory.
A constant neuron is alone.

\b
Tables, in place of those of other settings:
  clusters           every neuron's cluster at every threshold, and who represents it
  cluster_pairs      the correlations of all pairs among the first members of the largest clusters
  redundancy         how many neurons could go if one of each cluster stayed: of all, layer by layer
  cluster_spans      how many clusters lie within so many adjacent layers
  shared_clusters    how many clusters two layers share
  correlation_edges  the most correlated pairs
  pca_spectrum       variance along the principal components of each layer
  layer_dimensions   how many dimensions each layer really uses

The correlations stay in the store (4 bytes a pair), so other thresholds read no activation.
"""


@click.command(help=HELP)
@stage_options
@click.option(
    "--threshold",
    "thresholds",
    metavar="DISTANCES",
    help="Comma-separated, such as `0.3` or `0.1,0.3,0.5`: join neurons up to these; 0.1 to 0.7 by default.",
)
@click.option(
    "--linkage",
    type=click.Choice(["average", "complete", "single"]),
    help="Distance of two clusters: mean, largest or smallest of their pairs; average by default.",
)
@click.option("--signed/--unsigned", default=None, help="Take 1 - r for 1 - |r|: a neuron and its negation differ.")
@click.option("--components", help="Comma-separated, such as `resid,mlp`; all that were dumped by default.")
@click.option("--layers", help="Numbers and ranges, such as `0,3-5`.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float64"]),
    help="Of the products; float32 by default: correlations to about 1e-7.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where they are computed; cpu by default.")
@click.option("--edges", metavar="R", help="Least |r| of the pairs in `correlation_edges`, or `none`; 0.9 by default.")
@click.option(
    "--memory-mb",
    "memory",
    type=click.IntRange(min=1),
    metavar="MB",
    help="Memory for the distances of neurons that are joined; 4096 by default.",
)
def command(
    config_path: str | None,
    store_url: str | None,
    alias: str | None,
    dry_run: bool,
    wait: float,
    thresholds: str | None,
    linkage: str | None,
    signed: bool | None,
    components: str | None,
    layers: str | None,
    precision: str | None,
    device: str | None,
    edges: str | None,
    memory: int | None,
    **placement: Any,
) -> None:
    """See HELP."""
    given: dict[str, Any] = {"thresholds": parse_names(thresholds), "linkage": linkage, "signed": signed}
    given |= {"components": parse_names(components), "layers": parse_numbers(layers, "--layers")}
    given |= {"precision": precision, "device": device, "memory_mb": memory}
    lists_none = edges is not None and edges.strip().lower() == "none"

    def change(plan: Plan, _: Store) -> Config:
        config = with_settings(plan.config, "cluster", {**given, "edges": None if lists_none else edges})
        if lists_none and config.cluster is not None:
            return config.model_copy(update={"cluster": config.cluster.model_copy(update={"edges": None})})
        return config

    run_stage(
        cluster,
        change,
        _next,
        config_path=config_path,
        store_url=store_url,
        alias=alias,
        dry_run=dry_run,
        wait=wait,
        placement=placement,
        forecast=forecast_clusters,
        describe=describe_clusters,
    )


def _next(store: Store, plan: Plan) -> str:
    """The largest clusters with their concepts."""
    settings = plan.config.cluster or ClusterConfig()
    threshold = min(settings.thresholds, key=lambda level: (abs(level - _SHOWN), level))
    model = f", model := '{plan.model}'" if len(planned_models(store)) > 1 else ""
    shown = f"FROM cluster_concepts({threshold!r}{model}) GROUP BY ALL ORDER BY size DESC, cluster LIMIT 10"
    columns = "cluster, size, n_layers, round(mean_r, 2) AS r, string_agg(concept, ', ' ORDER BY place) AS concepts"
    return f'neuronmill sql {of_store(store)} "SELECT {columns} {shown}"'
