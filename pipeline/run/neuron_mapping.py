"""A map of neurons by whom they correlate with, into ``neuron_map``: of the tiles that clusters are made of."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.correlate.neuron_map import NeuronMap, neuron_map
from pipeline.correlate.tile import fill_matrix
from pipeline.run.correlation_source import correlation_tiles
from pipeline.run.fold import require_dump
from pipeline.run.moment_tiles import MomentTiles, fold_tiles
from pipeline.run.neuron_clusters import ClusterWork, cluster_work
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.records import show_finished, write_run_record, write_run_table
from pipeline.run.work import Executor
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.analysis_config import MapConfig
from schemas.fingerprints import fingerprint

#: Raised whenever the same co-moments would give another map.
VERSION = 1


def map_neurons(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Fill ``neuron_map`` for the run, in place of an earlier map; returns the number of neurons.

    The neurons and their correlations are those of the section ``cluster``. Correlations of all pairs are held in a
    file, four bytes a pair. Raises :class:`~schemas.errors.UsageError` where the map cannot be made: see
    :func:`~pipeline.correlate.neuron_map.neuron_map`.
    """
    require_dump(plan, store)
    work = cluster_work(plan, store)
    key = _key(plan, work)
    n = work.axis.n_neurons
    if not show_finished(store, plan, "neuron_map", key):
        store.check_space(work.bytes_to_fold(store))
        tiles = fold_tiles(store, executor, progress, work.job, work.pairs)
        progress.start("map", n, "neurons")
        with correlation_matrix(tiles) as profiles:
            found = neuron_map(profiles, **_arguments(_settings(plan)))
        write_run_table(store, plan, "neuron_map", _columns(plan, work, found), key)
        progress.finish(f"{counted(found.n_clusters, 'group')} of {counted(n, 'neuron')}")
    write_run_record(store, plan)
    return n


def map_stage(plan: Plan, store: Store) -> tuple[str, str]:
    """Stage name of the receipts of the tiles, and key of the table's; raises as :func:`cluster_work`."""
    work = cluster_work(plan, store)
    return work.job.stage, _key(plan, work)


def _key(plan: Plan, work: ClusterWork) -> str:
    """The tiles stay as long as it names them, between dashes."""
    tiles = work.job.stage.rpartition("-")[2]
    settings = _settings(plan).model_dump(mode="json")
    return f"tiles-{tiles}-{fingerprint(kind='map', version=VERSION, settings=settings)[:12]}"


@contextmanager
def correlation_matrix(tiles: MomentTiles) -> Iterator[npt.NDArray[np.float32]]:
    """Pearson's r of all pairs, float32 (N, N), in a file that goes away; the diagonal is 1, NaN where constant."""
    n = tiles.axis.n_neurons
    with tempfile.TemporaryDirectory(prefix="neuronmill-map-") as folder:
        matrix = np.memmap(Path(folder) / "r", np.float32, "w+", shape=(n, n))
        fill_matrix(matrix, correlation_tiles(tiles))
        yield matrix


def _settings(plan: Plan) -> MapConfig:
    return plan.config.map or MapConfig()


def _arguments(settings: MapConfig) -> dict[str, Any]:
    return {
        "k": settings.groups if settings.method == "kmeans" else None,
        "method": settings.method,
        "space": settings.space,
        "seed": settings.seed,
        "signed": settings.signed,
        "n_neighbors": settings.neighbors,
        "min_cluster_size": settings.min_size,
    }


def _columns(plan: Plan, work: ClusterWork, found: NeuronMap) -> dict[str, Any]:
    n = work.axis.n_neurons
    params = {name: value for name, value in _arguments(_settings(plan)).items() if value is not None}
    params |= {"n_neighbors": found.n_neighbors, "n_components": found.n_components}
    return {
        "run_id": [plan.run_id] * n,
        **work.axis.columns([plan], np.arange(n)),
        "x": np.ma.masked_invalid(found.coordinates[:, 0]),
        "y": np.ma.masked_invalid(found.coordinates[:, 1]),
        "map_group": np.ma.masked_less(found.cluster.astype(np.int32), 0),
        "method": [_settings(plan).method] * n,
        "params": [json.dumps(params, sort_keys=True)] * n,
    }
