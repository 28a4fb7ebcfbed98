"""SQL macros: the numbers of the engine, from the activation tables, by any neuron and concept."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from import_case import run_import, write_tsv
from tiny_run import run_stages

from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_search import search
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.search import average_precision_interval, iou
from pipeline.store.publish import publish
from pipeline.store.sql import connect, run_user_sql
from pipeline.store.store import Store
from schemas.errors import QueryError

METHODS = {"ap": "neuron_ap", "auroc": "neuron_auroc", "iou": "neuron_iou"}
N_ROWS = 400
TIES, CONSTANT, ZEROS = 0, 1, 2  # neurons; the rest has few equal values


def make_table(rng):
    """Columns of the labels file: concepts that hold often, never in train, for all rows of train, and split."""
    is_test = np.arange(N_ROWS) % 40 >= 30
    return {
        "document": [f"d{row // 40}" for row in range(N_ROWS)],
        "sentence": [f"s{row // 10}" for row in range(N_ROWS)],
        "position": [str(row % 10) for row in range(N_ROWS)],
        "word": [f"w{min(rank, 200)}" for rank in rng.zipf(1.4, N_ROWS)],
        "often": ["1" if hit else "0" for hit in rng.random(N_ROWS) < 0.3],
        "rare": ["1" if hit else "0" for hit in rng.random(N_ROWS) < 0.02],
        "late": ["1" if hit else "0" for hit in is_test & (rng.random(N_ROWS) < 0.5)],
        "early": ["0" if hit else "1" for hit in is_test & (rng.random(N_ROWS) < 0.5)],
        "part": ["test" if hit else "train" for hit in is_test],
    }


def make_values(rng, table):
    """Float16 values (T, 6) with ties, a constant, zeros of both signs, a positive and a negative detector."""
    often = np.array(table["often"]) == "1"
    values = rng.normal(size=(N_ROWS, 6))
    values[:, TIES] = rng.integers(-2, 3, N_ROWS)
    values[:, CONSTANT] = 1.5
    values[:, ZEROS] = rng.choice([-1.0, -0.0, 0.0, 1.0], N_ROWS, p=[0.1, 0.4, 0.4, 0.1])
    values[:, 3] += 2 * often
    values[:, 4] -= 2 * often
    return values.astype(np.float16)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """An imported store with rankings, published; its table and values beside it."""
    folder = tmp_path_factory.mktemp("macros")
    rng = np.random.default_rng(5)
    table = make_table(rng)
    values = make_values(rng, table)
    np.save(folder / "X.npy", values)
    labels = write_tsv(folder / "L.tsv", table)
    run_import(folder / "store", folder / "X.npy", labels=labels, split_column="part", rows_per_shard=150)
    store = Store.open(str(folder / "store"))
    search(load_plan(store), store, LocalExecutor(), Silent())
    publish(store)
    return store, table, values.astype(np.float64)


@pytest.fixture
def read(searched):
    with connect(searched[0]) as connection:
        yield lambda sql, *parameters: records(connection, sql, *parameters)


def records(connection, sql, *parameters):
    """Rows as dictionaries."""
    relation = connection.execute(sql, list(parameters))
    names = [column[0] for column in relation.description]
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


def by_user(store, sql):
    """Rows of one statement under the user's locks."""
    sink = io.BytesIO()
    run_user_sql(store, sql, sink, output_format="json", memory="1GB")
    return json.loads(sink.getvalue())


def mask(table, name):
    return np.array(table[name]) == "1"


def in_train(table):
    return np.array(table["part"]) == "train"


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-9)


def numbers_close(row):
    """A row to compare with; sums of several threads differ in the last bit."""
    return {name: close(value) if isinstance(value, float) else value for name, value in row.items()}


