"""Average precision: how well the order of a neuron's activations puts a concept's rows first.

AP = Σ over distinct thresholds v, descending, of (R_v − R_prev) · P_v, with precision P_v and recall R_v of x ≥ v;
equal activations are one threshold. Of a constant neuron it is the base rate P / T. (Suau et al. 2020; equals
``sklearn.metrics.average_precision_score``.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from pipeline.search import sweep_kernel as k
from pipeline.search.directions import MethodScores, better_direction, with_heldout
from pipeline.search.sweep import Sweep
from schemas.errors import UsageError


def average_precision(train: Sweep, test: Sweep | None = None) -> MethodScores:
    """AP of x or −x (N, C); held out: AP of sign · x on ``test``."""
    scores = better_direction(*_both(train), train.undefined)
    if test is None:
        return scores
    return with_heldout(scores, *_both(test), test.undefined)


def average_precision_interval(
    score: NDArray[np.float64], n_pos: NDArray[np.int64], level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bound of average precisions of ``n_pos`` positives each; both of one shape, NaN for 0 and 1.

    logit(AP) ± z / √(P · AP · (1 − AP)) (Boyd, Eng & Page 2013). Rows are taken as independent, which tokens are not.
    """
    if not 0 < level < 1:
        raise UsageError(f"level must lie strictly between 0 and 1, got {level}")
    inner = np.where((score > 0) & (score < 1), score, np.nan)
    margin = ndtri((1 + level) / 2) / np.sqrt(n_pos * inner * (1 - inner))
    return expit(logit(inner) - margin), expit(logit(inner) + margin)


def _both(sweep: Sweep) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n_pos = np.maximum(sweep.n_pos, 1)
    return sweep.results[:, :, k.AP_POS] / n_pos, sweep.results[:, :, k.AP_NEG] / n_pos
