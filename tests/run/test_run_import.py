"""Imports: rows, labels and values as they were given, and analyses over them against numpy and scikit-learn."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from import_case import HOSTILE, make_case, run_import, write_tsv
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from sklearn.metrics import average_precision_score
from tiny_run import checksums, plan_only, start_command, tables

from pipeline.run.dump import dump
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_contexts import contexts
from pipeline.run.neuron_search import search
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.run.statistics import compute_statistics
from pipeline.store.store import Store
from pipeline.store.verify import verify
from schemas.errors import ConfigError, CorpusError, ExchangeError, IncompleteError

CASE = make_case()


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """A float16 import in three shards with all analyses, read-only for tests."""
    folder = tmp_path_factory.mktemp("import")
    values, labels = CASE.save(folder, np.float16)
    run_import(folder / "store", values, labels=labels, rows_per_shard=120)
    store = Store.open(str(folder / "store"))
    plan = load_plan(store)
    for stage in (compute_statistics, search, contexts):
        stage(plan, store, LocalExecutor(), Silent())
    return store, plan


def test_rows_are_those_of_the_table(analysed):
    store, plan = analysed
    assert len(plan.shards) == 3
    with tables(store) as found:
        rows = found.rows(
            "SELECT d.document, s.sentence, w.position, w.word, s.text, w.start, w.end FROM rows r "
            "JOIN words w USING (word_id) JOIN sentences s ON s.sentence_id = w.sentence_id "
            "JOIN documents d ON d.document_id = w.document_id ORDER BY r.row_id"
        )
        assert found.rows("SELECT count(*) FROM tokens") == [(0,)]
    table = CASE.table
    names = [(d, s, str(p), w) for d, s, p, w, *_ in rows]
    assert names == list(zip(table["document"], table["sentence"], table["position"], table["word"], strict=True))
    assert all(text[start:end] == word for _, _, _, word, text, start, end in rows)
    assert rows[0][4].startswith(" ".join(table["word"][:1]))


def test_concepts_are_the_columns(analysed):
    store, _ = analysed
    with tables(store) as found:
        row_ids, values = found.activations("mlp", 3, "mine")
        labels = found.labels(row_ids)
    assert np.array_equal(values, CASE.values.astype(np.float16).astype(np.float64))
    expected = {"planted": CASE.planted, 'a "b" ../\u202e': np.arange(300) < 40}
    for column in ("upos", "tag"):
        cells = np.array(CASE.table[column], dtype=object)
        expected |= {f"{column}={value}": cells == value for value in set(CASE.table[column]) - {""}}
    assert {"upos=O", "upos=_", f"tag={HOSTILE[4]}"} <= set(expected)
    assert set(labels) == set(expected)
    for name, mask in expected.items():
        assert np.array_equal(labels[name], mask), name


def test_average_precision_is_scikit_learns(analysed):
    store, _ = analysed
    values = CASE.values.astype(np.float16).astype(np.float64)
    with tables(store) as found:
        best = found.rows(
            "SELECT concept, neuron, sign, score FROM rankings WHERE method = 'ap' "
            "AND concept IN ('planted', 'upos=NUM') AND rank = 1 ORDER BY concept"
        )
        every = found.rows("SELECT neuron, sign, score FROM rankings WHERE method = 'ap' AND concept = 'planted'")
    assert [(concept, neuron, sign) for concept, neuron, sign, _ in best] == [("planted", 2, 1), ("upos=NUM", 3, -1)]
    assert len(every) == 6
    for neuron, sign, score in every:
        assert score == pytest.approx(average_precision_score(CASE.planted, sign * values[:, neuron]), abs=1e-12)


def test_statistics_and_contexts_are_numpys(analysed):
    store, _ = analysed
    values = CASE.values.astype(np.float16).astype(np.float64)
    with tables(store) as found:
        stats = found.query("SELECT mean, max, q50 FROM neuron_stats ORDER BY neuron")
        (top,) = found.rows(
            "SELECT value, words[focus + 1] FROM contexts WHERE neuron = 2 AND tail = 'top' AND rank = 1"
        )
    assert np.allclose(stats["mean"], values.mean(0), atol=1e-12)
    assert np.array_equal(stats["max"], values.max(0))
    assert np.allclose(stats["q50"], np.median(values, axis=0), atol=1e-12)
    assert top == (values[:, 2].max(), CASE.table["word"][values[:, 2].argmax()])


def test_the_store_verifies_and_says_what_it_holds(analysed):
    store, _ = analysed
    assert verify(store) == []
    with tables(store) as found:
        (run,) = found.rows("SELECT model, architecture, unit, dtype, components, layers, n_rows, n_shards FROM runs")
        shards = found.rows("SELECT shard, n_rows, n_files FROM shards ORDER BY shard")
    assert run == ("mine", "imported", "word", "float16", ["mlp"], [3], 300, 3)
    assert [shard for shard, _, _ in shards] == [0, 1, 2]
    assert sum(n_rows for _, n_rows, _ in shards) == 300


def test_further_layers_and_models_share_the_rows(tmp_path):
    values, labels = CASE.save(tmp_path)
    first = run_import(tmp_path / "store", values, labels=labels, rows_per_shard=150)
    store = Store.open(str(tmp_path / "store"))
    compute_statistics(first, store, LocalExecutor(), Silent())
    np.save(tmp_path / "Y.npy", -CASE.values.astype(np.float32))
    second = run_import(tmp_path / "store", tmp_path / "Y.npy", labels=labels, component="resid", layers=(0,))
    other = run_import(tmp_path / "store", tmp_path / "Y.npy", model="other", layers=(1,))  # no labels: the store's
    assert second.capture.targets == (("mlp", 3), ("resid", 0))
    assert second.run_id != first.run_id
    assert second.row_space == first.row_space == other.row_space
    assert store.files("neuron_stats") == []  # of a run that is no more
    compute_statistics(load_plan(store, "mine"), store, LocalExecutor(), Silent())
    with tables(store) as found:
        assert found.rows("SELECT component, layer, count(*) FROM neuron_stats GROUP BY ALL ORDER BY ALL") == [
            ("mlp", 3, 6),
            ("resid", 0, 6),
        ]
        ids, mlp = found.activations("mlp", 3, "mine")
        resid_ids, resid = found.activations("resid", 0, "mine")
        assert found.rows("SELECT model, layer, count(*) FROM activations_mlp GROUP BY ALL ORDER BY ALL") == [
            ("mine", 3, 300),
            ("other", 1, 300),
        ]
        assert found.rows("SELECT count(*) FROM concepts WHERE concept = 'planted'") == [(1,)]
    assert np.array_equal(ids, resid_ids)
    assert np.array_equal(mlp, -resid)
    before = checksums(store.url)
    again = run_import(tmp_path / "store", values, labels=labels)  # the first one once more: nothing to do
    assert again.run_id == second.run_id
    assert checksums(store.url) == before
    assert verify(store) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"word": (7, "other")}, r"N\.tsv:9: row 7 .* word 'other' here and 'w7' in the store; 1 of 300 rows differ"),
        ({"document": (299, "d z")}, r"N\.tsv:301: row 299 .* document 'd z'"),
        ({"position": (0, "1")}, r"N\.tsv:2: row 0 .* position '1' here and '0'"),
        ({"planted": (5, "x")}, r"N\.tsv:7: row 5 .* planted 'x'"),
    ],
)
def test_other_rows_are_refused(analysed, change, message, tmp_path):
    store, _ = analysed
    table = {name: list(cells) for name, cells in CASE.table.items()}
    for name, (row, cell) in change.items():
        table[name][row] = cell
    before = checksums(store.url)
    np.save(tmp_path / "X.npy", CASE.values)
    with pytest.raises(ExchangeError, match=message):
        run_import(Path(store.url), tmp_path / "X.npy", labels=write_tsv(tmp_path / "N.tsv", table), model="n")
    assert checksums(store.url) == before
    assert load_plan(store).model == "mine"


def test_what_cannot_be_imported_beside(analysed, tmp_path):
    store, _ = analysed
    place = Path(store.url)
    values, _ = CASE.save(tmp_path, np.float16)
    np.save(tmp_path / "short.npy", CASE.values[:299])
    np.save(tmp_path / "wide.npy", np.zeros((300, 7), np.float16))
    np.save(tmp_path / "other.npy", CASE.values.astype(np.float16) + 1)
    extra = write_tsv(tmp_path / "extra.tsv", CASE.table | {"more": ["1"] * 300})
    for error, message, path, options in (
        (ExchangeError, "has 299 rows and store .* has 300", "short.npy", {"model": "n"}),
        (ConfigError, "has 7 neurons, and the layers of mlp of mine have 6", "wide.npy", {"layers": (4,)}),
        (ConfigError, "--dtype float32: .* stored as float16", "X.npy", {"dtype": "float32", "layers": (4,)}),
        (ConfigError, "layer of mine was imported from X.npy with other content", "other.npy", {}),
        (ExchangeError, "the column 'more' is not in the store", "X.npy", {"labels": extra, "model": "n"}),
        (ConfigError, "needs the one number of its layer", "X.npy", {"layers": None}),
    ):
        with pytest.raises(error, match=message):
            run_import(place, tmp_path / path, **options)
    assert values.exists()
    assert verify(store) == []


def test_there_is_no_model_to_run(analysed, inputs, tmp_path):
    store, plan = analysed
    with pytest.raises(ConfigError, match="activations of model 'mine' were imported"):
        dump(plan, store, LocalExecutor(), Silent())
    with pytest.raises(ConfigError, match="were imported"):
        plan_only(inputs.config(Path(store.url), model={"alias": "mine"}))
    with pytest.raises(ConfigError, match="holds another corpus"):
        plan_only(inputs.config(Path(store.url)))
    np.save(tmp_path / "X.npy", CASE.values)
    plan_only(inputs.config(tmp_path / "planned"))
    with pytest.raises(ConfigError, match="its corpus was read by `neuronmill plan`"):
        run_import(tmp_path / "planned", tmp_path / "X.npy")


@pytest.mark.parametrize(
    ("dtype", "options", "message"),
    [
        (np.float32, {}, r"X\.npy: row 17, neuron 3 \(from 0\): nan is never stored"),
        (np.float16, {}, r"row 17, neuron 3 \(from 0\): nan"),
        (np.float64, {"dtype": "bfloat16"}, r"row 17, neuron 3 \(from 0\): nan"),
    ],
)
def test_nan_is_refused_before_anything_is_written(dtype, options, message, tmp_path):
    values = CASE.values.astype(dtype)
    values[17, 3] = np.nan
    np.save(tmp_path / "X.npy", values)
    with pytest.raises(ExchangeError, match=message):
        run_import(tmp_path / "store", tmp_path / "X.npy", **options)
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == ["store.json"]
    values[17, 3] = 0
    np.save(tmp_path / "X.npy", values)
    run_import(tmp_path / "store", tmp_path / "X.npy", **options)


@pytest.mark.parametrize(
    ("value", "dtype", "stored"), [(70000.0, "float16", 65504), (1e300, None, 3e38), (1e39, "bfloat16", 3e38)]
)
def test_overflow_names_the_value_and_the_way_out(value, dtype, stored, tmp_path):
    values = CASE.values.copy()
    values[299, 5] = value
    np.save(tmp_path / "X.npy", values)
    with pytest.raises(ExchangeError, match=r"row 299, neuron 5 .*value .* overflows"):
        run_import(tmp_path / "store", tmp_path / "X.npy", dtype=dtype)
    values[299, 5] = stored
    np.save(tmp_path / "X.npy", values)
    run_import(tmp_path / "store", tmp_path / "X.npy", dtype=dtype)


def test_bfloat16_and_float64_keep_the_values_they_can(tmp_path):
    tensor = torch.from_numpy(CASE.values).to(torch.bfloat16)
    save_file({"x": tensor}, tmp_path / "X.safetensors")
    run_import(tmp_path / "store", tmp_path / "X.safetensors")
    np.save(tmp_path / "X.npy", CASE.values)
    wide = run_import(tmp_path / "store", tmp_path / "X.npy", model="wide")
    rounded = run_import(tmp_path / "store", tmp_path / "X.npy", model="rounded", dtype="bfloat16")
    assert (wide.capture.dtype, rounded.capture.dtype) == ("float32", "bfloat16")
    with tables(Store.open(str(tmp_path / "store"))) as found:
        assert np.array_equal(found.activations("mlp", 3, "mine")[1], tensor.double().numpy())
        assert np.array_equal(found.activations("mlp", 3, "wide")[1], CASE.values.astype(np.float32).astype(float))
        expected = torch.from_numpy(CASE.values.astype(np.float32)).to(torch.bfloat16).double().numpy()
        assert np.array_equal(found.activations("mlp", 3, "rounded")[1], expected)


def test_a_cache_of_sparse_latents(tmp_path):
    """delphi's layout, as in tests/exchange: two splits by latent over 20 sequences of 15 tokens."""
    dense = np.where(CASE.values > 1, CASE.values, 0).astype(np.float16).reshape(20, 15, 6)
    tokens = np.arange(300).reshape(20, 15)
    (tmp_path / "cache").mkdir()
    for first, stop in ((0, 4), (4, 6)):
        part = dense[..., first:stop]
        where = np.ascontiguousarray(np.argwhere(part)).astype(np.uint16)
        content = {"locations": where, "activations": part[part != 0], "tokens": tokens}
        save_arrays(content, tmp_path / "cache" / f"{first}_{stop - 1}.safetensors")
    words = write_tsv(tmp_path / "L.tsv", {name: CASE.table[name] for name in ("word", "planted")})
    plan = run_import(tmp_path / "store", tmp_path / "cache", labels=words, component="sae", layers=(9,))
    store = Store.open(str(tmp_path / "store"))
    search(plan, store, LocalExecutor(), Silent())
    with tables(store) as found:
        stored = found.query("SELECT * FROM sparse_sae ORDER BY row_id, neuron")
        assert np.array_equal(stored["value"], dense[dense != 0].astype(float))
        assert np.array_equal(stored["neuron"], np.nonzero(dense)[2])
        assert [word for (word,) in found.rows("SELECT word FROM words ORDER BY word_id")] == CASE.table["word"]
        assert found.rows("SELECT count(*), max(position) FROM words JOIN sentences USING (sentence_id)") == [(300, 14)]
        ((neuron, score),) = found.rows("SELECT neuron, score FROM rankings WHERE method = 'ap' AND rank = 1")
    assert neuron == 2
    assert [file.n_values for file in store.files("activations")] == [np.count_nonzero(dense)]
    assert verify(store) == []
    assert score == pytest.approx(average_precision_score(CASE.planted, dense.reshape(300, 6)[:, 2]), abs=1e-12)
    ids = run_import(tmp_path / "ids", tmp_path / "cache", component="sae", layers=(9,))
    with tables(Store.open(ids.config.store)) as found:
        assert found.rows("SELECT text FROM sentences ORDER BY sentence_id")[0] == (" ".join(map(str, range(15))),)


