"""How alike layers of the model and of others are, and how well single neurons of theirs match."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

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
_NULL_FIGURES = ("null_median", "null_max")

Layer = tuple[str, int]
Matrix = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True)
class SimilarityMatrix:
    """One measure between R layers of the model and C of a partner; None where undefined or not measured.

    ``partner`` is the partner's alias, with its store where the alias is not unique. In ``n_trivial`` pairs of layers
    the rows are too few for the measure to be anything but high.
    """

    partner: str
    measure: str
    rows: tuple[Layer, ...]
    columns: tuple[Layer, ...]
    scores: Matrix
    nulls: Matrix
    n_rows: tuple[int, int]
    n_trivial: int
    params: str

    @property
    def null_range(self) -> tuple[float, float, float] | None:
        """Smallest, median and largest null; None without one."""
        found = [value for row in self.nulls for value in row if value is not None]
        return (min(found), median(found), max(found)) if found else None


@dataclass(frozen=True, slots=True)
class MatchHistogram:
    """Neurons of one component by score, and by the null of their score, in the same ``N_BINS`` bins.

    ``null_counts`` is empty where `match_nulls` has none; median and maximum are None where ``params`` does not have
    them.
    """

    component: str
    counts: tuple[int, ...]
    null_counts: tuple[int, ...]
    n_undefined: int
    null_median: float | None
    null_max: float | None


@dataclass(frozen=True, slots=True)
class MatchScores:
    """Scores of one method; bins are of equal width from ``low`` to ``high``.

    ``is_trivial``: the rows are too few for scores to be anything but high.
    ``partners`` are the other models and how many neurons have their partner there; those without a score have none.
    """

    method: str
    params: str
    is_trivial: bool
    partners: tuple[tuple[str, int], ...]
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
    asked = ask(connection, "layer_similarity", run=run_id)
    stores: dict[str, set[str | None]] = defaultdict(set)
    for own, model, store, *_ in asked:
        stores[model].add(store)
        stores[own].add(None)
    cells: dict[tuple[str, str], dict[tuple[Layer, Layer], tuple[Any, ...]]] = defaultdict(dict)
    for _, model, store, measure, *places, value, null, n_rows, params in asked:
        partner = f"{model} ({store})" if store is not None and len(stores[model]) > 1 else model
        pair = ((places[0], places[1]), (places[2], places[3]))
        cells[partner, measure][pair] = (value, null, n_rows, params)
    place = {measure: i for i, measure in enumerate(MEASURES)}
    matrices, room = [], MAX_CELLS
    for key in sorted(cells, key=lambda key: (key[0], place.get(key[1], len(place)), key[1])):
        matrix = _matrix(*key, cells[key], components)
        room -= len(matrix.rows) * len(matrix.columns)
        if room < 0:
            break
        matrices.append(matrix)
    return tuple(matrices), len(cells) - len(matrices)


def load_match_scores(connection: Connection, run_id: str, components: tuple[str, ...]) -> tuple[MatchScores, ...]:
    """Histograms of the rankings without a concept: one for each method and its parameters.

    ``null_median`` and ``null_max`` in ``params`` are figures, not parameters: rows that differ in these only are one
    ranking, with the median of the different medians and the largest of the maxima for each component.
    """
    found: dict[tuple[str, str], list[_Counted]] = defaultdict(list)
    for method, params, *counted in ask(connection, "best_matches", run=run_id, n_bins=N_BINS):
        kept, nulls = _without_nulls(params)
        found[method, kept].append(_Counted._make((*counted, nulls)))
    place = {name: i for i, name in enumerate(MATCHES)}
    order = sorted(found, key=lambda key: (place.get(key[0], len(place)), *key))
    return tuple(_match_scores(*key, found[key], components) for key in order)


class _Counted(NamedTuple):
    partner: str | None
    component: str
    low: float
    high: float
    is_shuffled: bool
    bin: int | None
    n_neurons: int
    nulls: dict[str, float]


def _matrix(
    partner: str, measure: str, cells: dict[tuple[Layer, Layer], tuple[Any, ...]], components: tuple[str, ...]
) -> SimilarityMatrix:
    order = _ordered({component for pair in cells for component, _ in pair}, components)
    place = {name: i for i, name in enumerate(order)}
    rows, columns = (sorted({pair[k] for pair in cells}, key=lambda at: (place[at[0]], at[1])) for k in (0, 1))
    nothing = (None, None)

    def part(k: int) -> Matrix:
        return tuple(tuple(cells.get((row, column), nothing)[k] for column in columns) for row in rows)

    n_rows = [cell[2] for cell in cells.values()]
    params = [_object(cell[3]) or {} for cell in cells.values()]
    return SimilarityMatrix(
        partner=partner,
        measure=measure,
        rows=tuple(rows),
        columns=tuple(columns),
        scores=part(0),
        nulls=part(1),
        n_rows=(min(n_rows), max(n_rows)),
        n_trivial=sum(bool(p.get("trivial")) for p in params),
        params=_shown({k: v for k, v in params[0].items() if all(k in p and p[k] == v for p in params)}),
    )


def _match_scores(method: str, params: str, found: list[_Counted], components: tuple[str, ...]) -> MatchScores:
    partners: Counter[str] = Counter()
    by_component: dict[str, list[_Counted]] = defaultdict(list)
    for counted in found:
        by_component[counted.component].append(counted)
        if counted.partner is not None and not counted.is_shuffled:
            partners[counted.partner] += counted.n_neurons
    values = _object(params)
    return MatchScores(
        method=method,
        params=params if values is None else _shown(values),
        is_trivial=bool((values or {}).get("trivial")),
        partners=tuple(sorted(partners.items())),
        low=found[0].low,
        high=found[0].high,
        histograms=tuple(_histogram(name, by_component[name]) for name in _ordered(by_component, components)),
    )


def _histogram(component: str, found: list[_Counted]) -> MatchHistogram:
    counts: dict[bool, Counter[int | None]] = {False: Counter(), True: Counter()}
    for counted in found:
        counts[counted.is_shuffled][counted.bin] += counted.n_neurons
    own, null = (tuple(by_bin[number] for number in range(N_BINS)) for by_bin in (counts[False], counts[True]))
    medians, largest = ({c.nulls[key] for c in found if key in c.nulls} for key in _NULL_FIGURES)
    return MatchHistogram(
        component=component,
        counts=own,
        null_counts=null if any(null) else (),
        n_undefined=counts[False][None],
        null_median=median(medians) if medians else None,
        null_max=max(largest) if largest else None,
    )


def _ordered(names: Iterable[str], order: tuple[str, ...]) -> list[str]:
    place = {name: i for i, name in enumerate(order)}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


def _without_nulls(params: str) -> tuple[str, dict[str, float]]:
    """``params`` without the figures of the null, and those of these that are numbers."""
    values = _object(params)
    if values is None:
        return params, {}
    nulls = {k: float(values[k]) for k in _NULL_FIGURES if isinstance(values.get(k), int | float)}
    return json.dumps({k: v for k, v in values.items() if k not in _NULL_FIGURES}, sort_keys=True), nulls


def _shown(params: dict[str, Any]) -> str:
    """Parameters as text, but for what the page says in words: the other models, and whether rows are too few."""
    shown = {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in params.items()}
    return short_params(json.dumps({k: v for k, v in shown.items() if k not in ("with", "trivial")}))


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
