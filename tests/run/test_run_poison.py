"""A shard that always fails: tried to its cap, named with the first traceback, the others finished; then it resumes."""

from __future__ import annotations

import pytest
from poison import PoisonedExecutor
from tiny_run import Silent, checksums, compute_statistics, contexts, dump, plan_only, search

from pipeline.run.dump_files import dump_stage
from pipeline.run.failures import failures
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.ray_executor import RayExecutor
from schemas.errors import IncompleteError

POISON = "shard-00001"


# workers that die on Ray: test_run_executors
@pytest.fixture(params=["local(1)", "local(2)", pytest.param("ray(2)", marks=pytest.mark.slow)])
def place(request):
    """Name and executor."""
    if request.param == "ray(2)":
        request.getfixturevalue("ray_cluster")
        return request.param, RayExecutor(2, max_attempts=3)
    return request.param, LocalExecutor(int(request.param[-2]), max_attempts=3)


@pytest.mark.parametrize("deed", ["exit", pytest.param("raise", marks=pytest.mark.slow)])  # raise: test_run_executors
def test_a_shard_that_always_fails(place, deed, inputs, finished, tmp_path):
    name, executor = place
    if (name, deed) == ("local(1)", "exit"):
        pytest.skip("an embedded worker is the driver itself: its death is a kill of the driver")
    found = plan_only(inputs.config(tmp_path / "store"))
    attempts = tmp_path / "attempts"
    attempts.mkdir()
    with pytest.raises(IncompleteError, match=rf"1 of {len(found.plan.shards)} tasks failed \({POISON}\)") as error:
        dump(found.plan, found.store, PoisonedExecutor(executor, POISON, deed, attempts), Silent())
    message = str(error.value)
    assert error.value.exit_code == 1
    n_attempts = 3 if deed == "exit" else 1  # an exception would be raised again
    assert sorted(path.name for path in attempts.glob(f"{POISON}-*")) == [
        f"{POISON}-{n}" for n in range(1, n_attempts + 1)
    ]
    assert f"first failure, {POISON}: " in message
    if deed == "exit":
        assert "died 3 times" in message
    else:
        assert "RuntimeError: the forward pass has its limits" in message
        assert "Traceback (most recent call last)" in message
        assert "poison.py" in message
    assert "start the same command again" in message
    done = set(found.store.receipts(dump_stage(found.plan)))
    assert done == {shard.key for shard in found.plan.shards} - {POISON}
    assert [(failure.key, failure.attempts) for failure in failures(found.store)] == [(POISON, n_attempts)]
    for stage in (dump, compute_statistics, search, contexts):
        stage(found.plan, found.store, LocalExecutor(), Silent())
    assert failures(found.store) == []
    assert checksums(tmp_path / "store") == checksums(finished.store.url)
