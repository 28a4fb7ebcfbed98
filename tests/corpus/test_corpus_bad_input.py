"""Bad input: one error naming file:line, the rule, the value and the way out; or quarantine, and reading goes on."""

import pytest

from pipeline.corpus.reader import read_corpus
from schemas.config import CorpusConfig
from schemas.errors import CorpusError

A, B = b'{"text": "A."}\n', b'{"text": "B."}\n'
ROW = b"1\tx" + b"\t_" * 8 + b"\n"

# file name, config, content before, bad content, content after, line, words of the rule, the value
CASES = {
    "text, undecodable": (
        "a.txt",
        {},
        b"Good.\n",
        b"caf\xe9 bad\n",
        b"Fine.\n",
        2,
        "must be UTF-8, and byte 0xe9 at byte 4",
        "caf",
    ),
    "conllu, undecodable": ("a.conllu", {}, ROW + b"\n", b"# x\n1\tcaf\xe9\n\n", ROW, 4, "must be UTF-8", "caf"),
    "conllu, ragged": (
        "a.conllu",
        {},
        ROW + b"\n",
        ROW + b"2\ty\n\n",
        ROW,
        4,
        "10 columns divided by tabs, not 2",
        "y",
    ),
    "conllu, ids": ("a.conllu", {}, ROW + b"\n", b"# c\n" + ROW + b"3" + ROW[1:] + b"\n", ROW, 5, "count from 1", "3"),
    "conllu, no words": ("a.conllu", {}, ROW + b"\n", b"# only this\n\n", ROW, 3, "must have words", "only comments"),
    "conllu, empty word": (
        "a.conllu",
        {},
        ROW + b"\n",
        b"1\t" + b"\t_" * 8 + b"\n\n",
        ROW,
        3,
        "must not be empty",
        "1",
    ),
    "conllu, other text": (
        "a.conllu",
        {},
        ROW + b"\n",
        b"# text = y\n" + ROW + b"\n",
        ROW,
        3,
        "make up the text",
        "'y'",
    ),
    "conllu, range": (
        "a.conllu",
        {},
        ROW + b"\n",
        b"1-9" + ROW[1:] + ROW + b"\n",
        ROW,
        3,
        "multi-word token must span",
        "1-9",
    ),
    "conll, ragged": (
        "a.tsv",
        {},
        b"a\tN\n\n",
        b"b\tN\nc\n\n",
        b"d\tN\n",
        4,
        "2 columns (the word, then label), not 1",
        "'c'",
    ),
    "conll, too wide": ("a.tsv", {"columns": ["p"]}, b"a\tN\n\n", b"b\tN\tX\n\n", b"d\tN\n", 3, "not 3", "X"),
    "conll, empty word": ("a.tsv", {}, b"a\tN\n\n", b"\tN\n\n", b"d\tN\n", 3, "must not be empty", "N"),
    "jsonl, syntax": ("a.jsonl", {}, A, b'{"text": \n', B, 2, "one JSON object", "text"),
    "jsonl, no object": ("a.jsonl", {}, A, b"[1]\n", B, 2, "not a list", "[1]"),
    "jsonl, no text": ("a.jsonl", {}, A, b'{"body": 1}\n', B, 2, "corpus.text_field", "None"),
    "jsonl, empty text": ("a.jsonl", {}, A, b'{"text": " "}\n', B, 2, "must have words", " "),
    "jsonl, surrogate": ("a.jsonl", {}, A, b'{"text": "\\uD800"}\n', B, 2, "half a surrogate", "uD800"),
    "jsonl, label": (
        "a.jsonl",
        {"label_fields": ["g"]},
        A,
        b'{"text": "C.", "g": [1]}\n',
        B,
        2,
        "label field 'g'",
        "[1]",
    ),
    "jsonl, undecodable": ("a.jsonl", {}, A, b'{"text": "\xff"}\n', B, 2, "must be UTF-8", "text"),
    "records, no words": ("s.jsonl", {"format": "sentences"}, A, b'{"words": []}\n', B, 2, "must have words", "[]"),
    "records, empty word": (
        "s.jsonl",
        {"format": "sentences"},
        A,
        b'{"words": [" "]}\n',
        B,
        2,
        "none of them empty",
        "' '",
    ),
    "records, target": (
        "s.jsonl",
        {"format": "sentences"},
        A,
        b'{"words": ["a"], "target": 1}\n',
        B,
        2,
        "from 0 to 0",
        "'1'",
    ),
    "records, words not in text": (
        "s.jsonl",
        {"format": "sentences"},
        A,
        b'{"words": ["a"], "text": "b"}\n',
        B,
        2,
        "must be in the text",
        "'b'",
    ),
    "records, nothing": ("s.jsonl", {"format": "sentences"}, A, b'{"x": 1}\n', B, 2, "list of strings in 'words'", "x"),
}


