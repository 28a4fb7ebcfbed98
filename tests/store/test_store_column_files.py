"""Activation files put together in memory: what Arrow, DuckDB and zstd read in them, whatever the values are like."""

from __future__ import annotations

import hashlib

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.store import write_activations
from pipeline.store.column_files.column_source import NeuronMajor, RowMajor
from pipeline.store.column_files.pages import page_header
from pipeline.store.column_files.split_pages import SplitPages
from schemas.errors import StoreError

LONGEST_BLOCK = 1 << 17


def model_like(rng, n_rows, n_neurons):
    return rng.standard_normal((n_rows, n_neurons)).astype(np.float32)


def mostly_zero(rng, n_rows, n_neurons):
    return np.where(rng.random((n_rows, n_neurons)) < 0.9, np.float32(0), model_like(rng, n_rows, n_neurons))


def constant(rng, n_rows, n_neurons):
    return np.full((n_rows, n_neurons), np.float32(rng.choice([0.0, -0.0, 65_504.0, 2.0**-24])))


def any_bits(rng, n_rows, n_neurons):
    bits = rng.integers(0, 2**32, (n_rows, n_neurons), np.uint32)
    return np.where(bits & 0x7F800000 == 0x7F800000, np.uint32(1), bits).view(np.float32)


def stored_as(values, dtype):
    """The array to write, and the same values as readers see them."""
    if dtype == "float32":
        return values, values
    if dtype == "bfloat16":
        bits = (values.view(np.uint32) >> 16).astype(np.uint16)
        return bits, (bits.astype(np.uint32) << 16).view(np.float32)
    half = np.clip(values, -65_504, 65_504).astype(np.float16)
    return half.view(np.uint16), half


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    make=st.sampled_from([model_like, mostly_zero, constant, any_bits]),
    n_rows=st.sampled_from([0, 1, 2, 3, 63, 64, 255, 256, 257, 1000, 4097]),
    n_neurons=st.sampled_from([1, 2, 17, 127, 128, 129]),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_readers_find_the_rows_in_order(tmp_path, make, n_rows, n_neurons, dtype, seed):
    rng = np.random.default_rng(seed)
    values, expected = stored_as(make(rng, n_rows, n_neurons), dtype)
    places = rng.permutation(n_rows)
    path, ids = tmp_path / "a.parquet", np.arange(9, 9 + n_rows)
    facts = write_activations(path, RowMajor(values, places), first_neuron=3, row_ids=ids, dtype=dtype)
    content = path.read_bytes()
    assert facts == {
        "n_rows": n_rows,
        "first_neuron": 3,
        "n_neurons": n_neurons,
        "n_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    table = pq.read_table(path)
    assert np.array_equal(table["row_id"].to_numpy(), ids)
    for neuron in range(n_neurons):
        found = table[f"n{neuron + 3:04d}"].to_numpy()
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected[places, neuron].tobytes()
    again = tmp_path / "b.parquet"
    columns = NeuronMajor(np.ascontiguousarray(values[places].T))
    write_activations(again, columns, first_neuron=3, row_ids=ids, dtype=dtype)
    assert again.read_bytes() == content, "the bytes follow from the values alone"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("make", [model_like, mostly_zero])
def test_duckdb_reads_pages_of_several_blocks(tmp_path, make, dtype):
    n_rows = LONGEST_BLOCK + 5_000
    values, expected = stored_as(make(np.random.default_rng(0), n_rows, 3), dtype)
    path = tmp_path / "a.parquet"
    write_activations(path, values, first_neuron=0, row_ids=np.arange(n_rows), dtype=dtype)
    query = f"SELECT sum(n0000::DOUBLE), min(n0001), max(n0002), count(*) FROM '{path}'"
    total, low, high, count = duckdb.execute(query).fetchone()
    assert total == pytest.approx(expected[:, 0].astype(np.float64).sum(), abs=1e-6)
    assert (low, high, count) == (expected[:, 1].min(), expected[:, 2].max(), n_rows)


@pytest.mark.parametrize(
    ("places", "columns", "rule"),
    [
        (np.arange(3) + 8, None, "places must be among 10 rows; got 8 to 10"),
        (np.arange(3) - 1, None, "places must be among 10 rows; got -1 to 1"),
        (None, range(2, 5), "columns must be consecutive ones of 4"),
        (None, range(0, 4, 2), "columns must be consecutive ones of 4"),
    ],
)
def test_rows_and_columns_that_are_not_there_are_refused(places, columns, rule):
    with pytest.raises(StoreError, match=rule):
        RowMajor(np.zeros((10, 4), np.uint16), places, columns)


def split_pages(values, dtype):
    """The content of each column's page, and whether headers and sizes are what they should be."""
    bits, _ = stored_as(values, dtype)
    columns = np.ascontiguousarray(bits.T)
    header, sizes = page_header(4 * columns.shape[1], columns.shape[1], 9), np.empty((len(columns), 2), np.int64)
    out = np.zeros(5 * bits.size + 600 * len(columns), np.uint8)
    end = SplitPages(columns).write(columns, header, out, 3, sizes)
    ends = 3 + np.cumsum(sizes[:, 0])
    assert ends[-1] == end
    for stop, (n_bytes, n_header) in zip(ends, sizes, strict=True):
        page = out[stop - n_bytes : stop].tobytes()
        assert page[:n_header] == header.of(n_bytes - n_header)
        yield page[n_header:]


@pytest.mark.parametrize("n_rows", [1, 100, 255, 256, 5_000, LONGEST_BLOCK, LONGEST_BLOCK + 1, 3 * LONGEST_BLOCK])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_spliced_frame_is_one_frame_that_says_its_size(n_rows, dtype):
    values = model_like(np.random.default_rng(1), n_rows, 2)
    _, expected = stored_as(values, dtype)
    for frame, column in zip(split_pages(values, dtype), expected.T.astype(np.float32), strict=True):
        assert zstandard.get_frame_parameters(frame).content_size == 4 * n_rows
        content = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
        streams = np.frombuffer(content, np.uint8).reshape(4, n_rows)
        assert np.ascontiguousarray(streams.T).view("<f4").ravel().tobytes() == column.tobytes()


def test_bfloat16_of_a_model_takes_its_noise_and_a_third_of_the_rest():
    values = model_like(np.random.default_rng(0), 8192, 64)
    size = sum(map(len, split_pages(values, "bfloat16")))
    assert 1.2 < size / values.size < 1.4


def test_streams_that_repeat_are_searched(tmp_path):
    bits, _ = stored_as(mostly_zero(np.random.default_rng(0), 8192, 64), "bfloat16")
    facts = write_activations(tmp_path / "a", bits, first_neuron=0, row_ids=np.arange(8192), dtype="bfloat16")
    assert facts["n_bytes"] / bits.size < 0.6


@pytest.mark.parametrize("n_rows", [0, 1, 7, 8, 9, 1023, 1024, 1025, 3000])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_transposition_of_any_size_and_part(n_rows, dtype):
    rng = np.random.default_rng(n_rows)
    wide = rng.integers(0, 2**16, (n_rows + 5, 200)).astype(dtype)
    for values in (wide, wide[:, 3:133]):
        places = rng.permutation(len(values))[:n_rows]
        for columns in (slice(0, 130), slice(63, 66), slice(64, 64), slice(0, 130, 7)):
            expected = values[places, columns].T
            in_columns = NeuronMajor(np.ascontiguousarray(values[places].T))
            a_part = RowMajor(np.pad(values, ((0, 0), (4, 9))), places, range(4, 4 + values.shape[1]))
            for source in (RowMajor(values, places), a_part, in_columns):
                assert source.shape == (values.shape[1], n_rows)
                into = np.zeros((len(expected), n_rows + 2), dtype)[:, 1:-1]
                source.copy(columns, into)
                assert np.array_equal(into, expected)
