"""The sections of a config that say what is computed from activations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.components import Component
from schemas.section import Section

Method = Literal["ap", "auroc", "iou", "best_iou", "mean_diff"]


class StatsConfig(Section):
    """Per-neuron statistics."""

    eps: Annotated[float, Field(ge=0)] = 0.0
    """A neuron with max |x| ≤ eps is dead."""


class SearchConfig(Section):
    """Neuron search: concept to ranked neurons."""

    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("ap", "auroc", "iou", "best_iou", "mean_diff")
    """Methods, by their names in METHODS."""
    keep: Annotated[int, Field(ge=1)] | Literal["all"] = 100
    """Best neurons kept per concept and method."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.005
    """`iou`: share of rows above the threshold."""
    round_to: Literal["float16", "bfloat16"] | None = None
    """Search a float32 store on values rounded to 16 bits; named in `params`."""
    min_positives: Annotated[int, Field(ge=1)] = 1
    """Leave out concepts with fewer positive rows."""
    concepts: tuple[str, ...] | None = None
    """Concepts to search for; all by default."""
    components: tuple[Component, ...] | None = None
    """Components to search; all that were dumped by default."""
    layers: tuple[int, ...] | None = None
    """Layers to search; all that were dumped by default."""


class ContextsConfig(Section):
    """Extreme rows per neuron."""

    k: Annotated[int, Field(ge=1)] = 10
    """Rows per tail."""
    window: Annotated[int, Field(ge=0)] = 5
    """Words on each side."""


class ReportConfig(Section):
    """The page."""

    path: str | None = None
    """Where to write it; by default `report.html` in the store."""
    title: str | None = None
    """Title; by default made from corpus and model."""
    neurons_per_concept: Annotated[int, Field(ge=1)] = 3
    """Neurons shown per concept."""
    contexts_per_neuron: Annotated[int, Field(ge=1)] = 5
    """Contexts shown per neuron."""
