"""The same bytes from every executor and through any number of kills: the promise that receipts and plans exist for."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest
from tiny_run import DATA_FOLDERS, checksums, run_stages, start_command

from pipeline.run.dump_files import dump_stage
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.ray_executor import RayExecutor
from pipeline.store.receipts import Receipt
from pipeline.store.store import Store
from pipeline.store.verify import verify


class WorkerKiller(threading.Thread):
    """Kills a process below this one with ``sign`` in its command line: the first new one after labelling.

    Those that were there before have labelled; the next ones dump.
    """

    def __init__(self, store: Path, sign: str, delay: float) -> None:
        super().__init__(daemon=True)
        self.store, self.sign, self.delay = store, sign, delay
        self.killed: int | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        before: set[int] = set()
        while not self._is_labelled():
            found = {process.pid for process in self._workers()}
            before |= set() if self._is_labelled() else found
            time.sleep(0.02)
        while not self.ended.wait(0.02) and self.killed is None:
            for process in [process for process in self._workers() if process.pid not in before][:1]:
                time.sleep(self.delay)
                process.kill()
                self.killed = process.pid

    def _is_labelled(self) -> bool:
        return any(self.store.glob("concepts/rows=*/*.parquet"))

    def _workers(self) -> list[psutil.Process]:
        found = []
        for child in psutil.Process().children(recursive=True):
            try:
                if self.sign in " ".join(child.cmdline()):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found


@pytest.mark.slow  # test_run_poison kills local processes and compares, too
def test_two_local_processes_one_of_them_killed(inputs, finished, tmp_path):
    store = tmp_path / "store"
    killer = WorkerKiller(store, "spawn_main", delay=0.3)
    killer.start()
    found = run_stages(inputs.config(store), LocalExecutor(2))
    killer.ended.set()
    killer.join()
    assert killer.killed is not None
    assert highest_attempt(found) == 2
    assert (found.plan.run_id, found.plan.shards) == (finished.plan.run_id, finished.plan.shards)
    assert checksums(store) == checksums(finished.store.url)


def test_two_ray_actors_one_of_them_killed(inputs, finished, tmp_path, ray_cluster):
    store = tmp_path / "store"
    killer = WorkerKiller(store, "ray::_Actor", delay=0.1)
    killer.start()
    found = run_stages(inputs.config(store), RayExecutor(2))
    killer.ended.set()
    killer.join()
    assert killer.killed is not None
    assert highest_attempt(found) == 2
    assert (found.plan.run_id, found.plan.shards) == (finished.plan.run_id, finished.plan.shards)
    assert checksums(store) == checksums(finished.store.url)


def highest_attempt(found) -> int:
    return max(receipt.facts["attempt"] for receipt in found.store.receipts(dump_stage(found.plan)).values())


def all_receipts(store: Path) -> dict[str, Receipt]:
    """Every receipt there is, whatever its stage."""
    return {
        str(path): Receipt.from_json(path.read_bytes(), str(path)) for path in sorted(store.glob("receipts/**/*.json"))
    }


def test_a_run_that_is_killed_and_interrupted(inputs, finished, tmp_path):
    """SIGKILL twice and Ctrl-C, each a random while after a stage's first receipt; started again at once."""
    store = tmp_path / "store"
    config = str(inputs.config_file(tmp_path / "run.yaml", store))
    rng = random.Random(11)
    known: dict[str, Receipt] = {}
    for stage, workers, blow in (
        ("receipts/corpus", "1", signal.SIGKILL),
        ("receipts/dump-*", "2", signal.SIGKILL),
        ("receipts/search-*", "1", signal.SIGINT),
    ):
        process, log = start_command("run", config, "--workers", workers, log=tmp_path / "log")
        assert wait_for(store, stage, process), log.read_text()
        time.sleep(rng.uniform(0, 0.1))
        os.kill(process.pid, blow)
        code = process.wait(timeout=60)
        assert code == (1 if blow == signal.SIGINT else -signal.SIGKILL), log.read_text()
        kept = all_receipts(store)
        assert known.items() <= kept.items()  # finished work is never redone
        assert all((store / file.path).is_file() for receipt in kept.values() for file in receipt.files)
        known = kept
    assert "start the same command again to resume" in log.read_text()
    assert "Traceback" not in log.read_text()
    process, log = start_command("run", config, log=tmp_path / "log")
    assert process.wait(timeout=120) == 0, log.read_text()
    assert "already done" in log.read_text()
    assert known.items() <= all_receipts(store).items()
    assert checksums(store) == checksums(finished.store.url)
    assert verify(Store.open(str(store))) == []
    assert [path.name for path in (store / "staging").iterdir()] == ["locks"]


def wait_for(store: Path, pattern: str, process) -> bool:
    """Wait until a first receipt of a stage shows up; False if the process ended before."""
    while process.poll() is None:
        if any(store.glob(f"{pattern}/*.json")):
            return True
        time.sleep(0.01)
    return False


def test_the_reference_has_all_tables(finished):
    found = checksums(finished.store.url)
    only_when_asked = {"top_words", "factors", "factor_neurons", "factor_rows"}
    assert {path.split("/")[0] for path in found} == set(DATA_FOLDERS) - only_when_asked
    assert len([path for path in found if path.startswith("activations/")]) == 5 * len(finished.plan.shards)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_kills_at_any_moment(inputs, finished, tmp_path, seed):
    """No stage is waited for: the moment is anywhere between start and end."""
    store = tmp_path / "store"
    config = str(inputs.config_file(tmp_path / "run.yaml", store))
    rng = random.Random(seed)
    for _ in range(6):
        process, _ = start_command("run", config, "--workers", rng.choice(["1", "2"]), log=tmp_path / "log")
        try:
            process.wait(timeout=rng.uniform(1, 20))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    process, log = start_command("run", config, log=tmp_path / "log")
    assert process.wait() == 0, log.read_text()
    assert checksums(store) == checksums(finished.store.url)
    assert verify(Store.open(str(store))) == []


@pytest.mark.slow
def test_two_undisturbed_workers(inputs, finished, tmp_path, ray_cluster):
    for name, executor in (("local", LocalExecutor(2)), ("ray", RayExecutor(2))):
        run_stages(inputs.config(tmp_path / name), executor)
        assert checksums(tmp_path / name) == checksums(finished.store.url)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "ray"])
def test_ctrl_c_at_a_terminal_reaches_all_processes_and_leaves_none(inputs, finished, tmp_path, kind):
    store = tmp_path / "store"
    config = str(inputs.config_file(tmp_path / "run.yaml", store))
    arguments = ("run", config, "--executor", kind, "--workers", "2")
    process, log = start_command(*arguments, log=tmp_path / "log")
    assert wait_for(store, "receipts/dump-*", process), log.read_text()
    below = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 1, log.read_text()
    assert "start the same command again to resume" in log.read_text()
    _, alive = psutil.wait_procs(below, timeout=20)
    assert not alive
    process, log = start_command(*arguments, log=tmp_path / "log")
    assert process.wait(timeout=200) == 0, log.read_text()
    assert checksums(store) == checksums(finished.store.url)
