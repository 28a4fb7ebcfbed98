"""Random kills of drivers between two storage operations, of workers, actors and nodes: every store comes out equal.

``NEURONMILL_CHAOS_SEED`` repeats a siege; the seed is in the message of a failure.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections import Counter

import pytest
from final_state import final_state
from siege import DRIVER_KINDS, PROCESS_KINDS, RAY_KINDS, Life, Siege
from tiny_run import make_inputs

SECTIONS = {"dump": {"rows_per_shard": 120, "token_budget": 128}, "corpus": {"on_error": "skip"}}
#: A sentence that cannot be read, which the run sets aside.
BROKEN = "# sent_id = broken\n1\tcaf\tnothing more\n\n"


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Corpus and model; the corpus has a sentence that is set aside."""
    made = make_inputs(tmp_path_factory.mktemp("inputs"))
    with made.train.open("a", encoding="utf-8") as file:
        file.write(BROKEN)
    return made


@pytest.fixture(scope="session")
def undisturbed(inputs, tmp_path_factory):
    """Final state of a store that nobody killed, and the number of its kill points."""
    life = Life(inputs, tmp_path_factory.mktemp("undisturbed") / "life", **SECTIONS)
    life.drive()
    return final_state(str(life.store)), int((life.drive.notes.folder / "n-points").read_text())


def siege(inputs, undisturbed, folder, plan: Counter[str]) -> list[str]:
    """Lay a siege with the seed of the environment or a fresh one; returns the tally's lines."""
    seed = int(os.environ.get("NEURONMILL_CHAOS_SEED") or secrets.randbits(32))
    state, n_points = undisturbed
    laid = Siege(inputs, folder, state, seed, **SECTIONS)
    try:
        tally = laid.lay(plan, reach=n_points // 12)
    except BaseException as error:
        error.add_note(f"repeat with NEURONMILL_CHAOS_SEED={seed}; so far: {laid.tally.lines()}")
        raise
    finally:
        laid.close()
    assert tally.kills == plan
    return [f"seed {seed}", *tally.lines()]


def test_the_undisturbed_store_has_something_of_everything(undisturbed):
    state, n_points = undisturbed
    assert n_points > 2000
    assert len(state["told"]["shards"]) > 20
    assert {"quarantine", "contexts", "rankings", "activations"} <= set(state["manifest"])
    assert state["staging"] == ["locks"]
    assert state["problems"] == []
    assert state["snapshots"] == 1
    assert state["neither committed nor a record"] == []
    assert state["published"]["rankings"]


@pytest.mark.timeout(900)
def test_five_kills(inputs, undisturbed, tmp_path, capsys):
    """Of every family; the kinds that are not here are in the two hundred."""
    plan = Counter({DRIVER_KINDS[0]: 2, DRIVER_KINDS[1]: 1, PROCESS_KINDS[1]: 1, RAY_KINDS[0]: 1})
    assert plan.total() == 5
    lines = siege(inputs, undisturbed, tmp_path, plan)
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills(inputs, undisturbed, tmp_path, capsys):
    plan = Counter(dict.fromkeys(PROCESS_KINDS, 8) | dict.fromkeys(RAY_KINDS, 6) | {DRIVER_KINDS[1]: 30})
    plan[DRIVER_KINDS[0]] = 200 - plan.total()
    lines = siege(inputs, undisturbed, tmp_path, plan)
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
