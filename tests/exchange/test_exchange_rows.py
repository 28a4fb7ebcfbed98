"""Tables of rows, and the sentences they become."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.exchange.label_table import read_label_table, read_paired_labels
from pipeline.exchange.row_batch import RowBatch, beside, rebatched
from pipeline.exchange.row_sentences import SentenceBuilder
from schemas.errors import CorpusError, ExchangeError


def tsv(tmp_path, text, name="l.tsv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def columns(path):
    batches = list(read_label_table(path))
    return {name: [value for batch in batches for value in batch.columns[name]] for name in batches[0].columns}


def test_tsv_is_plain(tmp_path):
    path = tsv(tmp_path, '\ufeffword\ta "b"\r\n"x\t\u200f../\r\n"\t\r\n')
    assert columns(path) == {"word": ['"x', '"'], 'a "b"': ["\u200f../", ""]}
    packed = tmp_path / "l.tsv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert columns(packed) == columns(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: .* the file is empty"),
        ("word\tword\na\tb\n", ":1: .*'word' comes twice; is the header missing"),
        ("word\t \na\tb\n", ":1: .*column 2 has none"),
        ("word\tx\na\tb\nc\n", ":3: .*2 in all.* this one has 1"),
        ("word\tx\na\tb\tc\n", ":2: .* has 3"),
        ("word\tx\na\tb\n\n", ":3: .* has 1"),
        (b"word\tx\na\t\xff\n", ":2: .*UTF-8"),
    ],
)
def test_bad_tsv_names_file_and_line(text, message, tmp_path):
    with pytest.raises(CorpusError, match=rf"l\.tsv{message}"):
        list(read_label_table(tsv(tmp_path, text)))


def test_parquet_cells_become_text(tmp_path):
    table = pa.table(
        {
            "word": pa.array(["a\tb", None, '"']).dictionary_encode(),
            "is": pa.array([True, False, None]),
            "n": pa.array([1, None, 3], pa.int16()),
            "f": pa.array([1.0, float("nan"), 0.5]),
            "l": pa.array([["x", "y"], [], None]),
        }
    )
    pq.write_table(table, tmp_path / "l.parquet")
    assert columns(tmp_path / "l.parquet") == {
        "word": ["a\tb", "", '"'],
        "is": ["1", "0", ""],
        "n": ["1", "", "3"],
        "f": ["1", "", "0.5"],
        "l": ['["x", "y"]', "", ""],
    }
    pq.write_table(pa.table({"x": pa.array([b"\xff"])}), tmp_path / "b.parquet")
    with pytest.raises(CorpusError, match="column 'x' must hold text"):
        list(read_label_table(tmp_path / "b.parquet"))
    (tmp_path / "c.parquet").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"c\.parquet"):
        list(read_label_table(tmp_path / "c.parquet"))


def sentences(split_column=None, **given_columns):
    n = len(next(iter(given_columns.values()), [0] * 3))
    batch = RowBatch("l.tsv", range(2, 2 + n), {name: [str(v) for v in vs] for name, vs in given_columns.items()})
    found = SentenceBuilder("l.tsv", {}, split_column).sentences(rebatched(iter([batch]), 2))
    return [(s.document, s.sentence, s.words, s.positions) for s in found]


def test_what_ends_a_sentence():
    assert sentences(document="aab", sentence="xxx", position=[1, 4, 0], word="pqr") == [
        ("a", "x", ("p", "q"), (1, 4)),
        ("b", "x", ("r",), (0,)),
    ]
    assert [s[2] for s in sentences(sentence="xxy", word="pqr")] == [("p", "q"), ("r",)]
    assert [s[2] for s in sentences(position=[0, 1, 0, 1], word="pqrs")] == [("p", "q"), ("r", "s")]
    assert [s[2] for s in sentences(document="aab", word="pqr")] == [("p", "q"), ("r",)]
    assert sentences(word="pq") == [("import", "1", ("p",), (0,)), ("import", "2", ("q",), (0,))]
    assert sentences() == [("import", str(n + 1), (f"#{n}",), (0,)) for n in range(3)]


@pytest.mark.parametrize(
    ("given_columns", "message"),
    [
        ({"document": "aba"}, r":4: rows of a document stand together, and 'a' comes again"),
        ({"document": ["a", ""]}, r":3: the document is empty"),
        ({"sentence": "xyx"}, r":4: .*sentence 'x' of document 'import' comes again"),
        ({"sentence": "xx", "position": [1, 1]}, r":3: positions rise .* 1 follows 1"),
        ({"position": ["0", "-1"]}, r":3: `position` .*'-1'"),
        ({"position": ["0", "1.5"]}, r":3: `position` .*'1.5'"),
        ({"position": ["99999999999999999999"]}, r":2: `position`"),
        ({"position": ["٣"]}, r":2: `position`"),
    ],
)
def test_rows_that_cannot_be(given_columns, message):
    with pytest.raises(CorpusError, match=rf"l\.tsv{message}"):
        sentences(**given_columns)


def test_splits_are_of_whole_sentences():
    batch = {"sentence": ["x", "x", "y"], "split": ["train", "train", ""]}
    rows = RowBatch("l.tsv", range(2, 5), batch)
    assert [s.split for s in SentenceBuilder("l", {}, "split").sentences(iter([rows]))] == ["train", None]
    for splits, message in ((["train", "dev"], r":3: .*'dev' follows 'train'"), (["Train", "x"], ":2: .*'Train'")):
        with pytest.raises(CorpusError, match=message):
            sentences(split_column="split", sentence="xx", split=splits)


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 7))
def test_rebatching_keeps_every_row(sizes, size):
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    batches = [
        RowBatch("s", range(first, first + n), {"x": [str(first + i) for i in range(n)]})
        for first, n in zip(starts, sizes, strict=True)
    ]
    found = list(rebatched(iter(batches), size))
    assert [value for batch in found for value in batch.columns["x"]] == [str(i) for i in range(sum(sizes))]
    assert [line for batch in found for line in batch.lines] == list(range(sum(sizes)))
    assert all(batch.n_rows == size for batch in found[:-1])


def test_labels_beside_words_must_be_of_the_same_rows(tmp_path):
    base = RowBatch("x.json", [1, 1, 2], {"sentence": ["0", "0", "1"], "word": ["a", "b", "c"]})
    path = tsv(tmp_path, "N V\nN\n", "tags")
    (both,) = beside(iter([base]), read_paired_labels(path, "upos"))
    assert both.columns["upos"] == ["N", "V", "N"]
    assert both.columns["word"] == ["a", "b", "c"]
    with pytest.raises(ExchangeError, match=r"x\.json:2: .*as many rows"):
        list(beside(iter([base]), read_paired_labels(tsv(tmp_path, "N V\n", "short"), "upos")))
    with pytest.raises(ExchangeError, match=r"long:3: .*as many rows"):
        list(beside(iter([base]), read_paired_labels(tsv(tmp_path, "N V\nN\nN\n", "long"), "upos")))
    other = tsv(tmp_path, "word\nA\nb\nc\n")
    with pytest.raises(ExchangeError, match=r"l\.tsv:2: the word is 'A' here and 'a' in x\.json:1"):
        list(beside(iter([base]), read_label_table(other)))
