"""Lists in records: word layers and labels with several values, in JSONL and Parquet; label files beside word files."""

import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.bracketed_entities import covered_types
from pipeline.corpus.concepts import resolve_concepts
from pipeline.corpus.label_values import join_values, merged_values, split_values
from pipeline.corpus.reader import read_corpus
from pipeline.corpus.scan import scan
from pipeline.corpus.sources import expand
from pipeline.corpus.urls import split_chain
from schemas.config import ConceptsConfig, CorpusConfig
from schemas.errors import CorpusError

RECORDS = [
    {"words": ["the", "cat"], "pos-tag": ["DET", None], "moods": ["sad", "glad", "sad"], "ids": [3, 4], "x": 1.5},
    {"text": "A dog.", "words": ["A", "dog", "."], "pos-tag": ["DET", "NOUN", "PUNCT"], "moods": []},
]


def read(path, **config):
    return list(read_corpus(CorpusConfig(sources=[str(path)], **config)))


def write(path, records):
    if path.suffix == ".parquet":
        names = dict.fromkeys(name for record in records for name in record)
        pq.write_table(pa.table({name: [record.get(name) for record in records] for name in names}), path)
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@given(st.lists(st.text()))
def test_lists_of_values_read_back(values):
    joined = join_values(values)
    if len(set(values)) > 1:
        assert split_values(joined) == tuple(sorted(set(values)))
    else:
        assert joined == (values[0] if values else None)


@pytest.mark.parametrize("text", ["a", "[a]", "[]", '["a"]', "[1, 2]", '["a", 1]', "[" * 9, "[1]"])
def test_other_text_is_one_value(text):
    assert split_values(text) == (text,)


def test_counts_are_of_single_values_and_tags_merged():
    counts = {'["a", "b"]': 3, "b": 2, "_": 9}
    assert merged_values(counts, ("_",), iob=True) == {"a": (['["a", "b"]'], 3), "b": (['["a", "b"]', "b"], 5)}
    assert merged_values({"B-X": 1, "I-X": 2, "O": 3}, ("O",), iob=True) == {"X": (["B-X", "I-X"], 3)}


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_lists_are_word_layers_or_labels(tmp_path, name):
    first, second = read(write(tmp_path / name, RECORDS), format="sentences")
    assert first.layers == {"pos_tag": ("DET", None), "ids": ("3", "4")}
    assert first.labels == {"moods": '["glad", "sad"]', "x": "1.5"}
    assert (second.text, second.labels) == ("A dog.", {})
    assert second.layers == {"pos_tag": ("DET", "NOUN", "PUNCT")}


def test_the_config_decides_where_the_length_would_not(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"words": ["a", "b"], "moods": ["glad", "sad"], "pos": ["X", "Y"]}])
    (sentence,) = read(path, format="sentences", label_fields=["moods"])
    assert (sentence.labels, sentence.layers) == ({"moods": '["glad", "sad"]'}, {"pos": ("X", "Y")})
    (sentence,) = read(path, format="sentences", columns=["pos"])
    assert (sentence.labels, sentence.layers) == ({"moods": '["glad", "sad"]'}, {"pos": ("X", "Y")})


@pytest.mark.parametrize("value", [["X"], [["X"], "Y"], "XY", [1.5, 2.5]])
def test_a_named_word_layer_has_a_value_per_word(tmp_path, value):
    path = write(tmp_path / "a.jsonl", [{"words": ["a", "b"], "pos": value}])
    with pytest.raises(CorpusError, match=r"a\.jsonl:1: word layer 'pos' must .* each of the 2 words"):
        read(path, format="sentences", columns=["pos"])


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_every_value_of_a_list_is_a_concept(tmp_path, name):
    records = [{"text": "The cat. The dog.", "moods": moods} for moods in (["sad", "glad"], ["sad"], None)]
    write(tmp_path / name, records)
    for kind, key in (("sentences", "sentence_label"), (name[2:], "document_label")):
        config = CorpusConfig(sources=[str(tmp_path / name)], format=kind, label_fields=["moods"])
        concepts = resolve_concepts(ConceptsConfig(include=[{key: "moods"}]), scan(config))
        assert {c.value: c.values for c in concepts} == {
            "sad": {"sad", '["glad", "sad"]'},
            "glad": {'["glad", "sad"]'},
        }


