"""What a remote store does when requests get lost, come late, are refused, or the server is gone."""

from __future__ import annotations

import io
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from fault_proxy import FAULTS, FaultProxy
from s3_server import BUCKET, running_server, s3_client, talking_to

from pipeline.store import Store
from pipeline.store.owners import owned_name
from pipeline.store.publish import publish
from pipeline.store.remote_storage import RemoteStorage
from pipeline.store.retries import PATIENCE, client_options, patience
from pipeline.store.sql import run_user_sql
from pipeline.store.staging import Staging, sweep_staging
from pipeline.store.verify import verify
from schemas.errors import ConfigError, IntegrityError, StoreError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
ROOT = f"s3://{BUCKET}/store"
PART_BYTES = 5 << 20  # S3's least


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_server() as url:
        yield url


@pytest.fixture
def proxy(server: str) -> Iterator[FaultProxy]:
    found = FaultProxy(server)
    with talking_to(found.url):
        yield found
    found.stop()


@pytest.fixture
def patient_proxy(server: str) -> Iterator[FaultProxy]:
    """A proxy whose faults are all left to the store: the client sends a request once."""
    found = FaultProxy(server)
    with talking_to(found.url, attempts=1):
        yield found
    found.stop()


@pytest.fixture
def storage(proxy: FaultProxy) -> RemoteStorage:
    return RemoteStorage(f"{ROOT}/{uuid.uuid4().hex}", part_bytes=PART_BYTES)


def test_a_lost_answer_of_a_create_is_no_refusal(proxy: FaultProxy, storage: RemoteStorage) -> None:
    for number, fault in enumerate(("after", "torn")):
        proxy.next_faults([fault])
        assert storage.put_new(f"receipts/{number}", b"ours")
        assert not storage.put_new(f"receipts/{number}", b"theirs")


def test_a_lost_answer_of_a_create_does_not_hide_another_writer(proxy: FaultProxy, storage: RemoteStorage) -> None:
    storage.put_new("receipts/a", b"theirs")
    proxy.next_faults(["after"])
    assert not storage.put_new("receipts/a", b"ours")
    assert storage.read("receipts/a") == b"theirs"


def test_a_lost_answer_of_a_swap_is_no_refusal(proxy: FaultProxy, storage: RemoteStorage) -> None:
    storage.put("CURRENT", b"old")
    for faults in ([None, None, "after"], [None, None, *["after"] * 3]):
        storage.put("CURRENT", b"old")
        # what it is, its content, then the write; three lost answers end the client's own attempts
        proxy.next_faults(faults)
        assert storage.swap("CURRENT", b"new", expected=b"old")
        assert storage.read("CURRENT") == b"new"
    assert proxy.counts["after"] == 4
    assert not storage.swap("CURRENT", b"newer", expected=b"old")


@pytest.mark.parametrize("fault", FAULTS)
def test_every_operation_survives_every_fault(fault: str, patient_proxy: FaultProxy, tmp_path: Path) -> None:
    proxy, storage = patient_proxy, RemoteStorage(f"{ROOT}/{uuid.uuid4().hex}")
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1000)
    operations: list[tuple[Callable[[], object], object]] = [
        (lambda: storage.put("a/b", b"content"), None),
        (lambda: storage.read("a/b"), b"content"),
        (lambda: storage.exists("a/b"), True),
        (lambda: storage.exists("a/c"), False),
        (lambda: storage.size("a/b"), 7),
        (lambda: storage.list("a"), ["a/b"]),
        (lambda: storage.age("a/b") < 10, True),
        (lambda: storage.open_binary("a/b").read(4), b"cont"),
        (lambda: storage.put_new("a/c", b"new"), True),
        (lambda: storage.swap("a/c", b"newer", expected=b"new"), True),
        (lambda: storage.adopt(file, "a/d"), None),
        (lambda: storage.delete("a/d"), None),
        (lambda: storage.list("a"), ["a/b", "a/c"]),
        (lambda: storage.abort_stale_uploads(0), 0),
    ]
    for number, (operation, expected) in enumerate(operations):
        proxy.next_faults([fault])
        assert operation() == expected, number
    assert proxy.counts[fault] >= len(operations)


