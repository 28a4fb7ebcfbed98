"""How alike layers of the model and of others are, and how well single neurons of theirs match."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from pipeline.report.connection import Connection, ask
from pipeline.report.methods import short_params

#: Title and one-line meaning of the measures of ``layer_similarity``, in the order of the page.
MEASURES: dict[str, tuple[str, str]] = {
    "cka_debiased": (
        "CKA, debiased",
        "Linear centred kernel alignment without the bias of few rows: by chance 0.",
    ),
    "cka": ("CKA", "Linear centred kernel alignment."),
    "svcca": ("SVCCA", "Mean canonical correlation of the components with most of the variance."),
    "pwcca": ("PWCCA", "Mean canonical correlation, weighted by the layer's neurons."),
    "maxcorr": ("Best match", "Median over the layer's neurons of the largest |r| with a neuron of the other layer."),
    "linreg": ("Regression", "Median over the layer's neurons of R² by all neurons of the other layer."),
}
#: The same of the rankings by neurons of other models.
MATCHES: dict[str, tuple[str, str]] = {
    "maxcorr": ("MaxCorr", "Largest |r| with any neuron of another model."),
    "mincorr": ("MinCorr", "|r| with the best neuron of the other model where that is least."),
    "linreg": ("LinReg", "R² by all neurons of another model."),
    "svcca": ("SVCCA", "Share of the neuron's variance that the other model shares."),
    "pwcca": ("PWCCA", "Canonical correlations, weighted by the neuron's part in each."),
}
#: Cells of all matrices together; matrices beyond are left out and counted.
MAX_CELLS = 120_000
N_BINS = 50

Layer = tuple[str, int]
Matrix = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True)
class SimilarityMatrix:
    """One measure between R layers of the model and C of a partner; None where undefined or not measured.

    ``partner`` is the partner's alias, with its store if that is another.
    """

    partner_model: str
    partner: str
    measure: str
    rows: tuple[Layer, ...]
    columns: tuple[Layer, ...]
    scores: Matrix
    nulls: Matrix
    n_rows: tuple[int, int]
    params: str

    @property
    def null_range(self) -> tuple[float, float, float] | None:
        """Smallest, median and largest null; None without one."""
        found = [value for row in self.nulls for value in row if value is not None]
        return (min(found), median(found), max(found)) if found else None


@dataclass(frozen=True, slots=True)
class MatchHistogram:
    """Neurons of one component by score, in ``N_BINS`` bins.

    ``null_median`` and ``null_max`` are as ``params`` has them. Where it has neither, ``null_of_layers`` is the median
    null of the same measure between single layers, as ``layer_similarity`` has it: that is lower, as each layer has
    fewer neurons than the model. None where there is none.
    """

    component: str
    counts: tuple[int, ...]
    n_undefined: int
    null_median: float | None
    null_max: float | None
    null_of_layers: float | None


@dataclass(frozen=True, slots=True)
class MatchScores:
    """Scores of one method whose partner is in one other model; bins are of equal width from ``low`` to ``high``."""

    method: str
    params: str
    partner: str
    low: float
    high: float
    histograms: tuple[MatchHistogram, ...]


def load_layer_similarity(
    connection: Connection, run_id: str, components: tuple[str, ...]
) -> tuple[tuple[SimilarityMatrix, ...], int]:
    """Matrices by partner and measure with at most ``MAX_CELLS`` cells in all, and the number of those left out.

    Layers come in the order of ``components``, those without a place there by name. Of a pair that is there twice
    (other ``params``) the last counts.
    """
    cells: dict[tuple[str, str, str], dict[tuple[Layer, Layer], tuple[Any, ...]]] = defaultdict(dict)
    for model, store, measure, *places, value, null, n_rows, params in ask(connection, "layer_similarity", run=run_id):
        partner = model if store is None else f"{model} ({store})"
        pair = ((places[0], places[1]), (places[2], places[3]))
        cells[model, partner, measure][pair] = (value, null, n_rows, params)
    place = {measure: i for i, measure in enumerate(MEASURES)}
    order = sorted(cells, key=lambda key: (*key[:2], place.get(key[2], len(place)), key[2]))
    matrices, room = [], MAX_CELLS
    for key in order:
        matrix = _matrix(key, cells[key], components)
        room -= len(matrix.rows) * len(matrix.columns)
        if room < 0:
            break
        matrices.append(matrix)
    return tuple(matrices), len(order) - len(matrices)


def load_match_scores(
    connection: Connection, run_id: str, components: tuple[str, ...], similarity: Sequence[SimilarityMatrix] = ()
) -> tuple[MatchScores, ...]:
    """Histograms of the rankings without a concept: one per method, parameters and other model.

    ``null_…`` keys of ``params`` are figures, not parameters: rows that differ in these only are one ranking, with the
    median of its medians and the largest of its maxima for each component; ``similarity`` has the nulls of layers.
    """
    found: dict[tuple[str, str], dict[str | None, dict[str, list[Any]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    bounds: dict[str, tuple[float, float]] = {}
    for method, params, partner, component, low, high, *counted in ask(
        connection, "best_matches", run=run_id, n_bins=N_BINS
    ):
        kept, nulls = _without_nulls(params)
        found[method, kept][partner][component].append((*counted, nulls))
        bounds[method] = (low, high)
    place = {name: i for i, name in enumerate(MATCHES)}
    scores = []
    for method, params in sorted(found, key=lambda key: (place.get(key[0], len(place)), *key)):
        undefined = found[method, params].pop(None, {})
        for partner, by_component in sorted(found[method, params].items(), key=str):
            names = _ordered({*by_component, *undefined}, components)
            alike = [m for m in similarity if (m.partner_model, m.measure) == (partner, method)]
            histograms = tuple(_histogram(name, by_component[name], undefined.get(name, []), alike) for name in names)
            scores.append(MatchScores(method, short_params(params), str(partner), *bounds[method], histograms))
    return tuple(scores)


def _matrix(
    key: tuple[str, str, str], cells: dict[tuple[Layer, Layer], tuple[Any, ...]], components: tuple[str, ...]
) -> SimilarityMatrix:
    order = _ordered({component for pair in cells for component, _ in pair}, components)
    place = {name: i for i, name in enumerate(order)}
    rows, columns = (sorted({pair[k] for pair in cells}, key=lambda at: (place[at[0]], at[1])) for k in (0, 1))
    nothing = (None, None)

    def part(k: int) -> Matrix:
        return tuple(tuple(cells.get((row, column), nothing)[k] for column in columns) for row in rows)

    n_rows = [cell[2] for cell in cells.values()]
    return SimilarityMatrix(
        partner_model=key[0],
        partner=key[1],
        measure=key[2],
        rows=tuple(rows),
        columns=tuple(columns),
        scores=part(0),
        nulls=part(1),
        n_rows=(min(n_rows), max(n_rows)),
        params=_common_params(cell[3] for cell in cells.values()),
    )


def _histogram(component: str, found: list[Any], undefined: list[Any], alike: list[SimilarityMatrix]) -> MatchHistogram:
    counts = [0] * N_BINS
    for at, n, _ in found:
        counts[at] += n
    nulls = [nulls for _, _, nulls in found]
    medians, largest = ([n[key] for n in nulls if key in n] for key in ("null_median", "null_max"))
    rows = [row for m in alike for layer, row in zip(m.rows, m.nulls, strict=True) if layer[0] == component]
    of_layers = [] if medians or largest else [value for row in rows for value in row if value is not None]
    return MatchHistogram(
        component=component,
        counts=tuple(counts),
        n_undefined=sum(n for _, n, _ in undefined),
        null_median=median(medians) if medians else None,
        null_max=max(largest) if largest else None,
        null_of_layers=median(of_layers) if of_layers else None,
    )


def _ordered(names: Iterable[str], order: tuple[str, ...]) -> list[str]:
    place = {name: i for i, name in enumerate(order)}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


def _without_nulls(params: str) -> tuple[str, dict[str, float]]:
    """``params`` without the ``null_…`` keys, and those of these that are numbers."""
    values = _object(params)
    if values is None:
        return params, {}
    nulls = {k: v for k, v in values.items() if k.startswith("null_")}
    numbers = {k: float(v) for k, v in nulls.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return json.dumps({k: v for k, v in values.items() if k not in nulls}, sort_keys=True), numbers


def _common_params(params: Iterable[str]) -> str:
    """What all of these JSON objects have in common, as text."""
    common: dict[str, Any] | None = None
    for text in dict.fromkeys(params):
        values = _object(text) or {}
        common = values if common is None else {k: v for k, v in common.items() if k in values and values[k] == v}
    return short_params(json.dumps(common or {}))


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
