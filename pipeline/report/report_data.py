"""Everything the page shows, loaded from a connection that has the store's views."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pipeline.report.connection import Connection, ask
from pipeline.report.correlation_data import CorrelationData, load_correlation
from pipeline.report.methods import Method, choose_method, load_methods
from pipeline.report.neuron_cards import SELECTED, Neuron, NeuronCard, load_neuron_cards
from schemas.errors import UsageError


@dataclass(frozen=True, slots=True)
class Split:
    """Size of one split of the corpus; ``split`` is None where the corpus has none.

    ``n_documents`` are those whose every sentence is in it; a document cut between splits counts in none.
    """

    split: str | None
    n_documents: int
    n_sentences: int
    n_words: int


@dataclass(frozen=True, slots=True)
class Run:
    """The run as the ``runs`` table has it; ``config`` and ``versions`` are parsed, empty if malformed."""

    run_id: str
    model: str
    model_name: str
    architecture: str
    revision: str | None
    weights_sha256: str
    unit: str
    pooling: str | None
    dtype: str
    components: tuple[str, ...]
    layers: tuple[int, ...]
    n_rows: int
    n_shards: int
    n_bytes: int
    config: dict[str, Any]
    versions: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Concept:
    """A ranked concept; the last five fields are None where the ``concepts`` table lacks its name."""

    concept: str
    kind: str | None
    definition: str | None
    label_on: str | None
    n_words: int | None
    n_rows: int | None


@dataclass(frozen=True, slots=True)
class Column:
    """One component and layer: a column of the heat map."""

    component: str
    layer: int
    n_neurons: int
    n_dead: int
    n_saturated: int


@dataclass(frozen=True, slots=True)
class Best:
    """Best neuron of a concept by one method; ``score`` None: undefined."""

    neuron: Neuron
    score: float | None
    sign: int
    threshold: float | None
    n_rows: int
    n_pos: int
    base_rate: float | None
    q_value: float | None
    heldout_score: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """Best neuron of one concept in one component and layer; ``rank`` is None for one that was not kept."""

    neuron: Neuron
    score: float
    sign: int
    rank: int | None


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What one method found: the best neuron per concept, the heat map's cells, and where the selected neurons are.

    ``selected[component, layer]`` is (number of (concept, neuron) places with rank ≤ ``SELECTED``, distinct neurons).
    """

    method: Method
    best: dict[str, Best]
    cells: dict[str, tuple[Cell, ...]]
    selected: dict[tuple[str, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class ReportData:
    """The page's content. ``concepts`` come best score of the primary method first, undefined ones last.

    ``results[0]`` is the primary method; ``cards`` holds its first neurons per concept. ``correlation`` is None where
    the tables of correlation are empty.
    """

    title: str
    run: Run
    splits: tuple[Split, ...]
    columns: tuple[Column, ...]
    concepts: tuple[Concept, ...]
    results: tuple[MethodResult, ...]
    cards: dict[str, tuple[NeuronCard, ...]]
    correlation: CorrelationData | None

    @property
    def primary(self) -> MethodResult:
        """The method that orders the concepts and whose neurons are shown with contexts."""
        return self.results[0]


def load_run(connection: Connection, run_id: str | None = None) -> Run:
    """The run with that id, or the only run that has rankings.

    Raises :class:`UsageError` when there is none, or several and no id: the message lists them.
    """
    runs = ask(connection, "runs", run=run_id)
    if len(runs) == 1:
        *_, components, layers, n_rows, n_shards, n_bytes, config, versions = runs[0]
        name, model, model_name, architecture, revision, sha256, unit, pooling, dtype = runs[0][:9]
        return Run(
            run_id=name,
            model=model,
            model_name=model_name,
            architecture=architecture,
            revision=revision,
            weights_sha256=sha256,
            unit=unit,
            pooling=pooling,
            dtype=dtype,
            components=tuple(components),
            layers=tuple(layers),
            n_rows=n_rows,
            n_shards=n_shards,
            n_bytes=n_bytes,
            config=_json_object(config),
            versions=_json_object(versions),
        )
    everything = [f"{row[1]} (run {row[0]})" for row in ask(connection, "runs", run=None)]
    if not everything:
        raise UsageError("the store has no rankings to show; run `neuronmill search` first")
    if run_id is None:
        raise UsageError(
            f"the store has rankings of {len(everything)} runs: {', '.join(everything)}; choose one with --model"
        )
    raise UsageError(f"run_id {run_id!r} has no rankings in this store; it has {', '.join(everything)}")


def load_report_data(
    connection: Connection,
    *,
    run_id: str | None = None,
    neurons_per_concept: int = 3,
    contexts_per_neuron: int = 5,
    title: str | None = None,
) -> ReportData:
    """Load the page's content from the store's views.

    These are runs, rankings, contexts, neuron_stats, concepts, documents, sentences, and the tables of correlation.
    Contexts are loaded for the first ``neurons_per_concept`` neurons of every concept by method ``ap``, or by the first
    method there is, and for no others, so the size is bounded by the number of concepts. Raises :class:`UsageError` as
    :func:`load_run` does.
    """
    run = load_run(connection, run_id)
    methods = load_methods(connection, run.run_id)
    results = tuple(_load_method(connection, run.run_id, method) for method in methods)
    primary = choose_method(methods, None)
    concepts = [Concept(*row) for row in ask(connection, "concepts", run=run.run_id)]
    splits = tuple(Split(*row) for row in ask(connection, "splits"))
    correlation = load_correlation(connection, run.run_id, primary, run.components)
    return ReportData(
        title=title or f"Neurons of {run.model} for {len(concepts):,} concepts",
        run=run,
        splits=splits,
        columns=_load_columns(connection, run, results),
        concepts=tuple(sorted(concepts, key=lambda c: _descending(results[0].best.get(c.concept), c.concept))),
        results=results,
        cards=load_neuron_cards(
            connection,
            run.run_id,
            primary,
            methods=methods,
            n_neurons=neurons_per_concept,
            n_contexts=contexts_per_neuron,
        ),
        correlation=None if correlation.is_empty else correlation,
    )


def _load_method(connection: Connection, run_id: str, method: Method) -> MethodResult:
    where = {"run": run_id, **method.key}
    best = {
        concept: Best(Neuron(component, layer, neuron), *fields)
        for concept, component, layer, neuron, *fields in ask(connection, "best", **where)
    }
    cells: dict[str, list[Cell]] = {}
    for concept, component, layer, neuron, *fields in ask(connection, "best_per_layer", **where):
        cells.setdefault(concept, []).append(Cell(Neuron(component, layer, neuron), *fields))
    selected = {(row[0], row[1]): (row[2], row[3]) for row in ask(connection, "selected", **where, top=SELECTED)}
    return MethodResult(method, best, {name: tuple(found) for name, found in cells.items()}, selected)


def _load_columns(connection: Connection, run: Run, results: tuple[MethodResult, ...]) -> tuple[Column, ...]:
    """Columns of the heat map: the run's components in its order, layers ascending; from rankings where stats lack."""
    known = {(row[0], row[1]): row for row in ask(connection, "widths", run=run.run_id)}
    for result in results:
        for cells in result.cells.values():
            for cell in cells:
                place = (cell.neuron.component, cell.neuron.layer)
                known.setdefault(place, (*place, 0, 0, 0))
    order = {name: i for i, name in enumerate(run.components)}
    places = sorted(known, key=lambda p: (order.get(p[0], len(order)), p[0], p[1]))
    return tuple(Column(*known[place]) for place in places)


def _descending(best: Best | None, name: str) -> tuple[bool, float, str]:
    score = None if best is None else best.score
    return (score is None, -(score or 0.0), name)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
