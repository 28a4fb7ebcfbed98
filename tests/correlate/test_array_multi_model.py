"""Comparisons of models on arrays: a model with itself, nasty neurons, one neuron, few rows, nulls, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.correlate import linear_cka, linreg, maxcorr, mincorr, pwcca, svcca
from pipeline.correlate.shuffled_blocks import shuffled_blocks
from schemas.errors import ActivationError, UsageError

FIGURES = {
    "maxcorr": lambda x, y: maxcorr(x, [y]),
    "mincorr": lambda x, y: mincorr(x, [y]),
    "linreg": linreg,
    "svcca": svcca,
    "pwcca": pwcca,
    "linear_cka": linear_cka,
}


def model(n_rows: int = 200, n_neurons: int = 12, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal((n_rows, n_neurons)) @ random.standard_normal((n_neurons, n_neurons))


@pytest.mark.parametrize("offset", [0, 300])
def test_a_model_is_its_own_best_match(offset):
    x = model()
    x += offset * x.std(axis=0)
    for figure in (maxcorr(x, [x]), mincorr(x, [x, x])):
        np.testing.assert_array_equal(figure.abs_r, np.ones(12))
        np.testing.assert_array_equal(figure.neuron, np.arange(12))
        np.testing.assert_array_equal(figure.model, np.zeros(12))
        np.testing.assert_array_equal(figure.sign, np.ones(12))
    np.testing.assert_allclose(linreg(x, x).r2, np.ones(12), atol=1e-9)
    assert linear_cka(x, x) == pytest.approx(1, abs=1e-12)
    assert linear_cka(x, x, debiased=False) == pytest.approx(1, abs=1e-12)
    for scores in (svcca(x, x), pwcca(x, x)):
        np.testing.assert_allclose(scores.correlations.rho, 1, atol=1e-9)
        assert scores.score == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(pwcca(x, x).weights_a, 1, atol=1e-9)
    assert (svcca(x, x).weights_a <= 1).all()


def test_an_invertible_map_changes_neither_regression_nor_projection_and_a_rotation_not_alignment():
    x = model()
    random = np.random.default_rng(1)
    mapped = x @ random.standard_normal((12, 12)) + random.standard_normal(12)
    np.testing.assert_allclose(linreg(x, mapped).r2, 1, atol=1e-8)
    assert pwcca(x, mapped).score == pytest.approx(1, abs=1e-8)
    turn, _ = np.linalg.qr(random.standard_normal((12, 12)))
    assert linear_cka(x, -3 * x @ turn) == pytest.approx(1, abs=1e-12)
    assert linear_cka(x, mapped) < 0.99


def test_maximum_and_minimum_over_models_equal_numpy():
    x = model()
    others = [model(seed=1), np.hstack([model(seed=2), x[:, 3:5] + model(seed=3)[:, 3:5]]), -x[:, ::-1]]
    bests = []
    for other in others:
        r = np.corrcoef(x.T, other.T)[:12, 12:]
        bests.append((np.abs(r).max(axis=1), np.abs(r).argmax(axis=1), r))
    strengths = np.stack([best[0] for best in bests])
    for figure, pick in (
        (maxcorr(x, others), strengths.argmax(axis=0)),
        (mincorr(x, others), strengths.argmin(axis=0)),
    ):
        np.testing.assert_array_equal(figure.model, pick)
        np.testing.assert_allclose(figure.abs_r, strengths[pick, np.arange(12)], atol=1e-12)
        for i, place in enumerate(pick):
            assert figure.neuron[i] == bests[place][1][i]
            assert figure.sign[i] == np.sign(bests[place][2][i, figure.neuron[i]])
    np.testing.assert_array_equal(maxcorr(x, others).sign, -np.ones(12))


def test_constant_neurons_are_undefined_and_never_a_partner():
    x, y = model(), model(seed=1)
    x[:, 3], y[:, 0] = 0.1, 300.7
    high = maxcorr(x, [y, np.full((200, 2), 0.3)])
    assert np.isnan(high.abs_r[3])
    assert (high.model[3], high.neuron[3], high.sign[3]) == (-1, -1, 0)
    assert not np.isnan(np.delete(high.abs_r, 3)).any()
    assert (high.neuron != 0).all()
    assert np.isnan(mincorr(x, [y, np.full((200, 2), 0.3)]).abs_r).all()
    assert np.isnan(linreg(x, y).r2[3])
    assert linreg(x, y).rank == 11
    np.testing.assert_allclose(linear_cka(x, y), linear_cka(np.delete(x, 3, 1), y[:, 1:]), atol=1e-12)


def test_one_neuron_each():
    random = np.random.default_rng(2)
    x = random.standard_normal(50)
    y = 300 - x + random.standard_normal(50)
    r = np.corrcoef(x, y)[0, 1]
    assert maxcorr(x, [y]).abs_r == pytest.approx([-r])
    assert maxcorr(x, [y]).sign.tolist() == [-1]
    assert linreg(x, y).r2 == pytest.approx([r * r])
    assert [svcca(x, y).score, pwcca(x, y).score] == pytest.approx([-r, -r])
    assert svcca(x, y).weights_a == pytest.approx([-r])
    assert linear_cka(x, y, debiased=False) == pytest.approx(r * r)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 8])
def test_fewer_rows_than_neurons(n_rows):
    x, y = model(n_rows, 12, 0), model(n_rows, 20, 1)
    if n_rows == 1:
        assert np.isnan(maxcorr(x, [y]).abs_r).all()
        assert np.isnan(linreg(x, y).r2).all()
        assert np.isnan([svcca(x, y).score, pwcca(x, y).score, linear_cka(x, y)]).all()
        return
    np.testing.assert_allclose(linreg(x, y).r2, 1)
    assert linreg(x, y).is_trivial
    assert pwcca(x, y).score == pytest.approx(1)
    assert svcca(x, y).correlations.is_trivial
    assert np.isnan(linear_cka(x, y)) == (n_rows < 4)


def test_known_null_scores_of_independent_models():
    x, y = np.random.default_rng(0).standard_normal((2, 1000, 100))
    assert linear_cka(x, y, debiased=False) == pytest.approx(0.091, abs=0.003)
    assert linear_cka(x, y) == pytest.approx(0, abs=0.003)
    assert linear_cka(x[:150], y[:150], debiased=False) == pytest.approx(0.4, abs=0.03)
    assert linear_cka(x[:150], y[:150]) == pytest.approx(0, abs=0.02)


def test_rows_shuffled_in_blocks_give_the_null_of_every_figure():
    random = np.random.default_rng(3)
    x = model(1200, 8)
    y = x @ random.standard_normal((8, 8)) + random.standard_normal((1200, 8))
    null = y[shuffled_blocks(1200, 16, 0)]
    chance, real = linreg(x, null), linreg(x, y)
    assert chance.r2.mean() == pytest.approx(chance.expected_r2, abs=0.004)
    assert real.r2.min() > 10 * chance.r2.max()
    assert maxcorr(x, [null]).abs_r.max() < 0.15 < maxcorr(x, [y]).abs_r.min()
    assert svcca(x, null).score < 0.1 < 0.7 < svcca(x, y).score
    assert abs(linear_cka(x, null)) < 0.01 < 0.3 < linear_cka(x, y)


@pytest.mark.parametrize("name", FIGURES)
def test_bad_input_is_refused_by_name(name):
    figure, x = FIGURES[name], model()
    for wrong in (np.nan, np.inf):
        broken = x.copy()
        broken[7, 2] = wrong
        with pytest.raises(ActivationError, match=r"activations must be finite; row 7, neuron 2"):
            figure(broken, x)
        with pytest.raises(ActivationError, match=r"other.* must be finite; row 7, neuron 2"):
            figure(x, broken)
    with pytest.raises(UsageError, match="200 rows"):
        figure(x, x[:-1])
    with pytest.raises(UsageError, match="at least one row"):
        figure(x[:0], x[:0])
    with pytest.raises(UsageError, match="shape"):
        figure(x[None], x)


def test_one_array_in_place_of_a_list_is_refused():
    for figure in (maxcorr, mincorr):
        with pytest.raises(UsageError, match=r"write \[Y\]"):
            figure(model(), model())
        with pytest.raises(UsageError, match="at least one other model"):
            figure(model(), [])


def test_inputs_stay_as_they_are_and_float32_will_do():
    x, y = model().astype(np.float32), model(seed=1).astype(np.float32)
    before = x.copy(), y.copy()
    for figure in FIGURES.values():
        figure(x, y)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])
    np.testing.assert_array_equal(linreg(x, y).r2, linreg(x.astype(np.float64), y.astype(np.float64)).r2)
