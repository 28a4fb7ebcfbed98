"""LinReg: the share of a neuron's variance that a linear regression on all neurons of another model explains.

R²(i) = Σ_iB Σ_BB⁻¹ Σ_Bi / Σ_ii, with an intercept, as the moments are centred. Where Σ_BB is singular (constant or
repeated neurons, fewer rows than neurons) R² is that of the projection on the space its neurons span, as with the
minimum-norm solution of `numpy.linalg.lstsq`. Moments hold squares: below a tolerance of about 1e−14 they cannot tell
a direction from rounding, where `lstsq` on the activations still could.

Source: Bau et al. 2019, "Identifying and controlling important neurons in neural machine translation", ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import lapack

from pipeline.correlate.second_moments import Floats, check_moments, check_n_rows, check_square, inverse_spread
from schemas.errors import UsageError

#: A neuron of B counts to the rank if more than this share of its variance is left by those that count already. Sums of
#: float64 leave noise of about 1e−15 there, which is no more than 1e−5 of the share.
TOLERANCE = 1e-10
#: Neurons of A solved for at a time.
SOLVE_NEURONS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class RegressionScores:
    """R² of N neurons of A on one model B, and what it was computed with."""

    r2: Floats
    """(N,): in [0, 1]; NaN for a constant neuron, and where B has none but constant neurons."""
    adjusted_r2: Floats
    """(N,): 1 − (1 − R²)(n − 1)/(n − rank − 1), on average 0 between independent models (Ezekiel 1930); NaN where
    n ≤ rank + 1, and with a ridge, whose fit has fewer degrees of freedom than its rank."""
    expected_r2: float
    """Mean of R² where A and B are independent and normal, rank/(n − 1): the analytic null; NaN with a ridge."""
    rank: int
    """Dimensions of the space that B's neurons span, n − 1 at most; with a ridge B's neurons that vary."""
    n_rows: int
    ridge: float
    tolerance: float

    @property
    def is_trivial(self) -> bool:
        """Whether B spans all rows, so that R² = 1 for any neuron whatsoever."""
        return self.ridge == 0 and self.rank >= self.n_rows - 1


@dataclass(frozen=True, slots=True, eq=False)
class ColumnSpace:
    """What the neurons of B span, from Σ_BB: made once, then applied to any number of neurons of A."""

    n_neurons: int
    """N_B."""
    neurons: NDArray[np.int64]
    """(rank,): neurons of B that span the space."""
    scale: Floats
    """(rank,): 1/√(Σ_jj + ridge) of these."""
    factor: Floats
    """(rank, rank): lower Cholesky factor of their scaled matrix; above the diagonal anything."""
    n_rows: int
    ridge: float
    tolerance: float

    @classmethod
    def of(cls, bb: ArrayLike, n_rows: int, ridge: float = 0.0, tolerance: float = TOLERANCE) -> ColumnSpace:
        """From Σ_BB (N_B, N_B); ``ridge`` is relative: ridge · (mean Σ_jj of the neurons that vary) is added to Σ_jj.

        Cholesky's factorisation where its condition number vouches for full rank, else the same with complete pivoting
        until ``tolerance`` is reached. Raises :class:`UsageError` for a wrong shape, a negative ridge, a tolerance not
        in (0, 1) or no rows, :class:`ActivationError` for NaN and infinity.
        """
        matrix, n_rows = check_square(bb, "bb"), check_n_rows(n_rows)
        if not (np.isfinite(ridge) and ridge >= 0):
            raise UsageError(f"ridge must be a finite number of at least 0, got {ridge}")
        if not 0 < tolerance < 1:
            raise UsageError(f"tolerance must be between 0 and 1, got {tolerance}")
        m2 = matrix.diagonal()
        varying = np.flatnonzero(m2 > 0)
        added = ridge * float(m2[varying].mean()) if len(varying) else 0.0
        scale = inverse_spread(m2[varying] + added)
        most = len(varying) if ridge else min(len(varying), n_rows - 1)
        factor = _cholesky(_scaled(matrix, varying, scale, added), tolerance) if most == len(varying) else None
        chosen = np.arange(len(varying))
        if factor is None:
            factor, chosen = _pivoted(_scaled(matrix, varying, scale, added), tolerance, most)
        return cls(len(matrix), varying[chosen], scale[chosen], factor, n_rows, float(ridge), float(tolerance))

    @property
    def rank(self) -> int:
        """Dimensions of the space."""
        return len(self.neurons)

    def regress(self, ab: ArrayLike, m2_a: ArrayLike) -> RegressionScores:
        """R² of neurons of A from Σ_AB (N_A, N_B) and their own m2, the diagonal of Σ_AA (N_A,).

        With a ridge it is the formula with Σ_BB + ridge in place of Σ_BB, a little less than the fit explains. Errors
        as :meth:`of`.
        """
        own = check_moments(m2_a, "m2_a", (None,))
        cross = check_moments(ab, "ab", (len(own), self.n_neurons))
        r2, spread = np.full(len(own), np.nan), inverse_spread(own)
        if self.rank:
            for first in range(0, len(own), SOLVE_NEURONS):
                block = slice(first, first + SOLVE_NEURONS)
                loadings = cross[block][:, self.neurons].T * self.scale[:, None]
                solved = scipy.linalg.solve_triangular(
                    self.factor, loadings, lower=True, overwrite_b=True, check_finite=False
                )
                r2[block] = np.einsum("ij,ij->j", solved, solved) * spread[block] ** 2
        r2 = np.clip(r2, 0, 1)
        is_plain, left = self.ridge == 0 and self.rank > 0, self.n_rows - self.rank - 1
        adjusted = 1 - (1 - r2) * ((self.n_rows - 1) / left) if is_plain and left > 0 else np.full(len(own), np.nan)
        expected = self.rank / (self.n_rows - 1) if is_plain else float("nan")
        return RegressionScores(r2, adjusted, expected, self.rank, self.n_rows, self.ridge, self.tolerance)


def linear_regression(
    m2_a: ArrayLike, bb: ArrayLike, ab: ArrayLike, n_rows: int, ridge: float = 0.0, tolerance: float = TOLERANCE
) -> RegressionScores:
    """LinReg of every neuron of A on all neurons of B: :class:`ColumnSpace` of B, applied to A.

    The null is the same function of null moments.
    """
    return ColumnSpace.of(bb, n_rows, ridge, tolerance).regress(ab, m2_a)


def _scaled(matrix: Floats, varying: NDArray[np.int64], scale: Floats, added: float) -> Floats:
    """Σ_BB + ridge of the neurons that vary, scaled to a diagonal of ones; column-major, as LAPACK wants it."""
    part = matrix * 1.0 if len(varying) == len(matrix) else matrix[np.ix_(varying, varying)]
    part *= scale[:, None]
    part *= scale
    np.fill_diagonal(part, (matrix.diagonal()[varying] + added) * scale**2)
    return part.T


def _cholesky(matrix: Floats, tolerance: float) -> Floats | None:
    """Lower factor of a matrix with ones on its diagonal; None unless its condition number says it has full rank.

    No smallest eigenvalue is below 1/(condition number in the 1-norm) here, and no neuron's share of variance left by
    the others is below the smallest eigenvalue.
    """
    if not len(matrix):
        return matrix
    norm = lapack.dlange("1", matrix)
    factor, failed = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
    if failed:
        return None
    reciprocal_condition, _ = lapack.dpocon(factor, norm, uplo="L")
    return np.asarray(factor, np.float64) if reciprocal_condition > tolerance else None


def _pivoted(matrix: Floats, tolerance: float, most: int) -> tuple[Floats, NDArray[np.int64]]:
    """Lower factor (rank, rank) of the neurons chosen, and these; ``most`` at most."""
    factor, pivots, rank, _ = lapack.dpstrf(matrix, tol=tolerance, lower=1, overwrite_a=1)
    rank = min(rank, most)
    return np.asarray(factor[:rank, :rank], np.float64), np.asarray(pivots[:rank] - 1, np.int64)
