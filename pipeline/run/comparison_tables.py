"""The tables of a search across models: neurons ranked by what other models have of them, and how alike layers are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.correlate.best_partners import BestPartners
from pipeline.correlate.max_corr import ModelPartners, max_corr, min_corr
from pipeline.correlate.shuffled_blocks import NULL_ROWS
from pipeline.run.layer_pairs import SHARES, Arrays
from pipeline.run.model_comparison import ModelComparison
from pipeline.run.moment_tiles import MomentTiles
from pipeline.store.parquet import concat_columns, dictionary_column, text_column
from schemas.correlation_tables import MATCH_NULLS
from schemas.ranking_tables import RANKINGS
from schemas.table_schema import TableSchema

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Measures of a pair of layers, by the method that gives them.
MEASURES = {
    "maxcorr": ("maxcorr",),
    "mincorr": ("maxcorr",),
    "linreg": ("linreg",),
    "svcca": ("svcca",),
    "pwcca": ("pwcca",),
    "cka": ("cka", "cka_debiased"),
}


@dataclass(frozen=True, eq=False)
class ComparisonResults:
    """Everything that was computed of a comparison."""

    comparison: ModelComparison
    tiles: MomentTiles
    pairs: dict[tuple[int, int], Arrays]
    """Of each layer of the model with each layer of the others, by their numbers on the axis."""
    regressions: dict[int, dict[str, Floats]]
    """Of each other member, with `linreg`."""
    _best: dict[tuple[int, str], BestPartners] = field(default_factory=dict)

    @cached_property
    def layers(self) -> list[int]:
        """Numbers of the model's own layers on the axis."""
        return self.comparison.layers_of(0)

    @cached_property
    def neurons(self) -> range:
        """The model's own neurons on the axis."""
        return self.tiles.axis.of_member(0)

    def best(self, member: int, prefix: str = "") -> BestPartners:
        """The best partners of the model's neurons in one other member, by their place among that member's neurons.

        ``prefix`` "null_" for those in shuffled rows.
        """
        if (member, prefix) not in self._best:
            axis = self.tiles.axis
            first = axis.of_member(member).start
            parts = []
            for layer in self.layers:
                part = BestPartners.empty(len(axis.of_layer(layer)))
                for other in self.comparison.layers_of(member):
                    found = self.pairs[layer, other]
                    place = found[f"{prefix}partner"]
                    place = np.where(place < 0, place, place + axis.of_layer(other).start - first)
                    part.merge(BestPartners(found[f"{prefix}abs_r"], place, found[f"{prefix}sign"]))
                parts.append(part.arrays())
            whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            self._best[member, prefix] = BestPartners.from_arrays(whole)
        return self._best[member, prefix]

    def weights(self, member: int, method: str, prefix: str = "") -> Floats:
        """Weights (L, N) of the model's N neurons with each of the L layers of another member."""
        return np.stack(
            [
                np.concatenate([self.pairs[layer, other][f"{prefix}{method}_weights"] for layer in self.layers])
                for other in self.comparison.layers_of(member)
            ]
        )


def ranking_columns(results: ComparisonResults) -> dict[str, Any]:
    """The columns of ``rankings``: every neuron of the model by each method."""
    return _ranked(results, RANKINGS)


def null_columns(results: ComparisonResults) -> dict[str, Any]:
    """The columns of ``match_nulls``: the null of each line of ``rankings``, in the same order."""
    return _ranked(results, MATCH_NULLS)


def _ranked(results: ComparisonResults, table: TableSchema) -> dict[str, Any]:
    parts = list(_rankings(results))
    return {column.name: concat_columns([part[column.name] for part in parts]) for column in table.columns}


