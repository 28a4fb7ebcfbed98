"""The sweep by torch: counts equal to the bit, sums to rounding, on whatever device there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_search_oracles import columns, masks, state_of

from pipeline.search import CutRule, MethodScores
from pipeline.search.device_sweep import DeviceHistogram, device_cuts, device_sweep
from pipeline.search.search_states import score_block, score_sweeps
from pipeline.stats import LabelMatrix, encode_codes
from schemas.errors import UsageError

RULE = CutRule(0.05)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, this machine has none"),
        ],
    ),
]


def on_device(bits: np.ndarray, mask: np.ndarray, dtype: str, device: str) -> DeviceHistogram:
    state = DeviceHistogram(len(bits), mask.shape[1], dtype, device)
    for rows in np.array_split(np.arange(len(mask)), 3):
        state.update(encode_codes(bits[:, rows], dtype), LabelMatrix.from_dense(mask[rows]))
    return state


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_histograms_are_equal_to_the_bit(dtype: str, device: str) -> None:
    bits, mask = columns(dtype), masks()
    state, expected = on_device(bits, mask, dtype, device), state_of(bits, mask, dtype)
    np.testing.assert_array_equal(state.total.cpu().numpy(), expected.total)
    assert (state.n_rows, state.n_pos.tolist()) == (expected.n_rows, expected.n_pos.tolist())
    for concept in range(mask.shape[1]):
        np.testing.assert_array_equal(state.positives(concept).cpu().numpy(), expected.finalize(concept))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_scores_are_those_of_the_walk(dtype: str, device: str) -> None:
    """Also held out, on rows whose concepts are other ones."""
    bits, mask = columns(dtype), masks()
    test_bits, test_mask = bits[:, ::-1][:, :301].copy(), masks()[:301]
    train = device_sweep(on_device(bits, mask, dtype, device), _cuts(bits, mask, dtype, device))
    test = device_sweep(on_device(test_bits, test_mask, dtype, device), train.cuts)
    found = score_sweeps(train, test)
    expected = score_block(state_of(bits, mask, dtype), state_of(test_bits, test_mask, dtype), rule=RULE)
    np.testing.assert_allclose(found.p_value, expected.p_value, rtol=1e-9)
    for method, scores in expected.methods.items():
        _check(found.methods[method], scores)


def _cuts(bits: np.ndarray, mask: np.ndarray, dtype: str, device: str):
    return device_cuts(on_device(bits, mask, dtype, device), RULE)


def _check(found: MethodScores, expected: MethodScores) -> None:
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(found.sign, expected.sign)
    np.testing.assert_allclose(found.heldout, expected.heldout, rtol=1e-12, atol=1e-15)
    if expected.threshold is not None:
        np.testing.assert_array_equal(found.threshold, expected.threshold)


def test_no_rows_and_other_rows() -> None:
    state = DeviceHistogram(2, 3, "float16", "cpu")
    assert np.isnan(score_sweeps(device_sweep(state, device_cuts(state, RULE))).methods["ap"].score).all()
    with pytest.raises(UsageError, match="as many rows"):
        state.update(np.zeros((2, 4), np.uint16), LabelMatrix.from_dense(np.zeros((3, 3), bool)))
