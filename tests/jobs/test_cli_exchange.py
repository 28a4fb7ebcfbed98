"""`neuronmill import` and `export` as a user types them."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from command import done, hashes, neuronmill, unchanged


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    noun = rng.random(60) < 0.3
    values = rng.normal(size=(60, 4)).astype(np.float16)
    values[noun, 1] += 4
    np.save("X.npy", values)
    lines = ["sentence\tword\tnoun\tupos"]
    lines += [f"s{i // 6}\tw{i}\t{int(n)}\t{'NOUN' if n else 'VERB'}" for i, n in enumerate(noun)]
    (tmp_path / "L.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


IMPORT = ("import", "X.npy", "--labels", "L.tsv", "--model", "mine", "--component", "mlp", "--layer", 3, "--store", "S")


def test_everything_from_an_import_to_a_page(files):
    result = done(*IMPORT)
    assert "60 rows, 3 concepts" in result.out
    assert "next: neuronmill search --store" in result.out
    assert "no concept from" not in result.out
    for command in ("stats", "search", "contexts", "publish", "report"):
        done(command, "--store", "S")
    top = done("top", "--store", "S", "--concept", "noun", "--limit", 1)
    assert "mlp:3:1" in top.out
    found = done("sql", "--store", "S", "--format", "csv", "SELECT concept FROM concepts ORDER BY 1")
    assert found.out.split() == ["concept", "noun", "upos=NOUN", "upos=VERB"]
    done("stats", "--store", "S", "--model", "mine", "--dry-run")
    (verified,) = done("verify", "--store", "S").out.splitlines()  # nothing about tokens: there never were any
    assert verified.endswith("all as their receipts say")
    before = hashes(files / "S")
    assert done(*IMPORT).out == result.out
    assert unchanged(before, files / "S")
    assert "imported" in neuronmill("dump", "--store", "S").error
    result = done("export", "--store", "S", "--format", "npy", "--output", "Y.npy")
    assert "wrote Y.npy" in result.out
    assert "next: neuronmill import Y.npy --labels Y.tsv --model mine --component mlp --layer 3" in result.out
    assert (files / "X.npy").read_bytes() == (files / "Y.npy").read_bytes()
    refused = neuronmill("export", "--store", "S", "--format", "npy", "--output", "Y.npy")
    assert refused.code == 2
    assert "--force" in refused.error


def test_columns_without_a_concept_are_named(files):
    lines = (files / "L.tsv").read_text().splitlines()
    (files / "L.tsv").write_text("\n".join([f"{lines[0]}\tz", *(f"{line}\t0" for line in lines[1:])]) + "\n")
    result = done(*IMPORT)
    assert "no concept from z: no row has it\n" in result.out
    assert done(*IMPORT).out == result.out


def test_the_command_that_an_export_names_makes_the_same_store(files):
    lines = (files / "L.tsv").read_text().splitlines()
    parts = ["part", *("train" if row < 30 else "test" for row in range(60))]
    (files / "L.tsv").write_text("\n".join(map("\t".join, zip(lines, parts, strict=True))) + "\n")
    done(*IMPORT, "--split-column", "part")
    exported = done("export", "--store", "S", "--format", "npy", "--output", "Y.npy").out
    _, _, command = exported.partition("next: neuronmill ")
    assert "--split-column split" in command
    done(*shlex.split(command))  # into the store STORE, as it says
    for query in ("SELECT concept, n_rows FROM concepts ORDER BY 1", "SELECT word, split FROM words ORDER BY word_id"):
        assert done("sql", "--store", "S", query).out == done("sql", "--store", "STORE", query).out


def test_dry_runs_write_nothing(files):
    before = hashes(files)
    result = done(*IMPORT, "--dry-run")
    assert "60 rows × 4 neurons (float16)" in result.out
    assert "concepts from 2 of 2 columns" in result.out
    assert hashes(files) == before
    done(*IMPORT)
    before = hashes(files)
    assert "rows: those of the store" in done(*IMPORT, "--dry-run").out
    out = done("export", "--store", "S", "--format", "arrow", "--output", "Y.arrow", "--dry-run").out
    assert "would write Y.arrow" in out
    assert hashes(files) == before


def test_wrong_requests_end_with_one_line_and_leave_nothing(files):
    np.save("bad.npy", np.full((60, 4), np.inf))
    for arguments, message in (
        (("import", "Z.npy", *IMPORT[2:]), "Z.npy: there is no such file"),
        (("import", "bad.npy", *IMPORT[2:]), "bad.npy: row 0, neuron 0"),
        ((*IMPORT[:2], *IMPORT[4:8], "--store", "S"), "needs the one number of its layer"),
        ((*IMPORT, "--component", "Bad-Name"), "--component"),
        ((*IMPORT, "--model", "../x"), "--model"),
        ((*IMPORT, "--layer", "4-3"), "--layer '4-3': '4-3' ends before it begins"),
        (("import", "X.npy", "--labels", "none.tsv", *IMPORT[4:]), "none.tsv"),
    ):
        result = neuronmill(*arguments)
        assert result.code == 2, result.err
        assert message in result.error
        assert not (files / "S").exists()
    done(*IMPORT)
    result = neuronmill("export", "--store", "S", "--component", "resid", "--format", "npy", "--output", "Y.npy")
    assert result.code == 2
    assert "mine has mlp" in result.error
    result = neuronmill("export", "--store", "S", "--layers", "3-1", "--format", "npy", "--output", "Y.npy")
    assert result.code == 2
    assert "ends before it begins" in result.error
    assert not (files / "Y.npy").exists()
