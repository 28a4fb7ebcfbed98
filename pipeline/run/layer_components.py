"""What a layer's own co-moments come to, once for all comparisons with other layers.

A task is a layer of one member; it leaves ‖Σ‖²_F and, where they are asked for, all principal components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.correlate.principal_components import ROUNDING, PrincipalComponents, principal_components
from pipeline.run.array_file import open_arrays, save_arrays
from pipeline.run.fold import fold_tasks
from pipeline.run.moment_tiles import MomentTiles
from pipeline.run.progress import Progress
from pipeline.run.work import Executor
from pipeline.stats.cross_moments import Precision
from pipeline.stats.single_thread import on_one_thread
from pipeline.store.paths import state_file
from pipeline.store.receipts import Receipt
from pipeline.store.store import Store

#: A component with no more than this share of the largest one's variance is rounding.
COMPONENT_ROUNDING: dict[Precision, float] = {"float64": ROUNDING, "float32": 1e-6}


@dataclass(frozen=True)
class LayerTask:
    """One layer, by its number on the axis."""

    layer: int
    n_neurons: int

    @property
    def key(self) -> str:
        """Receipt key."""
        return f"layer-{self.layer:04d}"

    @property
    def neurons(self) -> range:
        """As many as the layer has."""
        return range(self.n_neurons)


@dataclass(frozen=True, eq=False)
class LayerJob:
    """Recipe of a worker; picklable."""

    store_url: str
    run_id: str
    stage: str
    tiles: MomentTiles
    has_components: bool

    def open(self) -> LayerWorker:
        """Make the worker."""
        return LayerWorker(Store.open(self.store_url).pinned(), self)


class LayerWorker:
    """Works on one layer after the other."""

    def __init__(self, store: Store, job: LayerJob) -> None:
        self.store = store
        self.job = job

    def process(self, task: LayerTask, attempt: int) -> dict[str, Any]:
        """Write what the layer comes to."""
        tiles = self.job.tiles
        neurons = tiles.axis.of_layer(task.layer)
        own = tiles.co_moments(neurons, neurons)
        arrays: dict[str, npt.NDArray[np.generic]] = {"norm": np.asarray(np.einsum("ij,ij->", own, own))}
        if self.job.has_components:
            with on_one_thread():
                found = principal_components(own, tiles.n_rows, 1.0, rounding=COMPONENT_ROUNDING[tiles.precision])
            arrays |= {"directions": found.directions, "moments": found.moments}
        with self.store.staging() as staging:
            path = state_file(self.job.run_id, f"{self.job.stage}/{task.key}.npz")
            save_arrays(staging.path(path), arrays)
            self.store.commit(staging, self.job.stage, task.key, {"attempt": attempt})
        return {"n_rows": tiles.n_rows}


@dataclass(frozen=True, eq=False)
class LayerComponents:
    """Finished layers, by their numbers on the axis."""

    store: Store
    receipts: Mapping[int, Receipt]

    def norm(self, layer: int) -> float:
        """‖Σ‖²_F of a layer."""
        with open_arrays(self.store, self.receipts[layer].files[0].path) as file:
            return float(file["norm"])

    def components(self, layer: int) -> PrincipalComponents:
        """All principal components of a layer."""
        with open_arrays(self.store, self.receipts[layer].files[0].path) as file:
            moments = file["moments"]
            return PrincipalComponents(file["directions"], moments, len(moments), 1.0)


def fold_layers(
    store: Store, executor: Executor, progress: Progress, job: LayerJob, layers: Sequence[int]
) -> LayerComponents:
    """Do the layers that are not there yet."""
    tasks = [LayerTask(layer, len(job.tiles.axis.of_layer(layer))) for layer in layers]
    tasks.sort(key=lambda task: (-task.n_neurons, task.layer))  # costly ones first, so that workers end together
    receipts = fold_tasks("layers", job.stage, store, executor, progress, job, tasks)
    progress.finish(f"{len(tasks):,} layers")
    return LayerComponents(store, {task.layer: receipt for task, receipt in zip(tasks, receipts, strict=True)})
