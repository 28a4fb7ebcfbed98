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

from pipeline.search.directions import MethodScores
from pipeline.search.mean_methods import mean_scores
from pipeline.search.search_states import SWEEP_METHODS
from pipeline.search.sweep import DEFAULT_RULE, CutRule, Sweep, sweep_columns
from pipeline.stats.concept_moments import ConceptMoments
from pipeline.stats.label_matrix import LabelMatrix
from schemas.errors import ActivationError, UsageError


def average_precision(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Average precision (N, C); see :mod:`pipeline.search.average_precision`."""
    return SWEEP_METHODS["ap"](sweep_arrays(activations, concepts), None)


def auroc(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Area under the ROC curve (N, C); see :mod:`pipeline.search.auroc`."""
    return SWEEP_METHODS["auroc"](sweep_arrays(activations, concepts), None)


def best_iou(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Intersection over union at the best threshold (N, C); see :mod:`pipeline.search.best_iou`."""
    return SWEEP_METHODS["best_iou"](sweep_arrays(activations, concepts), None)


def f1(activations: ArrayLike, concepts: Any) -> MethodScores:
    """F1 at the best threshold (N, C); see :mod:`pipeline.search.best_iou`."""
    return SWEEP_METHODS["f1"](sweep_arrays(activations, concepts), None)


def iou(activations: ArrayLike, concepts: Any, alpha: float = 0.005, *, threshold: float | None = None) -> MethodScores:
    """Intersection over union at the 1 − α quantile or at a threshold (N, C); see :mod:`pipeline.search.iou`."""
    return SWEEP_METHODS["iou"](sweep_arrays(activations, concepts, CutRule(alpha, threshold)), None)


def mutual_information(activations: ArrayLike, concepts: Any, n_intervals: int = 10) -> MethodScores:
    """Mutual information as a share of the concept's entropy (N, C); see :mod:`pipeline.search.mutual_information`."""
    return SWEEP_METHODS["mi"](sweep_arrays(activations, concepts, CutRule(n_intervals=n_intervals)), None)


def mean_diff(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Mean difference (N, C); see :mod:`pipeline.search.mean_methods`."""
    return mean_scores("mean_diff", moments_of_arrays(activations, concepts))


def selectivity(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Mean difference over range (N, C); see :mod:`pipeline.search.mean_methods`."""
    return mean_scores("selectivity", moments_of_arrays(activations, concepts))


def cohen_d(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Standardised difference (N, C); see :mod:`pipeline.search.mean_methods`."""
    return mean_scores("cohen_d", moments_of_arrays(activations, concepts))


def welch_t(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Welch's t (N, C); see :mod:`pipeline.search.mean_methods`."""
    return mean_scores("welch_t", moments_of_arrays(activations, concepts))


def pearson(activations: ArrayLike, concepts: Any) -> MethodScores:
    """Point-biserial correlation (N, C); see :mod:`pipeline.search.mean_methods`."""
    return mean_scores("pearson", moments_of_arrays(activations, concepts))


def probeless(activations: ArrayLike, concepts: Any, *, are_classes: bool = True) -> MethodScores:
    """Probeless (N, C); see :mod:`pipeline.search.mean_methods`.

    The concepts are the classes of one label layer, unless ``are_classes`` is false: then each one stands alone.
    """
    moments = moments_of_arrays(activations, concepts)
    return mean_scores("probeless", moments, layers=np.full(len(moments.n_pos), 0 if are_classes else -1))


def sweep_arrays(activations: ArrayLike, concepts: Any, rule: CutRule = DEFAULT_RULE) -> Sweep:
    """Everything the searches by thresholds read, for those who want several of them from one walk."""
    matrix, labels = _checked(activations, concepts)
    return sweep_columns(lambda neuron: matrix[:, neuron], matrix.shape[1], labels, rule)


def moments_of_arrays(activations: ArrayLike, concepts: Any) -> ConceptMoments:
    """Everything the searches by means read, for those who want several of them from one fold."""
    matrix, labels = _checked(activations, concepts)
    return ConceptMoments.empty(matrix.shape[1], labels.n_concepts).update(np.ascontiguousarray(matrix.T), labels)


def _checked(activations: ArrayLike, concepts: Any) -> tuple[NDArray[np.float64], LabelMatrix]:
    matrix, labels = activation_matrix(activations), label_matrix(concepts)
    if labels.n_rows != len(matrix):
        raise UsageError(f"concepts must have the {len(matrix)} rows of the activations, not {labels.n_rows}")
    return matrix, labels


def activation_matrix(activations: ArrayLike) -> NDArray[np.float64]:
    """Activations as a finite float64 matrix (T, N)."""
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


def label_matrix(concepts: Any) -> LabelMatrix:
    """Concepts, in any of the forms that the searches take, as a label matrix."""
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
