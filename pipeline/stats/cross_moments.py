"""Co-moments of two blocks of neurons over the same rows: the state behind correlation and everything built on it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.stats.cross_kernel import M2, MEAN, MIRROR_ROWS, REST, SUM, add_products, centre, correlate, mirror
from pipeline.stats.single_thread import on_one_thread
from pipeline.stats.threads import over_neurons
from pipeline.stats.value_block import check_mergeable, check_rows, check_values, refuse_non_finite

Precision = Literal["float32", "float64"]
#: Neurons of both sides of one matrix product: small enough to share out, large enough for its full speed.
SQUARE = 768
#: Rows of one matrix product: its sums are of its precision, and added to float64 after so many.
CHUNK = 8192
#: |r| from 1 − this on is 1: what the products of each precision cannot tell from it.
RESOLUTION: dict[Precision, float] = {"float32": 1e-6, "float64": 1e-12}


@dataclass(slots=True, eq=False)
class CrossMoments:
    """Of blocks A (n neurons) and B (m neurons) over T rows: means, Σ(x − mean)² and co-moments Σ(a − ā)(b − b̄).

    Batches are centred on their own means, multiplied in the ``precision`` of the state, and added in float64 as
    pairwise merges (Chan et al. 1983), so that a mean of 300 standard deviations costs no digit of a correlation.
    ``symmetric``: B is A, and its products are computed once.
    """

    n_rows: int
    mean_a: NDArray[np.float64]
    """Means of A (n,)."""
    mean_b: NDArray[np.float64]
    """Means of B (m,)."""
    m2_a: NDArray[np.float64]
    """Σ(a − ā)² (n,); 0 exactly for a constant neuron."""
    m2_b: NDArray[np.float64]
    """Σ(b − b̄)² (m,)."""
    comoment: NDArray[np.float64]
    """Σ(a − ā)(b − b̄) (n, m); where it is symmetric, the upper half is kept up and :meth:`whole` gives both."""
    symmetric: bool
    precision: Precision

    @classmethod
    def empty(cls, n: int, m: int | None = None, precision: Precision = "float32") -> CrossMoments:
        """The state of no rows; of block A with itself without ``m``."""
        a, b = np.zeros((2, n)), np.zeros((2, n if m is None else m))
        return cls(0, a[0], b[0], a[1], b[1], np.zeros((n, b.shape[1])), m is None, precision)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return len(self.mean_a), len(self.mean_b)

    def update(self, a: NDArray[np.floating], b: NDArray[np.floating] | None = None, threads: int = 1) -> CrossMoments:
        """Add a batch: ``a`` (n, T) and ``b`` (m, T) float32 or float64, of the same T rows; no ``b`` where symmetric.

        It may be as long as it likes: :data:`CHUNK` rows are copied and multiplied at a time. Raises
        :class:`ActivationError` when a value is NaN or infinite, :class:`UsageError` on a wrong shape; the state is
        then unchanged.
        """
        a = check_values(a, self.shape[0])
        values_b = a if b is None else check_values(b, self.shape[1])
        check_rows(a.shape[1], values_b.shape[1], "block B")
        for values in (a,) if self.symmetric else (a, values_b):
            _check_finite(values, threads)
        n_rows = min(CHUNK, a.shape[1])
        made_a = np.empty((len(a), n_rows), self.precision)
        made_b = made_a if self.symmetric else np.empty((len(values_b), n_rows), self.precision)
        for at in range(0, a.shape[1], CHUNK):
            side_a = _copy_centred(a[:, at : at + CHUNK], made_a, threads)
            side_b = side_a if self.symmetric else _copy_centred(values_b[:, at : at + CHUNK], made_b, threads)
            self.add_centred(side_a, side_b, threads)
        return self

    def add_centred(self, a: Centred, b: Centred, threads: int = 1) -> None:
        """Add a batch of rows that :func:`centred` has centred."""
        step = self.advance(a, b)

        def add(square: tuple[slice, slice]) -> None:
            rows, columns = square
            add_products(
                self.comoment[rows, columns],
                a.values[rows] @ b.values[columns].T,  # of neurons with themselves, numpy computes half
                step.shift_a[rows],
                step.shift_b[columns],
                step.rest_a[rows],
                step.rest_b[columns],
            )

        with on_one_thread(), ThreadPoolExecutor(threads) as pool:  # which are the threads of the product
            for _ in pool.map(add, self._squares()):
                pass

    def _squares(self) -> list[tuple[slice, slice]]:
        """What is multiplied at once: cut alike whatever the threads, so that these never change a bit."""
        rows, columns = (cut_evenly(n, SQUARE) for n in self.shape)
        if not self.symmetric:
            return [(row, column) for row in rows for column in columns]
        return [*combinations(rows, 2), *((row, row) for row in rows)]  # the quicker ones last, to end together

    def advance(self, a: Centred, b: Centred) -> Step:
        """Take over rows, means and squares of a batch; the co-moments that go with them are the caller's to add."""
        n, batch = self.n_rows, a.n_rows
        weight, share = n * batch / (n + batch), batch / (n + batch)
        delta_a, delta_b = a.mean - self.mean_a, b.mean - self.mean_b
        self.m2_a += a.m2 + weight * delta_a**2
        self.mean_a += delta_a * share
        if self.symmetric:
            self.m2_b, self.mean_b = self.m2_a.copy(), self.mean_a.copy()
        else:
            self.m2_b += b.m2 + weight * delta_b**2
            self.mean_b += delta_b * share
        self.n_rows += batch
        return Step(weight * delta_a, delta_b, batch * a.rest, b.rest)

    def merge(self, other: CrossMoments) -> CrossMoments:
        """Add the rows of ``other`` in place; ``other`` is left as it is."""
        check_mergeable(self.shape, other.shape)
        if other.n_rows == 0:
            return self
        n = self.n_rows + other.n_rows
        weight = self.n_rows * other.n_rows / n
        delta_a, delta_b = other.mean_a - self.mean_a, other.mean_b - self.mean_b
        self.comoment += other.comoment + weight * np.outer(delta_a, delta_b)
        self.m2_a += other.m2_a + weight * delta_a**2
        self.m2_b += other.m2_b + weight * delta_b**2
        self.mean_a += delta_a * (other.n_rows / n)
        self.mean_b += delta_b * (other.n_rows / n)
        self.n_rows = n
        return self

    def whole(self, threads: int = 1) -> NDArray[np.float64]:
        """Co-moments (n, m), of a symmetric state both halves, with Σ(x − mean)² on the diagonal."""
        if not self.symmetric:
            return self.comoment
        both = self.comoment.copy()
        np.fill_diagonal(both, self.m2_a)
        over_neurons(lambda first, last: mirror(first, last, both), -(-len(both) // MIRROR_ROWS), threads)
        return both

    def correlations(self, threads: int = 1) -> NDArray[np.float64]:
        """Pearson's r (n, m) in [−1, 1]; NaN for constant neurons. See :func:`correlations_of`."""
        r = correlations_of(self.comoment, self.m2_a, self.m2_b, self.precision, threads)
        if self.symmetric:
            np.fill_diagonal(r, np.where(self.m2_a > 0, 1.0, np.nan))
            over_neurons(lambda first, last: mirror(first, last, r), -(-len(r) // MIRROR_ROWS), threads)
        return r

    def finalize(self) -> dict[str, NDArray[np.float64]]:
        """Population ``covariance`` (n, m), NaN without rows, and ``correlation`` (n, m)."""
        return {"covariance": self.whole() / (self.n_rows or np.nan), "correlation": self.correlations()}

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as named arrays; :meth:`from_arrays` is the inverse."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> CrossMoments:
        """The state that :meth:`arrays` wrote."""
        state = cls(**cast("dict[str, Any]", {field.name: np.array(arrays[field.name]) for field in fields(cls)}))
        state.n_rows, state.symmetric = int(state.n_rows), bool(state.symmetric)
        state.precision = "float64" if str(state.precision) == "float64" else "float32"
        return state


@dataclass(frozen=True, slots=True, eq=False)
class HostProducts:
    """Feeds a state on the processor, as ``DeviceProducts`` does on a GPU."""

    state: CrossMoments
    threads: int = 1

    def add_centred(self, a: Centred, b: Centred) -> None:
        """Add a batch."""
        self.state.add_centred(a, b, self.threads)

    def finish(self) -> CrossMoments:
        """The state."""
        return self.state


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Beside the product of two centred batches, their co-moments gain shift_a ⊗ shift_b − rest_a ⊗ rest_b."""

    shift_a: NDArray[np.float64]
    shift_b: NDArray[np.float64]
    rest_a: NDArray[np.float64]
    rest_b: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Centred:
    """A batch (N, T) less its means as ``values``; mean, Σ(x − mean)², and what the centre taken misses of the mean."""

    values: NDArray[Any]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    rest: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[Any], facts: NDArray[np.float64], given: NDArray[np.floating]) -> Centred:
        """What a kernel made of ``given``: ``values`` (N, T) and ``facts`` (N, 4).

        Raises :class:`ActivationError` if a value is not finite.
        """
        refuse_non_finite(facts[:, SUM], given)
        return cls(values, *(np.ascontiguousarray(facts[:, place]) for place in (MEAN, M2, REST)))

    @property
    def n_rows(self) -> int:
        """T."""
        return int(self.values.shape[1])


def centred(values: NDArray[np.floating], precision: Precision, threads: int = 1) -> Centred:
    """Centre a batch (N, T), T ≥ 1, of finite float32 or float64; :class:`ActivationError` where it is not finite."""
    wide = np.ascontiguousarray(values, np.float64 if precision == "float64" else values.dtype)
    return _centred(wide, np.empty(values.shape, precision), values.shape[1], threads)


def _check_finite(values: NDArray[np.floating], threads: int) -> None:
    found = np.empty(len(values))

    def work(first: int, last: int) -> None:
        found[first:last] = np.where(np.isfinite(values[first:last]).all(axis=1), 0.0, np.nan)

    over_neurons(work, len(values), threads)
    refuse_non_finite(found, values)


def _copy_centred(values: NDArray[np.floating], made: NDArray[Any], threads: int) -> Centred:
    """:func:`centred` with ``made`` (N, ≥ T) for its memory."""
    n_rows = values.shape[1]
    over_neurons(lambda first, last: np.copyto(made[first:last, :n_rows], values[first:last]), len(values), threads)
    return _centred(made, made, n_rows, threads)


def _centred(values: NDArray[np.floating], made: NDArray[Any], n_rows: int, threads: int) -> Centred:
    """Of the first ``n_rows`` of ``values`` (N, ≥ T), into ``made``."""
    facts = np.empty((len(values), 4))
    over_neurons(lambda first, last: centre(first, last, n_rows, values, made, facts), len(values), threads)
    return Centred.of(made[:, :n_rows], facts, values)


def cut_evenly(n: int, most: int) -> list[slice]:
    """As few parts of ``n`` things as have ``most`` at most, of equal size but for one."""
    n_parts = -(-n // most)
    return [slice(n * part // n_parts, n * (part + 1) // n_parts) for part in range(n_parts)]


def correlations_of(
    comoment: NDArray[np.floating],
    m2_a: NDArray[np.float64],
    m2_b: NDArray[np.float64],
    precision: Precision,
    threads: int = 1,
) -> NDArray[np.float64]:
    """Pearson's r (n, m) of co-moments (n, m), in [−1, 1]; NaN where a side is constant.

    |r| within :data:`RESOLUTION` of 1, where ``precision`` cannot tell duplicates from near ones, is 1.
    """
    with np.errstate(divide="ignore"):
        scale_a, scale_b = 1 / np.sqrt(m2_a), 1 / np.sqrt(m2_b)
    scale_a[np.isinf(scale_a)], scale_b[np.isinf(scale_b)] = np.nan, np.nan
    r = np.empty(comoment.shape)
    resolution = RESOLUTION[precision]
    over_neurons(lambda a, b: correlate(a, b, comoment, scale_a, scale_b, resolution, r), len(r), threads)
    return r
