"""Codes keep order and value for every one of the 65,536 bit patterns."""

import numpy as np
import pytest

from pipeline.stats import bits_to_float32, decode_codes, encode_codes, round_to_bits
from pipeline.stats.codes import code_values
from schemas.errors import ActivationError, UsageError

ALL_BITS = np.arange(1 << 16, dtype=np.uint16)


def finite_bits(dtype: str) -> np.ndarray:
    exponent = np.uint16(0x7C00 if dtype == "float16" else 0x7F80)
    return ALL_BITS[(ALL_BITS & exponent) != exponent]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_finite_value_survives_and_keeps_its_order(dtype):
    bits = finite_bits(dtype)
    codes, values = encode_codes(bits, dtype), bits_to_float32(bits, dtype).astype(np.float64)
    np.testing.assert_array_equal(decode_codes(codes, dtype), values)
    order = np.argsort(codes, kind="stable")
    assert (np.diff(values[order]) >= 0).all()
    equal_codes = np.diff(codes[order].astype(int)) == 0
    np.testing.assert_array_equal(equal_codes, np.diff(values[order]) == 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_both_zeros_have_one_code(dtype):
    zeros = encode_codes(np.array([0x0000, 0x8000], np.uint16), dtype)
    assert zeros[0] == zeros[1]
    assert not np.signbit(decode_codes(zeros, dtype)).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_value_table_is_sorted_and_read_only(dtype):
    table = code_values(dtype)
    assert (table[1:] >= table[:-1]).all()
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0


def test_encoding_leaves_its_argument_alone():
    bits = np.array([[1, 0x8001], [0x8000, 5]], np.uint16)
    before = bits.copy()
    encode_codes(bits, "float16")
    np.testing.assert_array_equal(bits, before)


def test_bfloat16_rounds_to_nearest_even_like_torch():
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    values = (random.standard_normal(10_000) * 10.0 ** random.integers(-30, 30, 10_000)).astype(np.float32)
    halfway = (np.arange(0x3F80, 0x3F90, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    values = np.concatenate([values, halfway, -halfway])
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(round_to_bits(values, "bfloat16"), expected)


def test_float16_rounds_like_numpy():
    values = np.array([[0.1, 65504, 65519, -1e-8, 1 / 3]], np.float32)
    np.testing.assert_array_equal(round_to_bits(values, "float16"), values.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize(
    ("dtype", "value"), [("float16", 65520), ("float16", np.nan), ("bfloat16", 3.4e38), ("bfloat16", -np.inf)]
)
def test_what_does_not_fit_is_refused(dtype, value):
    with pytest.raises(ActivationError, match="cannot be rounded"):
        round_to_bits(np.array([1, value], np.float32), dtype)


def test_float32_has_no_codes():
    with pytest.raises(UsageError, match="round_to_bits"):
        encode_codes(ALL_BITS, "float32")
    with pytest.raises(UsageError, match="uint16"):
        encode_codes(ALL_BITS.astype(np.int32), "float16")


def test_threads_and_strides_do_not_change_codes():
    values = np.random.default_rng(0).standard_normal((5, 300)).astype(np.float16)
    expected = encode_codes(values.view(np.uint16), "float16")
    np.testing.assert_array_equal(encode_codes(values.view(np.uint16), "float16", threads=3), expected)
    np.testing.assert_array_equal(encode_codes(values.T.view(np.uint16), "float16"), expected.T)
