"""Annotation with a real tagger: the same bytes however it ran, resumed where it stopped."""

import gzip
from importlib.util import find_spec

import pytest

from pipeline.corpus.annotate import annotate
from pipeline.corpus.reader import read_corpus
from schemas.config import AnnotateConfig, CorpusConfig
from schemas.errors import ConfigError

TAGGER = AnnotateConfig().tagger
if find_spec("spacy") is None or find_spec(TAGGER) is None:
    pytest.skip(f"the extra `annotate` (spaCy and {TAGGER}) is not installed", allow_module_level=True)

DOCUMENTS = [
    "Mr. Smith went to New York on Tuesday.  He \u00a0didn't like it.",
    "Angela Merkel \u2028 spoke in Berlin. # text = odd | _ stuff.",
    "It cost $3,000.50.",
    "Prices rose 5% in May, said Reuters.",
]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(DOCUMENTS) + "\n")
    return CorpusConfig(sources=[{"path": str(path), "split": "dev"}], document_per="line")


def parts(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "parts").iterdir())}


def test_words_layers_documents_and_splits_come_through(tmp_path, corpus):
    calls = []
    out = annotate(corpus, AnnotateConfig(documents_per_part=3), tmp_path / "out", progress=lambda *n: calls.append(n))
    sentences = list(read_corpus(out))
    assert [call[0] for call in calls] == [3, 4]
    assert calls[-1][1] == sum(len(s.words) for s in sentences)
    name = str(tmp_path / "a.txt")
    assert list(dict.fromkeys(s.document for s in sentences)) == [f"a.txt#{i}" for i in (1, 2, 3, 4)]
    assert {(s.split, s.source) for s in sentences} == {("dev", name)}
    first, second = sentences[:2]
    assert first.text == "Mr. Smith went to New York on Tuesday."
    assert second.text == "He \u00a0didn't like it."
    assert second.words == ("He", "did", "n't", "like", "it", ".")
    assert first.layers["upos"][:3] == ("PROPN", "PROPN", "VERB")
    assert first.layers["entity"][4:6] == ("B-GPE", "I-GPE")
    assert first.layers["head"].count("0") == 1
    assert "feat_Number" in first.layers
    for sentence, text in ((s, s.text) for s in sentences):
        assert tuple(text[a:b] for a, b in sentence.spans) == sentence.words


def test_only_the_layers_asked_for_are_written(tmp_path, corpus):
    out = annotate(corpus, AnnotateConfig(layers=("upos",)), tmp_path / "out")
    assert {layer for s in read_corpus(out) for layer in s.layers} == {"upos"}


def test_processes_and_resumption_give_the_same_bytes(tmp_path, corpus):
    config = AnnotateConfig(documents_per_part=1)
    annotate(corpus, config, tmp_path / "one")
    expected = parts(tmp_path / "one")
    assert len(expected) == 4
    assert all(raw[4:8] == b"\0\0\0\0" for raw in expected.values())
    annotate(corpus, config, tmp_path / "two", workers=2)
    assert parts(tmp_path / "two") == expected

    (tmp_path / "two/parts.json").unlink()
    (tmp_path / "two/parts/part-00001.conllu.gz").write_bytes(b"torn")
    (tmp_path / "two/receipts/part-00002.json").unlink()
    kept = (tmp_path / "two/parts/part-00000.conllu.gz").stat().st_mtime_ns
    annotate(corpus, config, tmp_path / "two")
    assert parts(tmp_path / "two") == expected
    assert (tmp_path / "two/parts/part-00000.conllu.gz").stat().st_mtime_ns == kept


def test_changed_text_is_tagged_again_and_stale_parts_go(tmp_path, corpus):
    config = AnnotateConfig(documents_per_part=1)
    annotate(corpus, config, tmp_path / "out")
    (tmp_path / "a.txt").write_text("Another text.\n" + DOCUMENTS[1] + "\n")
    annotate(corpus, config, tmp_path / "out")
    found = parts(tmp_path / "out")
    assert sorted(found) == ["part-00000.conllu.gz", "part-00001.conllu.gz"]
    assert "Another text." in gzip.decompress(found["part-00000.conllu.gz"]).decode()


def test_a_hash_split_is_drawn_on_what_comes_out(tmp_path, corpus):
    config = CorpusConfig(sources=[str(tmp_path / "a.txt")], document_per="line", split={"test": 0.5, "by": "sentence"})
    out = annotate(config, AnnotateConfig(), tmp_path / "out")
    assert {s.split for s in read_corpus(out)} == {"train", "test"}


def test_what_cannot_be_annotated_is_an_error(tmp_path, corpus):
    (tmp_path / "a.conllu").write_text("1\tx" + "\t_" * 8 + "\n")
    with pytest.raises(ConfigError, match=r"a\.conllu is conllu; drop `annotate`"):
        annotate(CorpusConfig(sources=[str(tmp_path / "a.conllu")]), AnnotateConfig(), tmp_path / "out")
    with pytest.raises(
        ConfigError, match=r"annotate\.tagger: must be an installed spaCy pipeline, and 'no_tagger' is not"
    ):
        annotate(corpus, AnnotateConfig(tagger="no_tagger"), tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="output folder"):
        annotate(corpus, AnnotateConfig(), tmp_path / "file")


def test_what_was_skipped_is_reported_again_by_a_finished_annotation(tmp_path, corpus):
    (tmp_path / "a.txt").write_bytes(b"Good day.\ncaf\xe9\nGood night.\n")
    config = corpus.model_copy(update={"on_error": "skip"})
    reports = []
    for _ in range(2):
        items = []
        annotate(config, AnnotateConfig(), tmp_path / "out", quarantine=items.append)
        reports.append(items)
    assert reports[0] == reports[1]
    assert [item.line for item in reports[0]] == [2]
