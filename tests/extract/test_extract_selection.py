"""Which values a sparse dump keeps: against a sort in plain Python, on values made to be awkward."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.extract import selection
from pipeline.extract.selection import Selected, above, select, top_k
from pipeline.extract.storage_dtype import stored_values

#: Both zeros, subnormals, the smallest normal, the largest, and values that tie in magnitude.
NASTY = {
    "float16": (0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF),
    "bfloat16": (0x0000, 0x8000, 0x0001, 0x8001, 0x007F, 0x0080, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F),
    "float32": (0.0, -0.0, 1e-45, -1e-45, 1.1754944e-38, 1.0, -1.0, 65504.0, -65504.0, 3.4028235e38),
}


@st.composite
def layers(draw: st.DrawFn) -> tuple[np.ndarray, str]:
    dtype = draw(st.sampled_from(sorted(NASTY)))
    shape = (draw(st.integers(0, 12)), draw(st.integers(1, 9)))
    kind = np.float32 if dtype == "float32" else np.uint16
    return draw(arrays.arrays(kind, shape, elements=st.sampled_from(NASTY[dtype]))), dtype


def densified(found: Selected, shape: tuple[int, ...]) -> np.ndarray:
    dense = np.zeros(shape, found.values.dtype)
    dense[found.row, found.neuron] = found.values
    return dense


def largest_in_plain_python(row: list[float], k: int) -> set[int]:
    order = sorted(range(len(row)), key=lambda neuron: (-abs(row[neuron]), neuron))
    return {neuron for neuron in order[:k] if row[neuron] != 0}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(layer=layers(), k=st.integers(1, 11))
def test_top_k_is_a_sort_by_magnitude_then_neuron(layer, k):
    values, dtype = layer
    floats = stored_values(values, dtype).astype(np.float64)
    found = select(values, top_k(k), dtype)
    kept = [largest_in_plain_python(row, k) for row in floats.tolist()]
    assert list(zip(found.row.tolist(), found.neuron.tolist(), strict=True)) == [
        (row, neuron) for row, chosen in enumerate(kept) for neuron in sorted(chosen)
    ]
    check_sums(found, values, floats)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(layer=layers(), threshold=st.sampled_from([0.0, 1e-46, 3e-5, 0.999, 1.0, 1.0001, 65503.9, 65504.0, 1e39, 1e300]))
def test_threshold_is_strict(layer, threshold):
    values, dtype = layer
    floats = stored_values(values, dtype).astype(np.float64)
    found = select(values, above(threshold, dtype), dtype)
    rows, neurons = np.nonzero(np.abs(floats) > threshold)
    assert found.row.tolist() == rows.tolist()
    assert found.neuron.tolist() == neurons.tolist()
    check_sums(found, values, floats)


def check_sums(found: Selected, values: np.ndarray, floats: np.ndarray) -> None:
    np.testing.assert_array_equal(found.values, values[found.row, found.neuron])
    left = floats.copy()
    left[found.row, found.neuron] = 0
    np.testing.assert_allclose(found.total, (floats**2).sum(0), rtol=1e-12)
    np.testing.assert_allclose(found.lost, (left**2).sum(0), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("code", [0x0000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0x7B00])
def test_a_threshold_between_two_values_and_on_one(dtype, code):
    bits = np.array([[code, code + 1]], np.uint16)
    low, high = (float(value) for value in stored_values(bits, dtype)[0])
    for threshold, n_kept in ((low, 1), ((low + high) / 2, 1), (high, 0)):
        assert len(select(bits, above(threshold, dtype), dtype).row) == n_kept, threshold


def test_rows_are_looked_at_in_pieces(monkeypatch):
    values = np.random.default_rng(0).integers(0, 6, (50, 7)).astype(np.float16).view(np.uint16)
    whole = select(values, top_k(3), "float16")
    monkeypatch.setattr(selection, "_CHUNK", 20)
    pieces = select(values, top_k(3), "float16")
    np.testing.assert_array_equal(densified(pieces, values.shape), densified(whole, values.shape))
    np.testing.assert_array_equal(pieces.row, whole.row)


def test_a_part_of_a_wider_layer():
    values = np.random.default_rng(0).standard_normal((20, 12)).astype(np.float32)
    part = values[:, 3:9]
    found = select(part, top_k(2), "float32")
    np.testing.assert_array_equal(found.row, select(part.copy(), top_k(2), "float32").row)
