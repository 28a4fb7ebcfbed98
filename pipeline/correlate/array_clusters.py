"""Correlation clusters, redundancy and maps of the neurons of plain arrays, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.correlate.clusters import MEMORY_MB, Clustering, Linkage, TileSource, cluster_tiles
from pipeline.correlate.correlation_distance import refuse_beyond_one
from pipeline.correlate.neuron_map import Method, NeuronMap, Space, neuron_map
from pipeline.correlate.redundancy import LayerIndex, RedundancyCurve, redundancy_curve
from pipeline.correlate.second_moments import float_array
from pipeline.correlate.tile import Tile, fill_matrix
from schemas.errors import ActivationError, UsageError

#: Neurons of a block; a tile is of two blocks.
BLOCK = 1024


def correlation_clusters(
    activations: ArrayLike | None = None,
    thresholds: float | Sequence[float] | NDArray[np.floating] = 0.3,
    linkage: Linkage = "average",
    *,
    r: ArrayLike | None = None,
    signed: bool = False,
    within: ArrayLike | None = None,
    memory_mb: int = MEMORY_MB,
) -> Clustering:
    """Clusters of neurons by 1 − |Pearson's r| (1 − r where ``signed``), at every threshold.

    Either ``activations`` X (T rows, N neurons), finite, whose correlations are made block by block and never held as
    a whole, or the correlations ``r`` (N, N) themselves, symmetric, NaN for constant neurons. ``within`` (N,), whole
    numbers such as layers: cluster each group by itself. See :func:`pipeline.correlate.clusters.cluster_tiles`.

    Raises :class:`UsageError` for shapes that do not fit, both arrays or none, and what ``cluster_tiles`` refuses;
    :class:`ActivationError` for NaN or infinity in X.
    """
    tiles, n = _tiles(activations, r)
    scope = None if within is None else np.asarray(within)
    return cluster_tiles(tiles, n, thresholds, linkage, signed=signed, scopes=[scope], memory_mb=memory_mb)[0]


def layer_redundancy(
    activations: ArrayLike | None,
    layers: ArrayLike | LayerIndex,
    thresholds: float | Sequence[float] | NDArray[np.floating] = 0.3,
    linkage: Linkage = "average",
    *,
    r: ArrayLike | None = None,
    signed: bool = False,
    memory_mb: int = MEMORY_MB,
) -> RedundancyCurve:
    """How many neurons can go when one of each cluster stays, of all neurons and of each layer by itself.

    ``layers`` (N,) are whole numbers, one for each neuron, and layers of the result ascend; with several components in
    one array give ``LayerIndex.of(components, layers)``. The activations X (T, N) of several layers stand side by side;
    None where ``r`` is given. Further arguments and errors as :func:`correlation_clusters`, definitions as
    :func:`pipeline.correlate.redundancy.redundancy_curve`; :class:`UsageError` for layers of another number of neurons.
    """
    tiles, n = _tiles(activations, r)
    index = layers if isinstance(layers, LayerIndex) else LayerIndex.of([""] * n, layers)
    across, within = cluster_tiles(
        tiles, n, thresholds, linkage, signed=signed, scopes=[None, index.layer_of], memory_mb=memory_mb
    )
    return redundancy_curve(across, within, index)


def correlation_map(
    activations: ArrayLike | None = None,
    k: int | None = None,
    *,
    r: ArrayLike | None = None,
    method: Method = "kmeans",
    space: Space = "embedding",
    seed: int = 0,
    signed: bool = False,
    n_neighbors: int = 15,
    min_cluster_size: int = 5,
) -> NeuronMap:
    """Two coordinates and a cluster for each neuron, by |Pearson's r| with every neuron (r itself where ``signed``).

    Either ``activations`` X (T, N) or their correlations ``r`` (N, N), as in :func:`correlation_clusters`, held as
    float32. Takes umap-learn, which compiles itself for some seconds. Further arguments, and :class:`UsageError` for
    what they must not be, as :func:`pipeline.correlate.neuron_map.neuron_map`; also for |r| beyond 1.
    """
    tiles, n = _tiles(activations, r)
    profiles = np.empty((n, n), np.float32)
    fill_matrix(profiles, _in_range(tiles()))
    return neuron_map(
        profiles, k, method=method, space=space, seed=seed, signed=signed, n_neighbors=n_neighbors,
        min_cluster_size=min_cluster_size,
    )  # fmt: skip


def _in_range(tiles: Iterable[Tile]) -> Iterator[Tile]:
    for tile in tiles:
        refuse_beyond_one(float(np.nanmax(np.abs(tile.values), initial=0.0)), tile)
        yield replace(tile, values=np.clip(tile.values, -1, 1))


def _tiles(activations: ArrayLike | None, r: ArrayLike | None) -> tuple[TileSource, int]:
    """The correlations of N neurons tile by tile, and N."""
    if (activations is None) == (r is None):
        raise UsageError("give either activations (rows, neurons) or r (neurons, neurons), not both and not neither")
    matrix = _correlations(r) if r is not None else _standardised(activations)
    return (matrix_tiles(matrix) if r is not None else product_tiles(matrix)), matrix.shape[1]


def matrix_tiles(r: NDArray[Any], block: int = BLOCK) -> TileSource:
    """The tiles of a symmetric matrix in memory (N, N)."""
    return lambda: (Tile(rows, columns, r[_of(rows), _of(columns)]) for rows, columns in _blocks(len(r), block))


def product_tiles(standardised: NDArray[Any], block: int = BLOCK) -> TileSource:
    """The tiles of ZᵀZ, made on the fly from Z (T, N): columns of mean 0 and Σz² = 1, NaN for constant neurons."""
    z = standardised
    return lambda: (
        Tile(rows, columns, z[:, _of(rows)].T @ z[:, _of(columns)]) for rows, columns in _blocks(z.shape[1], block)
    )


def _of(block: range) -> slice:
    return slice(block.start, block.stop)


def _blocks(n_neurons: int, block: int) -> Iterator[tuple[range, range]]:
    blocks = [range(start, min(start + block, n_neurons)) for start in range(0, n_neurons, block)]
    return ((rows, columns) for k, rows in enumerate(blocks) for columns in blocks[k:])


def _correlations(r: ArrayLike) -> NDArray[Any]:
    is_single = isinstance(r, np.ndarray) and r.dtype == np.float32
    matrix: NDArray[Any] = np.asarray(r) if is_single else float_array(r, "r")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise UsageError(f"r must be (neurons, neurons), not of shape {matrix.shape}")
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-5, equal_nan=True):
        raise UsageError("r must be symmetric; activations (rows, neurons) are the first argument")
    return matrix


def _standardised(activations: ArrayLike | None) -> NDArray[np.float64]:
    values = float_array(activations, "activations")
    if values.ndim != 2:
        raise UsageError(f"activations must be (rows, neurons), not of shape {values.shape}")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, neuron = bad[0]
        raise ActivationError(
            f"activations must be finite; row {row}, neuron {neuron}: {values[row, neuron]}; drop or repair it"
        )
    if not len(values):
        return np.full((1, values.shape[1]), np.nan)  # a product over no rows would be 0
    is_constant = values.max(axis=0) == values.min(axis=0)
    centred = values - values.mean(axis=0)
    centred /= np.where(is_constant, np.nan, np.abs(centred).max(axis=0))  # squares neither overflow nor vanish
    spread: NDArray[np.float64] = centred / np.sqrt((centred**2).sum(axis=0))
    return spread
