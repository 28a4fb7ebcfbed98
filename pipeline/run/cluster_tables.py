"""Columns of the tables of a clustering: clusters, redundancy, spans, shared clusters, pairs, spectra of layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.correlate.clusters import Clustering, Clusters
from pipeline.correlate.correlation_edges import Edges
from pipeline.correlate.redundancy import LayerIndex, LayerSpread, RedundancyCurve, layer_spread
from pipeline.run.neuron_blocks import NeuronAxis
from pipeline.run.plan_record import Plan
from pipeline.store.parquet import dictionary_column

#: Rows of one file of `correlation_edges`.
EDGES_PER_FILE = 2**20

Columns = dict[str, Any]
Ints = npt.NDArray[np.int64]


def layer_index(axis: NeuronAxis) -> LayerIndex:
    """The layers of all neurons of one model."""
    layers = [axis.layers[number] for number in axis.layer_of.tolist()]
    return LayerIndex.of([component for _, component, _ in layers], np.array([n for *_, n in layers], np.int64))


def cluster_columns(plan: Plan, axis: NeuronAxis, clustering: Clustering) -> Columns:
    """`clusters`: every neuron at every threshold, thresholds in their order."""
    n = axis.n_neurons
    every = np.tile(np.arange(n), len(clustering.clusters))
    parts = [_members(found, axis.layer_of) for found in clustering.clusters]
    thresholds = np.array([found.threshold for found in clustering.clusters])
    return {
        **_run(plan, len(every)),
        **_neurons(axis, every),
        **_settings(clustering, np.repeat(thresholds, n)),
        **{name: _stacked([part[name] for part in parts]) for name in parts[0]},
    }


def _members(found: Clusters, layer_of: Ints) -> Columns:
    """What each neuron's cluster is at one threshold."""
    labels, n_layers = found.labels, int(layer_of.max(initial=0)) + 1
    pairs = np.unique(labels * n_layers + layer_of)  # of cluster and layer
    is_representative = np.zeros(len(labels), np.bool_)
    is_representative[found.representative] = True
    return {
        "cluster": labels.astype(np.int32),
        "size": found.size[labels].astype(np.int32),
        "n_layers": np.bincount(pairs // n_layers)[labels].astype(np.int32),
        "mean_r": np.ma.masked_invalid(found.mean_r[labels]),
        "member_mean_r": np.ma.masked_invalid(found.member_mean_r),
        "is_representative": is_representative,
    }


def redundancy_columns(plan: Plan, index: LayerIndex, clustering: Clustering, curve: RedundancyCurve) -> Columns:
    """`redundancy`: at each threshold all neurons, layers one by one, then each layer."""
    n_each, n_all = len(index.layers), int(curve.n_neurons.sum())
    rows = len(curve.thresholds) * (n_each + 2)
    n_layers = curve.n_clusters_per_layer
    clusters = np.column_stack([curve.n_clusters, n_layers.sum(axis=1), n_layers])
    share = np.column_stack([curve.share, curve.share_within_layers, curve.share_per_layer])
    return {
        **_run(plan, rows),
        **_settings(clustering, np.repeat(curve.thresholds, n_each + 2)),
        "scope": ["all", "layers", *["layer"] * n_each] * len(curve.thresholds),
        "component": [None, None, *(name for name, _ in index.layers)] * len(curve.thresholds),
        "layer": [None, None, *(number for _, number in index.layers)] * len(curve.thresholds),
        "n_neurons": np.tile(np.concatenate([[n_all, n_all], curve.n_neurons]), len(curve.thresholds)),
        "n_clusters": clusters.ravel(),
        "share": np.ma.masked_invalid(share.ravel()),
    }


def spread_columns(plan: Plan, index: LayerIndex, clustering: Clustering) -> tuple[Columns, Columns]:
    """`cluster_spans` and `shared_clusters`, at each threshold."""
    found = [(clusters.threshold, layer_spread(clusters.labels, index)) for clusters in clustering.clusters]
    spans = [_spans(spread) for _, spread in found]
    shared = [_shared(spread, index) for _, spread in found]
    tables = []
    for parts in (spans, shared):
        thresholds = np.array([threshold for threshold, _ in found])
        n = len(parts[0]["n_clusters"])
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        tables.append(
            {**_run(plan, n * len(found)), **_settings(clustering, np.repeat(thresholds, n)), **joined}
        )  # fmt: skip
    return tables[0], tables[1]


def _spans(spread: LayerSpread) -> Columns:
    n_components, n_windows = spread.n_within.shape
    return {
        "component": np.repeat(np.array(spread.components, object), n_windows),
        "window_size": np.tile(spread.windows, n_components).astype(np.int32),
        "n_clusters": np.repeat(spread.n_clusters, n_windows),
        "n_within": spread.n_within.ravel(),
    }


def _shared(spread: LayerSpread, index: LayerIndex) -> Columns:
    n = len(index.layers)
    names, numbers = np.array([name for name, _ in index.layers], object), index.numbers.astype(np.int32)
    return {
        "component": np.repeat(names, n),
        "layer": np.repeat(numbers, n),
        "other_component": np.tile(names, n),
        "other_layer": np.tile(numbers, n),
        "n_clusters": spread.n_shared.ravel(),
    }


def pair_columns(
    plan: Plan, axis: NeuronAxis, clustering: Clustering, leading: Sequence[Ints], r: npt.NDArray[np.float64]
) -> Columns:
    """`cluster_pairs`: at each threshold all pairs of its ``leading`` neurons; ``r`` is of all of these, ascending."""
    chosen = np.unique(np.concatenate(leading))
    ends = []
    for neurons in leading:
        first, second = np.triu_indices(len(neurons), 1)
        ends.append(np.sort([neurons[first], neurons[second]], axis=0))
    a, b = np.concatenate(ends, axis=1)
    thresholds = np.array([found.threshold for found in clustering.clusters])
    return {
        **_run(plan, len(a)),
        **_neurons(axis, a),
        **_settings(clustering, np.repeat(thresholds, [pairs.shape[1] for pairs in ends])),
        **_neurons(axis, b, "other_"),
        "r": r[np.searchsorted(chosen, a), np.searchsorted(chosen, b)],
    }


def edge_parts(plan: Plan, axis: NeuronAxis, found: Iterable[Edges]) -> Iterator[Columns]:
    """`correlation_edges` in files of :data:`EDGES_PER_FILE`, at least one; holds one tile's pairs and a file's."""
    held: list[Edges] = []
    n_held = n_files = 0
    for edges in found:
        held.append(edges)
        n_held += len(edges.i)
        while n_held >= EDGES_PER_FILE:
            whole = _joined(held)
            yield _edge_columns(plan, axis, _cut(whole, slice(EDGES_PER_FILE)))
            held, n_held, n_files = [_cut(whole, slice(EDGES_PER_FILE, None))], n_held - EDGES_PER_FILE, n_files + 1
    if n_held or not n_files:
        yield _edge_columns(plan, axis, _joined(held))


def _joined(parts: Sequence[Edges]) -> Edges:
    if len(parts) == 1:
        return parts[0]
    none = Edges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    kept = [part for part in parts if len(part.i)] or [none]
    return Edges(*(np.concatenate([getattr(part, name) for part in kept]) for name in ("i", "j", "r")))


def _cut(edges: Edges, rows: slice) -> Edges:
    return Edges(edges.i[rows], edges.j[rows], edges.r[rows])


def _edge_columns(plan: Plan, axis: NeuronAxis, edges: Edges) -> Columns:
    return {
        **_run(plan, len(edges.i)),
        **_neurons(axis, edges.i),
        **_neurons(axis, edges.j, "other_"),
        "r": edges.r.astype(np.float64),
    }


def concatenated(plan: Plan, parts: Sequence[Columns]) -> Columns:
    """Columns of several layers, one below the other, with those that name the run."""
    joined = {name: _stacked([part[name] for part in parts]) for name in parts[0]}
    return {**_run(plan, len(joined["layer"])), **joined}


def _stacked(parts: Sequence[Any]) -> Any:
    """Lists, or arrays with what is masked in them, one below the other."""
    if isinstance(parts[0], list):
        return [value for part in parts for value in part]
    concatenate: Any = np.ma.concatenate
    return concatenate(parts)


def _run(plan: Plan, n: int) -> Columns:
    same = np.zeros(n, np.int32)
    return {"run_id": dictionary_column(same, [plan.run_id]), "model": dictionary_column(same, [plan.model])}


def _settings(clustering: Clustering, thresholds: npt.NDArray[np.float64]) -> Columns:
    n = len(thresholds)
    return {
        "linkage": dictionary_column(np.zeros(n, np.int32), [clustering.linkage]),
        "signed": np.full(n, clustering.signed),
        "threshold": thresholds,
    }


def _neurons(axis: NeuronAxis, chosen: Ints, prefix: str = "") -> Columns:
    components = [component for _, component, _ in axis.layers]
    numbers = np.array([number for *_, number in axis.layers], np.int32)
    layers = axis.layer_of[chosen]
    return {
        f"{prefix}component": dictionary_column(layers, components),
        f"{prefix}layer": numbers[layers],
        f"{prefix}neuron": axis.neuron[chosen],
    }
