"""Views: one per table from the manifest's list, blocks and models side by side, empty where there is nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.store import Store, paths, write_activations
from pipeline.store.sql import connect
from schemas.errors import StoreError
from schemas.tables import TABLES

SQL_FOLDER = Path(__file__).parents[2] / "schemas" / "sql"


def test_every_view_has_a_file_with_a_header() -> None:
    names = {path.stem for path in SQL_FOLDER.glob("*.sql")}
    assert names == {*TABLES, "activations", "activations_block", "activations_component", "sparse_component"}
    for path in SQL_FOLDER.glob("*.sql"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"-- {path.stem}: ")
        for part in ("-- inputs: ", "-- output columns: ", "-- example row: "):
            assert part in text, (path.name, part)


def test_views_of_an_empty_store_have_the_columns(tmp_path: Path) -> None:
    with connect(Store.create(str(tmp_path))) as connection:
        for name, table in TABLES.items():
            relation = connection.sql(f"FROM {name}")
            assert relation.columns == table.arrow.names
            assert relation.fetchall() == []
        for name in ("activations", "activations_resid", "activations_mlp"):
            assert connection.sql(f"FROM {name}").columns == ["row_id", "model", "layer"]


def test_empty_and_filled_views_have_the_same_types(reading_store: Store, tmp_path: Path) -> None:
    with connect(reading_store) as filled, connect(Store.create(str(tmp_path))) as empty:
        for name in TABLES:
            known, bare = filled.sql(f"FROM {name}"), empty.sql(f"FROM {name}")
            kinds = dict(zip(known.columns, map(str, known.types), strict=True))
            assert {column: kinds[column] for column in bare.columns} == dict(
                zip(bare.columns, map(str, bare.types), strict=True)
            )


def test_row_id_joins_tokens_labels_and_activations(reading_store: Store) -> None:
    with connect(reading_store) as connection:
        rows = connection.sql(
            "SELECT t.token, l.concept, a.layer, a.n0001 FROM tokens t JOIN labels l USING (row_id) "
            "JOIN activations_resid a USING (row_id) WHERE a.layer = 2 ORDER BY row_id"
        ).fetchall()
        assert rows == [("Three", "upos=NUM", 2, -6.0), ("Two", "upos=NUM", 2, 6.0)]
        assert connection.sql("SELECT word, upos FROM words ORDER BY word_id").fetchall()[3] == ("Two", "NUM")
        assert connection.sql("SELECT labels['topic'] FROM documents").fetchall() == [("x",), ("x",)]


def test_blocks_are_joined_by_row(reading_store: Store) -> None:
    with connect(reading_store) as connection:
        relation = connection.sql("FROM activations_mlp WHERE layer = 1 ORDER BY row_id")
        assert relation.columns == ["row_id", "model", "layer", "n0000", "n0001", "n0002", "n0003"]
        rows = relation.fetchall()
        assert rows[0] == (0, "tiny", 1, 24.5, 25.5, 26.5, 27.5)
        assert len(rows) == 6
        means = connection.execute(r"SELECT avg(COLUMNS('^n\d+$')) FROM activations_mlp").fetchone()
        assert means == (34.75, 35.75, 36.75, 37.75)
        assert connection.sql("FROM activations").columns == ["row_id", "model", "layer", "n0000", "n0001"]


def test_models_of_other_widths_share_a_view(small_store: Store) -> None:
    with small_store.staging() as staging:
        path = staging.path(paths.activation_file("wide", "resid", 1, 0, 0))
        bits = np.ones((2, 3), np.float16).view(np.uint16)
        write_activations(path, bits, first_neuron=0, row_ids=np.array([100, 101]), dtype="float16")
        receipt = small_store.commit(staging, "dump", "wide/shard-00000")
    small_store.advance("activations", "wide", receipt.files)
    with connect(small_store) as connection:
        rows = connection.sql(
            "SELECT model, count(*), count(n0001), count(n0002) FROM activations_resid GROUP BY ALL ORDER BY model"
        ).fetchall()
    assert rows == [("tiny", 12, 12, 0), ("wide", 2, 2, 2)]


def test_files_outside_the_manifest_are_not_seen(small_store: Store) -> None:
    stray = small_store.storage.url(paths.activation_file("tiny", "resid", 1, 0, 7))
    Path(stray).write_bytes(b"torn")
    (Path(stray).parent / ".hidden.parquet").write_bytes(b"torn")
    with connect(small_store) as connection:
        assert connection.execute("SELECT count(*) FROM activations_resid").fetchone() == (12,)


def test_labels_of_several_sets_of_concepts_appear_once(small_store: Store) -> None:
    entry = small_store.files("labels")[0]
    with small_store.staging() as staging:
        again = paths.labels_file("aaaaaaaaaaaa", "dddddddddddd", 0)
        staging.path(again).write_bytes(small_store.storage.read(entry.path))
        receipt = small_store.commit(staging, "labels", "again")
    small_store.advance("labels", "again", receipt.files)
    with connect(small_store) as connection:
        assert connection.execute("SELECT count(*) FROM labels").fetchone() == (2,)


@pytest.mark.parametrize("name", ["o'brien", "mit leerzeichen", "ünï"])
def test_any_folder_name_works(tmp_path: Path, name: str, reading_store: Store) -> None:
    shutil.copytree(reading_store.url, tmp_path / name)
    with connect(Store.open(str(tmp_path / name))) as connection:
        assert connection.execute("SELECT count(*) FROM activations_mlp").fetchone() == (12,)


def test_a_lost_file_is_the_store_s_error(small_store: Store) -> None:
    Path(small_store.storage.url(small_store.files("words")[0].path)).unlink()
    with pytest.raises(StoreError, match=r"words/shard-00000\.parquet.*verify"):
        connect(small_store)
