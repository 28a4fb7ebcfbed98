"""Spectrum and effective dimensions of plain arrays, for notebooks."""

from __future__ import annotations

from numpy.typing import ArrayLike

from pipeline.correlate.pca_spectrum import PcaSpectrum, pca_spectrum
from pipeline.correlate.second_moments import centred_columns, refuse_overflow


def principal_spectrum(activations: ArrayLike) -> PcaSpectrum:
    """Variances along the principal components of activations X (T, N), or (T,) for one neuron.

    The result tells shares, participation ratio, effective rank, and the components that a share of the variance takes;
    without variance these are NaN, None and 0. See :mod:`pipeline.correlate.pca_spectrum`. Raises :class:`UsageError`
    for another shape or no rows, :class:`ActivationError` for NaN, infinity, and values whose squares overflow.
    """
    x = centred_columns(activations, "activations")
    refuse_overflow(x, "activations")
    return pca_spectrum(x.T @ x, len(x))
