"""Neurons named by their place: ``mlp:3:63``, ``resid:2:10-12``, ``attn:0-5`` (all neurons of layers 0 to 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from schemas.components import neuron_pieces

_PLACE = r"^([a-z][a-z0-9_]{0,40}):([0-9]{1,4}(?:-[0-9]{1,4})?)(?::([0-9]{1,9}(?:-[0-9]{1,9})?))?$"

#: ``component:layer:neuron``; layer and neuron may be ranges with both ends included, no neuron means all.
NeuronPlace = Annotated[str, Field(pattern=_PLACE)]

#: Piece of a layer whose neurons are all meant: no layer is as wide.
WHOLE = (0, 10**9)

#: (first, stop) pairs, ascending with gaps between, per component and layer.
Pieces = dict[tuple[str, int], tuple[tuple[int, int], ...]]


def place_pieces(places: Iterable[str]) -> Pieces:
    """The neurons of these places, each once, by component and layer.

    Raises :class:`ValueError` for a place of another form, and for a range that ends before it begins.
    """
    ranges: dict[tuple[str, int], list[str]] = {}
    for place in places:
        match = re.fullmatch(_PLACE, place)
        if match is None:
            raise ValueError(f"{place!r} is no place of neurons; write component:layer:neuron, such as mlp:3:63")
        component, layers, neurons = match.groups()
        ((first, stop),) = neuron_pieces([layers])
        for layer in range(first, stop):
            ranges.setdefault((component, layer), []).append(neurons or f"{WHOLE[0]}-{WHOLE[1] - 1}")
    return {where: neuron_pieces(texts) for where, texts in sorted(ranges.items())}


def place_texts(pieces: Pieces) -> tuple[str, ...]:
    """The shortest places of these neurons, in order: equal for equal neurons."""
    return tuple(
        f"{component}:{layer}" + ("" if piece == WHOLE else f":{_range_text(*piece)}")
        for (component, layer), of_layer in sorted(pieces.items())
        for piece in of_layer
    )


def _range_text(first: int, stop: int) -> str:
    return str(first) if stop == first + 1 else f"{first}-{stop - 1}"
