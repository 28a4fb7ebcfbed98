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
    stored = np.zeros(values.shape, storage.numpy_dtype)
    storage.store(values, np.arange(len(values)), stored, (component, layer))
    return stored


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


@pytest.mark.parametrize("compute", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_every_bit_pattern_is_torchs_or_an_error(compute: torch.dtype, dtype: str) -> None:
    """All values of the 16-bit dtypes; of float32 those around every rounding boundary of both, and random ones."""
    if compute is torch.float32:
        halves = np.arange(2**16, dtype=np.uint16)
        edges = np.concatenate([halves.view(np.float16).astype(np.float32).view(np.uint32), halves * np.uint32(2**16)])
        near = [edges + np.uint32(step) for step in (0, 1, 0xFFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001)]
        random = np.random.default_rng(0).integers(0, 2**32, 2**20, np.uint32)
        values = torch.from_numpy(np.concatenate([*near, random]).view(np.float32))
    else:
        values = torch.from_numpy(np.arange(2**16, dtype=np.uint16)).view(compute)
    storage = storage_dtype(dtype)
    expected = values.to(storage.torch_dtype)
    storable = expected.isfinite()
    unsigned = torch.uint16 if dtype != "float32" else torch.uint32
    found = to_storage(values[storable][:, None], dtype)[:, 0]
    assert found.tobytes() == expected[storable].view(unsigned).numpy().tobytes()
    # the smallest and largest of those that cannot be stored; the kernel compares with one limit
    bad = values[~storable].float()
    for value in (bad[bad > 0].min(), bad[bad < 0].max()):
        with pytest.raises(ActivationError):
            to_storage(torch.tensor([[0.0, value]]).to(compute), dtype)


@given(st.data())
def test_rows_are_chosen_and_only_they_are_checked(data: st.DataObject) -> None:
    n_rows, n_neurons = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 40))
    source = np.array(data.draw(st.lists(st.integers(0, n_rows - 1), max_size=12)), np.int64)
    values = torch.randn(n_rows, n_neurons, generator=torch.Generator().manual_seed(0))
    values[np.setdiff1d(np.arange(n_rows), source)] = float("nan")
    stored = np.zeros((len(source), n_neurons), np.uint16)
    storage_dtype("float16").store(values, source, stored, ("mlp", 0))
    assert stored.tobytes() == values[source].half().numpy().tobytes()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1e6])
def test_a_bad_value_of_any_chosen_row_is_named_by_its_neuron(bad: float) -> None:
    for row, column in ((0, 0), (3, 299), (6, 31)):
        values = torch.full((7, 300), -65504.0)
        values[row, column] = bad
        with pytest.raises(ActivationError, match=rf"attn layer 1 neuron {1000 + column}: "):
            storage_dtype("float16").store(
                values, np.arange(7)[::-1].copy(), np.zeros((7, 300), np.uint16), ("attn", 1), range(1000, 1300)
            )


def test_columns_apart_in_memory_are_stored_too() -> None:
    values = torch.arange(24.0).reshape(4, 6)[:, 1:5]
    stored = np.zeros((2, 4), np.float32)
    storage_dtype("float32").store(values, np.array([3, 0]), stored, ("mlp", 0))
    assert stored.tolist() == values[[3, 0]].tolist()


def test_rows_that_are_not_there_or_do_not_fit_are_never_read() -> None:
    storage, values, target = storage_dtype("float16"), torch.zeros(4, 3), ("mlp", 0)
    with pytest.raises(ValueError, match=r"2 rows of \(4, 3\) do not fit \(2, 2\)"):
        storage.store(values, np.arange(2), np.zeros((2, 2), np.uint16), target)
    for source in ([0, 4], [-1, 0]):
        with pytest.raises(IndexError, match="source names a row that is not there"):
            storage.store(values, np.array(source), np.zeros((2, 3), np.uint16), target)
