"""The command that a job names as the next one: complete, so that it works as it is printed."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from pipeline.run.plan_record import Plan
from pipeline.run.plans import planned_models
from pipeline.store.store import Store

#: A command line, from the store and the plan that a stage has worked on.
NextCommand = Callable[[Store, Plan], str]


def of_store(store: Store) -> str:
    """``--store S``, for commands that are about the whole store."""
    return f"--store {shlex.quote(store.url)}"


def of_model(store: Store, alias: str) -> str:
    """``--store S``, and ``--model ALIAS`` where the store holds several models, for commands that need one."""
    model = f" --model {shlex.quote(alias)}" if len(planned_models(store)) > 1 else ""
    return of_store(store) + model


def command_of_model(command: str) -> NextCommand:
    """``neuronmill COMMAND --store S`` for the plan's model."""
    return lambda store, plan: f"neuronmill {command} {of_model(store, plan.model)}"


def command_of_store(command: str, argument: str = "") -> NextCommand:
    """``neuronmill COMMAND --store S ARGUMENT``."""
    return lambda store, _: f"neuronmill {command} {of_store(store)}" + (f" {argument}" if argument else "")


def top_command(store: Store, plan: Plan) -> str:
    """``neuronmill top`` for a concept that has a ranking."""
    rankings = store.read_table(store.files("rankings", plan.run_id)[:1], ["concept"])
    concept = shlex.quote(str(rankings["concept"][0].as_py()))
    return f"neuronmill top {of_model(store, plan.model)} --concept {concept}"
