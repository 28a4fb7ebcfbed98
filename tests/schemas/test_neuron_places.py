"""Places of neurons: every way to write the same neurons is one list."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.analysis_config import ContextsConfig
from schemas.neuron_places import place_pieces, place_texts


@given(
    neurons=st.sets(st.tuples(st.sampled_from(["mlp", "resid"]), st.integers(0, 3), st.integers(0, 12)), min_size=1),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_one_list_for_the_same_neurons(neurons, order):
    places = [f"{component}:{layer}:{neuron}" for component, layer, neuron in neurons]
    order.shuffle(places)
    pieces = place_pieces([*places, places[0]])
    again = {
        (c, layer, n) for (c, layer), of_layer in pieces.items() for first, stop in of_layer for n in range(first, stop)
    }
    assert again == neurons
    texts = place_texts(pieces)
    assert place_texts(place_pieces(texts)) == texts
    assert len(texts) <= len(neurons)


def test_layers_and_whole_layers():
    assert place_texts(place_pieces(["mlp:1-2:3", "mlp:2:4"])) == ("mlp:1:3", "mlp:2:3-4")
    assert place_texts(place_pieces(["attn:0-1", "attn:1:5"])) == ("attn:0", "attn:1")
    assert ContextsConfig(neurons=("mlp:2:4", "mlp:2:3")).canonical_neurons == ["mlp:2:3-4"]
    assert ContextsConfig().canonical_neurons == "all"


@pytest.mark.parametrize(
    "place", ["mlp", "mlp:", "mlp:1:", "mlp:x:1", "mlp:1:5-2", "MLP:1:1", "mlp:1:1:1", "", "mlp:-1:2"]
)
def test_what_is_no_place(place):
    with pytest.raises(ValueError, match=r"no place|ends before"):
        place_pieces([place])
    with pytest.raises(ValidationError):
        ContextsConfig(neurons=(place,))
    with pytest.raises(ValidationError):
        ContextsConfig(neurons=())
