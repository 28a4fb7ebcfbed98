"""Bad input gets one error that names the place, the rule, what was found and the way out; never a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Workplace, done, hashes, neuronmill, unchanged
from transformers import AutoModel

_GOOD = "1\tthe\tthe\tDET\t_\t_\t0\tdep\t_\t_\n2\tcat\tcat\tNOUN\t_\t_\t0\tdep\t_\t_\n\n"

#: case: (files, settings of the corpus, what the message must hold)
CORPORA: dict[str, tuple[dict[str, bytes], dict[str, Any], list[str]]] = {
    "undecodable bytes": (
        {"a.conllu": (_GOOD + "1\tc\xff\tx\tX\t_\t_\t0\tdep\t_\t_\n\n").encode("latin-1")},
        {},
        ["a.conllu:4:", "UTF-8", "0xff at byte 4", "iconv", "--on-error skip"],
    ),
    "ragged columns": (
        {"a.tsv": b"the\tDET\ncat\n\n"},
        {},
        ["a.tsv:2:", "2 columns", "not 1", "'cat'", "corpus.columns", "--on-error skip"],
    ),
    "ragged CoNLL-U": (
        {"a.conllu": (_GOOD + "1\tthe\tthe\n\n").encode()},
        {},
        ["a.conllu:4:", "10 columns", "not 3", "--on-error skip"],
    ),
    "an empty file": ({"a.txt": b""}, {}, ["a.txt:1:", "must have a sentence", "leave the file out"]),
    "a file of white space": ({"a.txt": b" \n\n\t\n"}, {}, ["a.txt:", "must have", "--on-error skip"]),
    "an empty sentence": (
        {"a.word": b"the cat\n\ndog\n", "a.word.pos": b"DET NOUN\n\nNOUN\n"},
        {"format": "paired", "columns": ["pos"]},
        ["a.word:2:", "must have words", "remove the line", "--on-error skip"],
    ),
    "fewer words than labels": (
        {"a.word": b"the cat\ndog\n", "a.word.pos": b"DET NOUN\nNOUN X\n"},
        {"format": "paired", "columns": ["pos"]},
        ["a.word.pos:2:", "2 labels for 1 words", "'NOUN X'", "correct the line"],
    ),
    "a label file that ends early": (
        {"a.word": b"the cat\ndog\n", "a.word.pos": b"DET NOUN\n"},
        {"format": "paired", "columns": ["pos"]},
        ["a.word.pos:2:", "equally many lines", "correct the line"],
    ),
    "no label file": (
        {"a.word": b"the cat\n"},
        {"format": "paired", "columns": ["pos"]},
        ["a.word", "'pos'", "a.word.pos", "add it or drop the name"],
    ),
    "not JSON": ({"a.jsonl": b'{"text": "the cat"}\n{"text": \n'}, {}, ["a.jsonl:2:", "one JSON object"]),
    "another text field": (
        {"a.jsonl": b'{"body": "the cat"}\n'},
        {},
        ["a.jsonl:1:", "corpus.text_field", "['body']"],
    ),
    "an unknown suffix": ({"a.xyz": b"the cat\n"}, {}, ["a.xyz:", "corpus.format", "'.xyz'", ".conllu"]),
    "a broken archive": ({"a.txt.gz": b"this is no gzip"}, {}, ["a.txt.gz:1:", "cannot be read", "restore it"]),
    "no such file": ({}, {"sources": ["nothing.txt"]}, ["nothing.txt:", "does not exist", "check it"]),
    "a glob that matches nothing": (
        {"a.txt": b"the cat.\n"},
        {"sources": ["*.conllu"]},
        ["*.conllu:", "at least one file", "matches none", "check the path"],
    ),
}


@pytest.mark.parametrize("case", CORPORA)
@pytest.mark.parametrize("command", ["run", "run --dry-run", "init"])
def test_a_bad_corpus(
    case: str, command: str, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, settings, said = CORPORA[case]
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        Path(name).write_bytes(content)
    corpus = {"sources": list(files)[:1], "split": None, **settings}
    if command == "init":
        file_format = settings.get("format", "auto")
        source = corpus["sources"][0]
        if case in ("no label file", "another text field", "fewer words than labels"):
            pytest.skip("init looks for the fields and label files that are there")
        result = neuronmill(
            *("init", "--corpus", source, "--format", file_format, "--model", workplace.model),
            *("--store", "store", "--output", "new.yaml"),
        )
        assert not Path("new.yaml").exists()
    else:
        workplace.config(Path("config.yaml"), "store", corpus=corpus)
        result = neuronmill(*command.split(), "config.yaml")
    assert result.code == 2
    for part in said:
        assert part in result.error, result.error
    assert not Path("store").exists()


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_line_ends_and_marks_of_windows_are_fine(
    bom: bytes, line_end: bytes, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.conllu").write_bytes(bom + _GOOD.encode().replace(b"\n", line_end) * 2)
    workplace.config(
        Path("config.yaml"),
        "store",
        corpus={"sources": "a.conllu", "split": None},
        concepts={"include": [{"layer": "upos"}]},
    )
    done("plan", "config.yaml", "--no-pilot")
    words = done("sql", "--store", "store", "--format", "csv", "SELECT word, upos FROM words ORDER BY word_id").out
    assert words.split() == ["word,upos", *["the,DET", "cat,NOUN"] * 2]


CONCEPTS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "an unknown layer": ([{"layer": "upso"}], ["concepts.include[0].layer", "'upso'", "did you mean 'upos'?"]),
    "an unknown sentence label": ([{"sentence_label": "x"}], ["concepts.include[0].sentence_label", "'x'"]),
    "no positives": ([{"name": "z", "regex": "zzz"}], ["concepts.include", "'z' (regex: zzz)", "correct or drop"]),
    "no value left": (
        [{"layer": "upos", "min_count": 9999}],
        ["concepts.include[0].layer", "min_count 9999", "'NOUN'", "relax"],
    ),
    "a broken pattern": ([{"name": "z", "regex": "("}], ["concepts.include[0].regex", "regular expression", "'('"]),
    "twice the same name": (
        [{"name": "z", "regex": "c.*"}, {"name": "z", "regex": "d.*"}],
        ["concepts.include", "'z'"],
    ),
    "malformed SQL": ([{"name": "z", "sql": "upos = "}], ["concepts.include[0].sql (z)", "syntax error", "upos = 'N"]),
    "an unknown column": (
        [{"name": "z", "sql": "upso = 'X'"}],
        ["concepts.include[0].sql (z)", "'upso'", "did you mean upos?"],
    ),
    "two statements": ([{"name": "z", "sql": "true; DROP TABLE words"}], ["concepts.include[0].sql (z)", "give one"]),
    "a file": (
        [{"name": "z", "sql": "upos IN (SELECT content FROM read_text('/etc/hostname'))"}],
        ["concepts.include[0].sql (z)", "subquery is not allowed", "give one SQL expression"],
    ),
    "a column of our own": ([{"name": "z", "sql": "neuronmill_index < 5"}], ["concepts.include[0].sql", "no column"]),
    "not a truth": ([{"name": "z", "sql": "length(word)"}], ["concepts.include[0].sql", "BIGINT", "true or false"]),
}


@pytest.mark.parametrize("case", CONCEPTS)
def test_a_bad_concept(case: str, workplace: Workplace, tmp_path: Path) -> None:
    include, said = CONCEPTS[case]
    config = workplace.config(tmp_path / "config.yaml", tmp_path / "store", concepts={"include": include})
    result = neuronmill("run", config)
    assert result.code == 2
    for part in said:
        assert part in result.error, result.error
    if case not in ("no positives", "twice the same name"):
        assert not (tmp_path / "store/words").exists(), "refused only after the corpus was cut"
        assert neuronmill("run", config, "--dry-run").error == result.error


def test_a_bad_concept_leaves_a_finished_store_alone(
    workplace: Workplace, finished: Path, copy_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    store = copy_of(finished)
    before = hashes(store)
    for number, (include, _) in enumerate(CONCEPTS.values()):
        config = workplace.config(tmp_path / f"{number}.yaml", store, concepts={"include": include})
        assert neuronmill("search", config).code == 2
    assert unchanged(before, store)


def _without_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def _pickled(model: Path) -> None:
    torch.save(AutoModel.from_pretrained(model).state_dict(), model / "pytorch_model.bin")
    _without_weights(model)


def _slow_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "CTRLTokenizer"}')
    (model / "vocab.json").write_text('{"<unk>": 0, "a": 1}')
    (model / "merges.txt").write_text("#version: 0.2\n")


def _no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


def _torn_weights(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


MODELS = {
    "no config": (lambda model: (model / "config.json").unlink(), ["no config.json", "save_pretrained"]),
    "no weights": (_without_weights, ["no weights", "model.safetensors"]),
    "a pickle": (_pickled, ["pytorch_model.bin", "pickle", "convert to safetensors"]),
    "a slow tokenizer": (_slow_tokenizer, ["tokenizer", "needs tokenizer.json"]),
    "no tokenizer": (_no_tokenizer, ["tokenizer", "needs tokenizer.json"]),
    "a torn file": (_torn_weights, ["weights cannot be loaded", "download the folder again"]),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_bad_model(case: str, workplace: Workplace, tmp_path: Path) -> None:
    spoil, said = MODELS[case]
    model = Path(shutil.copytree(workplace.model, tmp_path / "spoilt"))
    spoil(model)
    config = workplace.config(tmp_path / "config.yaml", tmp_path / "store", model={"name": str(model)})
    result = neuronmill("run", config)
    assert result.code == 2, result.err
    for part in ["spoilt", *said]:
        assert part in result.error, result.error


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"dump": {"layers": [0, 9]}}, ["dump.layers", "9", "0", "2"]),
        ({"dump": {"layers": [0], "components": ["mlp"]}}, ["dump.layers", "0"]),
        ({"model": {"sha256": "0" * 64}}, ["sha256", "0000"]),
        ({"model": {"name": "no/such-model-anywhere"}}, ["no/such-model-anywhere", "local folder"]),
        ({"dump": {"pooling": "mean"}}, ["pooling"]),
    ],
)
def test_a_model_asked_for_what_it_has_not(
    sections: dict[str, Any], said: list[str], workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = workplace.config(tmp_path / "config.yaml", tmp_path / "store", **sections)
    for arguments in (["run", config], ["run", config, "--dry-run"]):
        result = neuronmill(*arguments)
        assert result.code == 2, result.err
        for part in said:
            assert part in result.error, result.error
        assert not (tmp_path / "store").exists()


def test_a_search_for_what_is_not_there(workplace: Workplace, finished: Path) -> None:
    before = hashes(finished)
    for option, value, said in (
        ("--methods", "apx", "did you mean 'ap'?"),
        ("--concepts", "upos=NOUM", "upos=NOUN"),
        ("--layers", "7", "layers"),
        ("--layers", "one", "`0,3-5`"),
        ("--components", "attn", "left by components attn; it has layers 0, 1, 2 of resid, mlp"),
        ("--neurons", "100000", "left by neurons 100000; it has layers"),
        ("--threshold", "nan", "search.threshold"),
        ("--pooling", "max", "search.pooling"),
        ("--keep", "0", "greater than or equal to 1"),
        ("--alpha", "2", "less than 1"),
        ("--model", "other", "tiny"),
    ):
        result = neuronmill("search", "--store", finished, option, value)
        assert result.code == 2, result.err
        assert said in result.error, result.error
    assert unchanged(before, finished)


def test_broken_sentences_can_be_skipped_and_are_listed(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = b"1\tc\xff\tx\tX\t_\t_\t0\tdep\t_\t_\n\n1\tthe\n\n"
    Path("a.conllu").write_bytes(_GOOD.encode() * 3 + bad + _GOOD.encode())
    workplace.config(
        Path("config.yaml"),
        "store",
        corpus={"sources": "a.conllu", "split": None},
        concepts={"include": [{"layer": "upos"}]},
    )
    assert neuronmill("run", "config.yaml").code == 2
    done("run", "config.yaml", "--on-error", "skip")
    query = "SELECT source, line, rule FROM quarantine ORDER BY line"
    lines = done("sql", "--store", "store", "--format", "csv", query).out.splitlines()[1:]
    assert [line.split(",")[:2] for line in lines] == [["a.conllu", "10"], ["a.conllu", "12"]]
    assert "UTF-8" in lines[0]
    assert "10 columns" in lines[1]
    assert done("sql", "--store", "store", "--format", "csv", "SELECT count(*) FROM sentences").out.split()[1] == "4"
    done("run", "config.yaml", "--on-error", "skip")
