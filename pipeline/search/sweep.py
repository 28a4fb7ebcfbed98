"""What the threshold searches read: for every (neuron, concept) the sums and best thresholds of one walk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.search import sweep_kernel as k
from pipeline.stats.codes import code_values
from pipeline.stats.concept_histogram import ConceptHistogram
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.stats.quantiles import histogram_quantiles
from pipeline.stats.threads import over_neurons
from schemas.errors import UsageError


@dataclass(frozen=True)
class CutRule:
    """Where `iou` cuts, and how many intervals `mi` has."""

    alpha: float = 0.005
    """`iou`: the mask is x > q_{1−α}, strict, with numpy's linear quantile."""
    threshold: float | None = None
    """`iou`: the mask is x > this instead, for sign −1: −x > this."""
    n_intervals: int = 10
    """`mi`: intervals between the quantiles of equally spaced levels; equal quantiles make one interval of several."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha must lie strictly between 0 and 1, got {self.alpha}")
        if self.threshold is not None and not np.isfinite(self.threshold):
            raise UsageError(f"threshold must be a finite number, got {self.threshold}")
        if self.n_intervals < 2:
            raise UsageError(f"mutual information needs at least 2 intervals, got {self.n_intervals}")

    def levels(self) -> NDArray[np.float64]:
        """Quantile levels of the inner edges (n_intervals − 1,)."""
        return np.arange(1, self.n_intervals) / self.n_intervals


DEFAULT_RULE = CutRule()


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """Values that neurons are cut at, on the scale of x; chosen on the rows that neurons are selected on."""

    strict: NDArray[np.float64]
    """(N, 2): sign +1 predicts x > [..., 0], sign −1 x < [..., 1]."""
    edges: NDArray[np.float64]
    """(N, E − 1) ascending: interval i of x is the number of edges ≤ x."""
    best: NDArray[np.float64] | None = None
    """(N, C, 2): sign +1 predicts x ≥ [..., 0], sign −1 x ≤ [..., 1]; None until they are found."""


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Results of one sweep over T rows, N neurons and C concepts; the searches are functions of it."""

    n_rows: int
    n_pos: NDArray[np.int64]
    """Positives (C,)."""
    results: NDArray[np.float64]
    """(N, C, N_RESULTS), places as named in :mod:`pipeline.search.sweep_kernel`; zeros where P = 0."""
    ties: NDArray[np.float64]
    """(N,): the tie term Σ t³ − t."""
    cuts: Cuts
    """Where it counted; ``best`` are those found here, where none were given."""

    @property
    def undefined(self) -> NDArray[np.bool_]:
        """Concepts (C,) without positives or without negatives: every score of theirs is NaN."""
        undefined: NDArray[np.bool_] = (self.n_pos == 0) | (self.n_pos == self.n_rows)
        return undefined


def histogram_cuts(histogram: ConceptHistogram, rule: CutRule, threads: int = 1) -> Cuts:
    """The cuts of all rows of ``histogram``."""
    return cuts_of_counts(histogram.total, code_values(histogram.dtype), rule, threads)


def sweep(histogram: ConceptHistogram, cuts: Cuts, threads: int = 1) -> Sweep:
    """Walk every (neuron, concept) of ``histogram`` once."""
    axis = code_values(histogram.dtype)
    at = axis_bins(axis, cuts, (histogram.n_neurons, histogram.n_concepts))
    indptr, segments = histogram.segments_by_concept()
    results, ties = _empty(histogram.n_neurons, histogram.n_concepts)

    def work(first: int, last: int) -> None:
        k.sweep_sparse(
            first, last, histogram.total, histogram.sparse, indptr, segments, histogram.n_pos,
            at.strict, at.edges, at.is_heldout, at.best, ties, results,
        )  # fmt: skip
        for concept, positives in histogram.dense.items():
            k.sweep_dense(
                first, last, histogram.total, concept, positives, int(histogram.n_pos[concept]),
                at.strict, at.edges, at.is_heldout, at.best, ties, results,
            )  # fmt: skip

    over_neurons(work, histogram.n_neurons, threads)
    best = axis[_best_bins(results)] if cuts.best is None else cuts.best
    return Sweep(histogram.n_rows, histogram.n_pos, results, ties, Cuts(cuts.strict, cuts.edges, best))


