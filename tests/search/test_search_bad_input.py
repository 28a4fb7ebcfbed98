"""Every refused argument gets one sentence that names it."""

import numpy as np
import pytest
import scipy.sparse

from pipeline import search
from pipeline.stats import ConceptHistogram, ConceptMoments
from schemas.errors import ActivationError, UsageError

X, Y = np.ones((4, 2)), np.ones((4, 3), bool)


@pytest.mark.parametrize(
    ("x", "y", "rule"),
    [
        (X, Y[:3], "4 rows of the activations, not 3"),
        (X[None], Y, "activations must be"),
        (X, Y[None], "concepts must be"),
        (X, Y * 2, "only 0 and 1"),
        (X, Y * np.nan, "only 0 and 1"),
        (X, scipy.sparse.csr_matrix(Y * 2), "only 0 and 1"),
    ],
)
def test_arrays(x, y, rule):
    with pytest.raises(UsageError, match=rule):
        search.average_precision(x, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_activations_that_are_not_finite(bad):
    x = X.copy()
    x[3, 1] = bad
    with pytest.raises(ActivationError, match="row 3, neuron 1"):
        search.auroc(x, Y)


@pytest.mark.parametrize("alpha", [0, 1, -0.5, np.nan])
def test_alpha(alpha):
    with pytest.raises(UsageError, match="alpha"):
        search.iou(X, Y, alpha=alpha)
    with pytest.raises(UsageError, match="alpha"):
        search.CutRule(alpha)


def test_threshold_and_intervals():
    with pytest.raises(UsageError, match="threshold must be a finite number"):
        search.iou(X, Y, threshold=np.nan)
    with pytest.raises(UsageError, match="at least 2 intervals"):
        search.mutual_information(X, Y, n_intervals=1)


def test_no_rows_no_neurons_no_concepts():
    assert np.isnan(search.average_precision(X[:0], Y[:0]).score).all()
    assert search.iou(X[:, :0], Y).score.shape == (0, 3)
    assert search.best_iou(X, Y[:, :0]).score.shape == (2, 0)
    assert search.score_block(ConceptHistogram.empty(0, 2)).p_value.shape == (0, 2)
    for method in (search.welch_t, search.probeless, search.mutual_information):
        assert np.isnan(method(X[:0], Y[:0]).score).all()
        assert method(X[:, :0], Y).score.shape == (0, 3)


def test_unknown_method():
    with pytest.raises(UsageError, match="'apx' is not known here; choose from ap, auroc"):
        search.score_block(ConceptHistogram.empty(1, 1), methods=["ap", "apx"])
    with pytest.raises(UsageError, match="'ap' is not known here; choose from mean_diff"):
        search.score_means(ConceptMoments.empty(1, 1), methods=["ap"])


def test_states_of_different_blocks():
    train = ConceptHistogram.empty(2, 3)
    with pytest.raises(UsageError, match="test histogram"):
        search.score_block(train, ConceptHistogram.empty(2, 4))
    with pytest.raises(UsageError, match="test histogram"):
        search.score_block(train, ConceptHistogram.empty(2, 3, "bfloat16"))
    with pytest.raises(UsageError, match="test moments"):
        search.score_means(ConceptMoments.empty(2, 3), ConceptMoments.empty(2, 4))


def test_arguments_are_left_alone():
    x, y = np.array([[-0.0, 2], [1, 0]]), np.array([[0, 1], [1, 0]])
    before = x.copy(), y.copy()
    search.best_iou(x, y)
    np.testing.assert_array_equal(np.signbit(x), np.signbit(before[0]))
    np.testing.assert_array_equal(y, before[1])
