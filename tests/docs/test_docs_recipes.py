"""The SQL recipes and the readers' Python of the documentation, run on a small store."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from markdown_pages import ROOT, blocks

from pipeline.store.sql import run_user_sql

RECIPES = blocks(ROOT / "docs" / "analyst.md", "sql")
#: Queries that rightly find nothing in a store without accidents.
MAY_BE_EMPTY = (
    "FROM quarantine",
    "score - heldout_score >",
    "HAVING n_concepts > 1",
    "score > 5 * base_rate",
    "score > 0.9",
    "WHERE is_polysemous",
)


def test_there_are_recipes():
    assert len(RECIPES) >= 10


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_every_recipe_runs_and_finds_something(number, small_store):
    sql = RECIPES[number]
    n_rows = run_user_sql(small_store, sql, io.BytesIO(), output_format="csv")
    assert n_rows > 0 or any(part in sql for part in MAY_BE_EMPTY), sql


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
