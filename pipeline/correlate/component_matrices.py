"""Distances inside components, gathered from tiles: which components at a time, and at which cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.compiled import kernel
from pipeline.correlate.correlation_distance import kernel_values, similarity
from pipeline.correlate.linkage_kernel import condensed_place
from pipeline.correlate.tile import Tile
from schemas.errors import UsageError

MEBIBYTE = 1 << 20

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """Neurons to be linked with each other."""

    scope: int
    """Which of the clusterings made in the same passes it belongs to."""
    neurons: Ints
    """(m,), ascending."""

    @property
    def n_distances(self) -> int:
        """m(m − 1)/2."""
        return len(self.neurons) * (len(self.neurons) - 1) // 2

    @property
    def n_bytes(self) -> int:
        """Of its distances in float64."""
        return 8 * self.n_distances


def components_of(roots: Ints, scope: int) -> list[Component]:
    """The components of three neurons and more, by ``roots`` (N,), the smallest neuron of each one's component."""
    order = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
    return [Component(scope, part) for part in np.split(order, starts[1:]) if len(part) > 2]


def memory_groups(components: list[Component], memory_mb: int) -> list[list[Component]]:
    """Components to be held at the same time, the largest first; each group needs one pass over the tiles.

    A group holds at most ``memory_mb`` MiB of distances. Raises :class:`UsageError` where one component has more.
    """
    budget = memory_mb * MEBIBYTE
    groups: list[list[Component]] = []
    left = 0
    for component in sorted(components, key=lambda c: (-len(c.neurons), c.scope, int(c.neurons[0]))):
        if component.n_bytes > budget:
            raise UsageError(
                f"memory_mb must be at least {-(-component.n_bytes // MEBIBYTE)} for the largest component of "
                f"{len(component.neurons)} neurons, got {memory_mb}; give more, or lower the largest threshold, "
                "or take single linkage, which needs no distances"
            )
        if component.n_bytes > left or not groups:
            groups.append([])
            left = budget
        groups[-1].append(component)
        left -= component.n_bytes
    return groups


class ComponentMatrices:
    """Distances of the components of one group, float64, filled tile by tile."""

    def __init__(self, group: list[Component], n_neurons: int, *, signed: bool) -> None:
        self.group, self.signed = group, signed
        self.starts = np.cumsum([0, *(component.n_distances for component in group)])
        self.sizes = np.array([len(component.neurons) for component in group])
        self.distances = np.empty(int(self.starts[-1]))
        self.n_filled = np.zeros(len(group), np.int64)
        scopes = sorted({component.scope for component in group})
        self.slots = {scope: np.full(n_neurons, -1) for scope in scopes}
        self.places = {scope: np.zeros(n_neurons, np.int64) for scope in scopes}
        for slot, component in enumerate(group):
            self.slots[component.scope][component.neurons] = slot
            self.places[component.scope][component.neurons] = np.arange(len(component.neurons))

    def update(self, tile: Tile) -> None:
        """Take over the distances of a tile."""
        values = None
        for scope, slots in self.slots.items():
            matches = same_group(slots, tile)
            if matches is not None:
                values = kernel_values(tile) if values is None else values
                _fill(
                    values, tile.rows.start, tile.columns.start, tile.is_diagonal, self.signed, matches, slots,
                    self.places[scope], self.starts, self.sizes, self.distances, self.n_filled,
                )  # fmt: skip

    def finished(self) -> Iterator[tuple[Component, Floats]]:
        """Each component with its condensed distances; :class:`UsageError` where some lack."""
        for slot, component in enumerate(self.group):
            if self.n_filled[slot] != component.n_distances:
                raise UsageError(
                    "tiles must hold every pair once, and NaN only for constant neurons; the "
                    f"{len(component.neurons)} neurons connected with neuron {component.neurons[0]} have "
                    f"{self.n_filled[slot]} of {component.n_distances} correlations"
                )
            yield component, self.distances[self.starts[slot] : self.starts[slot + 1]]


def same_group(groups: Ints, tile: Tile) -> tuple[Ints, Ints, Ints] | None:
    """The tile's pairs of one group: columns ordered by group, and where those of each row's group begin and end.

    ``groups`` (N,), −1 for none; None where the tile has no such pair. Costs its rows and columns, not its pairs.
    """
    rows, columns = groups[tile.rows.start : tile.rows.stop], groups[tile.columns.start : tile.columns.stop]
    order = np.argsort(columns, kind="stable")
    ordered = columns[order]
    first, last = np.searchsorted(ordered, rows, "left"), np.searchsorted(ordered, rows, "right")
    last = np.where(rows < 0, first, last)
    return (order, first, last) if (last > first).any() else None


@kernel
def _fill(
    values: NDArray[Any],
    row: int,
    column: int,
    is_diagonal: bool,
    signed: bool,
    matches: tuple[Ints, Ints, Ints],
    slots: Ints,
    places: Ints,
    starts: Ints,
    sizes: Ints,
    distances: Floats,
    n_filled: Ints,
) -> None:
    order, first, last = matches
    for a in range(len(first)):
        i, slot = places[row + a], slots[row + a]
        for k in range(first[a], last[a]):
            b = order[k]
            if is_diagonal and b <= a:
                continue
            d, j, m = 1.0 - similarity(values[a, b], signed), places[column + b], sizes[slot]
            if np.isnan(d):
                continue
            distances[starts[slot] + condensed_place(m, i, j)] = d
            n_filled[slot] += 1
