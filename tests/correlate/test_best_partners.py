"""Best partners equal numpy's correlation matrix, whatever the tiles and the order of merges; MaxCorr and MinCorr."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.correlate.best_partners import BestPartners, best_partners
from pipeline.correlate.max_corr import max_corr, min_corr
from pipeline.correlate.second_moments import correlations
from pipeline.correlate.tile import Tile
from schemas.errors import ActivationError, UsageError

NAN = float("nan")
#: Few different values, so that ties of |r| are frequent.
MATRICES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(1, 7)),
    elements=st.sampled_from([NAN, -1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0]),
)


def slow_best(r: np.ndarray) -> list[tuple[float, int, int]]:
    """(|r|, partner, sign) of each neuron, one at a time."""
    found = []
    for row in r.tolist():
        ranked = sorted((-abs(value), j) for j, value in enumerate(row) if value == value)
        if not ranked:
            found.append((NAN, -1, 0))
        else:
            strength, j = ranked[0]
            found.append((-strength, j, (row[j] > 0) - (row[j] < 0)))
    return found


def state(best: BestPartners) -> list[tuple[float, int, int]]:
    return list(zip(best.abs_r.tolist(), best.partner.tolist(), best.sign.tolist(), strict=True))


def whole(r: np.ndarray) -> Tile:
    return Tile(range(r.shape[0]), range(r.shape[1]), r)


@given(r=MATRICES, data=st.data())
@settings(max_examples=150, derandomize=True)
def test_any_tiles_in_any_order_and_any_tree_of_merges_give_the_definition(r, data):
    n, m = r.shape
    row_cuts = [0, *sorted(data.draw(st.lists(st.integers(0, n), max_size=2))), n]
    column_cuts = [0, *sorted(data.draw(st.lists(st.integers(0, m), max_size=3))), m]
    tiles = [
        Tile(range(a, b), range(c, d), r[a:b, c:d])
        for a, b in itertools.pairwise(row_cuts)
        for c, d in itertools.pairwise(column_cuts)
    ]
    tiles = data.draw(st.permutations(tiles))
    states = [BestPartners.empty(n).update(tile) for tile in tiles] + [BestPartners.empty(n)]
    while len(states) > 1:
        i = data.draw(st.integers(0, len(states) - 2))
        if data.draw(st.booleans()):
            states[i], states[i + 1] = states[i + 1], states[i]
        before = copy.deepcopy(states[i + 1])
        states[i].merge(states[i + 1])
        np.testing.assert_equal(state(before), state(states.pop(i + 1)))  # the argument is untouched
    np.testing.assert_equal(state(states[0]), slow_best(r))
    one_by_one = BestPartners.empty(n)
    for tile in tiles:
        one_by_one.update(tile)
    np.testing.assert_equal(state(one_by_one), slow_best(r))


@given(r=MATRICES)
@settings(max_examples=50, derandomize=True)
def test_a_state_is_an_identity_with_empty_and_survives_pickling_and_arrays(r):
    best = BestPartners.empty(len(r)).update(whole(r))
    np.testing.assert_equal(state(BestPartners.empty(len(r)).merge(best)), state(best))
    np.testing.assert_equal(state(pickle.loads(pickle.dumps(best))), state(best))
    np.testing.assert_equal(state(BestPartners.from_arrays(best.arrays())), state(best))


def test_equals_numpy_with_offsets_scales_and_constants():
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 9)) * np.geomspace(1e-6, 1e6, 9)
    y = np.hstack([random.standard_normal((60, 1100)), x[:, ::2] @ random.standard_normal((5, 20))])
    x, y = x + 300 * x.std(axis=0), y + 300 * y.std(axis=0)
    x[:, 4], y[:, 7] = 5.5, -1.0
    xc, yc = x - x.mean(axis=0), y - y.mean(axis=0)
    m2_x, m2_y = (xc**2).sum(axis=0), (yc**2).sum(axis=0)
    found = best_partners(xc.T @ yc, m2_x, m2_y)
    varying = np.delete(np.arange(9), 4)
    columns = np.delete(np.arange(y.shape[1]), 7)
    r = np.corrcoef(x[:, varying].T, y[:, columns].T)[: len(varying), len(varying) :]
    best = np.abs(r).argmax(axis=1)
    np.testing.assert_array_equal(found.partner[varying], columns[best])
    np.testing.assert_allclose(found.abs_r[varying], np.abs(r).max(axis=1), atol=1e-12)
    np.testing.assert_array_equal(found.sign[varying], np.sign(r[np.arange(len(best)), best]))
    assert state(found)[4][1:] == (-1, 0)
    assert np.isnan(found.abs_r[4])


def test_copies_and_negations_have_exactly_one_and_the_lowest_index_wins():
    random = np.random.default_rng(1)
    x = random.standard_normal((500, 40)) @ random.standard_normal((40, 40))
    y = np.hstack([random.standard_normal((500, 3)), -2 * x, x, 0.1 * x])
    xc, yc = x - x.mean(axis=0), y - y.mean(axis=0)
    m2_y = (yc**2).sum(axis=0)
    found = best_partners(xc.T @ yc, (xc**2).sum(axis=0), m2_y)
    np.testing.assert_array_equal(found.abs_r, np.ones(40))
    np.testing.assert_array_equal(found.partner, np.arange(3, 43))
    np.testing.assert_array_equal(found.sign, -np.ones(40))


def test_a_tile_that_does_not_fit_is_refused_and_leaves_the_state():
    best = BestPartners.empty(3).update(Tile(range(3), range(1), np.full((3, 1), 0.5)))
    before = state(best)
    for tile in (
        Tile(range(3), range(2), np.zeros((3, 3))),
        Tile(range(2, 5), range(1), np.ones((3, 1))),
        Tile(range(1), range(-1, 0), np.ones((1, 1))),
        Tile(range(0, 4, 2), range(1), np.ones((2, 1))),
        Tile(range(3), range(1), np.array([[0.9], [1.1], [0.9]])),
        Tile(range(1), range(1), np.array([[np.inf]])),
    ):
        with pytest.raises(UsageError, match="tile"):
            best.update(tile)
    with pytest.raises(UsageError, match="do not merge"):
        best.merge(BestPartners.empty(2))
    assert state(best) == before


def test_float32_tiles_and_tiles_without_pairs():
    r = np.array([[0.25, -0.5, NAN]], np.float32)
    best = BestPartners.empty(1).update(whole(r)).update(Tile(range(1), range(3, 3), np.empty((1, 0))))
    assert state(best) == [(0.5, 1, -1)]
    assert state(BestPartners.empty(0).update(whole(np.empty((0, 4))))) == []


def test_correlations_refuse_moments_that_do_not_belong_together():
    with pytest.raises(UsageError, match="one divisor"):
        correlations([[100.0]], [1.0], [1.0])
    with pytest.raises(ActivationError, match=r"ab must be finite; entry \[0, 1\] is nan"):
        correlations([[0.0, NAN]], [1.0], [1.0, 1.0])
    with pytest.raises(ActivationError, match="m2_a"):
        correlations([[0.0]], [np.inf], [1.0])
    with pytest.raises(UsageError, match="shape"):
        correlations([[0.0]], [1.0, 2.0], [1.0])
    np.testing.assert_array_equal(correlations([[1.0, 0.0]], [1.0], [1.0 - 1e-9, 0.0]), [[1.0, NAN]])


def partners(r: list[float], partner: list[int], sign: list[int]) -> BestPartners:
    return BestPartners(np.array(r), np.array(partner, np.int64), np.array(sign, np.int8))


def test_max_and_min_over_models_name_the_neuron_that_attains_them():
    best = [
        partners([0.5, 0.9, NAN, NAN, 0.3], [1, 2, -1, -1, 8], [1, -1, 0, 0, 1]),
        partners([0.7, 0.9, 0.4, NAN, 0.3], [3, 0, 5, -1, 2], [-1, 1, 1, 0, -1]),
        partners([0.6, 0.8, 0.2, NAN, 0.3], [4, 4, 6, -1, 0], [1, 1, -1, 0, 1]),
    ]
    high, low = max_corr(best), min_corr(best)
    np.testing.assert_array_equal(high.abs_r, [0.7, 0.9, 0.4, NAN, 0.3])
    assert high.model.tolist() == [1, 0, 1, -1, 0]
    assert high.neuron.tolist() == [3, 2, 5, -1, 8]
    assert high.sign.tolist() == [-1, -1, 1, 0, 1]
    np.testing.assert_array_equal(low.abs_r, [0.5, 0.8, NAN, NAN, 0.3])
    assert low.model.tolist() == [0, 2, -1, -1, 0]
    assert low.neuron.tolist() == [1, 4, -1, -1, 8]
    assert low.sign.tolist() == [1, 1, 0, 0, 1]


def test_max_and_min_refuse_nothing_and_other_models_neurons():
    for figure in (max_corr, min_corr):
        with pytest.raises(UsageError, match="at least one other model"):
            figure([])
        with pytest.raises(UsageError, match=r"\[1, 2\]"):
            figure([BestPartners.empty(1), BestPartners.empty(2)])
