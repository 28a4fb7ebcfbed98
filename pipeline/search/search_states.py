"""All scores of one block of neurons, from its folded states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.search.auroc import auroc
from pipeline.search.average_precision import average_precision
from pipeline.search.best_iou import best_iou
from pipeline.search.directions import MethodScores
from pipeline.search.iou import iou
from pipeline.search.mean_difference import mean_difference
from pipeline.search.significance import auroc_p_value
from pipeline.search.sweep import Sweep, quantile_thresholds, sweep
from pipeline.stats.concept_histogram import ConceptHistogram
from pipeline.stats.concept_moments import ConceptMoments
from schemas.errors import UsageError

#: Methods by their names in tables.
METHODS: dict[str, Callable[[Sweep, Sweep | None], MethodScores]] = {
    "ap": average_precision,
    "auroc": auroc,
    "iou": iou,
    "best_iou": best_iou,
    "mean_diff": mean_difference,
}


@dataclass(frozen=True, slots=True, eq=False)
class BlockScores:
    """Scores of N neurons × C concepts by every method asked for."""

    methods: dict[str, MethodScores]
    p_value: NDArray[np.float64]
    """(N, C): two-sided tie-corrected AUROC test on the train rows; NaN where undefined."""
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
    train_moments: ConceptMoments | None = None,
    test_moments: ConceptMoments | None = None,
    methods: Sequence[str] = tuple(METHODS),
    alpha: float = 0.005,
    threads: int = 1,
) -> BlockScores:
    """Score a block: selection on ``train`` (all rows, where there are no splits), held-out scores on ``test``.

    Moments are only used by ``mean_diff``, and only needed where the histograms hold rounded values (a float32 store);
    otherwise the means come from the histograms. Raises :class:`UsageError` on an unknown method or states of different
    blocks.
    """
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise UsageError(f"search method {unknown[0]!r} is not known; choose from {', '.join(METHODS)}")
    _check_blocks(train, train_moments, test, test_moments)
    thresholds = quantile_thresholds(train, alpha, threads)
    on_train = sweep(train, thresholds, threads)
    on_test = None
    if test is not None:
        on_test = sweep(test, replace(thresholds, best_bins=on_train.best_bins, is_heldout=True), threads)
    scores = {method: METHODS[method](on_train, on_test) for method in methods}
    if "mean_diff" in scores and train_moments is not None:
        scores["mean_diff"] = mean_difference(train_moments, test_moments)
    return BlockScores(scores, auroc_p_value(on_train), train.n_rows, train.n_pos)


def _check_blocks(
    train: ConceptHistogram,
    train_moments: ConceptMoments | None,
    test: ConceptHistogram | None,
    test_moments: ConceptMoments | None,
) -> None:
    block = (train.n_neurons, train.n_concepts)
    if test is not None and (test.n_neurons, test.n_concepts, test.dtype) != (*block, train.dtype):
        raise UsageError(f"the test histogram must be of the train histogram's block {block} and dtype {train.dtype}")
    for name, moments, of in (("train", train_moments, train), ("test", test_moments, test)):
        if moments is None:
            continue
        if of is None or moments.mean.shape != block or moments.n_rows != of.n_rows:
            raise UsageError(f"the {name} moments must have seen the rows and block {block} of the {name} histogram")
    if train_moments is not None and test is not None and test_moments is None:
        raise UsageError("with train moments and a test histogram, test moments are needed too")
