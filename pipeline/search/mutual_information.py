"""Mutual information of a concept with a binned neuron, as a share of the concept's entropy.

I(bin(x); y) / H(y), both in bits; bin(x) is the number of quantiles of equally spaced levels (``CutRule.n_intervals``)
that are ≤ x. The same for x and −x but for ties with an edge, so its sign is always +1. From 0 (independent, or a
constant neuron) to 1 (the bin tells the concept). Of the sample, so with few
positives it is biased upwards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.search import sweep_kernel as k
from pipeline.search.directions import MethodScores
from pipeline.search.sweep import Sweep


def mutual_information(train: Sweep, test: Sweep | None = None) -> MethodScores:
    """I(bin(x); y) / H(y) (N, C); held out: on ``test`` with train's edges."""
    score = _share(train)
    sign = np.ones(score.shape, np.int8)
    if test is None:
        return MethodScores(score, sign)
    return MethodScores(score, sign, heldout=np.where(np.isnan(score), np.nan, _share(test)))


def _share(sweep: Sweep) -> NDArray[np.float64]:
    """NaN for undefined concepts; rounding never leaves [0, 1]."""
    rate = np.where(sweep.undefined, np.nan, sweep.n_pos / max(sweep.n_rows, 1))
    entropy = -(rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate))
    share: NDArray[np.float64] = np.clip(sweep.results[:, :, k.INFORMATION] / entropy, 0, 1)
    return share
