"""p values by rank among null scores, against counting; and what survives a null of pure noise."""

import numpy as np
import pytest

from pipeline.search import benjamini_hochberg
from pipeline.search.permutation import permutation_p_values
from schemas.errors import UsageError


def test_p_is_the_share_of_null_scores_that_reach_the_score():
    random = np.random.default_rng(0)
    scores, null = random.integers(0, 9, (40, 3)).astype(float), random.integers(0, 9, (25, 3)).astype(float)
    scores[3, 1], null[4, 1], null[:, 2] = np.nan, np.nan, np.nan
    found = permutation_p_values(scores, null)
    for neuron in range(40):
        assert found[neuron, 0] == (1 + (null[:, 0] >= scores[neuron, 0]).sum()) / 26
        if neuron != 3:
            assert found[neuron, 1] == (1 + (null[:, 1] >= scores[neuron, 1]).sum()) / 25
    assert np.isnan(found[3, 1])
    assert np.isnan(found[:, 2]).all()


def test_noise_does_not_survive_and_a_signal_does():
    random = np.random.default_rng(1)
    scores, null = random.random((2000, 5)), random.random((2000, 5))
    assert (benjamini_hochberg(permutation_p_values(scores, null)) < 0.01).sum() == 0
    scores[:100] += 1
    survive = benjamini_hochberg(permutation_p_values(scores, null)) < 0.01
    assert survive[:100].all()
    assert survive[100:].sum() <= 10


def test_other_concepts_are_refused():
    with pytest.raises(UsageError, match="3 concepts have no null of 2"):
        permutation_p_values(np.ones((4, 3)), np.ones((4, 2)))
