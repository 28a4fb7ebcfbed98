"""The agreement of rankings as a page: a heat map of all pairs, and the scores of each ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.agreement_data import PAIR_MEASURES, RANKING_MEASURES, AgreementData
from pipeline.report.html_file import render_html
from schemas.inert_text import inert

Json = dict[str, object]
_RANGES = {"jaccard": (0, 1), "overlap": (0, 1), "spearman": (-1, 1)}


def render_agreement_page(data: AgreementData, title: str | None = None) -> str:
    """The whole page as text, self-contained; the same data gives the same bytes. All names are :func:`inert`."""
    means = [data.mean(name)[0] for name in RANKING_MEASURES]
    rows = [(ranking, [_plain(values[i]) for values in means]) for i, ranking in enumerate(data.rankings)]
    return render_html(
        "agreement",
        agreement_figures(data),
        data=data,
        title=title or "Agreement of neuron rankings",
        pair_measures=PAIR_MEASURES,
        ranking_measures=RANKING_MEASURES,
        rows=rows,
    )


def agreement_figures(data: AgreementData) -> Json:
    """The numbers of the heat map.

    ``{labels, measures: {name: {title, meaning, range}}, mean: {name: {values, counts, of}}, concepts: [the same]}``:
    matrices as lists of rows, null where undefined; ``counts`` say over how many of ``of`` a value is.
    """
    return {
        "labels": [inert(ranking.label) for ranking in data.rankings],
        "measures": {
            name: {"title": title, "meaning": meaning, "range": _RANGES[name]}
            for name, (title, meaning) in PAIR_MEASURES.items()
        },
        "mean": {name: _matrix(*data.mean(name), "concepts") for name in PAIR_MEASURES},
        "concepts": [
            {
                "jaccard": _matrix(found.jaccard, _longer(found.n_top), "neurons in the longer list"),
                "overlap": _matrix(found.overlap, _longer(found.n_top), "neurons in the longer list"),
                "spearman": _matrix(found.spearman, found.n_common, "neurons in common"),
            }
            for found in data.by_concept
        ],
    }


def _longer(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.maximum(lengths[:, None], lengths[None, :])


def _matrix(values: NDArray[np.float64], counts: NDArray[np.int64], of: str) -> Json:
    return {"values": [[_plain(value) for value in row] for row in values], "counts": counts.tolist(), "of": of}


def _plain(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
