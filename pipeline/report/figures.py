"""The numbers behind the page's charts and table, as plain JSON values; ``page.js`` draws them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.report.neuron_cards import SELECTED, Statistics
from pipeline.report.report_data import MethodResult, ReportData
from schemas.inert_text import inert

Json = dict[str, object]


def anchors(names: Iterable[str]) -> dict[str, str]:
    """A unique fragment identifier per name, made of ``[a-z0-9-]`` only: ``upos=NUM`` is ``concept-upos-num``.

    Names that come out the same are numbered in order: ``…-2``, ``…-3``.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        stem = "concept-" + (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "x")
        anchor, n = stem, 1
        while anchor in taken:
            n += 1
            anchor = f"{stem}-{n}"
        taken.add(anchor)
        found[name] = anchor
    return found


def page_figures(data: ReportData, anchor_of: dict[str, str]) -> Json:
    """Heat map, distribution over layers and concept table of every method.

    Returns ``{selected, columns: [[component, layer, n_neurons]], concepts: [[name, anchor, n_words]], methods: […]}``;
    a method is ``{label, title, meaning, scale, cells: [[concept, column, neuron, score, sign, rank]],
    best: [[column, neuron, score, sign, base_rate, heldout_score, q_value, n_pos] | null per concept],
    places: [[n_places, n_neurons] per column]}``, concepts and columns by index. All names are :func:`inert`.
    """
    return {
        "selected": SELECTED,
        "columns": [[inert(c.component), c.layer, c.n_neurons] for c in data.columns],
        "concepts": [[inert(c.concept), anchor_of[c.concept], c.n_words] for c in data.concepts],
        "methods": [_method_figures(data, result) for result in data.results],
    }


def _method_figures(data: ReportData, result: MethodResult) -> Json:
    column_of = {(c.component, c.layer): i for i, c in enumerate(data.columns)}
    cells: list[list[object]] = []
    best: list[list[object] | None] = []
    for i, concept in enumerate(data.concepts):
        for cell in result.cells.get(concept.concept, ()):
            at = column_of[cell.neuron.component, cell.neuron.layer]
            cells.append([i, at, cell.neuron.neuron, round(cell.score, 6), cell.sign, cell.rank])
        found = result.best.get(concept.concept)
        if found is None or found.score is None:
            best.append(None)
            continue
        at = column_of[found.neuron.component, found.neuron.layer]
        numbers = (found.base_rate, found.heldout_score, found.q_value, found.n_pos)
        best.append([at, found.neuron.neuron, round(found.score, 6), found.sign, *numbers])
    method = result.method
    return {
        "label": inert(method.label),
        "title": inert(method.title),
        "meaning": method.meaning,
        "scale": method.scale,
        "split": method.split,
        "n_rows": method.n_rows,
        "n_kept": method.n_kept,
        "cells": cells,
        "best": best,
        "places": [result.selected.get((c.component, c.layer), (0, 0)) for c in data.columns],
    }


def quantile_strip(statistics: Statistics | None, threshold: float | None) -> dict[str, float | None] | None:
    """Positions in percent of the neuron's range: quantiles, median, zero, and the method's threshold.

    None where there are no statistics or the neuron is constant; ``zero`` and ``threshold`` are None outside the range.
    """
    if statistics is None or not statistics.maximum > statistics.minimum or None in statistics.quantiles:
        return None
    low, width = statistics.minimum, statistics.maximum - statistics.minimum

    def at(value: float) -> float:
        return round(100 * (value - low) / width, 2)

    def inside(value: float | None) -> float | None:
        return at(value) if value is not None and low <= value <= statistics.maximum else None

    names = ("q01", "q05", "q25", "q50", "q75", "q95", "q99")
    strip: dict[str, float | None] = dict(zip(names, map(at, statistics.quantiles), strict=True))
    return {**strip, "zero": inside(0.0), "threshold": inside(threshold)}
