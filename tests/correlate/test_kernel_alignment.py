"""CKA equals its definition on Gram matrices, biased and debiased, in any tiles and batches."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from pipeline.correlate import linear_cka
from pipeline.correlate.kernel_alignment import (
    RowNormSums,
    cka,
    debiased_cka,
    row_norms,
    squared_norm,
    unbiased_hsic,
)
from pipeline.correlate.tile import Tile
from schemas.errors import ActivationError, UsageError


def brute_unbiased_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012 on Gram matrices without their diagonals, of activations as they are."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    total = np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
    return total / (n * (n - 3))


def brute_biased(x: np.ndarray, y: np.ndarray) -> float:
    n = len(x)
    centring = np.eye(n) - 1 / n
    k, m = centring @ x @ x.T @ centring, centring @ y @ y.T @ centring
    return float(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))


def pair(n_rows: int, n_a: int = 7, n_b: int = 11, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.standard_normal((n_rows, n_a)) * random.uniform(0.1, 4, n_a)
    return x, x[:, :3] @ random.standard_normal((3, n_b)) + random.standard_normal((n_rows, n_b))


@pytest.mark.parametrize("n_rows", [4, 5, 30, 120])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_both_equal_the_gram_formulas(n_rows, offset):
    x, y = pair(n_rows)
    unbiased = [brute_unbiased_hsic(a, b) for a, b in ((x, x), (y, y), (x, y))]
    if offset == 0:
        xc, yc = x - x.mean(axis=0), y - y.mean(axis=0)
        q, p = (xc**2).sum(axis=1), (yc**2).sum(axis=1)
        found = unbiased_hsic(n_rows, np.sum((xc.T @ yc) ** 2), q @ p, q.sum(), p.sum())
        assert found == pytest.approx(unbiased[2], rel=1e-10, abs=1e-10)
    assert linear_cka(x + offset, y - offset, debiased=False) == pytest.approx(brute_biased(x, y), abs=1e-10)
    if min(unbiased[:2]) > 0:
        expected = unbiased[2] / np.sqrt(unbiased[0] * unbiased[1])
        assert linear_cka(x + offset, y - offset) == pytest.approx(expected, abs=1e-10)
    else:
        assert np.isnan(linear_cka(x + offset, y - offset))


@pytest.mark.parametrize("debiased", [True, False])
def test_no_rounding_leads_beyond_1(debiased):
    random = np.random.default_rng(3)
    for _ in range(200):
        n_rows, n_neurons = random.integers(5, 40), random.integers(2, 12)
        x = random.standard_normal((n_rows, n_neurons)) * 10 ** random.uniform(-3, 3) + random.uniform(-9, 9)
        rotated = x @ np.linalg.qr(random.standard_normal((n_neurons, n_neurons)))[0]
        for other in (x, 3 * x, rotated):
            assert 1 - 1e-9 < linear_cka(x, other, debiased=debiased) <= 1


def test_debiased_cka_of_few_rows_is_an_inner_product_of_unit_vectors():
    random = np.random.default_rng(4)
    values = []
    for _ in range(2000):
        n_rows, n_neurons = random.integers(4, 7), random.integers(1, 6)
        x, y = (random.standard_normal((n_rows, n_neurons)) ** 3 for _ in range(2))
        own_x, own_y, both = (brute_unbiased_hsic(a, b) for a, b in ((x, x), (y, y), (x, y)))
        assert both**2 <= own_x * own_y * (1 + 1e-6) + 1e-12
        values.append(linear_cka(x, y))
    assert -1 <= np.nanmin(values) < -0.9
    assert 0.9 < np.nanmax(values) <= 1


def test_the_unbiased_estimator_does_not_depend_on_centring():
    x, y = pair(40)
    shift_x, shift_y = np.linspace(-3, 5, 7), np.linspace(2, -4, 11)
    expected = brute_unbiased_hsic(x - x.mean(axis=0), y - y.mean(axis=0))
    assert brute_unbiased_hsic(x + shift_x, y + shift_y) == pytest.approx(expected, abs=1e-10)


def test_the_unbiased_estimator_is_0_on_average_where_rows_do_not_belong_together():
    random = np.random.default_rng(1)
    x, y = pair(8, 3, 3)
    values = []
    for _ in range(3000):
        shuffled = y[random.permutation(8)]
        values.append(brute_unbiased_hsic(x, shuffled))
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_tiles_and_batches_give_the_whole(offset):
    x, y = pair(50)
    x, y = x + offset, y + offset
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    xc, yc = x - mean_x, y - mean_y

    def tiles(left: np.ndarray, right: np.ndarray, is_symmetric: bool):
        edges = [[0, 3, left.shape[1]], [0, 3, right.shape[1]]]
        for a in range(2):
            for b in range(a if is_symmetric else 0, 2):
                rows, columns = range(edges[0][a], edges[0][a + 1]), range(edges[1][b], edges[1][b + 1])
                yield Tile(rows, columns, left[:, rows].T @ right[:, columns])

    norms = (
        squared_norm(tiles(xc, xc, True), is_symmetric=True),
        squared_norm(tiles(yc, yc, True), is_symmetric=True),
        squared_norm(tiles(xc, yc, False), is_symmetric=False),
    )
    parts = []
    for rows in (slice(0, 20), slice(20, 20), slice(20, 50)):
        norms_x = row_norms(x[rows, :4].T, mean_x[:4]) + row_norms(x[rows, 4:].T, mean_x[4:])
        parts.append(RowNormSums.empty().update(norms_x, row_norms(y[rows].T, mean_y)))
    forth, back = RowNormSums.empty(), RowNormSums.empty()
    for part in parts:
        forth.merge(part)
    for part in reversed(parts):
        back.merge(pickle.loads(pickle.dumps(part)))
    assert parts[2].n_rows == 30
    for rows in (forth, back, RowNormSums.from_arrays(forth.arrays())):
        assert debiased_cka(*norms, rows) == pytest.approx(linear_cka(x, y), abs=1e-12)
    assert cka(*norms) == pytest.approx(linear_cka(x, y, debiased=False), abs=1e-12)


def test_undefined_is_nan():
    x, y = pair(20)
    assert np.isnan(linear_cka(np.ones((20, 3)), y))
    assert np.isnan(linear_cka(x, np.full((20, 3), 0.1), debiased=False))
    assert np.isnan(linear_cka(x[:3], y[:3]))
    assert linear_cka(x[:3], x[:3], debiased=False) == pytest.approx(1)
    assert np.isnan(unbiased_hsic(3, 1.0, 1.0, 1.0, 1.0))


def test_bad_arguments_are_named():
    with pytest.raises(UsageError, match="norm_ab"):
        cka(1.0, 1.0, -1.0)
    with pytest.raises(UsageError, match="norm_aa"):
        debiased_cka(np.nan, 1.0, 1.0, RowNormSums.empty())
    with pytest.raises(ActivationError, match="norms_b"):
        RowNormSums.empty().update([1.0], [np.nan])
    with pytest.raises(UsageError, match="norms_b"):
        RowNormSums.empty().update([1.0], [1.0, 2.0])
    with pytest.raises(UsageError, match="same neurons"):
        row_norms(np.ones((3, 4)), np.ones(2))
