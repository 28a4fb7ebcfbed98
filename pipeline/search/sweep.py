"""What the searches read: for every (neuron, concept) the sums and best thresholds of one walk over its positives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.search import sweep_kernel as k
from pipeline.stats.codes import code_values
from pipeline.stats.concept_histogram import ConceptHistogram
from pipeline.stats.quantiles import histogram_quantiles
from pipeline.stats.threads import over_neurons
from schemas.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class Thresholds:
    """Thresholds a sweep counts at, as bins: x predicts the rows in bins ≥ [..., 0], −x those in bins ≤ [..., 1]."""

    quantile_values: NDArray[np.float64]
    """(N, 2) on the scale of x: q_{1−α}(x), and −q_{1−α}(−x)."""
    quantile_bins: NDArray[np.int64]
    """(N, 2): the bins strictly beyond them."""
    best_bins: NDArray[np.int64]
    """(N, C, 2): best thresholds found on other rows; anything until they are."""
    is_heldout: bool = False
    """Count at ``best_bins`` instead of finding the best thresholds."""


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Results of one sweep over T rows, N neurons and C concepts; the searches are functions of it."""

    n_rows: int
    n_pos: NDArray[np.int64]
    """Positives (C,)."""
    results: NDArray[np.float64]
    """(N, C, N_RESULTS), places as named in :mod:`pipeline.search.sweep_kernel`; zeros where P = 0."""
    moments: NDArray[np.float64]
    """(N, 2): mean of all rows, and the tie term Σ t³ − t."""
    thresholds: Thresholds
    best_values: NDArray[np.float64]
    """(N, C, 2) on the scale of x: the best thresholds found here, of x and of −x."""

    @property
    def undefined(self) -> NDArray[np.bool_]:
        """Concepts (C,) without positives or without negatives: every score of theirs is NaN."""
        undefined: NDArray[np.bool_] = (self.n_pos == 0) | (self.n_pos == self.n_rows)
        return undefined

    @property
    def best_bins(self) -> NDArray[np.int64]:
        """(N, C, 2): bins of ``best_values``."""
        return self.results[:, :, [k.BEST_BIN_POS, k.BEST_BIN_NEG]].astype(np.int64)


def quantile_thresholds(histogram: ConceptHistogram, alpha: float, threads: int = 1) -> Thresholds:
    """The thresholds of `iou`, strict x > q_{1−α}(x) and −x > q_{1−α}(−x), from all rows of ``histogram``."""
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie strictly between 0 and 1, got {alpha}")
    values, level = code_values(histogram.dtype), np.array([1 - alpha])
    upper = histogram_quantiles(histogram.total, values, level, threads=threads)[0]
    lower = -histogram_quantiles(histogram.total, values, level, negated=True, threads=threads)[0] + 0.0
    bins = np.stack([np.searchsorted(values, upper, "right"), np.searchsorted(values, lower, "left") - 1], axis=1)
    best = np.zeros((histogram.n_neurons, histogram.n_concepts, 2), np.int64)
    return Thresholds(np.stack([upper, lower], axis=1), bins.astype(np.int64), best)


def sweep(histogram: ConceptHistogram, thresholds: Thresholds, threads: int = 1) -> Sweep:
    """Walk every (neuron, concept) of ``histogram`` once."""
    n_neurons, n_concepts = histogram.n_neurons, histogram.n_concepts
    values = code_values(histogram.dtype)
    results = np.zeros((n_neurons, n_concepts, k.N_RESULTS))
    moments = np.zeros((n_neurons, 2))
    indptr, segments = histogram.segments_by_concept()
    cuts, best_cuts = thresholds.quantile_bins, thresholds.best_bins

    def work(first: int, last: int) -> None:
        k.sweep_sparse(
            first, last, histogram.total, values, histogram.sparse, indptr, segments, histogram.n_pos,
            cuts, thresholds.is_heldout, best_cuts, moments, results,
        )  # fmt: skip
        for concept, positives in histogram.dense.items():
            k.sweep_dense(
                first, last, histogram.total, values, concept, positives, int(histogram.n_pos[concept]),
                cuts, thresholds.is_heldout, best_cuts, moments, results,
            )  # fmt: skip

    over_neurons(work, n_neurons, threads)
    best_bins = results[:, :, [k.BEST_BIN_POS, k.BEST_BIN_NEG]].astype(np.int64)
    return Sweep(
        n_rows=histogram.n_rows,
        n_pos=histogram.n_pos,
        results=results,
        moments=moments,
        thresholds=thresholds,
        best_values=values[best_bins],
    )
