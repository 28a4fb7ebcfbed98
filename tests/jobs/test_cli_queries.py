"""`top`, `sql` and `verify`: reading a store, and nothing but reading."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from command import done, hashes, neuronmill, process

from pipeline.store.owners import owned_name

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_top_shows_neurons_and_contexts(finished: Path) -> None:
    plain = done("top", "--store", finished, "--concept", "upos=NOUN").out
    assert "\x1b" not in plain
    assert "upos=NOUN" in plain.splitlines()[0]
    assert re.search(r"\b(resid|mlp):[0-2]:\d+\b", plain)
    assert re.search(r"\[(cat|dog|lid|big|the|a|cold|dig|bite|\.)\]", plain)
    coloured = done("top", "--store", finished, "--concept", "upos=NOUN", "--colour").out
    assert "\x1b[" in coloured
    assert re.findall(r"(?:resid|mlp):\d:\d+", _ANSI.sub("", coloured)) == re.findall(r"(?:resid|mlp):\d:\d+", plain)


def test_top_follows_its_options(finished: Path) -> None:
    def neurons(*options: str) -> list[str]:
        text = done("top", "--store", finished, "--concept", "long", "--no-colour", *options).out
        return re.findall(r"(?:resid|mlp):\d:\d+", text)

    assert len(neurons()) == 10
    assert len(neurons("--limit", "2")) == 2
    ranked = done(
        *("sql", "--store", finished, "--format", "csv"),
        "SELECT component || ':' || layer || ':' || neuron AS place FROM rankings "
        "WHERE concept = 'long' AND method = 'auroc' ORDER BY rank LIMIT 4",
    )
    assert neurons("--method", "auroc", "--limit", "4") == ranked.out.split()[1:]
    bare = done("top", "--store", finished, "--concept", "long", "--contexts", "0").out
    assert "[" not in bare


def test_top_for_what_is_not_there(finished: Path) -> None:
    result = neuronmill("top", "--store", finished, "--concept", "upos=NOUM")
    assert (result.code, "did you mean 'upos=NOUN'" in result.error) == (2, True)
    result = neuronmill("top", "--store", finished, "--concept", "upos=NOUN", "--method", "apx")
    assert (result.code, "auroc" in result.error) == (2, True)


_QUERY = "SELECT 1 AS a, 'ü, \"x\"' AS b, NULL::INT AS c UNION ALL SELECT 2, 'y', 3 ORDER BY a"


@pytest.mark.parametrize("output", [False, True])
def test_formats(output: bool, finished: Path, tmp_path: Path) -> None:
    def answer(output_format: str) -> bytes:
        command = ["sql", "--store", finished, "--format", output_format, _QUERY]
        if not output:
            result = process(*command) if output_format == "parquet" else done(*command)
            return result.stdout if output_format == "parquet" else result.out.encode()  # type: ignore[union-attr]
        file = tmp_path / output_format
        assert done(*command, "--output", file).out == f"wrote 2 rows to {file}\n"
        return file.read_bytes()

    expected = [(1, 'ü, "x"', None), (2, "y", 3)]
    assert json.loads(answer("json")) == [dict(zip("abc", row, strict=True)) for row in expected]
    for frame in (pd.read_csv(io.BytesIO(answer("csv"))), pd.read_parquet(io.BytesIO(answer("parquet")))):
        assert frame.astype(object).where(frame.notna(), None).to_records(index=False).tolist() == expected
    table = answer("table").decode().splitlines()
    assert re.split(r"\s{2,}|\s\|\s|\s", table[0].strip())[:3] == ["a", "b", "c"]
    assert "(2 rows)" in table[-1]


def test_tables_and_explain(finished: Path) -> None:
    listed = done("sql", "--store", finished).out
    for name in ("documents", "rankings", "contexts", "runs", "quarantine"):
        assert re.search(rf"^{name}\s+\w", listed, re.MULTILINE)
        done("sql", "--store", finished, f"FROM {name} LIMIT 1")
    for name in ("activations", "activations_resid", "activations_mlp"):
        done("sql", "--store", finished, f"SELECT avg(n0003) FROM {name}")
    assert "READ_PARQUET" in done("sql", "--store", finished, "EXPLAIN SELECT * FROM rankings").out.upper()


FORBIDDEN = [
    "COPY (SELECT 1) TO '{out}'",
    "COPY rankings TO '{store}/store.json'",
    "EXPORT DATABASE '{out}'",
    "ATTACH '{out}'",
    "ATTACH '{store}/snapshots/x/neuronmill.duckdb' AS s",
    "PRAGMA database_list",
    "SET enable_external_access = true",
    "RESET ALL",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CREATE TABLE t AS SELECT 1",
    "DROP VIEW rankings",
    "DELETE FROM rankings",
    "UPDATE runs SET model = 'x'",
    "CALL pragma_version()",
    "VACUUM",
    "CHECKPOINT",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{out}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '{store}/../secret.csv'",
    "SELECT * FROM read_csv('{store}/../secret.csv')",
    "SELECT * FROM read_parquet('{store}/../secret.parquet')",
    "SELECT * FROM read_blob('{store}/store.json')",
    "SELECT * FROM glob('/*')",
    "SELECT getenv('HOME')",
    "SELEC 1",
    "SELECT nope FROM runs",
    "SELECT * FROM nope",
    "",
]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_user_sql_only_reads_the_store(sql: str, finished: Path, tmp_path: Path) -> None:
    secret = finished.parent / "secret.csv"
    secret.write_text("a,b\n1,classified\n")
    pd.DataFrame({"a": ["classified"]}).to_parquet(finished.parent / "secret.parquet")
    before = hashes(finished)
    out = tmp_path / "out"
    result = neuronmill("sql", "--store", finished, sql.format(out=out, store=finished))
    assert result.code == 2, result.out
    assert result.error.startswith("sql: ")
    assert "classified" not in result.out + result.err
    assert result.out == ""
    assert not out.exists()
    assert hashes(finished) == before


def test_limits_of_user_sql(finished: Path, tmp_path: Path) -> None:
    endless = "SELECT count(*) FROM range(100000000000) a, range(1000000) b"
    result = neuronmill("sql", "--store", finished, "--seconds", "0.5", endless)
    assert result.code == 2
    assert "0.5 seconds" in result.error
    result = neuronmill("sql", "--store", finished, "--memory", "lots", "SELECT 1")
    assert result.code == 2
    assert "lots" in result.error
    result = neuronmill("sql", "--store", finished, "--output", tmp_path / "no" / "out.csv", "SELECT 1")
    assert result.code == 2
    assert "another path" in result.error


def test_a_failed_query_leaves_the_output_file_alone(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("precious")
    assert neuronmill("sql", "--store", finished, "--output", out, "SELEC 1").code == 2
    assert out.read_text() == "precious"


def test_verify(finished: Path) -> None:
    result = done("verify", "--store", finished)
    assert result.out.startswith(f"{finished}: ")
    assert "all as their receipts say" in result.out


@pytest.mark.parametrize("table", ["activations", "labels", "rankings", "words", "states"])
@pytest.mark.parametrize("damage", ["a flipped byte", "a missing file", "a torn file"])
def test_verify_names_a_damaged_file(damage: str, table: str, finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    file = min(path for path in (store / table).rglob("*") if path.is_file())
    content = file.read_bytes()
    if damage == "a missing file":
        file.unlink()
    elif damage == "a torn file":
        file.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    result = neuronmill("verify", "--store", store)
    assert result.code == 1
    named = [line for line in result.out.splitlines() if line.startswith(str(file.relative_to(store)))]
    assert named, result.out
    assert "--repair" in result.out
    assert "Traceback" not in result.err
    listed = neuronmill("verify", "--store", store, "--repair", "--dry-run")
    assert (listed.code, listed.out.count("would do again: receipts/")) == (1, 1)
    assert neuronmill("verify", "--store", store).out == result.out
    assert "1 piece done again, 0 left" in done("verify", "--store", store, "--repair").out
    assert file.read_bytes() == content
    assert "all as their receipts say" in done("verify", "--store", store).out


def test_verify_says_how_much_and_how_fast(finished: Path) -> None:
    result = done("verify", "--store", finished, "--sample", 5)
    assert re.search(r": \d+ files \([\d.]+ .?B in .*s, [\d.]+ .?B/s\), .*; 5 sentences tokenised again", result.out)


def test_what_cannot_be_repaired_is_exit_code_1(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    (store / "plans" / "tiny.json").write_text("{")
    result = neuronmill("verify", "--store", store, "--repair")
    assert result.code == 1
    assert "not repaired: plans/tiny.json: " in result.out
    assert "Traceback" not in result.err


def test_gc(finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    name, machine, _, token = owned_name("work").rsplit("-", 3)
    (store / "staging" / f"{name}-{machine}-{killed.pid}-{token}").mkdir()
    done("stats", "--store", store)  # a command that ends well sweeps what its dead workers left
    assert [path.name for path in (store / "staging").iterdir()] == ["locks"]
    orphan = store / "activations" / "orphan.parquet"
    orphan.write_bytes(b"12345")
    (store / "README").write_text("mine")
    assert "1 file that nothing vouches for" in done("gc", "--store", store).out
    said = done("gc", "--store", store, "--older-than", "0s", "--dry-run").out
    assert "would remove activations/orphan.parquet (orphan, 5 B)" in said
    assert orphan.exists()
    removed = done("gc", "--store", store, "--older-than", "0s", "--superseded").out
    assert removed.splitlines()[0] == "removed 1 file that nothing vouches for, 5 B"
    assert "not of this store, left alone: 'README'" in removed
    assert not orphan.exists()
    assert done("gc", "--store", store, "--older-than", "0s").out.startswith("nothing to remove\n")
    done("verify", "--store", store)
    assert "12h" in neuronmill("gc", "--store", store, "--older-than", "a while").err


def test_a_run_leaves_nothing_in_staging(finished: Path) -> None:
    assert [path.name for path in (finished / "staging").iterdir()] == ["locks"]


def test_an_unknown_table_names_the_command_that_lists_them(finished: Path) -> None:
    said = neuronmill("sql", "--store", finished, "SELECT * FROM neurons").error
    assert f"`neuronmill sql --store {finished}` lists the tables" in said
    assert "lists the tables" not in neuronmill("sql", "--store", finished, "SELECT nope FROM words").error
