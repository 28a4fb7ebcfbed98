"""Column files, paired files and sentence records."""

import json

import pytest

from pipeline.corpus.reader import draw_split, read_corpus
from schemas.config import CorpusConfig, HashSplit
from schemas.errors import ConfigError, CorpusError


def read(path, **config):
    return list(read_corpus(CorpusConfig(sources=[str(path)], **config)))


def test_conll_documents_hashtags_and_default_names(tmp_path):
    path = tmp_path / "a.conll"
    path.write_bytes(
        b"# document d/1\r\n#tag\tB-x\tN\r\n# \tO\tP\r\n\t\r\n# a comment\nb\tO\t\n\n# newdoc id = d2\n\nc\tO\tN\n"
    )
    sentences = read(path)
    assert [(s.document, s.sentence, s.words, s.line) for s in sentences] == [
        ("d/1", "1", ("#tag", "# "), 2),
        ("d/1", "2", ("b",), 6),
        ("d2", "1", ("c",), 10),
    ]
    assert sentences[0].layers == {"label": ("B-x", "O"), "label2": ("N", "P")}
    assert sentences[1].layers == {"label": ("O",), "label2": (None,)}


def test_conll_divided_by_spaces_with_docstart(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- -X- O\n\nEU NNP B-ORG\n# # O\n\n-DOCSTART- -X- O\n\nx NN O\n")
    sentences = read(path, columns=["pos", "ner"])
    assert [(s.document, s.words) for s in sentences] == [("a.conll#1", ("EU", "#")), ("a.conll#2", ("x",))]
    assert sentences[0].layers == {"pos": ("NNP", "#"), "ner": ("B-ORG", "O")}


@pytest.mark.parametrize("columns", [["a-b"], ["word"], ["pos", "POS"], ["Split"]])
def test_column_names_must_be_columns_of_sql(tmp_path, columns):
    (tmp_path / "a.conll").write_text("x\tN\tN\n")
    with pytest.raises(CorpusError, match=r"corpus\.columns"):
        read(tmp_path / "a.conll", columns=columns)


def test_paired_files_with_two_layers_in_a_folder(tmp_path):
    (tmp_path / "w.txt").write_text("The  cat\u00a0sat .\nHi\n")
    (tmp_path / "w.txt.pos").write_text("D N .\nI\n")
    (tmp_path / "w.txt.ner").write_text("O O O\r\nO\r\n")
    sentences = read(tmp_path, format="paired", columns=["pos", "ner"])
    assert [s.words for s in sentences] == [("The", "cat\u00a0sat", "."), ("Hi",)]
    assert sentences[0].layers == {"pos": ("D", "N", "."), "ner": ("O", "O", "O")}


def test_a_missing_label_file_or_name_is_an_error(tmp_path):
    (tmp_path / "w.txt").write_text("The cat\n")
    with pytest.raises(CorpusError, match=r"no file .*w\.txt\.pos"):
        read(tmp_path / "w.txt", format="paired", columns=["pos"])
    with pytest.raises(CorpusError, match=r"corpus\.columns"):
        read(tmp_path / "w.txt", format="paired")


def test_sentence_records_with_target_and_with_text(tmp_path):
    records = [
        {"words": ["Some", "time", "."], "target": 1, "lemma": "time", "sense": "t1"},
        {"id": "s", "document": "d", "text": "I like it.", "mood": "glad", "n": 3, "list": [1]},
        {"text": "Well, a  cat!", "words": ["Well", "a", "cat"], "ok": True},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    first, second, third = read(path, format="sentences")
    assert (first.text, first.labels, first.layers) == ("Some time .", {"sense": "t1"}, {"sense": (None, "t1", None)})
    assert (second.document, second.sentence, second.words) == ("d", "s", ("I", "like", "it", "."))
    assert second.labels == {"mood": "glad", "n": "3"}
    assert (third.spans, third.labels) == (((0, 4), (6, 7), (9, 12)), {"ok": "true"})
    assert [s.labels for s in read(path, format="sentences", label_fields=["lemma", "mood"])] == [
        {"lemma": "time"},
        {"mood": "glad"},
        {},
    ]


def test_a_hash_split_is_stable_by_name_and_near_its_shares(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"Line {i}\n" for i in range(400)))
    config = {"document_per": "line", "split": {"test": 0.25, "dev": 0.25}}
    splits = [s.split for s in read(path, **config)]
    assert splits == [s.split for s in read(path, **config)]
    assert 70 < splits.count("test") < 130
    assert 160 < splits.count("train") < 240
    by_sentence = {s.split for s in read(path, split={"test": 0.5, "by": "sentence"})}
    assert by_sentence == {"train", "test"}
    assert len({s.split for s in read(path, split={"test": 0.5})}) == 1
    assert draw_split(HashSplit(test=1), "d", "s") == "test"
    assert draw_split(HashSplit(test=0, dev=1), "d", "s") == "dev"


def test_a_hash_split_over_everything_or_over_a_split_is_an_error(tmp_path):
    (tmp_path / "a.conllu").write_text("# split = dev\n1\tx" + "\t_" * 8 + "\n")
    with pytest.raises(ConfigError, match="at most 1"):
        read(tmp_path / "a.conllu", split={"test": 0.7, "dev": 0.7})
    with pytest.raises(CorpusError, match=r"a\.conllu:1: corpus\.split draws a split"):
        read(tmp_path / "a.conllu", split={"test": 0.5})
