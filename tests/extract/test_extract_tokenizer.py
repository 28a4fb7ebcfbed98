"""Encoding with tokenizers of every kind: WordPiece, byte-level, and without a pre-tokenizer."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pytest
from tiny_models import save_model

from pipeline.extract.encoded import EncodedSentence
from pipeline.extract.model import describe_model
from pipeline.extract.tokenizer import Encoder
from schemas.config import ModelConfig
from schemas.errors import CorpusError, ModelError

KINDS = ("wordpiece", "byte_level", "sentencepiece")
SENTENCE = (
    "The cat, the dog!",
    ["The", "cat", ",", "the", "dog", "!"],
    [(0, 3), (4, 7), (7, 8), (9, 12), (13, 16), (16, 17)],
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelConfig]:
    root = tmp_path_factory.mktemp("models")
    return {kind: save_model(root / kind, "bert", kind) for kind in KINDS}


def _encoder(config: ModelConfig, encode: str = "text", long: str = "split", max_length: int | None = None) -> Encoder:
    info = describe_model(config)
    return Encoder(
        config, info if max_length is None else dataclasses.replace(info, max_length=max_length), encode, long
    )


def _one(encoder: Encoder, *sentence: object) -> EncodedSentence:
    return encoder.encode([sentence or SENTENCE])[0]  # type: ignore[list-item]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encode", ["text", "words"])
def test_every_kind_aligns_tokens_to_words(folders: dict[str, ModelConfig], kind: str, encode: str) -> None:
    e = _one(_encoder(folders[kind], encode))
    text, words, spans = SENTENCE
    assert sorted(set(e.word[~e.is_special].tolist()) - {-1}) == list(range(len(words)))
    assert e.n_words_without_token == 0
    for word, start, end in zip(e.word, e.start, e.end, strict=True):
        if word >= 0:
            assert spans[word][0] <= start < end <= spans[word][1]
            assert text[start:end] == text[start:end].strip()
    assert (e.start[e.is_special] == -1).all()
    assert (e.word[e.is_special] == -1).all()
    assert e.position.tolist() == list(range(len(e)))


def test_wordpiece_ignores_truncation_and_padding_of_tokenizer_json(folders: dict[str, ModelConfig]) -> None:
    e = _one(_encoder(folders["wordpiece"]), "cat " * 12, ["cat"] * 12, [(4 * i, 4 * i + 3) for i in range(12)])
    assert e.tokens == ("[CLS]", *["cat"] * 12, "[SEP]")
    assert e.is_special.tolist() == [True, *[False] * 12, True]
    assert e.word.tolist() == [-1, *range(12), -1]


def test_words_mode_of_byte_level_equals_text_joined_by_spaces(folders: dict[str, ModelConfig]) -> None:
    sentence = ("the cat the cat", ["the", "cat", "the", "cat"], [(0, 3), (4, 7), (8, 11), (12, 15)])
    by_text = _one(_encoder(folders["byte_level"]), *sentence)
    by_words = _one(_encoder(folders["byte_level"], "words"), *sentence)
    for field in ("tokens", "start", "end", "word"):
        assert list(getattr(by_text, field)) == list(getattr(by_words, field)), field


def test_white_space_tokens_have_no_word(folders: dict[str, ModelConfig]) -> None:
    e = _one(_encoder(folders["sentencepiece"]), "a   cat", ["a", "cat"], [(0, 1), (4, 7)])
    bare = [
        token for token, word, special in zip(e.tokens, e.word, e.is_special, strict=True) if word < 0 and not special
    ]
    assert bare == ["▁", "▁"]
    assert all(e.start[i] == e.end[i] for i, token in enumerate(e.tokens) if token == "▁" and e.word[i] < 0)


def test_bytes_of_one_character_belong_to_its_word(folders: dict[str, ModelConfig]) -> None:
    e = _one(_encoder(folders["byte_level"]), "na\u00efve cat", ["na\u00efve", "cat"], [(0, 5), (6, 9)])
    assert e.tokens[2:4] == ("Ã", "¯")
    assert e.start.tolist()[2:4] == [2, 2]
    assert e.end.tolist()[2:4] == [3, 3]
    assert set(e.word.tolist()) == {0, 1}


def test_text_that_spells_a_special_token_is_not_special(folders: dict[str, ModelConfig]) -> None:
    e = _one(_encoder(folders["sentencepiece"]), "<s>", ["<s>"], [(0, 3)])
    assert e.is_special.sum() == 1
    assert (e.word == 0).any()


def test_words_without_a_token_are_counted(folders: dict[str, ModelConfig]) -> None:
    e = _one(
        _encoder(folders["wordpiece"]),
        "cat \u200d\u200d cat",
        ["cat", "\u200d\u200d", "cat"],
        [(0, 3), (4, 6), (7, 10)],
    )
    assert e.n_words_without_token == 1
    assert e.word.tolist() == [-1, 0, 2, -1]


def test_words_that_share_a_span_give_their_tokens_to_the_first(folders: dict[str, ModelConfig]) -> None:
    encoder = _encoder(folders["wordpiece"])
    shared = ("the cat", ["de", "el", "cat"], [(0, 3), (0, 3), (4, 7)])
    a, b = encoder.encode([shared, SENTENCE])
    assert a.word.tolist() == [-1, 0, 2, -1]
    assert a.n_words_without_token == 1
    assert b.word.tolist() == _one(encoder).word.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_empty_text_and_empty_list(folders: dict[str, ModelConfig], kind: str) -> None:
    encoder = _encoder(folders[kind])
    assert encoder.encode([]) == []
    e, after = encoder.encode([("", [], []), SENTENCE])
    assert e.is_special.all()
    assert e.n_windows == (0 if kind == "byte_level" else 1)
    assert not e.truncated
    assert len(after) > 6


def test_long_sentences_split_into_windows_with_each_word_once(folders: dict[str, ModelConfig]) -> None:
    words = ["cat", "dfgh", "dog"] * 5
    text = " ".join(words)
    spans, at = [], 0
    for word in words:
        spans.append((at, at + len(word)))
        at += len(word) + 1
    whole = _one(_encoder(folders["wordpiece"], max_length=200), text, words, spans)
    e = _one(_encoder(folders["wordpiece"], max_length=9), text, words, spans)
    assert e.n_windows == len(set(e.window.tolist())) > 1
    body = ~e.is_special
    assert e.token_id[body].tolist() == whole.token_id[~whole.is_special].tolist()
    assert e.word[body].tolist() == whole.word[~whole.is_special].tolist()
    for window in range(e.n_windows):
        part = e.window == window
        assert part.sum() <= 9
        assert e.position[part].tolist() == list(range(part.sum()))
        assert (e.tokens[part.argmax()], e.is_special[part].sum()) == ("[CLS]", 2)
    for i in range(len(words)):
        assert len(set(e.window[e.word == i].tolist())) == 1
    cut = _one(_encoder(folders["wordpiece"], "text", "truncate", 9), text, words, spans)
    assert cut.truncated
    assert cut.n_windows == 1
    assert cut.tokens == e.tokens[: len(cut)]
    assert cut.n_words_without_token == len(words) - len(set(cut.word.tolist()) - {-1})
    with pytest.raises(CorpusError, match=r"over the limit of 7 beside the special ones; set dump.long_sentences"):
        _one(_encoder(folders["wordpiece"], "text", "error", 9), text, words, spans)


def test_fingerprint_covers_tokenizer_and_settings(folders: dict[str, ModelConfig]) -> None:
    prints = [
        _encoder(folders["wordpiece"]).fingerprint,
        _encoder(folders["wordpiece"], "words").fingerprint,
        _encoder(folders["wordpiece"], "text", "truncate").fingerprint,
        _encoder(folders["wordpiece"], max_length=9).fingerprint,
        _encoder(folders["sentencepiece"]).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert _encoder(folders["wordpiece"]).fingerprint == prints[0]


def test_batches_do_not_change_encodings(folders: dict[str, ModelConfig]) -> None:
    encoder = _encoder(folders["byte_level"])
    many = [SENTENCE, ("", [], []), ("cat", ["cat"], [(0, 3)])] * 700
    together = encoder.encode(many)
    assert len(together) == len(many)
    for sentence, e in list(zip(many, together, strict=True))[1020:1030]:
        alone = encoder.encode([sentence])[0]
        assert alone.tokens == e.tokens
        assert alone.word.tolist() == e.word.tolist()
        assert alone.start.tolist() == e.start.tolist()


def test_lone_surrogates_are_an_error_that_shows_the_sentence(folders: dict[str, ModelConfig]) -> None:
    with pytest.raises(CorpusError, match=r"cat \\ud800.* lone surrogate"):
        _one(_encoder(folders["wordpiece"]), "cat \ud800", ["cat"], [(0, 3)])


def test_a_tokenizer_of_another_model_is_an_error(folders: dict[str, ModelConfig], tmp_path: Path) -> None:
    info = dataclasses.replace(describe_model(folders["wordpiece"]), vocab_size=10)
    with pytest.raises(ModelError, match="has embeddings for 10; tokenizer and weights do not belong together"):
        Encoder(folders["wordpiece"], info).encode([SENTENCE])


def test_a_folder_without_tokenizer_is_an_error(tmp_path: Path) -> None:
    config = save_model(tmp_path / "m", "llama", "wordpiece")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "m" / name).unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        _encoder(config)


def test_a_slow_tokenizer_only_is_an_error(tmp_path: Path) -> None:
    config = save_model(tmp_path / "m", "bert", "wordpiece")
    (tmp_path / "m" / "tokenizer.json").unlink()
    (tmp_path / "m" / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    with pytest.raises(ModelError, match="only a slow tokenizer"):
        _encoder(config)


@pytest.mark.parametrize(
    ("name", "files"), [("BertJapaneseTokenizer", ("vocab.txt",)), ("ByT5Tokenizer", ()), ("CTRLTokenizer", ())]
)
def test_slow_tokenizers_that_cannot_be_converted_are_an_error(
    tmp_path: Path, name: str, files: tuple[str, ...]
) -> None:
    config = save_model(tmp_path, "bert", "wordpiece")
    (tmp_path / "tokenizer.json").unlink()
    for file in files:
        (tmp_path / file).write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n")
    settings = {"tokenizer_class": name, "word_tokenizer_type": "basic"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"tokenizer .*; the folder needs tokenizer\.json"):
        _encoder(config)


@pytest.mark.parametrize("kept", [(), ("tokenizer_config.json",)])
def test_a_tokenizer_made_up_without_files_is_an_error(tmp_path: Path, kept: tuple[str, ...]) -> None:
    """For BERT, transformers gives a tokenizer whose every token is [UNK]."""
    config = save_model(tmp_path, "bert", "wordpiece")
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    for name in kept:
        (tmp_path / name).write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(ModelError) as caught:
        _encoder(config)
    assert str(caught.value) == (
        f"model folder {tmp_path} has no tokenizer files (none of tokenizer.json, vocab.txt), so every token would be "
        "unknown; copy the model's tokenizer.json into it (save_pretrained of its tokenizer writes it)"
    )


def test_a_tokenizer_that_knows_nothing_is_an_error(tmp_path: Path) -> None:
    config = save_model(tmp_path, "bert", "wordpiece")
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nx\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"knows no token of 'The 3 cats sat\.', all come out as '\[UNK\]'; its vocab"):
        _encoder(config)
    with (tmp_path / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("the\ncat\n")
    assert _one(_encoder(config), "the cat", ["the", "cat"], [(0, 3), (4, 7)]).tokens[1:3] == ("the", "cat")


def test_no_room_beside_special_tokens_is_an_error(folders: dict[str, ModelConfig]) -> None:
    with pytest.raises(ModelError, match="limit of 2 tokens leaves no room"):
        _encoder(folders["wordpiece"], max_length=2)


def test_stories260k_aligns_real_text_by_offsets(shared_models: Path, shared_data: Path) -> None:
    """Its `word_ids` are 0 for everything; on EWT nearly every word still gets tokens, each inside its span."""
    config = ModelConfig(name=str(shared_models / "stories260K"), device="cpu")
    sentences = []
    with gzip.open(shared_data / "ewt" / "en_ewt-ud-dev.conllu.gz", "rt", encoding="utf-8") as file:
        for line in file:
            if line.startswith("# text = "):
                text = line[9:].rstrip("\n")
                words = text.split()
                spans, at = [], 0
                for word in words:
                    at = text.index(word, at)
                    spans.append((at, at + len(word)))
                    at += len(word)
                sentences.append((text, words, spans))
    encoded = _encoder(config).encode(sentences)
    assert sum(e.n_words_without_token for e in encoded) == 0
    for (_, _, spans), e in zip(sentences, encoded, strict=True):
        for word, start, end in zip(e.word.tolist(), e.start.tolist(), e.end.tolist(), strict=True):
            assert word < 0 or (start < spans[word][1] and end > spans[word][0])
