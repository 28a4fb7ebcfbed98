"""The same store on an S3 API: moto's server, which honours If-None-Match."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from s3_server import BUCKET, running_server, talking_to

from pipeline.store import Store
from pipeline.store.gc import GcOptions, collect
from pipeline.store.publish import current_snapshot, publish
from pipeline.store.remote_storage import RemoteStorage
from pipeline.store.sql import run_user_sql
from pipeline.store.verify import verify

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with running_server() as url, talking_to(url):
        yield f"s3://{BUCKET}"


def test_a_whole_store_on_s3(bucket: str, fill_store: Callable[[Store], None]) -> None:
    store = Store.create(f"{bucket}/store")
    fill_store(store)
    store = Store.open(f"{bucket}/store")
    assert store.activation_reader().read_block(store.files("activations")[0]).shape == (2, 3)
    sink = io.BytesIO()
    run_user_sql(store, "SELECT count(*) AS n, max(n0003) AS m FROM activations_mlp", sink, output_format="csv")
    assert sink.getvalue() == b"n,m\n12,48.0\n"
    snapshot = publish(store)
    assert current_snapshot(store) == snapshot
    assert verify(store) == []
    _collect_garbage(store)
    _find_damage(store)


def test_a_first_file_that_comes_while_its_folder_is_listed(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """s3fs lists the objects below a name and, if there are none, asks what the name is: by then it is a folder."""
    storage = RemoteStorage(f"{bucket}/young")
    info = storage.filesystem._info

    async def info_after_a_rival_wrote(path: str, **options: object) -> object:
        await storage.filesystem._pipe_file(f"{BUCKET}/young/receipts/stage/first.json", b"{}")
        return await info(path, **options)

    monkeypatch.setattr(storage.filesystem, "_info", info_after_a_rival_wrote)
    assert storage.list("receipts/stage") == []
    monkeypatch.undo()
    assert storage.list("receipts/stage") == ["receipts/stage/first.json"]


def _collect_garbage(store: Store) -> None:
    orphan = "activations/model=tiny/orphan.0123456789ab.parquet"
    store.storage.put(orphan, b"123")
    assert collect(store.storage, GcOptions()).n_young == 1
    later = time.time() + 2 * 86_400
    assert [thing.path for thing in collect(store.storage, GcOptions(), now=later).garbage] == [orphan]
    assert not store.storage.exists(orphan)
    assert collect(store.storage, GcOptions(), now=later).garbage == ()
    assert verify(store) == []


def _find_damage(store: Store) -> None:
    flipped, cut = (store.files("activations", component="mlp", layer=layer)[0].path for layer in (1, 2))
    content = store.storage.read(flipped)
    store.storage.put(flipped, content[:40] + bytes([content[40] ^ 1]) + content[41:])
    store.storage.put(cut, store.storage.read(cut)[:-5])
    store.storage.delete(store.files("words")[0].path)
    assert sorted(problem.rule for problem in verify(store)) == ["missing", "n_bytes", "sha256"]


def test_one_winner_on_s3(bucket: str) -> None:
    storage = Store.create(f"{bucket}/race").storage
    wins: list[int] = []
    barrier = threading.Barrier(6)

    def write(number: int) -> None:
        barrier.wait()
        if storage.put_new("receipts/a.json", bytes([number])):
            wins.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert storage.read("receipts/a.json") == bytes(wins)


class _Overtaken(RemoteStorage):
    """Another writer changes the file between the comparison and the write of the first swap."""

    is_overtaken = False

    def swap(self, path: str, payload: bytes, expected: bytes) -> bool:
        cat_file = self.filesystem.cat_file

        def overtaken(name: str, **options: int) -> bytes:
            content: bytes = cat_file(name, **options)
            if not self.is_overtaken:
                self.is_overtaken = True
                self.put(path, b"faster\n")
            return content

        self.filesystem.cat_file = overtaken
        try:
            return super().swap(path, payload, expected)
        finally:
            self.filesystem.cat_file = cat_file


def test_swap_on_s3_compares_on_the_server(bucket: str) -> None:
    storage = _Overtaken(f"{bucket}/swap")
    assert not storage.swap("CURRENT", b"new\n", expected=b"old\n")
    storage.put("CURRENT", b"old\n")
    assert not storage.swap("CURRENT", b"new\n", expected=b"other\n")
    storage.put("CURRENT", b"old\n")
    storage.is_overtaken = False
    assert not storage.swap("CURRENT", b"new\n", expected=b"old\n")
    assert storage.read("CURRENT") == b"faster\n"
    assert storage.swap("CURRENT", b"new\n", expected=b"faster\n")
    assert storage.read("CURRENT") == b"new\n"