def test_a_store_through_faults_is_the_local_one(
    patient_proxy: FaultProxy, fill_store: Callable[[Store], None], reading_store: Store
) -> None:
    proxy = patient_proxy
    proxy.rate = 0.1
    store = Store.create(f"{ROOT}/faults")
    fill_store(store)
    store = Store.open(f"{ROOT}/faults")
    assert verify(store) == []
    publish(store)
    found = {entry.sha256 for table in store.manifest().tables for entry in store.files(table)}
    wanted = reading_store.manifest()
    assert found == {entry.sha256 for table in wanted.tables for entry in wanted.files(table)}
    for entry in store.files("activations"):
        block = store.activation_reader().read_block(entry)
        assert block.shape == (entry.n_neurons, entry.n_rows)
    answers = []
    for asked in (store, reading_store):
        sink = io.BytesIO()
        query = "SELECT l.concept, avg(n0003) AS m FROM activations_mlp JOIN labels l USING (row_id) GROUP BY ALL"
        run_user_sql(asked, query, sink, output_format="csv")
        answers.append(sink.getvalue())
    assert answers[0] == answers[1]
    n_faults = sum(proxy.counts[fault] for fault in FAULTS)
    assert n_faults > 0.05 * len(proxy.requests)
    assert all(proxy.counts[fault] for fault in FAULTS), proxy.counts


def test_an_unreachable_server_is_one_error_in_bounded_time(
    proxy: FaultProxy, storage: RemoteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put("a", b"content")
    handle = storage.open_binary("a")
    monkeypatch.setenv(PATIENCE, "1")
    proxy.is_cut = True
    started = time.monotonic()
    operations: list[Callable[[], object]] = [lambda: storage.read("a"), lambda: storage.put_new("b", b"")]
    for operation in (*operations, lambda: storage.list("words")):
        with pytest.raises(StoreError, match=r"cannot (read|write|list) .*tried for 1 s; check the connection"):
            operation()
    with pytest.raises(OSError, match="cannot read a"):
        handle.read()
    assert time.monotonic() - started < 40
    proxy.is_cut = False
    assert storage.read("a") == b"content"
    assert not storage.exists("b")


def test_an_outage_shorter_than_the_patience_goes_unnoticed(proxy: FaultProxy, storage: RemoteStorage) -> None:
    storage.put("a", b"content")
    proxy.is_cut = True

    def mend() -> None:
        proxy.is_cut = False

    timer = threading.Timer(3, mend)
    timer.start()
    assert storage.read("a") == b"content"
    timer.join()


def test_a_server_that_refuses_connections_and_comes_back_goes_unnoticed(
    server: str, patient_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    root = f"{ROOT}/{uuid.uuid4().hex}"
    RemoteStorage(root).put("a", b"content")
    patient_proxy.stop()
    S3FileSystem.clear_instance_cache()  # and with it the connection, which is still served
    storage = RemoteStorage(root)
    with monkeypatch.context() as patch:
        patch.setenv(PATIENCE, "0.2")
        with pytest.raises(
            StoreError, match=r"cannot read a: Could not connect .*tried for 0.2 s; check the connection"
        ):
            storage.read("a")
    port = urlsplit(patient_proxy.url).port or 0
    started: list[FaultProxy] = []
    timer = threading.Timer(1, lambda: started.append(FaultProxy(server, port=port)))
    timer.start()
    assert storage.read("a") == b"content"
    timer.join()
    started[0].stop()


def test_what_does_not_pass_is_not_tried_again(proxy: FaultProxy) -> None:
    with pytest.raises(StoreError, match=r"cannot write a: .*check the URL and the credentials"):
        RemoteStorage("s3://no-such-bucket/store").put("a", b"")
    assert len(proxy.requests) == 1


def test_patience_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATIENCE, raising=False)
    assert patience() == 60
    monkeypatch.setenv(PATIENCE, "2.5")
    assert patience() == 2.5
    for wrong in ("soon", "-1", "inf", "nan"):
        monkeypatch.setenv(PATIENCE, wrong)
        with pytest.raises(ConfigError, match=f"{PATIENCE} must be .* it is '{wrong}'"):
            patience()


def test_what_fsspec_is_configured_with_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 300}})
    options = client_options("s3")["config_kwargs"]
    assert (options["read_timeout"], options["connect_timeout"]) == (300, 5)
    assert client_options("memory") == {}


