"""Exports: round trips, and files that other programs read, against the store's own values."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from import_case import make_case, run_import, write_tsv
from tiny_run import run_stages, tables

from pipeline.run.exported_rows import RowChoice
from pipeline.run.exporting import Exporter, ExportRequest
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.store.store import Store
from schemas.errors import ExchangeError

CASE = make_case()


def export(store, output, layers=(3,), component="mlp", kind="npy", **options):
    """Write a file of a store's only model."""
    store = Store.open(str(store))
    request = ExportRequest(component, layers, kind, Path(output), **options)
    Exporter(load_plan(store), store, request).write(Silent())
    return request.files


def content(store, component="mlp", layer=3, model="mine"):
    """Rows, values and labels of one layer, without ids."""
    with tables(Store.open(str(store))) as found:
        row_ids, values = found.activations(component, layer, model)
        labels = found.labels(row_ids)
        rows = found.rows(
            "SELECT d.document, s.sentence, w.position, w.word, w.split, w.start, w.end FROM rows r "
            "JOIN words w USING (word_id) JOIN sentences s ON s.sentence_id = w.sentence_id "
            "JOIN documents d ON d.document_id = w.document_id ORDER BY r.row_id"
        )
    return rows, values, labels


def assert_same(a, b):
    assert a[0] == b[0]
    assert np.array_equal(a[1].view(np.int64), b[1].view(np.int64))  # bits, zeros with a sign too
    assert a[2].keys() == b[2].keys()
    assert all(np.array_equal(a[2][name], b[2][name]) for name in a[2])


@pytest.fixture(scope="module", params=["float16", "bfloat16", "float32"])
def imported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    case = make_case()
    case.values[0, 0] = -0.0
    np.save(folder / "X.npy", case.values)
    table = case.table | {"part": ["dev" if int(d[2:]) % 2 else "" for d in case.table["document"]]}
    labels = write_tsv(folder / "L.tsv", table)
    options = {"dtype": request.param, "labels": labels, "split_column": "part", "rows_per_shard": 130}
    for layer in (3, 10):
        run_import(folder / "store", folder / "X.npy", layers=(layer,), **{**options, "labels": labels})
    return folder / "store", request.param


@pytest.mark.parametrize(("rows", "kind"), [("tsv", "npy"), ("parquet", "npy"), ("tsv", "neurox-json")])
def test_import_of_an_export_is_the_store(imported, rows, kind, tmp_path):
    store, dtype = imported
    values, labels = export(store, tmp_path / {"npy": "Y.npy"}.get(kind, "Y.json"), rows=rows, kind=kind)
    options = {"labels": labels, "split_column": "split", "dtype": dtype}
    run_import(tmp_path / "again", values, **options)
    assert_same(content(store), content(tmp_path / "again"))


def test_npy_is_the_array_in_a_dtype_of_numpy(imported, tmp_path):
    store, dtype = imported
    values, labels = export(store, tmp_path / "Y.npy")
    array = np.load(values, allow_pickle=False)
    assert array.dtype == (np.float16 if dtype == "float16" else np.float32)
    assert np.array_equal(array.astype(float), content(store)[1])
    header, first, *_ = labels.read_text().splitlines()
    assert header.split("\t")[:6] == ["document", "sentence", "position", "word", "split", "planted"]
    assert first.split("\t")[:4] == [CASE.table[name][0] for name in ("document", "sentence", "position", "word")]


def test_layers_become_a_file_each(imported, tmp_path):
    store, _ = imported
    files = export(store, tmp_path / "Y-{layer}.npy", (3, 10))
    assert [file.name for file in files] == ["Y-3.npy", "Y-10.npy", "Y.tsv"]
    with pytest.raises(ExchangeError, match=r"must hold \{layer\}, e\.g\. .*Z-\{layer\}\.npy"):
        export(store, tmp_path / "Z.npy", (3, 10))


