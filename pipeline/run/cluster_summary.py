"""What a clustering of neurons would take, and what came of it, in lines for people."""

from __future__ import annotations

import numpy as np

from pipeline.run.correlation_source import n_pairs_of
from pipeline.run.neuron_clusters import CLUSTER_TABLES, cluster_work
from pipeline.run.plan_record import Plan
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes

_COLUMNS = "  {:>9}  {:>9}  {:>8}  {:>13}  {}"


def forecast_clusters(plan: Plan, store: Store) -> list[str]:
    """Neurons, pairs, and what is left to fold; raises as :func:`pipeline.run.neuron_clusters.cluster_work`."""
    work = cluster_work(plan, store)
    n, n_bytes = work.axis.n_neurons, work.bytes_to_fold(store)
    left = f"{human_bytes(n_bytes)} of co-moments to write" if n_bytes else "all co-moments are there"
    return [f"cluster: {counted(n, 'neuron')}, {counted(n_pairs_of(n), 'pair')} in {len(work.pairs)} tiles; {left}"]


def describe_clusters(plan: Plan, store: Store) -> list[str]:
    """Sizes, then a line for each threshold, then the tables that were written."""
    run = plan.run_id
    layers = store.read_table(store.files("layer_dimensions", run), ["n_neurons", "n_rows"])
    n = int(layers["n_neurons"].to_numpy().sum())
    rows = counted(int(layers["n_rows"][0].as_py()), "row")
    lines = [f"{counted(n, 'neuron')} in {counted(len(layers), 'layer')} over {rows}, {n_pairs_of(n):,} pairs"]
    lines.append(_COLUMNS.format("threshold", "clusters", "could go", "within layers", "largest cluster"))
    scopes = store.read_table(store.files("redundancy", run), ["threshold", "scope", "n_clusters", "share"]).to_pylist()
    within = {row["threshold"]: row["share"] for row in scopes if row["scope"] == "layers"}
    largest = _largest(plan, store)
    for row in scopes:
        if row["scope"] == "all":
            level = row["threshold"]
            shares = f"{row['share']:.1%}", f"{within[level]:.1%}"
            lines.append(_COLUMNS.format(f"{level:g}", f"{row['n_clusters']:,}", *shares, largest[level]))
    tables = {table: store.files(table, run) for table in CLUSTER_TABLES}
    sizes = [f"{table} {sum(file.n_rows for file in files):,}" for table, files in tables.items() if files]
    return [*lines, f"tables, with their rows: {', '.join(sizes)}"]


def _largest(plan: Plan, store: Store) -> dict[float, str]:
    """The largest cluster at each threshold."""
    files = store.files("clusters", plan.run_id)
    table = store.read_table(files, ["threshold", "size", "n_layers"])
    thresholds, sizes, n_layers = (table[name].to_numpy() for name in ("threshold", "size", "n_layers"))
    found = {}
    for level in np.unique(thresholds).tolist():
        own = np.flatnonzero(thresholds == level)
        first = own[np.argmax(sizes[own])]
        found[level] = f"{counted(int(sizes[first]), 'neuron')} of {counted(int(n_layers[first]), 'layer')}"
    return found
