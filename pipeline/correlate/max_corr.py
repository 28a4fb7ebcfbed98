"""MaxCorr and MinCorr: how like a neuron the best partners are that it has in several other models.

Source: Bau et al. 2019, "Identifying and controlling important neurons in neural machine translation", ICLR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.correlate.best_partners import BestPartners
from schemas.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class ModelPartners:
    """Of N neurons: a figure over several other models, and the neuron that attains it."""

    abs_r: NDArray[np.float64]
    """(N,): |r| with the partner; NaN where undefined."""
    model: NDArray[np.int64]
    """(N,): the partner's model, as its place among the models given; −1 where undefined."""
    neuron: NDArray[np.int64]
    """(N,): the partner's index in its model; −1 where undefined."""
    sign: NDArray[np.int8]
    """(N,): sign of r, −1 or 1; 0 where r = 0 and where undefined."""


def max_corr(best: Sequence[BestPartners]) -> ModelPartners:
    """MaxCorr(i) = max over the other models m' of best(i, m'): the neuron as at least one of them has it.

    ``best`` has one state a model, all of the same N neurons. Of equals the first model stays. Models in which the
    neuron has no partner are passed over; NaN where that is all of them, as for a constant neuron. Raises
    :class:`UsageError` without models, or for states of different numbers of neurons.
    """
    strength = _strengths(best)
    return _chosen(best, np.argmax(np.where(np.isnan(strength), -1, strength), axis=0))


def min_corr(best: Sequence[BestPartners]) -> ModelPartners:
    """MinCorr(i) = min over the other models m' of best(i, m'): the neuron as every one of them has it.

    As :func:`max_corr`, but NaN as soon as the neuron has no partner in one of the models: its best there is undefined,
    and a minimum over the rest would claim too much.
    """
    strength = _strengths(best)
    return _chosen(best, np.argmin(np.where(np.isnan(strength), -1, strength), axis=0))


def _strengths(best: Sequence[BestPartners]) -> NDArray[np.float64]:
    """|r| (models, N)."""
    if not best:
        raise UsageError("best must hold the partners in at least one other model; got none")
    sizes = sorted({state.n_neurons for state in best})
    if len(sizes) > 1:
        raise UsageError(f"all states must be of the same neurons, not of {sizes}; compare one model with the others")
    return np.stack([state.abs_r for state in best])


def _chosen(best: Sequence[BestPartners], model: NDArray[np.int64]) -> ModelPartners:
    neurons = np.arange(len(model))
    abs_r = np.stack([state.abs_r for state in best])[model, neurons]
    return ModelPartners(
        abs_r,
        np.where(np.isnan(abs_r), -1, model),
        np.stack([state.partner for state in best])[model, neurons],
        np.stack([state.sign for state in best])[model, neurons],
    )
