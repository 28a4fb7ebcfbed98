"""Parquet: exact round trips, the same bytes each time, and files that DuckDB reads."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.store import BLOCK_NEURONS, FileEntry, Store, write_activations, write_table
from schemas.errors import IntegrityError, StoreError
from schemas.tables import CONTEXTS, LABELS, SENTENCES, words_schema


def _entry(store: Store, path: str, first: int, n_neurons: int) -> FileEntry:
    del store
    return FileEntry.of(path, n_rows=0, n_bytes=0, sha256="", first_neuron=first, n_neurons=n_neurons)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    values=arrays.arrays(np.uint16, st.tuples(st.integers(0, 40), st.integers(1, 20))),
    first=st.sampled_from([0, 5, 4096, 9990]),
    dtype=st.sampled_from(["float16", "bfloat16"]),
)
def test_bits_survive(tmp_path: Path, values: np.ndarray, first: int, dtype: str) -> None:
    store = Store.create(str(tmp_path))
    ids = np.arange(len(values), dtype=np.int64) + 7
    write_activations(tmp_path / "a.parquet", values, first_neuron=first, row_ids=ids, dtype=dtype)
    entry = _entry(store, "a.parquet", first, values.shape[1])
    reader = store.activation_reader()
    assert reader.dtype(entry) == dtype
    block = reader.read_block(entry)
    assert block.dtype == np.uint16
    assert block.flags.c_contiguous
    np.testing.assert_array_equal(block, values.T)
    np.testing.assert_array_equal(reader.row_ids(entry), ids)
    part = range(first + values.shape[1] // 2, first + values.shape[1])
    np.testing.assert_array_equal(reader.read_block(entry, part), values.T[values.shape[1] // 2 :])


def test_float32_survives(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((700, 9)).astype(np.float32)
    write_activations(tmp_path / "a.parquet", values, first_neuron=0, row_ids=np.arange(700), dtype="float32")
    store = Store.create(str(tmp_path))
    np.testing.assert_array_equal(store.activation_reader().read_block(_entry(store, "a.parquet", 0, 9)), values.T)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_same_bytes_and_readable_by_duckdb(tmp_path: Path, dtype: str) -> None:
    values = np.linspace(-4, 4, 600, dtype=np.float32).reshape(200, 3)
    stored = {
        "float16": values.astype(np.float16).view(np.uint16),
        "bfloat16": (values.view(np.uint32) >> 16).astype(np.uint16),
        "float32": values,
    }[dtype]
    exact = {
        "float16": values.astype(np.float16).astype(np.float64),
        "bfloat16": (values.view(np.uint32) & 0xFFFF0000).view(np.float32).astype(np.float64),
        "float32": values.astype(np.float64),
    }[dtype]
    for name in ("a", "b"):
        path = tmp_path / f"{name}.parquet"
        write_activations(path, stored, first_neuron=0, row_ids=np.arange(200), dtype=dtype)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert metadata.num_row_groups == 1
    assert metadata.row_group(0).column(0).is_stats_set
    assert not metadata.row_group(0).column(1).is_stats_set
    with duckdb.connect() as connection:
        query = "SELECT n0000, n0001, n0002 FROM read_parquet(?) ORDER BY row_id"
        rows = connection.execute(query, [str(tmp_path / "a.parquet")]).fetchall()
    np.testing.assert_array_equal(np.array(rows), exact)


@pytest.mark.parametrize(
    ("values", "ids", "rule"),
    [
        (np.zeros((3, 2), np.float32), [0, 1, 2], "uint16"),
        (np.zeros(3, np.uint16), [0, 1, 2], "uint16"),
        (np.zeros((3, 2), np.uint16), [0, 1], "increasing"),
        (np.zeros((3, 2), np.uint16), [0, 2, 1], "increasing"),
        (np.zeros((1, BLOCK_NEURONS + 1), np.uint16), [0], "4096"),
        (np.zeros((1, 0), np.uint16), [0], "4096"),
    ],
)
def test_wrong_blocks_are_refused(tmp_path: Path, values: np.ndarray, ids: list[int], rule: str) -> None:
    with pytest.raises(StoreError, match=rule):
        write_activations(tmp_path / "a", values, first_neuron=0, row_ids=np.array(ids), dtype="float16")


def test_reader_refuses_other_neurons_and_files(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    bits = np.zeros((2, 4), np.uint16)
    write_activations(tmp_path / "a.parquet", bits, first_neuron=4, row_ids=np.arange(2), dtype="float16")
    reader = store.activation_reader()
    for neurons in (range(4), range(7, 9), range(4, 8, 2), range(5, 5)):
        with pytest.raises(StoreError, match="was asked for"):
            reader.read_block(_entry(store, "a.parquet", 4, 4), neurons)
    pq.write_table(pa.table({"row_id": [0], "n0000": [1.0]}), tmp_path / "b.parquet")
    with pytest.raises(IntegrityError, match="not an activation file"):
        reader.read_block(_entry(store, "b.parquet", 0, 1))
    (tmp_path / "c.parquet").write_bytes(b"PAR1 torn")
    for ask in (reader.read_block, reader.row_ids):
        with pytest.raises(IntegrityError, match=r"c\.parquet cannot be read"):
            ask(_entry(store, "c.parquet", 0, 1))


def test_reader_keeps_only_some_footers(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    reader = store.activation_reader()
    for number in range(70):
        bits = np.full((1, 1), number, np.uint16)
        write_activations(tmp_path / f"{number}", bits, first_neuron=0, row_ids=np.arange(1), dtype="float16")
    for _ in range(2):
        assert [int(reader.read_block(_entry(store, str(n), 0, 1))[0, 0]) for n in range(70)] == list(range(70))
    assert len(reader._footers) <= 64


def test_tables_round_trip_with_layers_lists_and_nulls(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    schema = words_schema(("upos", "entity"))
    content = {
        "word_id": np.arange(3), "sentence_id": [0, 0, 0], "document_id": [0, 0, 0], "position": np.arange(3),
        "word": ["Ünï", "", "b\tc"], "start": [0, 4, 5], "end": [3, 4, 8], "split": [None, "train", None],
        "upos": ["X", None, "X"], "entity": pa.array([None, None, None], pa.string()),
    }  # fmt: skip
    for name in ("a.parquet", "b.parquet"):
        write_table(tmp_path / name, content, schema)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    entries = [_entry(store, name, 0, 0) for name in ("a.parquet", "b.parquet")]
    table = store.read_table(entries, ["upos", "word"])
    assert table.column_names == ["upos", "word"]
    assert table["upos"].to_pylist() == ["X", None, "X"] * 2
    assert table["word"].to_pylist() == ["Ünï", "", "b\tc"] * 2
    assert store.read_table(entries).schema.field("upos").type == schema.field("upos").type


def test_maps_and_lists(tmp_path: Path) -> None:
    assert pa.types.is_map(SENTENCES.arrow.field("labels").type)
    content = {name: [] for name in CONTEXTS.arrow.names}
    write_table(tmp_path / "empty.parquet", content, CONTEXTS.arrow)
    assert pq.read_table(tmp_path / "empty.parquet").schema.equals(CONTEXTS.arrow)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ({"row_id": [1]}, r"missing \['concept'\]"),
        ({"row_id": [1], "concept": ["a"], "x": [1]}, r"unknown \['x'\]"),
        ({"row_id": [None], "concept": ["a"]}, "may not be null"),
        ({"row_id": ["a"], "concept": ["a"]}, "must be int64"),
    ],
)
def test_tables_must_fit_their_schema(tmp_path: Path, content: dict[str, list[object]], rule: str) -> None:
    with pytest.raises(StoreError, match=rule):
        write_table(tmp_path / "a", content, LABELS.arrow)


def test_reading_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no files"):
        Store.create(str(tmp_path)).read_table([])


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    target = tmp_path / "none" / "a.parquet"
    with pytest.raises(StoreError, match="cannot be written"):
        write_table(target, {"row_id": [1], "concept": ["a"]}, LABELS.arrow)
    with pytest.raises(StoreError, match="cannot be written"):
        write_activations(target, np.zeros((1, 1), np.uint16), first_neuron=0, row_ids=np.arange(1), dtype="float16")
    if Path("/dev/full").exists():
        with pytest.raises(StoreError, match="No space left"):
            write_table("/dev/full", {"row_id": [1], "concept": ["a"]}, LABELS.arrow)