def test_one_row_and_two_blocks_of_neurons(tmp_path):
    values = np.random.default_rng(1).normal(size=(1, 5000)).astype(np.float32)
    np.save(tmp_path / "X.npy", values)
    plan = run_import(tmp_path / "store", tmp_path / "X.npy")
    store = Store.open(str(tmp_path / "store"))
    assert [file.n_neurons for file in store.files("activations")] == [4096, 904]
    compute_statistics(plan, store, LocalExecutor(), Silent())
    contexts(plan, store, LocalExecutor(), Silent())
    with tables(store) as found:
        assert np.array_equal(found.activations("mlp", 3, "mine")[1], values.astype(float))
        assert found.rows("SELECT document, word FROM words JOIN documents USING (document_id)") == [("import", "#0")]
    assert verify(store) == []


def test_parquet_labels_give_the_same_store(tmp_path):
    values, labels = CASE.save(tmp_path)
    table = {name: pa.array(cells) for name, cells in CASE.table.items()}
    table["planted"] = pa.array(CASE.planted)
    table["position"] = pa.array([int(p) for p in CASE.table["position"]])
    pq.write_table(pa.table(table), tmp_path / "L.parquet")
    run_import(tmp_path / "a", values, labels=labels)
    run_import(tmp_path / "b", values, labels=tmp_path / "L.parquet")
    for folder in ("activations", "words", "sentences", "labels"):
        found = [
            {Path(path).name: digest for path, digest in checksums(tmp_path / store).items() if path.startswith(folder)}
            for store in ("a", "b")
        ]
        assert found[0] == found[1], folder


