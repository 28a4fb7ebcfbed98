"""Corpora of a size nobody asked for, planned and dumped: in bounded memory, or one clear error."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from measured_run import Measured, measured_run
from tiny_run import Inputs

#: A word that the tiny tokenizer has no letters for: one token, so that size and not the model's work is looked at.
WORD = "z" * 24


def _run(inputs: Inputs, folder: Path, corpus: dict[str, Any], **dump: Any) -> Measured:
    config = inputs.config_file(
        folder / "run.yaml",
        folder / "store",
        corpus=corpus,
        dump={"layers": [0], "components": ["resid"], "token_budget": 2048, "rows_per_shard": None, **dump},
        concepts={"include": [{"regex": ".*", "name": "any"}]},
    )
    return measured_run(config)


def _one_line(inputs: Inputs, folder: Path, kind: str, n_bytes: int) -> Measured:
    """A document of ``n_bytes`` on one line, with no sentence end in it."""
    text = f"{WORD} " * (n_bytes // (len(WORD) + 1))
    source = folder / f"long.{'jsonl' if kind == 'sentences' else kind}"
    source.write_text(text if kind == "txt" else json.dumps({"text": text}), encoding="ascii")
    return _run(inputs, folder, {"sources": [str(source)], **({"format": kind} if kind == "sentences" else {})})


def _check_one_line(found: Measured, n_bytes: int) -> None:
    n_words = n_bytes // (len(WORD) + 1)
    assert (found.error, found.n_sentences) == ("", -(-n_words // 800))  # 20,000 characters each
    assert found.n_rows >= n_words


@pytest.mark.parametrize("kind", ["txt", pytest.param("jsonl", marks=pytest.mark.slow)])
def test_a_document_of_2_mb_on_one_line(kind: str, inputs: Inputs, tmp_path: Path) -> None:
    found = _one_line(inputs, tmp_path, kind, 2_000_000)
    _check_one_line(found, 2_000_000)
    assert found.grown_mb < 250


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_a_document_of_50_mb_on_one_line(kind: str, inputs: Inputs, tmp_path: Path) -> None:
    found = _one_line(inputs, tmp_path, kind, 50_000_000)
    _check_one_line(found, 50_000_000)
    assert found.grown_mb < 900


@pytest.mark.slow
def test_a_record_that_is_one_sentence_of_2_mb_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    """A record of the format `sentences` is one sentence, with labels of its words: it cannot be cut."""
    found = _one_line(inputs, tmp_path, "sentences", 2_000_000)
    assert f"{tmp_path}/long.jsonl:1: a sentence may have 1,000,000 characters" in found.error
    assert len(found.error) < 1_000
    assert found.grown_mb < 100


@pytest.mark.slow
def test_a_record_that_is_one_sentence_of_50_mb_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    found = _one_line(inputs, tmp_path, "sentences", 50_000_000)
    assert "a sentence may have 1,000,000 characters" in found.error
    assert found.grown_mb < 500


def _tiny_documents(inputs: Inputs, folder: Path, n: int) -> Measured:
    source = folder / "tiny.jsonl"
    with source.open("w", encoding="ascii") as file:
        file.writelines(f'{{"id": "d{number}", "text": "the cat."}}\n' for number in range(n))
    found = _run(inputs, folder, {"sources": [str(source)]}, rows_per_shard=32_768)
    assert (found.error, found.n_sentences) == ("", n)
    return found


def test_20_000_tiny_documents(inputs: Inputs, tmp_path: Path) -> None:
    assert _tiny_documents(inputs, tmp_path, 20_000).grown_mb < 200


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_a_million_tiny_documents_take_the_memory_of_a_fifth_of_them(inputs: Inputs, tmp_path: Path) -> None:
    grown = {}
    for n in (200_000, 1_000_000):
        (tmp_path / str(n)).mkdir()
        grown[n] = _tiny_documents(inputs, tmp_path / str(n), n).grown_mb
    assert grown[1_000_000] < 1.25 * grown[200_000] + 50
    assert grown[1_000_000] < 500


def test_a_bomb_of_blank_lines_around_a_sentence(inputs: Inputs, tmp_path: Path) -> None:
    """A `.gz` of 500 kB that unpacks to 512 MB."""
    source = tmp_path / "bomb.txt.gz"
    blank = gzip.compress((b" " * (2**20 - 1) + b"\n") * 16)
    source.write_bytes(blank * 32 + gzip.compress(b"the cat.\n"))
    found = _run(inputs, tmp_path, {"sources": [str(source)]})
    assert (found.error, found.n_sentences) == ("", 1)
    assert found.grown_mb < 150
