"""CoNLL-U: words, places, layers, comments."""

import pytest

from pipeline.corpus.conllu_writer import Token, document_comments, sentence_lines
from pipeline.corpus.reader import read_corpus
from schemas.config import CorpusConfig
from schemas.errors import CorpusError


def row(index, form, upos="NOUN", feats="_", misc="_", lemma=None):
    return "\t".join([str(index), form, lemma or form.lower(), upos, "X", feats, "0", "root", "_", misc])


def read(path, content, **config):
    path.write_text(content, encoding="utf-8")
    return list(read_corpus(CorpusConfig(sources=[str(path)], **config)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.conllu"


def test_layers_features_and_misc(path):
    content = "\n".join(
        [
            "# newdoc id = d1",
            "# sent_id = s1",
            "# text = Cats_ run.",
            row(1, "Cats_", feats="Number=Plur|Number[psor]=Sing", misc="Entity=B-PER|SpaceAfter=Yes|Gloss=x"),
            row(2, "run", "VERB", misc="SpaceAfter=No|NER=I-PER"),
            row(3, ".", "_", lemma="_"),
        ]
    )
    (sentence,) = read(path, content + "\n\n")
    assert (sentence.document, sentence.sentence, sentence.text) == ("d1", "s1", "Cats_ run.")
    assert sentence.spans == ((0, 5), (6, 9), (9, 10))
    assert sentence.layers == {
        "lemma": ("cats_", "run", None),
        "upos": ("NOUN", "VERB", None),
        "xpos": ("X", "X", "X"),
        "head": ("0", "0", "0"),
        "deprel": ("root", "root", "root"),
        "feat_Number": ("Plur", None, None),
        "feat_Number_psor": ("Sing", None, None),
        "entity": ("B-PER", "I-PER", None),
        "misc_Gloss": ("x", None, None),
    }


def test_the_lemma_of_an_underscore_is_an_underscore(path):
    lines = [row(1, "_", lemma="_"), row(2, "x", lemma="_"), row(3, "Y", lemma="y")]
    (sentence,) = read(path, "\n".join(lines))
    assert sentence.words == ("_", "x", "Y")
    assert sentence.layers["lemma"] == ("_", None, "y")


def test_multiword_tokens_and_empty_nodes(path):
    content = "\n".join(
        [
            "# text = I don't know du",
            row(1, "I"),
            row("2-3", "don't"),
            row(2, "do"),
            row(3, "n't"),
            row(4, "know"),
            row("4.1", "ghost"),
            row("5-6", "du", misc="SpaceAfter=No"),
            row(5, "de"),
            row(6, "le"),
        ]
    )
    (sentence,) = read(path, content)
    assert sentence.words == ("I", "do", "n't", "know", "de", "le")
    assert sentence.spans == ((0, 1), (2, 4), (4, 7), (8, 12), (13, 15), (13, 15))


def test_text_is_put_together_where_it_is_missing(path):
    lines = [
        row(1, "a", misc="CorrectSpaceAfter=No"),
        row("2-3", "don't", misc="SpaceAfter=No"),
        row(2, "do"),
        row(3, "n't"),
        row(4, "."),
    ]
    (sentence,) = read(path, "\n".join(lines))
    assert sentence.text == "a don't."
    assert sentence.spans == ((0, 1), (2, 4), (4, 7), (7, 8))


def test_documents_labels_and_splits_from_comments(path):
    content = "\n\n".join(
        [
            row(1, "zero"),
            "# newdoc\n# meta::genre = news\n# split = test\n# source = x.txt\n" + row(1, "one"),
            row(1, "two"),
            "# newdoc id = d\n# label::mood = glad\n" + row(1, "three"),
        ]
    )
    rows = [(s.document, s.sentence, s.document_labels, s.labels, s.split, s.source) for s in read(path, content)]
    assert rows == [
        ("a.conllu", "1", {}, {}, None, str(path)),
        ("a.conllu#1", "1", {"genre": "news"}, {}, "test", "x.txt"),
        ("a.conllu#1", "2", {"genre": "news"}, {}, "test", "x.txt"),
        ("d", "1", {}, {"mood": "glad"}, None, str(path)),
    ]


def test_a_split_comment_must_be_a_split_and_agree_with_the_source(path):
    with pytest.raises(CorpusError, match=r"a\.conllu:1: `# split` must be one of"):
        read(path, "# split = validation\n" + row(1, "x"))
    path.write_text("# split = dev\n" + row(1, "x"))
    with pytest.raises(CorpusError, match="agree with the source's split 'train'"):
        list(read_corpus(CorpusConfig(sources=[{"path": str(path), "split": "train"}])))


def test_doubled_sentence_names_are_made_unique_in_their_document(path):
    block = "# sent_id = s\n" + row(1, "x")
    content = "\n\n".join(["# newdoc id = d\n" + block, block, block, "# newdoc id = e\n" + block])
    assert [s.sentence for s in read(path, content)] == ["s", "s~2", "s~3", "s"]


def test_what_the_writer_writes_reads_back(path):
    tokens = [
        Token("Ann", "PROPN", "NNP", "Number=Sing", 2, "nsubj", "B-PERSON"),
        Token("ran", "VERB", head=0, deprel="root", is_space_after=False),
        Token("."),
    ]
    lines = [*document_comments("d\n1", {"a=b": "x\ny"}, "dev", "f.txt"), *sentence_lines("7", "Ann  ran.", tokens)]
    (sentence,) = read(path, "\n".join(lines) + "\n\n")
    assert (sentence.document, sentence.sentence, sentence.text, sentence.split) == ("d 1", "7", "Ann  ran.", "dev")
    assert sentence.document_labels == {"a:b": "x y"}
    assert sentence.spans == ((0, 3), (5, 8), (8, 9))
    assert sentence.layers["head"] == ("2", "0", None)
    assert sentence.layers["entity"] == ("B-PERSON", None, None)
