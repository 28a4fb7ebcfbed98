"""Area under the ROC curve: the probability that a row of the concept outranks one without it, ties counting half.

AUROC = (Σ ranks of positives − P(P + 1)/2) / (P (T − P)) with mid-ranks (Mann–Whitney). Of a constant neuron it is ½.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.search import sweep_kernel as k
from pipeline.search.directions import MethodScores, better_direction, with_heldout
from pipeline.search.sweep import Sweep


def auroc(train: Sweep, test: Sweep | None = None) -> MethodScores:
    """AUROC of x or −x (N, C), never below ½; held out: AUROC of sign · x on ``test``, which may be."""
    positive = positive_auroc(train)
    scores = better_direction(positive, 1 - positive, train.undefined)
    if test is None:
        return scores
    heldout = positive_auroc(test)
    return with_heldout(scores, heldout, 1 - heldout, test.undefined)


def positive_auroc(sweep: Sweep) -> NDArray[np.float64]:
    """AUROC of x itself (N, C); meaningless for undefined concepts."""
    n_pos = sweep.n_pos.astype(np.float64)
    wins = sweep.results[:, :, k.RANK_SUM] - n_pos * (n_pos + 1) / 2
    return wins / np.maximum(n_pos * (sweep.n_rows - n_pos), 1)
