"""Neuron search: from folded states, or from plain arrays, to ranked neurons.

On arrays: ``average_precision(X, Y)``, ``auroc``, ``iou``, ``best_iou``, ``mean_diff`` with X (T, N) and Y (T, C).
On states: ``score_block`` and ``TopNeurons``.
"""

from pipeline.search.array_search import auroc, average_precision, best_iou, iou, mean_diff, sweep_arrays
from pipeline.search.directions import MethodScores
from pipeline.search.ranking import TopNeurons, rank_order
from pipeline.search.search_states import METHODS, BlockScores, score_block
from pipeline.search.significance import benjamini_hochberg

__all__ = [
    "METHODS",
    "BlockScores",
    "MethodScores",
    "TopNeurons",
    "auroc",
    "average_precision",
    "benjamini_hochberg",
    "best_iou",
    "iou",
    "mean_diff",
    "rank_order",
    "score_block",
    "sweep_arrays",
]
