"""Correlation of neurons: pure functions of co-moments, from clusters inside a model to similarities of several.

On arrays of activations X (T rows, N neurons), as the commands compute it of a store:

- groups: ``correlation_clusters(X, thresholds)``, ``layer_redundancy(X, layers, thresholds)``,
  ``correlation_map(X, k)``, and ``nmf(X, n_factors)``, the factors of the non-negative parts;
- dimensions: ``principal_spectrum(X)``;
- numbers of rows: ``column_correlations(X, columns)``;
- other models: ``maxcorr(X, [Y, …])``, ``mincorr``, ``linreg(X, Y)``, ``svcca``, ``pwcca``, ``linear_cka``; the null of
  each is the same of ``shuffled(Y)``.

``cluster_tiles`` clusters the neurons of a matrix too large for memory, ``redundancy_curve`` and ``layer_spread`` say
what clusters mean for layers, ``edges`` lists pairs.
"""

from pipeline.correlate.array_clusters import (
    correlation_clusters,
    correlation_map,
    layer_redundancy,
    matrix_tiles,
    product_tiles,
)
from pipeline.correlate.array_columns import column_correlations
from pipeline.correlate.array_factors import ArrayFactors, nmf
from pipeline.correlate.array_multi_model import linear_cka, linreg, maxcorr, mincorr, pwcca, svcca
from pipeline.correlate.array_spectrum import principal_spectrum
from pipeline.correlate.clusters import Clustering, Clusters, cluster_tiles
from pipeline.correlate.column_moments import ColumnCorrelations
from pipeline.correlate.correlation_edges import Edges, edges
from pipeline.correlate.neuron_map import NeuronMap
from pipeline.correlate.pca_spectrum import PcaSpectrum
from pipeline.correlate.redundancy import LayerIndex, LayerSpread, RedundancyCurve, layer_spread, redundancy_curve
from pipeline.correlate.shuffled_blocks import shuffled
from pipeline.correlate.tile import Tile

__all__ = [
    "ArrayFactors",
    "Clustering",
    "Clusters",
    "ColumnCorrelations",
    "Edges",
    "LayerIndex",
    "LayerSpread",
    "NeuronMap",
    "PcaSpectrum",
    "RedundancyCurve",
    "Tile",
    "cluster_tiles",
    "column_correlations",
    "correlation_clusters",
    "correlation_map",
    "edges",
    "layer_redundancy",
    "layer_spread",
    "linear_cka",
    "linreg",
    "matrix_tiles",
    "maxcorr",
    "mincorr",
    "nmf",
    "principal_spectrum",
    "product_tiles",
    "pwcca",
    "redundancy_curve",
    "shuffled",
    "svcca",
]
