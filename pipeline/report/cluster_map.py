"""The largest clusters of correlated neurons: what they are made of, and how their neurons correlate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pipeline.report.connection import Connection, ask
from pipeline.report.methods import Method
from pipeline.report.neuron_cards import SELECTED, Neuron
from pipeline.report.redundancy_curves import Linkage

#: Rows of the table of clusters.
N_CLUSTERS = 40
#: Threshold that is shown if the store has it (Dalvi et al. 2020), else the one nearest to it.
THRESHOLD = 0.3
#: Concepts that a cluster is shown with.
N_CONCEPTS = 3
_LINKAGES = ("average", "complete", "single")


@dataclass(frozen=True, slots=True)
class ClusterConcept:
    """A concept with ``n_members`` of a cluster among its first neurons; rank and score of the best of them."""

    concept: str
    n_members: int
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster; ``members`` are those on the map, best first: none where `cluster_pairs` has none of them.

    ``mean_r`` is of all its pairs, None where undefined. ``layers`` reads ``mlp 4; resid 3–5, 7``.
    """

    number: int
    size: int
    mean_r: float | None
    representative: Neuron | None
    layers: str
    members: tuple[Neuron, ...]
    concepts: tuple[ClusterConcept, ...]


@dataclass(frozen=True, slots=True)
class ClusterMap:
    """The largest clusters at one threshold, and the correlations among the neurons on the map.

    ``pairs`` are (a, b, r) with a < b, places in ``neurons``: all of them.
    """

    linkage: Linkage
    threshold: float
    n_clusters: int
    n_clustered: int
    n_neurons: int
    clusters: tuple[Cluster, ...]
    pairs: tuple[tuple[int, int, float], ...]

    @property
    def neurons(self) -> tuple[Neuron, ...]:
        """Rows and columns of the map: cluster by cluster."""
        return tuple(neuron for cluster in self.clusters for neuron in cluster.members)


def load_cluster_map(connection: Connection, run_id: str, method: Method) -> ClusterMap | None:
    """The clusters nearest to threshold 0.3, of average linkage and |r| if there are; None without clusters of two.

    The table holds the 40 largest, the map those of their members whose pairs are in `cluster_pairs`. Concepts are
    those of ``method`` with a member among their first ten neurons.
    """
    choices = ask(connection, "clusterings", run=run_id)
    if not choices:
        return None
    linkage, signed, threshold, n_clusters, n_clustered, n_neurons = min(choices, key=_preference)
    where = {"run": run_id, "linkage": linkage, "signed": signed, "threshold": threshold}
    rows = ask(connection, "largest_clusters", **where, n_clusters=N_CLUSTERS)
    members = _members(connection, where, [row[0] for row in rows])
    concepts = _concepts(connection, where, [row[0] for row in rows], method)
    clusters = tuple(
        Cluster(
            number=number,
            size=size,
            mean_r=mean_r,
            representative=None if layer is None else Neuron(component, layer, neuron),
            layers=layer_ranges((place["component"], place["layer"]) for place in places),
            members=members.get(number, ()),
            concepts=concepts.get(number, ()),
        )
        for number, size, mean_r, component, layer, neuron, places in rows
    )
    neurons = [neuron for cluster in clusters for neuron in cluster.members]
    return ClusterMap(
        linkage=Linkage(linkage, signed),
        threshold=threshold,
        n_clusters=n_clusters,
        n_clustered=n_clustered,
        n_neurons=n_neurons,
        clusters=clusters,
        pairs=_pairs(connection, where, neurons) if neurons else (),
    )


def layer_ranges(places: Iterable[tuple[str, int]]) -> str:
    """``mlp 4; resid 3–5, 7`` of (component, layer) pairs: components by name, adjacent layers as a range."""
    parts = []
    for component, found in groupby(sorted(set(places)), key=lambda place: place[0]):
        ranges: list[list[int]] = []
        for _, layer in found:
            if ranges and layer == ranges[-1][1] + 1:
                ranges[-1][1] = layer
            else:
                ranges.append([layer, layer])
        written = ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in ranges)
        parts.append(f"{component} {written}")
    return "; ".join(parts)


def _preference(choice: tuple[Any, ...]) -> tuple[bool, int, float, float]:
    linkage, signed, threshold, *_ = choice
    order = _LINKAGES.index(linkage) if linkage in _LINKAGES else len(_LINKAGES)
    return (signed, order, abs(threshold - THRESHOLD), threshold)


def _members(connection: Connection, where: dict[str, Any], clusters: list[int]) -> dict[int, tuple[Neuron, ...]]:
    members: dict[int, list[Neuron]] = defaultdict(list)
    for number, *neuron in ask(connection, "cluster_members", **where, clusters=clusters):
        members[number].append(Neuron(*neuron))
    return {number: tuple(neurons) for number, neurons in members.items()}


def _concepts(
    connection: Connection, where: dict[str, Any], clusters: list[int], method: Method
) -> dict[int, tuple[ClusterConcept, ...]]:
    concepts: dict[int, list[ClusterConcept]] = defaultdict(list)
    asked = {**where, **method.key, "clusters": clusters, "top": SELECTED, "n_concepts": N_CONCEPTS}
    for number, *fields in ask(connection, "cluster_concepts", **asked):
        concepts[number].append(ClusterConcept(*fields))
    return {number: tuple(found) for number, found in concepts.items()}


def _pairs(connection: Connection, where: dict[str, Any], neurons: list[Neuron]) -> tuple[tuple[int, int, float], ...]:
    components, layers, indices = (list(column) for column in zip(*neurons, strict=True))
    rows = ask(connection, "cluster_pairs", **where, components=components, layers=layers, neurons=indices)
    return tuple(sorted((min(a, b), max(a, b), r) for a, b, r in rows if r is not None))
