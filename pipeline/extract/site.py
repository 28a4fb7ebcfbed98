"""A site: where in a model one component is read during a forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn


@dataclass(frozen=True)
class FusedPart:
    """Columns of a projection that makes query, key and value at once.

    Of each of ``groups`` equal groups of columns, those from ``first`` to ``stop`` − 1. One group where all queries
    come first (GPT-2), one per key/value head where they are interleaved (GPT-NeoX).
    """

    groups: int
    first: int
    stop: int

    @property
    def width(self) -> int:
        """Columns of the part."""
        return self.groups * (self.stop - self.first)

    def __call__(self, fused: torch.Tensor) -> torch.Tensor:
        """(…, columns of all parts) → (…, :attr:`width`)."""
        grouped = fused.reshape(*fused.shape[:-1], self.groups, -1)
        return grouped[..., self.first : self.stop].flatten(-2)


@dataclass(frozen=True)
class Site:
    """Where one component is read.

    ``modules``: distinct modules; ``layers``: the layer of the first, second, … call of any of them in a forward pass
    (ALBERT calls one module for all layers); ``at``: the side of the module; ``width``: neurons, None where only a run
    tells; ``part``: what to take of a fused projection.
    """

    component: str
    modules: tuple[nn.Module, ...]
    layers: tuple[int, ...]
    at: Literal["input", "output"]
    width: int | None
    part: FusedPart | None = None

    def read(self, given: Any) -> torch.Tensor:
        """The component in what the module took (``at`` input) or gave (output)."""
        # MPNet and BLOOM return a tuple, most others the bare tensor
        tensor: torch.Tensor = given if torch.is_tensor(given) else given[0]
        return tensor if self.part is None else self.part(tensor)


def first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A module's first argument, however it was passed."""
    return args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
