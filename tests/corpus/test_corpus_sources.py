"""Files of a corpus: expansion of paths, decompression, checksums."""

import bz2
import gzip
import hashlib
import lzma

import fsspec
import pytest
import zstandard

from pipeline.corpus.sources import digest, expand
from pipeline.corpus.streams import open_source
from schemas.config import CorpusConfig
from schemas.errors import CorpusError

COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def names(config):
    return [source.name for source in expand(config)]


def lines_of(path):
    with open_source(str(path), str(path)) as stream:
        return list(stream.lines())


@pytest.mark.parametrize("suffix", COMPRESS)
def test_every_compression_gives_the_same_lines_and_the_digest_of_the_raw_bytes(tmp_path, suffix):
    content = b"\xef\xbb\xbffirst\r\nsecond\n\nlast" + b" x" * 100_000
    raw = COMPRESS[suffix](content)
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(raw)
    with open_source(str(path), str(path)) as stream:
        lines = list(stream.lines())
        found = stream.digest()
    assert lines == [(1, b"first"), (2, b"second"), (3, b""), (4, content.split(b"\n")[-1])]
    assert (found.n_bytes, found.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_several_compressed_streams_in_one_file_are_all_read(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](b"one\n") + COMPRESS[suffix](b"two\n"))
    assert lines_of(path) == [(1, b"one"), (2, b"two")]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_file_is_an_error_and_never_a_shorter_corpus(tmp_path, suffix, damage):
    path = tmp_path / f"a.txt{suffix}"
    content = COMPRESS[suffix](b"".join(hashlib.sha256(b"%d" % i).hexdigest().encode() + b"\n" for i in range(999)))
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"no such stream\n")
    with pytest.raises(CorpusError, match=r"a\.txt.*:\d+: the file cannot be read to its end"):
        lines_of(path)


def test_blocks_are_runs_of_lines_between_blank_ones(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n\t\na\nb\r\n \r\n\nc")
    with open_source("a", str(path)) as stream:
        assert list(stream.blocks()) == [(3, [b"a", b"b"]), (7, [b"c"])]


def test_folders_are_recursive_sorted_and_without_hidden_files(tmp_path):
    for name in ("b.txt", "a/z.txt", ".hidden.txt", ".git/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert names(CorpusConfig(sources=[str(tmp_path)])) == [str(tmp_path / "a/z.txt"), str(tmp_path / "b.txt")]
    assert names(CorpusConfig(sources=[str(tmp_path / "**/*.txt")])) == [
        str(tmp_path / "a/z.txt"),
        str(tmp_path / "b.txt"),
    ]


def test_names_stay_relative_where_the_config_is_relative(tmp_path, monkeypatch):
    (tmp_path / "c.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert names(CorpusConfig(sources=["c.txt"])) == ["c.txt"]
    assert names(CorpusConfig(sources=["*.txt"])) == ["c.txt"]


def test_a_file_inside_a_package_keeps_its_notation():
    (source,) = expand(CorpusConfig(sources=["package:schemas/errors.py"]))
    assert source.name == "package:schemas/errors.py"
    assert digest(source).n_bytes > 0


def test_urls_of_file_systems_are_expanded_and_read():
    fs = fsspec.filesystem("memory")
    fs.pipe({"/corpus-a/2.txt": b"two", "/corpus-a/1.txt": b"one", "/corpus-a/.part": b"no"})
    for path in ("memory://corpus-a", "memory://corpus-a/*.txt"):
        sources = expand(CorpusConfig(sources=[path]))
        assert [source.relative for source in sources] == ["1.txt", "2.txt"]
        with open_source(sources[0].name, sources[0].url) as stream:
            assert list(stream.lines()) == [(1, b"one")]
    with pytest.raises(CorpusError, match="memory://corpus-a/none"):
        expand(CorpusConfig(sources=["memory://corpus-a/none"]))


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("no_such_file.txt", "does not exist"),
        ("no_such_*.txt", "matches none"),
        ("package:schemas/no_such_file", "has no 'no_such_file'"),
        ("package:no_such_package/x", "not installed"),
        ("nosuchprotocol://x/y", "cannot be read"),
    ],
)
def test_a_path_that_matches_nothing_is_an_error_naming_it(path, rule):
    with pytest.raises(CorpusError, match=rule) as error:
        expand(CorpusConfig(sources=[path]))
    assert str(error.value).startswith(path)


def test_an_empty_folder_and_a_doubled_file_are_errors(tmp_path):
    with pytest.raises(CorpusError, match="matches none"):
        expand(CorpusConfig(sources=[str(tmp_path)]))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(CorpusError, match="may be in the corpus once"):
        expand(CorpusConfig(sources=[str(tmp_path), str(tmp_path / "*.txt")]))


def test_splits_come_from_the_source(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.txt").write_text("x")
    sources = [{"path": str(tmp_path / "a.txt"), "split": "train"}, {"path": str(tmp_path / "b.txt")}]
    assert [source.split for source in expand(CorpusConfig(sources=sources))] == ["train", None]


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("", ["a/x.txt", "b.txt"]),
        ("/", ["a/x.txt", "b.txt"]),
        ("/**/*.txt", ["a/x.txt", "b.txt"]),
        ("/a/*", ["x.txt"]),
        ("/a/x.txt", ["x.txt"]),
    ],
)
def test_documents_are_named_by_the_path_inside_what_was_configured(tmp_path, path, relative):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.txt").write_text("x")
    (tmp_path / "b.txt").write_text("x")
    assert [source.relative for source in expand(CorpusConfig(sources=[f"{tmp_path}{path}"]))] == relative
