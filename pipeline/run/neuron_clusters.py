"""Clusters of correlated neurons: co-moments of all pairs by tiles, then the tables that are made of them.

The fold over activations is that of :mod:`pipeline.run.moment_tiles`; its tiles stay in the store, so other thresholds
or another linkage read no activation. The tables are made here, from a few passes over the tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.correlate.clusters import cluster_tiles
from pipeline.correlate.correlation_edges import edges
from pipeline.correlate.leading_members import leading_members
from pipeline.correlate.pca_spectrum import dimension_columns, pca_spectrum, spectrum_columns
from pipeline.correlate.redundancy import redundancy_curve
from pipeline.run.alignment import Alignment
from pipeline.run.cluster_tables import (
    Columns,
    cluster_columns,
    concatenated,
    edge_parts,
    layer_index,
    pair_columns,
    redundancy_columns,
    spread_columns,
)
from pipeline.run.correlation_source import correlations_among, watched_passes
from pipeline.run.fold import require_dump
from pipeline.run.layer_choice import chosen_layers
from pipeline.run.member_rows import Member
from pipeline.run.moment_tiles import MomentTiles, TileJob, block_size, fold_tiles, tile_tasks, tiles_stage
from pipeline.run.neuron_blocks import NeuronAxis, neuron_blocks
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.records import commit_run_table, write_run_record
from pipeline.run.work import Executor
from pipeline.stats.cross_moments import Precision
from pipeline.stats.single_thread import on_one_thread
from pipeline.store.receipts import Receipt
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.analysis_config import ClusterConfig
from schemas.fingerprints import fingerprint

#: Raised whenever the same co-moments would give other tables.
VERSION = 1
#: Tables of the clustering, of pairs, and of each layer's principal components.
PARTITION_TABLES = ("clusters", "cluster_pairs", "redundancy", "cluster_spans", "shared_clusters")
EDGE_TABLES = ("correlation_edges",)
SPECTRUM_TABLES = ("pca_spectrum", "layer_dimensions")
CLUSTER_TABLES = (*PARTITION_TABLES, *EDGE_TABLES, *SPECTRUM_TABLES)
#: Share of a layer's variance that rounding makes of an eigenvalue of 0.
_NOISE: dict[Precision, float] = {"float32": 1e-7, "float64": 0.0}

Parts = dict[str, Iterator[tuple[str, Columns]]]


@dataclass(frozen=True)
class ClusterWork:
    """What the settings come to: the fold, and the keys of the tables made of it."""

    plan: Plan
    job: TileJob
    keys: dict[str, str]
    """Key of each table's receipt; of the tables that the settings ask for."""

    @property
    def settings(self) -> ClusterConfig:
        """The section of the config."""
        return _settings(self.plan)

    @property
    def axis(self) -> NeuronAxis:
        """The neurons."""
        return NeuronAxis(self.job.blocks)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Of blocks, each once."""
        n = len(self.job.blocks)
        return [(a, b) for a in range(n) for b in range(a, n)]

    def bytes_to_fold(self, store: Store) -> int:
        """Of the tiles that are not there yet, in files."""
        finished = set(store.receipt_keys(self.job.stage))
        left = [task for task in tile_tasks(self.job.blocks, self.pairs) if task.key not in finished]
        itemsize = np.dtype(self.job.precision).itemsize
        blocks = self.job.blocks
        return itemsize * sum(blocks[task.row].n_neurons * blocks[task.column].n_neurons for task in left)


def cluster(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Fill the tables of :data:`CLUSTER_TABLES` for the run, in place of earlier ones; returns the number of neurons.

    Without a section ``cluster`` its defaults hold. All tables are made before one of them appears, and a table that
    was made before by the same settings is not made again. Raises :class:`ConfigError` where the settings leave no
    neuron, :class:`~schemas.errors.UsageError` where neurons that are joined do not fit ``cluster.memory_mb``.
    """
    require_dump(plan, store)
    work = cluster_work(plan, store)
    store.check_space(work.bytes_to_fold(store))
    tiles = fold_tiles(store, executor, progress, work.job, work.pairs)
    receipts = [
        *_made(work, store, PARTITION_TABLES, lambda: _partition(work, tiles, progress)),
        *_made(work, store, SPECTRUM_TABLES, lambda: _spectra(work, tiles, progress)),
        *_made(work, store, EDGE_TABLES, lambda: _edges(work, tiles, progress)),
    ]
    found = {receipt.stage.removesuffix(f"-{plan.run_id}"): receipt.files for receipt in receipts}
    store.advance_all({(table, plan.run_id): found.get(table, ()) for table in CLUSTER_TABLES})
    write_run_record(store, work.plan)
    progress.start("clusters", 0, "tables")
    n_rows = sum(entry.n_rows for entry in found.get("correlation_edges", ()))
    listed = "" if work.settings.edges is None else f"; {n_rows:,} pairs with |r| of {work.settings.edges:g} and more"
    n = work.axis.n_neurons
    progress.finish(f"{counted(n, 'neuron')} at {counted(len(_thresholds(work)), 'threshold')}{listed}")
    return n