def sweep_columns(
    columns: Callable[[int], NDArray[np.floating]],
    n_neurons: int,
    labels: LabelMatrix,
    rule: CutRule,
    cuts: Cuts | None = None,
    threads: int = 1,
) -> Sweep:
    """Walk neurons of any finite floats, each sorted: ``columns(n)`` are the T values of neuron n.

    ``cuts`` are those of these rows by ``rule``, unless given.
    """
    shape = (n_neurons, labels.n_concepts)
    results, ties = _empty(*shape)
    is_heldout = cuts is not None
    if cuts is None:
        cuts = Cuts(np.full((n_neurons, 2), np.nan), np.full((n_neurons, rule.n_intervals - 1), np.nan))
    best = np.zeros((*shape, 2)) if cuts.best is None else cuts.best.copy()

    def work(first: int, last: int) -> None:
        for neuron in range(first, last):
            axis, ranks, total = np.unique(columns(neuron), return_inverse=True, return_counts=True)
            axis = axis.astype(np.float64) + 0.0  # −0.0 and +0.0 are one value
            one = slice(neuron, neuron + 1)
            if not is_heldout:
                found = cuts_of_counts(total[None], axis, rule)
                cuts.strict[one], cuts.edges[one] = found.strict, found.edges
            given = best[one] if is_heldout else None
            at = axis_bins(axis, Cuts(cuts.strict[one], cuts.edges[one], given), (1, labels.n_concepts))
            k.sweep_ranks(
                ranks, total, labels.indptr, labels.rows, at.strict, at.edges, at.is_heldout, at.best,
                ties[one], results[one],
            )  # fmt: skip
            if not is_heldout:
                best[neuron] = axis[_best_bins(results[neuron])]

    over_neurons(work, n_neurons if labels.n_rows else 0, threads)
    return Sweep(labels.n_rows, labels.counts, results, ties, Cuts(cuts.strict, cuts.edges, best))


def _empty(n_neurons: int, n_concepts: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.zeros((n_neurons, n_concepts, k.N_RESULTS)), np.zeros(n_neurons)


def _best_bins(results: NDArray[np.float64]) -> NDArray[np.int64]:
    return results[..., [k.BEST_BIN_POS, k.BEST_BIN_NEG]].astype(np.int64)


def cuts_of_counts(total: NDArray[np.int64], axis: NDArray[np.float64], rule: CutRule, threads: int = 1) -> Cuts:
    """Cuts of counts ``total`` (N, B) over ascending values ``axis`` (B,)."""
    level = np.array([1 - rule.alpha])
    quantiles = histogram_quantiles(total, axis, np.append(level, rule.levels()), threads=threads)
    edges = np.ascontiguousarray(quantiles[1:].T)
    if rule.threshold is not None:
        return Cuts(np.tile([rule.threshold, -rule.threshold], (len(total), 1)) + 0.0, edges)
    lower = -histogram_quantiles(total, axis, level, negated=True, threads=threads)[0] + 0.0
    return Cuts(np.stack([quantiles[0], lower], axis=1), edges)


@dataclass(frozen=True, slots=True, eq=False)
class AxisBins:
    """:class:`Cuts` as bins of one axis, as the kernels take them."""

    strict: NDArray[np.int64]
    edges: NDArray[np.int64]
    best: NDArray[np.int64]
    is_heldout: bool


def axis_bins(axis: NDArray[np.float64], cuts: Cuts, shape: tuple[int, int]) -> AxisBins:
    """``cuts`` as bins of ascending values ``axis``; ``shape`` = (N, C)."""
    upper, lower = cuts.strict.T
    strict = np.stack([np.searchsorted(axis, upper, "right"), np.searchsorted(axis, lower, "left") - 1], axis=1)
    inner = np.searchsorted(axis, cuts.edges, "left")
    edges = np.pad(inner, ((0, 0), (1, 1)), constant_values=((0, 0), (0, len(axis))))
    if cuts.best is None:
        return AxisBins(strict.astype(np.int64), edges.astype(np.int64), np.zeros((*shape, 2), np.int64), False)
    best = np.stack(
        [np.searchsorted(axis, cuts.best[..., 0], "left"), np.searchsorted(axis, cuts.best[..., 1], "right") - 1],
        axis=-1,
    )
    return AxisBins(strict.astype(np.int64), edges.astype(np.int64), best.astype(np.int64), True)
