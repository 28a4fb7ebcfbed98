"""Which neurons are explained: those that the config names, or the best ones per concept of the run's rankings."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from pipeline.run.fold import MAX_NEURONS, NeuronTask
from pipeline.run.plan_record import Plan
from pipeline.store.store import Store
from schemas.analysis_config import ExplainConfig
from schemas.components import Component
from schemas.errors import ConfigError


@dataclass(frozen=True, order=True)
class Chosen:
    """One neuron, and the side on which it is active: +1 high values, −1 low ones."""

    neuron: int
    sign: int


@dataclass(frozen=True)
class ChosenTask:
    """Some neurons of one block of one component and layer."""

    component: Component
    layer: int
    chosen: tuple[Chosen, ...]
    """Ascending."""

    @property
    def key(self) -> str:
        """Receipt key, of the first and the last neuron."""
        return f"{self.component}-{self.layer:03d}-{self.chosen[0].neuron:06d}-{self.chosen[-1].neuron + 1:06d}"

    @property
    def neurons(self) -> list[int]:
        """Their numbers, ascending and each once."""
        return sorted({chosen.neuron for chosen in self.chosen})

    def ranges(self) -> list[NeuronTask]:
        """The neurons as ranges without gaps, which is how they are read."""
        neurons = np.array(self.neurons, np.int64)
        pieces = np.split(neurons, np.flatnonzero(np.diff(neurons) > 1) + 1)
        return [NeuronTask(self.component, self.layer, int(piece[0]), int(piece[-1]) + 1) for piece in pieces]


Target = tuple[Component, int]


def chosen_neurons(plan: Plan, store: Store, settings: ExplainConfig) -> dict[Target, list[Chosen]]:
    """The neurons to explain by component and layer, in the plan's order, ascending and each once.

    Raises :class:`ConfigError` for neurons that were not dumped, or if there is no ranking to choose by.
    """
    if settings.neurons is None:
        found = _best(plan, store, settings)
    else:
        found = [entry for text in settings.neurons for entry in _named(plan, text)]
    every = sorted({(plan.capture.targets.index(target), chosen) for target, chosen in found})
    return {
        plan.capture.targets[number]: [chosen for _, chosen in group]
        for number, group in groupby(every, key=lambda entry: entry[0])
    }


def chosen_tasks(plan: Plan, chosen: dict[Target, list[Chosen]], bytes_per_neuron: int) -> list[ChosenTask]:
    """The neurons cut into tasks that fit a worker's memory, none over two blocks."""
    size = int(np.clip(plan.config.executor.memory_mb * 2**20 // bytes_per_neuron, 1, MAX_NEURONS))
    tasks = []
    for (component, layer), neurons in chosen.items():
        for block in plan.capture.blocks(component):
            inside = sorted({entry.neuron for entry in neurons if entry.neuron in block})
            for at in range(0, len(inside), size):
                part = set(inside[at : at + size])
                tasks.append(ChosenTask(component, layer, tuple(entry for entry in neurons if entry.neuron in part)))
    return tasks


def _named(plan: Plan, text: str) -> list[tuple[Target, Chosen]]:
    """Neurons of one entry of ``explain.neurons``."""
    component, layer, *rest = text.removeprefix("-").split(":")
    target = component, int(layer)
    if target not in plan.capture.targets:
        known = ", ".join(f"{name}:{number}" for name, number in plan.capture.targets)
        raise ConfigError(f"explain.neurons: {text!r}: {component}:{layer} was not dumped; there is {known}")
    dumped = [neuron for piece in plan.capture.pieces(component) for neuron in piece]
    sign = -1 if text.startswith("-") else 1
    if not rest:
        return [(target, Chosen(neuron, sign)) for neuron in dumped]
    low, _, high = rest[0].partition("-")
    wanted = range(int(low), int(high or low) + 1)
    if not wanted or wanted[0] not in dumped or wanted[-1] not in dumped:
        raise ConfigError(
            f"explain.neurons: {text!r}: {component}:{layer} has the neurons "
            + ", ".join(f"{piece.start}-{piece.stop - 1}" for piece in plan.capture.pieces(component))
        )
    return [(target, Chosen(neuron, sign)) for neuron in dumped if neuron in wanted]


def _best(plan: Plan, store: Store, settings: ExplainConfig) -> list[tuple[Target, Chosen]]:
    """The ``top`` neurons of every concept by ``method``."""
    files = store.files("rankings", plan.run_id)
    columns = ["component", "layer", "neuron", "method", "rank", "sign", "score"]
    rows = store.read_table(files, columns).to_pydict() if files else {name: [] for name in columns}
    found = [
        ((component, layer), Chosen(neuron, sign))
        for component, layer, neuron, method, rank, sign, score in zip(*(rows[name] for name in columns), strict=True)
        if method == settings.method and rank <= settings.top and score is not None
    ]
    if not found:
        raise ConfigError(
            f"explain: run {plan.run_id} has no rankings by {settings.method} to choose neurons by; name some with "
            f"--neurons, or rank them first: neuronmill search --store {shlex.quote(store.url)} --model {plan.model}"
        )
    return found
