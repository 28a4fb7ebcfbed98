"""Correlation of neurons: pure functions of co-moments, from clusters inside a model to similarities of several.

``correlation_clusters(X, thresholds)`` clusters the neurons of an array; ``cluster_tiles`` those of a matrix too large
for memory, ``redundancy_curve`` and ``layer_spread`` say what the clusters mean for layers, ``edges`` lists pairs.
``maxcorr(X, [Y, …])``, ``mincorr``, ``linreg``, ``svcca``, ``pwcca`` and ``linear_cka`` compare models on arrays.
"""

from pipeline.correlate.array_clusters import correlation_clusters, matrix_tiles, product_tiles
from pipeline.correlate.array_multi_model import linear_cka, linreg, maxcorr, mincorr, pwcca, svcca
from pipeline.correlate.clusters import Clustering, Clusters, cluster_tiles
from pipeline.correlate.correlation_edges import Edges, edges
from pipeline.correlate.redundancy import LayerIndex, LayerSpread, RedundancyCurve, layer_spread, redundancy_curve
from pipeline.correlate.tile import Tile

__all__ = [
    "Clustering",
    "Clusters",
    "Edges",
    "LayerIndex",
    "LayerSpread",
    "RedundancyCurve",
    "Tile",
    "cluster_tiles",
    "correlation_clusters",
    "edges",
    "layer_spread",
    "linear_cka",
    "linreg",
    "matrix_tiles",
    "maxcorr",
    "mincorr",
    "product_tiles",
    "pwcca",
    "redundancy_curve",
    "svcca",
]
