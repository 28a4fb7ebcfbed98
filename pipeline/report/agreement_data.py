"""Agreement of the rankings in one store, or of two stores: per concept, and the mean over concepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.connection import Connection, ask, ask_columns
from pipeline.report.methods import short_params
from pipeline.search.agreement import Agreement, compare_rankings
from schemas.errors import ConceptError, UsageError

#: Measures of a pair of rankings, then measures of one ranking: name, title, meaning.
PAIR_MEASURES = {
    "jaccard": ("Jaccard", "Neurons in both top lists, of those in either."),
    "overlap": ("Overlap", "Neurons in both top lists, of the length of a list."),
    "spearman": ("Spearman", "Rank correlation of the scores over the neurons that both rankings have."),
}
RANKING_MEASURES = {
    "avg_overlap": ("AvgOverlap", "Mean overlap with all other rankings (Fan et al. 2023)."),
    "neuron_vote": ("NeuronVote", "Jaccard of the top list and the neurons with most votes (Fan et al. 2023)."),
}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """One ranking: a method with its parameters in a run of a store. ``label`` is short and unique."""

    store: int
    """0, or 1 for the other store."""
    run_id: str
    model: str
    method: str
    params: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class AgreementData:
    """What :func:`load_agreement` finds. M rankings, C concepts that at least two of them have."""

    k: int
    rankings: tuple[Ranking, ...]
    concepts: tuple[str, ...]
    left_out: tuple[str, ...]
    """Concepts with one ranking only."""
    by_concept: tuple[Agreement, ...]
    """One per concept; NaN where a ranking lacks it."""

    def mean(self, measure: str) -> tuple[Floats, NDArray[np.int64]]:
        """Mean of a measure over the concepts where it is defined, and how many these are; (M, M) or (M,)."""
        values = np.array([getattr(agreement, measure) for agreement in self.by_concept])
        n_defined = np.sum(~np.isnan(values), axis=0)
        means = np.nansum(values, axis=0) / np.maximum(n_defined, 1)
        return np.where(n_defined > 0, means, np.nan), n_defined

    def pair_mean(self, concept: int, measure: str) -> float:
        """Mean of a measure of pairs over all pairs of different rankings that define it, for one concept."""
        matrix = getattr(self.by_concept[concept], measure)
        values = matrix[np.triu_indices(len(matrix), 1)]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else float("nan")

    @property
    def n_common(self) -> tuple[int, int]:
        """Fewest and most neurons that any correlation is over."""
        counts = [a.n_common[~np.isnan(a.spearman)] for a in self.by_concept]
        found = np.concatenate([np.zeros(0, np.int64), *counts])
        return (int(found.min()), int(found.max())) if len(found) else (0, 0)


def load_agreement(
    connections: Sequence[Connection],
    store_names: Sequence[str],
    *,
    k: int = 10,
    models: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
) -> AgreementData:
    """Compare all rankings of one or two stores; ``models``, ``methods`` and ``concepts`` choose some of them.

    Neurons are the same where component, layer and number are. Raises :class:`UsageError` unless there are two
    rankings, and :class:`ConceptError` for a concept without rankings, or if no concept has two.
    """
    rankings = find_rankings(connections, store_names, models=models, methods=methods)
    pairs = _concepts_and_components(connections, models)
    components = sorted({component for _, component in pairs})
    names = _chosen_concepts(concepts, sorted({concept for concept, _ in pairs}))
    kept, left_out, found = [], [], []
    for name in names:
        scores = _score_matrix(connections, rankings, name, components)
        if (~np.isnan(scores)).any(axis=1).sum() < 2:
            left_out.append(name)
            continue
        kept.append(name)
        found.append(compare_rankings(scores, k))
    if not kept:
        raise ConceptError(f"no concept of {len(names)} has two rankings with a defined score; nothing to compare")
    return AgreementData(k, rankings, tuple(kept), tuple(left_out), tuple(found))


def known_concepts(connections: Sequence[Connection], models: Sequence[str] | None = None) -> list[str]:
    """Names of all concepts with a ranking of these models (None: of any), sorted."""
    return sorted({concept for concept, _ in _concepts_and_components(connections, models)})


def _concepts_and_components(connections: Sequence[Connection], models: Sequence[str] | None) -> list[tuple[Any, ...]]:
    chosen = None if models is None else list(models)
    return [pair for connection in connections for pair in ask(connection, "ranking_concepts", models=chosen)]


def find_rankings(
    connections: Sequence[Connection],
    store_names: Sequence[str],
    *,
    models: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
) -> tuple[Ranking, ...]:
    """The rankings that there are, labelled; raises :class:`UsageError` where there are not two of them."""
    chosen = None if models is None else list(models)
    there = [
        Ranking(store, *row[:4])
        for store, connection in enumerate(connections)
        for row in ask(connection, "ranking_sources", models=chosen)
    ]
    missing = [name for name in models or () if name not in {ranking.model for ranking in there}]
    missing += [name for name in methods or () if name not in {ranking.method for ranking in there}]
    known = ", ".join(dict.fromkeys(f"{ranking.method} of {ranking.model}" for ranking in there)) or "none"
    if missing:
        raise UsageError(f"{missing[0]!r} has no rankings here; there are {known}")
    found = [ranking for ranking in there if methods is None or ranking.method in methods]
    if len(found) < 2:
        raise UsageError(
            f"it takes two rankings to compare them, and there are {known}; search by several methods "
            "(`neuronmill search --methods`), or name another store (--with)"
        )
    return _labelled(found, store_names)


def _labelled(rankings: Sequence[Ranking], store_names: Sequence[str]) -> tuple[Ranking, ...]:
    """Each ranking with the fewest words that tell it from all others: store, model, method, parameters, run."""
    names = list(store_names)
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    stores = {ranking.store for ranking in rankings}
    several_models = len({ranking.model for ranking in rankings}) > 1
    labels = []
    for ranking in rankings:
        words = [names[ranking.store]] if len(stores) > 1 else []
        words += [ranking.model] if several_models else []
        labels.append(" ".join([*words, ranking.method]))
    for detail in (lambda r: short_params(r.params), lambda r: r.run_id[:8]):
        counts = Counter(labels)
        labels = [f"{x} {detail(r)}".rstrip() if counts[x] > 1 else x for x, r in zip(labels, rankings, strict=True)]
    return tuple(replace(ranking, label=label) for ranking, label in zip(rankings, labels, strict=True))


def _chosen_concepts(asked: Sequence[str] | None, known: Sequence[str]) -> Sequence[str]:
    missing = [name for name in asked or () if name not in known]
    if missing:
        raise ConceptError(f"concept {missing[0]!r} has no ranking here; there are {', '.join(known[:20])}")
    return known if asked is None else asked


def _score_matrix(
    connections: Sequence[Connection], rankings: Sequence[Ranking], concept: str, components: list[str]
) -> Floats:
    """Scores (M, U) of one concept over all neurons that any ranking has, by component, layer, neuron."""
    parts = list(_scores(connections, rankings, concept, components))
    neurons, columns = np.unique(np.concatenate([part["id"] for part in parts]), return_inverse=True)
    matrix = np.full((len(rankings), len(neurons)), np.nan)
    rows = np.concatenate([part["ranking"] for part in parts])
    matrix[rows, columns] = np.concatenate([part["score"] for part in parts])
    return matrix


def _scores(
    connections: Sequence[Connection], rankings: Sequence[Ranking], concept: str, components: list[str]
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Per store: ranking, score, and a number per neuron that orders as component, layer, neuron do."""
    for store, connection in enumerate(connections):
        numbers = np.array([i for i, ranking in enumerate(rankings) if ranking.store == store], np.int64)
        if len(numbers):
            keys = [[rankings[i].run_id, rankings[i].method, rankings[i].params] for i in numbers]
            found = ask_columns(connection, "ranked_neurons", concept=concept, rankings=keys, components=components)
            place = found["component"].astype(np.int64) << 48 | found["layer"].astype(np.int64) << 32
            yield {"ranking": numbers[found["ranking"]], "score": found["score"], "id": place | found["neuron"]}
