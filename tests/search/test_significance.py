"""The AUROC test equals scipy's Mann–Whitney test, the false discovery rate scipy's."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.search import (
    average_precision,
    average_precision_interval,
    benjamini_hochberg,
    score_block,
    sweep_arrays,
)
from pipeline.search.significance import auroc_p_value, auroc_z
from pipeline.stats import ConceptHistogram
from schemas.errors import UsageError


def test_p_equals_mann_whitney_with_ties():
    random = np.random.default_rng(0)
    x = random.standard_normal((200, 4))
    x[:, 1] = np.round(x[:, 1])
    x[:, 2] = x[:, 2] > 1
    y = random.random((200, 3)) < [0.01, 0.2, 0.7]
    x[:, 3] += y[:, 1]
    found = auroc_p_value(sweep_arrays(x, y))
    for neuron, concept in np.ndindex(4, 3):
        mask = y[:, concept]
        expected = scipy.stats.mannwhitneyu(
            x[mask, neuron], x[~mask, neuron], use_continuity=False, method="asymptotic"
        )
        assert found[neuron, concept] == pytest.approx(expected.pvalue, rel=1e-9)


def test_one_row_apart_from_the_rest_is_not_constant():
    x = np.zeros(1_000_000)
    x[0] = 1
    y = np.zeros(1_000_000, bool)
    y[:2] = True
    expected = scipy.stats.mannwhitneyu(x[y], x[~y], use_continuity=False, method="asymptotic").pvalue
    assert auroc_p_value(sweep_arrays(x, y))[0, 0] == pytest.approx(expected, rel=1e-6)


def test_undefined_is_nan():
    y = np.zeros((50, 3), bool)
    y[:, 1], y[:5, 2] = True, True
    z = auroc_z(sweep_arrays(np.stack([np.arange(50), np.ones(50)], axis=1), y))
    assert np.isnan(z).tolist() == [[True, True, False], [True, True, True]]


def test_no_rows():
    block = score_block(ConceptHistogram.empty(2, 3))
    assert np.isnan(block.p_value).all()
    assert np.isnan(block.base_rate).all()
    assert all(np.isnan(scores.score).all() for scores in block.methods.values())


@given(
    hnp.arrays(np.float64, st.integers(1, 40), elements=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])))
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_q_values_equal_scipy(p):
    np.testing.assert_allclose(benjamini_hochberg(p), scipy.stats.false_discovery_control(p), rtol=1e-12)


def test_undefined_tests_do_not_count():
    p = np.array([[0.01, np.nan], [0.02, 0.5]])
    q = benjamini_hochberg(p)
    assert np.isnan(q[0, 1])
    np.testing.assert_allclose(q[~np.isnan(p)], scipy.stats.false_discovery_control(p[~np.isnan(p)]))
    assert benjamini_hochberg(np.full(3, np.nan)).shape == (3,)
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        benjamini_hochberg(np.array([1.5]))


def test_an_interval_of_average_precision_has_its_coverage():
    """Of samples from one source, the interval holds the source's average precision about as often as it says."""
    random = np.random.default_rng(0)

    def sample(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        y = random.random(n_rows) < 0.2
        return random.standard_normal(n_rows) + 1.5 * y, y

    truth = average_precision(*sample(400_000)).score[0, 0]
    samples = [sample(400) for _ in range(300)]
    scores = np.array([average_precision(x, y).score[0, 0] for x, y in samples])
    n_pos = np.array([y.sum() for _, y in samples])
    low, high = average_precision_interval(scores, n_pos, 0.9)
    assert 0.85 < ((low <= truth) & (truth <= high)).mean() < 0.99
    wider = average_precision_interval(scores, n_pos, 0.99)
    assert (wider[0] < low).all()
    assert (wider[1] > high).all()
    assert np.isnan(average_precision_interval(np.array([0.0, 1.0]), np.array([5, 5]))).all()
    with pytest.raises(UsageError, match="level"):
        average_precision_interval(scores, n_pos, 1)


@pytest.mark.parametrize("n_rows", [417_345, 417_346, 624_001])
def test_constant_neurons_have_no_p_value_at_any_number_of_rows(n_rows):
    """T³ − T rounds in other ways, as a product and as a power."""
    y = np.arange(n_rows) < 1000
    x = np.ones((n_rows, 2))
    x[5, 1] = 2
    found = auroc_p_value(sweep_arrays(x, y))
    assert np.isnan(found[0, 0])
    assert 0 < found[1, 0] <= 1
