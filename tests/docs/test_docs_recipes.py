"""The SQL recipes and the readers' Python of the documentation, run on a small store of two models."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import duckdb
import pytest
from markdown_pages import ROOT, blocks

from pipeline.store.sql import connect, run_user_sql
from pipeline.store.store import Store
from schemas.errors import QueryError
from schemas.sql_macros import TABLE_MACROS

RECIPES = blocks(ROOT / "docs" / "analyst.md", "sql")
MODELS = ("other", "tiny")
#: Queries that rightly find nothing in a store without accidents.
MAY_BE_EMPTY = (
    "FROM quarantine",
    "score - heldout_score >",
    "HAVING n_concepts > 1",
    "score > 5 * base_rate",
    "score > 0.9",
    "WHERE is_polysemous",
)
_MACRO = re.compile(rf"\b({'|'.join(TABLE_MACROS)})\(([^()]*)\)")
_LIMIT = re.compile(r"\nLIMIT \d+")
#: Columns of shares, whatever else their names say.
_SHARE = re.compile(r"share(_|$)|^(over|within)_layers$")

Rows = list[dict[str, Any]]


def of_model(sql: str, model: str) -> str:
    """The query with every macro told which model to read."""
    return _MACRO.sub(rf"\1(\2, model := '{model}')", sql)


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> Rows:
    """All rows, whatever the query's limit."""
    found = connection.execute(_LIMIT.sub("", sql))
    names = [column[0] for column in found.description]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in found.fetchall()]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 9)
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def counts(found: Rows) -> Counter[str]:
    return Counter(repr(row) for row in found)


@pytest.fixture(scope="module")
def readers(small_store: Store) -> Iterator[dict[str, duckdb.DuckDBPyConnection]]:
    """Connections to the store as it is (``""``), and as it would be with one of its models alone."""
    with ExitStack() as stack:
        made = {name: stack.enter_context(connect(small_store)) for name in ("", *MODELS)}
        for model, connection in made.items():
            connection.execute("SET threads = 1")  # sums in the same order
            if model:
                _leave_one(connection, model)
        yield made


def _leave_one(connection: duckdb.DuckDBPyConnection, model: str) -> None:
    """Put temporary views of one model's rows before the views of all."""
    columns = connection.execute("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal").fetchall()
    with_model = {table for table, column in columns if column == "model"}
    for table in sorted(with_model):
        connection.execute(f"CREATE TEMP VIEW {table} AS SELECT * FROM memory.main.{table} WHERE model = '{model}'")
    for table in ("rows", "tokens", "labels"):
        connection.execute(
            f"CREATE TEMP VIEW {table} AS SELECT t.* FROM memory.main.{table} AS t "
            "SEMI JOIN shards AS s ON t.row_id >= s.first_row AND t.row_id < s.first_row + s.n_rows"
        )
    connection.execute(
        "CREATE TEMP VIEW concepts AS SELECT DISTINCT * FROM memory.main.concepts AS c "
        "WHERE c.n_rows = (SELECT count(*) FROM labels AS l WHERE l.concept = c.concept)"
    )


def test_there_are_recipes():
    assert len(RECIPES) >= 10


def test_models_have_rows_of_their_own_and_names_in_common(readers):
    for sql in ("SELECT count(*) AS n FROM concepts", "SELECT count(*) AS n FROM rows"):
        both, other, tiny = (rows(connection, sql)[0]["n"] for connection in readers.values())
        assert both == other + tiny
    for table in ("clusters", "factors", "rankings", "redundancy", "layer_similarity", "neuron_map", "pca_spectrum"):
        assert {row["model"] for row in rows(readers[""], f"SELECT DISTINCT model FROM {table}")} == set(MODELS)


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_every_recipe_runs_and_finds_something(number, small_store):
    sql = RECIPES[number]
    n_rows = run_user_sql(small_store, of_model(sql, "tiny"), io.BytesIO(), output_format="csv")
    assert n_rows > 0 or any(part in sql for part in MAY_BE_EMPTY), sql
    if _MACRO.search(sql):
        with pytest.raises(QueryError, match="several models: add model"):
            run_user_sql(small_store, sql, io.BytesIO())


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_a_recipe_says_of_each_model_what_it_says_of_that_model_alone(number, readers):
    sql = RECIPES[number]
    alone = {model: rows(readers[model], sql) for model in MODELS}
    if _MACRO.search(sql):
        assert {model: rows(readers[""], of_model(sql, model)) for model in MODELS} == alone
        return
    found = rows(readers[""], sql)
    if "FROM quarantine" not in sql:
        assert all("model" in row for row in found), "the rows don't say of which model they are"
    assert counts(found) == counts([row for of_one in alone.values() for row in of_one])


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_no_row_twice_and_shares_are_shares(number, readers):
    found = rows(readers[""], of_model(RECIPES[number], "other"))
    assert max(counts(found).values(), default=1) == 1
    for row in found:
        for name, value in row.items():
            if _SHARE.search(name):
                assert all(0 <= share <= 1 for share in (value if isinstance(value, tuple) else (value,))), row


def recipe(part: str) -> str:
    (sql,) = (sql for sql in RECIPES if part in sql)
    return sql


def test_best_concepts_of_factors_have_the_shares_of_their_own_model(readers):
    connection = readers[""]
    labelled = {(row["row_id"], row["concept"]) for row in rows(connection, "SELECT row_id, concept FROM labels")}
    best = rows(connection, "FROM factor_rows WHERE rank <= 50")
    counted = {
        model: [row["row_id"] for row in rows(readers[model], "SELECT row_id FROM rows WHERE is_counted")]
        for model in MODELS
    }
    found = rows(connection, recipe("share_of_best"))
    assert len(found) == len(rows(connection, "FROM factors WHERE n_active > 0"))
    for row in found:
        key = ("model", "component", "layer", "factor")
        own = [b["row_id"] for b in best if all(b[name] == row[name] for name in key)]
        for name, ids in (("share_of_best", own), ("share_of_all", counted[row["model"]])):
            share = sum((row_id, row["concept"]) in labelled for row_id in ids) / len(ids)
            assert row[name] == pytest.approx(share, abs=0.00501)


def test_methods_across_models_are_compared_for_each_other_model(readers):
    found = rows(readers[""], recipe("AS spearman"))
    assert [(row["model"], row["other"]) for row in found] == [("other", "tiny"), ("tiny", "other"), ("tiny", "tiny")]
    for row in found:
        (n,) = rows(readers[row["model"]], "SELECT count(*) AS n FROM neuron_stats WHERE layer IN (1, 2)")
        assert row["n_neurons"] == n["n"]


def test_layers_of_one_other_model_stand_in_one_row(readers):
    for row in rows(readers[""], recipe("AS partner_layers")):
        assert row["partner_layers"] == tuple(sorted(set(row["partner_layers"]))), row


def test_a_reader_needs_nothing_of_ours(small_store):
    script = "".join(blocks(ROOT / "docs" / "downstream.md", "python"))
    assert "import duckdb" in script
    assert "neuronmill." not in script.replace("neuronmill.duckdb", "")
    source = f"store = {str(small_store.storage.folder)!r}\n{script}"
    ended = subprocess.run(
        [sys.executable, "-I", "-c", source], check=False, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert "upos=" in ended.stdout