def large_file(folder: Path) -> Path:
    """A file of three parts."""
    file = folder / "large"
    file.write_bytes(np.random.default_rng(0).bytes(2 * PART_BYTES + 100_000))
    return file


def uploads(url: str) -> list[str]:
    client = s3_client(url)
    found = client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    client.close()
    return [upload["Key"] for upload in found]


def test_a_large_file_goes_up_in_parts_through_faults(
    proxy: FaultProxy, storage: RemoteStorage, server: str, tmp_path: Path
) -> None:
    file = large_file(tmp_path)
    content = file.read_bytes()
    # the upload begins; a part is refused, one gets lost, one is lost with its answer; so is the end
    proxy.next_faults([None, "500", "before", "after", None, None, None, "after"])
    storage.adopt(file, "activations/large")
    assert sum(method == "PUT" and "partNumber" in path for method, path in proxy.requests) >= 6
    assert storage.read("activations/large") == content
    assert not file.exists()
    assert uploads(server) == []


def test_an_upload_that_fails_leaves_no_parts(
    proxy: FaultProxy, storage: RemoteStorage, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE, "0")
    file = large_file(tmp_path)
    proxy.next_faults([None, *["500"] * 9])  # every attempt of every part
    with pytest.raises(StoreError, match="cannot write activations/large"):
        storage.adopt(file, "activations/large")
    assert uploads(server) == []
    assert file.exists()
    assert not storage.exists("activations/large")


def test_uploads_of_killed_processes_are_aborted_below_the_store_only(
    storage: RemoteStorage, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client = s3_client(server)
    prefix = storage.base.removeprefix(f"{BUCKET}/")
    keys = [f"{prefix}/activations/a", f"{prefix}/activations/b", f"{prefix}-other/activations/a"]
    begun = {key: client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"] for key in keys}
    # this server says of all uploads that they began in 2010
    assert storage.abort_stale_uploads(100 * 365 * 86_400) == 0
    assert sweep_staging(storage) == 2
    assert uploads(server) == keys[2:]
    client.abort_multipart_upload(Bucket=BUCKET, Key=keys[2], UploadId=begun[keys[2]])
    client.close()


def test_staging_of_a_killed_process_is_swept(
    storage: RemoteStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine = Staging(storage)
    mine.path("words/a").write_bytes(b"")
    head, machine, _, token = owned_name("neuronmill-work").rsplit("-", 3)
    left = tmp_path / f"{head}-{machine}-{2**30}-{token}"
    left.mkdir()
    (left / "torn.parquet").write_bytes(b"x")
    assert sweep_staging(storage) == 1
    assert sorted(tmp_path.iterdir()) == [mine.folder]
    mine.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_a_cut_store_names_the_file(
    proxy: FaultProxy, fill_store: Callable[[Store], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(f"{ROOT}/cut")
    fill_store(store)
    entry = store.files("activations")[0]
    monkeypatch.setenv(PATIENCE, "0")
    proxy.cut_at = lambda method, path: "activations" in path
    with pytest.raises((StoreError, IntegrityError), match="activations/model=tiny"):
        store.activation_reader().read_block(entry)
