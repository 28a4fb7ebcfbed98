"""Held-out scores use the sign and threshold of train and nothing else of it."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import average_precision_score, f1_score, mutual_info_score, roc_auc_score

from pipeline.search import CutRule, score_block
from pipeline.stats import ConceptHistogram, LabelMatrix, encode_codes

ALPHA = 0.1


def planted(seed: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = random.random((n_rows, 4)) < [0.1, 0.3, 0.5, 0.02]
    values = random.standard_normal((6, n_rows))
    values[1] -= 2 * mask[:, 0]
    values[2] += mask[:, 1]
    values[3] = np.round(values[3])
    values[4] = 1
    return values.astype(np.float16), mask


def state_of(values: np.ndarray, mask: np.ndarray) -> ConceptHistogram:
    codes = encode_codes(values.view(np.uint16), "float16")
    return ConceptHistogram.empty(len(values), mask.shape[1]).update(codes, LabelMatrix.from_dense(mask))


def overlap(predicted: np.ndarray, y: np.ndarray) -> float:
    return float((predicted & y).sum() / max((predicted | y).sum(), 1))


def test_every_method():
    train, test = planted(0, 500), planted(1, 300)
    block = score_block(state_of(*train), state_of(*test), rule=CutRule(ALPHA))
    x, mask = test[0].astype(np.float64), test[1]
    for neuron, concept in np.ndindex(6, 4):
        y = mask[:, concept]
        found = {name: scores.heldout[neuron, concept] for name, scores in block.methods.items()}
        sign = {name: int(scores.sign[neuron, concept]) for name, scores in block.methods.items()}
        directed = {name: side * x[neuron] for name, side in sign.items()}
        threshold = {
            name: sign[name] * block.methods[name].threshold[neuron, concept] for name in ("iou", "best_iou", "f1")
        }
        assert found["ap"] == pytest.approx(average_precision_score(y, directed["ap"]))
        assert found["auroc"] == pytest.approx(roc_auc_score(y, directed["auroc"]))
        assert found["iou"] == pytest.approx(overlap(directed["iou"] > threshold["iou"], y))
        assert found["best_iou"] == pytest.approx(overlap(directed["best_iou"] >= threshold["best_iou"], y))
        assert found["f1"] == pytest.approx(f1_score(y, directed["f1"] >= threshold["f1"]))
        bins = np.digitize(x[neuron], np.quantile(train[0][neuron].astype(np.float64), np.arange(1, 10) / 10))
        entropy = scipy.stats.entropy([y.mean(), 1 - y.mean()])
        assert found["mi"] == pytest.approx(mutual_info_score(bins, y) / entropy, abs=1e-12)


def test_train_scores_do_not_look_at_test():
    train, test = planted(0, 500), planted(1, 300)
    alone, with_test = score_block(state_of(*train)), score_block(state_of(*train), state_of(*test))
    for name, scores in alone.methods.items():
        assert scores.heldout is None
        np.testing.assert_array_equal(scores.score, with_test.methods[name].score)
    assert with_test.n_rows == 500


def test_undefined_on_test_is_nan():
    values, mask = planted(1, 300)
    mask[:, 0], mask[:, 1] = False, True
    block = score_block(state_of(*planted(0, 500)), state_of(values, mask))
    for scores in block.methods.values():
        assert np.isnan(scores.heldout[:, :2]).all()
        assert not np.isnan(scores.heldout[:, 2:]).any()
        assert not np.isnan(scores.score).any()


def test_undefined_on_train_is_nan_on_test():
    values, mask = planted(0, 500)
    mask[:, 2] = False
    block = score_block(state_of(values, mask), state_of(*planted(1, 300)))
    for scores in block.methods.values():
        assert np.isnan(scores.score[:, 2]).all()
        assert np.isnan(scores.heldout[:, 2]).all()


def test_a_test_split_without_rows():
    block = score_block(state_of(*planted(0, 500)), ConceptHistogram.empty(6, 4))
    for scores in block.methods.values():
        assert np.isnan(scores.heldout).all()