def write(tmp_path, case):
    name, config, before, bad, after, *expected = CASES[case]
    path = tmp_path / name
    path.write_bytes(before + bad + after)
    return path, {"sources": [str(path)], **config}, expected


@pytest.mark.parametrize("case", CASES)
def test_raised_with_place_rule_value_and_way_out(tmp_path, case):
    path, config, (line, rule, value) = write(tmp_path, case)
    with pytest.raises(CorpusError) as error:
        list(read_corpus(CorpusConfig(**config)))
    message = str(error.value)
    assert message.startswith(f"{path}:{line}: ")
    assert rule in message
    assert value.replace("\\", "\\\\") in message
    assert "--on-error skip" in message or "set corpus.format" in message


@pytest.mark.parametrize("case", CASES)
def test_skipped_into_quarantine_and_the_rest_is_read(tmp_path, case):
    path, config, (line, rule, _) = write(tmp_path, case)
    items = []
    sentences = list(read_corpus(CorpusConfig(on_error="skip", **config), items.append))
    assert len(sentences) == 2
    assert [(item.source, item.line) for item in items] == [(str(path), line)]
    assert rule in items[0].message


def test_paired_lines_of_different_length_name_both_counts(tmp_path):
    (tmp_path / "w").write_text("a b\nc d e\n\nf\n")
    (tmp_path / "w.pos").write_text("A B\nC D\n\nF\n")
    config = {"sources": [str(tmp_path / "w")], "format": "paired", "columns": ["pos"]}
    with pytest.raises(CorpusError, match=r"w\.pos:2: .*2 labels for 3 words of .*w; found 'C D'"):
        list(read_corpus(CorpusConfig(**config)))
    items = []
    assert [s.words for s in read_corpus(CorpusConfig(on_error="skip", **config), items.append)] == [("a", "b"), ("f",)]
    assert [(item.line, item.rule[:20]) for item in items] == [(2, "a line must have as "), (3, "a sentence must have")]


@pytest.mark.parametrize(("words", "labels", "short"), [("a\nb\n", "A\n", "w.pos"), ("a\n", "A\nB\n", "w")])
def test_paired_files_of_different_length_name_the_shorter(tmp_path, words, labels, short):
    (tmp_path / "w").write_text(words)
    (tmp_path / "w.pos").write_text(labels)
    with pytest.raises(CorpusError, match="equally many lines") as error:
        list(read_corpus(CorpusConfig(sources=[str(tmp_path / "w")], format="paired", columns=["pos"])))
    assert str(error.value).startswith(f"{tmp_path / short}:2: ")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.conllu", "a.tsv"])
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\r\n\n  \n"])
def test_an_empty_file_is_an_error_and_can_be_skipped(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "b.txt").write_text("Good.\n")
    sources = [str(tmp_path / name), str(tmp_path / "b.txt")]
    with pytest.raises(CorpusError, match=r":1: a corpus file must have a sentence"):
        list(read_corpus(CorpusConfig(sources=sources)))
    items = []
    assert len(list(read_corpus(CorpusConfig(sources=sources, on_error="skip"), items.append))) == 1
    assert len(items) == 1


def test_crlf_and_bom_change_nothing(tmp_path):
    content = b"# text = x\n" + ROW + b"\n" + ROW
    for name, raw in (("a.conllu", content), ("b.conllu", b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))):
        (tmp_path / name).write_bytes(raw)
    first, second = (
        [(s.text, s.words, s.line) for s in read_corpus(CorpusConfig(sources=[str(tmp_path / n)]))]
        for n in ("a.conllu", "b.conllu")
    )
    assert first == second
