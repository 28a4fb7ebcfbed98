"""Names that break out, break quotes or break terminals: kept as data to the letter, or refused by file and line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import duckdb
import pytest
from command import Workplace, done, hashes, neuronmill, sentences

NAMES = {
    "leaves": "../../../../etc/passwd",
    "absolute": "/etc/passwd",
    "quotes": 'it\'s "quoted" `so`; DROP TABLE rankings; --',
    "10 kB": "long" * 2_500,
    "right to left": "\u202eevil\u2066 \u05d0\u05d1\u05d2",
    "markup": "<script>alert(1)</script>&amp;",
    "glob": "*?[a-z]{0}%s$(id)",
    "unicode": "e\u0301 \U0001f9e0 \ufeff",
}
NEWLINE, NUL, TERMINAL = "two\nlines", "zero\0byte", "\x1b[2J\x1b]0;owned\x07"
#: Values of document labels: what a config does not take as a name, the corpus may hold.
VALUES = [*NAMES.values(), NEWLINE, NUL, TERMINAL]
#: Names of the documents, with white space normalised.
DOCUMENTS = [*NAMES.values(), "two lines", NUL, TERMINAL]


@pytest.fixture(scope="module")
def hostile(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose documents, document labels and concepts have these names; it stands alone in a folder."""
    folder = tmp_path_factory.mktemp("hostile")
    corpus = folder / "corpus.jsonl"
    texts = iter([" ".join(words) for words in sentences(120)])
    records = [{"id": name, "topic": name, "text": " ".join(next(texts) for _ in range(6))} for name in VALUES]
    corpus.write_text("\n".join(json.dumps(record) for record in records) + "\n", encoding="utf-8")
    config = workplace.config(
        folder / "config.yaml",
        folder / "inside" / "store",
        corpus={"sources": [str(corpus)], "label_fields": ["topic"], "split": None},
        concepts={
            "include": [
                {"document_label": "topic"},
                *({"name": f"name {name}", "words": ["cat", "dog"]} for name in NAMES.values()),
            ]
        },
        search={"methods": ["ap"]},
    )
    before = set(hashes(folder))
    done("run", config)
    assert {path for path in set(hashes(folder)) - before if not path.startswith("inside/store/")} == set()
    return folder / "inside" / "store"


def test_documents_keep_their_names(hostile: Path) -> None:
    out = done("sql", "--store", hostile, "--format", "json", "SELECT document FROM documents ORDER BY document_id").out
    assert [row["document"] for row in json.loads(out)] == DOCUMENTS


@pytest.mark.parametrize("case", NAMES)
def test_a_concept_of_any_name_has_a_ranking(case: str, hostile: Path) -> None:
    name = NAMES[case]
    for concept in (f"document:topic={name}", f"name {name}"):
        assert done("top", "--store", hostile, "--concept", concept, "--limit", 1).code == 0
    query = "SELECT DISTINCT concept FROM rankings"
    out = done("sql", "--store", hostile, "--format", "csv", query).out
    found = {row[0] for row in csv.reader(io.StringIO(out))}
    assert {f"document:topic={name}", f"name {name}"} <= found


