"""The principal components of a model's neurons that hold a share of their variance, from co-moments alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from pipeline.correlate.second_moments import Floats, check_n_rows, check_square
from schemas.errors import UsageError

#: A component with no more than this share of the largest one's variance is rounding: co-moments are sums of float64.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalComponents:
    """The first k components of N neurons, largest variance first."""

    directions: Floats
    """(N, k): orthonormal columns."""
    moments: Floats
    """(k,): co-moment of each component with itself, above 0; a covariance where Σ_AA is one."""
    rank: int
    """Components that are more than rounding, n − 1 at most; k of them are kept."""
    variance_share: float
    """Share of the variance asked for."""

    @property
    def k(self) -> int:
        """Components kept."""
        return len(self.moments)

    def holding(self, variance_share: float) -> PrincipalComponents:
        """Of all components (a share of 1) the smallest number with at least ``variance_share`` of the variance.

        A share that is reached up to rounding counts as reached.
        """
        _check_share(variance_share)
        sums = np.cumsum(self.moments)
        reached = np.flatnonzero(sums >= variance_share * (1 - ROUNDING) * sums[-1]) if self.k else np.empty(0)
        k = self.k if variance_share == 1 or not len(reached) else int(reached[0]) + 1
        directions = np.ascontiguousarray(self.directions[:, :k])
        return PrincipalComponents(directions, self.moments[:k].copy(), self.rank, variance_share)


def principal_components(
    aa: ArrayLike, n_rows: int, variance_share: float, name: str = "aa", rounding: float = ROUNDING
) -> PrincipalComponents:
    """The *smallest* k components with at least ``variance_share`` of the variance, from Σ_AA (N, N).

    Components that are rounding, a share ``rounding`` of the largest or less, and those beyond n − 1 are never kept, so
    that a share of 1 keeps the whole column space; k = 0 where every neuron is constant. A share that is reached up to
    rounding counts as reached. Raises :class:`UsageError` for a wrong shape or a share not in (0, 1],
    :class:`ActivationError` for NaN and infinity; both call the matrix ``name``.
    """
    matrix, n_rows = check_square(aa, name), check_n_rows(n_rows)
    _check_share(variance_share)
    if not len(matrix):
        return PrincipalComponents(np.empty((0, 0)), np.empty(0), 0, variance_share)
    moments, directions = scipy.linalg.eigh(matrix, driver="evd", check_finite=False)
    moments, directions = moments[::-1], directions[:, ::-1]
    above = np.count_nonzero(moments > max(rounding * moments[0], 0.0))
    rank = min(int(above), n_rows - 1)
    return PrincipalComponents(directions[:, :rank], moments[:rank], rank, 1.0).holding(variance_share)


def _check_share(variance_share: float) -> None:
    if not 0 < variance_share <= 1:
        raise UsageError(f"variance_share must be above 0 and at most 1, got {variance_share}")
