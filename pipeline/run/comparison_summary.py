"""A comparison of models in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.run.comparison_tables import ComparisonResults, median
from pipeline.run.member_rows import MemberReader

#: Pairs of layers shown for each other model.
SHOWN_PAIRS = 5
#: Measures by which the best pairs of layers are chosen; the first that was computed.
_BY = ("cka_debiased", "svcca", "pwcca", "r2", "abs_r")
_TITLES = {"cka_debiased": "debiased CKA", "svcca": "SVCCA", "pwcca": "PWCCA", "r2": "median R²", "abs_r": "MaxCorr"}


def summarise_comparison(results: ComparisonResults) -> list[str]:
    """Aligned words, then for each other model how well neurons match, and which layers match best."""
    return [
        _words(results),
        *(line for number in range(1, len(results.comparison.members)) for line in _of_model(results, number)),
    ]


def _words(results: ComparisonResults) -> str:
    n = results.tiles.n_rows
    each = []
    labels = [results.comparison.plan.model, *(other.label for other in results.comparison.others)]
    for member, label in zip(results.comparison.members, labels, strict=True):
        units = MemberReader(member).units
        n_words = sum(len(units[shard].rows) for shard in member.plan.shards)
        each.append(f"{label} has {n_words - n:,} more")
    return f"{n:,} words in common; {', '.join(each)}"


def _of_model(results: ComparisonResults, number: int) -> Iterator[str]:
    comparison, axis = results.comparison, results.tiles.axis
    other = comparison.others[number - 1]
    best, null = results.best(number), results.best(number, "null_")
    if np.isnan(best.abs_r).all():
        yield f"{other.label}: no correlation is defined, since one of the two models has constant neurons only"
        return
    line = f"{other.label}: median MaxCorr {median(best.abs_r):.3f} (null {median(null.abs_r):.3f})"
    if number in results.regressions:
        found = results.regressions[number]
        line += f", median R² {median(found['r2']):.3f} (null {median(found['null_r2']):.3f})"
    yield line + f"; best partner of the same layer and index: {_same_place(results, number):.1%} of neurons"
    by = next(name for name in _BY if name in results.pairs[results.layers[0], comparison.layers_of(number)[0]])
    is_self = other.store_url is None and other.plan.run_id == comparison.plan.run_id
    scored = []
    for a in results.layers:
        for b in comparison.layers_of(number):
            found_pair = results.pairs[a, b]
            value, of_null = (median(np.atleast_1d(found_pair[prefix + by])) for prefix in ("", "null_"))
            if not np.isnan(value) and not (is_self and axis.layers[a][1:] == axis.layers[b][1:]):
                scored.append((value, a, b, of_null))
    scored.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    for value, a, b, of_null in scored[:SHOWN_PAIRS]:
        names = [f"{component}:{layer}" for _, component, layer in (axis.layers[a], axis.layers[b])]
        yield f"  {names[0]} and {names[1]} of {other.label}: {_TITLES[by]} {value:.3f} (null {of_null:z.3f})"
    if any(pair[f"{name}_facts"][3] for name in ("svcca", "pwcca") for pair in _pairs(results, number, name)):
        yield "  CCA is trivial for some layers: too few words for so many dimensions; `params` says where"


def _pairs(results: ComparisonResults, number: int, method: str) -> Iterator[dict[str, np.ndarray]]:
    if method in results.comparison.methods:
        for a in results.layers:
            for b in results.comparison.layers_of(number):
                yield results.pairs[a, b]


def _same_place(results: ComparisonResults, number: int) -> float:
    """Share of the neurons that vary whose best partner has their component, layer and index."""
    axis, best = results.tiles.axis, results.best(number)
    known = np.flatnonzero(best.partner >= 0)
    if not len(known):
        return float("nan")
    partners = best.partner[known] + axis.of_member(number).start
    own = known + results.neurons.start
    names = [layer[1:] for layer in axis.layers]
    place = {name: index for index, name in enumerate(dict.fromkeys(names))}
    layer = np.array([place[name] for name in names])[axis.layer_of]
    return float(np.mean((layer[own] == layer[partners]) & (axis.neuron[own] == axis.neuron[partners])))