def test_the_page_holds_the_names_as_text(hostile: Path) -> None:
    page = (hostile / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "/etc/passwd" in page


@pytest.mark.parametrize("value", VALUES)
def test_what_is_shown_cannot_steer_a_terminal(value: str, hostile: Path) -> None:
    """In a table or beside a neuron a name is one line without control characters or marks of direction."""
    concept = f"document:topic={value}"
    shown = done("top", "--store", hostile, "--concept", concept, "--limit", 1, "--no-colour").out
    quoted = concept.replace("'", "''")
    if "\0" not in value and "\n" not in value:
        shown += done("sql", "--store", hostile, f"SELECT concept FROM concepts WHERE concept = '{quoted}'").out
    assert [character for character in shown if character != "\n" and not character.isprintable()] == []
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(shown)


def test_contexts_and_labels_lead_back_to_the_document(hostile: Path) -> None:
    query = """
        SELECT DISTINCT document, concept FROM labels
        JOIN rows USING (row_id) JOIN documents USING (document_id) WHERE concept LIKE 'document:topic=%'
        ORDER BY document_id"""
    out = done("sql", "--store", hostile, "--format", "json", query).out
    found = {row["document"]: row["concept"] for row in json.loads(out)}
    assert found == {document: f"document:topic={value}" for document, value in zip(DOCUMENTS, VALUES, strict=True)}


def test_the_page_holds_no_mark_of_direction(hostile: Path) -> None:
    page = (hostile / "report.html").read_text(encoding="utf-8")
    assert not {"\0", "\x1b", "\x07", "\u202e", "\u2066"} & set(page)


@pytest.mark.parametrize("kind", ["npy", "arrow", "neurox-json"])
def test_an_export_stays_where_it_is_told_to(kind: str, hostile: Path, tmp_path: Path) -> None:
    name = {"npy": "x.npy", "arrow": "x.arrow", "neurox-json": "x.json"}[kind]
    pooling = ["--pooling", "last"] if kind == "neurox-json" else []
    rows = ["--rows", "parquet"] if kind != "arrow" else []
    arguments = ["--component", "resid", "--layers", "1", "--format", kind, "--output", tmp_path / "inside" / name]
    (tmp_path / "inside").mkdir()
    done("export", "--store", hostile, *arguments, *rows, *pooling)
    beside = set() if kind == "arrow" else {"inside/x.parquet"}
    assert set(hashes(tmp_path)) == {f"inside/{name}"} | beside


def test_names_come_back_from_an_export(hostile: Path, tmp_path: Path) -> None:
    choice = ["--component", "resid", "--layers", "1", "--format", "npy", "--rows", "parquet"]
    done("export", "--store", hostile, *choice, "--output", tmp_path / "x.npy")
    place = ["--model", "tiny", "--component", "resid", "--layer", "1", "--store", tmp_path / "back"]
    done("import", tmp_path / "x.npy", "--labels", tmp_path / "x.parquet", *place)
    documents = "SELECT document FROM documents ORDER BY document_id"
    concepts = "SELECT concept, n_rows FROM concepts ORDER BY concept"
    for query in (documents, concepts):
        stores = (hostile, tmp_path / "back")
        before, after = (done("sql", "--store", store, "--format", "json", query).out for store in stores)
        assert json.loads(after) == json.loads(before)


def test_a_table_of_rows_as_tsv_refuses_names_of_several_lines(hostile: Path, tmp_path: Path) -> None:
    choice = ["--component", "resid", "--layers", "1", "--format", "npy"]
    result = neuronmill("export", "--store", hostile, *choice, "--output", tmp_path / "x.npy")
    assert result.code in (1, 2)
    assert "a cell of a TSV holds no tab and no end of a line; write the rows as Parquet" in result.error
    assert hashes(tmp_path) == {}


def test_the_store_is_sound_and_published(hostile: Path) -> None:
    done("verify", "--store", hostile)
    done("publish", "--store", hostile)
    snapshot = (hostile / "CURRENT").read_text().strip()
    with duckdb.connect(str(hostile / "snapshots" / snapshot / "neuronmill.duckdb"), read_only=True) as connection:
        found = {name for (name,) in connection.execute("SELECT DISTINCT concept FROM rankings").fetchall()}
    assert {f"document:topic={value}" for value in VALUES} <= found


def test_a_document_id_of_two_lines_becomes_one(workplace: Workplace, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    text = " ".join(" ".join(words) for words in sentences(20))
    corpus.write_text(json.dumps({"id": NEWLINE, "text": text}) + "\n", encoding="utf-8")
    include = [{"name": NEWLINE, "words": ["cat"]}]
    config = workplace.config(
        tmp_path / "config.yaml",
        tmp_path / "store",
        corpus={"sources": [str(corpus)], "split": None},
        concepts={"include": include},
    )
    result = neuronmill("plan", config)
    if result.code:
        assert result.code == 2
        assert "concepts.include" in result.error
    else:
        out = done("sql", "--store", tmp_path / "store", "--format", "json", "SELECT document FROM documents").out
        assert json.loads(out) == [{"document": "two lines"}]
