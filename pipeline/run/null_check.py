"""The table ``null_checks``: what a search finds beside what it finds in labels shuffled inside sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.run.plan_record import Plan
from pipeline.run.ranking_table import RankingFold, method_params, nullable
from pipeline.run.records import show_finished, write_run_table
from pipeline.search.permutation import permutation_p_values
from pipeline.search.significance import benjamini_hochberg
from pipeline.store.parquet import concat_columns
from pipeline.store.store import Store

#: The false discovery rate of the counts.
Q = 0.01


def write_null_checks(
    plan: Plan, store: Store, folds: Iterable[RankingFold], nulls: Iterable[RankingFold], seed: int, key: str
) -> None:
    """Write the run's ``null_checks``: one row for each concept and method, ``nulls`` being of shuffled labels."""
    if show_finished(store, plan, "null_checks", key):
        return
    pairs = zip(folds, nulls, strict=True)
    parts = [_checks(plan, fold, null, method, seed) for fold, null in pairs for method in fold.methods]
    columns = {name: concat_columns([part[name] for part in parts]) for name in parts[0]}
    write_run_table(store, plan, "null_checks", columns, key)


def _checks(plan: Plan, fold: RankingFold, null: RankingFold, method: str, seed: int) -> dict[str, Any]:
    """The rows of one method."""
    scores, drawn = (_joined([file.method(method).score for file in side.files]) for side in (fold, null))
    survive = benjamini_hochberg(permutation_p_values(scores, drawn)) < Q
    tested, null_tested = (_joined(list(side.q_values)) < Q for side in (fold, null))
    n = len(fold.concepts)
    return {
        "run_id": [plan.run_id] * n,
        "model": [plan.model] * n,
        "concept": list(fold.concepts),
        "method": [method] * n,
        "params": [method_params(plan, method)] * n,
        "seed": np.full(n, seed, np.int64),
        "n_neurons": (~np.isnan(scores)).sum(axis=0),
        "best_score": nullable(_of(np.max, scores)),
        "null_median": nullable(_of(np.median, drawn)),
        "null_best": nullable(_of(np.max, drawn)),
        "n_tested": tested.sum(axis=0),
        "n_tested_null": null_tested.sum(axis=0),
        "n_survive": survive.sum(axis=0),
    }


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts)


def _of(statistic: Any, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """``statistic`` of each concept's scores that are not NaN; NaN without any."""
    columns = [column[~np.isnan(column)] for column in scores.T]
    return np.array([statistic(column) if len(column) else np.nan for column in columns], np.float64)