def test_arrow_holds_rows_and_neurons(imported, tmp_path):
    store, dtype = imported
    (file,) = export(store, tmp_path / "Y.arrow", kind="arrow")
    with pa.ipc.open_file(file) as reader:
        table = reader.read_all()
        assert reader.num_record_batches == 3
    assert table.schema.metadata[b"dtype"] == dtype.encode()
    rows, values, labels = content(store)
    names = [f"n{n:04d}" for n in range(6)]
    assert table.column_names == ["row_id", "document", "sentence", "position", "word", "split", "concepts", *names]
    assert np.array_equal(np.stack([table[name].to_numpy() for name in names], 1).astype(float), values)
    assert table["word"].to_pylist() == [row[3] for row in rows]
    assert table["split"].to_pylist() == [row[4] for row in rows]
    for row, concepts in enumerate(table["concepts"].to_pylist()):
        assert set(concepts) == {name for name, mask in labels.items() if mask[row]}


def test_hdf5_of_all_layers_and_its_import(tmp_path):
    table = {name: CASE.table[name] for name in ("document", "sentence")} | {"word": [f"w{i}" for i in range(300)]}
    labels = write_tsv(tmp_path / "L.tsv", table)
    np.save(tmp_path / "X.npy", CASE.values.astype(np.float32))
    np.save(tmp_path / "Y.npy", CASE.values.astype(np.float32) + 1)
    for layer, name in ((0, "X.npy"), (7, "Y.npy")):
        run_import(tmp_path / "store", tmp_path / name, labels=labels, layers=(layer,), component="resid")
    values, rows = export(tmp_path / "store", tmp_path / "Z.hdf5", (0, 7), "resid", "neurox-hdf5")
    with h5py.File(values) as file:
        first = file["0"][()]
    n = first.shape[1]
    assert np.array_equal(first[0], CASE.values[:n].astype(np.float32))
    assert np.array_equal(first[1], CASE.values[:n].astype(np.float32) + 1)
    plan = run_import(tmp_path / "again", values, labels=rows, layers=None, component="resid")
    assert plan.capture.targets == (("resid", 0), ("resid", 7))
    for layer in (0, 7):
        assert_same(content(tmp_path / "store", "resid", layer), content(tmp_path / "again", "resid", layer))
    some = run_import(tmp_path / "some", values, layers=(7,), component="resid")
    assert some.capture.targets == (("resid", 7),)


def test_token_rows_of_a_model(finished, tmp_path):
    store, plan = finished.store, finished.plan
    with tables(store) as found:
        _, every = found.activations("mlp", 1)
        rows = found.rows(
            "SELECT w.word, r.is_counted, r.split FROM rows r LEFT JOIN words w USING (word_id) ORDER BY row_id"
        )
    counted = np.array([row[1] for row in rows])
    train = np.array([row[2] == "train" for row in rows])
    for choice, mask in (
        (RowChoice(), counted),
        (RowChoice(all_rows=True), np.ones_like(counted)),
        (RowChoice(split="train"), counted & train),
    ):
        values, labels = export(store.url, tmp_path / "T.npy", (1,), choice=choice, force=True)
        assert np.array_equal(np.load(values).astype(float), every[mask])
        words = [line.split("\t")[3] for line in labels.read_text(encoding="utf-8").splitlines()[1:]]
        assert words == [row[0] or "" for row, kept in zip(rows, mask, strict=True) if kept]
    counts = {}
    with tables(store) as found:
        wanted = dict(found.rows("SELECT concept, count(*) FROM labels GROUP BY ALL"))
    values, labels = export(store.url, tmp_path / "T.npy", (1,), force=True)
    new = run_import(tmp_path / "store", values, labels=labels, split_column="split", layers=(1,))
    assert new.n_rows == counted.sum()
    with tables(Store.open(str(tmp_path / "store"))) as found:
        counts = dict(found.rows("SELECT concept, count(*) FROM labels GROUP BY ALL"))
    assert counts == wanted
    assert plan.model == "tiny"


