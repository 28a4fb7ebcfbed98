"""Stored values become centred floats in one pass over each neuron, as numpy would make them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.stats.cross_kernel import M2, MEAN, REST, SUM, centre, decode, decode_centred
from pipeline.stats.moments_kernel import BFLOAT16, FLOAT16, FLOATS

N, T = 5, 203


def stored(kind):
    """Values as they are stored, and as floats: subnormal, the largest, constant, far from 0, of all signs."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal((N, T)).astype(np.float32)
    values[1] = 3.5
    values[2] += 300
    values[3, :4] = [65504, -65504, 6e-8, -0.0]
    values[4] *= 1e-7
    if kind == FLOAT16:
        halves = values.astype(np.float16)
        return halves.view(np.uint16), halves.astype(np.float32)
    if kind == BFLOAT16:
        bits = (values.view(np.uint32) >> 16).astype(np.uint16)
        return bits, (bits.astype(np.uint32) << 16).view(np.float32)
    return values, values


def chosen(name):
    rows = np.flatnonzero(np.arange(T) % 7 > 1)
    return {"some": rows, "one": rows[:1], "shuffled": np.random.default_rng(2).permutation(rows)}[name]


@pytest.mark.parametrize("kind", [FLOATS, FLOAT16, BFLOAT16])
@pytest.mark.parametrize("name", ["some", "one", "shuffled"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_decoded_and_centred_as_by_numpy(kind, name, dtype):
    bits, floats = stored(kind)
    rows = chosen(name)
    decoded = np.full((N, T), 7, dtype)
    decode(0, N, bits, kind, rows, decoded)
    np.testing.assert_array_equal(decoded[:, : len(rows)], floats[:, rows])
    assert (decoded[:, len(rows) :] == 7).all()

    both, facts = np.full((N, T), 7, dtype), np.empty((N, 4))
    decode_centred(0, N, bits, kind, rows, both, facts)
    wide = floats[:, rows].astype(np.float64)
    mean = wide.mean(axis=1)
    np.testing.assert_allclose(facts[:, MEAN], mean, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(facts[:, SUM], wide.sum(axis=1), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(facts[:, REST], facts[:, MEAN] - facts[:, MEAN].astype(dtype))
    np.testing.assert_allclose(facts[:, M2], ((wide - mean[:, None]) ** 2).sum(axis=1), rtol=2e-6, atol=1e-20)
    scale = np.abs(wide).max(axis=1, keepdims=True) + 1e-30
    np.testing.assert_allclose(both[:, : len(rows)] / scale, (wide - mean[:, None]) / scale, atol=2e-7)
    assert (both[1, : len(rows)] == 0).all()
    assert facts[1, M2] == 0
    assert (both[:, len(rows) :] == 7).all()

    alone, facts_alone = decoded.copy(), np.empty((N, 4))
    centre(0, N, len(rows), decoded, alone, facts_alone)
    np.testing.assert_array_equal(alone, both)
    np.testing.assert_array_equal(facts_alone, facts)
