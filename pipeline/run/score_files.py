"""What search tasks leave on disk: plain arrays in ``.npz`` files, read back without pickle; and scores from them.

By thresholds the scores themselves are kept, for their states are large; by means the states, which are small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.run.array_file import open_arrays, save_arrays
from pipeline.search.best_iou import f1
from pipeline.search.directions import MethodScores
from pipeline.search.mean_methods import mean_scores, welch_p_value
from pipeline.search.search_states import BlockScores
from pipeline.stats.concept_moments import ConceptMoments
from pipeline.store.store import Store

_PARTS = ("score", "sign", "threshold", "heldout")


class TaskScores(Protocol):
    """One task's scores (n, C) of the first C concepts of its fold, each method's read when it is asked for."""

    def tests(self) -> NDArray[np.float64]:
        """The p values (n, C)."""

    def method(self, method: str) -> MethodScores:
        """Scores of one method."""


def save_scores(path: Path, scores: BlockScores) -> None:
    """Write ``scores``; the same scores give the same bytes. F1 is not written, being a function of the best IoU."""
    arrays: dict[str, NDArray[np.generic]] = {"p_value": scores.p_value}
    for method, found in scores.methods.items():
        if method == "f1":
            continue
        arrays |= {f"{method}.score": found.score, f"{method}.sign": found.sign}
        if found.threshold is not None:
            arrays[f"{method}.threshold"] = found.threshold
        if found.heldout is not None:
            arrays[f"{method}.heldout"] = found.heldout
    save_arrays(path, arrays)


def save_moments(path: Path, train: ConceptMoments, test: ConceptMoments | None) -> None:
    """Write the moments of both splits; the same ones give the same bytes."""
    states = {"train": train} if test is None else {"train": train, "test": test}
    arrays = {f"{split}.{name}": array for split, state in states.items() for name, array in state.arrays().items()}
    save_arrays(path, arrays)


@dataclass(frozen=True)
class ScoreFile:
    """Scores by thresholds."""

    store: Store
    path: str

    def tests(self) -> NDArray[np.float64]:
        """The p values of AUROC."""
        with open_arrays(self.store, self.path) as file:
            p_value: NDArray[np.float64] = file["p_value"]
            return p_value

    def method(self, method: str) -> MethodScores:
        """Scores of one method."""
        if method == "f1":
            return f1(self.method("best_iou"))
        with open_arrays(self.store, self.path) as file:
            arrays = {name: file[f"{method}.{name}"] for name in _PARTS if f"{method}.{name}" in file}
        return MethodScores(arrays["score"], arrays["sign"], arrays.get("threshold"), arrays.get("heldout"))


@dataclass(frozen=True)
class MomentsFile:
    """Moments, from which the scores by means are made."""

    store: Store
    path: str
    n_concepts: int
    """C; further ones of the fold are classes of the same label layers."""
    layers: NDArray[np.int64]
    """Label layer of each concept of the fold, −1 for none."""

    def tests(self) -> NDArray[np.float64]:
        """The p values of Welch's t."""
        return welch_p_value(self._states()[0])[:, : self.n_concepts]

    def method(self, method: str) -> MethodScores:
        """Scores of one method."""
        found = mean_scores(method, *self._states(), self.layers)
        heldout = None if found.heldout is None else found.heldout[:, : self.n_concepts]
        return replace(
            found, score=found.score[:, : self.n_concepts], sign=found.sign[:, : self.n_concepts], heldout=heldout
        )

    def _states(self) -> tuple[ConceptMoments, ConceptMoments | None]:
        with open_arrays(self.store, self.path) as file:
            train, test = (
                {name.partition(".")[2]: file[name] for name in file if name.startswith(f"{split}.")}
                for split in ("train", "test")
            )
        return ConceptMoments.from_arrays(train), ConceptMoments.from_arrays(test) if test else None


@dataclass(frozen=True)
class LayersFile:
    """Scores of whole label layers by `probeless`: the distances of the means of every two classes, summed."""

    moments: MomentsFile
    layers: tuple[NDArray[np.int64], ...]
    """The classes of each layer, as indices of the concepts of the fold."""

    def tests(self) -> NDArray[np.float64]:
        """No test belongs to it: NaN."""
        return np.full((len(self.moments.tests()), len(self.layers)), np.nan)

    def method(self, method: str) -> MethodScores:
        """Scores (n, layers) of `probeless`."""
        found = replace(self.moments, n_concepts=len(self.moments.layers)).method(method)
        parts = [found.score] if found.heldout is None else [found.score, found.heldout]
        # every pair of classes is in the scores of both
        sums = [np.stack([_half_sum(part[:, classes]) for classes in self.layers], axis=1) for part in parts]
        return MethodScores(sums[0], np.ones(sums[0].shape, np.int8), heldout=sums[1] if len(sums) > 1 else None)


def _half_sum(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half of the sum over the classes (n, Z) that have a score; NaN where fewer than two have."""
    several = (~np.isnan(scores)).sum(axis=1) > 1
    return np.where(several, np.nansum(scores, axis=1) / 2, np.nan)
