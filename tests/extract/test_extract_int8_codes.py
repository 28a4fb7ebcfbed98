"""Activations in 8 bits: scales that keep every value a float16, and rounding against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.extract.int8_codes import HEADROOM, LARGEST_CODE, choose_scales, quantise

LARGEST = st.floats(0, 2.0**127, width=32, allow_subnormal=True)
SPECIAL = (0.0, 1e-45, 2.0**-24, 6e-8, 1e-3, 1.0, 101.6, 127.0, 65504.0, 3.4e38)


def codes_of(scales: np.ndarray) -> np.ndarray:
    return np.arange(-LARGEST_CODE, LARGEST_CODE + 1)[:, None] * scales.astype(np.float64)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(largest=arrays.arrays(np.float32, 5, elements=LARGEST | st.sampled_from(SPECIAL).map(np.float32)))
def test_scales(largest):
    scales = choose_scales(largest)
    assert scales.dtype == np.float32
    exact = codes_of(scales)
    np.testing.assert_array_equal(exact.astype(np.float16).astype(np.float64), exact)
    mantissa, _ = np.frexp(scales)
    assert ((mantissa * 16) % 1 == 0).all(), "more than 4 significant bits"
    assert ((scales >= 2.0**-24) & (scales <= 512)).all()
    in_range = (largest > 0) & (largest.astype(np.float64) * HEADROOM <= 127 * 512)
    assert (scales[in_range] * 127.0 >= largest[in_range].astype(np.float64) * HEADROOM).all()
    not_tiny = in_range & (largest >= 2e-4)
    assert (scales[not_tiny] * 127.0 <= largest[not_tiny].astype(np.float64) * HEADROOM * 1.1251).all(), "wastes range"
    if (largest == 0).any():
        assert set(scales[largest == 0].tolist()) == {float(scales[largest > 0].max()) if largest.any() else 1.0}


def round_half_even(x: float, scale: float) -> int:
    return round(Fraction(x) / Fraction(scale))  # Python rounds fractions to nearest, ties to even


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    values=arrays.arrays(
        np.float32, (6, 3), elements=st.floats(-70000, 70000, width=32) | st.sampled_from((0.0, -0.0))
    ),
    largest=arrays.arrays(np.float32, 3, elements=st.floats(0, 70000, width=32)),
)
def test_codes_equal_exact_rounding(values, largest):
    scales = choose_scales(largest)
    check(values, scales)


def test_ties_and_their_neighbours():
    scales = choose_scales(np.array([1.0, 1000.0, 0.002], np.float32))
    halves = (np.arange(-130, 130)[:, None] + 0.5) * scales
    for values in (halves, np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))):
        check(values.astype(np.float32), scales)


def check(values: np.ndarray, scales: np.ndarray) -> None:
    found = quantise(values, scales)
    codes = np.array(
        [[round_half_even(float(x), float(s)) for x, s in zip(row, scales, strict=True)] for row in values]
    )
    kept = np.clip(codes, -LARGEST_CODE, LARGEST_CODE) * scales.astype(np.float64)
    np.testing.assert_array_equal(found.bits.view(np.float16).astype(np.float64), kept)
    assert not (found.bits == 0x8000).any(), "a negative zero"
    np.testing.assert_array_equal(found.n_clipped, (np.abs(codes) > LARGEST_CODE).sum(0))
    np.testing.assert_allclose(found.total, (values.astype(np.float64) ** 2).sum(0), rtol=1e-12)
    np.testing.assert_allclose(found.lost, ((values - kept) ** 2).sum(0), rtol=1e-9, atol=1e-30)


@pytest.mark.parametrize("n_rows", [0, 1])
def test_few_rows(n_rows):
    found = quantise(np.ones((n_rows, 2), np.float32), np.array([0.5, 2.0], np.float32))
    assert found.bits.view(np.float16).tolist() == [[1.0, 0.0]] * n_rows
    assert found.lost.tolist() == [0.0, 1.0 * n_rows]


def test_values_larger_than_the_scale_allows():
    found = quantise(np.array([[3e38, -3e38, 65504.0]], np.float32), np.array([512.0, 512.0, 512.0], np.float32))
    assert found.bits.view(np.float16).tolist() == [[65024.0, -65024.0, 65024.0]]
    assert found.n_clipped.tolist() == [1, 1, 1]
