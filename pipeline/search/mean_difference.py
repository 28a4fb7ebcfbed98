"""Difference of a neuron's mean activation with and without a concept.

mean₊ − mean₋, scored by its absolute value with the sign kept; not scale-normalised. (Antverg & Belinkov 2022.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.search import sweep_kernel as k
from pipeline.search.directions import MethodScores, better_direction, with_heldout
from pipeline.search.sweep import Sweep
from pipeline.stats.concept_moments import ConceptMoments


def mean_difference(train: Sweep | ConceptMoments, test: Sweep | ConceptMoments | None = None) -> MethodScores:
    """|mean₊ − mean₋| (N, C); held out: sign · (mean₊ − mean₋) on ``test``, negative where the direction turned.

    From a :class:`Sweep` the means are of the stored 16-bit values, from :class:`ConceptMoments` of the values it saw.
    """
    difference = _difference(train)
    scores = better_direction(difference, -difference, _undefined(train))
    if test is None:
        return scores
    heldout = _difference(test)
    return with_heldout(scores, heldout, -heldout, _undefined(test))


def _difference(state: Sweep | ConceptMoments) -> NDArray[np.float64]:
    """mean₊ − mean₋ as (mean₊ − mean) · T / (T − P): the overall mean goes first, so an offset costs no digits."""
    n_pos = state.n_pos.astype(np.float64)
    if isinstance(state, Sweep):
        excess = state.results[:, :, k.VALUE_SUM] / np.maximum(n_pos, 1)
    else:
        excess = state.mean - state.mean_all[:, None]
    return excess * (state.n_rows / np.maximum(state.n_rows - n_pos, 1))


def _undefined(state: Sweep | ConceptMoments) -> NDArray[np.bool_]:
    undefined: NDArray[np.bool_] = (state.n_pos == 0) | (state.n_pos == state.n_rows)
    return undefined