def test_parquet_is_never_read_as_text(tmp_path):
    path = write(tmp_path / "a.parquet", [{"words": ["a"], "text": "a"}])
    for kind in ("text", "jsonl", "conllu", "conll"):
        with pytest.raises(CorpusError, match="the file is Parquet, and it is read as") as error:
            read(path, format=kind)
        assert "iconv" not in str(error.value)
    path = write(tmp_path / "b.parquet", [{"words": ["a"]}])
    with pytest.raises(CorpusError, match=r"set corpus\.format to `sentences`"):
        read(path)
    with pytest.raises(CorpusError, match=r"corpus\.columns names 'pos', which is no column"):
        read(path, format="sentences", columns=["pos"])
    path = write(tmp_path / "c.parquet", [{"body": "a"}])
    with pytest.raises(CorpusError, match="needs the column 'words'"):
        read(path, format="sentences")
    (tmp_path / "d.parquet").write_bytes(b"\xff\xfe")
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        read(tmp_path / "d.parquet", format="sentences")


def test_paired_files_by_stem(tmp_path):
    for name in ("train", "dev.1"):
        (tmp_path / f"{name}.word").write_text("a b\n")
        (tmp_path / f"{name}.label").write_text("A B\n")
    sentences = read(tmp_path, format="paired", columns=["label"])
    assert [(s.document, s.layers) for s in sentences] == [
        (f"{name}.word", {"label": ("A", "B")}) for name in ("dev.1", "train")
    ]
    (tmp_path / "train.word.label").write_text("C D\n")
    assert read(tmp_path / "train.word", format="paired", columns=["label"])[0].layers == {"label": ("C", "D")}


def test_a_label_file_of_two_word_files_is_an_error(tmp_path):
    for name in ("a.word", "a.other", "a.label"):
        (tmp_path / name).write_text("a b\n")
    with pytest.raises(CorpusError, match=r"a\.label: a label file belongs to one word file"):
        read(tmp_path, format="paired", columns=["label"])
    (tmp_path / "b.label").write_text("x\n")
    with pytest.raises(CorpusError, match=r"no file .*b\.label\.label"):
        read(tmp_path / "b.label", format="paired", columns=["label"])


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("a::b", ("", "a::b", "")),
        ("s3://b/x", ("", "s3://b/x", "")),
        ("zip://a.txt::file:///x.zip", ("", "zip://a.txt", "::file:///x.zip")),
        ("simplecache::zip://a::s3://b/x.zip", ("simplecache::", "zip://a", "::s3://b/x.zip")),
        ("zip::file:///x.zip", ("", "zip://", "::file:///x.zip")),
    ],
)
def test_chained_urls_in_parts(url, parts):
    assert split_chain(url) == parts


def test_files_in_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("d/b.word", "d/a.word"):
            archive.writestr(name, f"{name} x\n")
            archive.writestr(name.replace("word", "label"), "A B\n")
    archive = f"::file://{tmp_path}/x.zip"
    for place, relative in (
        ("zip://d/a.word", ["a.word"]),
        ("zip://d/*.word", ["a.word", "b.word"]),
        ("zip://d", ["a.word", "b.word"]),
        ("zip://", ["d/a.word", "d/b.word"]),
        ("simplecache::zip://d/a.word", ["a.word"]),
    ):
        config = CorpusConfig(sources=[place + archive], format="paired", columns=["label"])
        assert [source.relative for source in expand(config)] == relative
        assert all(source.name.endswith(archive) for source in expand(config))
        assert [s.layers for s in read_corpus(config)] == [{"label": ("A", "B")}] * len(relative)
    (tmp_path / "y.zip").write_text("no archive")
    with pytest.raises(CorpusError, match="the file system cannot be read"):
        expand(CorpusConfig(sources=[f"zip://a::file://{tmp_path}/y.zip"]))


@pytest.mark.parametrize(
    ("cells", "types"),
    [
        (["(2-place", None, "2)"], ("place", "place", "place")),
        (["(1-person-giv:act-1-ana)", "B-PER", None], ("person", "B-PER", None)),
        (["(1-person-new(2-place-new)", "1)", "3)"], ('["person", "place"]', "person", None)),
        (["(1-a-x", "(2-b-x", "1)2)"], ("a", '["a", "b"]', '["a", "b"]')),
        (["(e1[1/2]-thing-1)", "(e2", "e2)"], ("thing", None, None)),
        (["(1-a", "1)(1-b", None], ("a", '["a", "b"]', "b")),
    ],
)
def test_bracketed_mentions_give_their_type_to_every_word(cells, types):
    assert covered_types(cells) == types


def test_brackets_in_conllu_are_no_concepts(tmp_path):
    misc = ("Entity=(2-place-new", "SpaceAfter=No|Entity=2)", "_", "Entity=(3)")
    path = tmp_path / "a.conllu"
    path.write_text("".join(f"{i}\tw\t" + "_\t" * 7 + f"{cell}\n" for i, cell in enumerate(misc, 1)))
    (sentence,) = read(path)
    assert sentence.layers["entity"] == ("place", "place", None, None)
    path.write_text("1\tw\t" + "_\t" * 7 + "Entity=(3)\n")
    assert read(path)[0].layers == {}
