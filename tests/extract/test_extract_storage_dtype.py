"""Stored bits against numpy's float16 and bfloat16 worked out by hand, and every value that must not be stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.storage_dtype import Bits, storage_dtype
from schemas.errors import ActivationError

floats = st.lists(st.floats(-65504, 65504, width=32), min_size=1, max_size=40)


def to_storage(values: torch.Tensor, dtype: str, component: str = "mlp", layer: int = 0) -> Bits:
    storage = storage_dtype(dtype)
    return storage.bits(storage.checked(values, component, layer))


def _column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


@given(floats)
def test_float16_bits_are_numpys(values: list[float]) -> None:
    expected = np.array(values, dtype=np.float32).astype(np.float16).view(np.uint16)
    assert to_storage(_column(values), "float16")[:, 0].tolist() == expected.tolist()


@given(st.lists(st.floats(-(2.0**126), 2.0**126, width=32), min_size=1, max_size=40))
def test_bfloat16_is_the_top_half_rounded_to_nearest_even(values: list[float]) -> None:
    bits = np.array(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    expected = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    assert to_storage(_column(values), "bfloat16")[:, 0].tolist() == expected.tolist()


@given(floats)
def test_float32_is_kept(values: list[float]) -> None:
    stored = to_storage(_column(values), "float32")
    assert stored.dtype == np.float32
    assert stored[:, 0].tobytes() == np.array(values, dtype=np.float32).tobytes()


@pytest.mark.parametrize("compute", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_stored_too(compute: torch.dtype) -> None:
    values = torch.tensor([[1.5, -2.25]], dtype=compute)
    assert to_storage(values, "float32").tolist() == [[1.5, -2.25]]
    assert to_storage(values, "float16").view(np.float16).tolist() == [[1.5, -2.25]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -float("nan")])
def test_nan_and_infinity_are_errors_that_name_the_neuron(dtype: str, value: float) -> None:
    values = torch.zeros(4, 3)
    values[2, 1] = value
    with pytest.raises(ActivationError, match=r"mlp layer 5 neuron 1: the model produced -?(nan|inf)"):
        to_storage(values, dtype, component="mlp", layer=5)


@pytest.mark.parametrize("value", [70000.0, -65520.0])
def test_overflow_of_float16_names_neuron_value_and_way_out(value: float) -> None:
    values = torch.zeros(4, 3)
    values[3, 2] = value
    with pytest.raises(
        ActivationError, match=rf"resid layer 2 neuron 2: value {value:g} overflows float16 .*--dtype bfloat16"
    ):
        to_storage(values, "float16", component="resid", layer=2)
    assert (to_storage(values, "bfloat16") != 0).sum() == 1


def test_overflow_of_bfloat16_names_float32() -> None:
    with pytest.raises(ActivationError, match=r"overflows bfloat16 .*--dtype float32"):
        to_storage(_column([3.4e38]), "bfloat16")


def test_the_largest_values_that_round_to_finite_ones_are_stored() -> None:
    stored = to_storage(_column([65519.0, -65519.0, 65504.0]), "float16").view(np.float16)
    assert stored[:, 0].tolist() == [65504.0, -65504.0, 65504.0]


def test_no_rows_and_unknown_dtypes() -> None:
    assert to_storage(torch.zeros(0, 4), "float16").shape == (0, 4)
    with pytest.raises(ValueError, match="dtype must be one of float16, bfloat16, float32; got 'int8'"):
        storage_dtype("int8")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("bad", [[], [float("nan")], [float("inf")], [float("-inf")], [float("inf"), float("-inf")]])
def test_what_is_not_finite_shows_in_any_row_and_sums_that_overflow_do_not(dtype: str, bad: list[float]) -> None:
    storage = storage_dtype(dtype)
    for filler in (0.0, -1.0, torch.finfo(storage.torch_dtype).max):
        for row in (0, 6):
            values = torch.full((7, 300), filler, dtype=storage.torch_dtype)
            values[row, 1 : 1 + len(bad)] = torch.tensor(bad, dtype=storage.torch_dtype)
            assert storage.is_finite(values) == (not bad)
