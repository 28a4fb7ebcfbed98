"""The one rule for signs: a score is the larger of method(x) and method(−x), and says which."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

#: Scores of the two directions that differ by less, relatively, are a tie: a mirrored column sums in another order.
TIE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class MethodScores:
    """One method's answer for N neurons × C concepts; NaN where undefined (P = 0 or P = T)."""

    score: NDArray[np.float64]
    """(N, C): the larger of method(x) and method(−x)."""
    sign: NDArray[np.int8]
    """(N, C): +1 or −1, the direction that attains it; +1 on a tie and where undefined."""
    threshold: NDArray[np.float64] | None = None
    """(N, C) on the scale of x, where the method has one."""
    heldout: NDArray[np.float64] | None = None
    """(N, C): the score on held-out rows with this sign and threshold; NaN where undefined there."""


def better_direction(
    positive: NDArray[np.float64],
    negative: NDArray[np.float64],
    undefined: NDArray[np.bool_],
    thresholds: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> MethodScores:
    """Choose per (neuron, concept) between method(x) and method(−x); ``undefined`` (C,) concepts become NaN."""
    defined = np.broadcast_to(~undefined, positive.shape)
    larger = np.maximum(np.abs(positive), np.abs(negative))
    margin = TIE * np.where(np.isinf(larger), 0, larger)
    sign = np.where(defined & (negative - positive > margin), -1, 1).astype(np.int8)
    score = np.where(defined, np.where(sign > 0, positive, negative), np.nan)
    if thresholds is None:
        return MethodScores(score, sign)
    return MethodScores(score, sign, np.where(defined, np.where(sign > 0, *thresholds), np.nan))


def with_heldout(
    scores: MethodScores, positive: NDArray[np.float64], negative: NDArray[np.float64], undefined: NDArray[np.bool_]
) -> MethodScores:
    """Add held-out scores in the directions chosen; NaN for concepts ``undefined`` (C,) there, or undefined before."""
    heldout = np.where(undefined | np.isnan(scores.score), np.nan, np.where(scores.sign > 0, positive, negative))
    return replace(scores, heldout=heldout)
