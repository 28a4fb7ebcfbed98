"""Correlation clustering of plain arrays, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.correlate.clusters import MEMORY_MB, Clustering, Linkage, TileSource, cluster_tiles
from pipeline.correlate.tile import Tile
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
    if (activations is None) == (r is None):
        raise UsageError("give either activations (rows, neurons) or r (neurons, neurons), not both and not neither")
    matrix = _correlations(r) if r is not None else _standardised(activations)
    tiles = matrix_tiles(matrix) if r is not None else product_tiles(matrix)
    scope = None if within is None else np.asarray(within)
    return cluster_tiles(
        tiles, matrix.shape[1], thresholds, linkage, signed=signed, scopes=[scope], memory_mb=memory_mb
    )[0]  # fmt: skip


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
    matrix = np.asarray(r)
    matrix = matrix if matrix.dtype == np.float32 else matrix.astype(np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise UsageError(f"r must be (neurons, neurons), not of shape {matrix.shape}")
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-5, equal_nan=True):
        raise UsageError("r must be symmetric; activations (rows, neurons) are the first argument")
    return matrix


def _standardised(activations: ArrayLike | None) -> NDArray[np.float64]:
    values = np.asarray(activations, np.float64)
    if values.ndim != 2:
        raise UsageError(f"activations must be (rows, neurons), not of shape {values.shape}")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, neuron = bad[0]
        raise ActivationError(
            f"activations must be finite; row {row}, neuron {neuron}: {values[row, neuron]}; drop or repair it"
        )
    if not len(values):
        return np.full(values.shape, np.nan)
    is_constant = values.max(axis=0) == values.min(axis=0)
    centred = values - values.mean(axis=0)
    centred /= np.where(is_constant, np.nan, np.abs(centred).max(axis=0))  # squares neither overflow nor vanish
    spread: NDArray[np.float64] = centred / np.sqrt((centred**2).sum(axis=0))
    return spread
