"""`init` tells format, fields and layers from the files, and what it writes runs as it is."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard
from command import TAGS, Workplace, conllu, done, neuronmill, sentences

from pipeline.corpus.guess import guess_corpus
from pipeline.corpus.reader import read_corpus
from schemas.config import AnnotateConfig
from schemas.errors import CorpusError

_TAGGER = find_spec(AnnotateConfig().tagger) is not None


def _columns(separator: str) -> str:
    return "\n".join("".join(f"{word}{separator}{TAGS[word]}\n" for word in words) for words in sentences(60))


def _lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def _texts() -> list[str]:
    return [" ".join(words) for words in sentences(60)]


def _documents(text_field: str = "text") -> list[dict[str, Any]]:
    return [
        {text_field: f"{text} {text}", "url": f"u{i}", "topic": ["pets", "tools"][i % 2], "year": 2000 + i % 3}
        for i, text in enumerate(t.capitalize() for t in _texts())
    ]


def _write(files: dict[str, str]) -> None:
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content, encoding="utf-8")


_MOODS = (["sad"], ["glad", "sad"], [])


def _word_records() -> list[dict[str, Any]]:
    return [
        {"words": words, "part-of-speech": [TAGS[w] for w in words], "moods": _MOODS[i % 3]}
        for i, words in enumerate(sentences(60))
    ]


def _write_pairs() -> None:
    for seed, split in enumerate(("train", "test")):
        words = sentences(40, seed)
        tags = [[TAGS[word] for word in sentence] for sentence in words]
        for name, lines in (("word", words), ("label", tags)):
            _write({f"p/{split}.{name}": "".join(" ".join(line) + "\n" for line in lines)})


def _write_archive() -> None:
    with zipfile.ZipFile("x.zip", "w") as archive:
        archive.writestr("part.conllu", conllu(60))


def _write_parquet() -> None:
    pq.write_table(pa.Table.from_pylist(_documents("body")), "a.parquet")


#: case: (what writes the corpus, its path, some of the corpus section, concepts that must be among those found)
CORPORA: dict[str, tuple[Callable[[], None], str, dict[str, Any], set[str]]] = {
    "CoNLL-U": (
        lambda: _write({"a.conllu": conllu(60)}),
        "a.conllu",
        {"format": "conllu"},
        {"upos=NOUN", "entity=PET", "feat_Poss=Yes", "lemma=cat"},
    ),
    "CoNLL-U in splits": (
        lambda: _write({f"tb/x-{name}.conllu": conllu(40, seed) for seed, name in enumerate(("dev", "test", "train"))}),
        "tb/*.conllu",
        {"format": "conllu", "sources": [{"path": f"tb/x-{s}.conllu", "split": s} for s in ("dev", "test", "train")]},
        {"upos=NOUN"},
    ),
    "columns": (lambda: _write({"a.tsv": _columns("\t")}), "a.tsv", {"format": "conll"}, {"label=NOUN"}),
    "columns at spaces": (lambda: _write({"a.conll": _columns(" ")}), "a.conll", {"format": "conll"}, {"label=NOUN"}),
    "paired": (
        lambda: _write(
            {
                "a.word": "".join(f"{text}\n" for text in _texts()),
                "a.word.pos": "".join(" ".join(TAGS[w] for w in words) + "\n" for words in sentences(60)),
                "a.word.size": "".join(" ".join(str(len(w)) for w in words) + "\n" for words in sentences(60)),
                "a.word.notes": "one line of something else\n",
            }
        ),
        "a.word",
        {"format": "paired", "columns": ["pos", "size"]},
        {"pos=NOUN", "size=3"},
    ),
    "documents": (
        lambda: _write({"a.jsonl": _lines(_documents())}),
        "a.jsonl",
        {"format": "jsonl", "label_fields": ["topic", "year"]},
        {"document:topic=pets", "document:year=2001"},
    ),
    "documents in Parquet": (
        _write_parquet,
        "a.parquet",
        {"format": "parquet", "text_field": "body", "label_fields": ["topic", "year"]},
        {"document:topic=pets", "document:year=2001"},
    ),
    "labelled sentences": (
        lambda: _write(
            {"a.jsonl": _lines([{"text": t, "mood": ["sad", "glad"][i % 2]} for i, t in enumerate(_texts())])}
        ),
        "a.jsonl",
        {"format": "sentences", "label_fields": ["mood"]},
        {"sentence:mood=sad", "sentence:mood=glad"},
    ),
    "sentences with lists of labels": (
        lambda: _write({"a.jsonl": _lines([{"text": t, "labels": _MOODS[i % 3]} for i, t in enumerate(_texts())])}),
        "a.jsonl",
        {"format": "sentences", "label_fields": ["labels"]},
        {"sentence:labels=sad", "sentence:labels=glad"},
    ),
    "words with lists of labels": (
        lambda: _write({"a.jsonl": _lines(_word_records())}),
        "a.jsonl",
        {"format": "sentences", "label_fields": ["moods"], "columns": ["part_of_speech"]},
        {"part_of_speech=NOUN", "sentence:moods=sad"},
    ),
    "words with lists of labels in Parquet": (
        lambda: pq.write_table(pa.Table.from_pylist(_word_records()), "a.parquet"),
        "a.parquet",
        {"format": "sentences", "label_fields": ["moods"], "columns": ["part_of_speech"]},
        {"part_of_speech=NOUN", "sentence:moods=sad"},
    ),
    "labelled sentences in Parquet": (
        lambda: pq.write_table(
            pa.Table.from_pylist([{"text": t, "mood": ["sad", "glad"][i % 2]} for i, t in enumerate(_texts())]),
            "a.parquet",
        ),
        "a.parquet",
        {"format": "sentences", "label_fields": ["mood"]},
        {"sentence:mood=sad"},
    ),
    "paired by stem, in splits": (
        _write_pairs,
        "p",
        {
            "format": "paired",
            "columns": ["label"],
            "sources": [{"path": f"p/{s}.word", "split": s} for s in ("test", "train")],
        },
        {"label=NOUN"},
    ),
    "a file in an archive": (
        _write_archive,
        "zip://part.conllu::file://x.zip",
        {"format": "conllu", "sources": ["zip://part.conllu::file://x.zip"]},
        {"upos=NOUN"},
    ),
    "senses": (
        lambda: _write(
            {
                "a.jsonl": _lines(
                    [{"words": words, "target": 0, "sense": f"s{i % 2}"} for i, words in enumerate(sentences(60))]
                )
            }
        ),
        "a.jsonl",
        {"format": "sentences"},
        {"sentence:sense=s0", "sentence:sense=s1"},
    ),
}


def _concepts(store: str) -> set[str]:
    return set(done("sql", "--store", store, "--format", "csv", "SELECT concept FROM concepts").out.split()[1:])


@pytest.fixture
def start(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """`init` for a corpus path in an empty folder: the config it wrote, once it ran unedited."""
    monkeypatch.chdir(tmp_path)

    def run(corpus: str, *options: str) -> dict[str, Any]:
        init = ["--corpus", corpus, "--model", workplace.model, "--store", "store", "--output", "new.yaml"]
        assert "neuronmill run new.yaml" in done("init", *init, *options).out
        text = Path("new.yaml").read_text(encoding="utf-8")
        assert text.count("#") > 5
        done("run", "new.yaml")
        config: dict[str, Any] = yaml.safe_load(text)
        return config

    return run


@pytest.mark.parametrize("case", CORPORA)
def test_the_config_runs_and_takes_in_every_layer(case: str, start: Callable[..., dict[str, Any]]) -> None:
    write, path, section, concepts = CORPORA[case]
    write()
    config = start(path)
    assert {key: config["corpus"].get(key) for key in section} == section
    assert concepts <= _concepts("store")
    splits = done("sql", "--store", "store", "--format", "csv", "SELECT DISTINCT split FROM sentences").out.split()
    assert {"train", "test"} <= set(splits)
    heldout = "SELECT count(*) FROM rankings WHERE method = 'ap' AND heldout_score IS NULL"
    assert done("sql", "--store", "store", "--format", "csv", heldout).out.split()[1] == "0"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_compressed_corpus(suffix: str, tmp_path: Path) -> None:
    packed = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}[suffix]
    (tmp_path / f"a.jsonl{suffix}").write_bytes(packed(_lines(_documents()).encode()))
    guessed = guess_corpus(str(tmp_path / f"a.jsonl{suffix}")).config
    assert (guessed.format, guessed.label_fields) == ("jsonl", ("topic", "year"))


@pytest.mark.skipif(not _TAGGER, reason="needs the extra `annotate`")
def test_plain_text_is_annotated(start: Callable[..., dict[str, Any]]) -> None:
    text = "Anna sold 12 red cars in Berlin on Monday. The old man saw two dogs.\n"
    _write({"news/one.txt": text * 25, "news/two.txt": "He was in Paris, and he liked it.\n" * 25})
    config = start("news")
    assert config["annotate"] == {}
    assert {"upos=NOUN", "xpos=NN", "deprel=nsubj", "entity=PERSON", "capitalised", "number"} <= _concepts("store")


def test_plain_text_without_a_tagger(start: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.run.starter_config.find_spec", lambda _: None)
    _write({"a.txt": "The cat bit 2 dogs.\n" * 30})
    config = start("a.txt")
    assert "annotate" not in config
    assert _concepts("store") == {"capitalised", "number"}


def test_text_without_anything_to_find(start: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.run.starter_config.find_spec", lambda _: None)
    _write({"a.txt": "the cat, the dog, the lid\n" * 30})
    start("a.txt", "--format", "text")
    assert _concepts("store") == {"frequent"}


def test_a_very_small_corpus(start: Callable[..., dict[str, Any]]) -> None:
    _write({"a.tsv": "the\tDET\ncat\tNOUN\n"})
    start("a.tsv")
    assert _concepts("store") == {"label=DET", "label=NOUN"}


def test_names_are_not_taken_for_labels(tmp_path: Path) -> None:
    records = [{"text": "the cat. the dog.", "url": f"u{i}", "score": i / 7, "vector": [1.5]} for i in range(60)]
    (tmp_path / "a.jsonl").write_text(_lines(records))
    guess = guess_corpus(str(tmp_path / "a.jsonl"))
    assert guess.config.label_fields == ()
    assert list(guess.left_out) == ["url", "score", "vector"]


def _init(workplace: Workplace, corpus: object, *options: object, store: object = "store") -> str:
    """What `init --dry-run` would write."""
    init = ("init", "--corpus", corpus, "--model", workplace.model, "--store", store, "--output", "new.yaml")
    return done(*init, "--dry-run", *options).out


def test_a_remote_store_gets_a_local_report_and_no_annotation(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The cat bit 2 dogs.\n" * 30)
    text = _init(workplace, tmp_path / "a.txt", store="memory://store")
    config = yaml.safe_load(text)
    assert config["report"] == {"path": "new.html"}
    assert "annotate" not in config
    assert "neuronmill annotate new.yaml --output DIR" in text
    assert "report" not in yaml.safe_load(_init(workplace, tmp_path / "a.txt", store=f"file://{tmp_path}/store"))


def test_documents_with_labels_only_get_patterns_too(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(_lines(_documents()))
    text = _init(workplace, tmp_path / "a.jsonl")
    include = yaml.safe_load(text)["concepts"]["include"]
    assert [next(iter(item.values())) for item in include] == ["topic", "year", "capitalised"]
    assert "# annotate: {}" in text
    assert '# left out: "url" (no value comes twice' in text


def test_tags_are_counted_as_merged_and_layers_ordered(workplace: Workplace, tmp_path: Path) -> None:
    rows = [("B-PER", "a"), ("I-PER", "b"), ("B-LOC", "c"), ("O", "d")]
    lines = "\n".join("".join(f"{word}\t{tag}\t{word}\tX\t{word}{i}\n" for tag, word in rows) for i in range(300))
    (tmp_path / "a.conll").write_text(lines.replace("B-LOC", "B-ORG", 1))
    corpus = tmp_path / "a.conll"
    text = _init(workplace, corpus)
    assert '{layer: "label", min_count: 20}    # 2 of 3 values' in text
    assert '# left out: layer "label3" (the same everywhere)' in text
    assert '# left out: layer "label4" (no value holds 20 times)' in text


def test_known_layers_come_first_and_rare_ones_are_left_out(workplace: Workplace, tmp_path: Path) -> None:
    feats, misc = "Number=Sing", "Entity=(1-animal)|Rare="
    rows = "".join(f"1\tcat\tcat\tNOUN\tNN\t{feats}\t0\troot\t_\t{misc}{i}\n\n" for i in range(600))
    rest = "".join("1\truns\trun\tVERB\tVB\t_\t0\tdep\t_\t_\n\n" for _ in range(600))
    (tmp_path / "a.conllu").write_text(rows + rest)
    text = _init(workplace, tmp_path / "a.conllu")
    layers = [item["layer"] for item in yaml.safe_load(text)["concepts"]["include"]]
    assert layers == ["upos", "xpos", "feat_Number", "deprel", "entity", "lemma"]
    assert '# left out: layer "misc_Rare" (no value holds 20 times)' in text


@pytest.mark.parametrize("model", ["no-such-folder", "./no/such", "package:no_such_package", "here/model", "a/b/c", ""])
def test_a_model_that_is_not_there(model: str, workplace: Workplace, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    result = neuronmill("init", "--corpus", workplace.corpus, "--model", model, "--store", "s", "--output", "new.yaml")
    assert result.code == 2
    assert model in result.error
    assert not Path("new.yaml").exists()


def test_a_hub_id_needs_no_folder(workplace: Workplace, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    init = ["init", "--corpus", workplace.corpus, "--model", "org/name", "--store", "s", "--output", "new.yaml"]
    assert 'name: "org/name"' in done(*init, "--dry-run").out


@pytest.mark.parametrize("names", [("w.word", "w.pos"), ("w.txt.gz", "w.txt.pos.gz"), ("w.word.gz", "w.pos.gz")])
def test_label_files_beside_a_word_file(names: tuple[str, str], tmp_path: Path) -> None:
    for name, line in zip(names, (b"a b\n", b"X Y\n"), strict=True):
        (tmp_path / name).write_bytes(gzip.compress(line) if name.endswith(".gz") else line)
    (tmp_path / "w.notes").write_text("a b c\n")
    for path in (tmp_path, tmp_path / names[0]):
        config = guess_corpus(str(path)).config
        assert (config.format, config.columns) == ("paired", ("pos",))
        assert [s.layers for s in read_corpus(config)] == [{"pos": ("X", "Y")}]


def test_a_word_file_without_label_files_is_not_paired(tmp_path: Path) -> None:
    (tmp_path / "w.word").write_text("a b\n")
    with pytest.raises(CorpusError, match="there are none"):
        guess_corpus(str(tmp_path), "paired")


def test_paths_with_every_character(start: Callable[..., dict[str, Any]]) -> None:
    _write({'a "b" \\ ü #.tsv': _columns("\t")})
    assert start('a "b" \\ ü #.tsv')["corpus"]["sources"] == ['a "b" \\ ü #.tsv']


def test_a_file_in_the_way(workplace: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "new.yaml"
    output.write_text("mine")
    init = ("init", "--corpus", workplace.corpus, "--model", workplace.model, "--store", tmp_path / "s", "--output")
    result = neuronmill(*init, output)
    assert result.code == 2
    assert "--force" in result.error
    assert output.read_text() == "mine"
    done(*init, output, "--force")
    assert "corpus:" in output.read_text()
    (tmp_path / "letter").write_text("x")
    result = neuronmill(*init, tmp_path / "letter" / "new.yaml")
    assert result.code == 2
    assert "cannot be written" in result.error
