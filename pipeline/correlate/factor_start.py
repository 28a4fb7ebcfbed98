"""Where non-negative factors start: a factorisation of a sample of the rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.correlate.factor_pass import FactorPass, Floats, nonnegative, unit_rows

#: Alternations on the sample at most.
MAX_ROUNDS = 200
#: They end once one takes off less than this share of the error that the first one left.
TOLERANCE = 1e-4
#: Entries that the singular vectors leave empty are filled with up to this share of the mean value.
FILL = 0.01


def sample_rows(n_rows: int, n_sample: int, seed: int) -> NDArray[np.int64]:
    """Numbers of ``n_sample`` of ``n_rows`` rows, each set equally likely; all where there are no more. Ascending."""
    if n_rows <= n_sample:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, n_sample, replace=False))


def start_factors(sample: NDArray[np.floating], n_factors: int, seed: int) -> Floats:
    """Weights (K, N) of ``n_factors`` factors that fit the rows ``sample``, float32 or float64 (N, T), T ≥ 0.

    Begins with the non-negative parts of the singular vectors (NNDSVD, with its zeros filled at random: Boutsidis and
    Gallopoulos 2008), then alternates non-negative least squares of values and of weights (Kim and Park 2008) until
    the error stays. Rows of length 1; a sample of zeros gives zeros.
    """
    weights = _singular_parts(nonnegative(sample), n_factors, seed)
    errors: list[float] = []
    for _ in range(MAX_ROUNDS):
        state = FactorPass.empty(weights)
        state.update(sample)
        errors.append(float(np.sqrt(state.squared_error())))
        if len(errors) > 1 and errors[-2] - errors[-1] <= TOLERANCE * errors[0]:
            break
        weights = unit_rows(state.finalize())
    return weights


def _singular_parts(positive: Floats, n_factors: int, seed: int) -> Floats:
    """NNDSVD of ``positive`` (N, T): of each pair of singular vectors the larger of their two non-negative parts."""
    from sklearn.utils.extmath import randomized_svd  # noqa: PLC0415 - takes a second, and few commands need it

    n_neurons = len(positive)
    mean = float(positive.mean()) if positive.size else 0.0
    if mean == 0.0:
        return np.zeros((n_factors, n_neurons))
    rank = min(n_factors, *positive.shape)
    left, sizes, right = randomized_svd(positive, rank, random_state=seed)
    weights = np.zeros((n_factors, n_neurons))
    for k in range(rank):
        parts = [(sign * left[:, k]).clip(0) for sign in (1, -1)]
        other = [(sign * right[k]).clip(0) for sign in (1, -1)]
        weight = [float(np.linalg.norm(p) * np.linalg.norm(q)) for p, q in zip(parts, other, strict=True)]
        best = int(np.argmax(weight))
        weights[k] = np.sqrt(sizes[k] * weight[best]) * parts[best] / max(float(np.linalg.norm(parts[best])), 1e-300)
    is_empty = weights == 0
    weights[is_empty] = FILL * mean * np.random.default_rng(seed).random(int(is_empty.sum()))
    return unit_rows(weights)
