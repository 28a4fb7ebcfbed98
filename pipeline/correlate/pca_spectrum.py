"""Principal components of a layer: the spectrum of its co-moments, and how many dimensions the layer really uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from schemas.errors import ActivationError, UsageError

#: Shares of variance whose number of components is told.
LEVELS = (0.90, 0.95, 0.99)
#: A cumulative share reaches a level that it misses by rounding alone.
_ROUNDING = 1e-12
#: Rows of a matrix that are looked at together.
_BLOCK = 1024

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PcaSpectrum:
    """Variances λ₁ ≥ … ≥ λ_N ≥ 0 along the principal components of N neurons over n rows. Undefined is NaN or None."""

    n_rows: int
    eigenvalues: Floats
    """(N,): of the population covariance (divided by n, as the variance in `neuron_stats`), descending; their sum is
    the sum of the neurons' variances. NaN without rows."""
    resolution: float = 0.0
    """What co-moments of lower precision make of an eigenvalue of 0, as a share of Σ λ."""

    @property
    def total(self) -> float:
        """Σ λ, the total variance."""
        return float(self.eigenvalues.sum())

    @property
    def share(self) -> Floats:
        """λ_k / Σ λ (N,); NaN where every neuron is constant."""
        if not self.total > 0:
            return np.full(len(self.eigenvalues), np.nan)
        share: Floats = self.eigenvalues / self.total
        return share

    @property
    def cumulative(self) -> Floats:
        """Share of the first k components together (N,)."""
        return np.minimum(np.cumsum(self.share), 1.0)

    @property
    def participation_ratio(self) -> float:
        """(Σ λ)² / Σ λ², between 1 and N: the number of equal components with this spread. NaN without variance.

        Gao et al. 2017, "A theory of multineuronal dimensionality, dynamics and measurement".
        """
        if not self.total > 0:
            return float("nan")
        return 1.0 / float(np.square(self.share).sum())

    @property
    def effective_rank(self) -> float:
        """exp(−Σ p ln p) with p the shares of the singular values √λ, between 1 and N; NaN without variance.

        Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality": of the centred matrix (n, N)
        of activations, whose singular values are √(n λ).
        """
        if not self.total > 0:
            return float("nan")
        sizes = np.sqrt(self.eigenvalues[: self.rank])  # below, the root of mere rounding would count
        p = sizes / sizes.sum()
        return float(np.exp(-np.sum(p * np.log(p))))

    @property
    def rank(self) -> int | None:
        """Eigenvalues above N · ε · λ₁, ε of float64, and above the resolution; 0 where every neuron is constant.

        None without rows.
        """
        if not self.n_rows:
            return None
        largest = float(self.eigenvalues.max(initial=0.0))
        rounding = len(self.eigenvalues) * np.finfo(np.float64).eps * largest
        return int(np.sum(self.eigenvalues > max(rounding, self.resolution * self.total)))

    def n_components(self, level: float) -> int | None:
        """The smallest k whose first k components have at least this share of the variance; None without variance."""
        if not 0 < level <= 1:
            raise UsageError(f"level must be above 0 and at most 1, got {level}")
        if not self.total > 0:
            return None
        return int(np.argmax(self.cumulative >= level - _ROUNDING)) + 1


def pca_spectrum(co_moments: NDArray[np.floating], n_rows: int, resolution: float = 0.0) -> PcaSpectrum:
    """The spectrum of ``co_moments`` (N, N): Σ over ``n_rows`` rows of (x − mean)(x − mean)ᵀ, symmetric, float64.

    ``resolution``: eigenvalues up to this share of their sum are taken for rounding, in co-moments that were summed in
    single precision; the rank and the effective rank leave them out. The same eigenvalues, up to n / (n − 1), as a PCA
    of the rows themselves. Those below 0 by rounding are 0. Takes twice the matrix in memory and 4/3 N³ steps. Raises
    :class:`UsageError` for a matrix that is not square or not symmetric, :class:`ActivationError` for one that is not
    finite.
    """
    if co_moments.ndim != 2 or co_moments.shape[0] != co_moments.shape[1] or n_rows < 0:
        raise UsageError(f"co_moments must be (N, N) of at least 0 rows, got {co_moments.shape} of {n_rows}")
    if not np.isfinite(co_moments).all():
        raise ActivationError("co_moments must be finite; make them of finite activations")
    matrix = np.asarray(co_moments, np.float64)
    tolerance = 1e-6 * max(matrix.max(initial=0.0), -matrix.min(initial=0.0))
    for at in range(0, len(matrix), _BLOCK):
        block = slice(at, at + _BLOCK)
        if float(np.abs(matrix[block] - matrix[:, block].T).max()) <= tolerance:
            continue
        raise UsageError("co_moments must be symmetric, and are not; give Σ (x − mean)(x − mean)ᵀ")
    if n_rows == 0:
        return PcaSpectrum(0, np.full(len(matrix), np.nan), resolution)
    found = scipy.linalg.eigvalsh(matrix)[::-1] if len(matrix) else np.empty(0)
    return PcaSpectrum(n_rows, np.maximum(found, 0.0) / n_rows, resolution)


def spectrum_columns(component: str, layer: int, spectrum: PcaSpectrum) -> dict[str, Any]:
    """Columns of the table `pca_spectrum`: one row for each component k, from 1. Undefined is masked."""
    n = len(spectrum.eigenvalues)
    return {
        "component": [component] * n,
        "layer": np.full(n, layer, np.int32),
        "k": np.arange(1, n + 1, dtype=np.int32),
        "eigenvalue": np.ma.masked_invalid(spectrum.eigenvalues),
        "share": np.ma.masked_invalid(spectrum.share),
        "cumulative": np.ma.masked_invalid(spectrum.cumulative),
    }


def dimension_columns(component: str, layer: int, spectrum: PcaSpectrum) -> dict[str, Any]:
    """Columns of the table `layer_dimensions`: one row. Undefined is None."""
    return {
        "component": [component],
        "layer": [layer],
        "n_rows": [spectrum.n_rows],
        "n_neurons": [len(spectrum.eigenvalues)],
        "total_variance": [_nullable(spectrum.total)],
        "rank": [spectrum.rank],
        "participation_ratio": [_nullable(spectrum.participation_ratio)],
        "effective_rank": [_nullable(spectrum.effective_rank)],
        **{f"n_{100 * level:.0f}": [spectrum.n_components(level)] for level in LEVELS},
    }


def _nullable(value: float) -> float | None:
    return None if np.isnan(value) else value
