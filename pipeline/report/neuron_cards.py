"""A concept's first neurons with what is known of each: scores, corpus statistics, contexts, other concepts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.report.connection import Connection, ask
from pipeline.report.methods import Method

#: A neuron counts as selected for a concept when it is among this many first.
SELECTED = 10


class Neuron(NamedTuple):
    """Place of a neuron in its model: component, layer, index."""

    component: str
    layer: int
    neuron: int

    def __str__(self) -> str:
        return f"{self.component}:{self.layer}:{self.neuron}"


@dataclass(frozen=True, slots=True)
class Context:
    """One extreme row with the words around it; ``values[i]`` is None where word i has no row.

    ``focus`` is the index of the row's own word, None at sentence unit.
    """

    value: float
    document: str
    sentence: str
    words: tuple[str, ...]
    values: tuple[float | None, ...]
    focus: int | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of a neuron over the counted rows of the corpus; ``quantiles`` holds .01 .05 .25 .5 .75 .95 .99."""

    mean: float
    variance: float
    minimum: float
    quantiles: tuple[float, ...]
    maximum: float
    activity_rate: float
    is_dead: bool
    is_saturated: bool


@dataclass(frozen=True, slots=True)
class OtherScore:
    """Score and rank of the same neuron and concept by another method, or of the same neuron for another concept."""

    name: str
    score: float
    sign: int
    rank: int


@dataclass(frozen=True, slots=True)
class NeuronCard:
    """One neuron at one place of a concept's ranking."""

    neuron: Neuron
    rank: int
    score: float
    sign: int
    threshold: float | None
    n_pos: int
    base_rate: float | None
    p_value: float | None
    q_value: float | None
    heldout_score: float | None
    statistics: Statistics | None
    contexts: tuple[Context, ...]
    other_methods: tuple[OtherScore, ...]
    other_concepts: tuple[OtherScore, ...]

    @property
    def scale(self) -> float:
        """Largest magnitude among the values of the contexts: full colour. 0 where there are none."""
        values = [v for c in self.contexts for v in (*c.values, c.value) if v is not None]
        return max((abs(v) for v in values), default=0.0)


def load_neuron_cards(
    connection: Connection,
    run_id: str,
    method: Method,
    *,
    methods: tuple[Method, ...],
    n_neurons: int,
    n_contexts: int,
    concept: str | None = None,
) -> dict[str, tuple[NeuronCard, ...]]:
    """The first ``n_neurons`` neurons of every concept (or of one) by ``method``, each with its contexts.

    A neuron of sign −1 carries its smallest rows. A word that is several rows (tokens) is one context. Concepts without
    a defined score are left out. ``methods`` gives the labels of the other methods' scores.
    """
    where = {"run": run_id, **method.key, "concept": concept, "n_neurons": n_neurons}
    contexts = _contexts(connection, where, n_contexts)
    labels = {(m.method, m.params): m.label for m in methods}
    scores: dict[tuple[str, Neuron], list[OtherScore]] = defaultdict(list)
    for name, component, layer, neuron, *by, score, sign, rank in ask(connection, "other_scores", **where):
        scores[name, Neuron(component, layer, neuron)].append(OtherScore(labels[by[0], by[1]], score, sign, rank))
    concepts: dict[Neuron, list[OtherScore]] = defaultdict(list)
    for component, layer, neuron, name, rank, score, sign in ask(connection, "other_concepts", **where, top=SELECTED):
        concepts[Neuron(component, layer, neuron)].append(OtherScore(name, score, sign, rank))
    order = {m.label: i for i, m in enumerate(methods)}
    cards: dict[str, list[NeuronCard]] = defaultdict(list)
    for name, component, layer, index, *fields in ask(connection, "neurons", **where):
        neuron = Neuron(component, layer, index)
        rank, score, sign, threshold, n_pos, base_rate, p_value, q_value, heldout = fields[:9]
        cards[name].append(
            NeuronCard(
                neuron=neuron,
                rank=rank,
                score=score,
                sign=sign,
                threshold=threshold,
                n_pos=n_pos,
                base_rate=base_rate,
                p_value=p_value,
                q_value=q_value,
                heldout_score=heldout,
                statistics=_statistics(fields[9:]),
                contexts=contexts.get((neuron, sign < 0), ()),
                other_methods=tuple(sorted(scores[name, neuron], key=lambda s: order[s.name])),
                other_concepts=tuple(c for c in concepts[neuron] if c.name != name),
            )
        )
    return {name: tuple(found) for name, found in cards.items()}


def _contexts(
    connection: Connection, where: dict[str, Any], n_contexts: int
) -> dict[tuple[Neuron, bool], tuple[Context, ...]]:
    """Contexts by neuron and whether they are of the bottom tail."""
    found: dict[tuple[Neuron, bool], list[Context]] = defaultdict(list)
    for component, layer, neuron, tail, value, document, sentence, words, values, focus in ask(
        connection, "contexts", **where, n_contexts=n_contexts
    ):
        by_word = tuple(values or ())
        by_word += (None,) * (len(words) - len(by_word))
        context = Context(value, document or "", sentence or "", tuple(words), by_word, focus)
        found[Neuron(component, layer, neuron), tail == "bottom"].append(context)
    return {key: tuple(contexts) for key, contexts in found.items()}


def _statistics(fields: list[Any]) -> Statistics | None:
    """Statistics from the tail of a row of ``neurons.sql``; None where the store has none for the neuron."""
    mean, variance, minimum, *quantiles, maximum, activity_rate, is_dead, is_saturated = fields
    if mean is None or minimum is None:
        return None
    return Statistics(mean, variance, minimum, tuple(quantiles), maximum, activity_rate, is_dead, is_saturated)