def test_split_column_gives_held_out_scores(tmp_path):
    table = CASE.table | {"part": ["test" if int(d[2:]) % 2 else "train" for d in CASE.table["document"]]}
    np.save(tmp_path / "X.npy", CASE.values.astype(np.float16))
    labels = write_tsv(tmp_path / "L.tsv", table)
    plan = run_import(tmp_path / "store", tmp_path / "X.npy", labels=labels, split_column="part")
    store = Store.open(str(tmp_path / "store"))
    search(plan, store, LocalExecutor(), Silent())
    test = np.array(table["part"]) == "test"
    values = CASE.values.astype(np.float16)[test, 2].astype(float)
    with tables(store) as found:
        ((neuron, heldout),) = found.rows(
            "SELECT neuron, heldout_score FROM rankings WHERE method = 'ap' AND concept = 'planted' AND rank = 1"
        )
        assert not found.rows("SELECT 1 FROM concepts WHERE concept LIKE 'part%'")
    assert neuron == 2
    assert heldout == pytest.approx(average_precision_score(CASE.planted[test], values), abs=1e-12)


def test_columns_without_a_concept(tmp_path):
    table = {"word": ["a", "b", "c"], "never": ["0", "0", ""], "empty": [""] * 3, "rare": ["x", "x", "y"]}
    np.save(tmp_path / "X.npy", np.eye(3))
    run_import(tmp_path / "store", tmp_path / "X.npy", labels=write_tsv(tmp_path / "L.tsv", table), min_count=2)
    with tables(Store.open(str(tmp_path / "store"))) as found:
        assert found.rows("SELECT concept, n_rows FROM concepts") == [("rare=x", 2)]
        assert found.rows("SELECT never, empty, rare FROM words ORDER BY word_id")[2] == (None, None, "y")


