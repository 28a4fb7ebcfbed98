"""All scores of one block of neurons, from its folded states.

The methods that look at thresholds are functions of ``ConceptHistogram`` (or of sorted columns), those that look at
means functions of ``ConceptMoments``; a family of methods needs one fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.search.auroc import auroc
from pipeline.search.average_precision import average_precision
from pipeline.search.best_iou import best_iou, f1
from pipeline.search.directions import MethodScores
from pipeline.search.iou import iou
from pipeline.search.mean_methods import MEAN_METHODS, mean_scores, welch_p_value
from pipeline.search.mutual_information import mutual_information
from pipeline.search.significance import auroc_p_value
from pipeline.search.sweep import DEFAULT_RULE, CutRule, Sweep, histogram_cuts, sweep
from pipeline.stats.concept_histogram import ConceptHistogram
from pipeline.stats.concept_moments import ConceptMoments
from schemas.errors import UsageError

#: Methods that look at thresholds, by their names in tables.
SWEEP_METHODS: dict[str, Callable[[Sweep, Sweep | None], MethodScores]] = {
    "ap": average_precision,
    "auroc": auroc,
    "iou": iou,
    "best_iou": best_iou,
    "f1": lambda train, test: f1(best_iou(train, test)),
    "mi": mutual_information,
}

#: All methods by their names in tables.
METHODS = (*SWEEP_METHODS, *MEAN_METHODS)


@dataclass(frozen=True, slots=True, eq=False)
class BlockScores:
    """Scores of N neurons × C concepts by every method asked for."""

    methods: dict[str, MethodScores]
    p_value: NDArray[np.float64]
    """(N, C): two-sided test on the train rows, of AUROC (tie-corrected) or Welch's t; NaN where undefined."""
    n_rows: int
    """Train rows T."""
    n_pos: NDArray[np.int64]
    """Train positives (C,)."""

    @property
    def base_rate(self) -> NDArray[np.float64]:
        """P / T (C,); NaN without rows."""
        return self.n_pos / self.n_rows if self.n_rows else np.full(len(self.n_pos), np.nan)


def score_block(
    train: ConceptHistogram,
    test: ConceptHistogram | None = None,
    *,
    methods: Sequence[str] = tuple(SWEEP_METHODS),
    rule: CutRule = DEFAULT_RULE,
    threads: int = 1,
) -> BlockScores:
    """Score a block by thresholds: selection on ``train`` (all rows, where there are no splits), held out on ``test``.

    Raises :class:`UsageError` on a method that is none of :data:`SWEEP_METHODS` or states of different blocks.
    """
    check_methods(methods, tuple(SWEEP_METHODS))
    block = (train.n_neurons, train.n_concepts)
    if test is not None and (test.n_neurons, test.n_concepts, test.dtype) != (*block, train.dtype):
        raise UsageError(f"the test histogram must be of the train histogram's block {block} and dtype {train.dtype}")
    on_train = sweep(train, histogram_cuts(train, rule, threads), threads)
    on_test = None if test is None else sweep(test, on_train.cuts, threads)
    return score_sweeps(on_train, on_test, methods)


def score_sweeps(train: Sweep, test: Sweep | None = None, methods: Sequence[str] = tuple(SWEEP_METHODS)) -> BlockScores:
    """Score by thresholds from the sweeps of a block; that of ``test`` at the cuts of ``train``."""
    scores = {method: SWEEP_METHODS[method](train, test) for method in methods}
    return BlockScores(scores, auroc_p_value(train), train.n_rows, train.n_pos)


def score_means(
    train: ConceptMoments,
    test: ConceptMoments | None = None,
    *,
    methods: Sequence[str] = MEAN_METHODS,
    layers: NDArray[np.int64] | None = None,
) -> BlockScores:
    """Score a block by means: selection on ``train`` (all rows, where there are no splits), held out on ``test``.

    ``layers`` (C,) numbers the label layer of each concept, −1 for none (for `probeless`). Raises :class:`UsageError`
    on a method that is none of :data:`MEAN_METHODS` or states of different blocks.
    """
    check_methods(methods, MEAN_METHODS)
    if test is not None and test.mean.shape != train.mean.shape:
        raise UsageError(f"the test moments must be of the train moments' block {train.mean.shape}")
    scores = {method: mean_scores(method, train, test, layers) for method in methods}
    return BlockScores(scores, welch_p_value(train), train.n_rows, train.n_pos)


def check_methods(methods: Sequence[str], known: Sequence[str]) -> None:
    """Raise :class:`UsageError` on a method that is none of ``known``."""
    unknown = [method for method in methods if method not in known]
    if unknown:
        raise UsageError(f"search method {unknown[0]!r} is not known here; choose from {', '.join(known)}")