def compare_with_rankings(read, ranked):
    """Score, sign, threshold, counts and held-out score of one row of rankings."""
    call = f"{METHODS[ranked['method']]}('{ranked['component']}', {ranked['layer']}, {ranked['neuron']}, ?"
    (found,) = read(f"FROM {call})", ranked["concept"])
    for name in ("score", "sign", "n_rows", "n_pos", "base_rate"):
        assert found[name] == close(ranked[name]), (name, ranked)
    fixed = ""
    if ranked["method"] == "iou":
        assert found["threshold"] == ranked["threshold"]
        fixed = f", threshold := {ranked['threshold']!r}"
    (test,) = read(f"FROM {call}{fixed}, split := 'test')", ranked["concept"])
    heldout = test["score_plus"] if ranked["sign"] > 0 else test["score_minus"]
    assert heldout == (None if ranked["heldout_score"] is None else close(ranked["heldout_score"])), ranked


@pytest.mark.parametrize("method", METHODS)
def test_imported_neurons_score_as_in_the_rankings(read, method):
    ranked = read("FROM rankings WHERE method = ? AND concept IN ('often', 'rare')", method)
    assert len(ranked) == 12
    assert {row["sign"] for row in ranked} == {1, -1}
    for row in ranked:
        compare_with_rankings(read, row)


DUMPS = {"topk": {"mode": "topk", "k": 3}, "int8": {"dtype": "int8"}, "bfloat16": {"dtype": "bfloat16"}}


@pytest.fixture(scope="module", params=["float16", *DUMPS])
def modelled(request, inputs, tmp_path_factory):
    """A finished store of a model in each way of storing values; the float16 one is the session's reference."""
    if request.param == "float16":
        return request.getfixturevalue("finished").store
    folder = tmp_path_factory.mktemp(request.param)
    return run_stages(inputs.config(folder / "store", dump={**DUMPS[request.param], "layers": [1]})).store


@pytest.mark.parametrize("method", METHODS)
def test_a_model_s_neurons_score_as_in_the_rankings(modelled, method):
    with connect(modelled) as connection:
        ranked = records(
            connection,
            "FROM rankings WHERE method = ? ORDER BY hash(neuron, layer, component, concept) LIMIT 25",
            method,
        )
        assert {row["component"] for row in ranked} == {"mlp", "resid"}
        for row in ranked:
            compare_with_rankings(lambda *query: records(connection, *query), row)


@pytest.mark.parametrize("macro", METHODS.values())
@pytest.mark.parametrize(("concept", "n_pos"), [("late", 0), ("early", 300)])
def test_a_concept_of_no_row_or_all_has_no_score(read, macro, concept, n_pos):
    (found,) = read(f"FROM {macro}('mlp', 3, 3, '{concept}')")
    assert (found["score"], found["sign"], found["n_rows"], found["n_pos"]) == (None, None, 300, n_pos)
    assert found["base_rate"] == n_pos / 300
    (found,) = read(f"FROM {macro}('mlp', 3, 3, '{concept}', split := 'test')")
    assert found["score"] is not None
    (nothing,) = read(f"FROM {macro}('mlp', 3, 3, 'often', split := 'dev')")
    assert (nothing["score"], nothing["n_rows"], nothing["base_rate"]) == (None, 0, None)


