"""Plans in a store: ``plans/<alias>.json`` is written once, ``settings/<alias>.json`` holds the latest config.

A store has one corpus and, per model alias, one plan. Settings that don't touch the dump (concepts, search, contexts,
report, executor) may change between commands; anything else is refused with the keys that differ.
"""

from __future__ import annotations

import json
from typing import Any

from pipeline.run.plan_record import Plan
from pipeline.store.store import Store
from schemas.config import Config
from schemas.errors import ConfigError

#: Sections that decide the bytes of a dump.
FROZEN_SECTIONS = ("corpus", "annotate", "model", "dump")


def _plan_path(alias: str) -> str:
    return f"plans/{alias}.json"


def _settings_path(alias: str) -> str:
    return f"settings/{alias}.json"


def planned_models(store: Store) -> list[str]:
    """Aliases of the models planned in the store, sorted."""
    names = (path.removeprefix("plans/").removesuffix(".json") for path in store.storage.list("plans"))
    return sorted(names)


def load_plan(store: Store, alias: str | None = None) -> Plan:
    """The plan of ``alias``, or the store's only one. Raises :class:`ConfigError` where there is none or a choice."""
    models = planned_models(store)
    if not models:
        raise ConfigError(f"store {store.url}: nothing is planned here; run `neuronmill plan CONFIG.yaml` first")
    if alias is None and len(models) > 1:
        raise ConfigError(f"store {store.url} holds several models; choose one with --model {' | '.join(models)}")
    name = alias or models[0]
    if name not in models:
        raise ConfigError(f"--model {name!r}: store {store.url} has no such model; it has {', '.join(models)}")
    plan = Plan.from_json(store.read_json(_plan_path(name)))
    if not store.exists(_settings_path(name)):  # killed between the two files
        return plan
    return plan.with_config(Config.model_validate(store.read_json(_settings_path(name))["config"]))


def save_plan(store: Store, plan: Plan) -> None:
    """Write the plan (create-only), then its settings; refuses to stand beside another plan of the same alias."""
    if not store.put_json_new(_plan_path(plan.model), plan.to_json()):
        found = load_plan(store, plan.model)
        refuse_changes(found, plan.config)
        if found.fingerprint != plan.fingerprint:
            raise ConfigError(
                f"store {store.url}: another command planned model {plan.model!r} at the same time with other inputs; "
                "use another `model.alias` or `store`"
            )
    save_settings(store, plan)


def extend_plan(store: Store, plan: Plan) -> None:
    """Write the plan of an imported model, in place of the one before it: the one step in which its layers grow.

    Raises :class:`ConfigError` if another command changed it meanwhile.
    """
    path = _plan_path(plan.model)
    if not store.put_json_new(path, plan.to_json()):
        payload = store.storage.read(path)
        found = Plan.from_json(json.loads(payload))
        is_extended = set(found.capture.targets) <= set(plan.capture.targets)
        if not is_extended or not store.replace_json(path, plan.to_json(), payload):
            raise ConfigError(
                f"store {store.url}: another import into model {plan.model!r} finished at the same time; "
                "start this one again, its finished work is kept"
            )
    save_settings(store, plan)


def refuse_imported(plan: Plan) -> None:
    """Raise :class:`ConfigError` for a model whose activations were imported: there is nothing to run or to plan."""
    if plan.is_imported:
        raise ConfigError(
            f"store {plan.config.store}: the activations of model {plan.model!r} were imported, so there is no model "
            "to run; go on with `neuronmill stats`, `search` and `contexts --store`, or name another `model.alias` or "
            "`store`"
        )


def save_settings(store: Store, plan: Plan) -> None:
    """Write the latest config beside the plan."""
    settings = {"config": plan.config.model_dump(mode="json")}
    store.put_json(_settings_path(plan.model), settings)


def update_config(plan: Plan, config: Config) -> Plan:
    """The plan with the settings of ``config``; refuses one that would change the dump."""
    refuse_changes(plan, config)
    return plan.with_config(config)


def refuse_changes(plan: Plan, config: Config) -> None:
    """Raise :class:`ConfigError` naming every key of a frozen section that differs from the planned config."""
    old, new = plan.config.model_dump(mode="json"), config.model_dump(mode="json")
    changed = [line for section in FROZEN_SECTIONS for line in _differences(section, old[section], new[section])]
    if changed:
        raise ConfigError(
            f"store {plan.config.store}: model {plan.model!r} was planned here with other settings:\n  "
            + "\n  ".join(changed)
            + "\nput the old values back to go on with this run, or another `store` (or, for another model, another "
            "`model.alias`) for the new ones; nothing was changed"
        )


def _differences(key: str, old: Any, new: Any) -> list[str]:
    """Lines `key: old → new` for every leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line for name in sorted(old | new) for line in _differences(f"{key}.{name}", old.get(name), new.get(name))
        ]
    return [] if old == new else [f"{key}: {json.dumps(old)} → {json.dumps(new)}"]
