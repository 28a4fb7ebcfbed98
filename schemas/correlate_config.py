"""The section of a config that compares a model's neurons with those of other models, and with numbers of words."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field

from schemas.components import Component, Numbers
from schemas.products_config import OfProducts

CorrelationMethod = Literal["maxcorr", "mincorr", "linreg", "svcca", "pwcca", "cka"]
#: Every method of a search across models.
CORRELATION_METHODS: tuple[CorrelationMethod, ...] = get_args(CorrelationMethod)


class CorrelateConfig(OfProducts):
    """Search across models: which neurons and layers other models have too, and what of words neurons go with."""

    model_config = ConfigDict(serialize_by_alias=True)

    with_models: tuple[str, ...] = Field(default=(), alias="with")
    """Other models: an alias in the same store (the model's own too), the path or URL of another store, or
    `PATH::ALIAS` where that holds several models."""
    columns: tuple[str, ...] = ()
    """Numbers of words to correlate each neuron with: `length`, `position`, `frequency`, or a label layer whose values
    are numbers."""
    methods: Annotated[tuple[CorrelationMethod, ...], Field(min_length=1)] = CORRELATION_METHODS
    """Methods, by their names in METHODS; `cka` is of layers only."""
    components: tuple[Component, ...] | None = None
    """Components to compare, of all models; all that were dumped by default."""
    layers: Numbers | None = None
    """Layers to compare, such as `[0, 2-5]`, of all models; all that were dumped by default."""
    with_layers: Numbers | None = None
    """Layers of the other models, where they are others than `layers`."""
    ridge: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """`linreg`: share of the other model's mean variance that is added to each of its neurons."""
    precision: Literal["float32", "float64"] = "float64"
    """Of the products of activations. `float32` is faster, and rough for `linreg`, `svcca` and `pwcca`, which it
    makes leave out directions with little variance."""
    null: Annotated[int, Field(ge=0)] = 0
    """Seed of the order of rows that every figure has its null from."""
    memory_mb: Annotated[int, Field(ge=16)] = 4096
    """Memory for the largest matrix at work: of all neurons of another model with `linreg`, of a layer otherwise."""
