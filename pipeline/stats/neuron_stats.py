"""All columns of the ``neuron_stats`` table that describe activations, from the two states they come from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.stats.moments import Moments
from pipeline.stats.value_histogram import ValueHistogram
from schemas.errors import UsageError
from schemas.tables import QUANTILES


def neuron_statistics(
    moments: Moments | None, histogram: ValueHistogram | None, eps: float = 0.0, threads: int = 1
) -> dict[str, NDArray[np.generic]]:
    """``n_rows``, ``mean`` … ``eps`` of ``NEURON_STATS``, one array (N,) each; undefined is NaN.

    A histogram alone is enough, as for 16-bit values; a float32 block has ``moments`` of its values and, where it was
    rounded, a histogram for the quantiles, which are NaN without one. Both must have seen the same rows.
    """
    if moments is None:
        if histogram is None:
            raise UsageError("neuron_statistics needs moments, a histogram, or both; got neither")
        moments = histogram.moments(threads)
    columns = moments.finalize(eps)
    if histogram is None:
        quantiles = np.full((len(QUANTILES), moments.n_neurons), np.nan)
    else:
        if (histogram.n_rows, histogram.n_neurons) != (moments.n_rows, moments.n_neurons):
            raise UsageError(
                f"moments ({moments.n_neurons} neurons, {moments.n_rows} rows) and histogram ({histogram.n_neurons} "
                f"neurons, {histogram.n_rows} rows) must have seen the same block"
            )
        quantiles = histogram.finalize(list(QUANTILES.values()), threads)
    return {**columns, **dict(zip(QUANTILES, quantiles, strict=True))}
