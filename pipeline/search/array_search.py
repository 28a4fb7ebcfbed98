"""The searches on plain arrays: activations X (T rows × N neurons) and concept masks Y (T rows × C concepts).

Exact for any finite float values, with the definitions and sign rule of the tables. Every function takes

- ``activations``: float array (T, N), or (T,) for one neuron;
- ``concepts``: boolean or 0/1 array (T, C), or (T,) for one concept, or a scipy sparse matrix (T, C);

and returns :class:`MethodScores` of shape (N, C). :class:`UsageError` when shapes do not fit or Y is not binary,
:class:`ActivationError` when X holds NaN or infinity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from pipeline.search import sweep_kernel as k
from pipeline.search.auroc import auroc as sweep_auroc
from pipeline.search.average_precision import average_precision as sweep_average_precision
from pipeline.search.best_iou import best_iou as sweep_best_iou
from pipeline.search.directions import MethodScores
from pipeline.search.iou import iou as sweep_iou
from pipeline.search.mean_difference import mean_difference
from pipeline.search.sweep import Sweep, Thresholds
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.stats.quantiles import histogram_quantiles
from schemas.errors import ActivationError, UsageError


def average_precision(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Average precision (N, C); see :mod:`pipeline.search.average_precision`."""
    return sweep_average_precision(sweep_arrays(activations, concepts))


def auroc(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Area under the ROC curve (N, C); see :mod:`pipeline.search.auroc`."""
    return sweep_auroc(sweep_arrays(activations, concepts))


def iou(activations: ArrayLike, concepts: Any, alpha: float = 0.005) -> MethodScores:
    """Intersection over union at the 1 − α quantile (N, C); see :mod:`pipeline.search.iou`."""
    return sweep_iou(sweep_arrays(activations, concepts, alpha))


def best_iou(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Intersection over union at the best threshold (N, C); see :mod:`pipeline.search.best_iou`."""
    return sweep_best_iou(sweep_arrays(activations, concepts))


def mean_diff(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Mean difference (N, C); see :mod:`pipeline.search.mean_difference`."""
    return mean_difference(sweep_arrays(activations, concepts))


def sweep_arrays(activations: ArrayLike, concepts: Any, alpha: float = 0.005) -> Sweep:
    """Everything the five searches read, for those who want several of them from one walk."""
    matrix = _activation_matrix(activations)
    labels = _label_matrix(concepts)
    n_rows, n_neurons = matrix.shape
    if labels.n_rows != n_rows:
        raise UsageError(f"concepts must have the {n_rows} rows of the activations, not {labels.n_rows}")
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie strictly between 0 and 1, got {alpha}")
    shape = (n_neurons, labels.n_concepts)
    results, moments = np.zeros((*shape, k.N_RESULTS)), np.zeros((n_neurons, 2))
    quantiles = np.full((n_neurons, 2), np.nan)
    bins, best_values = np.zeros((n_neurons, 2), np.int64), np.zeros((*shape, 2))
    for neuron in range(n_neurons if n_rows else 0):
        values, ranks, total = np.unique(matrix[:, neuron], return_inverse=True, return_counts=True)
        quantiles[neuron] = _quantile_pair(total, values, alpha)
        bins[neuron] = (
            np.searchsorted(values, quantiles[neuron, 0], "right"),
            np.searchsorted(values, quantiles[neuron, 1]) - 1,
        )
        k.sweep_ranks(ranks, total, values, labels.indptr, labels.rows, bins[neuron], moments[neuron], results[neuron])
        best_values[neuron] = values[results[neuron][:, [k.BEST_BIN_POS, k.BEST_BIN_NEG]].astype(np.int64)]
    thresholds = Thresholds(quantiles, bins, np.zeros((*shape, 2), np.int64))
    return Sweep(n_rows, labels.counts, results, moments, thresholds, best_values)


def _quantile_pair(total: NDArray[np.int64], values: NDArray[np.float64], alpha: float) -> tuple[float, float]:
    counts, level = total[None, :], np.array([1 - alpha])
    upper = histogram_quantiles(counts, values, level)[0, 0]
    lower = -histogram_quantiles(counts, values, level, negated=True)[0, 0]
    return float(upper), float(lower) + 0.0


def _activation_matrix(activations: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(activations, np.float64)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2:
        raise UsageError(f"activations must be (T, N) or (T,), not of shape {matrix.shape}")
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        row, neuron = bad[0]
        raise ActivationError(
            f"activations must be finite; row {row}, neuron {neuron}: {matrix[row, neuron]}; drop or repair it"
        )
    return matrix + 0.0  # −0.0 and +0.0 are one value


def _label_matrix(concepts: Any) -> LabelMatrix:
    if scipy.sparse.issparse(concepts):
        entries = concepts.tocoo()
        values, shape = entries.data, entries.shape
        row, concept = entries.row[values != 0], entries.col[values != 0]
    else:
        dense = np.asarray(concepts)
        dense = dense[:, None] if dense.ndim == 1 else dense
        if dense.ndim != 2:
            raise UsageError(f"concepts must be (T, C) or (T,), not of shape {dense.shape}")
        values, shape = dense, dense.shape
        row, concept = np.nonzero(dense)
    if not np.isin(values, (0, 1)).all():
        raise UsageError("concepts must be boolean or hold only 0 and 1; binarise them first")
    return LabelMatrix.from_pairs(row, concept, *shape)
