"""How many neurons can go at each threshold, and how far clusters reach: the curves of the page."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from pipeline.report.connection import Connection, ask


class Linkage(NamedTuple):
    """How clusters were made, but for the threshold."""

    name: str
    signed: bool

    def __str__(self) -> str:
        return f"{self.name} linkage of 1 − {'r' if self.signed else '|r|'}"


@dataclass(frozen=True, slots=True)
class RedundancyCurve:
    """Share of neurons that could go if one of each cluster stayed, at K thresholds.

    ``scope`` is ``all`` (clustered together), ``layers`` (each by itself) or ``layer``; ``component`` None: all.
    """

    linkage: Linkage
    scope: str
    component: str | None
    layer: int | None
    thresholds: tuple[float, ...]
    n_neurons: tuple[int, ...]
    n_clusters: tuple[int, ...]
    shares: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class SpanCurve:
    """Clusters of two neurons and more at one threshold that lie within W windows of adjacent layers."""

    linkage: Linkage
    component: str | None
    threshold: float
    windows: tuple[int, ...]
    n_clusters: tuple[int, ...]
    n_within: tuple[int, ...]


def load_redundancy(connection: Connection, run_id: str) -> tuple[RedundancyCurve, ...]:
    """Curves of the table ``redundancy``, and of each component its layers each by itself where the table has none.

    That curve is 1 − Σ clusters / Σ neurons of the component's layers, at the thresholds that all of them have.
    """
    curves = []
    for key, rows in groupby(ask(connection, "redundancy", run=run_id), key=lambda row: row[:5]):
        linkage, signed, scope, component, layer = key
        thresholds, n_neurons, n_clusters, shares = zip(*(row[5:] for row in rows), strict=True)
        curves.append(
            RedundancyCurve(
                Linkage(linkage, signed), scope, component, layer, thresholds, n_neurons, n_clusters, shares
            )
        )
    return (*curves, *_layers_of_components(curves))


def load_spans(connection: Connection, run_id: str) -> tuple[SpanCurve, ...]:
    """Curves of the table ``cluster_spans``; the whole model before its components, thresholds ascending."""
    curves = []
    for key, rows in groupby(ask(connection, "cluster_spans", run=run_id), key=lambda row: row[:4]):
        linkage, signed, component, threshold = key
        windows, n_clusters, n_within = zip(*(row[4:] for row in rows), strict=True)
        curves.append(SpanCurve(Linkage(linkage, signed), component, threshold, windows, n_clusters, n_within))
    return tuple(curves)


def _layers_of_components(curves: list[RedundancyCurve]) -> list[RedundancyCurve]:
    there = {(c.linkage, c.component) for c in curves if c.scope == "layers"}
    layers: dict[tuple[Linkage, str], list[RedundancyCurve]] = defaultdict(list)
    for curve in curves:
        if curve.scope == "layer" and curve.component is not None and (curve.linkage, curve.component) not in there:
            layers[curve.linkage, curve.component].append(curve)
    return [_sum(linkage, component, found) for (linkage, component), found in layers.items()]


def _sum(linkage: Linkage, component: str, layers: list[RedundancyCurve]) -> RedundancyCurve:
    at: dict[float, list[tuple[int, int]]] = defaultdict(list)
    for layer in layers:
        for threshold, *counts in zip(layer.thresholds, layer.n_neurons, layer.n_clusters, strict=True):
            at[threshold].append((counts[0], counts[1]))
    thresholds = tuple(sorted(threshold for threshold, counts in at.items() if len(counts) == len(layers)))
    n_neurons = tuple(sum(n for n, _ in at[threshold]) for threshold in thresholds)
    n_clusters = tuple(sum(n for _, n in at[threshold]) for threshold in thresholds)
    shares = tuple(1 - k / n if n else None for k, n in zip(n_clusters, n_neurons, strict=True))
    return RedundancyCurve(linkage, "layers", component, None, thresholds, n_neurons, n_clusters, shares)
