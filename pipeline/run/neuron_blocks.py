"""All neurons of one or several models in a row, cut into blocks: the rows and columns of tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.run.fold import NeuronTask
from pipeline.run.plan_record import Plan

Keep = Callable[[str, int], bool]


@dataclass(frozen=True)
class NeuronBlock:
    """Neurons of one member, as ranges of its layers one after the other."""

    member: int
    pieces: tuple[NeuronTask, ...]

    @property
    def n_neurons(self) -> int:
        """Neurons of all pieces."""
        return sum(len(piece.neurons) for piece in self.pieces)

    @property
    def identity(self) -> list[Any]:
        """For fingerprints."""
        return [self.member, *(piece.key for piece in self.pieces)]

    @property
    def layers(self) -> frozenset[tuple[str, int]]:
        """Components and layers it has neurons of."""
        return frozenset((piece.component, piece.layer) for piece in self.pieces)


def neuron_blocks(member: int, plan: Plan, keep: Keep, largest: int) -> list[NeuronBlock]:
    """The plan's neurons that ``keep(component, layer)`` wants, in blocks of like size and at most ``largest``."""
    ranges = [
        NeuronTask(component, layer, block.start, block.stop)
        for component, layer in plan.capture.targets
        if keep(component, layer)
        for block in plan.capture.blocks(component)
    ]
    total = sum(len(task.neurons) for task in ranges)
    n_blocks = -(-total // largest)
    edges = [total * number // n_blocks for number in range(n_blocks + 1)] if n_blocks else [0]
    starts = np.cumsum([0, *(len(task.neurons) for task in ranges)])
    blocks = []
    for first, stop in pairwise(edges):
        pieces = tuple(
            NeuronTask(
                task.component,
                task.layer,
                task.first + max(first - int(start), 0),
                min(task.stop, task.first + stop - int(start)),
            )
            for task, start in zip(ranges, starts, strict=False)
            if start < stop and start + len(task.neurons) > first
        )
        blocks.append(NeuronBlock(member, pieces))
    return blocks


@dataclass(frozen=True, eq=False)
class NeuronAxis:
    """The N neurons of all blocks: where each is, and the range of each block."""

    blocks: tuple[NeuronBlock, ...]

    @cached_property
    def ranges(self) -> list[range]:
        """Neurons of each block."""
        edges = np.cumsum([0, *(block.n_neurons for block in self.blocks)]).tolist()
        return [range(a, b) for a, b in pairwise(edges)]

    @property
    def n_neurons(self) -> int:
        """N."""
        return self.ranges[-1].stop if self.blocks else 0

    @cached_property
    def layers(self) -> list[tuple[int, str, int]]:
        """The distinct (member, component, layer) in order."""
        return list(dict.fromkeys((b.member, p.component, p.layer) for b in self.blocks for p in b.pieces))

    @cached_property
    def layer_of(self) -> npt.NDArray[np.int64]:
        """Number in :attr:`layers` of every neuron (N,)."""
        number = {layer: place for place, layer in enumerate(self.layers)}
        parts = [
            np.full(len(piece.neurons), number[block.member, piece.component, piece.layer])
            for block in self.blocks
            for piece in block.pieces
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    @cached_property
    def neuron(self) -> npt.NDArray[np.int32]:
        """Number of every neuron in its layer (N,)."""
        parts = [np.arange(p.first, p.stop, dtype=np.int32) for block in self.blocks for p in block.pieces]
        return np.concatenate([np.zeros(0, np.int32), *parts])

    def of_layer(self, layer: int) -> range:
        """The neurons of one of :attr:`layers`, which stand together."""
        found = np.flatnonzero(self.layer_of == layer)
        return range(int(found[0]), int(found[-1]) + 1)

    def of_member(self, member: int) -> range:
        """The neurons of one member, which stand together."""
        own = [r for r, block in zip(self.ranges, self.blocks, strict=True) if block.member == member]
        return range(own[0].start, own[-1].stop) if own else range(0)

    def columns(self, plans: Sequence[Plan], chosen: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Table columns ``model, component, layer, neuron`` of the chosen neurons."""
        layers = self.layer_of[chosen]
        return {
            "model": [plans[self.layers[number][0]].model for number in layers.tolist()],
            "component": [self.layers[number][1] for number in layers.tolist()],
            "layer": np.array([layer[2] for layer in self.layers], np.int32)[layers],
            "neuron": self.neuron[chosen],
        }
