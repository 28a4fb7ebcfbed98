"""Scores of one search task on disk: plain arrays in an ``.npz`` file, read back without pickle."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.search.directions import MethodScores
from pipeline.search.search_states import BlockScores
from pipeline.store.store import Store

_PARTS = ("score", "sign", "threshold", "heldout")


def save_scores(path: Path, scores: BlockScores) -> None:
    """Write ``scores``; the same scores give the same bytes."""
    arrays = {"p_value": scores.p_value, "n_rows": np.array(scores.n_rows), "n_pos": scores.n_pos}
    for method, found in scores.methods.items():
        arrays |= {f"{method}.score": found.score, f"{method}.sign": found.sign}
        if found.threshold is not None:
            arrays[f"{method}.threshold"] = found.threshold
        if found.heldout is not None:
            arrays[f"{method}.heldout"] = found.heldout
    np.savez(path, allow_pickle=False, **arrays)


@dataclass(frozen=True)
class ScoreFile:
    """One task's scores, each array read when it is asked for."""

    store: Store
    path: str

    def tests(self) -> tuple[NDArray[np.float64], int, NDArray[np.int64]]:
        """The p values (n, C), the rows selected on, and the positives per concept (C,)."""
        with self._open() as file:
            return file["p_value"], int(file["n_rows"]), file["n_pos"]

    def method(self, method: str) -> MethodScores:
        """Scores of one method."""
        with self._open() as file:
            arrays = {name: file[f"{method}.{name}"] for name in _PARTS if f"{method}.{name}" in file}
        return MethodScores(arrays["score"], arrays["sign"], arrays.get("threshold"), arrays.get("heldout"))

    def _open(self) -> np.lib.npyio.NpzFile:
        opened: np.lib.npyio.NpzFile = np.load(io.BytesIO(self.store.storage.read(self.path)), allow_pickle=False)
        return opened
