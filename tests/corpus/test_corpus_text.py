"""Plain text, JSONL and Parquet: documents into sentences into words."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.reader import read_corpus
from pipeline.corpus.splitting import split_sentences, split_words
from schemas.config import CorpusConfig
from schemas.errors import CorpusError


def read(path, **config):
    return list(read_corpus(CorpusConfig(sources=[str(path)], **config)))


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It rains. We stay.", ["It rains.", "We stay."]),
        ("Mr. Smith met Dr. J. Doe. They left!", ["Mr. Smith met Dr. J. Doe.", "They left!"]),
        ("It costs 3.50 dollars. Really? Yes.", ["It costs 3.50 dollars.", "Really?", "Yes."]),
        ("He said “Go.” Then he went.", ["He said “Go.”", "Then he went."]),
        ("Wait... what? ok", ["Wait... what? ok"]),
        ("今天下雨。我们走！", ["今天下雨。", "我们走！"]),
        ("   ", []),
    ],
)
def test_sentences_by_rule(text, sentences):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't panic, it's well-known!", ["Don't", "panic", ",", "it's", "well-known", "!"]),
        ("3.50 and 1,000.", ["3.50", "and", "1,000", "."]),
        ("Wait... 'tis", ["Wait", "...", "'", "tis"]),
        ("हिन्दी है", ["हिन्दी", "है"]),
        ("a\u2028b\u00a0c", ["a", "b", "c"]),
    ],
)
def test_words_by_rule(text, words):
    assert list(split_words(text)[0]) == words


@given(st.text(max_size=60))
def test_no_character_but_white_space_is_lost(text):
    words, spans = split_words(text)
    assert [text[a:b] for a, b in spans] == list(words)
    assert "".join(words) == "".join(text.split())
    assert "".join("".join(split_sentences(text)).split()) == "".join(words)


def test_documents_per_file_line_and_blank_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfOne here. Two here.\r\nThree\r\n\r\nFour\r\n")
    rows = {
        per: [(s.document, s.sentence, s.text) for s in read(path, document_per=per)]
        for per in ("file", "line", "blank_line")
    }
    texts = ["One here.", "Two here.", "Three", "Four"]
    assert rows["file"] == [("a.txt", str(i), text) for i, text in enumerate(texts, start=1)]
    assert [r[:2] for r in rows["line"]] == [
        ("a.txt#1", "1"),
        ("a.txt#1", "2"),
        ("a.txt#2", "1"),
        ("a.txt#3", "1"),
    ]
    assert [r[:2] for r in rows["blank_line"]] == [
        ("a.txt#1", "1"),
        ("a.txt#1", "2"),
        ("a.txt#1", "3"),
        ("a.txt#2", "1"),
    ]


def test_a_line_is_a_sentence_where_asked(tmp_path):
    (tmp_path / "a.txt").write_text("One here. Two here.\nThree\n")
    sentences = read(tmp_path / "a.txt", sentence_per="line")
    assert [s.text for s in sentences] == ["One here. Two here.", "Three"]
    assert [s.line for s in sentences] == [1, 2]


def test_jsonl_and_parquet_give_the_same_documents(tmp_path):
    records = [
        {"id": "a", "text": "One here. Two here.\nThree", "genre": "news", "year": 1999},
        {"id": None, "text": "Four", "genre": None, "year": 2000},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(r) for r in records) + "\n\n")
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    results = []
    for name in ("a.jsonl", "a.parquet"):
        sentences = read(tmp_path / name, label_fields=["genre", "year"])
        results.append([(s.document.replace(name, "F"), s.sentence, s.words, s.document_labels) for s in sentences])
    assert results[0] == results[1]
    assert results[0][0] == ("a", "1", ("One", "here", "."), {"genre": "news", "year": "1999"})
    assert results[0][3] == ("F#2", "1", ("Four",), {"year": "2000"})


def test_parquet_without_the_text_column_is_an_error_naming_the_columns(tmp_path):
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"a\.parquet:1: corpus\.text_field names 'text'.*\['body'\]"):
        read(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"nonsense")
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        read(tmp_path / "b.parquet")


def test_an_unknown_file_name_is_an_error_with_the_way_out(tmp_path):
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(CorpusError, match=r"'\.docx'.*set corpus\.format"):
        read(tmp_path / "a.docx")
