"""A small finished and published store, for the commands and queries that the documentation shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS / "extract"), str(_TESTS / "run")]  # the tiny model and the tiny run serve here too

from tiny_run import make_inputs, run_stages  # noqa: E402

from pipeline.run.factors import factors  # noqa: E402
from pipeline.run.local_executor import LocalExecutor  # noqa: E402
from pipeline.run.model_correlation import correlate  # noqa: E402
from pipeline.run.neuron_clusters import cluster  # noqa: E402
from pipeline.run.neuron_explanations import explain  # noqa: E402
from pipeline.run.progress import Silent  # noqa: E402
from pipeline.store.publish import publish  # noqa: E402
from pipeline.store.store import Store  # noqa: E402
from schemas.correlate_config import CorrelateConfig  # noqa: E402

#: Concepts of the demo that the recipes name, of other words here.
_CONCEPTS = [
    {"layer": "upos"},
    {"name": "upos=AUX", "regex": "[a-d].*"},
    {"name": "long noun", "sql": "upos = 'NOUN' AND length(word) >= 5"},
]


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A published store of a tiny model; read-only for tests."""
    folder = tmp_path_factory.mktemp("documented")
    config = make_inputs(folder / "inputs").config(folder / "store", concepts={"include": _CONCEPTS})
    finished = run_stages(config)
    for stage in (explain, factors, cluster):
        stage(finished.plan, finished.store, LocalExecutor(), Silent())
    section = CorrelateConfig.model_validate({"with": ["tiny"], "columns": ["length"], "layers": [1, 2]})
    with_section = finished.plan.with_config(finished.plan.config.model_copy(update={"correlate": section}))
    correlate(with_section, finished.store, LocalExecutor(), Silent())
    publish(finished.store)
    return finished.store
