"""Errors while a piece is staged: a disk's refusal is a StoreError with a way out, any other stays what it is."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.store import Store
from pipeline.store.staging import Staging
from schemas.errors import StoreError


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store") if request.param == "local" else f"memory://errors/{tmp_path.name}")


@contextmanager
def _one_file(store: Store) -> Iterator[Path]:
    with store.staging() as staging:
        yield staging.path("words/shard-00000.parquet")


@contextmanager
def _without(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder)
    yield


def test_a_file_that_nobody_wrote_is_no_trouble_of_the_disk(store: Store, tmp_path: Path) -> None:
    """A mistake in the program or a model's file that is gone: the traceback and the name have to survive."""
    with pytest.raises(FileNotFoundError, match="weights"), _one_file(store):
        (tmp_path / "weights.bin").read_bytes()
    with pytest.raises(FileNotFoundError, match="shard-00001"), store.staging() as staging:
        staging.path("words/shard-00001.parquet").read_bytes()
    with pytest.raises(FileNotFoundError, match="forgotten"), store.staging() as staging:
        (staging.path("words/shard-00001.parquet").parent / "forgotten" / "folder.npz").write_bytes(b"")


def test_a_file_is_missing_before_anything_is_staged(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="weights"), store.staging():
        (tmp_path / "weights.bin").read_bytes()


def test_a_staging_folder_that_is_gone(store: Store) -> None:
    gone = pytest.raises(StoreError, match=r"cannot be written \(its folder is gone\).*again to resume")
    with gone, _one_file(store) as file, _without(file.parents[1]):
        file.write_bytes(b"")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_what_the_disk_refuses(number: int, store: Store, tmp_path: Path) -> None:
    for name in (None, "words/shard-00000.parquet"):
        with pytest.raises(StoreError, match=os.strerror(number)), store.staging() as staging:
            raise OSError(number, os.strerror(number), *([str(staging.path(name))] if name else []))
    with pytest.raises(OSError, match=os.strerror(number)) as raised, store.staging():
        raise OSError(number, os.strerror(number), str(tmp_path / "corpus.jsonl"))
    assert raised.value.filename == str(tmp_path / "corpus.jsonl")


def test_a_rename_is_judged_by_both_its_names(store: Store, tmp_path: Path) -> None:
    with store.staging() as staging:
        file = staging.path("words/shard-00000.parquet")
        error = OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "made"), None, str(file))
        assert staging.refusal(error) == os.strerror(errno.EROFS)
        assert Staging(store.storage).refusal(error) is None
        assert staging.refusal(PermissionError(errno.EACCES, "no", str(file))) is None
