"""The corners: extreme values, hardly any rows, shards without rows, tens of thousands of concepts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from test_search_oracles import ARRAY_METHODS, METHODS, check, moments_of, scored, state_of

from pipeline.search import average_precision, best_iou, pearson, score_block, score_means
from pipeline.stats import ConceptHistogram, ConceptMoments, LabelMatrix, bits_to_float32, encode_codes

#: Of float16: ±65,504, the smallest denormals, the smallest normal ones, both zeros.
EXTREMES = np.array([0x7BFF, 0xFBFF, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x0000, 0x8000], np.uint16)


def test_extremes_of_float16() -> None:
    random = np.random.default_rng(0)
    bits = np.stack([EXTREMES[random.integers(first, 10, 120)] for first in (0, 2, 8)])
    mask = random.random((120, 3)) < [0.1, 0.5, 0.9]
    x = bits_to_float32(bits, "float16").astype(np.float64)
    for method, scores in scored(bits, mask, "float16").items():
        check(scores, method, x, mask)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_hardly_any_rows(n_rows: int, method: str) -> None:
    for labels in range(2**n_rows):
        y = np.array([bool(labels >> row & 1) for row in range(n_rows)])
        for x in ([1.0, 2.0, 3.0], [2.0, 2.0, 1.0], [5.0, 5.0, 5.0]):
            values = np.array(x[:n_rows])
            check(ARRAY_METHODS[method](values, y), method, values[None], y[:, None])


def test_a_neuron_that_is_the_negated_concept() -> None:
    y = np.random.default_rng(0).random(300) < 0.2
    x = 1.0 - y
    for method in (average_precision, best_iou, pearson):
        scores = method(x, y)
        assert (scores.score[0, 0], scores.sign[0, 0]) == (pytest.approx(1), -1)


def test_concepts_that_hold_for_the_same_rows_score_the_same() -> None:
    random = np.random.default_rng(0)
    bits, mask = random.integers(0, 0x7BFF, (4, 200)).astype(np.uint16), random.random((200, 1)) < 0.3
    for scores in scored(bits, np.repeat(mask, 3, axis=1), "float16").values():
        np.testing.assert_array_equal(scores.score, np.repeat(scores.score[:, :1], 3, axis=1))


def test_shards_of_no_row_and_of_one() -> None:
    random = np.random.default_rng(0)
    bits, mask = random.integers(0, 0x7BFF, (3, 90)).astype(np.uint16), random.random((90, 4)) < 0.3
    histogram, moments = ConceptHistogram.empty(3, 4), ConceptMoments.empty(3, 4)
    for rows in (range(0), range(1), range(1, 1), range(1, 88), range(88, 89), range(89, 90), range(90, 90)):
        labels = LabelMatrix.from_dense(mask[rows.start : rows.stop])
        part = np.ascontiguousarray(bits[:, rows.start : rows.stop])
        histogram.update(encode_codes(part, "float16"), labels)
        moments.update(bits_to_float32(part, "float16"), labels)
    whole, means = score_block(state_of(bits, mask, "float16")), score_means(moments_of(bits, mask, "float16"))
    for found, expected in ((score_block(histogram), whole), (score_means(moments), means)):
        for method, scores in expected.methods.items():
            np.testing.assert_allclose(found.methods[method].score, scores.score, rtol=1e-9, err_msg=method)


def test_seventy_thousand_concepts_of_which_most_are_rare() -> None:
    random = np.random.default_rng(0)
    n_rows, n_concepts = 4000, 70_000
    values = random.standard_normal((2, n_rows)).astype(np.float16)
    counts = np.where(np.arange(n_concepts) % 1000 == 0, 900, 1)
    rows = np.concatenate([random.choice(n_rows, count, replace=False) for count in counts])
    labels = LabelMatrix.from_pairs(rows, np.repeat(np.arange(n_concepts), counts), n_rows, n_concepts)
    state = ConceptHistogram.empty(2, n_concepts).update(encode_codes(values.view(np.uint16), "float16"), labels)
    scores = score_block(state, threads=2).methods["ap"]
    means = score_means(ConceptMoments.empty(2, n_concepts).update(values.astype(np.float32), labels, 2))
    assert scores.score.shape == means.methods["pearson"].score.shape == (2, n_concepts)
    for concept in (0, 1, 1000, 35_001, 69_999):
        y = np.zeros(n_rows, bool)
        y[labels.rows[labels.indptr[concept] : labels.indptr[concept + 1]]] = True
        for neuron in range(2):
            x = values[neuron].astype(np.float64)
            expected = max(average_precision_score(y, x), average_precision_score(y, -x))
            assert scores.score[neuron, concept] == pytest.approx(expected, abs=1e-9)
            r = np.corrcoef(x, y)[0, 1]
            assert means.methods["pearson"].score[neuron, concept] == pytest.approx(abs(r), abs=1e-9)


def test_probeless_without_another_class_is_undefined() -> None:
    random = np.random.default_rng(0)
    values, mask = random.standard_normal((2, 50)).astype(np.float32), random.random((50, 2)) < 0.4
    mask[:, 1] = False
    state = ConceptMoments.empty(2, 2).update(values, LabelMatrix.from_dense(mask))
    assert np.isnan(score_means(state, layers=np.array([0, 0])).methods["probeless"].score).all()
    assert not np.isnan(score_means(state).methods["probeless"].score[:, 0]).any()
