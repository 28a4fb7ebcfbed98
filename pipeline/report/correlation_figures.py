"""The numbers behind the page's charts of correlation, as plain JSON values; ``correlation.js`` draws them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from pipeline.report.cluster_map import ClusterMap
from pipeline.report.correlation_data import CorrelationData
from pipeline.report.model_similarity import MATCHES, MEASURES, MatchScores, SimilarityMatrix
from pipeline.report.neuron_scatter import NeuronScatter
from pipeline.report.redundancy_curves import Linkage, RedundancyCurve, SpanCurve
from schemas.inert_text import inert

Json = dict[str, object]
Panel = tuple[Linkage, str | None]


def correlation_figures(data: CorrelationData, components: Sequence[str]) -> Json:
    """Every chart of the section, empty or None where there is nothing to draw. All names are :func:`inert`.

    ``components`` is the run's order. The numbers are rounded to what a chart can show.
    """
    order = {name: i for i, name in enumerate(components)}
    return {
        "redundancy": _redundancy(data.redundancy, order),
        "spans": _spans(data.spans, order),
        "dimensions": _dimensions(data),
        "clusters": _clusters(data.clusters) if data.clusters else None,
        "similarity": [_similarity(matrix) for matrix in data.similarity],
        "matches": _matches(data.matches),
        "maps": [_scatter(scatter) for scatter in data.maps],
    }


def _redundancy(curves: Sequence[RedundancyCurve], order: dict[str, int]) -> list[Json]:
    """Panels with the lines ``{scope, layer, points: [[threshold, share, n_neurons, n_clusters]]}``."""
    lines: dict[Panel, list[Json]] = defaultdict(list)
    for c in curves:
        points = [
            [threshold, _rounded(share), n, k]
            for threshold, share, n, k in zip(c.thresholds, c.shares, c.n_neurons, c.n_clusters, strict=True)
        ]
        lines[c.linkage, c.component].append({"scope": inert(c.scope), "layer": c.layer, "points": points})
    return _panels(lines, order)


def _spans(curves: Sequence[SpanCurve], order: dict[str, int]) -> list[Json]:
    """Panels with the lines ``{threshold, points: [[window, n_clusters, n_within]]}``."""
    lines: dict[Panel, list[Json]] = defaultdict(list)
    for c in curves:
        points = list(zip(c.windows, c.n_clusters, c.n_within, strict=True))
        lines[c.linkage, c.component].append({"threshold": c.threshold, "points": points})
    return _panels(lines, order)


def _panels(lines: dict[Panel, list[Json]], order: dict[str, int]) -> list[Json]:
    """``[{linkage, panels: [{component | null, lines}]}]``: all components together first, then in the run's order."""

    def place(panel: Panel) -> tuple[bool, int, str]:
        name = panel[1]
        return (name is not None, order.get(name or "", len(order)), name or "")

    return [
        {
            "linkage": inert(str(linkage)),
            "panels": [
                {"component": None if panel[1] is None else inert(panel[1]), "lines": lines[panel]}
                for panel in sorted((panel for panel in lines if panel[0] == linkage), key=place)
            ],
        }
        for linkage in sorted({panel[0] for panel in lines}, key=lambda linkage: (linkage.signed, linkage.name))
    ]


def _dimensions(data: CorrelationData) -> list[Json]:
    """``[{component, layers: [[layer, n_neurons, n_rows, participation_ratio, effective_rank, n_90, n_95, n_99]]}]``.

    Components and layers come in the order of the data.
    """
    layers: dict[str, list[list[object]]] = defaultdict(list)
    for d in data.dimensions:
        spread = (_rounded(d.participation_ratio), _rounded(d.effective_rank))
        layers[d.component].append([d.layer, d.n_neurons, d.n_rows, *spread, d.n_90, d.n_95, d.n_99])
    return [{"component": inert(name), "layers": found} for name, found in layers.items()]


def _clusters(found: ClusterMap) -> Json:
    """``{neurons: [[component, layer, neuron, row of the table]], pairs: [[a, b, r]]}``."""
    neurons = [
        [inert(neuron.component), neuron.layer, neuron.neuron, row]
        for row, cluster in enumerate(found.clusters)
        for neuron in cluster.members
    ]
    return {"neurons": neurons, "pairs": [[a, b, _rounded(r, 3)] for a, b, r in found.pairs]}


def _similarity(matrix: SimilarityMatrix) -> Json:
    title, meaning = MEASURES.get(matrix.measure, (matrix.measure, ""))
    return {
        "partner": inert(matrix.partner),
        "measure": inert(matrix.measure),
        "title": inert(title),
        "meaning": meaning,
        "rows": [[inert(component), layer] for component, layer in matrix.rows],
        "columns": [[inert(component), layer] for component, layer in matrix.columns],
        "values": [[_rounded(value, 3) for value in row] for row in matrix.scores],
        "nulls": [[_rounded(value, 3) for value in row] for row in matrix.nulls],
        "null_range": None if matrix.null_range is None else [_rounded(value) for value in matrix.null_range],
        "n_rows": matrix.n_rows,
        "n_trivial": matrix.n_trivial,
        "params": inert(matrix.params),
    }


def _matches(found: Sequence[MatchScores]) -> list[Json]:
    """One figure each; ``name`` is unique: it has the parameters where method and partners are not."""
    figures = [_match_figure(scores) for scores in found]
    names = Counter(figure["name"] for figure in figures)
    return [f | {"name": f"{f['name']} ({f['params']})"} if names[f["name"]] > 1 else f for f in figures]


def _match_figure(scores: MatchScores) -> Json:
    title, meaning = MATCHES.get(scores.method, (scores.method, ""))
    return {
        "title": inert(title),
        "meaning": meaning,
        "params": inert(scores.params),
        "is_trivial": scores.is_trivial,
        "partners": [[inert(name), n] for name, n in scores.partners],
        "name": inert(": ".join(filter(None, (title, ", ".join(name for name, _ in scores.partners))))),
        "range": [scores.low, scores.high],
        "components": [
            {
                "name": inert(h.component),
                "counts": h.counts,
                "null_counts": h.null_counts,
                "n_undefined": h.n_undefined,
                "null_median": _rounded(h.null_median),
                "null_max": _rounded(h.null_max),
            }
            for h in scores.histograms
        ],
    }


def _scatter(scatter: NeuronScatter) -> Json:
    """``points`` are ``[component, layer, neuron, x, y, group, concept, rank, score]``, names by index."""
    components = list(dict.fromkeys(p.neuron.component for p in scatter.points))
    concepts = list(dict.fromkeys(p.concept for p in scatter.points if p.concept is not None))
    component_at = {name: i for i, name in enumerate(components)}
    concept_at = {name: i for i, name in enumerate(concepts)}
    return {
        "method": inert(scatter.method),
        "params": inert(scatter.params),
        "components": [inert(name) for name in components],
        "concepts": [inert(name) for name in concepts],
        "n_placed": scatter.n_placed,
        "n_neurons": scatter.n_neurons,
        "points": [
            [
                *(component_at[p.neuron.component], p.neuron.layer, p.neuron.neuron),
                *(_rounded(p.x, 3), _rounded(p.y, 3), p.group),
                *(() if p.concept is None else (concept_at[p.concept], p.rank, _rounded(p.score, 3))),
            ]
            for p in scatter.points
        ],
    }


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
