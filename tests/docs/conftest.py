"""A small finished and published store of two models, for the commands and queries that the documentation shows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS / "extract"), str(_TESTS / "run")]  # the tiny model and the tiny run serve here too

from tiny_models import save_model  # noqa: E402
from tiny_run import make_inputs, run_stages  # noqa: E402

from pipeline.run.factors import factors  # noqa: E402
from pipeline.run.local_executor import LocalExecutor  # noqa: E402
from pipeline.run.model_correlation import correlate  # noqa: E402
from pipeline.run.neuron_clusters import cluster, cluster_work  # noqa: E402
from pipeline.run.neuron_explanations import explain  # noqa: E402
from pipeline.run.plan_record import Plan  # noqa: E402
from pipeline.run.progress import Silent  # noqa: E402
from pipeline.run.records import write_run_table  # noqa: E402
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
    """A published store of two tiny models that tokenise differently; read-only for tests."""
    folder = tmp_path_factory.mktemp("documented")
    inputs = make_inputs(folder / "inputs")
    save_model(folder / "other", "gpt2", "byte_level")
    plans = []
    for number, model in enumerate((inputs.model, folder / "other")):
        config = inputs.config(folder / "store", model={"name": str(model)}, concepts={"include": _CONCEPTS})
        finished = run_stages(config)
        for stage in (explain, factors, cluster):
            stage(finished.plan, finished.store, LocalExecutor(), Silent())
        _write_map(finished.plan, finished.store, seed=number)
        plans.append(finished.plan)
    for plan, others in zip(plans, (["tiny", "other"], ["tiny"]), strict=True):
        section = CorrelateConfig.model_validate({"with": others, "columns": ["length"], "layers": [1, 2]})
        with_section = plan.with_config(plan.config.model_copy(update={"correlate": section}))
        correlate(with_section, finished.store, LocalExecutor(), Silent())
    publish(finished.store)
    return finished.store


def _write_map(plan: Plan, store: Store, seed: int) -> None:
    """A map of places drawn at random: UMAP takes ten seconds to load."""
    axis = cluster_work(plan, store).axis
    n, rng = axis.n_neurons, np.random.default_rng(seed)
    columns = {
        "run_id": [plan.run_id] * n,
        **axis.columns([plan], np.arange(n)),
        "x": rng.normal(size=n),
        "y": rng.normal(size=n),
        "map_group": rng.integers(0, 4, n).astype(np.int32),
        "method": ["kmeans"] * n,
        "params": ["{}"] * n,
    }
    write_run_table(store, plan, "neuron_map", columns, "drawn")