def test_rows_that_do_not_fit(tmp_path):
    np.save(tmp_path / "X.npy", np.eye(3))
    for text, error, message in (
        ("word\na\nb\n", ExchangeError, r"L\.tsv: has 2 rows, and .*X\.npy has 3"),
        ("word\n", CorpusError, r"L\.tsv: there must be a row"),
        ("a=b\ta\n1\tb\n1\tb\n1\tb\n", ExchangeError, "'a=b' comes twice"),
    ):
        (tmp_path / "L.tsv").write_text(text)
        with pytest.raises(error, match=message):
            run_import(tmp_path / "store", tmp_path / "X.npy", labels=tmp_path / "L.tsv")
    with pytest.raises(ExchangeError, match="--split-column 'x'"):
        run_import(tmp_path / "store", tmp_path / "X.npy", split_column="x")
    with pytest.raises(ExchangeError, match="NeuroX label file"):
        run_import(tmp_path / "store", tmp_path / "X.npy", labels=tmp_path / "L.tsv", label_name="x")


def test_a_killed_import_resumes_to_the_same_files(tmp_path):
    case = make_case(3000, 64)
    values, labels = case.save(tmp_path)
    command = ["import", str(values), "--labels", str(labels), "--model", "mine", "--component", "mlp", "--layer", "3"]
    command += ["--rows-per-shard", "100"]
    process, log = start_command(*command, "--store", str(tmp_path / "whole"), log=tmp_path / "log")
    assert process.wait(60) == 0, log.read_text()
    expected = checksums(tmp_path / "whole")
    store = tmp_path / "killed"
    seen = []
    for wanted in (
        "receipts/corpus/shard-00003.json",
        "receipts/import-mine-mlp-3/shard-00005.json",
        "plans/mine.json",
    ):
        process, log = start_command(*command, "--store", str(store), log=tmp_path / "log")
        while process.poll() is None and not (store / wanted).exists():
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (store / wanted).exists(), log.read_text()
        seen.append(set(checksums(store)) != set(expected))
    assert seen[0], "killed too late to show anything"
    if not Store.open(str(store)).files("activations"):
        with pytest.raises(IncompleteError, match="start the same `neuronmill import` again"):
            compute_statistics(load_plan(Store.open(str(store))), Store.open(str(store)), LocalExecutor(), Silent())
    process, log = start_command(*command, "--store", str(store), log=tmp_path / "log")
    assert process.wait(60) == 0, log.read_text()
    assert checksums(store) == expected
    assert verify(Store.open(str(store))) == []
    shutil.rmtree(store)
