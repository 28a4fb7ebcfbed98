"""A store that cannot be used, or a run that would spoil it: one error, and nothing that was written is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import Workplace, conllu, done, hashes, neuronmill, unchanged
from mounts import mounted

READERS = ["top --concept upos=NOUN", "sql 'SELECT 1'", "verify", "publish", "stats", "dump", "search", "contexts"]
READERS += ["report"]


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("place", ["nothing", "folder", "file", "below a file", "other"])
def test_no_store_there(command: str, place: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    if place == "folder":
        store.mkdir()
    elif place == "file":
        store.write_text("a letter")
    elif place == "below a file":
        (tmp_path / "letter").write_text("a letter")
        store = tmp_path / "letter" / "store"
    elif place == "other":
        store.mkdir()
        (store / "store.json").write_text('{"format": "shop", "schema_version": 1}')
    before = hashes(tmp_path)
    name, *rest = command.split(maxsplit=1)
    arguments = rest[0].strip("'").split() if name == "top" else [part.strip("'") for part in rest]
    result = neuronmill(name, "--store", store, *arguments)
    assert result.code == 2, result.err
    assert str(store) in result.error
    assert "path" in result.error
    assert hashes(tmp_path) == before
    assert store.exists() == (place in ("folder", "file", "other"))


@pytest.mark.parametrize("place", ["file", "below a file"])
def test_a_file_in_the_folders_place(place: str, workplace: Workplace, tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("a letter")
    store = letter if place == "file" else letter / "store"
    result = neuronmill("run", workplace.config(tmp_path / "config.yaml", store))
    assert result.code == 2
    assert result.error.startswith(f"store {store}: a file is in the folder's place; move it away")
    assert letter.read_text() == "a letter"


def test_a_store_of_another_version(finished: Path, workplace: Workplace, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    description = json.loads((store / "store.json").read_text())
    description["schema_version"] += 1
    (store / "store.json").write_text(json.dumps(description))
    before = hashes(store)
    config = workplace.config(store.parent / "config.yaml", store)
    for arguments in (["run", config], ["sql", "--store", store, "SELECT 1"], ["verify", "--store", store]):
        result = neuronmill(*arguments)
        assert result.code == 2
        for part in (str(store), f"schema_version is {description['schema_version']}", "use the version that wrote it"):
            assert part in result.error
    assert hashes(store) == before


CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "dtype": ({"dump": {"dtype": "bfloat16"}}, ['dump.dtype: "float16" → "bfloat16"']),
    "layers": ({"dump": {"layers": [1]}}, ["dump.layers: null → [1]"]),
    "unit": ({"dump": {"unit": "word"}}, ['dump.unit: "token" → "word"']),
    "split": ({"corpus": {"split": {"by": "document", "test": 0.4}}}, ['corpus.split.by: "sentence" → "document"']),
    "two keys": (
        {"dump": {"token_budget": 99}, "model": {"compute_dtype": "bfloat16"}},
        ["dump.token_budget: 256 → 99", "model.compute_dtype"],
    ),
    "threads": ({"executor": {"threads": 2}}, ["threads: 1 → 2"]),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_config_changed_under_a_run(case: str, workplace: Workplace, finished: Path, tmp_path: Path) -> None:
    sections, said = CHANGES[case]
    before = hashes(finished)
    result = neuronmill("run", workplace.config(tmp_path / "config.yaml", finished, **sections))
    assert result.code == 2
    for part in [str(finished), *said, "put the old", "another `store`"]:
        assert part in result.error, result.error
    assert unchanged(before, finished)
    assert result.out == ""


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("what", ["corpus", "weights"])
def test_inputs_changed_under_a_run(
    what: str, command: str, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(workplace.model, "tiny")
    Path("a.conllu").write_text(conllu(12))
    workplace.config(Path("config.yaml"), "store", corpus={"sources": "a.conllu"}, model={"name": "tiny"})
    done("run", "config.yaml")
    before = hashes(Path("store"))
    if what == "corpus":
        Path("a.conllu").write_text(conllu(12, seed=1))
    else:
        other = Path("tiny/model.safetensors").read_bytes()
        Path("tiny/model.safetensors").write_bytes(other[:-1] + bytes([other[-1] ^ 1]))
    result = neuronmill(command, "config.yaml")
    assert result.code == 2, result.err
    assert ("a.conllu" if what == "corpus" else "weights") in result.error
    assert "store" in result.error
    assert unchanged(before, Path("store"))


def test_settings_of_analyses_may_change(workplace: Workplace, finished: Path, copy_of: Callable[[Path], Path]) -> None:
    store = copy_of(finished)
    activations = hashes(store / "activations")
    config = workplace.config(
        store.parent / "config.yaml",
        store,
        concepts={"include": [{"name": "pet", "words": ["cat", "dog"]}]},
        search={"keep": 2, "methods": ["ap"]},
        contexts={"k": 1},
    )
    done("run", config)
    query = "SELECT DISTINCT concept, method, max(rank) OVER () FROM rankings"
    assert done("sql", "--store", store, "--format", "csv", query).out.splitlines()[1:] == ["pet,ap,2"]
    assert hashes(store / "activations") == activations


def test_a_read_only_store(finished: Path, workplace: Workplace, tmp_path: Path) -> None:
    before = hashes(finished)
    with mounted("--bind", str(finished), at=tmp_path / "store") as store:
        frozen = subprocess.run(["mount", "-o", "remount,ro,bind", str(store)], capture_output=True, check=False)
        if frozen.returncode:
            pytest.skip("a read-only mount is not permitted here")
        config = workplace.config(tmp_path / "config.yaml", store, search={"keep": 7})
        for arguments in (["run", config], ["search", config], ["publish", "--store", store], ["report", config]):
            result = neuronmill(*arguments)
            if arguments[0] == "publish" and result.code == 0:
                continue  # the snapshot is there already
            assert result.code in (1, 2), result.err
            assert str(store) in result.error
            assert "ead-only" in result.error, result.error
        assert "NOUN" in done("top", "--store", store, "--concept", "upos=NOUN").out
        assert done("sql", "--store", store, "--format", "csv", "SELECT count(*) FROM runs").out.split()[1] == "1"
        done("verify", "--store", store)
    assert hashes(finished) == before


def test_too_little_disk_for_the_plan(workplace: Workplace, tmp_path: Path) -> None:
    with mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", at=tmp_path / "disk") as disk:
        store = disk / "store"
        config = workplace.config(tmp_path / "config.yaml", store, dump={"dtype": "float32"})
        done("plan", config, "--no-pilot")
        before = hashes(store)
        filler = disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - 100_000))
        result = neuronmill("dump", "--store", store)
        assert result.code == 1, result.err
        for part in (f"store {store}: 0.5 MB are needed", "MB are free on its disk", "free some"):
            assert part in result.error, result.error
        assert unchanged(before, store)
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        done("dump", "--store", store)
        done("verify", "--store", store)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_disk_that_fills_up(command: str, workplace: Workplace, tmp_path: Path) -> None:
    with mounted("-t", "tmpfs", "-o", "size=240k", "tmpfs", at=tmp_path / "disk") as disk:
        config = workplace.config(tmp_path / "config.yaml", disk / "store")
        (disk / "filler").write_bytes(bytes(120_000))
        result = neuronmill(command, config)
        assert result.code == 1, result.err
        assert "space" in result.error, result.error
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        done(command, config)
        done("verify", "--store", disk / "store")


def test_a_dry_run_writes_nothing(workplace: Workplace, finished: Path, tmp_path: Path) -> None:
    store = tmp_path / "new"
    config = workplace.config(tmp_path / "config.yaml", store)
    text = tmp_path / "text.txt"
    text.write_text("the cat.\n")
    tagged = workplace.config(
        tmp_path / "tagged.yaml", store, corpus={"sources": str(text), "split": None}, annotate={}
    )
    before = hashes(tmp_path)
    for arguments in (["run", config], ["plan", config], ["annotate", tagged]):
        assert done(*arguments, "--dry-run").out
    init = ["--corpus", text, "--model", workplace.model, "--store", store, "--output", tmp_path / "new.yaml"]
    assert yaml.safe_load(done("init", *init, "--dry-run").out)["store"] == str(store)
    assert hashes(tmp_path) == before
    assert not store.exists()
    before = hashes(finished)
    for name in ("dump", "stats", "search", "contexts", "publish", "report", "verify"):
        assert done(name, "--store", finished, "--dry-run").out
    assert done("top", "--store", finished, "--concept", "upos=NOUN", "--dry-run").out
    assert done("sql", "--store", finished, "SELECT 1", "--dry-run").out
    assert hashes(finished) == before
