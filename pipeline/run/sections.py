"""What can be said of a config's further sections before anything is dumped: errors come before hours of work."""

from __future__ import annotations

from pipeline.run.factors import factor_tasks
from pipeline.run.layer_choice import chosen_layers
from pipeline.run.model_correlation import check_correlation
from pipeline.run.neuron_clusters import cluster_work
from pipeline.run.other_models import check_others_of_new_store
from pipeline.run.plan_record import Capture, Plan
from pipeline.store.store import Store
from schemas.config import Config


def check_sections(plan: Plan, store: Store) -> None:
    """Raise what ``factors``, ``cluster``, ``map`` and ``correlate`` would raise before they read an activation."""
    config = plan.config
    if config.factors is not None:
        factor_tasks(plan)
    if config.cluster is not None or config.map is not None:
        cluster_work(plan, store)
    if config.correlate is not None:
        check_correlation(plan, store)


def check_new_sections(config: Config, capture: Capture) -> None:
    """The same of a store that is not there yet; raises :class:`~schemas.errors.ConfigError`."""
    sections = {"factors": config.factors, "cluster": config.cluster, "correlate": config.correlate}
    for name, section in sections.items():
        if section is not None:
            chosen_layers(name, capture, section.components, section.layers)
    if config.correlate is not None:
        check_others_of_new_store(config.correlate.with_models, config.model_alias)
