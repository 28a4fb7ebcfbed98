"""Whatever bytes a file holds, reading ends in sentences that keep their promises, quarantine, or a CorpusError."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.corpus.reader import read_corpus
from schemas.config import CorpusConfig
from schemas.errors import CorpusError

PIECES = [
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"#",
    b"# text = ",
    b"1",
    b"1-2",
    b"1.1",
    b"_",
    b"\t_" * 8,
    b"a",
    b"\xc3\xa9",
    b"\xff",
    b".",
    b"|",
    b"=",
]
PIECES += [
    b"\xe2\x80\xa8",
    b"\xc2\xa0",
    b'{"text": "A b."}',
    b'{"words": ["a"], "target": 0, "sense": 1}',
    b"{",
    b"\x00",
    b"# newdoc",
    b"-DOCSTART-",
]
CONTENT = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)


@pytest.mark.parametrize("kind", ["text", "jsonl", "conllu", "conll", "paired", "sentences"])
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=CONTENT, labels=CONTENT)
def test_sentences_keep_their_promises(tmp_path, kind, content, labels):
    (tmp_path / "f").write_bytes(content)
    (tmp_path / "f.pos").write_bytes(labels)
    config = CorpusConfig(
        sources=[str(tmp_path / "f")], format=kind, columns=["pos"] if kind == "paired" else [], on_error="skip"
    )
    items = []
    sentences = list(read_corpus(config, items.append))
    for sentence in sentences:
        assert sentence.words
        assert all(sentence.words)
        assert tuple(sentence.text[a:b] for a, b in sentence.spans) == sentence.words or "-" in content.decode(
            "latin-1"
        )
        assert all(len(values) == len(sentence.words) for values in sentence.layers.values())
        sentence.text.encode()
    assert all(item.line >= 1 and item.way_out for item in items)
    assert len({(s.document, s.sentence) for s in sentences}) == len(sentences) or kind in ("jsonl", "conllu", "conll")
    if items:
        with pytest.raises(CorpusError):
            list(read_corpus(config.model_copy(update={"on_error": "raise"})))