@pytest.mark.parametrize("how", ["last", "first", "mean"])
def test_pooled_words_are_those_of_numpy(finished, how, tmp_path):
    choice = RowChoice(pooling=how)
    values, labels = export(finished.store.url, tmp_path / "W.json", (1,), "resid", "neurox-json", choice=choice)
    run_import(tmp_path / "store", values, labels=labels, layers=None, component="resid", split_column="split")
    with tables(finished.store) as found:
        _, every = found.activations("resid", 1)
        words = [word for (word,) in found.rows("SELECT if(is_counted, word_id, NULL) FROM rows ORDER BY row_id")]
    groups: dict[int, list[int]] = {}
    for row, word in enumerate(words):
        if word is not None:
            groups.setdefault(word, []).append(row)
    pool = {"last": lambda x: x[-1], "first": lambda x: x[0], "mean": lambda x: x.mean(0).astype(np.float32)}[how]
    expected = np.stack([pool(every[rows]) for _, rows in sorted(groups.items())])
    assert any(len(rows) > 1 for rows in groups.values())
    with tables(Store.open(str(tmp_path / "store"))) as found:
        assert np.array_equal(found.activations("resid", 1, "mine")[1], expected)


def test_what_cannot_be_exported(imported, finished, tmp_path, inputs):
    store, _ = imported
    there = tmp_path / "there.npy"
    there.write_bytes(b"mine")
    (tmp_path / "x.tsv").touch()
    for message, place, output, options in (
        ("is there already", store, there, {}),
        (r"x\.tsv: is there already", store, tmp_path / "x.npy", {}),
        ("mine has mlp 3, mlp 10", store, tmp_path / "y.npy", {"layers": (4,)}),
        ("there is no folder", store, tmp_path / "no" / "y.npy", {}),
        ("the rows of this store are words", store, tmp_path / "y.npy", {"choice": RowChoice(pooling="last")}),
        ("no row is left", store, tmp_path / "y.npy", {"choice": RowChoice(split="test")}),
        ("give --pooling", finished.store.url, tmp_path / "y.json", {"layers": (1,), "kind": "neurox-json"}),
        ("joins words by spaces", store, tmp_path / "y.hdf5", {"kind": "neurox-hdf5"}),
    ):
        with pytest.raises(ExchangeError, match=message):
            export(place, output, **options)
    assert there.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.npy", "x.tsv"]  # nothing half-written
    assert export(store, there, force=True)[0].stat().st_size > 4


def test_sentence_rows_are_no_words(inputs, tmp_path):
    run_stages_config = inputs.config(tmp_path / "store", dump={"unit": "sentence", "pooling": "mean", "layers": [1]})
    finished = run_stages(run_stages_config)
    with pytest.raises(ExchangeError, match="the rows of this store are sentences; write npy or arrow"):
        export(finished.store.url, tmp_path / "s.json", (1,), kind="neurox-json")
    values, labels = export(finished.store.url, tmp_path / "s.npy", (1,))
    assert len(np.load(values)) == len(labels.read_text().splitlines()) - 1 == finished.plan.n_rows


def test_a_tab_in_a_word_needs_parquet(tmp_path):
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"word": ["a\tb", "c\nd"]}), tmp_path / "L.parquet")
    np.save(tmp_path / "X.npy", np.eye(2))
    run_import(tmp_path / "store", tmp_path / "X.npy", labels=tmp_path / "L.parquet")
    with pytest.raises(ExchangeError, match="--rows parquet"):
        export(tmp_path / "store", tmp_path / "Y.npy")
    values, rows = export(tmp_path / "store", tmp_path / "Y.npy", rows="parquet")
    run_import(tmp_path / "again", values, labels=rows)
    assert_same(content(tmp_path / "store"), content(tmp_path / "again"))