def cluster_work(plan: Plan, store: Store) -> ClusterWork:
    """What the plan's settings come to; raises :class:`ConfigError` where they leave no neuron."""
    chosen = plan.with_config(plan.config.model_copy(update={"cluster": _settings(plan)}))
    settings = _settings(plan)
    member = Member.alone(store, chosen)
    largest = block_size([chosen], chosen.config.executor.memory_mb)
    layers = chosen_layers("cluster", plan.capture, settings.components, settings.layers)
    blocks = tuple(neuron_blocks(0, chosen, lambda component, layer: (component, layer) in layers, largest))
    alignment = Alignment.alone(member)
    stage = tiles_stage([member], blocks, alignment, settings.precision, None, settings.place)
    job = TileJob(store.url, stage, (member,), blocks, alignment, settings.precision, None, settings.place)
    return ClusterWork(chosen, job, _keys(stage, settings))


def cluster_stage(plan: Plan, store: Store) -> tuple[str, dict[str, str]]:
    """Stage name of the receipts of the tiles, and key of each table's receipt; raises as :func:`cluster_work`."""
    work = cluster_work(plan, store)
    return work.job.stage, work.keys


def _settings(plan: Plan) -> ClusterConfig:
    return plan.config.cluster or ClusterConfig()


def _thresholds(work: ClusterWork) -> list[float]:
    return sorted(set(work.settings.thresholds))


def _keys(stage: str, settings: ClusterConfig) -> dict[str, str]:
    """Tiles stay as long as a table whose key names them, between dashes."""
    tiles = stage.rpartition("-")[2]
    partition = {"thresholds": sorted(set(settings.thresholds)), "linkage": settings.linkage, "signed": settings.signed}
    made_by: dict[tuple[str, ...], Any] = {
        PARTITION_TABLES: partition,
        SPECTRUM_TABLES: {},
        EDGE_TABLES: {"edges": settings.edges},
    }
    keys: dict[str, str] = {}
    for tables, chosen in made_by.items():
        digest = fingerprint(kind=list(tables), version=VERSION, settings=chosen)[:12]
        keys |= dict.fromkeys(tables, f"tiles-{tiles}-{digest}")
    if settings.edges is None:
        del keys["correlation_edges"]
    return keys


def _made(work: ClusterWork, store: Store, tables: tuple[str, ...], make: Callable[[], Parts]) -> list[Receipt]:
    """Receipts of these tables, which are made unless all of them are there."""
    stages = {table: f"{table}-{work.plan.run_id}" for table in tables if table in work.keys}
    found = [store.receipt(stage, work.keys[table]) for table, stage in stages.items()]
    receipts = [receipt for receipt in found if receipt is not None]
    if len(receipts) == len(stages):
        return receipts
    return [commit_run_table(store, work.plan, table, work.keys[table], parts) for table, parts in make().items()]


def _partition(work: ClusterWork, tiles: MomentTiles, progress: Progress) -> Parts:
    plan, settings, index = work.plan, work.settings, layer_index(work.axis)
    across, within = cluster_tiles(
        watched_passes(tiles, progress, "clusters"),
        work.axis.n_neurons,
        _thresholds(work),
        settings.linkage,
        signed=settings.signed,
        scopes=[None, index.layer_of],
        memory_mb=settings.memory_mb,
    )
    curve = redundancy_curve(across, within, index)
    spans, shared = spread_columns(plan, index, across)
    leading = [leading_members(found) for found in across.clusters]
    r = correlations_among(tiles, np.unique(np.concatenate(leading)), progress)
    made = {
        "clusters": cluster_columns(plan, work.axis, across),
        "cluster_pairs": pair_columns(plan, work.axis, across, leading, r),
        "redundancy": redundancy_columns(plan, index, across, curve),
        "cluster_spans": spans,
        "shared_clusters": shared,
    }
    return {table: iter([(work.keys[table], columns)]) for table, columns in made.items()}


def _spectra(work: ClusterWork, tiles: MomentTiles, progress: Progress) -> Parts:
    """Of one layer at a time, by one thread: more of them would change last bits."""
    axis = work.axis
    progress.start("principal components", len(axis.layers), "layers")
    spectra, dimensions = [], []
    for number, (_, component, layer) in enumerate(axis.layers):
        own = axis.of_layer(number)
        with on_one_thread():
            spectrum = pca_spectrum(tiles.co_moments(own, own), tiles.n_rows, _NOISE[work.job.precision])
        spectra.append(spectrum_columns(component, layer, spectrum))
        dimensions.append(dimension_columns(component, layer, spectrum))
        progress.advance(1)
    progress.finish(f"{counted(axis.n_neurons, 'component')} of {counted(len(axis.layers), 'layer')}")
    made = {"pca_spectrum": concatenated(work.plan, spectra), "layer_dimensions": concatenated(work.plan, dimensions)}
    return {table: iter([(work.keys[table], columns)]) for table, columns in made.items()}


def _edges(work: ClusterWork, tiles: MomentTiles, progress: Progress) -> Parts:
    """Pairs by |r|, whatever the sign; in files by number."""
    least, key = work.settings.edges, work.keys["correlation_edges"]
    found = edges(watched_passes(tiles, progress, "edges")(), 1.0 - (0.0 if least is None else least))
    parts = edge_parts(work.plan, work.axis, found)
    return {"correlation_edges": ((f"{key}-{number:05d}", columns) for number, columns in enumerate(parts))}
