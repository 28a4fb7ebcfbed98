"""Linear centred kernel alignment (CKA) of two models, biased and debiased, from sums that tiles and rows add up to.

With centred activations X (n, N_A) and Y (n, N_B) and Gram matrices K = XXᵀ and L = YYᵀ, biased CKA is

    ‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F)

(Kornblith et al. 2019, "Similarity of neural network representations revisited", ICML). Debiased CKA is
U(K, L) / √(U(K, K) U(L, L)) with the unbiased estimator of HSIC (Song et al. 2012, JMLR 13; in this use
Nguyen et al. 2021, "Do wide and deep networks learn the same things?", ICLR): with K̃, L̃ the Gram matrices without their
diagonals,

    U(K, L) = [tr K̃L̃ + 1ᵀK̃1 · 1ᵀL̃1 / ((n − 1)(n − 2)) − 2/(n − 2) · 1ᵀK̃L̃1] / (n(n − 3)).

The diagonals are q_i = ‖x_i‖² and p_i = ‖y_i‖², and K1 = L1 = 0 as X and Y are centred. So
tr K̃L̃ = ‖XᵀY‖²_F − Σ q_i p_i, 1ᵀK̃1 = −Σ q_i, and K̃1 = −q gives 1ᵀK̃L̃1 = Σ q_i p_i: no Gram matrix is needed,

    U(K, L) = [‖XᵀY‖²_F − n/(n − 2) · Σ q_i p_i + Σ q_i · Σ p_i / ((n − 1)(n − 2))] / (n(n − 3)).

U does not change when a constant row is added to X or Y, so this is the estimator for any activations. It is the inner
product of K̃ and L̃ after U-centring, an orthogonal projection (Székely & Rizzo 2014, "Partial distance correlation with
methods for dissimilarities", Annals of Statistics 42(6)), so U(K, L)² ≤ U(K, K) U(L, L) and debiased CKA is in [−1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.correlate.second_moments import Floats, check_moments, check_n_rows
from pipeline.correlate.tile import Tile
from schemas.errors import UsageError

#: Rows from which the unbiased estimator exists.
LEAST_ROWS = 4


@dataclass(slots=True, eq=False)
class RowNormSums:
    """Sums over rows of q_i = ‖x_i − mean‖² of model A and p_i of model B; a commutative monoid over batches of rows.

    The means are those of all rows, not of the batch: rows are read a second time once the means are known.
    """

    n_rows: int
    a: float
    """Σ q_i."""
    b: float
    """Σ p_i."""
    aa: float
    """Σ q_i²."""
    bb: float
    """Σ p_i²."""
    ab: float
    """Σ q_i p_i."""

    @classmethod
    def empty(cls) -> RowNormSums:
        """The sums of no rows."""
        return cls(0, 0.0, 0.0, 0.0, 0.0, 0.0)

    def update(self, norms_a: ArrayLike, norms_b: ArrayLike) -> RowNormSums:
        """Add a batch: q (T,) and p (T,) of the same rows, from :func:`row_norms`.

        Raises :class:`UsageError` for wrong shapes, :class:`ActivationError` for NaN and infinity.
        """
        q = check_moments(norms_a, "norms_a", (None,))
        p = check_moments(norms_b, "norms_b", (len(q),))
        batch = RowNormSums(
            len(q), float(q.sum()), float(p.sum()), float((q * q).sum()), float((p * p).sum()), float((q * p).sum())
        )
        return self.merge(batch)

    def merge(self, other: RowNormSums) -> RowNormSums:
        """Add the rows of ``other`` in place; ``other`` is left as it is."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as named arrays; :meth:`from_arrays` is the inverse."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> RowNormSums:
        """The state that :meth:`arrays` wrote."""
        return cls(**{field.name: arrays[field.name].item() for field in fields(cls)})


def row_norms(values: NDArray[np.floating], means: Floats) -> Floats:
    """‖x_i − mean‖² (T,) of ``values`` (N, T) with ``means`` (N,), float64; blocks of neurons add up."""
    if values.ndim != 2 or means.shape != (len(values),):
        raise UsageError(
            f"values (N, T) and means (N,) must be of the same neurons, not of shapes {values.shape} and {means.shape}"
        )
    centred = values - means[:, None]
    return np.asarray(np.einsum("it,it->t", centred, centred), np.float64)


def squared_norm(tiles: Iterable[Tile], *, is_symmetric: bool) -> float:
    """‖Σ‖²_F of a matrix that comes in tiles; of a symmetric one each pair of blocks comes once and counts twice."""
    total = 0.0
    for tile in tiles:
        values = np.asarray(tile.values, np.float64)
        total += float(np.einsum("ij,ij->", values, values)) * (2 if is_symmetric and not tile.is_diagonal else 1)
    return total


def cka(norm_aa: float, norm_bb: float, norm_ab: float) -> float:
    """Biased linear CKA, in [0, 1], from ‖Σ_AA‖²_F, ‖Σ_BB‖²_F and ‖Σ_AB‖²_F; NaN where a model has no variance.

    Covariances will do as well as co-moments. The null: from a null Σ_AB. Raises :class:`UsageError` unless all three
    are finite and at least 0.
    """
    _check_norms(norm_aa, norm_bb, norm_ab)
    if not (norm_aa > 0 and norm_bb > 0):
        return float("nan")
    return min(norm_ab / (math.sqrt(norm_aa) * math.sqrt(norm_bb)), 1.0)


def debiased_cka(norm_aa: float, norm_bb: float, norm_ab: float, rows: RowNormSums) -> float:
    """Debiased linear CKA in [−1, 1], about 0 for independent models, from squared norms of *co-moments*.

    ``norm_aa`` = ‖Σ_AA‖²_F and so on, of sums Σ(x − mean)(y − mean) that are not divided by n; ``rows`` are of the same
    rows and, for the null, in the same order as Σ_AB. NaN for fewer than four rows and where U(K, K) or U(L, L) is not
    above 0, as without variance. What rounding puts beyond ±1 is ±1. Raises :class:`UsageError` unless all three norms
    are finite and at least 0.
    """
    _check_norms(norm_aa, norm_bb, norm_ab)
    if rows.n_rows < LEAST_ROWS:
        return float("nan")
    own_a = unbiased_hsic(rows.n_rows, norm_aa, rows.aa, rows.a, rows.a)
    own_b = unbiased_hsic(rows.n_rows, norm_bb, rows.bb, rows.b, rows.b)
    if not (own_a > 0 and own_b > 0):
        return float("nan")
    found = unbiased_hsic(rows.n_rows, norm_ab, rows.ab, rows.a, rows.b) / (math.sqrt(own_a) * math.sqrt(own_b))
    return max(-1.0, min(found, 1.0))


def unbiased_hsic(n_rows: int, norm: float, product: float, sum_a: float, sum_b: float) -> float:
    """U(K, L) of linear kernels from n, ‖XᵀY‖²_F, Σ q_i p_i, Σ q_i and Σ p_i, all of centred activations.

    The derivation is above. NaN for fewer than four rows.
    """
    n = check_n_rows(n_rows)
    if n < LEAST_ROWS:
        return float("nan")
    return (norm - n / (n - 2) * product + sum_a / (n - 1) * (sum_b / (n - 2))) / (n * (n - 3))


def _check_norms(norm_aa: float, norm_bb: float, norm_ab: float) -> None:
    for name, norm in (("norm_aa", norm_aa), ("norm_bb", norm_bb), ("norm_ab", norm_ab)):
        if not (np.isfinite(norm) and norm >= 0):
            raise UsageError(f"{name} must be a squared norm, finite and at least 0, got {norm}")