def _rankings(results: ComparisonResults) -> Iterator[dict[str, Any]]:
    comparison = results.comparison
    members = range(1, len(comparison.members))
    for method, chosen in (("maxcorr", max_corr), ("mincorr", min_corr)):
        if method in comparison.methods:
            found = chosen([results.best(member) for member in members])
            null = chosen([results.best(member, "null_") for member in members]).abs_r
            params = common_params(comparison) | {"with": [other.label for other in comparison.others]}
            partners = _partner_names(results, found)
            yield _ranking(results, method, (found.abs_r, null), partners, params, found.sign)
    for member in members:
        label = comparison.others[member - 1].label
        if "linreg" in comparison.methods:
            found_r2 = results.regressions[member]
            params = common_params(comparison) | {"with": label}
            params |= regression_params(comparison, found_r2["r2_facts"])
            partners = [label] * len(results.neurons)
            yield _ranking(results, "linreg", (found_r2["r2"], found_r2["null_r2"]), partners, params)
        for method in SHARES:
            if method in comparison.methods:
                yield _canonical_ranking(results, method, member)


def _canonical_ranking(results: ComparisonResults, method: str, member: int) -> dict[str, Any]:
    """Each neuron by its largest weight in a layer of the other model."""
    comparison, axis = results.comparison, results.tiles.axis
    label, others = comparison.others[member - 1].label, comparison.layers_of(member)
    weights = results.weights(member, method)
    place = np.argmax(np.where(np.isnan(weights), -1, weights), axis=0)  # the first of equals
    score = np.take_along_axis(weights, place[None], axis=0)[0]
    null = results.weights(member, method, "null_")
    best_null = np.where(np.isnan(null).all(axis=0), np.nan, np.nanmax(np.where(np.isnan(null), -1, null), axis=0))
    facts = np.stack([results.pairs[a, b][f"{method}_facts"] for a in results.layers for b in others])
    names = [f"{label}:{axis.layers[other][1]}:{axis.layers[other][2]}" for other in others]
    partners = [
        None if np.isnan(value) else names[at] for value, at in zip(score.tolist(), place.tolist(), strict=True)
    ]
    params = common_params(comparison) | {"with": label, "variance_share": SHARES[method]}
    params |= {"layers": len(others), "k": _range(facts[:, 0]), "k_partner": _range(facts[:, 1])}
    params |= {"trivial": True} if facts[:, 3].any() else {}
    return _ranking(results, method, (score, best_null), partners, params)


def _range(values: Floats) -> list[int]:
    return [int(values.min()), int(values.max())]


def _partner_names(results: ComparisonResults, found: ModelPartners) -> list[str | None]:
    """``model:component:layer:neuron``; None without a partner."""
    axis, others = results.tiles.axis, results.comparison.others
    starts = [axis.of_member(number).start for number in range(1, len(others) + 1)]
    names: list[str | None] = []
    for model, place in zip(found.model.tolist(), found.neuron.tolist(), strict=True):
        if model < 0:
            names.append(None)
            continue
        at = starts[model] + place
        _, component, layer = axis.layers[axis.layer_of[at]]
        names.append(f"{others[model].label}:{component}:{layer}:{axis.neuron[at]}")
    return names


def _ranking(
    results: ComparisonResults,
    method: str,
    scores: tuple[Floats, Floats],
    partners: Sequence[str | None],
    params: dict[str, Any],
    sign: npt.NDArray[np.int8] | None = None,
) -> dict[str, Any]:
    """Columns of ``rankings`` and ``match_nulls`` by one method and its parameters; undefined scores come last.

    ``scores`` are those of the neurons, and their nulls.
    """
    score, null = scores
    n, plan = len(results.neurons), results.comparison.plan
    order, rank = _order(score)
    place = np.array(results.neurons)[order]
    same = np.zeros(n, np.int32)
    key = results.tiles.axis.columns([member.plan for member in results.comparison.members], place)
    unknown = masked(np.full(n, np.nan))
    return {
        "run_id": dictionary_column(same, [plan.run_id]),
        **key,
        "concept": text_column([None] * n),
        "method": dictionary_column(same, [method]),
        "score": masked(score[order]),
        "null_score": masked(null[order]),
        "sign": np.ones(n, np.int8) if sign is None else np.where(sign[order] < 0, -1, 1).astype(np.int8),
        "rank": rank,
        "n_rows": np.full(n, results.tiles.n_rows, np.int64),
        "n_pos": np.ma.masked_array(np.zeros(n, np.int64), mask=True),
        **dict.fromkeys(("threshold", "base_rate", "p_value", "q_value", "heldout_score"), unknown),
        "unit": dictionary_column(same, ["word"]),
        "split": dictionary_column(same, ["all"]),
        "params": dictionary_column(same, [as_json(params | _null(null))]),
        "partner": text_column([partners[at] for at in order.tolist()]),
    }


