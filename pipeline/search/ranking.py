"""The one tie rule of every ranking, and the best K neurons per concept as a mergeable state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UsageError


def rank_order(scores: NDArray[np.float64], neurons: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices from best to worst: score descending, then neuron ascending; NaN last. Both arrays are (n,)."""
    is_nan = np.isnan(scores)
    return np.lexsort((neurons, -np.where(is_nan, 0, scores), is_nan))


@dataclass(slots=True, eq=False)
class TopNeurons:
    """The K best neurons per concept under the tie rule, with further columns of theirs. Exact in any order of merges.

    Neurons are given by numbers that order them over all tasks as the ranking does: component, layer, neuron.
    """

    keep: int | None
    """K; None keeps all."""
    scores: NDArray[np.float64]
    """(C, n kept), best first."""
    neurons: NDArray[np.int64]
    """(C, n kept)."""
    columns: dict[str, NDArray[np.generic]]
    """Further columns, (C, n kept) each."""

    @classmethod
    def empty(cls, n_concepts: int, keep: int | None) -> TopNeurons:
        """The state of no neurons."""
        if keep is not None and keep < 1:
            raise UsageError(f"keep must be at least 1 or None for all, got {keep}")
        return cls(keep, np.empty((n_concepts, 0)), np.empty((n_concepts, 0), np.int64), {})

    def update(
        self,
        scores: NDArray[np.float64],
        neurons: NDArray[np.int64],
        columns: Mapping[str, NDArray[np.generic]] | None = None,
    ) -> TopNeurons:
        """Add a block: ``scores`` (n, C), ``neurons`` int64 (n,), every further column (n, C)."""
        expected = (len(neurons), len(self.scores))
        for name, column in {"scores": scores, **(columns or {})}.items():
            if column.shape != expected:
                raise UsageError(f"{name} must have shape {expected} (neurons, concepts), not {column.shape}")
        ids = np.broadcast_to(np.asarray(neurons, np.int64), scores.T.shape)
        block = TopNeurons(self.keep, scores.T, ids, {name: column.T for name, column in (columns or {}).items()})
        return self.merge(block)

    def merge(self, other: TopNeurons) -> TopNeurons:
        """Add the neurons of ``other`` in place; ``other`` is left as it is."""
        if len(self.scores) != len(other.scores):
            raise UsageError(f"rankings of {len(self.scores)} and {len(other.scores)} concepts do not merge")
        if self.scores.shape[1] and other.scores.shape[1] and self.columns.keys() != other.columns.keys():
            raise UsageError(f"rankings with columns {sorted(self.columns)} and {sorted(other.columns)} do not merge")
        scores = np.concatenate([self.scores, other.scores], axis=1)
        neurons = np.concatenate([self.neurons, other.neurons], axis=1)
        n_kept = scores.shape[1] if self.keep is None else min(self.keep, scores.shape[1])
        best = np.empty((len(scores), n_kept), np.int64)
        for concept in range(len(scores)):
            best[concept] = rank_order(scores[concept], neurons[concept])[:n_kept]
        names = self.columns.keys() | other.columns.keys()
        self.columns = {name: np.take_along_axis(_joined(self, other, name), best, axis=1) for name in sorted(names)}
        self.scores = np.take_along_axis(scores, best, axis=1)
        self.neurons = np.take_along_axis(neurons, best, axis=1)
        return self

    def finalize(self) -> dict[str, NDArray[np.generic]]:
        """A table by concept, best first: ``concept`` index, ``rank`` from 1, ``neuron``, ``score``, further ones."""
        n_concepts, n_kept = self.scores.shape
        return {
            "concept": np.repeat(np.arange(n_concepts, dtype=np.int32), n_kept),
            "rank": np.tile(np.arange(1, n_kept + 1, dtype=np.int32), n_concepts),
            "neuron": self.neurons.ravel(),
            "score": self.scores.ravel(),
            **{name: column.ravel() for name, column in self.columns.items()},
        }

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as named arrays; :meth:`from_arrays` is the inverse."""
        further = {f"column_{name}": column for name, column in self.columns.items()}
        keep = np.array(-1 if self.keep is None else self.keep)
        return {"keep": keep, "scores": self.scores, "neurons": self.neurons, **further}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> TopNeurons:
        """The state that :meth:`arrays` wrote."""
        keep = int(np.asarray(arrays["keep"], np.int64))
        columns = {n.removeprefix("column_"): np.array(a) for n, a in arrays.items() if n.startswith("column_")}
        scores, neurons = np.array(arrays["scores"], np.float64), np.array(arrays["neurons"], np.int64)
        return cls(None if keep < 0 else keep, scores, neurons, columns)


def _joined(a: TopNeurons, b: TopNeurons, name: str) -> NDArray[np.generic]:
    parts = [state.columns[name] for state in (a, b) if name in state.columns]
    return np.concatenate(parts, axis=1)
