"""Components: the vectors of a layer that can be read, by name, and the config of those that a user defines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from schemas.section import Section

#: Name of a component: one of :data:`BUILT_IN`, one of these behind :data:`DECODER`, or one that the config defines.
Component = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]

#: Components that architectures have, in the order in which tables and views show them.
BUILT_IN = ("resid", "mlp", "attn", "head", "query", "key", "value")
#: In front of the components of an encoder–decoder's decoder.
DECODER = "decoder_"
#: Every component that some architecture has.
KNOWN = (*BUILT_IN, *(DECODER + name for name in (*BUILT_IN, "cross_attn", "cross_head")))


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


#: A range of layers, both ends included: ``"2-5"``. Four digits: a slip should not make a list that fills the memory.
LayerRange = Annotated[str, Field(pattern=r"^[0-9]{1,4}-[0-9]{1,4}$")]
_LAYER_RANGE = re.compile(r"([0-9]{1,4})-([0-9]{1,4})")


def _expand_ranges(value: Any) -> Any:
    """Ranges in a list of layers as their numbers; whatever else is there stays for the type to judge."""
    if not isinstance(value, list | tuple):
        return value
    layers: list[Any] = []
    for item in value:
        found = _LAYER_RANGE.fullmatch(item) if isinstance(item, str) else None
        if found is not None and int(found[2]) < int(found[1]):
            raise ValueError(f"{item!r} ends before it begins; write the smaller number first")
        if found is None and isinstance(item, str) and not item.isdecimal():
            raise ValueError(f"{item!r} is no number; give numbers and ranges such as 2-5")
        layers.extend([item] if found is None else range(int(found[1]), int(found[2]) + 1))
    return layers


#: Layers, or neurons: numbers, and ranges of them.
Numbers = Annotated[
    tuple[int, ...], BeforeValidator(_expand_ranges, json_schema_input_type=tuple[int | LayerRange, ...])
]
#: One neuron or a range of them, both ends included: ``"7"``, ``"0-511"``.
NeuronRange = Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^[0-9]{1,9}(-[0-9]{1,9})?$")]


class ModuleConfig(Section):
    """A component that is any module of the model, by its path."""

    name: Component
    """Name of the component; list it in `dump.components` too."""
    pattern: str
    """Path of the module as transformers names it, with `{layer}` for the block's number from 0 (block i gives layer
    i + 1); without `{layer}` it is one module, and its layer is 0."""
    at: Literal["output", "input"] = "output"
    """Which side of it: one vector per token, `(batch, length, N)` or `(batch · length, N)`."""


class SaeConfig(Section):
    """A component that is the latents of a sparse autoencoder, `activation((x − b_dec) · W_enc + b_enc)`."""

    name: Component
    """Name of the component; list it in `dump.components` too."""
    path: str
    """Safetensors file; `package:NAME/PATH` is a file of an installed package."""
    component: Component = "resid"
    """Component it reads, x; it need not be dumped itself."""
    layer: Annotated[int, Field(ge=0)]
    """Layer it reads, and the layer of its latents."""
    activation: Literal["relu", "topk", "jumprelu", "identity"] = "relu"
    """`topk` keeps the `k` largest after ReLU, `jumprelu` what exceeds `threshold`; all others are 0."""
    k: Annotated[int, Field(ge=1)] | None = None
    """Latents kept per token (`topk`)."""
    w_enc: str = "W_enc"
    """Tensor of the encoder's weights, (d, f) or (f, d); taken as (d, f) where d = f."""
    b_enc: str = "b_enc"
    """Tensor of the encoder's bias, (f,)."""
    b_dec: str = "b_dec"
    """Tensor of the decoder's bias, (d,)."""
    subtract_b_dec: bool = True
    """Subtract `b_dec` from x first, if the file has it."""
    threshold: str = "threshold"
    """Tensor of the thresholds, (f,) or one number (`jumprelu`)."""

    @model_validator(mode="after")
    def _k_goes_with_topk(self) -> SaeConfig:
        if (self.activation == "topk") != (self.k is not None):
            raise ValueError("`k` is needed with activation `topk` and with no other; add or drop it")
        return self


def neuron_pieces(ranges: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Ranges such as ``0-511`` as ``(first, stop)`` pairs, ascending, joined where they touch.

    Raises :class:`ValueError` for a range that ends before it begins.
    """
    found = []
    for text in ranges:
        low, _, high = text.partition("-")
        if int(high or low) < int(low):
            raise ValueError(f"{text!r} ends before it begins; write the smaller number first")
        found.append((int(low), int(high or low) + 1))
    pieces: list[tuple[int, int]] = []
    for first, stop in sorted(found):
        if pieces and first <= pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], max(stop, pieces[-1][1]))
        else:
            pieces.append((first, stop))
    return tuple(pieces)
