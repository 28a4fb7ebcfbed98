"""Executors: one outcome per task; dead workers are replaced, errors are final; nothing ends normally incomplete."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from executor_jobs import Number, NumberJob

from pipeline.run.failures import FailureLog, failures
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.ray_executor import RayExecutor
from pipeline.run.task_queue import TaskQueue
from pipeline.run.work import Outcome, run_tasks
from pipeline.store.store import Store
from schemas.errors import ActivationError, ConfigError, IncompleteError, ModelError, StoreLocationError


@pytest.fixture(params=["local(2)", "ray(2)"])
def executor(request):
    """Executors whose workers are processes of their own."""
    if request.param == "local(2)":
        return LocalExecutor(2, max_attempts=3)
    request.getfixturevalue("ray_cluster")
    return RayExecutor(2, max_attempts=3)


@pytest.fixture(params=["local(1)", "local(2)", "ray(1)", "ray(2)"])
def any_executor(request):
    """Every kind of executor, with one worker and with several."""
    kind, n_workers = request.param[:-3], int(request.param[-2])
    if kind == "local":
        return LocalExecutor(n_workers)
    request.getfixturevalue("ray_cluster")
    return RayExecutor(n_workers)


@pytest.fixture
def log(tmp_path_factory):
    """Where failures of the stage `add` are recorded."""
    return FailureLog(Store.create(str(tmp_path_factory.mktemp("store"))), "add")


def outcomes(executor, job, tasks):
    found = []
    executor.run(job, tasks, found.append)
    assert sorted(outcome.key for outcome in found) == sorted(task.key for task in tasks)
    return {outcome.key: outcome for outcome in found}


def attempts(folder, key):
    return sorted(path.name for path in folder.glob(f"{key}-*"))


def test_a_worker_that_always_dies_is_tried_three_times_and_named_while_the_others_complete(executor, tmp_path, log):
    tasks = [Number(0), Number(1, "die"), *map(Number, range(2, 6)), Number(6, "die_once")]
    succeeded = []
    with pytest.raises(IncompleteError, match=r"1 of 7 tasks failed \(number-001\)") as error:
        run_tasks("add", log, executor, NumberJob(tmp_path), tasks, succeeded.append)
    assert "died 3 times" in str(error.value)
    assert "start the same command again" in str(error.value)
    assert error.value.exit_code == 1
    assert attempts(tmp_path, "number-001") == ["number-001-1", "number-001-2", "number-001-3"]
    assert {o.key: o.facts["sum"] for o in succeeded} == {f"number-{n:03d}": n + 1 for n in (0, 2, 3, 4, 5, 6)}
    assert {o.key: o.facts["attempt"] for o in succeeded}["number-006"] == 2
    assert os.getpid() not in {o.facts["process"] for o in succeeded}


def test_an_error_of_a_task_is_not_tried_again_and_shown_with_the_first_traceback(executor, tmp_path, log):
    tasks = [Number(0), Number(3, "raise"), Number(1, "raise"), Number(2)]
    succeeded = []
    with pytest.raises(IncompleteError, match=r"2 of 4 tasks failed \(number-001, number-003\)") as error:
        run_tasks("add", log, executor, NumberJob(tmp_path), tasks, succeeded.append)
    message = str(error.value)
    assert "first failure, number-001: ValueError: 1 is odd today" in message
    assert "Traceback (most recent call last)" in message
    assert "executor_jobs.py" in message
    assert attempts(tmp_path, "number-001") == ["number-001-1"]
    assert sorted(o.key for o in succeeded) == ["number-000", "number-002"]


@pytest.mark.parametrize(
    ("unopened", "raised", "said"),
    [
        (ModelError("no model here; give one"), ModelError, r"^no model here; give one$"),
        (StoreLocationError("no store here"), StoreLocationError, r"^no store here$"),
        (ActivationError("NaN"), ActivationError, r"^NaN$"),
        (RuntimeError("no luck"), IncompleteError, r"a worker cannot be opened: RuntimeError: no luck(.|\n)*Traceback"),
    ],
)
def test_a_worker_that_cannot_be_opened_ends_the_stage_with_its_error(
    any_executor, unopened, raised, said, tmp_path, log
):
    tasks = [Number(n) for n in range(8)]
    with pytest.raises(raised, match=said) as error:
        run_tasks("add", log, any_executor, NumberJob(tmp_path, unopened), tasks, pytest.fail)
    assert type(error.value) is raised
    assert error.value.exit_code == raised.exit_code
    assert 1 <= len(list(tmp_path.glob("open-*"))) <= any_executor.workers, "tried again for further tasks"
    assert not list(tmp_path.glob("number-*"))


def test_a_worker_that_is_at_work_finishes_its_task_when_another_cannot_be_opened(executor, tmp_path, log):
    job, succeeded = NumberJob(tmp_path, ModelError("no memory for a second one"), first_opens=True), []
    with pytest.raises(ModelError, match="no memory for a second one"):
        run_tasks("add", log, executor, job, [Number(n) for n in range(8)], succeeded.append)
    assert len(succeeded) == 1
    assert len(list(tmp_path.glob("number-*"))) == 1
    assert len(list(tmp_path.glob("open-*"))) == 1


def test_a_death_after_a_failed_opening_is_not_tried_again():
    found = []
    queue = TaskQueue([Number(0), Number(1), Number(2)], 3, found.append)
    first, second = queue.take(), queue.take()
    queue.finish(Outcome(first[0].key, error="no", opening=ModelError("no")))
    queue.died(*second, "actor", "today")
    assert len(queue) == 0
    assert [outcome.error for outcome in found] == ["no", "its actor died 1 times, last today"]


def test_a_single_local_worker_is_this_process(tmp_path):
    found = outcomes(LocalExecutor(1), NumberJob(tmp_path), [Number(0), Number(1, "raise"), Number(2)])
    assert found["number-000"].facts == {"sum": 1, "attempt": 1, "process": os.getpid()}
    assert found["number-001"].error == "ValueError: 1 is odd today"
    assert found["number-002"].facts["sum"] == 3


def test_more_workers_than_tasks_and_no_tasks_at_all(tmp_path, log):
    assert len(outcomes(LocalExecutor(4), NumberJob(tmp_path), [Number(0), Number(1)])) == 2
    run_tasks("add", log, LocalExecutor(4), NumberJob(tmp_path), [], lambda outcome: pytest.fail("there is no task"))


def test_more_failures_than_a_message_holds(tmp_path, log):
    tasks = [Number(n, "raise") for n in range(12)]
    with pytest.raises(IncompleteError, match=r"12 of 12 tasks failed \(number-000, .*number-009 …\)"):
        run_tasks("add", log, LocalExecutor(1), NumberJob(tmp_path), tasks, lambda outcome: None)


def test_ray_refuses_gpus_that_no_node_has(ray_cluster, tmp_path):
    with pytest.raises(ConfigError, match=r"executor\.gpus_per_worker: an actor asks for 64 GPUs"):
        RayExecutor(1, gpus_per_worker=64).run(NumberJob(tmp_path), [Number(0)], print)
    assert not list(tmp_path.iterdir())


def test_a_task_is_computed_while_the_one_before_is_written_and_never_a_third(any_executor, tmp_path):
    tasks = [Number(n, "write") for n in range(6)]
    found = outcomes(any_executor, NumberJob(tmp_path), tasks)
    assert {outcome.facts["sum"] for outcome in found.values()} == {1, 2, 3, 4, 5, 6}
    by_process = {}
    for outcome in found.values():
        by_process.setdefault(outcome.facts["process"], []).append(outcome.facts)
    overlaps = 0
    for facts in by_process.values():
        facts.sort(key=lambda fact: fact["began"])
        overlaps += sum(after["began"] < before["written"] for before, after in pairwise(facts))
        assert all(third["began"] >= first["written"] for first, third in zip(facts, facts[2:], strict=False))
        assert len({fact["thread"] for fact in facts}) == 1, "torch's compute threads belong to one thread"
    assert overlaps >= 6 - 2 * len(by_process)


def test_an_error_while_writing_is_the_error_of_its_task(any_executor, tmp_path):
    tasks = [Number(0, "write"), Number(1, "write_badly"), Number(2, "write")]
    found = outcomes(any_executor, NumberJob(tmp_path), tasks)
    assert found["number-001"].error == "OSError: the disk is full today"
    assert "executor_jobs.py" in found["number-001"].trace
    assert found["number-002"].facts["sum"] == 3


def test_a_deadly_task_takes_no_other_one_with_it(executor, tmp_path):
    tasks = [Number(n, "write_and_die" if n == 2 else "write") for n in range(5)]
    found = outcomes(executor, NumberJob(tmp_path), tasks)
    assert {key for key, outcome in found.items() if outcome.error} == {"number-002"}
    assert found["number-002"].attempts == 3
    assert max(outcome.attempts for outcome in found.values() if outcome.error is None) <= 2


def test_failures_are_recorded_until_the_task_succeeds(log, tmp_path):
    store = log._store
    with pytest.raises(IncompleteError):
        run_tasks("add", log, LocalExecutor(1), NumberJob(tmp_path), [Number(0, "raise"), Number(1)], lambda _: None)
    (failure,) = failures(store)
    assert (failure.stage, failure.key, failure.attempts) == ("add", "number-000", 1)
    assert failure.error == "ValueError: 0 is odd today"
    assert "executor_jobs.py" in failure.trace
    assert failure.at.endswith("+00:00")
    run_tasks("add", FailureLog(store, "add"), LocalExecutor(1), NumberJob(tmp_path), [Number(0)], lambda _: None)
    assert failures(store) == []


def test_a_cluster_that_runs_here_is_left_alone(tmp_path):
    """Ray itself would join the one that the machine's settings name, and fail."""
    lines = [
        "from pipeline.run.ray_executor import RayExecutor",
        "from executor_jobs import Number, NumberJob",
        "from pathlib import Path",
        f"RayExecutor(1).run(NumberJob(Path({str(tmp_path)!r})), [Number(7)], lambda outcome: print(outcome.key))",
    ]
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)])
    started = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    assert started.stdout.strip().endswith(Number(7).key)
