"""From the scores of all search tasks to the tables ``rankings`` and ``layer_bests``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.run.fold import NeuronTask
from pipeline.run.plan_record import Plan
from pipeline.run.records import show_finished, write_run_table
from pipeline.run.score_files import TaskScores
from pipeline.run.search_rows import RowRule
from pipeline.search.directions import MethodScores
from pipeline.search.mean_methods import MEAN_METHODS
from pipeline.search.ranking import TopNeurons
from pipeline.search.significance import benjamini_hochberg
from pipeline.store.parquet import concat_columns, dictionary_column
from pipeline.store.store import Store

#: A neuron's number over all tasks is target · stride + neuron, so that ties are broken by component, layer, neuron.
_STRIDE = 2**32
_FLOATS = ("score", "threshold", "heldout_score", "p_value", "q_value")


@dataclass(frozen=True, eq=False)
class RankingFold:
    """Folds the tasks' scores, method by method: only one method's scores are in memory at a time."""

    plan: Plan
    split: str
    """The split that neurons are selected on."""
    methods: tuple[str, ...]
    concepts: Sequence[str]
    tasks: Sequence[NeuronTask]
    files: Sequence[TaskScores]
    n_rows: int
    """T of ``split``."""
    n_pos: NDArray[np.int64]
    """Positives (C,) in it."""
    has_test: bool = True
    """Whether there are p values; none belong to whole label layers."""

    def params(self, method: str) -> str:
        """The ``params`` of a method's rows as canonical JSON."""
        params = method_params(self.plan, method)
        if self.has_test and method in MEAN_METHODS:
            params["p_value"] = "welch_t"
        return json.dumps(params, sort_keys=True)

    @cached_property
    def targets(self) -> list[tuple[str, int]]:
        """Components and layers in the order of ranks."""
        return sorted({(task.component, task.layer) for task in self.tasks})

    @cached_property
    def p_values(self) -> list[NDArray[np.float64]]:
        """Of every task."""
        return [file.tests() for file in self.files]

    @cached_property
    def q_values(self) -> list[NDArray[np.float64]]:
        """Of every task, over the family of all of them."""
        edges = np.cumsum([len(p_value) for p_value in self.p_values])[:-1]
        return np.split(benjamini_hochberg(np.concatenate(self.p_values)), edges)

    def method(self, method: str, keep: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Columns of ``rankings`` (the best ``keep`` per concept) and of ``layer_bests`` for one method."""
        overall = TopNeurons.empty(len(self.concepts), keep)
        layers = [TopNeurons.empty(len(self.concepts), 1) for _ in self.targets]
        for index, (task, file) in enumerate(zip(self.tasks, self.files, strict=True)):
            found = file.method(method)
            target = self.targets.index((task.component, task.layer))
            number = target * _STRIDE + np.arange(task.first, task.stop)
            overall.update(found.score, number, self._further(found, index))
            layers[target].update(found.score, number, {"sign": found.sign})
        table = self._key(method, overall) | self._ranking(overall)
        bests = [self._key(method, best) | _score(best) for best in layers]
        return table, {name: concat_columns([part[name] for part in bests]) for name in bests[0]}

    def _further(self, found: MethodScores, index: int) -> dict[str, NDArray[Any]]:
        undefined = np.full(found.score.shape, np.nan)
        return {
            "sign": found.sign,
            "threshold": undefined if found.threshold is None else found.threshold,
            "heldout_score": undefined if found.heldout is None else found.heldout,
            "p_value": self.p_values[index],
            "q_value": self.q_values[index],
        }

    def _key(self, method: str, best: TopNeurons) -> dict[str, Any]:
        """Who is ranked, for what, by which method."""
        found = best.finalize()
        target, neuron = np.divmod(best.neurons.ravel(), _STRIDE)
        same = np.zeros(len(neuron), np.int32)
        return {
            "run_id": dictionary_column(same, [self.plan.run_id]),
            "model": dictionary_column(same, [self.plan.model]),
            "component": dictionary_column(target, [component for component, _ in self.targets]),
            "layer": np.array([layer for _, layer in self.targets], np.int32)[target],
            "neuron": neuron.astype(np.int32),
            "concept": dictionary_column(np.asarray(found["concept"], np.int32), self.concepts),
            "method": dictionary_column(same, [method]),
            "params": dictionary_column(same, [self.params(method)]),
        }

    def _ranking(self, best: TopNeurons) -> dict[str, Any]:
        """The rest of the columns of ``rankings``."""
        found = best.finalize()
        n = len(found["score"])
        same = np.zeros(n, np.int32)
        n_pos = self.n_pos[found["concept"]]
        base_rate = n_pos / self.n_rows if self.n_rows else np.full(n, np.nan)
        return {
            **{name: nullable(found[name]) for name in _FLOATS},
            "sign": found["sign"].astype(np.int8),
            "rank": found["rank"],
            "n_rows": np.full(n, self.n_rows, np.int64),
            "n_pos": n_pos,
            "base_rate": nullable(base_rate),
            "unit": dictionary_column(same, [RowRule.of(self.plan).unit]),
            "split": dictionary_column(same, [self.split]),
            "partner": [None] * n,
        }


def _score(best: TopNeurons) -> dict[str, Any]:
    """Score and sign of a layer's best neurons."""
    found = best.finalize()
    return {"score": nullable(found["score"]), "sign": found["sign"].astype(np.int8)}


def write_rankings(plan: Plan, store: Store, folds: Iterable[RankingFold], key: str) -> int:
    """Write the run's ``rankings`` (best ``keep`` per concept and method) and ``layer_bests``.

    Returns the number of rankings.
    """
    if show_finished(store, plan, "rankings", key) and show_finished(store, plan, "layer_bests", key):
        return sum(file.n_rows for file in store.files("rankings", plan.run_id))
    keep = None if plan.config.search.keep == "all" else plan.config.search.keep
    parts = [fold.method(method, keep) for fold in folds for method in fold.methods]
    for table, columns in (("rankings", [part[0] for part in parts]), ("layer_bests", [part[1] for part in parts])):
        write_run_table(
            store, plan, table, {name: concat_columns([c[name] for c in columns]) for name in columns[0]}, key
        )
    return sum(len(rankings["rank"]) for rankings, _ in parts)


def nullable(values: NDArray[Any]) -> np.ma.MaskedArray[Any, Any]:
    """NaN as null; an infinite standardised difference is none."""
    return np.ma.masked_where(np.isnan(values), values)


def method_params(plan: Plan, method: str) -> dict[str, Any]:
    """What ``params`` tells of a method and its rows."""
    search, rule, params = plan.config.search, RowRule.of(plan), capture_params(plan)
    if rule.pooling is not None:
        params["search_pooling"] = rule.pooling
    if method == "iou":
        params |= {"alpha": search.alpha} if search.threshold is None else {"threshold": search.threshold}
    if method == "mi":
        params["intervals"] = search.intervals
    is_rounded = search.round_to is not None and rule.is_float32(plan.capture.value_dtype)
    if is_rounded and method not in MEAN_METHODS:
        params["rounded"] = search.round_to
    return params


def capture_params(plan: Plan) -> dict[str, Any]:
    """What ``params`` tells of the rows and their values, whatever was computed from them."""
    params: dict[str, Any] = {}
    if plan.capture.unit == "token":
        params["label_on"] = plan.config.concepts.label_on
    if plan.capture.pooling:
        params["pooling"] = plan.capture.pooling
    if plan.capture.rule is not None:
        params["stored"] = plan.capture.rule
    if plan.capture.sample is not None:
        params["sample"] = str(plan.capture.sample)
    return params
