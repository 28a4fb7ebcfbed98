"""SQL of a user reads the store's views and nothing else, and writes nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.store import Store
from pipeline.store.sql import run_user_sql
from pipeline.store.statements import checked_statement
from schemas.errors import QueryError


def _run(store: Store, sql: str, output_format: str = "json", seconds: float = 20.0, memory: str = "1GB") -> str:
    sink = io.BytesIO()
    run_user_sql(store, sql, sink, output_format=output_format, seconds=seconds, memory=memory)
    return sink.getvalue().decode()


def _content(store: Store) -> dict[str, str]:
    return {name: hashlib.sha256(Path(store.storage.url(name)).read_bytes()).hexdigest() for name in _files(store)}


def _files(store: Store) -> list[str]:
    return [str(p.relative_to(store.url)) for p in sorted(Path(store.url).rglob("*")) if p.is_file()]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM activations_resid",
        "FROM rankings ORDER BY rank",
        "WITH x AS (SELECT * FROM words) SELECT upos, count(*) FROM x GROUP BY ALL",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r",
        "SELECT 1 UNION ALL SELECT 2 -- comment; with a semicolon",
        "VALUES (1, ';'), (2, 'b')",
        "SHOW TABLES",
        "DESCRIBE rankings",
        "SUMMARIZE words",
        "EXPLAIN SELECT * FROM words",
        "explain analyze SELECT * FROM words;",
        "EXPLAIN (FORMAT json) SELECT 1",
        "SELECT * FROM range(3) t(i), unnest([1, 2])",
    ],
)
def test_reading_is_allowed(reading_store: Store, sql: str) -> None:
    assert len(json.loads(_run(reading_store, sql))) >= 1


FORBIDDEN = {
    "copy": "COPY (SELECT 1) TO '{target}'",
    "copy_in_cte": "WITH x AS (COPY (SELECT 1) TO '{target}') SELECT 1",
    "copy_in_nested_cte": "SELECT * FROM (WITH x AS (COPY (SELECT 1) TO '{target}') SELECT 1)",
    "copy_in_cte_of_explain": "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{target}') SELECT 1",
    "explain_analyze_copy": "EXPLAIN ANALYZE COPY (SELECT 1) TO '{target}'",
    "explain_behind_comment": "-- explain\nEXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{target}')\nSELECT 1",
    "copy_in_query_function": "SELECT * FROM query('WITH x AS (COPY (SELECT 1) TO ''{target}'') SELECT 1')",
    "serialized": "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "insert_in_cte": "WITH x AS (INSERT INTO words VALUES (1) RETURNING *) SELECT * FROM x",
    "export": "EXPORT DATABASE '{target}'",
    "import": "IMPORT DATABASE '{target}'",
    "attach": "ATTACH '{target}' AS other",
    "detach": "DETACH memory",
    "use": "USE memory",
    "pragma": "PRAGMA database_list",
    "call": "CALL pragma_version()",
    "set": "SET memory_limit = '100GB'",
    "reset": "RESET lock_configuration",
    "set_variable": "SET VARIABLE x = 1",
    "install": "INSTALL httpfs",
    "load": "LOAD httpfs",
    "create": "CREATE TABLE t AS SELECT 1",
    "create_secret": "CREATE SECRET s (TYPE s3)",
    "drop": "DROP VIEW words",
    "update": "UPDATE words SET word = 'x'",
    "delete": "DELETE FROM words",
    "begin": "BEGIN",
    "checkpoint": "CHECKPOINT",
    "prepare": "PREPARE p AS SELECT 1",
    "chain": "SELECT 1; SELECT 2",
    "chain_copy": "SELECT 1; COPY (SELECT 1) TO '{target}'",
    "chain_after_comment": "SELECT 1 /* ; */ ; DROP VIEW words",
    "read_csv": "SELECT * FROM read_csv('{outside}')",
    "read_csv_auto": "SELECT * FROM read_csv_auto('{outside}')",
    "read_text": "SELECT * FROM read_text('{outside}')",
    "read_blob": "SELECT * FROM read_blob('{outside}')",
    "read_json": "SELECT * FROM read_json('{outside}')",
    "read_parquet": "SELECT * FROM read_parquet('{outside}')",
    "read_parquet_list": "SELECT * FROM read_parquet(['{outside}', '{outside}'])",
    "read_parquet_glob": "SELECT * FROM read_parquet('/**/*.parquet')",
    "read_parquet_computed": "SELECT * FROM read_parquet(concat('{outside}', ''))",
    "parquet_metadata": "SELECT * FROM parquet_metadata('{outside}')",
    "read_duckdb": "SELECT * FROM read_duckdb('{outside}')",
    "sniff": "SELECT * FROM sniff_csv('{outside}')",
    "glob": "SELECT * FROM glob('/etc/*')",
    "file": "SELECT * FROM '{outside}'",
    "passwd": "SELECT * FROM '/etc/passwd'",
    "climb": "SELECT * FROM '{store}/words/../store.json'",
    "store_json": "SELECT * FROM read_json('{store}/store.json')",
    "getenv": "SELECT getenv('HOME')",
    "secrets": "SELECT * FROM duckdb_secrets()",
    "pointer": "SELECT * FROM arrow_scan(1::UBIGINT::POINTER, 2, 3)",
    "pandas": "SELECT * FROM pandas_scan(12345)",
    "python_variable": "SELECT * FROM entries",
    "logging": "SELECT * FROM enable_logging()",
    "malformed": "SELEC 1",
    "unknown_column": "SELECT nosuch FROM words",
    "unknown_table": "SELECT * FROM nosuch",
    "empty": "",
    "only_comment": "-- nothing",
    "only_semicolon": ";",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_everything_else_is_refused_and_leaves_the_disk_alone(reading_store: Store, tmp_path: Path, name: str) -> None:
    words = reading_store.files("words")[0]
    outside = tmp_path / "outside.parquet"
    outside.write_bytes(reading_store.storage.read(words.path))
    before = _content(reading_store)
    for target in (tmp_path / "new", reading_store.storage.url(words.path)):
        sql = FORBIDDEN[name].format(target=target, outside=outside, store=reading_store.url)
        with pytest.raises(QueryError, match="sql: "):
            _run(reading_store, sql)
    assert _content(reading_store) == before
    assert [path.name for path in tmp_path.iterdir()] == ["outside.parquet"]


def test_the_guard_alone_refuses_what_could_write() -> None:
    for name in (
        "copy_in_cte",
        "explain_analyze_copy",
        "explain_behind_comment",
        "copy_in_query_function",
        "serialized",
    ):
        with pytest.raises(QueryError):
            checked_statement(FORBIDDEN[name].format(target="x"))


def test_files_of_the_manifest_may_be_read_by_name(reading_store: Store) -> None:
    path = reading_store.storage.url(reading_store.files("words")[0].path)
    assert json.loads(_run(reading_store, f"SELECT count(*) AS n FROM '{path}'")) == [{"n": 3}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM range(1000000000) a, range(1000000) b",
        "SELECT a.range FROM range(1000000000) a, range(1000000) b",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
    ],
)
def test_time_is_limited(reading_store: Store, sql: str) -> None:
    start = time.perf_counter()
    with pytest.raises(QueryError, match=r"limit of 0\.3 seconds"):
        _run(reading_store, sql, seconds=0.3)
    assert time.perf_counter() - start < 10


def test_memory_is_limited(reading_store: Store) -> None:
    with pytest.raises(QueryError, match=r"(?i)memory"):
        _run(reading_store, "SELECT list(range) FROM range(100000000)", memory="50MB")
    with pytest.raises(QueryError, match="give a size"):
        _run(reading_store, "SELECT 1", memory="much'")


def test_formats_agree(reading_store: Store, tmp_path: Path) -> None:
    sql = "SELECT neuron, score, threshold, concept FROM rankings ORDER BY rank"
    expected = [(0, 0.9, None, "upos=NUM"), (1, 0.8, None, "upos=NUM")]
    assert [tuple(row.values()) for row in json.loads(_run(reading_store, sql))] == expected
    rows = list(csv.reader(io.StringIO(_run(reading_store, sql, "csv"))))
    assert rows == [["neuron", "score", "threshold", "concept"], *([str(n), str(s), "", c] for n, s, _, c in expected)]
    with (tmp_path / "out.parquet").open("wb") as sink:
        assert run_user_sql(reading_store, sql, sink, output_format="parquet") == 2
    assert [tuple(row.values()) for row in pq.read_table(tmp_path / "out.parquet").to_pylist()] == expected
    text = _run(reading_store, sql, "table").splitlines()
    assert text[0].split() == ["neuron", "score", "threshold", "concept"]
    assert text[2].split() == ["0", "0.9", "upos=NUM"]
    assert text[-1] == "(2 rows)"


def test_odd_values(reading_store: Store) -> None:
    sql = (
        "SELECT 'a,\"b\nc' AS t, 'nan'::DOUBLE AS d, [1.5, 'inf'::DOUBLE] AS l, MAP {'k': 1} AS m, NULL AS n, "
        "1::HUGEINT AS h"
    )
    (row,) = json.loads(_run(reading_store, sql))
    assert row == {"t": 'a,"b\nc', "d": None, "l": [1.5, None], "m": {"k": 1}, "n": None, "h": 1}
    (cells,) = list(csv.reader(io.StringIO(_run(reading_store, sql, "csv"), newline="")))[1:]
    assert cells == ['a,"b\nc', "nan", "[1.5, null]", '{"k": 1}', "", "1"]
    assert _run(reading_store, "SELECT DATE '2020-01-02' AS d, 1.50::DECIMAL(4,2) AS e, sum(1) AS f") == (
        '[\n{"d": "2020-01-02", "e": 1.5, "f": 1}\n]\n'
    )


def test_an_error_in_the_middle_is_the_query_s(reading_store: Store) -> None:
    with pytest.raises(QueryError, match="Conversion"):
        _run(reading_store, "SELECT CASE WHEN i = 70000 THEN 'x' ELSE '1' END::INTEGER FROM range(90000) t(i)")


def test_long_tables_are_cut_and_say_so(reading_store: Store) -> None:
    text = _run(reading_store, "SELECT range AS i, repeat('x', 100) AS t FROM range(1000)", "table").splitlines()
    assert len(text) == 203
    assert text[-1] == "(1,000 rows, the first 200 shown; --format csv writes all)"
    assert text[2].endswith("…")
    assert json.loads(_run(reading_store, "SELECT 1 WHERE false")) == []


def test_plans_are_shown_as_they_are(reading_store: Store) -> None:
    assert "Projection" in _run(reading_store, "EXPLAIN SELECT 1", "table")
