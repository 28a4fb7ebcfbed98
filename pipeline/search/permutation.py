"""Could a score be chance: beside the scores that the same neurons get for labels shuffled inside sentences.

Words of one sentence are not independent of each other, so tests that count rows as independent find too much.
Shuffling inside sentences keeps how often a concept holds in each of them, and takes away which of its rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UsageError


def permutation_p_values(scores: NDArray[np.float64], null: NDArray[np.float64]) -> NDArray[np.float64]:
    """One-sided p of ``scores`` (N, C) against ``null`` (N', C), the scores of shuffled labels; NaN where NaN.

    p = (1 + the concept's null scores that reach it) / (1 + the concept's null scores), over all neurons of the
    search: the smallest is 1 / (1 + N'). Neurons are taken as alike under the null, which those of `mean_diff` and
    `probeless`, being on the scale of each neuron, are not.
    """
    if scores.shape[1:] != null.shape[1:]:
        raise UsageError(f"scores of {scores.shape[1]} concepts have no null of {null.shape[1]}")
    p_values = np.full(scores.shape, np.nan)
    for concept in range(scores.shape[1]):
        drawn = np.sort(null[:, concept][~np.isnan(null[:, concept])])
        scored = ~np.isnan(scores[:, concept])
        if len(drawn):
            n_reached = len(drawn) - np.searchsorted(drawn, scores[scored, concept], "left")
            p_values[scored, concept] = (1 + n_reached) / (1 + len(drawn))
    return p_values
