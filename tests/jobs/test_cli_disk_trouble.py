"""A disk that fills, freezes or goes away in mid-run: one error, nothing torn, a resume to the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command import Workplace, done, hashes, neuronmill
from mounts import mounted

#: Folders whose files depend on corpus, model and config alone.
TABLES = ("activations", "words", "rows", "tokens", "labels", "sentences", "documents", "neuron_stats", "rankings")
TABLES += ("layer_bests", "contexts", "concepts")
SECTIONS = {"dump": {"rows_per_shard": 100, "token_budget": 256}}
STAGES = ("plan", "dump", "stats", "search", "contexts", "publish")


@pytest.fixture(scope="module")
def undisturbed(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SHA-256 of the tables' files of a run without trouble."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done("run", workplace.config(folder / "config.yaml", folder / "store", **SECTIONS))
    return tables(folder / "store")


def tables(store: Path) -> dict[str, str]:
    return {path: digest for path, digest in hashes(store).items() if path.split("/")[0] in TABLES}


def check_readers(store: Path) -> None:
    """What is listed is there and whole."""
    if (store / "manifest").is_dir():
        done("verify", "--store", store)
        done("sql", "--store", store, "SELECT count(*) FROM words")


@pytest.mark.parametrize("free", [0, pytest.param(20_000, marks=pytest.mark.slow), 60_000])
def test_a_disk_that_is_full_in_every_stage(
    free: int, workplace: Workplace, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """Before each stage the disk is filled up to ``free`` bytes; then it grows, and the stage is started again."""
    failed = []
    with mounted("-t", "tmpfs", "-o", "size=8m", "tmpfs", at=tmp_path / "disk") as disk:
        store, filler = disk / "store", disk / "filler"
        config = workplace.config(tmp_path / "config.yaml", store, **SECTIONS)
        for stage in STAGES:
            arguments = (stage, config) if stage == "plan" else (stage, "--store", store)
            filler.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free)))
            result = neuronmill(*arguments)
            if result.code:
                failed.append(stage)
                assert result.code == 1, result.err
                assert str(store) in result.error
                assert "o space left on device" in result.error or "are free on its disk" in result.error, result.error
                assert "again" in result.error or "free some" in result.error, result.error
                check_readers(store)
            filler.unlink()
            done(*arguments)
        assert tables(store) == undisturbed
        check_readers(store)
        assert [path.name for path in (store / "staging").iterdir()] == ["locks"]
    assert failed == list(STAGES) if free == 0 else len(failed) >= 2


@contextmanager
def struck(operation: str, place: str, n: int, blow: Callable[[], object]) -> Iterator[None]:
    """``blow()`` before the ``n``-th call of ``os.<operation>`` with ``place`` in a path: a repeatable moment."""
    original, calls = getattr(os, operation), 0

    def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        if any(place in str(argument) for argument in arguments):
            calls += 1
            if calls == n:
                blow()
        return original(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, operation, counting)
        yield
    assert calls >= n, f"the run was over after {calls} calls, before the disk had its trouble"


def remount(disk: Path, how: str) -> None:
    """``mount -o remount``; the other thread may have a file open for writing for a moment."""
    for _ in range(200):
        if (
            subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], capture_output=True, check=False).returncode
            == 0
        ):
            return
        time.sleep(0.01)
    raise AssertionError(f"{disk} cannot be remounted {how}")


@pytest.mark.parametrize("n", [20, 150, 220])
def test_a_disk_that_becomes_read_only(
    n: int, workplace: Workplace, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    with mounted("-t", "tmpfs", "-o", "size=20m", "tmpfs", at=tmp_path / "disk") as disk:
        store = disk / "store"
        config = workplace.config(tmp_path / "config.yaml", store, **SECTIONS)
        with struck("mkdir", "/staging/work-", n, lambda: remount(disk, "ro")):  # no file is open for writing then
            result = neuronmill("run", config)
        assert result.code == 1, result.err
        assert str(store) in result.error
        assert "Read-only file system" in result.error
        assert "again" in result.error
        check_readers(store)
        remount(disk, "rw")
        done("run", config)
        assert tables(store) == undisturbed
        check_readers(store)


@pytest.mark.parametrize(("how", "n"), [("unmounted", 12), ("unmounted", 50), ("moved away", 32), ("replaced", 48)])
def test_a_store_that_goes_away(
    how: str, n: int, workplace: Workplace, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """Before a receipt or manifest. Nothing is written to where it was, below a mount point or in another folder."""
    real, place = tmp_path / "real", tmp_path / "place"
    real.mkdir()
    with mounted("--bind", str(real), at=place):
        store = place / "store"
        config = workplace.config(tmp_path / "config.yaml", store, **SECTIONS)
        away = tmp_path / "real" / "away"

        def blow() -> None:
            if how == "unmounted":
                subprocess.run(["umount", "-l", str(place)], check=True)
            else:
                (real / "store").rename(away)
                if how == "replaced":
                    (real / "store").mkdir()

        with struck("link", "/staging/put-", n, blow):
            result = neuronmill("run", config)
        left = hashes(place if how == "unmounted" else real / "store")
        if how == "unmounted":
            subprocess.run(["mount", "--bind", str(real), str(place)], check=True)
        else:
            shutil.rmtree(real / "store", ignore_errors=True)
            away.rename(real / "store")
        assert result.code == 1, result.err
        assert f"store {store}: " in result.error
        assert left == {}, "written into another folder"
        check_readers(store)
        done("run", config)
        assert tables(store) == undisturbed
