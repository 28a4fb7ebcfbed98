"""Non-negative factors of every layer, into ``factors``, ``factor_neurons`` and ``factor_rows``.

A task is a whole layer. Its parts are files of the three tables themselves: with all active rows kept, ``factor_rows``
is larger than memory.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from pipeline.correlate.nonnegative_factors import FactorSettings, NonnegativeFactors, nonnegative_factors
from pipeline.run.factor_rows import AllRows, KeptRows, Rows, TopFactorRows
from pipeline.run.fold import FoldJob, fold_tasks, kernel_threads, require_dump
from pipeline.run.layer_choice import chosen_layers
from pipeline.run.layer_rows import LayerRows, LayerTask
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.records import write_run_record
from pipeline.run.statistics import nullable
from pipeline.run.work import Executor
from pipeline.store.parquet import write_table
from pipeline.store.paths import run_file
from pipeline.store.receipts import Receipt
from pipeline.store.staging import Staging
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.analysis_config import FactorsConfig
from schemas.errors import ConfigError
from schemas.fingerprints import fingerprint
from schemas.tables import TABLES

#: Raised whenever the same activations would give other factors.
VERSION = 1
#: Share of `executor.memory_mb` in which a layer is kept between passes.
_KEPT_SHARE = 0.5
#: The tables of a run's factors.
FACTOR_TABLES = ("factors", "factor_neurons", "factor_rows")


class FactorsWorker:
    """Factors one layer after the other."""

    def __init__(self, store: Store, plan: Plan, stage: str) -> None:
        self.store, self.plan, self.stage = store, plan, stage
        self.settings = _settings(plan)
        self.threads = kernel_threads(plan.config)

    def process(self, task: LayerTask, attempt: int) -> dict[str, Any]:
        """Write the task's files of the tables."""
        layer = LayerRows(self.store, self.plan, task, int(_KEPT_SHARE * self.plan.config.executor.memory_mb * 2**20))
        chosen = FactorSettings(
            self.settings.k, self.settings.seed, self.settings.passes, batch_rows=self.settings.batch_rows
        )
        with self.store.staging() as staging:
            kept = self._kept_rows(staging, task)
            rows = Rows(chosen.n_factors, kept, layer.row_ids())
            found = nonnegative_factors(
                layer.blocks, len(task.neurons), layer.n_rows, chosen, rows.add, threads=self.threads
            )
            kept.finish()
            self._write(staging, task, "factors", self._factor_columns(task, found, rows))
            self._write(staging, task, "factor_neurons", self._neuron_columns(task, found))
            self.store.commit(staging, self.stage, task.key, {"attempt": attempt})
        return {"n_rows": layer.n_rows}

    def _kept_rows(self, staging: Staging, task: LayerTask) -> KeptRows:
        def write(part: int, columns: dict[str, Any]) -> None:
            n = len(columns["factor"])
            self._write(staging, task, "factor_rows", self._layer_key(task, n) | columns, f"-{part:05d}")

        settings = self.settings
        if settings.rows_per_factor == "all":
            return AllRows(write)
        return TopFactorRows(write, settings.k, settings.rows_per_factor)

    def _write(self, staging: Staging, task: LayerTask, table: str, columns: dict[str, Any], part: str = "") -> None:
        path = run_file(table, self.plan.run_id, f"{self.stage.rpartition('-')[2]}-{task.key}{part}")
        write_table(staging.path(path), columns, TABLES[table].arrow)

    def _layer_key(self, task: LayerTask, n: int) -> dict[str, Any]:
        return {
            "run_id": [self.plan.run_id] * n,
            "model": [self.plan.model] * n,
            "component": [task.component] * n,
            "layer": np.full(n, task.layer, np.int32),
        }

    def _factor_columns(self, task: LayerTask, found: NonnegativeFactors, rows: Rows) -> dict[str, Any]:
        n = self.settings.k
        of_layer = {
            "relative_error": found.relative_error,
            "explained": found.explained,
            "variance_explained": found.variance_explained,
            "negative_share": found.part.negative_share,
            "negative_square_share": found.part.negative_square_share,
        }
        measured = {"share": found.share, "mean": rows.mean, "max": rows.largest}
        return {
            **self._layer_key(task, n),
            "factor": np.arange(n, dtype=np.int32),
            **nullable(measured | {name: np.full(n, value) for name, value in of_layer.items()}),
            "n_active": rows.n_active,
            "n_factors": np.full(n, n, np.int32),
            "n_rows": np.full(n, found.part.n_rows, np.int64),
            "n_passes": np.full(n, found.n_passes, np.int32),
            "is_converged": [found.is_converged] * n,
            "params": [_params(self.plan)] * n,
        }

    def _neuron_columns(self, task: LayerTask, found: NonnegativeFactors) -> dict[str, Any]:
        order = np.argsort(-found.weights, axis=1, kind="stable")
        weights = np.take_along_axis(found.weights, order, axis=1)
        factor, place = np.nonzero(weights > 0)
        index = order[factor, place]
        return {
            **self._layer_key(task, len(factor)),
            "factor": factor.astype(np.int32),
            "rank": (place + 1).astype(np.int32),
            "neuron": task.neurons[index].astype(np.int32),
            "weight": weights[factor, place],
            "neuron_share": np.ma.masked_invalid(found.neuron_share[factor, index]),
        }


