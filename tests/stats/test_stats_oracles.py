"""Statistics equal numpy's and scipy's on awkward columns."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.stats import (
    ConceptMoments,
    LabelMatrix,
    Moments,
    TopRows,
    ValueHistogram,
    bits_to_float32,
    encode_codes,
    neuron_statistics,
    round_to_bits,
)
from schemas.errors import ActivationError, UsageError
from schemas.tables import QUANTILES


def awkward_columns(dtype: str) -> np.ndarray:
    random = np.random.default_rng(0)
    normal = random.standard_normal(501).astype(np.float32)
    columns = [
        normal,
        np.maximum(normal, 0),
        np.full(501, 0.1),
        np.where(normal > 0, 0.0, -0.0),
        normal + 1000,
        np.exp(normal * 3),
        np.where(np.arange(501) == 7, 60000, 1e-7),
        np.round(normal),
    ]
    return bits_to_float32(round_to_bits(np.array(columns, np.float32), dtype), dtype)


@pytest.mark.parametrize("source", ["both", "histogram"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_all_statistics(dtype, source):
    values = awkward_columns(dtype)
    x = values.astype(np.float64)
    codes = encode_codes(round_to_bits(values, dtype), dtype)
    histogram = ValueHistogram.empty(len(x), dtype).update(codes)
    moments = Moments.empty(len(x)).update(values) if source == "both" else None
    columns = neuron_statistics(moments, histogram)
    spread = np.ptp(x, axis=1) > 0
    np.testing.assert_allclose(columns["mean"], x.mean(axis=1), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(columns["variance"], np.where(spread, x.var(axis=1), 0), rtol=1e-9)
    np.testing.assert_allclose(columns["skewness"][spread], scipy.stats.skew(x[spread], axis=1), rtol=1e-8)
    np.testing.assert_allclose(columns["kurtosis"][spread], scipy.stats.kurtosis(x[spread], axis=1), rtol=1e-8)
    assert np.isnan(columns["skewness"][~spread]).all()
    assert np.isnan(columns["kurtosis"][~spread]).all()
    np.testing.assert_array_equal(columns["min"], x.min(axis=1))
    np.testing.assert_array_equal(columns["max"], x.max(axis=1))
    np.testing.assert_array_equal(columns["activity_rate"], (x > 0).mean(axis=1))
    for name, level in QUANTILES.items():
        np.testing.assert_array_equal(columns[name], np.quantile(x, level, axis=1), err_msg=name)
    at_min, at_max = (x == x.min(axis=1)[:, None]).mean(axis=1), (x == x.max(axis=1)[:, None]).mean(axis=1)
    np.testing.assert_array_equal(columns["saturation"], np.maximum(at_min, at_max))
    np.testing.assert_array_equal(columns["is_dead"], ~spread)
    np.testing.assert_array_equal(columns["is_saturated"], (columns["saturation"] >= 0.5) & spread)


@given(
    values=hnp.arrays(
        np.float16, st.integers(1, 60), elements=st.floats(width=16, allow_nan=False, allow_infinity=False)
    ),
    level=st.floats(0, 1),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_quantile_of_any_values(values, level):
    codes = encode_codes(values.view(np.uint16), "float16")[None]
    found = ValueHistogram.empty(1).update(codes).finalize([level])
    np.testing.assert_array_equal(found[0, 0], np.quantile(values.astype(np.float64), level))


def test_eps_decides_what_is_dead():
    state = Moments.empty(2).update(np.array([[0.01, -0.02], [0.01, 0.3]], np.float32))
    assert state.finalize(0.05)["is_dead"].tolist() == [True, False]
    assert state.finalize(0.0)["is_dead"].tolist() == [False, False]


def test_nothing_is_known_of_no_rows():
    columns = neuron_statistics(None, ValueHistogram.empty(2))
    assert columns["n_rows"].tolist() == [0, 0]
    assert not columns["is_dead"].any()
    for name in ("mean", "variance", "skewness", "kurtosis", "min", "max", "activity_rate", "saturation", *QUANTILES):
        assert np.isnan(columns[name]).all(), name


def test_without_a_histogram_quantiles_are_undefined():
    columns = neuron_statistics(Moments.empty(1).update(np.ones((1, 3))), None)
    assert np.isnan(columns["q50"]).all()
    with pytest.raises(UsageError, match="same block"):
        neuron_statistics(Moments.empty(1), ValueHistogram.empty(2))
    with pytest.raises(UsageError, match="neither"):
        neuron_statistics(None, None)


def test_variance_beside_a_large_offset():
    values = np.random.default_rng(0).standard_normal((1, 30_000)) + 1e7
    state = Moments.empty(1)
    for part in np.array_split(values, 7, axis=1):
        state.update(part)
    np.testing.assert_allclose(state.finalize()["variance"], values.var(axis=1), rtol=1e-9)


def test_concept_moments():
    random = np.random.default_rng(0)
    values = random.standard_normal((3, 200)) + 1000
    mask = random.random((200, 5)) < [0, 0.01, 0.3, 0.99, 1]
    answers = ConceptMoments.empty(3, 5).update(values, LabelMatrix.from_dense(mask)).finalize()
    for concept in range(5):
        for side, rows in (("pos", mask[:, concept]), ("neg", ~mask[:, concept])):
            if not rows.any():
                assert np.isnan(answers[f"mean_{side}"][:, concept]).all()
                assert np.isnan(answers[f"variance_{side}"][:, concept]).all()
                continue
            np.testing.assert_allclose(answers[f"mean_{side}"][:, concept], values[:, rows].mean(axis=1), rtol=1e-12)
            expected = values[:, rows].var(axis=1)
            np.testing.assert_allclose(answers[f"variance_{side}"][:, concept], expected, rtol=1e-7, atol=1e-7)


@given(
    values=hnp.arrays(np.float32, st.integers(0, 40), elements=st.sampled_from([-2, -1, -0.0, 0.0, 1, 2])),
    k=st.integers(1, 9),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_top_rows_equal_a_full_sort(values, k, seed):
    row_ids = np.random.default_rng(seed).permutation(1000)[: len(values)]
    found = TopRows.empty(1, k).update(values[None], row_ids).finalize()
    best, worst = np.lexsort((row_ids, -values))[:k], np.lexsort((row_ids, values))[:k]
    np.testing.assert_array_equal(found.top_row_ids[0], row_ids[best])
    np.testing.assert_array_equal(found.top_values[0], values[best])
    np.testing.assert_array_equal(found.bottom_row_ids[0], row_ids[worst])
    np.testing.assert_array_equal(found.bottom_values[0], values[worst])
    codes = encode_codes(values.astype(np.float16).view(np.uint16), "float16")
    for from_values, from_codes in zip(
        found, TopRows.empty(1, k).update_codes(codes[None], row_ids, "float16").finalize(), strict=True
    ):
        np.testing.assert_array_equal(from_codes, from_values)


LABELS = LabelMatrix.from_dense(np.ones((3, 1), bool))
UPDATES = {
    "moments": lambda values: Moments.empty(2).update(values),
    "concept_moments": lambda values: ConceptMoments.empty(2, 1).update(values, LABELS),
    "top_rows": lambda values: TopRows.empty(2, 1).update(values, np.arange(3)),
}


@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(update, bad):
    values = np.ones((2, 3), np.float32)
    values[1, 2] = bad
    with pytest.raises(ActivationError, match=r"neuron 1 of the block, row 2"):
        update(values)


@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
def test_wrong_blocks_are_refused(update):
    with pytest.raises(UsageError, match=r"shape \(2, T\)"):
        update(np.ones((3, 2), np.float32))
    with pytest.raises(UsageError, match="float32 or float64"):
        update(np.ones((2, 3), np.float16))


def test_a_refused_batch_changes_nothing():
    state = Moments.empty(1).update(np.ones((1, 4)))
    with pytest.raises(ActivationError):
        state.update(np.array([[np.nan]]))
    assert state.n_rows == 4
    assert state.finalize()["mean"][0] == 1


def test_states_of_different_blocks_do_not_merge():
    with pytest.raises(UsageError, match="do not merge"):
        ValueHistogram.empty(1, "float16").merge(ValueHistogram.empty(1, "bfloat16"))
    with pytest.raises(UsageError, match="do not merge"):
        TopRows.empty(1, 2).merge(TopRows.empty(1, 3))
    with pytest.raises(UsageError, match="do not merge"):
        ConceptMoments.empty(1, 2).merge(ConceptMoments.empty(1, 3))
    with pytest.raises(UsageError, match="at least 1"):
        TopRows.empty(1, 0)
    with pytest.raises(UsageError, match="must not be negative"):
        TopRows.empty(1, 2).update(np.ones((1, 1)), np.array([-1]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_moments_of_bits_are_those_of_their_values(dtype):
    """Of every finite value there is, the denormals and both zeros included."""
    every = np.arange(1 << 16, dtype=np.uint16)
    finite = every[np.isfinite(bits_to_float32(every, dtype))]
    bits = np.stack([finite, finite[::-1], np.roll(finite, 999)])
    labels = LabelMatrix.from_dense(np.random.default_rng(0).random((len(finite), 5)) < 0.3)
    found = ConceptMoments.empty(3, 5).update_bits(bits, dtype, labels, threads=2).arrays()
    expected = ConceptMoments.empty(3, 5).update(bits_to_float32(bits, dtype), labels).arrays()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_bits_that_are_not_finite_are_refused():
    bits = np.full((2, 3), 0x3C00, np.uint16)
    bits[1, 2] = 0x7C00
    with pytest.raises(ActivationError, match="neuron 1 of the block, row 2: inf"):
        ConceptMoments.empty(2, 1).update_bits(bits, "float16", LabelMatrix.from_dense(np.ones((3, 1), bool)))
