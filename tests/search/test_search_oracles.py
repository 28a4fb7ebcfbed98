"""Scores, signs and thresholds equal scikit-learn's, scipy's and the definitions, through states and arrays alike."""

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, mutual_info_score, roc_auc_score

from pipeline import search
from pipeline.search.mean_methods import MEAN_METHODS
from pipeline.search.sweep import CutRule
from pipeline.stats import ConceptHistogram, ConceptMoments, LabelMatrix, bits_to_float32, encode_codes, round_to_bits
from pipeline.stats import concept_histogram as concept_histogram_module
from pipeline.stats.concept_moments import ROUNDING

ALPHA = 0.05
RULE = CutRule(ALPHA)
TOLERANCE = 1e-9
ARRAY_METHODS = {
    "ap": search.average_precision,
    "auroc": search.auroc,
    "iou": lambda x, y: search.iou(x, y, alpha=ALPHA),
    "best_iou": search.best_iou,
    "f1": search.f1,
    "mi": search.mutual_information,
    "mean_diff": search.mean_diff,
    "probeless": lambda x, y: search.probeless(x, y, are_classes=False),
    "selectivity": search.selectivity,
    "cohen_d": search.cohen_d,
    "welch_t": search.welch_t,
    "pearson": search.pearson,
}
METHODS = tuple(ARRAY_METHODS)
UNSIGNED = ("mi", "probeless")


def overlap(predicted: np.ndarray, mask: np.ndarray) -> float:
    return float((predicted & mask).sum() / max((predicted | mask).sum(), 1))


def best_overlap(x: np.ndarray, mask: np.ndarray) -> float:
    return max(overlap(x >= threshold, mask) for threshold in np.unique(x))


ONE_SIDED = {
    "ap": lambda x, y: average_precision_score(y, x),
    "auroc": lambda x, y: roc_auc_score(y, x),
    "iou": lambda x, y: jaccard_score(y, x > np.quantile(x, 1 - ALPHA), zero_division=0),
    "best_iou": best_overlap,
    "f1": lambda x, y: max(2 * (x >= v)[y].sum() / ((x >= v).sum() + y.sum()) for v in np.unique(x)),
}


def difference(x: np.ndarray, y: np.ndarray) -> float:
    return float(x[y].mean() - x[~y].mean())


def cohen_d(x: np.ndarray, y: np.ndarray) -> float:
    within = ((x[y] - x[y].mean()) ** 2).sum() + ((x[~y] - x[~y].mean()) ** 2).sum()
    return float(difference(x, y) / np.sqrt(within / (len(x) - 2)))


def information(x: np.ndarray, y: np.ndarray) -> float:
    bins = np.digitize(x, np.quantile(x, np.arange(1, 10) / 10))
    return float(mutual_info_score(bins, y) / scipy.stats.entropy([y.mean(), 1 - y.mean()]))


