"""Plain float16 files: what other readers find in them, and the short way back."""

from __future__ import annotations

import resource
import signal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.column_files.column_file import PLAIN_FLOAT16, write_columns
from pipeline.store.column_files.column_source import NeuronMajor
from pipeline.store.column_files.plain_columns import read_plain_columns
from pipeline.store.column_files.thrift_compact import varint, zigzag


def bits(rng, n_neurons, n_rows):
    """Any finite float16, zeros of both signs and subnormals among them."""
    values = rng.integers(0, 2**16, (n_neurons, n_rows), dtype=np.uint16)
    return np.where(values & 0x7C00 == 0x7C00, np.uint16(0x8001), values)


def write_plain_float16(path, values, names, ids, metadata):
    write_columns(path, NeuronMajor(values), PLAIN_FLOAT16, names, ids, metadata)


def names_of(n_neurons, first=0):
    return [f"n{neuron:04d}" for neuron in range(first, first + n_neurons)]


@settings(max_examples=40, deadline=None)
@given(
    n_rows=st.sampled_from([0, 1, 2, 127, 128, 129, 130, 257, 1000]),
    n_neurons=st.sampled_from([1, 13, 14, 15, 130]),
    first=st.sampled_from([0, 1, 63, 64, 2**31, 2**40]),
    gap=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_arrow_and_the_short_way_read_what_was_written(tmp_path_factory, n_rows, n_neurons, first, gap, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("plain") / "file.parquet"
    values = bits(rng, n_neurons, n_rows)
    ids = first + (np.cumsum(rng.integers(1, 5, n_rows)) if gap else np.arange(n_rows, dtype=np.int64))
    write_plain_float16(path, values, names_of(n_neurons, 5), ids, {b"key": b"value \xc3\xa9", b"other": b""})
    with pq.ParquetFile(path) as file:
        table, metadata = file.read(), file.metadata
        assert file.schema_arrow.names == ["row_id", *names_of(n_neurons, 5)]
        assert {str(field.type) for field in file.schema_arrow} == {"int64", "halffloat"}
        assert not any(field.nullable for field in file.schema_arrow)
    assert metadata.num_rows == n_rows
    assert metadata.metadata == {b"key": b"value \xc3\xa9", b"other": b""}
    assert np.array_equal(table["row_id"].to_numpy(), ids)
    for row, name in zip(values, names_of(n_neurons, 5), strict=True):
        assert np.array_equal(table[name].to_numpy().view(np.uint16), row)
    if n_rows:
        statistics = metadata.row_group(0).column(0).statistics
        assert (statistics.min, statistics.max, statistics.null_count) == (ids[0], ids[-1], 0)
    read = np.zeros_like(values)
    assert read_plain_columns(str(path), metadata, range(1, n_neurons + 1), read)
    assert np.array_equal(read, values)


def test_duckdb_reads_values_and_prunes_by_row_id(tmp_path):
    values = bits(np.random.default_rng(0), 1200, 5000)  # more buffers than one writev takes
    path = tmp_path / "file.parquet"
    write_plain_float16(path, values, names_of(1200), np.arange(70, 5070), {})
    floats = values.view(np.float16).astype(np.float64)
    found = duckdb.execute(
        f"SELECT count(*), sum(n0007::DOUBLE), max(n1199) FROM '{path}' WHERE row_id >= 100"
    ).fetchone()
    assert found == (4970, floats[7, 30:].sum(), floats[1199, 30:].max())
    plan = duckdb.execute(
        f"SELECT stats_min_value, stats_max_value FROM parquet_metadata('{path}') WHERE column_id = 0"
    ).fetchone()
    assert plan == ("70", "5069")


def test_a_value_costs_hardly_more_than_its_two_bytes(tmp_path):
    path = tmp_path / "file.parquet"
    values = bits(np.random.default_rng(0), 64, 131_072)
    write_plain_float16(path, values, names_of(64), np.arange(131_072), {})
    assert path.stat().st_size / values.size < 2.002


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zstd"},
        {"use_dictionary": True},
        {"max_rows_per_page": 100},
        {"row_group_size": 500},
    ],
)
def test_other_layouts_are_left_to_another_reader(tmp_path, options):
    values = bits(np.random.default_rng(0), 1, 1000)
    column = pa.Array.from_buffers(pa.float16(), 1000, [None, pa.py_buffer(values[0])])
    table = pa.Table.from_arrays([pa.array(np.arange(1000)), column], names=["row_id", "n0000"])
    path = tmp_path / "file.parquet"
    pq.write_table(table, path, **{"compression": "none", "use_dictionary": False, "row_group_size": 1000, **options})
    read = np.zeros_like(values)
    assert not read_plain_columns(str(path), pq.read_metadata(path), [1], read)


def test_a_write_that_is_cut_short_is_an_error(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # the call that reaches it writes a part
    try:
        with pytest.raises(OSError, match="File too large"):
            write_plain_float16(
                tmp_path / "file", bits(np.random.default_rng(0), 30, 5000), names_of(30), np.arange(5000), {}
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert (tmp_path / "file").stat().st_size == 100_000


@pytest.mark.parametrize(("number", "encoded"), [(0, "00"), (127, "7f"), (128, "8001"), (2**40, "808080808020")])
def test_varints(number, encoded):
    assert varint(number).hex() == encoded


@pytest.mark.parametrize(("number", "encoded"), [(0, "00"), (-1, "01"), (1, "02"), (-64, "7f"), (64, "8001")])
def test_zigzag(number, encoded):
    assert zigzag(number).hex() == encoded
