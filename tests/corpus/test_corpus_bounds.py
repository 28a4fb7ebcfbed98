"""Memory of reading: bounded by a limit for a line and a block, not by what a file unpacks to or a document holds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from pipeline.corpus import streams
from pipeline.corpus.reader import read_corpus
from pipeline.corpus.splitting import MAX_SENTENCE_CHARACTERS, split_sentences
from schemas.config import CorpusConfig
from schemas.errors import CorpusError

_MEASURE = """
import resource, sys
from pipeline.corpus.scan import scan
from schemas.config import CorpusConfig
from schemas.errors import CorpusError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    summary = scan(CorpusConfig(sources=[sys.argv[1]], format=sys.argv[2]))
    print(summary.n_documents, summary.n_sentences, summary.n_words)
except CorpusError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def scanned(path: Path, kind: str) -> tuple[str, int]:
    """What a scan in a process of its own says, and by how many MB it grew."""
    command = [sys.executable, "-c", _MEASURE, str(path), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)
    said, _, grown = done.stdout.strip().rpartition("\n")
    return said, int(grown)


def bomb(path: Path, piece: bytes, copies: int) -> Path:
    """A file that unpacks to ``copies`` times ``piece``: many members, of Zstandard one frame that holds it all."""
    if path.suffix == ".zst":
        frame = zstandard.ZstdCompressor().compressobj()
        path.write_bytes(b"".join([*(frame.compress(piece) for _ in range(copies)), frame.flush()]))
    else:
        compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[path.suffix]
        path.write_bytes(compress(piece) * copies)
    return path


@pytest.mark.parametrize("kind", ["text", "jsonl", "conllu", "conll"])
def test_a_gigabyte_without_a_line_end_is_refused_by_file_and_line(tmp_path, kind):
    path = bomb(tmp_path / "bomb.gz", bytes(2**24), 64)
    assert path.stat().st_size < 2**21
    said, grown = scanned(path, kind)
    assert said.startswith(f"{path}:1: a line may have 128 MB, and there are more; ")
    assert grown < 400


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_gigabyte_of_blank_lines_streams(tmp_path, suffix):
    path = bomb(tmp_path / f"bomb.txt{suffix}", (b" " * (2**20 - 1) + b"\n") * 16, 64)
    with path.open("ab") as file:
        file.write(bomb(tmp_path / f"end{suffix}", b"The end.\n", 1).read_bytes())
    assert path.stat().st_size < 2**21
    said, grown = scanned(path, "text")
    assert said == "1 1 3"
    assert grown < 150


def test_an_xz_file_that_asks_for_a_gigabyte_is_refused(tmp_path):
    path = tmp_path / "greedy.txt.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}]
    path.write_bytes(lzma.compress(b"The end.\n", filters=filters))
    assert path.stat().st_size < 100
    said, grown = scanned(path, "text")
    assert said.startswith(f"{path}:1: the file cannot be read to its end (Memory usage limit exceeded)")
    assert grown < 150


@pytest.mark.parametrize("cut", [1, 20, 40])
def test_xz_streams_follow_each_other_with_padding_between_and_none_is_cut_off(tmp_path, cut):
    path = tmp_path / "a.txt.xz"
    one, other = lzma.compress(b"One sentence.\n"), lzma.compress(b"Another one.\n", preset=9)
    path.write_bytes(one + bytes(8) + other + bytes(4))
    config = CorpusConfig(sources=[str(path)])
    assert [sentence.text for sentence in read_corpus(config)] == ["One sentence.", "Another one."]
    path.write_bytes(one + other[:-cut])
    with pytest.raises(CorpusError, match=r"a\.txt\.xz:[23]: the file cannot be read to its end"):
        list(read_corpus(config))


@pytest.mark.parametrize("kind", ["conllu", "conll"])
def test_a_sentence_that_never_ends_is_refused(tmp_path, kind):
    path = bomb(tmp_path / "bomb.gz", b"a\tb\n" * 100_000, 40)
    said, grown = scanned(path, kind)
    assert said.startswith(f"{path}:1: the lines up to the next blank one may be 1,000,000 lines and 128 MB, and there")
    assert grown < 400


def test_the_limit_for_a_line_is_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 10)
    path = tmp_path / "a.txt"
    path.write_bytes(b"short.\n123456789\nshort.\n")
    config = CorpusConfig(sources=[str(path)])
    assert len(list(read_corpus(config))) == 3
    path.write_bytes(b"short.\n1234567890\n")
    with pytest.raises(CorpusError, match=r"a\.txt:2: a line may have"):
        list(read_corpus(config))


@pytest.mark.parametrize("kind", ["text", "jsonl"])
def test_a_document_of_50_mb_on_one_line(tmp_path, kind):
    """Of long words, so that the test is about bytes and not about splitting."""
    text = ("w" * 999 + " ") * 50_000
    path = tmp_path / "long"
    path.write_text(f'{{"text": "{text}"}}\n' if kind == "jsonl" else text + "\n", encoding="ascii")
    assert path.stat().st_size > 50_000_000
    said, grown = scanned(path, kind)
    assert said == "1 2500 50000"
    assert grown < 450


@pytest.mark.slow
def test_a_document_of_50_mb_of_real_words_without_a_full_stop(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("word " * 10_000_000, encoding="ascii")
    said, grown = scanned(path, "text")
    assert said == "1 2500 10000000"
    assert grown < 450


def test_a_line_that_is_to_be_one_sentence_is_cut_like_any_other(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("Short.\n" + "word " * 10_000 + "\n", encoding="ascii")
    sentences = list(read_corpus(CorpusConfig(sources=[str(path)], sentence_per="line")))
    assert [len(sentence.text) for sentence in sentences] == [6, 19_999, 19_999, 9_999]
    assert [sentence.sentence for sentence in sentences] == ["1", "2", "3", "4"]
    assert sum(len(sentence.words) for sentence in sentences[1:]) == 10_000


def test_a_sentence_without_an_end_is_cut_at_white_space():
    words = ["word"] * 10_000
    pieces = split_sentences(" ".join(words))
    assert [len(piece) for piece in pieces] == [19_999, 19_999, 9_999]
    assert " ".join(pieces).split(" ") == words
    assert [len(piece) for piece in split_sentences("x" * 50_000)] == [20_000, 20_000, 10_000]
    assert split_sentences("x" * MAX_SENTENCE_CHARACTERS) == ["x" * MAX_SENTENCE_CHARACTERS]
