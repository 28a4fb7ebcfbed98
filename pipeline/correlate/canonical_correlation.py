"""Canonical correlations of two models, their means SVCCA and PWCCA, and what each neuron takes part in.

Each side is reduced to its principal components with a share of the variance. The canonical variates z_k of A and w_k
of B are the combinations of these components with the largest correlations ρ_1 ≥ ρ_2 ≥ … ≥ 0, K = min(k_A, k_B) pairs.

    SVCCA   = Σ_k ρ_k / K                                     of components with 99 % of the variance
    PWCCA_A = Σ_k α_k ρ_k / Σ_k α_k,  α_k = Σ_i |⟨z_k, x_i⟩|   of all components, unless asked otherwise

with the neurons x_i of A; PWCCA is not symmetric. For a ranking of neurons, with r of a neuron and a variate,

    SVCCA weight of i = Σ_k ρ_k r(x_i, z_k)²                  the share of its variance that B shares, weighted by ρ
    PWCCA weight of i = Σ_k ρ_k |r(x_i, z_k)| / Σ_k |r(x_i, z_k)|    what PWCCA would be if i were all that A has

both in [0, 1]. PWCCA is the mean of its neurons' weights, each weighted by Σ_k |⟨z_k, x_i⟩|.

Warning: a neuron's PWCCA weight says nothing about how much of the neuron is shared. It divides by what of the neuron
is in the variates: with one variate it is ρ_1 for every neuron, so a neuron with r = 0.05 to it weighs 1 where ρ_1 = 1,
and no neuron weighs less than the smallest ρ. Read the R² of :mod:`pipeline.correlate.linear_regression` or
:mod:`pipeline.correlate.max_corr` beside it, and the weight for shuffled rows. The SVCCA weight is a share of the
neuron's variance, but directions of unrelated models correlate too, so read it beside its null as well.

Sources: Raghu et al. 2017, "SVCCA: singular vector canonical correlation analysis", NeurIPS; Morcos et al. 2018,
"Insights on representational similarity in neural networks with canonical correlation", NeurIPS; Hotelling 1936.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from pipeline.correlate.principal_components import PrincipalComponents, principal_components
from pipeline.correlate.second_moments import Floats, check_moments, inverse_spread
from schemas.errors import UsageError

#: SVCCA's share of the variance (Raghu et al. 2017).
VARIANCE_SHARE = 0.99
#: A neuron with no more than this share of its variance in the variates has none there but rounding.
NOTHING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class CanonicalCorrelations:
    """K canonical correlations of models A and B, and how their neurons correlate with the variates."""

    rho: Floats
    """(K,): descending, in [0, 1]."""
    loadings_a: Floats
    """(N_A, K): r(x_i, z_k); NaN for a constant neuron."""
    loadings_b: Floats
    """(N_B, K): r(y_j, w_k); NaN for a constant neuron."""
    spread_a: Floats
    """(N_A,): √Σ_ii, 0 for a constant neuron."""
    spread_b: Floats
    """(N_B,): √Σ_jj, 0 for a constant neuron."""
    k_a: int
    """Components kept of A."""
    k_b: int
    """Components kept of B."""
    n_rows: int

    @property
    def n_forced(self) -> int:
        """Canonical correlations that are 1 whatever the models, as k_A + k_B components cannot but meet in n − 1."""
        return max(0, self.k_a + self.k_b - (self.n_rows - 1)) if len(self.rho) else 0

    @property
    def is_trivial(self) -> bool:
        """Whether there are such, k_A + k_B ≥ n: scores are then too high, and with few rows 1. Use more rows."""
        return self.n_forced > 0


@dataclass(frozen=True, slots=True, eq=False)
class CanonicalScores:
    """SVCCA or PWCCA of models A and B, with a weight for each neuron."""

    score: float
    """Of the models, from A's side; NaN where one has none but constant neurons."""
    score_b: float
    """The same from B's side; SVCCA is symmetric."""
    weights_a: Floats
    """(N_A,): in [0, 1]; NaN for a constant neuron."""
    weights_b: Floats
    """(N_B,): in [0, 1]; NaN for a constant neuron."""
    expected: float
    """Mean of ρ between independent models of as many components and rows: the analytic null of the score."""
    correlations: CanonicalCorrelations


def canonical_correlations(
    aa: ArrayLike, bb: ArrayLike, ab: ArrayLike, n_rows: int, variance_share: float = VARIANCE_SHARE
) -> CanonicalCorrelations:
    """From Σ_AA (N_A, N_A), Σ_BB (N_B, N_B) and Σ_AB (N_A, N_B) of ``n_rows`` rows; the null: from null moments.

    Which components are kept says :func:`principal_components`. Raises :class:`UsageError` for wrong shapes or a share
    not in (0, 1], :class:`ActivationError` for NaN and infinity.
    """
    of_a = principal_components(aa, n_rows, variance_share, "aa")
    of_b = principal_components(bb, n_rows, variance_share, "bb")
    return correlate_components(of_a, of_b, np.diagonal(aa), np.diagonal(bb), ab, n_rows)


