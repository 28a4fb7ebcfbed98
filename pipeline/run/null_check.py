"""The table ``null_checks``: what a search finds beside what it finds in labels shuffled inside sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.run.plan_record import Plan
from pipeline.run.ranking_table import RankingFold, nullable
from pipeline.search.permutation import permutation_p_values
from pipeline.search.significance import benjamini_hochberg
from pipeline.store.parquet import concat_columns
from schemas.errors import ConfigError

#: The false discovery rate of the counts.
Q = 0.01


def null_checks(plan: Plan, folds: Iterable[RankingFold], nulls: Iterable[RankingFold], seed: int) -> dict[str, Any]:
    """Columns of the run's ``null_checks``: a row for each concept and method, ``nulls`` being of shuffled labels.

    Raises :class:`ConfigError` where shuffling inside sentences leaves every concept as it is.
    """
    pairs = zip(folds, nulls, strict=True)
    parts = [_checks(plan, fold, null, method, seed) for fold, null in pairs for method in fold.methods]
    if all(part["n_survive"].mask.all() for part in parts):
        raise ConfigError(
            "search.null: shuffling inside sentences changes nothing here: each sentence is a single row, or each "
            "concept holds for all rows of a sentence or for none; leave it out"
        )
    return {name: concat_columns([part[name] for part in parts]) for name in parts[0]}


def _checks(plan: Plan, fold: RankingFold, null: RankingFold, method: str, seed: int) -> dict[str, Any]:
    """The rows of one method; null where shuffling inside sentences leaves a concept's rows as they are."""
    scores, drawn = (np.concatenate([file.method(method).score for file in side.files]) for side in (fold, null))
    is_same = (scores == drawn) | (np.isnan(scores) & np.isnan(drawn))
    unmoved, n = is_same.all(axis=0), len(fold.concepts)
    survive = benjamini_hochberg(permutation_p_values(scores, drawn)) < Q
    best = _of(np.max, drawn)
    tested, null_tested = ((np.concatenate(side.q_values) < Q).sum(axis=0) for side in (fold, null))
    untested = np.full(n, not fold.has_test)
    return {
        "run_id": [plan.run_id] * n,
        "model": [plan.model] * n,
        "concept": list(fold.concepts),
        "method": [method] * n,
        "params": [fold.params(method)] * n,
        "seed": np.full(n, seed, np.int64),
        "n_neurons": (~np.isnan(scores)).sum(axis=0),
        "best_score": nullable(_of(np.max, scores)),
        "null_median": nullable(np.where(unmoved, np.nan, _of(np.median, drawn))),
        "null_best": nullable(np.where(unmoved, np.nan, best)),
        "n_tested": np.ma.masked_where(untested, tested),
        "n_tested_null": np.ma.masked_where(untested | unmoved, null_tested),
        "n_above_null": np.ma.masked_where(unmoved, (scores > best).sum(axis=0)),
        "n_survive": np.ma.masked_where(unmoved, survive.sum(axis=0)),
    }


def _of(statistic: Any, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """``statistic`` of each concept's scores that are not NaN; NaN without any."""
    columns = [column[~np.isnan(column)] for column in scores.T]
    return np.array([statistic(column) if len(column) else np.nan for column in columns], np.float64)