def factors_stage(plan: Plan) -> str:
    """Stage name of the receipts of the layers, whose files are the tables."""
    settings = _settings(plan).model_dump(include={"k", "seed", "passes", "batch_rows", "rows_per_factor"})
    return f"factors-{plan.run_id}-{fingerprint(kind='factors', version=VERSION, **settings)[:8]}"


def factors(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Fill the tables of factors for the run (replacing earlier ones of it); returns the number of layers.

    Without a section ``factors`` its defaults hold. Raises :class:`ConfigError` where the settings leave no layer, or
    for more factors than a layer has neurons.
    """
    require_dump(plan, store)
    chosen = plan.with_config(plan.config.model_copy(update={"factors": _settings(plan)}))
    tasks, stage = factor_tasks(chosen), factors_stage(chosen)
    job = FoldJob(store.url, chosen, stage, FactorsWorker)
    receipts = fold_tasks("factors", stage, store, executor, progress, job, tasks)
    _show(chosen, store, receipts)
    write_run_record(store, chosen)
    progress.finish(_summary(store, chosen, len(tasks)))
    return len(tasks)


def show_factors(plan: Plan, store: Store) -> bool:
    """Register the tables that an earlier command finished by these settings; False if there are none."""
    found = store.receipts(factors_stage(plan))
    keys = [task.key for task in factor_tasks(plan)]
    if not all(key in found for key in keys):
        return False
    _show(plan, store, [found[key] for key in keys])
    return True


def factor_tasks(plan: Plan) -> list[LayerTask]:
    """The layers that the settings choose; raises :class:`ConfigError` as :func:`factors`."""
    settings, capture = _settings(plan), plan.capture
    targets = chosen_layers("factors", capture, settings.components, settings.layers)
    for component, layer in targets:
        if settings.k > capture.n_neurons(component):
            raise ConfigError(
                f"factors.k is {settings.k}, and {component}:{layer} has {capture.n_neurons(component)} neurons; lower "
                "it, or choose others by factors.components"
            )
    return [LayerTask.of(plan, component, layer) for component, layer in targets]


def _settings(plan: Plan) -> FactorsConfig:
    return plan.config.factors or FactorsConfig()


def _show(plan: Plan, store: Store, receipts: list[Receipt]) -> None:
    files = [file for receipt in receipts for file in receipt.files]
    store.advance_all({
        (table, plan.run_id): [file for file in files if file.path.startswith(f"{table}/")] for table in FACTOR_TABLES
    })  # fmt: skip


def _params(plan: Plan) -> str:
    """``params`` as canonical JSON."""
    params = _settings(plan).model_dump(include={"k", "seed", "passes", "batch_rows"})
    if plan.capture.pooling:
        params["pooling"] = plan.capture.pooling
    if plan.capture.rule is not None:
        params["stored"] = plan.capture.rule
    if plan.capture.sample is not None:
        params["sample"] = str(plan.capture.sample)
    return json.dumps(params, sort_keys=True)


def _summary(store: Store, plan: Plan, n_layers: int) -> str:
    table = store.read_table(store.files("factors", plan.run_id), ["explained", "negative_square_share"])
    parts = [f"{counted(_settings(plan).k, 'factor')} of each of {counted(n_layers, 'layer')}"]
    for name, said in (
        ("explained", "of Σ max(x, 0)² explained"),
        ("negative_square_share", "of Σ x² negative, cut off"),
    ):
        values = table[name].drop_null().to_pylist()
        if values:
            ends = dict.fromkeys(f"{100 * end:.0f}" for end in (min(values), max(values)))
            parts.append(f"{'–'.join(ends)} % {said}")
    return "; ".join(parts)