@pytest.mark.parametrize("alpha", [0.005, 0.05, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("neuron", range(6))
def test_thresholds_are_numpy_s_quantiles_to_the_bit(searched, read, alpha, neuron):
    _, table, values = searched
    x = values[in_train(table), neuron] + 0.0
    (found,) = read(f"FROM neuron_iou('mlp', 3, {neuron}, 'often', alpha := {alpha})")
    assert found["threshold_plus"] == np.quantile(x, 1 - alpha)
    assert found["threshold_minus"] == -np.quantile(-x, 1 - alpha)
    scores = iou(x, mask(table, "often")[in_train(table)], alpha)
    assert (found["score"], found["sign"]) == (close(scores.score[0, 0]), scores.sign[0, 0])


def test_a_fixed_threshold_replaces_the_quantiles(searched, read):
    _, table, values = searched
    y, x = mask(table, "often")[in_train(table)], values[in_train(table), 3]
    (found,) = read("FROM neuron_iou('mlp', 3, 3, 'often', threshold := 1.0)")
    assert found["score_plus"] == close((y & (x > 1)).sum() / (y | (x > 1)).sum())
    assert found["score_minus"] == close((y & (x < 1)).sum() / (y | (x < 1)).sum())
    assert (found["threshold"], found["sign"]) == (1.0, 1)


def test_thresholds_are_the_points_of_both_curves(searched, read):
    _, table, values = searched
    x, y = values[in_train(table), TIES], mask(table, "often")[in_train(table)]
    points = read(f"FROM neuron_thresholds('mlp', 3, {TIES}, 'often') ORDER BY value")
    assert [point["value"] for point in points] == np.unique(x).tolist()
    for point in points:
        beyond, below = x >= point["value"], x <= point["value"]
        assert (point["n_at_least"], point["pos_at_least"]) == (beyond.sum(), (beyond & y).sum())
        assert (point["n_at_most"], point["pos_at_most"]) == (below.sum(), (below & y).sum())


@pytest.mark.parametrize("neuron", [TIES, ZEROS, 3])
def test_histograms_are_numpy_s(searched, read, neuron):
    _, table, values = searched
    train, y = in_train(table), mask(table, "often")
    found = read(f"FROM neuron_histogram('mlp', 3, {neuron}, bins := 7, concept := 'often')")
    counts, edges = np.histogram(values[train, neuron], 7)
    assert [row["n_rows"] for row in found] == counts.tolist()
    assert [row["n_pos"] for row in found] == np.histogram(values[train & y, neuron], edges)[0].tolist()
    assert [row["low"] for row in found] + [found[-1]["high"]] == edges.tolist()


def test_a_constant_neuron_has_one_bin(read):
    assert read(f"FROM neuron_histogram('mlp', 3, {CONSTANT}, split := 'all')") == [
        {"bin": 0, "low": 1.5, "high": 1.5, "n_rows": N_ROWS, "n_pos": None}
    ]


def test_overlap_of_concepts(searched, read):
    _, table, _ = searched
    a, b = mask(table, "often"), mask(table, "late")
    (found,) = read("FROM concept_overlap('often', 'late', split := 'all')")
    assert [found[name] for name in ("n_a", "n_b", "n_both", "n_rows")] == [a.sum(), b.sum(), (a & b).sum(), N_ROWS]
    assert found["iou"] == close((a & b).sum() / (a | b).sum())
    assert found["phi"] == close(np.corrcoef(a, b)[0, 1])
    assert found["lift"] == close((a & b).mean() / (a.mean() * b.mean()))
    (same,) = read("FROM concept_overlap('often', 'often')")
    assert (same["iou"], same["phi"], same["n_rows"]) == (1, close(1), 300)
    (none,) = read("FROM concept_overlap('late', 'early')")
    assert (none["n_a"], none["n_b"], none["iou"], none["phi"], none["lift"]) == (0, 300, 0, None, None)


def shrunken_mean(x, own, groups):
    """The score of :file:`word_means.sql` from pairs of rows, for a word with the rows ``own``."""
    pairs = {word: np.outer(group - x.mean(), group - x.mean()) for word, group in groups.items()}
    pair_means = [
        (len(c) - 1) * (c.sum() - np.trace(c)) / (len(c) * (len(c) - 1)) for c in pairs.values() if len(c) > 1
    ]
    freedom = len(x) - len(groups)
    between = max(np.sum(pair_means) - np.sqrt(np.sum(np.square(pair_means))), 0) / freedom
    within = sum(((group - group.mean()) ** 2).sum() for group in groups.values()) / freedom
    n = len(own)
    return x.mean() + (own.mean() - x.mean()) * n * between / (n * between + within)


def test_word_means_are_shrunken_as_told(tmp_path):
    rng = np.random.default_rng(2)
    rank = np.minimum(rng.zipf(1.5, 500), 60)
    values = (rng.normal(size=61)[rank] + rng.normal(size=500)).astype(np.float16)
    words = np.array([f"w{r}" for r in rank])
    np.save(tmp_path / "X.npy", values[:, None])
    run_import(tmp_path / "store", tmp_path / "X.npy", labels=write_tsv(tmp_path / "L.tsv", {"word": words.tolist()}))
    x = values.astype(np.float64)
    groups = {word: x[words == word] for word in np.unique(words)}
    store = Store.open(str(tmp_path / "store"))
    found = by_user(store, "FROM word_means('mlp', 3, 0, min_count := 1)")
    assert {row["word"] for row in found} == set(groups)
    for row in found:
        group = groups[row["word"]]
        n = len(group)
        assert (row["n_rows"], row["mean"]) == (n, close(group.mean()))
        assert row["standard_error"] == (None if n == 1 else close(group.std(ddof=1) / np.sqrt(n)))
        assert row["score"] == close(shrunken_mean(x, group, groups))
    assert found[0]["score"] > found[-1]["score"] + 1
    assert found == sorted(found, key=lambda row: (-row["score"], -row["n_rows"], row["word"]))
    assert by_user(store, "FROM word_means('mlp', 3, 0)") == [row for row in found if row["n_rows"] >= 5]


def test_without_an_effect_no_word_of_one_row_leads(tmp_path):
    rng = np.random.default_rng(1)
    words = [f"w{min(rank, 3000)}" for rank in rng.zipf(1.3, 4000)]
    np.save(tmp_path / "X.npy", rng.standard_t(4, (4000, 20)).astype(np.float32))
    run_import(tmp_path / "store", tmp_path / "X.npy", labels=write_tsv(tmp_path / "L.tsv", {"word": words}))
    n_hapaxes = 0
    with connect(Store.open(str(tmp_path / "store"))) as connection:
        for neuron in range(20):
            found = records(connection, f"FROM word_means('mlp', 3, {neuron}, min_count := 1)")
            assert found[0]["n_rows"] > 1
            n_hapaxes += sum(row["n_rows"] == 1 for row in found[:10])
            by_mean = sorted(found, key=lambda row: -row["mean"])[:10]
            assert sum(row["n_rows"] == 1 for row in by_mean) > 5  # what the mean alone would show
    assert n_hapaxes < 20 / 2  # of the 200 that lead


def test_two_models_need_a_name(tmp_path):
    rng = np.random.default_rng(0)
    for model in ("a", "b"):
        np.save(tmp_path / f"{model}.npy", rng.normal(size=(60, 3)).astype(np.float16))
    labels = write_tsv(tmp_path / "L.tsv", {"word": ["x", "y", "z"] * 20, "hit": ["1", "0", "0"] * 20})
    run_import(tmp_path / "store", tmp_path / "a.npy", model="a", labels=labels)
    run_import(tmp_path / "store", tmp_path / "b.npy", model="b")
    run_import(tmp_path / "store", tmp_path / "b.npy", model="b", layers=(4,))
    store = Store.open(str(tmp_path / "store"))
    search(load_plan(store, "a"), store, LocalExecutor(), Silent())
    for call in ("neuron_ap('mlp', 3, 0, 'hit')", "word_means('mlp', 3, 0)", "concept_overlap('hit', 'hit')"):
        with pytest.raises(QueryError, match="several models: add model := 'a' or 'b'"):
            by_user(store, f"FROM {call}")
    sums = [
        by_user(store, f"SELECT sum(value) AS s FROM neuron_values('mlp', 3, 0, model := '{model}')")[0]["s"]
        for model in "ab"
    ]
    assert sums == [close(np.load(tmp_path / f"{model}.npy")[:, 0].astype(float).sum()) for model in "ab"]
    assert by_user(store, "FROM neuron_ap('mlp', 4, 0, 'hit')")[0]["n_rows"] == 60  # only b has this layer
    assert by_user(store, "FROM concept_overlap('hit', 'hit', model := 'a')")[0]["n_a"] == 20


def test_sparse_and_dense_models_share_a_component(tmp_path, inputs):
    store = tmp_path / "store"
    dense = run_stages(inputs.config(store, dump={"layers": [1]}))
    sparse = inputs.config(store, dump={"layers": [1], "mode": "topk", "k": 2}, model={"alias": "few"})
    run_stages(sparse)
    with connect(dense.store) as connection:
        for row in records(connection, "FROM rankings WHERE method = 'ap' AND component = 'mlp' AND rank <= 2"):
            model = f"model := '{row['model']}'"
            call = f"neuron_ap('mlp', 1, {row['neuron']}, '{row['concept']}', {model})"
            assert records(connection, f"SELECT score FROM {call}") == [{"score": close(row["score"])}]
        with pytest.raises(duckdb.Error, match="neuron 16 is not among the 16 of resid"):
            connection.execute("FROM sparse_values('resid', 1, 16)")


def test_neurons_of_the_second_block(tmp_path):
    values = np.random.default_rng(0).normal(size=(30, 4100)).astype(np.float16)
    np.save(tmp_path / "X.npy", values)
    run_import(tmp_path / "store", tmp_path / "X.npy")
    store = Store.open(str(tmp_path / "store"))
    found = by_user(store, "SELECT row_id, value FROM neuron_values('mlp', 3, 4098) ORDER BY row_id")
    assert [row["value"] for row in found] == values[:, 4098].astype(float).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("neuron_ap('mlp', 3, 0, 'oftn')", "no concept 'oftn' in this store; SELECT concept FROM concepts lists them"),
        ("neuron_ap('mlp', 7, 0, 'often')", "no model with layer 7 of mlp; FROM runs"),
        ("neuron_ap('mlp', 3, 0, 'often', model := 'x')", "no model 'x' with layer 3 of mlp; FROM runs"),
        ("neuron_ap('mlp', 3, 6, 'often')", r"No matching columns found .*n0006"),
        ("neuron_ap('attn', 3, 0, 'often')", "activations_attn does not exist"),
        ("neuron_iou('mlp', 3, 0, 'often', alpha := 1)", "alpha must lie strictly between 0 and 1, not 1"),
        ("neuron_histogram('mlp', 3, 0, bins := 0)", "bins must be at least 1, not 0"),
        ("neuron_values('mlp\" UNION SELECT 1', 3, 0)", "no component mlp"),
        ("neuron_values('x/../../../../../etc/passwd', 3, 0)", "no component x"),
        ("concept_overlap('often', 'oftn')", "no concept 'oftn'"),
    ],
)
def test_mistakes_have_a_way_out(searched, call, message):
    with pytest.raises(QueryError, match=message):
        by_user(searched[0], f"FROM {call}")


