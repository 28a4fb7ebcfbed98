"""Principal components of neurons' correlation profiles, from a matrix that need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UsageError

#: Dimensions beyond those asked for, and further products with the matrix, that make the components exact enough.
_OVERSAMPLING = 10
_POWER_ITERATIONS = 4
#: Rows of the matrix in memory at a time.
_BLOCK = 1024

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ProfileComponents:
    """The profiles of n neurons in d dimensions."""

    neurons: NDArray[np.int64]
    """(n,): the rows of the matrix that have a profile, ascending; the others are of constant neurons."""
    values: Floats
    """(n, d): scores on the principal components, by descending variance, each with the sign that makes its largest
    score positive."""


def profile_components(
    profiles: NDArray[np.floating], n_components: int = 50, seed: int = 0, *, signed: bool = False
) -> ProfileComponents:
    """The first ``n_components`` principal components of ``profiles`` (N, M), float32 or float64, or a memory map.

    The profile of neuron i is row i: |r| with M neurons, or r itself if ``signed``. A row of NaN throughout is a
    constant neuron, which has no profile; columns of NaN in all other rows are left out. Components of no variance
    are left out too; there are at most min(n − 1, M).

    By a randomised range finder with power iterations (Halko, Martinsson and Tropp 2011), reading 1,024 rows at a time;
    exact where few rows or columns leave nothing to draw. Raises :class:`UsageError` for a matrix without two
    dimensions, for infinite values, and for NaN in other places.
    """
    if profiles.ndim != 2 or n_components < 1:
        raise UsageError(f"profiles must be (N, M) and n_components at least 1, got {profiles.shape}, {n_components}")
    matrix = _Profiles(profiles, signed)
    n, m = len(matrix.neurons), len(matrix.columns)
    rank = min(n_components, max(n - 1, 0), m)
    if rank == 0:
        return ProfileComponents(matrix.neurons, np.empty((n, 0)))
    width = min(rank + _OVERSAMPLING, n, m)
    basis = np.linalg.qr(matrix.times(np.random.default_rng(seed).standard_normal((m, width))))[0]
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(matrix.times(np.linalg.qr(matrix.transposed_times(basis))[0]))[0]
    left, sizes, _ = np.linalg.svd(matrix.transposed_times(basis).T, full_matrices=False)
    kept = int(np.sum(sizes[:rank] > max(n, m) * np.finfo(np.float64).eps * max(float(sizes[0]), matrix.scale)))
    values = (basis @ left[:, :kept]) * sizes[:kept]
    largest = values[np.argmax(np.abs(values), axis=0), np.arange(kept)]
    return ProfileComponents(matrix.neurons, values * np.sign(largest))


class _Profiles:
    """The centred profiles (n, m) of the neurons that have one, as an operator."""

    def __init__(self, matrix: NDArray[Any], signed: bool) -> None:
        self._matrix, self._signed = matrix, signed
        self.neurons, self.columns = _defined(matrix)
        self.scale = float(np.sqrt(len(self.neurons) * len(self.columns)))
        sums = np.zeros(len(self.columns))
        for _, block in self._blocks():
            sums += block.sum(axis=0)
        self.mean = sums / max(len(self.neurons), 1)

    def _blocks(self) -> Iterator[tuple[slice, Floats]]:
        for at in range(0, len(self.neurons), _BLOCK):
            rows = self.neurons[at : at + _BLOCK]
            is_whole = rows[-1] - rows[0] + 1 == len(rows)
            block = self._matrix[rows[0] : rows[-1] + 1] if is_whole else self._matrix[rows]
            block = block if len(self.columns) == block.shape[1] else block[:, self.columns]
            yield slice(at, at + len(rows)), np.asarray(block if self._signed else np.abs(block), np.float64)

    def times(self, other: Floats) -> Floats:
        """(n, k) from (m, k)."""
        found = np.empty((len(self.neurons), other.shape[1]))
        for rows, block in self._blocks():
            found[rows] = block @ other
        return found - self.mean @ other

    def transposed_times(self, other: Floats) -> Floats:
        """(m, k) from (n, k)."""
        found = np.zeros((len(self.columns), other.shape[1]))
        for rows, block in self._blocks():
            found += block.T @ other[rows]
        return found - np.outer(self.mean, other.sum(axis=0))


def _defined(matrix: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that are not NaN throughout, and columns that are not NaN in all of these."""
    n_rows, n_columns = matrix.shape
    missing_of_row, missing_of_column = np.zeros(n_rows, np.int64), np.zeros(n_columns, np.int64)
    for at in range(0, n_rows, _BLOCK):
        block = np.asarray(matrix[at : at + _BLOCK])
        if np.isinf(block).any():
            raise UsageError("profiles must not be infinite; correlations are in [−1, 1]")
        missing = np.isnan(block)
        missing_of_row[at : at + _BLOCK] = missing.sum(axis=1)
        missing_of_column += missing.sum(axis=0)
    rows = np.flatnonzero(missing_of_row < n_columns)
    columns = np.flatnonzero(missing_of_column < n_rows)
    odd = np.flatnonzero(missing_of_row[rows] != n_columns - len(columns))
    if len(odd):
        raise UsageError(
            f"profiles may be NaN for a constant neuron only, in its whole row and column; row {rows[odd[0]]} has "
            f"{missing_of_row[rows[odd[0]]]} NaN, and {n_columns - len(columns)} columns are NaN throughout"
        )
    return rows, columns
