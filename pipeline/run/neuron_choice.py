"""Analyses of chosen neurons: which of a plan's neurons are meant, their tasks, and the choice made by a query."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any, Literal

from pipeline.run.fold import NeuronTask, neuron_tasks
from pipeline.run.plan_record import Plan
from pipeline.store.sql import run_user_sql
from pipeline.store.store import Store
from schemas.errors import ConfigError, QueryError
from schemas.neuron_places import WHOLE, Pieces, place_pieces, place_texts

#: All neurons, or the places of some.
Choice = Sequence[str] | Literal["all"]


def chosen_tasks(plan: Plan, bytes_per_neuron: int, memory_mb: int, choice: Choice, key: str) -> list[NeuronTask]:
    """The tasks of the chosen neurons, at most as large as :func:`pipeline.run.fold.neuron_tasks` makes them.

    Raises :class:`ConfigError`, which names the config's ``key``, for neurons that the dump does not have.
    """
    if choice == "all":
        return neuron_tasks(plan, bytes_per_neuron, memory_mb, lambda *_: True)
    pieces = place_pieces(choice)
    _check(plan, pieces, key)
    every = neuron_tasks(plan, bytes_per_neuron, memory_mb, lambda *target: target in pieces)
    parts = [(task, _inside(task, pieces[task.component, task.layer])) for task in every]
    return [task.only(neurons) for task, neurons in parts if neurons]


def n_chosen(plan: Plan, choice: Choice) -> int:
    """How many of the plan's neurons are chosen."""
    return sum(len(task.neurons) for task in _chosen_or_none(plan, choice))


def _chosen_or_none(plan: Plan, choice: Choice) -> list[NeuronTask]:
    try:
        return chosen_tasks(plan, 1, 1, choice, "")
    except ConfigError:  # settings of another dump
        return []


def _inside(task: NeuronTask, pieces: Sequence[tuple[int, int]]) -> list[int]:
    return [n for first, stop in pieces for n in range(max(first, task.first), min(stop, task.stop))]


def _check(plan: Plan, pieces: Pieces, key: str) -> None:
    for (component, layer), of_layer in pieces.items():
        if (component, layer) not in plan.capture.targets:
            there = ", ".join(f"{name}:{number}" for name, number in plan.capture.targets)
            raise ConfigError(f"{key}: {component}:{layer} was not dumped; there are {there}")
        kept = plan.capture.pieces(component)
        for first, stop in of_layer:
            if (first, stop) != WHOLE and not any(first in piece and stop - 1 in piece for piece in kept):
                (place,) = place_texts({(component, layer): ((first, stop),)})
                there = ", ".join(f"{piece[0]}-{piece[-1]}" for piece in kept)
                raise ConfigError(f"{key}: {place} was not dumped; {component} has neurons {there}")


def places_from_sql(store: Store, sql: str, model: str) -> tuple[str, ...]:
    """The places of the neurons that a user's query gives: its columns ``component``, ``layer`` and ``neuron``.

    Where it has a column ``model``, rows of other models are left out. Raises :class:`QueryError` for a query that may
    not run or fails, that lacks a column, or that gives no neuron.
    """
    answer = io.BytesIO()
    run_user_sql(store, sql, answer, output_format="json")
    rows: list[dict[str, Any]] = json.loads(answer.getvalue())
    missing = [name for name in ("component", "layer", "neuron") if rows and name not in rows[0]]
    if missing:
        raise QueryError(
            f"--from-sql: the query has no column {missing[0]!r}; begin it with SELECT component, layer, neuron"
        )
    kept = [row for row in rows if row.get("model", model) == model]
    if not kept:
        others = " of this model" if rows else ""
        raise QueryError(f"--from-sql: the query gives no neuron{others}; try it with `neuronmill sql`")
    try:
        return place_texts(place_pieces(f"{row['component']}:{row['layer']}:{row['neuron']}" for row in kept))
    except ValueError as error:
        raise QueryError(f"--from-sql: {error}") from error
