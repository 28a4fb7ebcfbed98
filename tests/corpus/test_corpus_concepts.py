"""Concepts: resolution against a corpus, and masks over words."""

import numpy as np
import pytest

from pipeline.corpus.concepts import Concept, require_positives, resolve_concepts
from pipeline.corpus.summary import CorpusSummary
from pipeline.corpus.word_masks import Coded, WordMasks, word_mask
from schemas.config import ConceptsConfig
from schemas.errors import ConceptError

SUMMARY = CorpusSummary(
    n_documents=2,
    n_sentences=4,
    n_words=20,
    n_chars=80,
    n_quarantined=0,
    layers={
        "upos": {"NOUN": 9, "VERB": 5, "_": 4, "X": 1},
        "entity": {"O": 9, "B-PER": 4, "I-PER": 2, "B-LOC": 3},
        "tag": {"I-beam": 1, "beam": 2},
        "lemma": {"a": 1},
        "sense": {"s": 2},
    },
    sentence_labels={"sense": {"s": 3, "t": 1}},
    document_labels={"genre": {"news": 2}},
    splits={"": 4},
    sources=[],
    fingerprint="0" * 64,
    open_layers=["lemma"],
)


def resolve(*include, **config):
    return resolve_concepts(ConceptsConfig(include=include, **config), SUMMARY)


def test_values_become_concepts_by_frequency_without_excluded_ones():
    assert [c.name for c in resolve({"layer": "upos"})] == ["upos=NOUN", "upos=VERB", "upos=X"]
    assert [c.name for c in resolve({"layer": "upos", "min_count": 2, "max_count": 8})] == ["upos=VERB"]
    assert [c.name for c in resolve({"layer": "upos"}, exclude_values=["X"])] == ["upos=NOUN", "upos=VERB", "upos=_"]


def test_iob_values_are_merged_only_where_the_whole_layer_is_iob():
    person, location = resolve({"layer": "entity"})
    assert (person.name, person.values) == ("entity=PER", {"B-PER", "I-PER"})
    assert location.name == "entity=LOC"
    assert [c.name for c in resolve({"layer": "entity", "min_count": 5})] == ["entity=PER"]
    assert [c.name for c in resolve({"layer": "entity"}, iob=False)] == ["entity=B-PER", "entity=B-LOC", "entity=I-PER"]
    assert [c.name for c in resolve({"layer": "tag"})] == ["tag=beam", "tag=I-beam"]


def test_labels_of_sentences_and_documents_have_their_own_names():
    names = [c.name for c in resolve({"layer": "sense"}, {"sentence_label": "sense"}, {"document_label": "genre"})]
    assert names == ["sense=s", "sentence:sense=s", "sentence:sense=t", "document:genre=news"]
    assert [c.name for c in resolve({"sentence_label": "sense", "name": "meaning"})] == ["meaning=s", "meaning=t"]


def test_predicates_keep_what_they_compile():
    regex, words, sql = resolve(
        {"regex": "[0-9]+", "name": "digits"},
        {"words": ["Cat", "dog"], "name": "pets", "ignore_case": True},
        {"sql": "length(word) > 3", "name": "long"},
        label_on="last",
    )
    assert (regex.kind, regex.definition, regex.label_on) == ("regex", "[0-9]+", "last")
    assert (words.kind, words.definition) == ("words", "Cat dog (ignoring case)")
    assert (sql.kind, sql.sql) == ("sql", "length(word) > 3")


@pytest.mark.parametrize(
    ("include", "message"),
    [
        (
            [{"layer": "UPOS_"}],
            r"concepts\.include\[0\]\.layer: the corpus has no layer 'UPOS_'; did you mean 'upos'\?",
        ),
        ([{"layer": "upos"}, {"sentence_label": "sens"}], r"include\[1\]\.sentence_label.*'sense'"),
        ([{"layer": "lemma"}], r"more than 100000 values.*use `sql`"),
        ([{"layer": "upos", "min_count": 99}], r"no value of 'upos' is left .*min_count 99; it has 'NOUN' 9×"),
        ([{"layer": "upos"}, {"layer": "upos"}], r"'upos=NOUN' comes twice"),
        ([{"regex": "(", "name": "r"}], r"include\[0\]\.regex: must be a Python regular expression .*got '\('"),
        ([{"words": [], "name": "w"}], r"include\[0\]\.words: a word list must have a word"),
    ],
)
def test_what_cannot_be_a_concept_is_an_error_naming_its_key(include, message):
    with pytest.raises(ConceptError, match=message):
        resolve(*include)


def test_a_concept_without_positives_is_an_error():
    concepts = resolve({"layer": "upos"}, {"regex": "zzz", "name": "zs"})
    require_positives(concepts, [1, 1, 1, 1])
    with pytest.raises(ConceptError, match=r"never do: 'zs' \(regex: zzz\)"):
        require_positives(concepts, [1, 1, 1, 0])


COLUMNS = {"word": ["The", "cat", "saw", "CAT", "12"], "upos": ["DET", "NOUN", None, "NOUN", "NUM"]}


@pytest.mark.parametrize(
    ("concept", "mask"),
    [
        (Concept("a", "layer", "upos", "NOUN", "", values=frozenset(["NOUN"])), [0, 1, 0, 1, 0]),
        (Concept("a", "layer", "upos", "?", "", values=frozenset(["NUM", "DET"])), [1, 0, 0, 0, 1]),
        (Concept("a", "layer", "xpos", "NN", "", values=frozenset(["NN"])), [0, 0, 0, 0, 0]),
        (Concept("a", "regex", None, None, "", pattern="c.t"), [0, 1, 0, 0, 0]),
        (Concept("a", "regex", None, None, "", pattern="c.", ignore_case=True), [0, 0, 0, 0, 0]),
        (Concept("a", "regex", None, None, "", pattern="c.t", ignore_case=True), [0, 1, 0, 1, 0]),
        (Concept("a", "words", None, None, "", words=("cat", "the")), [0, 1, 0, 0, 0]),
        (Concept("a", "words", None, None, "", words=("cat", "the"), ignore_case=True), [1, 1, 0, 1, 0]),
        (Concept("a", "sentence", "mood", "glad", "", values=frozenset(["glad"])), [1, 1, 1, 0, 0]),
        (Concept("a", "document", "genre", "news", "", values=frozenset(["news"])), [0, 0, 0, 1, 1]),
    ],
)
def test_masks_of_every_kind(concept, mask):
    labels = {"mood": ["glad"] * 3 + [None] * 2}
    masks = WordMasks(COLUMNS, labels, {"genre": [None, None, None, "news", "news"]})
    assert masks.mask(concept).tolist() == [bool(x) for x in mask]


def test_coded_columns_are_taken_as_they_are():
    columns = {"word": Coded(np.array([1, 0, -1, 1]), ("a", "b"))}
    assert word_mask(Concept("b", "words", None, None, "", words=("b",)), columns).tolist() == [
        True,
        False,
        False,
        True,
    ]


def test_an_sql_concept_has_no_mask_here():
    with pytest.raises(ConceptError, match="is SQL"):
        word_mask(Concept("q", "sql", None, None, "", sql="true"), COLUMNS)
