"""Verification finds every kind of damage and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.store import Store, paths, write_activations, write_table
from pipeline.store.publish import publish
from pipeline.store.verify import verify

RUN = "0123456789abcdef"
ROWS_ID = "aaaaaaaaaaaa"


def test_a_sound_store_has_no_problems(small_store: Store) -> None:
    publish(small_store)
    calls: list[tuple[int, int, int]] = []
    assert verify(small_store, lambda *done: calls.append(done)) == []
    listed = {entry.path: entry.n_bytes for entry in small_store.manifest().entries()}
    assert calls[-1] == (len(calls), len(calls), sum(listed.values()))
    assert len(calls) == 26


def _file(store: Store) -> Path:
    return Path(store.storage.url(paths.activation_file("tiny", "resid", 1, 0, 1)))


def test_missing(small_store: Store) -> None:
    _file(small_store).unlink()
    (problem,) = verify(small_store)
    assert (problem.rule, problem.path.endswith("shard-00001.parquet")) == ("missing", True)


def test_cut_off(small_store: Store) -> None:
    _file(small_store).write_bytes(_file(small_store).read_bytes()[:-10])
    assert [problem.rule for problem in verify(small_store)] == ["n_bytes"]


def test_a_flipped_bit(small_store: Store) -> None:
    content = bytearray(_file(small_store).read_bytes())
    content[len(content) // 2] ^= 1
    _file(small_store).write_bytes(content)
    (problem,) = verify(small_store)
    assert problem.rule == "sha256"
    assert problem.receipts == (f"receipts/dump/{RUN}/shard-00001.json",)
    assert str(problem).startswith("activations/model=tiny")
    assert str(problem).endswith(f"(receipt {problem.receipts[0]})")


def test_deleting_the_receipt_named_and_doing_the_work_again_repairs(small_store: Store) -> None:
    path = "states/run=x/state.npz"

    def work() -> None:
        with small_store.staging() as staging:
            staging.path(path).write_bytes(b"content")
            small_store.commit(staging, "stats", "piece")

    work()
    Path(small_store.storage.url(path)).write_bytes(b"damaged")
    (problem,) = verify(small_store)
    work()
    assert verify(small_store) == [problem]
    (receipt,) = problem.receipts
    small_store.storage.delete(receipt)
    work()
    assert verify(small_store) == []


def test_row_spaces_that_share_row_ids(small_store: Store) -> None:
    for space, first in (("bbbbbbbbbbbb", 4), ("dddddddddddd", 100)):
        ids = np.arange(first, first + 3)
        with small_store.staging() as staging:
            path = staging.path(paths.row_file("rows", space, 0))
            write_table(path, {"row_id": ids}, pa.schema([("row_id", pa.int64())]))
            small_store.commit(staging, f"rows-{space}", "shard-00000")
    (problem,) = verify(small_store)
    assert (problem.rule, problem.receipts) == ("row_space", ("receipts/rows-bbbbbbbbbbbb/shard-00000.json",))
    assert problem.found == f"begins with 4; rows/rows={ROWS_ID}/shard-00001.parquet reaches to 5"


@pytest.mark.parametrize(
    ("dtype", "bad"), [("float16", 0x7C00), ("float16", 0xFE01), ("bfloat16", 0x7F80), ("bfloat16", 0xFFC0)]
)
def test_values_that_are_not_finite(small_store: Store, dtype: str, bad: int) -> None:
    bits = np.zeros((3, 5), np.uint16)
    bits[1, 4] = bad
    _commit(small_store, bits, np.arange(3), dtype)
    (problem,) = verify(small_store)
    assert (problem.rule, problem.found) == ("finite", "NaN or infinity in n0004 at row 1 (1 in these neurons)")


def test_float32_values(small_store: Store) -> None:
    values = np.zeros((3, 2), np.float32)
    _commit(small_store, values, np.arange(3), "float32")
    assert verify(small_store) == []


def test_gaps_in_row_ids(small_store: Store) -> None:
    _commit(small_store, np.zeros((3, 1), np.uint16), np.array([0, 1, 3]), "float16")
    assert [problem.rule for problem in verify(small_store)] == ["row_id"]


def test_gaps_between_shards(small_store: Store) -> None:
    for shard, first in enumerate((0, 5)):
        _commit(small_store, np.zeros((3, 1), np.uint16), np.arange(first, first + 3), "float16", shard)
    (problem,) = verify(small_store)
    assert problem.found == "begins with 5 and the shard before it ends with 2"


def _commit(store: Store, values: np.ndarray, ids: np.ndarray, dtype: str, shard: int = 0) -> None:
    with store.staging() as staging:
        path = staging.path(paths.activation_file("other", "mlp", 1, 0, shard))
        write_activations(path, values, first_neuron=0, row_ids=ids, dtype=dtype)
        store.commit(staging, "dump", f"other/{shard}")


def test_torn_receipts_and_lost_snapshots(small_store: Store) -> None:
    small_store.storage.put("receipts/dump/x.json", b"{")
    small_store.storage.put("CURRENT", b"abc\n")
    assert [(problem.rule, problem.path) for problem in verify(small_store)] == [
        ("receipt", "receipts/dump/x.json"),
        ("missing", "snapshots/abc/manifest.json"),
    ]
    assert verify(small_store)[0].receipts == ("receipts/dump/x.json",)


def test_contradicting_records(small_store: Store) -> None:
    path = "receipts/plan/shard-00000.json"
    text = small_store.storage.read(path).decode()
    small_store.storage.put(path, text.replace('"n_bytes": ', '"n_bytes": 1', 1).encode())
    (problem,) = verify(small_store)
    assert (problem.path, problem.rule, problem.receipts) == (path, "conflict", (path,))
    listed = json.loads(text)["files"][0]["path"]
    Path(small_store.storage.url(listed)).write_bytes(b"as neither says")
    assert {(problem.path, problem.rule) for problem in verify(small_store)} == {
        (listed, "conflict"),
        (listed, "n_bytes"),
    }
