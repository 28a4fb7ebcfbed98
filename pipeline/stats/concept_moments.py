"""Mean and spread of each neuron where each concept holds: the state behind mean difference and its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.stats.codes import bits_to_float32, check_half_dtype
from pipeline.stats.label_matrix import LabelMatrix
from pipeline.stats.moments_kernel import BFLOAT16, FLOAT16, FLOATS, LANES, batch_moments
from pipeline.stats.threads import over_neurons
from pipeline.stats.value_block import check_codes, check_mergeable, check_rows, check_values, refuse_non_finite

#: Share of a neuron's Σ(x − mean)² below which a difference of such sums is rounding.
ROUNDING = 1e-12
_DTYPES = {FLOAT16: "float16", BFLOAT16: "bfloat16"}


@dataclass(slots=True, eq=False)
class ConceptMoments:
    """Of N neurons and C concepts: rows, mean and Σ(x − mean)² over each concept's rows; these and range of all T rows.

    float64; batches are centred on their own means and merged pairwise (Chan et al. 1983).
    """

    n_rows: int
    mean_all: NDArray[np.float64]
    """Mean over all rows (N,)."""
    m2_all: NDArray[np.float64]
    """Σ(x − mean_all)² over all rows (N,)."""
    min_all: NDArray[np.float64]
    """Smallest value (N,); +inf without rows."""
    max_all: NDArray[np.float64]
    """Largest value (N,); −inf without rows."""
    n_pos: NDArray[np.int64]
    """Rows of each concept (C,)."""
    mean: NDArray[np.float64]
    """Mean over the concept's rows (N, C); 0 where there are none."""
    m2: NDArray[np.float64]
    """Σ(x − mean)² over the concept's rows (N, C)."""

    @classmethod
    def empty(cls, n_neurons: int, n_concepts: int) -> ConceptMoments:
        """The state of no rows."""
        shape = (n_neurons, n_concepts)
        return cls(
            0,
            np.zeros(n_neurons),
            np.zeros(n_neurons),
            np.full(n_neurons, np.inf),
            np.full(n_neurons, -np.inf),
            np.zeros(n_concepts, np.int64),
            np.zeros(shape),
            np.zeros(shape),
        )

    @property
    def n_neurons(self) -> int:
        """N."""
        return len(self.mean_all)

    def update(self, values: NDArray[np.floating], labels: LabelMatrix, threads: int = 1) -> ConceptMoments:
        """Add a batch: ``values`` float32 or float64 (N, T), ``labels`` of the same T rows.

        Raises :class:`ActivationError` when a value is NaN or infinite, :class:`UsageError` on a wrong shape; the state
        is then unchanged.
        """
        return self._update(check_values(values, self.n_neurons), FLOATS, labels, threads)

    def update_bits(
        self, bits: NDArray[np.uint16], dtype: str, labels: LabelMatrix, threads: int = 1
    ) -> ConceptMoments:
        """:meth:`update` with raw 16-bit floats ``bits`` (N, T) of ``dtype``, float16 or bfloat16."""
        kind = FLOAT16 if check_half_dtype(dtype) == "float16" else BFLOAT16
        return self._update(check_codes(bits, self.n_neurons), kind, labels, threads)

    def _update(self, values: NDArray[Any], kind: int, labels: LabelMatrix, threads: int) -> ConceptMoments:
        check_rows(values.shape[1], labels.n_rows, "labels")
        tile_type = values.dtype if kind == FLOATS else np.dtype(np.float32)
        batch = ConceptMoments.empty(self.n_neurons, labels.n_concepts)
        batch.n_rows, batch.n_pos = labels.n_rows, labels.counts
        every_row = np.arange(labels.n_rows, dtype=np.int32)

        def work(first: int, last: int) -> None:
            tile = np.empty((labels.n_rows, LANES), tile_type)
            batch_moments(
                first, last, values, kind, tile, every_row, labels.indptr, labels.rows,
                batch.mean_all, batch.m2_all, batch.min_all, batch.max_all, batch.mean, batch.m2,
            )  # fmt: skip

        over_neurons(work, self.n_neurons, threads)
        if not np.isfinite(batch.mean_all).all():
            refuse_non_finite(batch.mean_all, values if kind == FLOATS else bits_to_float32(values, _DTYPES[kind]))
        return self.merge(batch)

    def merge(self, other: ConceptMoments) -> ConceptMoments:
        """Add the rows of ``other`` in place; ``other`` is left as it is."""
        check_mergeable(self.mean.shape, other.mean.shape)
        _merge(self.n_rows, self.mean_all, self.m2_all, other.n_rows, other.mean_all, other.m2_all)
        np.minimum(self.min_all, other.min_all, out=self.min_all)
        np.maximum(self.max_all, other.max_all, out=self.max_all)
        _merge(self.n_pos, self.mean, self.m2, other.n_pos, other.mean, other.m2)
        self.n_rows += other.n_rows
        self.n_pos = self.n_pos + other.n_pos
        return self

    def finalize(self) -> dict[str, NDArray[np.float64]]:
        """Per neuron and concept (N, C): ``mean_pos``, ``mean_neg``, population ``variance_pos`` and ``variance_neg``.

        NaN where a concept has no rows on that side.
        """
        n_pos = self.n_pos.astype(np.float64)
        n_neg = self.n_rows - n_pos
        some_pos, some_neg = np.where(n_pos > 0, n_pos, np.nan), np.where(n_neg > 0, n_neg, np.nan)
        return {
            "mean_pos": self.mean + 0 * some_pos,
            "mean_neg": self.mean_all[:, None] - (self.mean - self.mean_all[:, None]) * (n_pos / some_neg),
            "variance_pos": self.m2_pos / some_pos,
            "variance_neg": self.m2_neg / some_neg,
        }

    @property
    def m2_pos(self) -> NDArray[np.float64]:
        """Σ(x − mean)² over the rows with the concept (N, C); 0 where it is nothing but rounding."""
        return self._beyond_rounding(self.m2)

    @property
    def m2_neg(self) -> NDArray[np.float64]:
        """Σ(x − mean)² over the rows without the concept (N, C); 0 where it is nothing but rounding."""
        n_neg = self.n_rows - self.n_pos
        # Σ over all rows = Σ with + Σ without + between, where between = excess² n₊ T / n₋
        excess = np.where(self.n_pos > 0, self.mean - self.mean_all[:, None], 0)
        between = excess**2 * (self.n_pos * (self.n_rows / np.maximum(n_neg, 1)))
        rest = self._beyond_rounding(self.m2_all[:, None] - self.m2 - between)
        return np.where(n_neg > 1, rest, 0)

    def _beyond_rounding(self, m2: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(m2 > ROUNDING * self.m2_all[:, None], m2, 0)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as named arrays; :meth:`from_arrays` is the inverse."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> ConceptMoments:
        """The state that :meth:`arrays` wrote."""
        state = cls(**cast("dict[str, Any]", {field.name: np.array(arrays[field.name]) for field in fields(cls)}))
        state.n_rows = int(state.n_rows)
        return state


def _merge(
    n_a: NDArray[np.int64] | int,
    mean_a: NDArray[np.float64],
    m2_a: NDArray[np.float64],
    n_b: NDArray[np.int64] | int,
    mean_b: NDArray[np.float64],
    m2_b: NDArray[np.float64],
) -> None:
    """Fold (n, mean, M2) of b into those of a, in place; n is a number or one per column."""
    weight_a, weight_b = np.asarray(n_a, np.float64), np.asarray(n_b, np.float64)
    share = weight_b / np.maximum(weight_a + weight_b, 1)
    delta = mean_b - mean_a
    mean_a += delta * share
    m2_a += m2_b + delta**2 * (weight_a * share)
