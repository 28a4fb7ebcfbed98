"""Sweeping the staging folder takes what killed processes left, and nothing that somebody may still be writing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipeline.store import Store, sweep_staging
from pipeline.store.owners import ABANDONED_SECONDS, is_abandoned, owned_name
from pipeline.store.staging import abandoned_staging
from pipeline.store.storage import Storage

OTHER_MACHINE = "0123456789ab"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Store.create(str(tmp_path)).storage
    with storage.lock("a"):
        pass
    return storage


@pytest.fixture(scope="module")
def ended() -> int:
    """Id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _leave(storage: Storage, name: str, age: float = 0) -> Path:
    """A thing in staging, a folder with a file unless its name says otherwise, last touched ``age`` seconds ago."""
    path = Path(storage.root) / "staging" / name
    file = path
    if not name.startswith("put-"):
        path.mkdir()
        file = path / "torn.parquet"
    file.write_bytes(b"torn")
    for touched in {file, path}:
        os.utime(touched, (time.time() - age,) * 2)
    return path


def _name(kind: str, *, machine: str | None = None, process: int | None = None) -> str:
    head, here, mine, token = owned_name(kind).rsplit("-", 3)
    return f"{head}-{machine or here}-{process or mine}-{token}"


@pytest.mark.parametrize("kind", ["put", "work"])
def test_what_ended_processes_of_this_machine_left_goes_at_once(storage: Storage, kind: str, ended: int) -> None:
    left = _leave(storage, _name(kind, process=ended))
    mine = _leave(storage, _name(kind), age=2 * ABANDONED_SECONDS)
    assert sweep_staging(storage) == 1
    assert (left.exists(), mine.exists()) == (False, True)


@pytest.mark.parametrize("kind", ["put", "work"])
def test_other_machines_have_a_day(storage: Storage, kind: str, ended: int) -> None:
    fresh = _leave(storage, _name(kind, machine=OTHER_MACHINE, process=ended))
    old = _leave(storage, _name(kind, machine=OTHER_MACHINE), age=ABANDONED_SECONDS + 60)
    assert sweep_staging(storage) == 1
    assert (fresh.exists(), old.exists()) == (True, False)


def test_a_folder_is_as_old_as_its_newest_file(storage: Storage) -> None:
    folder = _leave(storage, _name("work", machine=OTHER_MACHINE), age=2 * ABANDONED_SECONDS)
    (folder / "more.parquet").write_bytes(b"")
    os.utime(folder, (0, 0))
    assert sweep_staging(storage) == 0


def test_names_of_no_known_form_have_a_day_and_locks_stay(storage: Storage) -> None:
    fresh, old = _leave(storage, "put-1-ab"), _leave(storage, "something", age=ABANDONED_SECONDS + 60)
    os.utime(Path(storage.root) / "staging/locks", (0, 0))
    for lock in (Path(storage.root) / "staging/locks").iterdir():
        os.utime(lock, (0, 0))
    assert sweep_staging(storage) == 1
    assert (fresh.exists(), old.exists()) == (True, False)
    assert storage.list("staging/locks")


def test_a_killed_process_that_nobody_waited_for_has_ended(storage: Storage) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    left = _leave(storage, _name("work", process=process.pid))
    assert not is_abandoned(left)
    process.kill()
    deadline = time.monotonic() + 10
    while not is_abandoned(left) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_abandoned(left)
    process.wait()


_LEAVE = """
import os
from pipeline.store import Staging
from pipeline.store.open_storage import open_storage
staging = Staging(open_storage("memory://sweep/store"))
staging.path("words/torn.parquet").write_bytes(b"torn")
print(staging.folder, flush=True)
os._exit(9)
"""


def test_remote_stores_stage_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = Store.create("memory://sweep/store")
    killed = subprocess.run(
        [sys.executable, "-c", _LEAVE],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    left = Path(killed.stdout.strip())
    assert (killed.returncode, left.parent) == (9, tmp_path)
    (tmp_path / "neuronmill-work-of-another").mkdir()
    with store.staging() as mine:
        mine.path("a").write_bytes(b"")
        assert abandoned_staging(store.storage) == [(str(left), 4)]
        assert sweep_staging(store.storage) == 1
        assert (left.exists(), mine.path("a").exists()) == (False, True)
    assert [path.name for path in tmp_path.iterdir()] == ["neuronmill-work-of-another"]


def test_making_a_store_sweeps_what_others_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: int) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / _name("neuronmill-work", process=ended)).mkdir()
    Store.create("memory://sweep/again")
    assert list(tmp_path.iterdir()) == []


def test_staging_of_remote_stores(ended: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    storage = Store.create("memory://sweep/store").storage
    assert sweep_staging(storage) == 0
    left, theirs, mine = (
        f"staging/{name}/store.json"
        for name in (_name("pilot", process=ended), _name("pilot", machine=OTHER_MACHINE), _name("pilot"))
    )
    for path in (left, theirs, mine):
        storage.put(path, b"")
    assert sweep_staging(storage) == 1
    assert storage.list("staging") == sorted([theirs, mine])
    for path in (theirs, mine):
        storage.delete(path)
