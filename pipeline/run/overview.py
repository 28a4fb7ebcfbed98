"""How far a run is: what its receipts and the manifest say, for dry runs."""

from __future__ import annotations

from pipeline.run.dump_files import read_finished, shown_shards
from pipeline.run.model_correlation import correlation_tables
from pipeline.run.neuron_clusters import cluster_stage
from pipeline.run.neuron_mapping import map_stage
from pipeline.run.plan_record import Plan
from pipeline.run.plans import load_plan, planned_models
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes
from schemas.config import Config
from schemas.errors import StoreLocationError

_TABLES = {"stats": "neuron_stats", "search": "rankings", "contexts": "contexts"}
#: Results that `neuronmill run` makes if the config has the section.
_SECTIONS = {"explain": "explanations", "factors": "factors", "cluster": "clusters", "map": "neuron_map"}
#: Results that `neuronmill run` does not make.
_OPTIONAL = {"words": "top_words"}


def overview(plan: Plan, store: Store) -> list[str]:
    """One line for the run, one for the dump, one for the tables of results."""
    dumped = shown_shards(plan, store) if plan.is_imported else read_finished(plan, store)
    missing = [shard for shard in plan.shards if shard.key not in dumped]
    n_bytes = sum(shard.n_rows for shard in missing) * plan.capture.bytes_per_row
    to_do = f"{len(missing)} to do, {human_bytes(n_bytes)}" if missing else "all done"
    tables = _TABLES | {name: table for name, table in _SECTIONS.items() if getattr(plan.config, name) is not None}
    if plan.config.correlate is not None:
        is_of_models = bool(plan.config.correlate.with_models)
        tables |= {"correlate": "layer_similarity" if is_of_models else "column_correlations"}
    done = [
        stage
        for stage, table in (_TABLES | _SECTIONS | _OPTIONAL | tables).items()
        if store.files(table, plan.run_id) and (stage not in tables or _is_current(stage, plan, store))
    ]
    left = [stage for stage in tables if stage not in done]
    sizes = f"{counted(plan.n_rows, 'row')}, {counted(len(plan.capture.targets), 'layer')}"
    return [
        f"run {plan.run_id} ({plan.model}) in {store.url}: {sizes}",
        f"{'import' if plan.is_imported else 'dump'}: {counted(len(plan.shards), 'shard')}, {to_do}",
        f"results: {', '.join(done) or 'none'} done; {', '.join(left) or 'none'} to do",
    ]


def _is_current(stage: str, plan: Plan, store: Store) -> bool:
    """Whether the tables of a section are those of its settings, where other settings replace them."""
    if stage == "cluster":
        keys = cluster_stage(plan, store)[1]
    elif stage == "map":
        keys = {"neuron_map": map_stage(plan, store)[1]}
    elif stage == "correlate":
        keys = {table: key for (table, scope), key in correlation_tables(plan, store).items() if scope == plan.run_id}
    else:
        return True
    return all(store.receipt(f"{table}-{plan.run_id}", key) is not None for table, key in keys.items())


def planned_already(config: Config) -> tuple[Store, Plan] | None:
    """The store and plan of a config that was planned before; None if it is new."""
    try:
        store = Store.open(config.store)
    except StoreLocationError:
        return None
    return (store, load_plan(store, config.model_alias)) if config.model_alias in planned_models(store) else None
