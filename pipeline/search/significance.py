"""Could an AUROC this far from ½ be chance: the tie-corrected rank-sum test, and the false discovery rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from pipeline.search.auroc import positive_auroc
from pipeline.search.sweep import Sweep
from schemas.errors import UsageError


def auroc_z(sweep: Sweep) -> NDArray[np.float64]:
    """Statistic z of the Mann–Whitney test of x (N, C), positive where positives rank higher; NaN where undefined.

    σ² of AUROC = (T + 1 − Σ(t³ − t) / (T (T − 1))) / (12 P (T − P)) over groups of t tied rows, without continuity
    correction; undefined for P = 0, P = T and constant neurons. Rows are taken as independent, which tokens are not.
    """
    n, n_pos = float(sweep.n_rows), sweep.n_pos.astype(np.float64)
    spread = n + 1 - sweep.ties / max(n * (n - 1), 1)
    # All rows tied: spread is 0 but for rounding; the smallest true value, one row apart from the rest, is near 3.
    is_constant = sweep.ties >= (n**3 - n) * (1 - 1e-12)
    usable = ~sweep.undefined & ~is_constant[:, None]
    variance = spread[:, None] / (12 * np.maximum(n_pos * (n - n_pos), 1))
    return np.where(usable, (positive_auroc(sweep) - 0.5) / np.sqrt(np.where(usable, variance, 1)), np.nan)


def auroc_p_value(sweep: Sweep) -> NDArray[np.float64]:
    """Two-sided p of :func:`auroc_z` under the normal approximation (N, C); NaN where z is."""
    p_value: NDArray[np.float64] = erfc(np.abs(auroc_z(sweep)) / np.sqrt(2))
    return p_value


def benjamini_hochberg(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The q values, same shape: the false discovery rate at which each test is just rejected (Benjamini & Hochberg).

    q of the i-th smallest of m p values is min over j ≥ i of p_(j) · m / j, at most 1. NaN is no test: it stays NaN and
    does not count in m. All tests of a search belong into one call.
    """
    flat = np.asarray(p_values, np.float64).ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    p = flat[tested]
    if p.size and not 0 <= p.min() <= p.max() <= 1:
        raise UsageError(f"p values must lie in [0, 1], got {p.min()}..{p.max()}")
    order = np.argsort(p, kind="stable")
    scaled = p[order] * (p.size / np.arange(1, p.size + 1))
    q_sorted = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    q_values = np.full(flat.shape, np.nan)
    q_values[tested[order]] = q_sorted
    return q_values.reshape(np.shape(p_values))
