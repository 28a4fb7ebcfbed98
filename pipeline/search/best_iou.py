"""Intersection over union, and F1, at the best of all thresholds.

The maximum over every threshold v of IoU of the concept with x ≥ v (sign +1) or x ≤ v (sign −1). The threshold is one
of the neuron's own values at a positive row; of equally good ones the one that predicts fewer rows.
F1 = 2 IoU / (1 + IoU) is largest at the same threshold. Of a constant neuron it is the base rate.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipeline.search import sweep_kernel as k
from pipeline.search.directions import MethodScores, better_direction, with_heldout
from pipeline.search.iou import overlap
from pipeline.search.sweep import Sweep


def best_iou(train: Sweep, test: Sweep | None = None) -> MethodScores:
    """Largest IoU of x or −x (N, C) with its threshold; held out: IoU on ``test`` at train's threshold and sign.

    ``test`` must be a held-out sweep, at train's best bins.
    """
    results = train.results
    positive = results[:, :, k.BEST_TP_POS] / results[:, :, k.BEST_UNION_POS].clip(1)
    negative = results[:, :, k.BEST_TP_NEG] / results[:, :, k.BEST_UNION_NEG].clip(1)
    best = cast("NDArray[np.float64]", train.cuts.best)
    scores = better_direction(positive, negative, train.undefined, (best[..., 0], best[..., 1]))
    if test is None:
        return scores
    return with_heldout(scores, *_at_given_thresholds(test), test.undefined)


def f1(best: MethodScores) -> MethodScores:
    """Largest F1 = 2 TP / (P + n_pred) of x or −x, from the best IoU: it grows with it, so sign and threshold agree."""

    def of(iou: NDArray[np.float64]) -> NDArray[np.float64]:
        return 2 * iou / (1 + iou)

    return replace(best, score=of(best.score), heldout=None if best.heldout is None else of(best.heldout))


def _at_given_thresholds(sweep: Sweep) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    results = sweep.results
    return (
        overlap(results[:, :, k.BEST_CUT_TP_POS], sweep.n_pos, results[:, :, k.BEST_CUT_N_POS]),
        overlap(results[:, :, k.BEST_CUT_TP_NEG], sweep.n_pos, results[:, :, k.BEST_CUT_N_NEG]),
    )
