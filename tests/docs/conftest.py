"""A small finished and published store, for the commands and queries that the documentation shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS / "extract"), str(_TESTS / "run")]  # the tiny model and the tiny run serve here too

from tiny_run import make_inputs, run_stages  # noqa: E402

from pipeline.store.publish import publish  # noqa: E402
from pipeline.store.store import Store  # noqa: E402


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A published store of a tiny model; read-only for tests."""
    folder = tmp_path_factory.mktemp("documented")
    finished = run_stages(make_inputs(folder / "inputs").config(folder / "store"))
    publish(finished.store)
    return finished.store
