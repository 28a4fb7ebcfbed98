"""The agreement of rankings as rows of a table, :data:`schemas.agreements.AGREEMENTS`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipeline.report.agreement_data import PAIR_MEASURES, RANKING_MEASURES, AgreementData, Ranking

Row = dict[str, object]


def agreement_rows(data: AgreementData) -> Iterator[Row]:
    """The means over concepts, then every concept: pairs of different rankings once, and each ranking by itself."""
    for measure in (*PAIR_MEASURES, *RANKING_MEASURES):
        yield from _rows(data, None, measure, *data.mean(measure))
    for concept, found in zip(data.concepts, data.by_concept, strict=True):
        longer = np.maximum(found.n_top[:, None], found.n_top[None, :])
        for measure in PAIR_MEASURES:
            counts = found.n_common if measure == "spearman" else longer
            yield from _rows(data, concept, measure, getattr(found, measure), counts)
        for measure in RANKING_MEASURES:
            yield from _rows(data, concept, measure, getattr(found, measure), found.n_top)


def _rows(
    data: AgreementData, concept: str | None, measure: str, values: NDArray[np.float64], counts: NDArray[np.int64]
) -> Iterator[Row]:
    """Rows of one measure, from (M, M) or (M,) values."""
    n = len(data.rankings)
    places: list[tuple[int, ...]] = list(combinations(range(n), 2)) if values.ndim == 2 else [(i,) for i in range(n)]
    for place in places:
        value = float(values[place])
        yield {
            "concept": concept,
            "measure": measure,
            **_columns(data.rankings[place[0]], ""),
            **_columns(data.rankings[place[1]] if len(place) == 2 else None, "other_"),
            "k": data.k,
            "value": None if np.isnan(value) else value,
            "n": int(counts[place]),
        }


def _columns(ranking: Ranking | None, prefix: str) -> Row:
    names = {"ranking": "label", "run_id": "run_id", "model": "model", "method": "method", "params": "params"}
    return {f"{prefix}{name}": None if ranking is None else getattr(ranking, field) for name, field in names.items()}
