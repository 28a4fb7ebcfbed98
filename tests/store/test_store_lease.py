"""Leases on a local folder, behind fsspec and on S3: one holder, exclusion, expiry, take-over, loss."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from s3_server import BUCKET, running_server, talking_to

from pipeline.store import Store
from pipeline.store.lease import ALONE, LIFETIME, Lease, LeaseRecord, live_leases
from pipeline.store.open_storage import open_storage
from pipeline.store.owners import owned_name
from pipeline.store.publish import publish
from pipeline.store.storage import LocalStorage, Storage
from schemas.errors import LeaseError, StoreError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
OTHER_MACHINE = "0123456789ab"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with running_server() as url, talking_to(url):
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    place = uuid.uuid4().hex
    if request.param == "s3":
        return open_storage(f"{request.getfixturevalue('bucket')}/{place}")
    return open_storage(str(tmp_path) if request.param == "local" else f"memory://{place}/store")


def lease(storage: Storage, name: str = "run-a", lifetime: float = LIFETIME, wait: float = 0.0) -> Lease:
    return Lease(storage, name, command="neuronmill run", lifetime=lifetime, wait=wait)


def other(storage: Storage, name: str = "run-a", *, machine: str | None = OTHER_MACHINE, process: int = 7) -> bytes:
    """Leave the record of another process: of another machine, or of this one."""
    head, here, _, token = owned_name("lease").rsplit("-", 3)
    owner = f"{head}-{machine or here}-{process}-{token}"
    record = LeaseRecord(name, owner, "elsewhere", process, "2026-01-01 00:00:00 UTC", 2.0, "neuronmill dump")
    storage.put(f"leases/{name}.json", record.to_json())
    return record.to_json()


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_holder_at_a_time(storage: Storage) -> None:
    with lease(storage) as held:
        held.check()
        with pytest.raises(LeaseError) as refused, lease(storage):
            pass
        for part in (storage.root, "neuronmill run", f"process {os.getpid()} on", "since ", "'run-a'", "--wait"):
            assert part in str(refused.value)
        assert refused.value.exit_code == 1
        assert [record.owner for record in live_leases(storage)] == [held.record.owner]
        held.check()
    assert storage.list("leases") == []
    with lease(storage):
        pass


@pytest.mark.parametrize(
    ("first", "second", "excludes"),
    [("run-a", "run-b", False), ("run-a", "publish", False), ("run-a", ALONE, True), ("publish", ALONE, True),
     (ALONE, "run-a", True), (ALONE, ALONE, True)],
)  # fmt: skip
def test_who_excludes_whom(storage: Storage, first: str, second: str, excludes: bool) -> None:
    with lease(storage, first):
        refusal = pytest.raises(LeaseError, match=f"the lease '{first}'") if excludes else nullcontext()
        with refusal, lease(storage, second):
            pass
        assert storage.list("leases") == [f"leases/{first}.json"]


def test_many_ask_and_one_gets_it(storage: Storage) -> None:
    barrier, done = threading.Barrier(6), threading.Event()
    held: list[str] = []
    refused: list[str] = []

    def ask(name: str) -> None:
        barrier.wait()
        try:
            with lease(storage, name) as found:
                held.append(found.record.owner)
                done.wait(20)
        except LeaseError:
            refused.append(name)
        if len(refused) == 5:
            done.set()

    threads = [threading.Thread(target=ask, args=("run-a",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 5)


def test_a_holder_whose_process_has_ended_is_replaced_at_once(storage: Storage) -> None:
    other(storage, machine=None, process=ended_process())
    other(storage, ALONE, machine=None, process=ended_process())
    assert live_leases(storage) == []
    with lease(storage) as held:
        assert json.loads(storage.read("leases/run-a.json"))["owner"] == held.record.owner


def test_an_earlier_process_of_the_same_number_is_not_this_one(storage: Storage) -> None:
    other(storage, machine=None, process=os.getpid())
    with lease(storage):
        pass


def test_a_holder_of_another_machine_is_replaced_after_its_lifetime(storage: Storage) -> None:
    other(storage)
    with pytest.raises(LeaseError, match=r"neuronmill dump.*process 7 on elsewhere.*over 2 s after"), lease(storage):
        pass
    told: list[str] = []
    started = time.monotonic()
    with Lease(storage, "run-a", command="neuronmill run", wait=20, tell=told.append) as held:
        assert 1 < time.monotonic() - started < 15  # S3 counts whole seconds
        held.check()
    assert len(told) == 1
    assert "waiting for `neuronmill dump`" in told[0]


def test_waiting_ends_when_the_holder_is_done(storage: Storage) -> None:
    with lease(storage) as first:
        entered = threading.Event()

        def second() -> None:
            with lease(storage, wait=60):
                entered.set()

        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.5)
        first.check()
    assert entered.wait(20)
    thread.join()


def test_a_lease_is_renewed(storage: Storage) -> None:
    with lease(storage, lifetime=2) as held:
        before = storage.read("leases/run-a.json")
        time.sleep(3)
        assert storage.age("leases/run-a.json") < 2  # S3 counts whole seconds
        assert storage.read("leases/run-a.json") == before
        held.check()


def test_a_lease_that_was_taken_is_noticed(storage: Storage) -> None:
    store = Store(storage)
    with store.holding("run-a", command="neuronmill run") as held:
        theirs = other(storage)
        held._renewed -= 2 * LIFETIME  # as if this process had been stopped for so long
        with pytest.raises(LeaseError, match=r"neuronmill dump.*has taken the lease 'run-a' over"):
            store.advance("words", "all", [])
    assert storage.read("leases/run-a.json") == theirs
    assert storage.list("manifest") == []
    store.check_lease()


def test_a_lost_lease_stops_publishing(reading_store: Store, tmp_path: Path) -> None:
    shutil.copytree(reading_store.url, tmp_path / "store")
    store = Store.open(str(tmp_path / "store"))
    with store.holding("publish", command="neuronmill publish") as held:
        other(store.storage, "publish")
        held._renewed -= 2 * LIFETIME
        with pytest.raises(LeaseError, match="taken"):
            publish(store)
    assert not store.exists("CURRENT")


def test_a_lease_that_was_removed_is_put_back(storage: Storage) -> None:
    with lease(storage) as held:
        storage.delete("leases/run-a.json")
        held._renewed -= 2 * LIFETIME
        held.check()
        assert json.loads(storage.read("leases/run-a.json"))["owner"] == held.record.owner


class _Broken(LocalStorage):
    """A disk that can be taken away."""

    is_broken = False

    def swap(self, path: str, payload: bytes, expected: bytes) -> bool:
        if self.is_broken:
            raise StoreError("gone")
        return super().swap(path, payload, expected)


def test_an_outage_longer_than_the_lifetime_loses_nothing_if_nobody_took_it(tmp_path: Path) -> None:
    storage = _Broken(tmp_path)
    with lease(storage, lifetime=0.4) as held:
        storage.is_broken = True
        time.sleep(1)
        with pytest.raises(StoreError, match="gone"):
            held.check()
        storage.is_broken = False
        held.check()


def test_what_cannot_be_read_is_a_holder_until_its_lifetime(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("leases/run-a.json", b'{"name": ')
    with pytest.raises(LeaseError, match="an unknown command"), lease(storage):
        pass
    long_ago = time.time() - LIFETIME - 1
    os.utime(tmp_path / "leases/run-a.json", (long_ago, long_ago))
    with lease(storage):
        pass


def test_a_clock_that_is_wrong_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path)
    other(storage)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(LeaseError), lease(storage):
        pass


def test_two_writers_without_leases_make_one_store(
    storage: Storage, fill_store: Callable[[Store], None], reading_store: Store
) -> None:
    Store.create(storage.root)
    errors: list[BaseException] = []

    def fill() -> None:
        try:
            fill_store(Store(open_storage(storage.root)))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=fill) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found, wanted = Store.open(storage.root).manifest(), reading_store.manifest()
    for table in wanted.tables:
        contents = [sorted(entry.sha256 for entry in manifest.files(table)) for manifest in (found, wanted)]
        assert contents[0] == contents[1]


def test_the_record_survives_json() -> None:
    record = LeaseRecord("run-a", owned_name("lease"), "here", 1, "now", 60.0, "neuronmill run")
    assert LeaseRecord.from_json(record.to_json(), "run-a") == record
    assert replace(record, host="there") != record