def welch(x: np.ndarray, y: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one side is constant
        return scipy.stats.ttest_ind(x[y], x[~y], equal_var=False)


ONE_SIDED |= {
    "mi": information,
    "mean_diff": difference,
    "probeless": lambda x, y: abs(difference(x, y)),
    "selectivity": lambda x, y: difference(x, y) / np.ptp(x),
    "cohen_d": cohen_d,
    "welch_t": lambda x, y: float(welch(x, y).statistic),
    "pearson": lambda x, y: float(scipy.stats.pearsonr(x, y.astype(float)).statistic),
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


def moments_of(bits: np.ndarray, mask: np.ndarray, dtype: str) -> ConceptMoments:
    state = ConceptMoments.empty(len(bits), mask.shape[1])
    for rows in np.array_split(np.arange(len(mask)), 3):
        state.update(bits_to_float32(bits[:, rows], dtype), LabelMatrix.from_dense(mask[rows]))
    return state


def one_sided(method: str, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The definition's score of x, NaN where it is undefined, and the tolerance that float64 leaves for it."""
    if method in ("selectivity", "cohen_d", "welch_t", "pearson") and np.ptp(x) == 0:
        return np.nan, 0
    if method not in ("cohen_d", "welch_t"):
        return ONE_SIDED[method](x, y), TOLERANCE
    if len(x) < 3 or (method == "welch_t" and min(y.sum(), (~y).sum()) < 2):
        return np.nan, 0
    within = sum(((side - side.mean()) ** 2).sum() for side in (x[y], x[~y]))
    share = within / ((x - x.mean()) ** 2).sum()
    if share <= ROUNDING:
        return np.sign(difference(x, y)) * np.inf, 0
    return ONE_SIDED[method](x, y), max(TOLERANCE, 1e-14 / share)


def check(scores: search.MethodScores, method: str, x: np.ndarray, mask: np.ndarray) -> None:
    for neuron, concept in np.ndindex(scores.score.shape):
        y, score, sign = mask[:, concept], scores.score[neuron, concept], scores.sign[neuron, concept]
        (up, tolerance), (down, _) = (one_sided(method, side * x[neuron], y) if not one_class(y) else (np.nan, 0)
                                      for side in (1, -1))  # fmt: skip
        if np.isnan(up):
            assert np.isnan(score)
            assert sign == 1
            assert scores.threshold is None or np.isnan(scores.threshold[neuron, concept])
            continue
        if method in UNSIGNED:
            down = up
        both, scale = {1: up, -1: down}, max(1.0, float(np.abs(x[neuron]).max()))
        assert score == pytest.approx(max(up, down), rel=tolerance, abs=tolerance * scale)
        assert score == pytest.approx(both[sign], rel=tolerance, abs=tolerance * scale)
        if abs(up - down) <= 1e-14 and method not in MEAN_METHODS:  # a mean of 0 has the sign of its rounding
            assert sign == 1
        if scores.threshold is not None:
            threshold = scores.threshold[neuron, concept]
            predicted = sign * x[neuron] > sign * threshold if method == "iou" else sign * x[neuron] >= sign * threshold
            found = f1_score(y, predicted) if method == "f1" else overlap(predicted, y)
            assert found == pytest.approx(score)


def one_class(y: np.ndarray) -> bool:
    return bool(y.all() or not y.any())


def scored(bits: np.ndarray, mask: np.ndarray, dtype: str) -> dict[str, search.MethodScores]:
    """Every method on states."""
    means = search.score_means(moments_of(bits, mask, dtype))
    return search.score_block(state_of(bits, mask, dtype), rule=RULE, threads=2).methods | means.methods


@pytest.mark.parametrize("dense_from", [30, concept_histogram_module.DENSE_FROM])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_states(dtype, dense_from, monkeypatch):
    monkeypatch.setattr(concept_histogram_module, "DENSE_FROM", dense_from)
    bits, mask = columns(dtype), masks()
    x = bits_to_float32(bits, dtype).astype(np.float64)
    found = scored(bits, mask, dtype)
    assert set(found) == set(METHODS) == set(search.METHODS)
    for method, scores in found.items():
        check(scores, method, x, mask)
    np.testing.assert_array_equal(search.score_block(state_of(bits, mask, dtype)).base_rate, mask.mean(axis=0))


@pytest.mark.parametrize("method", METHODS)
def test_arrays_equal_states(method):
    bits, mask = columns("float16"), masks()
    x = bits_to_float32(bits, "float16")
    states = scored(bits, mask, "float16")[method]
    forms: list[Any] = [mask, mask.astype(float), scipy.sparse.csr_matrix(mask), scipy.sparse.coo_array(mask)]
    for form in forms:
        arrays = ARRAY_METHODS[method](x.T, form)
        np.testing.assert_allclose(arrays.score, states.score, rtol=1e-9 if method in MEAN_METHODS else 1e-12)
        np.testing.assert_array_equal(arrays.sign, states.sign)
        if states.threshold is not None:
            np.testing.assert_array_equal(arrays.threshold, states.threshold)


def columns_of(floats: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    few = st.sampled_from([-1.0, -0.0, 0.0, 1.0, 0.5])
    return hnp.arrays(np.float64, st.shared(st.integers(1, 25), key="rows"), elements=st.one_of(few, floats))


MASKS = hnp.arrays(bool, st.shared(st.integers(1, 25), key="rows"))


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(MEAN_METHODS)))
@given(x=columns_of(st.floats(-1e6, 1e6)), y=MASKS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_thresholds_on_arrays_of_any_floats(method, x, y):
    check(ARRAY_METHODS[method](x, y), method, x[None], y[:, None])


@pytest.mark.parametrize("method", MEAN_METHODS)
@given(x=columns_of(st.floats(-1e6, 1e6).map(lambda x: x if abs(x) > 1e-9 else 0.0)), y=MASKS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_means_on_arrays_of_floats_whose_squares_do_not_vanish(method, x, y):
    check(ARRAY_METHODS[method](x, y), method, x[None], y[:, None])


def test_a_perfect_negative_detector_is_found():
    y = np.arange(100) < 10
    x = np.where(y, -5.0, 1.0)
    for method in set(METHODS) - {"iou", *UNSIGNED}:  # nothing lies beyond the quantile of two values
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
    for method in ("ap", "auroc", "best_iou", "f1", "mi"):
        scores = found.methods[method]
        np.testing.assert_allclose(scores.score, expected.methods[method].score, rtol=1e-9, err_msg=method)
        np.testing.assert_array_equal(scores.sign, expected.methods[method].sign)


def test_threads_never_change_a_bit():
    histogram, bits, mask = state_of(columns("float16"), masks(), "float16"), columns("float16"), masks()
    one, four = search.score_block(histogram), search.score_block(histogram, threads=4)
    values, labels = bits_to_float32(bits, "float16"), LabelMatrix.from_dense(mask)
    means = [search.score_means(ConceptMoments.empty(len(bits), 7).update(values, labels, n)) for n in (1, 4)]
    for first, second in ((one, four), means):
        for method in first.methods:
            np.testing.assert_array_equal(first.methods[method].score, second.methods[method].score)
        np.testing.assert_array_equal(first.p_value, second.p_value)


def test_probeless_of_the_classes_of_a_layer():
    """Two layers of three and two classes, and a concept of neither."""
    random = np.random.default_rng(0)
    x, first, second = random.standard_normal((300, 4)), random.integers(0, 3, 300), random.integers(0, 2, 300)
    masks = np.stack([first == 0, second == 0, first == 1, x[:, 0] > 1, second == 1, first == 2], axis=1)
    labels = LabelMatrix.from_dense(masks)
    state = ConceptMoments.empty(4, 6).update(np.ascontiguousarray(x.T), labels)
    found = search.score_means(state, layers=np.array([0, 1, 0, -1, 1, 0])).methods["probeless"]
    q = np.array([[x[mask, n].mean() for mask in masks.T] for n in range(4)])
    for concept, others in ((0, [2, 5]), (1, [4]), (2, [0, 5]), (4, [1]), (5, [0, 2])):
        expected = sum(np.abs(q[:, concept] - q[:, other]) for other in others)
        np.testing.assert_allclose(found.score[:, concept], expected, rtol=1e-9)
    np.testing.assert_allclose(found.score[:, 3], search.mean_diff(x, masks[:, 3]).score[:, 0])
    assert (found.sign == 1).all()
    of_arrays = search.probeless(x, masks[:, [0, 2, 5]]).score
    np.testing.assert_allclose(of_arrays, found.score[:, [0, 2, 5]])


def test_iou_at_a_threshold():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((200, 3)), random.random(200) < 0.3
    x[:, 1] -= 2 * y
    found = search.iou(x, y, threshold=0.5)
    for neuron in range(3):
        both = [overlap(side * x[:, neuron] > 0.5, y) for side in (1, -1)]
        assert found.score[neuron, 0] == max(both)
        assert found.threshold[neuron, 0] == (0.5 if found.sign[neuron, 0] == 1 else -0.5)
    assert found.sign[1, 0] == -1


def test_a_perfect_detector_of_two_values_is_infinitely_far():
    y = np.arange(90) < 30
    for x in (np.where(y, 0.1, 0.3), np.where(y, 0.3, 0.1)):
        for method in (search.cohen_d, search.welch_t):
            scores = method(x, y)
            assert (scores.score[0, 0], scores.sign[0, 0]) == (np.inf, 1 if x[0] > x[-1] else -1)
    labels = LabelMatrix.from_dense(y[:, None])
    assert search.score_means(ConceptMoments.empty(1, 1).update(x[None], labels)).p_value[0, 0] == 0


def test_p_values_of_means_are_those_of_scipy():
    bits, mask = columns("float16"), masks()
    x = bits_to_float32(bits, "float16").astype(np.float64)
    found = search.score_means(moments_of(bits, mask, "float16")).p_value
    for neuron, concept in np.ndindex(found.shape):
        y = mask[:, concept]
        if one_class(y) or np.isnan(one_sided("welch_t", x[neuron], y)[0]):
            assert np.isnan(found[neuron, concept])
            continue
        expected = welch(x[neuron], y).pvalue
        assert found[neuron, concept] == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_means_of_unrounded_values_and_their_held_out_scores():
    random = np.random.default_rng(0)
    values, test = (random.standard_normal((3, 300)).astype(np.float32) for _ in range(2))
    mask, test_mask = (random.random((300, 2)) < 0.3 for _ in range(2))
    train_state = ConceptMoments.empty(3, 2).update(values, LabelMatrix.from_dense(mask))
    test_state = ConceptMoments.empty(3, 2).update(test, LabelMatrix.from_dense(test_mask))
    block = search.score_means(train_state, test_state)
    for method, scores in block.methods.items():
        check(scores, method, values.astype(np.float64), mask)
        for neuron, concept in np.ndindex(3, 2):
            x = test[neuron].astype(np.float64) * scores.sign[neuron, concept]
            expected, _ = one_sided(method, x, test_mask[:, concept])
            assert scores.heldout[neuron, concept] == pytest.approx(expected, rel=1e-6)
