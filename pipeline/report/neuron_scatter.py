"""The map of neurons by their correlations, with the concept that each is best for."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.report.connection import Connection, ask
from pipeline.report.methods import Method, short_params
from pipeline.report.neuron_cards import Neuron

#: Points of all maps together; of more neurons a sample is shown.
MAX_POINTS = 20_000


@dataclass(frozen=True, slots=True)
class MappedNeuron:
    """A neuron on the map; ``group`` None: in no group. ``concept`` None: among the kept neurons of no concept."""

    neuron: Neuron
    x: float
    y: float
    group: int | None
    concept: str | None
    rank: int | None
    score: float | None


@dataclass(frozen=True, slots=True)
class NeuronScatter:
    """One map: ``points`` of the ``n_placed`` neurons that have coordinates, of ``n_neurons`` in all."""

    method: str
    params: str
    points: tuple[MappedNeuron, ...]
    n_placed: int
    n_neurons: int


def load_neuron_maps(connection: Connection, run_id: str, method: Method) -> tuple[NeuronScatter, ...]:
    """Maps of the run with at most ``MAX_POINTS`` points together, each concept by ``method``.

    A sample is drawn by a hash of component, layer and index, so it is the same every time. Every so many-th neuron
    would not do: heads and groups of neurons are regular too.
    """
    maps = [row for row in ask(connection, "neuron_maps", run=run_id) if row[2]]
    scatters = []
    for name, params, n_placed, n_neurons in maps:
        rows = ask(
            connection,
            "neuron_map",
            run=run_id,
            method=name,
            params=params,
            n_points=MAX_POINTS // len(maps),
            by=method.method,
            by_params=method.params,
        )
        points = tuple(MappedNeuron(Neuron(*row[:3]), *row[3:]) for row in rows)
        scatters.append(NeuronScatter(name, short_params(params), points, n_placed, n_neurons))
    return tuple(scatters)
