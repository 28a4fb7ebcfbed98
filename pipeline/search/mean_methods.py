"""The searches that compare a neuron's mean with and without a concept; all are functions of ``ConceptMoments``.

Letters: n₊, n₋ rows with and without the concept, T both; mean₊, mean₋; s₊², s₋² variances with ddof 1.

mean_diff    mean₊ − mean₋ (Antverg & Belinkov 2022); not scale-normalised
probeless    Σ over the other classes z' of the concept's label layer of |mean_z − mean_z'| (Antverg & Belinkov 2022); a
             concept without a layer is one of two classes, which makes it |mean_diff|; the sign is always +1
selectivity  (mean₊ − mean₋) / (max − min) (Na et al. 2019)
cohen_d      (mean₊ − mean₋) / √(((n₊ − 1) s₊² + (n₋ − 1) s₋²) / (T − 2)), the pooled standard deviation
welch_t      (mean₊ − mean₋) / √(s₊²/n₊ + s₋²/n₋) (Welch 1947); undefined with a single row on a side
pearson      r of x with the concept's indicator (point-biserial)

Scored by the absolute value, the sign kept. Undefined (NaN) for P = 0 and P = T; a constant neuron has mean_diff and
probeless 0 and is undefined for the others. Where x is constant on both sides but not overall, cohen_d and welch_t are
infinite.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from pipeline.search.directions import MethodScores, better_direction, with_heldout
from pipeline.stats.concept_moments import ConceptMoments

Floats = NDArray[np.float64]


def mean_diff(state: ConceptMoments) -> Floats:
    """mean₊ − mean₋ as (mean₊ − mean) · T / n₋ (N, C): the overall mean goes first, so an offset costs no digits."""
    n_neg = np.maximum(state.n_rows - state.n_pos, 1)
    return (state.mean - state.mean_all[:, None]) * (state.n_rows / n_neg)


def selectivity(state: ConceptMoments) -> Floats:
    """Mean difference over the range of x (N, C)."""
    return mean_diff(state) / _or_nan(state.max_all - state.min_all)[:, None]


def cohen_d(state: ConceptMoments) -> Floats:
    """Mean difference over the pooled standard deviation (N, C)."""
    within = state.m2_pos + state.m2_neg
    freedom = np.maximum(state.n_rows - 2, 0)
    return _over(mean_diff(state), np.sqrt(within / freedom if freedom else np.full_like(within, np.nan)), state)


def welch_t(state: ConceptMoments) -> Floats:
    """Mean difference over its standard error (N, C)."""
    positive, negative = _squared_errors(state)
    return _over(mean_diff(state), np.sqrt(positive + negative), state)


def pearson(state: ConceptMoments) -> Floats:
    """Correlation with the indicator of the concept (N, C), within [−1, 1]."""
    spread = np.sqrt(state.n_pos * (1 - state.n_pos / max(state.n_rows, 1)))
    return np.clip(mean_diff(state) * spread / np.sqrt(_or_nan(state.m2_all))[:, None], -1, 1)


def probeless(state: ConceptMoments, layers: NDArray[np.int64]) -> Floats:
    """Summed distances of the concept's mean from the means of the other classes of its layer (N, C).

    ``layers`` (C,) numbers the label layer of each concept, −1 for none. Classes without rows have no mean and are left
    out; NaN where no other is left.
    """
    scores = np.abs(mean_diff(state))
    for layer in np.unique(layers[layers >= 0]):
        classes = np.flatnonzero((layers == layer) & (state.n_pos > 0))
        means = state.mean[:, classes]
        for place, concept in enumerate(classes):
            others = np.abs(means - means[:, place : place + 1]).sum(axis=1)
            scores[:, concept] = others if len(classes) > 1 else np.nan
    return scores


SIGNED: dict[str, Callable[[ConceptMoments], Floats]] = {
    "mean_diff": mean_diff,
    "selectivity": selectivity,
    "cohen_d": cohen_d,
    "welch_t": welch_t,
    "pearson": pearson,
}

#: Methods by their names in tables.
MEAN_METHODS = ("mean_diff", "probeless", "selectivity", "cohen_d", "welch_t", "pearson")


def mean_scores(
    method: str, train: ConceptMoments, test: ConceptMoments | None = None, layers: NDArray[np.int64] | None = None
) -> MethodScores:
    """Scores of one of :data:`MEAN_METHODS` (N, C); held out: sign · method(x) on ``test``, negative where it turned.

    ``layers`` as in :func:`probeless`; all concepts are without one by default.
    """
    if method == "probeless":
        groups = np.full(len(train.n_pos), -1) if layers is None else layers
        score = np.where(undefined(train), np.nan, probeless(train, groups))
        heldout = None if test is None else np.where(undefined(test), np.nan, probeless(test, groups))
        if heldout is not None:
            heldout = np.where(np.isnan(score), np.nan, heldout)
        return MethodScores(score, np.ones(score.shape, np.int8), heldout=heldout)
    value = SIGNED[method](train)
    scores = better_direction(value, -value, undefined(train))
    if test is None:
        return scores
    value = SIGNED[method](test)
    return with_heldout(scores, value, -value, undefined(test))


def welch_p_value(state: ConceptMoments) -> Floats:
    """Two-sided p of :func:`welch_t` with Welch–Satterthwaite degrees of freedom (N, C); NaN where t is undefined.

    Rows are taken as independent, which tokens are not.
    """
    t = np.where(undefined(state), np.nan, welch_t(state))
    positive, negative = _squared_errors(state)
    n_pos, n_neg = np.maximum(state.n_pos, 2), np.maximum(state.n_rows - state.n_pos, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = (positive + negative) ** 2 / (positive**2 / (n_pos - 1) + negative**2 / (n_neg - 1))
    p_value: Floats = np.where(np.isinf(t), 0.0, 2 * stdtr(freedom, -np.abs(t)))
    return p_value


def undefined(state: ConceptMoments) -> NDArray[np.bool_]:
    """Concepts (C,) without positives or without negatives."""
    found: NDArray[np.bool_] = (state.n_pos == 0) | (state.n_pos == state.n_rows)
    return found


def _squared_errors(state: ConceptMoments) -> tuple[Floats, Floats]:
    """s₊²/n₊ and s₋²/n₋ (N, C); NaN where a side has a single row."""
    n_pos, n_neg = state.n_pos.astype(np.float64), (state.n_rows - state.n_pos).astype(np.float64)
    return state.m2_pos / _or_nan(n_pos * (n_pos - 1)), state.m2_neg / _or_nan(n_neg * (n_neg - 1))


def _over(difference: Floats, error: Floats, state: ConceptMoments) -> Floats:
    """``difference / error``; infinite where only the error is 0, NaN for constant neurons."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = difference / error
    return np.where((state.max_all == state.min_all)[:, None], np.nan, ratio)


def _or_nan(divisor: Floats) -> Floats:
    return np.where(divisor > 0, divisor, np.nan)
