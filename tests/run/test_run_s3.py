"""A whole run on S3: the local one's bytes through lost requests, an outage, kills and a second driver.

Every property has a fast test on a small run (one layer of three small shards); the slow ones take the usual tiny run
with all its stages, and take minutes because each command of it starts a process and makes hundreds of requests.
"""

from __future__ import annotations

import io
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
from tiny_run import DATA_FOLDERS, Finished, Inputs, plan_only, run_stages, start_command, write_corpus

sys.path.append(str(Path(__file__).resolve().parents[1] / "store"))  # its server and proxy serve here too
sys.path.append(str(Path(__file__).resolve().parents[1] / "jobs"))  # and the command line

from command import neuronmill
from fault_proxy import FAULTS, FaultProxy
from s3_server import BUCKET, running_server, talking_to

from pipeline.run.dump import dump, dump_stage
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.progress import Silent
from pipeline.store.publish import current_snapshot, publish
from pipeline.store.retries import PATIENCE
from pipeline.store.sql import run_user_sql
from pipeline.store.store import Store
from pipeline.store.verify import verify
from schemas.errors import IncompleteError, StoreError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
#: Dump of a small run.
SMALL = {"components": ["mlp"], "layers": [1], "rows_per_shard": 250}
#: Tables that planning and the dump write.
_DUMPED = ("activations", "words", "rows", "tokens", "labels", "sentences", "documents", "concepts")
_CONTENT = re.compile(r"\.[0-9a-f]{12}(?=\.[^.]+$)")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_server() as url:
        yield url


@pytest.fixture
def proxy(server: str) -> Iterator[FaultProxy]:
    found = FaultProxy(server)
    with talking_to(found.url, attempts=1):
        yield found
    found.stop()