def _order(score: Floats) -> tuple[Ints, npt.NDArray[np.int32]]:
    """Indices by score descending, then index, NaN last; and the ranks from 1."""
    order = np.argsort(-np.where(np.isnan(score), -np.inf, score), kind="stable")
    return order, np.arange(1, len(score) + 1, dtype=np.int32)


def similarity_columns(results: ComparisonResults) -> dict[str, list[Any]]:
    """The columns of ``layer_similarity``: every layer of the model with every layer of the others."""
    rows: list[dict[str, Any]] = []
    comparison, axis = results.comparison, results.tiles.axis
    for number, other in enumerate(comparison.others, 1):
        for a in results.layers:
            for b in comparison.layers_of(number):
                (_, component, layer), (_, partner_component, partner_layer) = axis.layers[a], axis.layers[b]
                same = {
                    "run_id": comparison.plan.run_id,
                    "model": comparison.plan.model,
                    "component": component,
                    "layer": layer,
                    "partner_model": other.plan.model,
                    "partner_store": other.store_url,
                    "partner_component": partner_component,
                    "partner_layer": partner_layer,
                    "n_rows": results.tiles.n_rows,
                }
                rows += [same | measured for measured in _measures(comparison, results.pairs[a, b])]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _measures(comparison: ModelComparison, found: Arrays) -> Iterator[dict[str, Any]]:
    """Measure, value, value of the null and parameters of one pair of layers."""
    for measure in dict.fromkeys(measure for method in comparison.methods for measure in MEASURES[method]):
        params = common_params(comparison)
        if measure == "maxcorr":
            value, null = median(found["abs_r"]), median(found["null_abs_r"])
        elif measure == "linreg":
            value, null = median(found["r2"]), median(found["null_r2"])
            params |= regression_params(comparison, found["r2_facts"])
        else:
            value, null = float(found[measure]), float(found[f"null_{measure}"])
        if measure in SHARES:
            k, k_partner, expected, is_trivial = found[f"{measure}_facts"].tolist()
            params |= {"variance_share": SHARES[measure], "k": int(k), "k_partner": int(k_partner)}
            params |= {"expected": _plain(expected), **({"trivial": True} if is_trivial else {})}
        yield {"measure": measure, "value": _plain(value), "null_value": _plain(null), "params": as_json(params)}


def common_params(comparison: ModelComparison) -> dict[str, Any]:
    """What ``params`` tells of every method: the order of rows of the null, and the precision of products."""
    settings = comparison.settings
    return {"seed": settings.null, "null_rows": NULL_ROWS, "precision": settings.precision}


def regression_params(comparison: ModelComparison, facts: Floats) -> dict[str, Any]:
    """Ridge, rank, the R² expected of independent models, and whether any neuron would have R² = 1."""
    rank, expected, is_trivial = facts.tolist()
    found = {"ridge": comparison.settings.ridge, "rank": int(rank), "expected": _plain(expected)}
    return found | ({"trivial": True} if is_trivial else {})


def _null(scores: Floats) -> dict[str, Any]:
    """Median and maximum over the neurons of the null's scores."""
    known = scores[~np.isnan(scores)]
    return {"null_median": _plain(median(scores)), "null_max": float(known.max()) if len(known) else None}


def median(values: npt.NDArray[Any]) -> float:
    """Median of what is defined; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def masked(values: Floats) -> np.ma.MaskedArray[Any, Any]:
    """NaN as null."""
    return np.ma.masked_where(np.isnan(values), values)


def as_json(params: dict[str, Any]) -> str:
    """Canonical JSON."""
    return json.dumps(params, sort_keys=True)
