"""Names that break out, break quotes or break terminals: kept as data to the letter, or refused by file and line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

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
NEWLINE, NUL = "two\nlines", "zero\0byte"


@pytest.fixture(scope="module")
def hostile(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose documents, document labels and concepts have these names; it stands alone in a folder."""
    folder = tmp_path_factory.mktemp("hostile")
    corpus = folder / "corpus.jsonl"
    texts = iter([" ".join(words) for words in sentences(120)])
    records = [
        {"id": name, "topic": name, "text": " ".join(next(texts) for _ in range(6))} for name in [*NAMES.values(), NUL]
    ]
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
    assert [row["document"] for row in json.loads(out)] == [*NAMES.values(), NUL]


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


def test_the_store_is_sound_and_published(hostile: Path) -> None:
    done("verify", "--store", hostile)
    done("publish", "--store", hostile)


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
