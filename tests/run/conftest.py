"""Fixtures of the tests of whole runs; the costly ones are shared by the session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "extract"))  # its tiny models serve here too

from tiny_run import Finished, Inputs, make_inputs, run_stages


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Corpus and model, never changed by a test."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def finished(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The reference: a float16 token store of one embedded worker, read-only for tests."""
    return run_stages(inputs.config(tmp_path_factory.mktemp("reference") / "store"))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray for the session; the executor joins it instead of starting its own."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))  # actors unpickle jobs of tests
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=300 * 2**20,
            log_to_driver=False,
            logging_level="ERROR",
        )
        yield
        ray.shutdown()
