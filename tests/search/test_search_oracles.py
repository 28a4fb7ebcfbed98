"""Scores, signs and thresholds equal scikit-learn's, scipy's and the definitions, through states and arrays alike."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score

from pipeline import search
from pipeline.stats import ConceptHistogram, ConceptMoments, LabelMatrix, bits_to_float32, encode_codes, round_to_bits
from pipeline.stats import concept_histogram as concept_histogram_module

ALPHA = 0.05
METHODS = ("ap", "auroc", "iou", "best_iou", "mean_diff")
ARRAY_METHODS = {
    "ap": search.average_precision,
    "auroc": search.auroc,
    "iou": lambda x, y: search.iou(x, y, alpha=ALPHA),
    "best_iou": search.best_iou,
    "mean_diff": search.mean_diff,
}


def overlap(predicted: np.ndarray, mask: np.ndarray) -> float:
    return float((predicted & mask).sum() / max((predicted | mask).sum(), 1))


def best_overlap(x: np.ndarray, mask: np.ndarray) -> float:
    return max(overlap(x >= threshold, mask) for threshold in np.unique(x))


ONE_SIDED = {
    "ap": lambda x, y: average_precision_score(y, x),
    "auroc": lambda x, y: roc_auc_score(y, x),
    "iou": lambda x, y: jaccard_score(y, x > np.quantile(x, 1 - ALPHA), zero_division=0),
    "best_iou": best_overlap,
    "mean_diff": lambda x, y: x[y].mean() - x[~y].mean(),
}


def columns(dtype: str, n_rows: int = 400) -> np.ndarray:
    random = np.random.default_rng(0)
    normal = random.standard_normal((9, n_rows)).astype(np.float32)
    normal[1] = np.maximum(normal[1], 0)
    normal[2] = 0.1
    normal[3] = np.where(normal[3] > 0, 0.0, -0.0)
    normal[4] = np.round(normal[4])
    normal[5] = -np.exp(normal[5] * 3)
    normal[6] += 1000
    normal[7] *= 1e-7
    normal[8] = np.where(np.arange(n_rows) == 5, 60000, -60000)
    return round_to_bits(normal, dtype)


def masks(n_rows: int = 400) -> np.ndarray:
    random = np.random.default_rng(1)
    mask = random.random((n_rows, 7)) < [0, 0, 0.02, 0.3, 0.95, 1, 1]
    mask[11, 1] = True  # one positive
    mask[11, 6] = False  # one negative
    return mask


def state_of(bits: np.ndarray, mask: np.ndarray, dtype: str) -> ConceptHistogram:
    state = ConceptHistogram.empty(len(bits), mask.shape[1], dtype)
    for rows in np.array_split(np.arange(len(mask)), 3):
        state.update(encode_codes(bits[:, rows], dtype), LabelMatrix.from_dense(mask[rows]))
    return state


def check(scores: search.MethodScores, method: str, x: np.ndarray, mask: np.ndarray, tolerance: float = 1e-9) -> None:
    for neuron, concept in np.ndindex(scores.score.shape):
        y, score, sign = mask[:, concept], scores.score[neuron, concept], scores.sign[neuron, concept]
        if y.all() or not y.any():
            assert np.isnan(score)
            assert sign == 1
            assert scores.threshold is None or np.isnan(scores.threshold[neuron, concept])
            continue
        both = {side: ONE_SIDED[method](side * x[neuron], y) for side in (1, -1)}
        scale = max(1.0, float(np.abs(x[neuron]).max()))
        assert score == pytest.approx(max(both.values()), rel=tolerance, abs=tolerance * scale)
        assert score == pytest.approx(both[sign], rel=tolerance, abs=tolerance * scale)
        if abs(both[1] - both[-1]) <= 1e-14 and method != "mean_diff":  # a mean of 0 has the sign of its rounding
            assert sign == 1
        if scores.threshold is not None:
            threshold = scores.threshold[neuron, concept]
            predicted = sign * x[neuron] > sign * threshold if method == "iou" else sign * x[neuron] >= sign * threshold
            assert overlap(predicted, y) == pytest.approx(score)


@pytest.mark.parametrize("dense_from", [30, concept_histogram_module.DENSE_FROM])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_states(dtype, dense_from, monkeypatch):
    monkeypatch.setattr(concept_histogram_module, "DENSE_FROM", dense_from)
    bits, mask = columns(dtype), masks()
    x = bits_to_float32(bits, dtype).astype(np.float64)
    block = search.score_block(state_of(bits, mask, dtype), alpha=ALPHA, threads=2)
    assert tuple(block.methods) == METHODS
    for method, scores in block.methods.items():
        check(scores, method, x, mask)
    np.testing.assert_array_equal(block.base_rate, mask.mean(axis=0))


@pytest.mark.parametrize("method", METHODS)
def test_arrays_equal_states(method):
    bits, mask = columns("float16"), masks()
    x = bits_to_float32(bits, "float16")
    states = search.score_block(state_of(bits, mask, "float16"), methods=[method], alpha=ALPHA).methods[method]
    forms: list[Any] = [mask, mask.astype(float), scipy.sparse.csr_matrix(mask), scipy.sparse.coo_array(mask)]
    for form in forms:
        arrays = ARRAY_METHODS[method](x.T, form)
        np.testing.assert_allclose(arrays.score, states.score, rtol=1e-12)
        np.testing.assert_array_equal(arrays.sign, states.sign)
        if states.threshold is not None:
            np.testing.assert_array_equal(arrays.threshold, states.threshold)


@pytest.mark.parametrize("method", METHODS)
@given(
    x=hnp.arrays(
        np.float64,
        st.shared(st.integers(1, 25), key="rows"),
        elements=st.one_of(st.sampled_from([-1.0, -0.0, 0.0, 1.0, 0.5]), st.floats(-1e6, 1e6)),
    ),
    y=hnp.arrays(bool, st.shared(st.integers(1, 25), key="rows")),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_arrays_of_any_floats(method, x, y):
    check(ARRAY_METHODS[method](x, y), method, x[None], y[:, None])


def test_a_perfect_negative_detector_is_found():
    y = np.arange(100) < 10
    x = np.where(y, -5.0, 1.0)
    for method in set(METHODS) - {"iou"}:  # nothing lies beyond the quantile of two values
        assert ARRAY_METHODS[method](x, y).sign[0, 0] == -1
    assert search.average_precision(x, y).score[0, 0] == 1
    assert search.best_iou(x, y).score[0, 0] == 1
    assert search.best_iou(x, y).threshold[0, 0] == -5
    assert search.mean_diff(x, y).score[0, 0] == pytest.approx(6)


def test_a_constant_neuron():
    y = np.arange(100) < 10
    x = np.full(100, 0.1)
    assert search.average_precision(x, y).score[0, 0] == pytest.approx(0.1)
    assert search.auroc(x, y).score[0, 0] == 0.5
    assert search.iou(x, y).score[0, 0] == 0
    assert search.best_iou(x, y).score[0, 0] == pytest.approx(0.1)
    assert search.mean_diff(x, y).score[0, 0] == 0
    assert {int(ARRAY_METHODS[method](x, y).sign[0, 0]) for method in METHODS} == {1}


def test_of_equally_good_thresholds_the_stricter_one():
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, False, True])  # x >= 4: 1/2; x >= 1: 2/4
    scores = search.best_iou(x, y)
    assert (scores.score[0, 0], scores.sign[0, 0], scores.threshold[0, 0]) == (0.5, 1, 4.0)
    scores = search.best_iou(-x, y)
    assert (scores.sign[0, 0], scores.threshold[0, 0]) == (1, -1.0)


def test_more_rows_than_an_int32_counts():
    """A state of T > 2^31 rows: counts scaled by 2^30 leave AP, AUROC and the best IoU as they are."""
    bits, mask = columns("float16"), masks()
    small = state_of(bits, mask, "float16")
    scale = 1 << 30
    dense = {c: small.finalize(c) * scale for c in range(mask.shape[1])}
    large = ConceptHistogram(
        "float16", small.n_rows * scale, small.n_pos * scale, small.total * scale, small.sparse, [], dense
    )
    assert large.n_rows > 2**38
    expected, found = search.score_block(small), search.score_block(large)
    for method in ("ap", "auroc", "best_iou", "mean_diff"):
        scores = found.methods[method]
        np.testing.assert_allclose(scores.score, expected.methods[method].score, rtol=1e-9, err_msg=method)
        np.testing.assert_array_equal(scores.sign, expected.methods[method].sign)


def test_threads_never_change_a_bit():
    state = state_of(columns("float16"), masks(), "float16")
    one, four = search.score_block(state), search.score_block(state, threads=4)
    for method in METHODS:
        np.testing.assert_array_equal(one.methods[method].score, four.methods[method].score)
    np.testing.assert_array_equal(one.p_value, four.p_value)


def test_mean_difference_of_unrounded_values():
    random = np.random.default_rng(0)
    values = random.standard_normal((3, 300)).astype(np.float32)
    mask = random.random((300, 2)) < 0.3
    labels = LabelMatrix.from_dense(mask)
    histogram = state_of(round_to_bits(values, "bfloat16"), mask, "bfloat16")
    moments = ConceptMoments.empty(3, 2).update(values, labels)
    block = search.score_block(histogram, train_moments=moments, test=histogram, test_moments=moments)
    check(block.methods["mean_diff"], "mean_diff", values.astype(np.float64), mask)
    signed = block.methods["mean_diff"].sign * block.methods["mean_diff"].score
    np.testing.assert_allclose(np.abs(block.methods["mean_diff"].heldout), np.abs(signed))