@pytest.fixture(scope="module")
def small(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A fourth of the usual corpus."""
    train, test = write_corpus(tmp_path_factory.mktemp("small") / "corpus", n_train=10, n_test=5)
    return Inputs(train, test, inputs.model)


@pytest.fixture(scope="module")
def small_finished(small: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """All stages of the small run on a local disk."""
    found = run_stages(small.config(tmp_path_factory.mktemp("small-reference") / "store", dump=SMALL))
    assert len(found.plan.shards) > 2
    return found


def contents(store: Store, tables: Collection[str] = DATA_FOLDERS) -> dict[str, str]:
    """SHA-256 of every data file of the tables in the manifest, by its name without the content's hash."""
    manifest = store.manifest()
    return {
        _CONTENT.sub("", entry.path): entry.sha256
        for table in manifest.tables
        if table in tables
        for entry in manifest.files(table)
    }


def counts(store: Store) -> str:
    sink = io.BytesIO()
    query = "SELECT concept, method, count(*) AS n, max(score) AS best FROM rankings GROUP BY ALL ORDER BY ALL"
    run_user_sql(store, query, sink, output_format="csv")
    return sink.getvalue().decode()


@pytest.mark.parametrize("size", ["small", pytest.param("tiny", marks=pytest.mark.slow)])
def test_a_run_through_faults_is_the_local_run(
    size: str, request: pytest.FixtureRequest, proxy: FaultProxy, inputs: Inputs, small: Inputs
) -> None:
    """A tenth of all requests is dropped, torn, late, or answered with 500 or 503."""
    expected: Finished = request.getfixturevalue("finished" if size == "tiny" else "small_finished")
    url, proxy.rate = f"s3://{BUCKET}/faults-{size}", 0.1
    config = inputs.config(url) if size == "tiny" else small.config(url, dump=SMALL)
    found = run_stages(config).store
    snapshot = publish(found)
    assert current_snapshot(found) == snapshot
    assert verify(found) == []
    assert contents(found) == contents(expected.store)
    assert counts(found) == counts(expected.store)
    assert sum(proxy.counts[fault] > 0 for fault in FAULTS) >= (len(FAULTS) if size == "tiny" else 4), proxy.counts
    assert sum(proxy.counts[fault] for fault in FAULTS) > 0.05 * len(proxy.requests)


def receipt_number(number: int) -> Callable[[str, str], bool]:
    """Whether a request is the ``number``-th that writes a receipt of the dump."""
    seen: set[str] = set()

    def is_it(method: str, path: str) -> bool:
        if method == "PUT" and "/receipts/dump-" in path:
            seen.add(path)
        return len(seen) == number

    return is_it


def test_a_server_that_goes_away_in_the_middle_of_a_dump(
    small: Inputs, small_finished: Finished, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{BUCKET}/outage"
    planned = plan_only(small.config(url, dump=SMALL))
    monkeypatch.setenv(PATIENCE, "1")
    proxy.cut_at = receipt_number(2)
    with pytest.raises((StoreError, IncompleteError), match=r"s3://mill/outage.*tried for 1 s.*same command again"):
        dump(planned.plan, planned.store, LocalExecutor(), Silent())
    proxy.cut_at = lambda method, path: False
    proxy.is_cut = False
    reader = Store.open(url)
    assert list(reader.receipts(dump_stage(planned.plan))) == [planned.plan.shards[0].key]
    assert verify(reader) == []
    assert reader.files("activations") == []
    monkeypatch.delenv(PATIENCE)
    dump(planned.plan, reader, LocalExecutor(), Silent())
    assert contents(reader) == contents(small_finished.store, _DUMPED)
    assert verify(reader) == []


@pytest.mark.parametrize("place", [pytest.param("local", marks=pytest.mark.slow), "s3"])
def test_two_drivers_one_refuses_one_is_killed_the_next_resumes(
    small: Inputs, small_finished: Finished, proxy: FaultProxy, tmp_path: Path, place: str
) -> None:
    url = f"s3://{BUCKET}/drivers" if place == "s3" else str(tmp_path / "store")
    page = {"report": {"path": str(tmp_path / "page.html")}}
    config = str(small.config_file(tmp_path / "run.yaml", url, dump=SMALL, **page))
    first, _ = start_command("run", config, log=tmp_path / "log")
    store = wait_for_dump(url, first)
    first.send_signal(signal.SIGSTOP)  # it holds its lease, and is in the middle of its work when it is killed
    refused = neuronmill("dump", config)
    assert refused.code == 1
    for part in ("`neuronmill run`", f"process {first.pid} on", "'run-tiny'", "--wait", url):
        assert part in refused.error
    assert neuronmill("stats", config, "--wait", "0.5").code == 1
    first.kill()
    first.wait()
    finished_by_then = dump_receipts(store)
    resumed = neuronmill("dump", config)
    assert resumed.code == 0, resumed.err
    assert finished_by_then.items() <= dump_receipts(store).items()
    assert contents(store, _DUMPED) == contents(small_finished.store, _DUMPED)
    assert verify(store) == []
    assert store.storage.list("leases") == []


def dump_receipts(store: Store) -> dict[str, bytes]:
    return {path: store.storage.read(path) for path in store.storage.list("receipts") if "/dump-" in path}


@pytest.mark.slow
def test_a_second_driver_waits(inputs: Inputs, finished: Finished, tmp_path: Path) -> None:
    config = str(inputs.config_file(tmp_path / "run.yaml", tmp_path / "store"))
    first, _ = start_command("run", config, log=tmp_path / "first")
    store = wait_for_dump(str(tmp_path / "store"), first)
    first.send_signal(signal.SIGSTOP)
    second, log = start_command("run", config, "--wait", log=tmp_path / "second")
    deadline = time.monotonic() + 50
    while "waiting for `neuronmill run`" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=200) == 0
    assert second.wait(timeout=200) == 0, log.read_text()
    assert "waiting for `neuronmill run`" in log.read_text()
    assert contents(store) == contents(finished.store)


def wait_for_dump(url: str, process: object) -> Store:
    """The store, once the process has dumped a shard."""
    while True:
        assert process.poll() is None, "ended before the first shard"
        try:
            store = Store.open(url)
        except StoreError:
            time.sleep(0.1)
            continue
        if any("dump-" in path for path in store.storage.list("receipts")):
            return store
        time.sleep(0.02)


@pytest.mark.parametrize("place", ["local", pytest.param("s3", marks=pytest.mark.slow)])
def test_two_drivers_that_know_of_no_leases_make_one_store(
    small: Inputs, small_finished: Finished, proxy: FaultProxy, tmp_path: Path, place: str
) -> None:
    config = small.config(f"s3://{BUCKET}/rivals" if place == "s3" else tmp_path / "store", dump=SMALL)
    errors: list[BaseException] = []

    def drive() -> None:
        try:
            run_stages(config)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=drive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    store = Store.open(config.store)
    assert contents(store) == contents(small_finished.store)
    assert verify(store) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kills_and_faults_at_any_moment(
    inputs: Inputs, finished: Finished, proxy: FaultProxy, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    proxy.rate = 0.1
    url = f"s3://{BUCKET}/kills-{seed}"
    page = {"report": {"path": str(tmp_path / "page.html")}}
    config = str(inputs.config_file(tmp_path / "run.yaml", url, **page))
    for _ in range(5):
        process, _ = start_command("run", config, "--workers", rng.choice(["1", "2"]), log=tmp_path / "log")
        try:
            process.wait(timeout=rng.uniform(5, 30))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    process, log = start_command("run", config, log=tmp_path / "log")
    assert process.wait() == 0, log.read_text()
    store = Store.open(url)
    assert contents(store) == contents(finished.store)
    assert verify(store) == []


@pytest.mark.slow
def test_the_clients_own_attempts_and_faults(inputs: Inputs, finished: Finished, server: str) -> None:
    """As a user has it: the client sends a request three times before the store begins again."""
    proxy = FaultProxy(server, rate=0.1, seed=1)
    with talking_to(proxy.url):
        found = run_stages(inputs.config(f"s3://{BUCKET}/attempts")).store
        assert contents(found) == contents(finished.store)
    proxy.stop()