def correlate_components(
    of_a: PrincipalComponents, of_b: PrincipalComponents, m2_a: ArrayLike, m2_b: ArrayLike, ab: ArrayLike, n_rows: int
) -> CanonicalCorrelations:
    """:func:`canonical_correlations` of components that are there already, as for the null of the same models.

    ``m2_a`` (N_A,) and ``m2_b`` (N_B,) are the diagonals of Σ_AA and Σ_BB.
    """
    own_a, own_b = check_moments(m2_a, "m2_a", (None,)), check_moments(m2_b, "m2_b", (None,))
    cross = check_moments(ab, "ab", (len(own_a), len(own_b)))
    white_a, white_b = of_a.directions / np.sqrt(of_a.moments), of_b.directions / np.sqrt(of_b.moments)
    n_pairs = min(of_a.k, of_b.k)
    if n_pairs:
        left, rho, right = scipy.linalg.svd(white_a.T @ cross @ white_b, full_matrices=False, check_finite=False)
    else:
        left, rho, right = np.empty((of_a.k, 0)), np.empty(0), np.empty((0, of_b.k))
    return CanonicalCorrelations(
        np.clip(rho, 0, 1),
        _loadings(of_a, left, own_a),
        _loadings(of_b, right.T, own_b),
        np.sqrt(np.maximum(own_a, 0)),
        np.sqrt(np.maximum(own_b, 0)),
        of_a.k,
        of_b.k,
        n_rows,
    )


def _loadings(components: PrincipalComponents, rotation: Floats, m2: Floats) -> Floats:
    """r(x_i, z_k) (N, K): the co-moments of neurons and variates, Σ P U = V √λ U, over √Σ_ii."""
    loadings = (components.directions * np.sqrt(components.moments)) @ rotation
    loadings *= inverse_spread(m2)[:, None]
    return np.clip(loadings, -1, 1, out=loadings)


def svcca_scores(found: CanonicalCorrelations) -> CanonicalScores:
    """SVCCA, the mean of ρ, and each neuron's share of variance in the variates, weighted by ρ."""
    score = float(found.rho.mean()) if len(found.rho) else float("nan")
    weights = [
        _undefined_without(found, np.clip(loadings**2 @ found.rho, 0, 1))
        for loadings in (found.loadings_a, found.loadings_b)
    ]
    return CanonicalScores(score, score, weights[0], weights[1], _expected(found), found)


def pwcca_scores(found: CanonicalCorrelations) -> CanonicalScores:
    """PWCCA of both sides, and of each neuron alone; NaN for a neuron that none of the variates holds anything of.

    A neuron's weight is not how much of it is shared: see the warning above.
    """
    score, weights_a = _projection_weighted(found, found.loadings_a, found.spread_a)
    score_b, weights_b = _projection_weighted(found, found.loadings_b, found.spread_b)
    return CanonicalScores(score, score_b, weights_a, weights_b, _expected(found), found)


def _projection_weighted(found: CanonicalCorrelations, loadings: Floats, spread: Floats) -> tuple[float, Floats]:
    size = np.abs(loadings)
    total = size.sum(axis=1)
    is_held = np.einsum("ij,ij->i", size, size) > NOTHING  # false for NaN
    weights = np.full(len(loadings), np.nan)
    weights[is_held] = np.minimum(size[is_held] @ found.rho / total[is_held], 1)
    alpha = spread[spread > 0] @ size[spread > 0]
    score = min(float(alpha @ found.rho / alpha.sum()), 1.0) if len(alpha) else float("nan")
    return score, _undefined_without(found, weights)


def _undefined_without(found: CanonicalCorrelations, weights: Floats) -> Floats:
    """NaN throughout where the other model has nothing to share."""
    return weights if len(found.rho) else np.full(len(weights), np.nan)


def _expected(found: CanonicalCorrelations) -> float:
    return independent_correlation(found.k_a, found.k_b, found.n_rows) if len(found.rho) else float("nan")


def independent_correlation(k_a: int, k_b: int, n_rows: int) -> float:
    """Mean canonical correlation of independent normal data of ``k_a`` and ``k_b`` dimensions in ``n_rows`` rows.

    The limit of many dimensions in a fixed proportion to the rows, within 2 % from ten dimensions on: with
    a = k_max/(n − 1) and b = k_min/(n − 1) the squares ρ² have the density √((x − x₋)(x₊ − x)) / (2π b x(1 − x)) on
    x± = (√(a(1 − b)) ± √(b(1 − a)))², and max(0, a + b − 1)/b of them are 1 (Wachter 1980, Annals of Statistics 8(5)).
    Raises :class:`UsageError` unless 1 ≤ k ≤ n − 1 of both.
    """
    low, high = sorted((k_a, k_b))
    if not 1 <= low <= high <= n_rows - 1:
        raise UsageError(f"k_a and k_b must be in 1 .. n_rows − 1 = {n_rows - 1}, got {k_a} and {k_b}")
    a, b = high / (n_rows - 1), low / (n_rows - 1)
    if high == n_rows - 1:
        return 1.0
    start, end = ((np.sqrt(a * (1 - b)) + sign * np.sqrt(b * (1 - a))) ** 2 for sign in (-1, 1))
    middle, half = (start + end) / 2, (end - start) / 2

    def integrand(angle: float) -> float:
        """√x times the density at x = middle + half·cos(angle), which takes the roots at both ends away."""
        square = middle + half * np.cos(angle)
        if not 0 < square < 1:
            return 0.0
        return float((half * np.sin(angle)) ** 2 / (2 * np.pi * b * np.sqrt(square) * (1 - square)))

    from scipy.integrate import quad  # noqa: PLC0415 - half a second, which every command would wait for

    mean, _ = quad(integrand, 0, np.pi, limit=200)
    return min(float(mean + max(0.0, a + b - 1) / b), 1.0)
