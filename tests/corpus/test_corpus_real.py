"""The readers on real corpora: the sizes that their publishers state."""

import pytest

from pipeline.corpus.concepts import resolve_concepts
from pipeline.corpus.reader import read_corpus
from pipeline.corpus.scan import scan
from schemas.config import ConceptsConfig, CorpusConfig


@pytest.mark.parametrize(
    ("part", "n_sentences", "n_words"), [("train", 12_544, 204_577), ("dev", 2_001, 25_147), ("test", 2_077, 25_094)]
)
def test_ewt(shared_data, part, n_sentences, n_words):
    path = shared_data / f"ewt/en_ewt-ud-{part}.conllu.gz"
    summary = scan(CorpusConfig(sources=[{"path": str(path), "split": part}]))
    assert (summary.n_sentences, summary.n_words, summary.splits) == (n_sentences, n_words, {part: n_sentences})
    assert len(summary.layers["upos"]) == 17
    assert summary.n_quarantined == 0


def test_every_word_of_ewt_is_in_its_text(shared_data):
    for sentence in read_corpus(CorpusConfig(sources=[str(shared_data / "ewt/en_ewt-ud-dev.conllu.gz")])):
        assert tuple(sentence.text[a:b] for a, b in sentence.spans) == sentence.words
        assert all(len(values) == len(sentence.words) for values in sentence.layers.values())


def test_masc(shared_data):
    summary = scan(CorpusConfig(sources=[str(shared_data / "masc")], columns=["xpos"]))
    assert (summary.n_documents, summary.n_sentences, summary.n_words) == (392, 34_532, 592_447)


@pytest.mark.parametrize(("part", "n_words"), [("train", 62_730), ("dev", 15_733)])
def test_wnut17(shared_data, part, n_words):
    summary = scan(CorpusConfig(sources=[str(shared_data / f"wnut17/{part}.conll.gz")], columns=["entity"]))
    assert summary.n_words == n_words
    names = {c.name for c in resolve_concepts(ConceptsConfig(include=[{"layer": "entity"}]), summary)}
    assert names == {f"entity={x}" for x in ("person", "location", "creative-work", "product", "group", "corporation")}


def test_senses(shared_data):
    summary = scan(CorpusConfig(sources=[str(shared_data / "senses")], format="sentences"))
    assert summary.layers["sense"] == summary.sentence_labels["sense"]
    assert sum(summary.layers["sense"].values()) == summary.n_sentences == 3_816