@pytest.mark.parametrize(
    "call",
    [
        "neuron_ap('mlp', 3, 3, 'often')",
        "neuron_auroc('mlp', 3, 3, 'often', model := 'mine')",
        "neuron_iou('mlp', 3, 3, 'often')",
        "neuron_histogram('mlp', 3, 3, concept := 'often')",
        "word_means('mlp', 3, 3, min_count := 2)",
        "concept_overlap('often', 'rare')",
    ],
)
def test_a_published_snapshot_gives_the_same(searched, call, tmp_path):
    moved = tmp_path / "o'store"
    shutil.copytree(searched[0].url, moved)
    expected = [numbers_close(row) for row in by_user(searched[0], f"FROM {call}")]
    (database,) = Path(moved).glob("snapshots/*/neuronmill.duckdb")
    with duckdb.connect(str(database), read_only=True) as connection:
        root = str(moved).replace("'", "''")
        assert records(connection, f"FROM {call.removesuffix(')')}, root := '{root}')") == expected
        connection.execute(f"SET file_search_path = '{root}'")
        assert records(connection, f"FROM {call}") == expected
        with pytest.raises(duckdb.Error, match="no component"):
            connection.execute("FROM neuron_values('mlp(); DROP TABLE runs', 3, 0)")


def test_intervals_of_average_precision(read):
    rows = read("FROM ap_intervals('often', z := 2.5758293)")
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        expected = average_precision_interval(np.array(row["score"]), np.array(row["n_pos"]), 0.99)
        assert (row["low"], row["high"]) == pytest.approx(tuple(map(float, expected)), abs=1e-7)
        assert row["lift"] == pytest.approx(row["score"] / row["base_rate"])
