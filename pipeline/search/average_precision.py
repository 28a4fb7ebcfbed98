"""Average precision: how well the order of a neuron's activations puts a concept's rows first.

AP = Σ over distinct thresholds v, descending, of (R_v − R_prev) · P_v, with precision P_v and recall R_v of x ≥ v;
equal activations are one threshold. Of a constant neuron it is the base rate P / T. (Suau et al. 2020; equals
``sklearn.metrics.average_precision_score``.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.search import sweep_kernel as k
from pipeline.search.directions import MethodScores, better_direction, with_heldout
from pipeline.search.sweep import Sweep


def average_precision(train: Sweep, test: Sweep | None = None) -> MethodScores:
    """AP of x or −x (N, C); held out: AP of sign · x on ``test``."""
    scores = better_direction(*_both(train), train.undefined)
    if test is None:
        return scores
    return with_heldout(scores, *_both(test), test.undefined)


def _both(sweep: Sweep) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n_pos = np.maximum(sweep.n_pos, 1)
    return sweep.results[:, :, k.AP_POS] / n_pos, sweep.results[:, :, k.AP_NEG] / n_pos
