"""Neuron search: from folded states, or from plain arrays, to ranked neurons.

On arrays, with X (T, N) and Y (T, C): ``average_precision(X, Y)``, ``auroc``, ``iou``, ``best_iou``, ``f1``,
``mutual_information``, ``mean_diff``, ``probeless``, ``selectivity``, ``cohen_d``, ``welch_t``, ``pearson``.
``explain(X, Y, names)`` finds the best formula over concepts for each neuron.
On states: ``score_block``, ``score_means`` and ``TopNeurons``. On finished rankings: ``compare_rankings``.
"""

from pipeline.search.agreement import Agreement, compare_rankings
from pipeline.search.array_explain import explain
from pipeline.search.array_search import (
    auroc,
    average_precision,
    best_iou,
    cohen_d,
    f1,
    iou,
    mean_diff,
    moments_of_arrays,
    mutual_information,
    pearson,
    probeless,
    selectivity,
    sweep_arrays,
    welch_t,
)
from pipeline.search.average_precision import average_precision_interval
from pipeline.search.directions import MethodScores
from pipeline.search.explanation import Explanation
from pipeline.search.ranking import TopNeurons, rank_order
from pipeline.search.search_states import METHODS, BlockScores, score_block, score_means
from pipeline.search.significance import benjamini_hochberg
from pipeline.search.sweep import CutRule

__all__ = [
    "METHODS",
    "Agreement",
    "BlockScores",
    "CutRule",
    "Explanation",
    "MethodScores",
    "TopNeurons",
    "auroc",
    "average_precision",
    "average_precision_interval",
    "benjamini_hochberg",
    "best_iou",
    "cohen_d",
    "compare_rankings",
    "explain",
    "f1",
    "iou",
    "mean_diff",
    "moments_of_arrays",
    "mutual_information",
    "pearson",
    "probeless",
    "rank_order",
    "score_block",
    "score_means",
    "selectivity",
    "sweep_arrays",
    "welch_t",
]
