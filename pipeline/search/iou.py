"""Intersection over union of a concept with the rows where a neuron exceeds a quantile, or a given threshold.

The mask is x > q_{1−α}, strict, with numpy's linear quantile over all rows; IoU = TP / (P + n_pred − TP). For the other
direction the mask is −x > q_{1−α}(−x). (Mu & Andreas 2020, α = 0.005.) A constant neuron predicts nothing: 0. With a
threshold t the masks are x > t and −x > t (t = 0: the rows where a rectified neuron is active).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.search import sweep_kernel as k
from pipeline.search.directions import MethodScores, better_direction, with_heldout
from pipeline.search.sweep import Sweep


def iou(train: Sweep, test: Sweep | None = None) -> MethodScores:
    """IoU at train's cut (N, C), threshold on the scale of x; held out: with train's threshold and sign.

    Sign −1 means x < threshold.
    """
    upper, lower = train.cuts.strict.T
    shape = train.results.shape[:2]
    thresholds = np.broadcast_to(upper[:, None], shape), np.broadcast_to(lower[:, None], shape)
    scores = better_direction(*_both(train), train.undefined, thresholds)
    if test is None:
        return scores
    return with_heldout(scores, *_both(test), test.undefined)


def _both(sweep: Sweep) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    results = sweep.results
    return (
        overlap(results[:, :, k.CUT_TP_POS], sweep.n_pos, results[:, :, k.CUT_N_POS]),
        overlap(results[:, :, k.CUT_TP_NEG], sweep.n_pos, results[:, :, k.CUT_N_NEG]),
    )


def overlap(
    true_positives: NDArray[np.float64], n_pos: NDArray[np.int64], n_predicted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """TP / (P + n_pred − TP); 0 where both sets are empty."""
    union = n_pos + n_predicted - true_positives
    return true_positives / np.where(union > 0, union, 1)
