"""Layers of a model beside layers of others: every measure of their likeness, with its null, from tiles of co-moments.

A task is one pair of layers; it leaves arrays of a few numbers per neuron of the first one (:class:`PairMeasures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.correlate.best_partners import BestPartners
from pipeline.correlate.canonical_correlation import (
    VARIANCE_SHARE,
    CanonicalScores,
    correlate_components,
    pwcca_scores,
    svcca_scores,
)
from pipeline.correlate.kernel_alignment import RowNormSums, cka, debiased_cka, squared_norm
from pipeline.correlate.linear_regression import ColumnSpace
from pipeline.correlate.principal_components import PrincipalComponents
from pipeline.correlate.tile import Tile
from pipeline.run.array_file import open_arrays, save_arrays
from pipeline.run.fold import fold_tasks
from pipeline.run.layer_components import LayerComponents
from pipeline.run.model_regression import REGRESSION_TOLERANCE, regression_facts
from pipeline.run.moment_tiles import MomentTiles
from pipeline.run.progress import Progress
from pipeline.run.row_norms import RowNorms
from pipeline.run.work import Executor
from pipeline.stats.cross_moments import correlations_of
from pipeline.stats.single_thread import on_one_thread
from pipeline.store.paths import state_file
from pipeline.store.store import Store

#: Shares of the variance that the components of each kind of canonical correlation hold.
SHARES = {"svcca": VARIANCE_SHARE, "pwcca": 1.0}

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class PairTask:
    """Two layers, by their numbers on the axis."""

    layer: int
    other: int
    n_pairs: int

    @property
    def key(self) -> str:
        """Receipt key."""
        return f"{self.layer:04d}-{self.other:04d}"

    @property
    def neurons(self) -> range:
        """As many as it has pairs of neurons, which is what progress counts."""
        return range(self.n_pairs)


@dataclass(frozen=True, eq=False)
class PairJob:
    """Recipe of a worker; picklable."""

    store_url: str
    run_id: str
    stage: str
    methods: tuple[str, ...]
    ridge: float
    tiles: MomentTiles
    layers: LayerComponents
    norms: RowNorms | None
    """Needed by `cka`."""

    def open(self) -> PairWorker:
        """Make the worker."""
        return PairWorker(Store.open(self.store_url).pinned(), self)


@dataclass(eq=False)
class _Layer:
    """What is needed of one layer, and made when it is."""

    number: int
    neurons: range
    m2: npt.NDArray[np.float64]
    space: ColumnSpace | None = None
    components: dict[float, PrincipalComponents] = field(default_factory=dict)


class PairWorker:
    """Compares one pair of layers after the other; what it needs of the second layer stays for the next pair."""

    def __init__(self, store: Store, job: PairJob) -> None:
        self.store = store
        self.job = job
        self._kept: _Layer | None = None

    def process(self, task: PairTask, attempt: int) -> dict[str, Any]:
        """Write the measures of one pair."""
        if self._kept is None or self._kept.number != task.other:
            self._kept = self._layer(task.other)
        layer, other = self._layer(task.layer), self._kept
        arrays: Arrays = {}
        with on_one_thread():
            for prefix, name in (("", "comoment"), ("null_", "null")):
                cross = self.job.tiles.co_moments(layer.neurons, other.neurons, name)
                measures = self._measures(layer, other, cross, is_null=name == "null")
                arrays |= {prefix + measure: values for measure, values in measures.items()}
        with self.store.staging() as staging:
            path = state_file(self.job.run_id, f"{self.job.stage}/{task.key}.npz")
            save_arrays(staging.path(path), arrays)
            self.store.commit(staging, self.job.stage, task.key, {"attempt": attempt})
        return {"n_rows": self.job.tiles.n_rows}

    def _layer(self, number: int) -> _Layer:
        neurons = self.job.tiles.axis.of_layer(number)
        return _Layer(number, neurons, self.job.tiles.m2[neurons.start : neurons.stop])

    def _measures(self, layer: _Layer, other: _Layer, cross: npt.NDArray[np.float64], *, is_null: bool) -> Arrays:
        tiles, methods = self.job.tiles, self.job.methods
        r = correlations_of(cross, layer.m2, other.m2, tiles.precision)
        best = BestPartners.empty(len(r)).update(Tile(range(r.shape[0]), range(r.shape[1]), r))
        found: Arrays = dict(best.arrays())
        if "linreg" in methods:
            scores = self._space(other).regress(cross, layer.m2)
            found |= {"r2": scores.r2, "r2_facts": regression_facts(scores)}
        for method, share in SHARES.items():
            if method in methods:
                of_a, of_b = self._components(layer, share), self._components(other, share)
                rho = correlate_components(of_a, of_b, layer.m2, other.m2, cross, tiles.n_rows)
                scores_of = svcca_scores if method == "svcca" else pwcca_scores
                found |= _canonical(method, scores_of(rho))
        if "cka" in methods:
            found |= self._kernels(layer.number, other.number, cross, is_null=is_null)
        return found

    def _space(self, other: _Layer) -> ColumnSpace:
        if other.space is None:
            tiles, ridge = self.job.tiles, self.job.ridge
            own = tiles.co_moments(other.neurons, other.neurons)
            other.space = ColumnSpace.of(own, tiles.n_rows, ridge, REGRESSION_TOLERANCE[tiles.precision])
        return other.space

    def _components(self, layer: _Layer, share: float) -> PrincipalComponents:
        if share not in layer.components:
            layer.components[share] = self.job.layers.components(layer.number).holding(share)
        return layer.components[share]

    def _kernels(self, a: int, b: int, cross: npt.NDArray[np.float64], *, is_null: bool) -> Arrays:
        norms, layers = self.job.norms, self.job.layers
        assert norms is not None  # noqa: S101 - folded wherever `cka` is asked for
        products = norms.null if is_null else norms.products
        rows = RowNormSums(
            self.job.tiles.n_rows,
            a=float(norms.sums[a]),
            b=float(norms.sums[b]),
            aa=float(norms.products[a, a]),
            bb=float(norms.products[b, b]),
            ab=float(products[a, b]),
        )
        tile = Tile(range(cross.shape[0]), range(cross.shape[1]), cross)
        of_a, of_b, of_ab = layers.norm(a), layers.norm(b), squared_norm([tile], is_symmetric=False)
        return {
            "cka": np.asarray(cka(of_a, of_b, of_ab)),
            "cka_debiased": np.asarray(debiased_cka(of_a, of_b, of_ab, rows)),
        }


def _canonical(method: str, scores: CanonicalScores) -> Arrays:
    """Score of the pair, weights of the first layer's neurons, and what it was computed with."""
    found = scores.correlations
    facts = np.array([found.k_a, found.k_b, scores.expected, found.is_trivial], np.float64)
    return {method: np.asarray(scores.score), f"{method}_weights": scores.weights_a, f"{method}_facts": facts}


def fold_pairs(
    store: Store, executor: Executor, progress: Progress, job: PairJob, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Arrays]:
    """The measures of each pair of layers; those that are there stay."""
    sizes = np.bincount(job.tiles.axis.layer_of)
    tasks = [PairTask(a, b, int(sizes[a] * sizes[b])) for a, b in pairs]
    tasks.sort(key=lambda task: (task.other, task.layer))
    receipts = fold_tasks("pairs of layers", job.stage, store, executor, progress, job, tasks, "pairs")
    progress.finish(f"{len(tasks):,} pairs of layers")
    made: dict[tuple[int, int], Arrays] = {}
    for task, receipt in zip(tasks, receipts, strict=True):
        with open_arrays(store, receipt.files[0].path) as file:
            made[task.layer, task.other] = {name: file[name] for name in file.files}
    return made
