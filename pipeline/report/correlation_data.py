"""Everything the page shows of correlation: clusters, redundancy, dimensions, other models, the map of neurons."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.report.cluster_map import ClusterMap, load_cluster_map
from pipeline.report.connection import Connection, ask
from pipeline.report.methods import Method
from pipeline.report.model_similarity import (
    MatchScores,
    SimilarityMatrix,
    load_layer_similarity,
    load_match_scores,
)
from pipeline.report.neuron_scatter import NeuronScatter, load_neuron_maps
from pipeline.report.redundancy_curves import RedundancyCurve, SpanCurve, load_redundancy, load_spans


@dataclass(frozen=True, slots=True)
class LayerDimensions:
    """How many dimensions a layer's activations have; None where undefined."""

    component: str
    layer: int
    n_neurons: int
    n_rows: int
    participation_ratio: float | None
    effective_rank: float | None
    n_90: int | None
    n_95: int | None
    n_99: int | None


@dataclass(frozen=True, slots=True)
class CorrelationData:
    """The part of the page on correlation; what its table has no rows for is empty or None.

    ``n_similarity_left_out`` counts the matrices of ``layer_similarity`` for which there was no room.
    """

    redundancy: tuple[RedundancyCurve, ...]
    spans: tuple[SpanCurve, ...]
    clusters: ClusterMap | None
    dimensions: tuple[LayerDimensions, ...]
    similarity: tuple[SimilarityMatrix, ...]
    n_similarity_left_out: int
    matches: tuple[MatchScores, ...]
    maps: tuple[NeuronScatter, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        parts = (self.redundancy, self.spans, self.clusters, self.dimensions, self.similarity, self.matches, self.maps)
        return not any(parts)


def load_correlation(
    connection: Connection, run_id: str, method: Method, components: tuple[str, ...]
) -> CorrelationData:
    """Load it from the views of the correlation tables, and from ``rankings`` by ``method`` for the concepts.

    ``components`` is the order of the run's components.
    """
    similarity, n_left_out = load_layer_similarity(connection, run_id, components)
    place = {name: i for i, name in enumerate(components)}
    dimensions = [LayerDimensions(*row) for row in ask(connection, "layer_dimensions", run=run_id)]
    return CorrelationData(
        redundancy=load_redundancy(connection, run_id),
        spans=load_spans(connection, run_id),
        clusters=load_cluster_map(connection, run_id, method),
        dimensions=tuple(sorted(dimensions, key=lambda d: (place.get(d.component, len(place)), d.component, d.layer))),
        similarity=similarity,
        n_similarity_left_out=n_left_out,
        matches=load_match_scores(connection, run_id, components),
        maps=load_neuron_maps(connection, run_id, method),
    )
