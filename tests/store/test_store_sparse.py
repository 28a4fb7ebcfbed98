"""Sparse activation files: exact round trips, what receipts say of them, SQL, and what `verify` finds."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.store import FileEntry, Store, paths
from pipeline.store import sparse as sparse_files
from pipeline.store.footer import Reduction
from pipeline.store.parquet import write_few_values
from pipeline.store.publish import publish
from pipeline.store.sparse import write_sparse
from pipeline.store.sql import connect
from pipeline.store.verify import verify
from schemas.errors import IntegrityError, StoreError

#: Both zeros, subnormals, the largest of float16 and ordinary values, as bits of 16-bit floats.
BITS = (0x0000, 0x8000, 0x0000, 0x0001, 0x8001, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00)
FLOATS = (0.0, -0.0, 0.0, 1e-45, -1e-45, 65504.0, -65504.0, 1.0, -1.0)


@st.composite
def layers(draw: st.DrawFn) -> tuple[np.ndarray, str]:
    dtype = draw(st.sampled_from(["float16", "bfloat16", "float32"]))
    shape = (draw(st.integers(0, 12)), draw(st.integers(1, 9)))
    kind, elements = (np.float32, FLOATS) if dtype == "float32" else (np.uint16, BITS)
    return draw(arrays.arrays(kind, shape, elements=st.sampled_from(elements))), dtype


def stored_zeros(values: np.ndarray) -> np.ndarray:
    """Whether a value is a zero of either sign."""
    return values == 0 if values.dtype == np.float32 else (values & 0x7FFF) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    layer=layers(),
    first=st.sampled_from([0, 4096]),
    first_row=st.sampled_from([0, 2**40 + 7]),
    per_group=st.integers(1, 9),
    seed=st.integers(0, 9),
)
def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer, first, first_row, per_group, seed) -> None:
    monkeypatch.setattr(sparse_files, "_VALUES_PER_GROUP", per_group)
    values, dtype = layer
    store = Store.create(str(tmp_path))
    row, neuron = np.divmod(np.random.default_rng(seed).permutation(values.size), values.shape[1])
    neurons, rows = range(first, first + values.shape[1]), range(first_row, first_row + len(values))
    write_sparse(
        tmp_path / "a.parquet", neuron + first, row + first_row, values[row, neuron],
        neurons=neurons, rows=rows, dtype=dtype,
    )  # fmt: skip
    entry = FileEntry.of("a.parquet", n_rows=0, n_bytes=0, sha256="", first_neuron=first, n_neurons=len(neurons))
    reader = store.activation_reader()
    expected = np.where(stored_zeros(values), 0, values).astype(values.dtype).T
    block = reader.read_block(entry)
    assert block.dtype == values.dtype
    np.testing.assert_array_equal(block.view(np.uint8), np.ascontiguousarray(expected).view(np.uint8))
    for chosen in (range(first, first + 1), range(neurons[-1], neurons.stop)):
        np.testing.assert_array_equal(
            reader.read_block(entry, chosen), block[chosen.start - first : chosen.stop - first]
        )
    assert reader.dtype(entry) == dtype
    assert reader.row_ids(entry).tolist() == list(rows)
    assert pq.read_metadata(tmp_path / "a.parquet").num_rows == int((~stored_zeros(values)).sum())


def commit(store: Store, shard: int, values: np.ndarray, dtype: str, reduction: Reduction | None = None) -> FileEntry:
    """A sparse shard of model `other`, ``mlp`` layer 1, with every value of ``values`` (T, N) that is not 0."""
    row, neuron = np.nonzero(np.ones(values.shape, bool))
    with store.staging() as staging:
        path = staging.path(paths.activation_file("other", "mlp", 1, 0, shard))
        first = shard * len(values)
        write_sparse(
            path, neuron, row + first, values.ravel(),
            neurons=range(values.shape[1]), rows=range(first, first + len(values)), dtype=dtype, reduction=reduction,
        )  # fmt: skip
        (entry,) = store.commit(staging, "dump", f"other/{shard}").files
    return entry


def test_the_receipt_says_what_the_file_says(small_store: Store) -> None:
    values = np.array([[0.0, 2.0], [0.0, -0.0], [1.0, 3.0]], np.float16).view(np.uint16)
    entry = commit(small_store, 0, values, "float16", Reduction("topk 2", 0.123456789))
    assert (entry.n_rows, entry.n_values, entry.neurons) == (3, 3, range(2))
    assert (entry.rule, entry.loss, entry.n_clipped) == ("topk 2", 0.123457, None)
    assert entry.is_sparse
    (again,) = small_store.receipts("dump", "other")["other/0"].files
    assert again == entry
    with small_store.staging() as staging:
        path = staging.path(paths.activation_file("eight", "mlp", 1, 0, 0))
        reduction = Reduction("int8", 3e-5, 17)
        write_few_values(path, values, first_neuron=0, row_ids=np.arange(3), reduction=reduction)
        (entry,) = small_store.commit(staging, "dump", "eight").files
    assert (entry.rule, entry.loss, entry.n_clipped, entry.n_values) == ("int8", 3e-5, 17, None)
    assert not entry.is_sparse


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_sql_and_published_macros(small_store: Store, dtype: str) -> None:
    """A store with wide files of one model and sparse ones of another, the second in two shards."""
    rng = np.random.default_rng(0)
    floats = np.round(rng.standard_normal((6, 4)) * 4) / 4  # exact in every dtype
    floats[rng.random((6, 4)) < 0.5] = 0
    stored = {
        "float16": floats.astype(np.float16).view(np.uint16),
        "bfloat16": (floats.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16),
        "float32": floats.astype(np.float32),
    }[dtype]
    entries = [commit(small_store, shard, stored[shard * 3 : shard * 3 + 3], dtype) for shard in (0, 1)]
    small_store.advance("activations", "other", entries)
    expected = [(int(row), int(n), float(floats[row, n])) for row, n in zip(*np.nonzero(floats), strict=True)]
    query = "SELECT row_id, neuron, value FROM {} WHERE model = 'other' AND layer = 1 ORDER BY ALL"
    with connect(small_store) as connection:
        assert connection.execute(query.format("sparse_mlp")).fetchall() == expected
        assert connection.sql("SELECT DISTINCT model FROM activations_mlp").fetchall() == [("tiny",)]
        assert [str(t) for t in connection.sql("FROM sparse_mlp").types] == [
            "VARCHAR",
            "INTEGER",
            "BIGINT",
            "INTEGER",
            "FLOAT",
        ]
    snapshot = publish(small_store)
    file = small_store.storage.url(f"snapshots/{snapshot}/neuronmill.duckdb")
    with duckdb.connect(file, read_only=True) as connection:
        assert connection.execute(query.format(f"sparse_mlp('{small_store.url}')")).fetchall() == expected
    assert verify(small_store) == []


@pytest.mark.parametrize(
    ("neuron", "row", "message"),
    [
        ([0, 2], [0, 0], "neuron must lie in 0 … 1; got 0 … 2"),
        ([0, 1], [-1, 0], "row_id must lie in 0 … 2; got -1 … 0"),
        ([1, 0, 1], [2, 0, 2], "neuron 1 has two values in row 2"),
        ([0, 1], [0], r"must be three \(n,\) arrays"),
    ],
)
def test_wrong_places_are_refused(tmp_path: Path, neuron: list[int], row: list[int], message: str) -> None:
    values = np.full(len(neuron), 0x3C00, np.uint16)
    with pytest.raises(StoreError, match=message):
        write_sparse(
            tmp_path / "a.parquet", np.array(neuron), np.array(row), values,
            neurons=range(2), rows=range(3), dtype="float16",
        )  # fmt: skip


def test_values_of_another_dtype_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"values of uint16; got .* float32"):
        write_sparse(
            tmp_path / "a.parquet", np.zeros(1, int), np.zeros(1, int), np.ones(1, np.float32),
            neurons=range(2), rows=range(3), dtype="float16",
        )  # fmt: skip


def damaged(values: np.ndarray, neuron: list[int], row: list[int], store: Store, monkeypatch) -> list[tuple[str, str]]:
    """Problems of a sparse file written with these places as they are: the checks and the sort switched off."""
    monkeypatch.setattr(sparse_files, "_check", lambda *_: None)
    monkeypatch.setattr(sparse_files, "_magnitudes", lambda found: np.ones(len(found)))
    monkeypatch.setattr(np, "argsort", lambda found, **_: np.arange(len(found)))
    with store.staging() as staging:
        path = staging.path(paths.activation_file("other", "mlp", 1, 0, 0))
        places = (np.array(neuron), np.array(row))
        write_sparse(path, *places, values, neurons=range(3), rows=range(4), dtype="float32")
        store.commit(staging, "dump", "other/0")
    monkeypatch.undo()
    return [(problem.rule, problem.found) for problem in verify(store)]


@pytest.mark.parametrize(
    ("values", "neuron", "row", "rule"),
    [
        ([1.0, 2.0], [1, 0], [0, 0], "sorted"),
        ([1.0, 2.0], [1, 1], [3, 2], "sorted"),
        ([1.0, np.nan], [0, 1], [0, 0], "finite"),
        ([1.0, np.inf], [0, 1], [0, 0], "finite"),
        ([1.0, 0.0], [0, 1], [0, 0], "zero"),
        ([1.0, -0.0], [0, 1], [0, 0], "zero"),
        ([1.0, 2.0], [0, 3], [0, 0], "range"),
        ([1.0, 2.0], [0, 1], [0, 4], "range"),
    ],
)
def test_verify_finds(small_store: Store, monkeypatch, values, neuron, row, rule) -> None:
    found = damaged(np.array(values, np.float32), neuron, row, small_store, monkeypatch)
    assert [name for name, _ in found] == [rule]
    assert f"neuron {neuron[1]} in row {row[1]}" in found[0][1]


def test_verify_compares_counts_and_row_ids(small_store: Store) -> None:
    values = np.full((3, 2), 0x3C00, np.uint16)
    commit(small_store, 0, values, "float16")
    path = "receipts/dump/other/0.json"
    text = small_store.storage.read(path).decode()
    small_store.storage.put(
        path, text.replace('"n_values": 6', '"n_values": 5').replace('"n_rows": 3', '"n_rows": 4').encode()
    )
    assert [(problem.rule, problem.found) for problem in verify(small_store)] == [
        ("n_rows", "3 instead of 4"),
        ("n_values", "6 instead of 5"),
    ]


def test_a_gap_between_sparse_shards(small_store: Store) -> None:
    values = np.full((3, 2), 0x3C00, np.uint16)
    commit(small_store, 0, values, "float16")
    with small_store.staging() as staging:
        path = staging.path(paths.activation_file("other", "mlp", 1, 0, 1))
        places = (np.array([0]), np.array([5]))
        write_sparse(path, *places, values[0, :1], neurons=range(2), rows=range(5, 8), dtype="float16")
        small_store.commit(staging, "dump", "other/1")
    (problem,) = verify(small_store)
    assert problem.found == "begins with 5 and the shard before it ends with 2"


def test_a_footer_that_is_not_ours(small_store: Store) -> None:
    table = pq.read_table(small_store.storage.url(paths.activation_file("tiny", "mlp", 1, 0, 0)), partitioning=None)
    for metadata, message in (
        ({}, "is not an activation file"),
        ({b"neuronmill.dtype": b"float16", b"neuronmill.layout": b"sparse"}, "its footer cannot be read"),
    ):
        with small_store.staging() as staging:
            path = paths.activation_file("other", "mlp", 1, 0, 0)
            pq.write_table(table.replace_schema_metadata(metadata), staging.path(path))
            with pytest.raises(IntegrityError, match=message):
                small_store.commit(staging, "dump", "other/0")
