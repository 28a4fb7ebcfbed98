"""What is refused is refused before the work, and a refused command leaves no new store behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
from command import Workplace, done, hashes, neuronmill

from jobs.new_store import store_to_fill
from pipeline.store.store import Store
from schemas.errors import ModelError

NO_MODEL: dict[str, Any] = {"name": "nowhere/at/all"}


@pytest.fixture
def memory() -> Any:
    """The file system behind `memory://`, empty before and after."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("place", ["store", "some/where/store"])
def test_a_refused_plan_leaves_no_store(command: str, place: str, workplace: Workplace, tmp_path: Path) -> None:
    config = workplace.config(tmp_path / "config.yaml", tmp_path / place, model=NO_MODEL)
    assert neuronmill(command, config).code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_folders_that_were_there_and_what_is_in_them_stay(workplace: Workplace, tmp_path: Path) -> None:
    store = tmp_path / "some" / "store"
    store.mkdir(parents=True)
    config = workplace.config(tmp_path / "config.yaml", store, model=NO_MODEL)
    assert neuronmill("plan", config).code == 2
    assert list(store.iterdir()) == []
    (store / "letter").write_text("x")
    assert neuronmill("plan", config).code == 2
    assert (store / "letter").read_text() == "x"


def test_an_empty_store_that_was_there_stays(workplace: Workplace, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with store_to_fill(str(store)):
        pass
    before = hashes(store)
    assert list(before) == ["store.json"]
    assert neuronmill("plan", workplace.config(tmp_path / "config.yaml", store, model=NO_MODEL)).code == 2
    assert hashes(store) == before


@pytest.mark.parametrize("place", ["memory://bucket/store", "folder"])
def test_a_store_with_something_in_it_is_kept(place: str, memory: Any, tmp_path: Path) -> None:
    url = place if "://" in place else str(tmp_path / place)

    def fill_in_vain() -> None:
        with store_to_fill(url) as store:
            store.put_json("corpus.json", {})
            raise ModelError("too late")

    for _ in range(2):
        with pytest.raises(ModelError):
            fill_in_vain()
        assert Store.open(url).read_json("corpus.json") == {}


def test_a_refused_plan_leaves_nothing_behind_a_url(workplace: Workplace, memory: Any, tmp_path: Path) -> None:
    config = workplace.config(tmp_path / "config.yaml", "memory://bucket/store", model=NO_MODEL)
    assert neuronmill("plan", config).code == 2
    assert memory.find("/bucket") == []


def test_a_remote_store_needs_a_place_for_the_page(workplace: Workplace, memory: Any, tmp_path: Path) -> None:
    config = workplace.config(tmp_path / "config.yaml", "memory://bucket/store")
    result = neuronmill("run", config)
    assert result.code == 2
    assert result.error.startswith("report.path: the store memory://")
    assert "scan" not in result.err
    assert memory.find("/bucket") == []


@pytest.mark.parametrize(("page", "said"), [("letter/page.html", "letter is no folder"), ("taken", "in its place")])
def test_a_page_that_cannot_be_written_is_refused_first(
    page: str, said: str, workplace: Workplace, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "letter").write_text("x")
    (tmp_path / "taken").mkdir()
    store = tmp_path / "store"
    config = workplace.config(tmp_path / "config.yaml", store, report={"path": str(tmp_path / page)})
    result = neuronmill("run", config)
    assert result.code == 2
    for part in ("report", page, said, "give another path", "report.path"):
        assert part in result.error
    assert "scan" not in result.err
    assert not store.exists()
    result = neuronmill("report", "--store", finished, "--output", tmp_path / page)
    assert result.code == 2
    assert said in result.err or "is a directory" in result.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_page_in_a_folder_of_others(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)
    config = workplace.config(
        tmp_path / "config.yaml", tmp_path / "store", report={"path": str(tmp_path / "theirs/new/page.html")}
    )
    assert "Permission denied" in neuronmill("run", config).error
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
@pytest.mark.parametrize("place", ["store", "output"])
def test_annotation_needs_a_local_folder(
    place: str, dry_run: list[str], workplace: Workplace, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("the cat.\n")
    url = "memory://bucket/store"
    config = workplace.config(
        Path("config.yaml"), url if place == "store" else "here", corpus={"sources": "text.txt", "split": None}
    )
    result = neuronmill("annotate", config, *dry_run, *(["--output", url] if place == "output" else []))
    assert result.code == 2
    assert result.error.startswith(f"store {url}" if place == "store" else f"--output {url}")
    assert "local folder" in result.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "text.txt"]
    assert "tagged" in done("annotate", config, "--output", "tagged", "--dry-run").out


def test_annotation_of_a_store_by_file_url(workplace: Workplace, tmp_path: Path) -> None:
    config = workplace.config(tmp_path / "config.yaml", f"file://{tmp_path}/store")
    assert f"into {tmp_path}/store/annotated" in done("annotate", config, "--dry-run").out


def test_a_model_that_does_not_load_is_wrong_whatever_the_workers(workplace: Workplace, tmp_path: Path) -> None:
    model = tmp_path / "tiny"
    model.mkdir()
    for file in workplace.model.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-100])
    config = workplace.config(
        tmp_path / "config.yaml", tmp_path / "store", model={"name": str(model)}, dump={"rows_per_shard": 256}
    )
    done("plan", config, "--no-pilot")
    alone = neuronmill("dump", config)
    assert alone.code == 2
    assert "weights cannot be loaded" in alone.error
    together = neuronmill("dump", config, "--workers", "2")
    assert (together.code, together.error) == (alone.code, alone.error)
