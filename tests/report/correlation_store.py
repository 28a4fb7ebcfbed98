"""The made-up store with the tables of correlation: of correlated activations, clustered by scipy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import combinations, groupby

import duckdb
import numpy as np
import pyarrow as pa
from report_store import RUN, make_store
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from schemas.tables import TABLES

NEURONS = tuple(("resid", layer, n) for layer in range(7) for n in range(12)) + tuple(
    ("mlp", layer, n) for layer in range(1, 7) for n in range(24)
)
CONSTANT = (5, 100)
THRESHOLDS = (0.1, 0.25, 0.5)
PARTNERS = ("mpnet", "roberta")
Rows = list[dict[str, object]]


def make_correlation_store(*, seed: int = 0, **options: object) -> duckdb.DuckDBPyConnection:
    """:func:`make_store` with all tables of correlation filled."""
    rng = np.random.default_rng(seed)
    r = correlations(rng)
    tables: dict[str, Rows] = {
        "clusters": [],
        "cluster_pairs": [],
        "redundancy": [],
        "cluster_spans": [],
        "layer_dimensions": _dimensions(rng),
        "layer_similarity": _similarity(rng),
        "neuron_map": _map(rng),
        "rankings": _matches(rng),
        "match_nulls": [],
    }
    tables["match_nulls"] = _nulls(tables["rankings"], np.random.default_rng(seed))
    for method, signed in (("average", False), ("average", True), ("complete", False)):
        for threshold in THRESHOLDS:
            how = {"linkage": method, "signed": signed, "threshold": threshold}
            members = _clusters(r, how)
            tables["clusters"] += members
            tables["cluster_pairs"] += _pairs(r, how, members)
            tables["redundancy"] += _redundancy(r, how, members)
            tables["cluster_spans"] += _spans(how, members)
    connection = make_store(**options)
    for name, rows in tables.items():
        insert(connection, name, rows)
    return connection


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Rows) -> None:
    connection.register("more", pa.Table.from_pylist(rows, schema=TABLES[table].arrow))
    connection.execute(f"insert into {table} from more")
    connection.unregister("more")


def correlations(rng: np.random.Generator) -> np.ndarray:
    """Of activations that share 30 factors over layers, some negated; NaN for two constant neurons."""
    factors = rng.standard_normal((400, 30))
    of = rng.integers(30, size=len(NEURONS)) * (rng.random(len(NEURONS)) < 0.6)
    noise = rng.uniform(0.1, 1.5, len(NEURONS))
    x = factors[:, of] * rng.choice((-1, 1), len(NEURONS)) + noise * rng.standard_normal((400, len(NEURONS)))
    with np.errstate(invalid="ignore"):
        x[:, CONSTANT] = 1.0
        return np.corrcoef(x.T)


def _key(i: int) -> dict[str, object]:
    component, layer, neuron = NEURONS[i]
    return {"run_id": RUN, "model": "minilm-l6", "component": component, "layer": layer, "neuron": neuron}


def _flat(r: np.ndarray, how: dict[str, object]) -> np.ndarray:
    if len(r) < 2:
        return np.zeros(len(r), int)
    strength = np.nan_to_num(r if how["signed"] else np.abs(r), nan=-9.0)
    np.fill_diagonal(strength, 1.0)
    distances = squareform(1 - strength, checks=False)
    return fcluster(linkage(distances, how["linkage"]), how["threshold"], "distance")


def _clusters(r: np.ndarray, how: dict[str, object]) -> Rows:
    numbers: dict[int, int] = {}
    of = [numbers.setdefault(c, len(numbers)) for c in _flat(r, how).tolist()]
    rows = []
    for number in range(len(numbers)):
        members = [i for i, c in enumerate(of) if c == number]
        part = r[np.ix_(members, members)] if how["signed"] else np.abs(r[np.ix_(members, members)])
        means = [np.delete(part[k], k).mean() if len(members) > 1 else None for k in range(len(members))]
        best = int(np.argmax(means)) if len(members) > 1 else 0
        layers = len({NEURONS[i][:2] for i in members})
        mean_r = float(np.mean(means)) if len(members) > 1 else None
        rows += [
            {**_key(i), **how, "cluster": number, "size": len(members), "n_layers": layers, "mean_r": mean_r,
             "member_mean_r": means[k], "is_representative": k == best}
            for k, i in enumerate(members)
        ]  # fmt: skip
    return rows


def _pairs(r: np.ndarray, how: dict[str, object], members: Rows) -> Rows:
    """Of the members of all clusters of two and more."""
    found = [NEURONS.index((row["component"], row["layer"], row["neuron"])) for row in members if row["size"] >= 2]
    return [
        {**_key(i), **how, **_other(j), "r": float(r[i, j])}
        for i, j in combinations(sorted(found), 2)
    ]  # fmt: skip


def _other(i: int) -> dict[str, object]:
    component, layer, neuron = NEURONS[i]
    return {"other_component": component, "other_layer": layer, "other_neuron": neuron}


def _layers() -> Iterator[tuple[tuple[str, int], list[int]]]:
    for place, found in groupby(range(len(NEURONS)), key=lambda i: NEURONS[i][:2]):
        yield place, list(found)


def _redundancy(r: np.ndarray, how: dict[str, object], members: Rows) -> Rows:
    base = {"run_id": RUN, "model": "minilm-l6", **how}
    counted: list[tuple[str, str | None, int | None, int, int]] = []
    for (component, layer), found in _layers():
        n_clusters = len(set(_flat(r[np.ix_(found, found)], how).tolist()))
        counted.append(("layer", component, layer, len(found), n_clusters))
    counted.append(("layers", None, None, sum(row[3] for row in counted), sum(row[4] for row in counted)))
    counted.append(("all", None, None, len(members), len({row["cluster"] for row in members})))
    return [
        {**base, "scope": scope, "component": component, "layer": layer, "n_neurons": n, "n_clusters": k,
         "share": 1 - k / n}
        for scope, component, layer, n, k in counted
    ]  # fmt: skip


def _spans(how: dict[str, object], members: Rows) -> Rows:
    spans: dict[object, list[int]] = {}
    for row in members:
        if row["size"] > 1:
            spans.setdefault(row["cluster"], []).append(row["layer"])
    widths = np.array([max(layers) - min(layers) for layers in spans.values()])
    return [
        {"run_id": RUN, "model": "minilm-l6", **how, "component": None, "window_size": window,
         "n_clusters": len(widths), "n_within": int((widths < window).sum())}
        for window in range(1, 8)
    ]  # fmt: skip


def _dimensions(rng: np.random.Generator) -> Rows:
    rows = []
    for (component, layer), found in _layers():
        share = np.sort(rng.dirichlet(np.full(len(found), 0.4)))[::-1]
        sizes = np.sqrt(share) / np.sqrt(share).sum()
        n_90, n_95, n_99 = (int(np.searchsorted(np.cumsum(share), s) + 1) for s in (0.9, 0.95, 0.99))
        rows.append(
            {"run_id": RUN, "model": "minilm-l6", "component": component, "layer": layer, "n_neurons": len(found),
             "n_rows": 80_000, "participation_ratio": float(1 / (share**2).sum()),
             "effective_rank": float(np.exp(-(sizes * np.log(sizes)).sum())), "n_90": n_90, "n_95": n_95, "n_99": n_99}
        )  # fmt: skip
    undefined = ("participation_ratio", "effective_rank", "n_90", "n_95", "n_99")
    rows[-1] |= dict.fromkeys(undefined)
    return rows


def _similarity(rng: np.random.Generator) -> Rows:
    rows = []
    for partner, measures in (("mpnet", ("cka", "maxcorr")), ("minilm-l6", ("cka_debiased",))):
        others = [("resid", layer) for layer in range(5)] if partner == "mpnet" else [place for place, _ in _layers()]
        for measure in measures:
            for (component, layer), _ in _layers():
                for other_component, other_layer in others:
                    value = float(np.exp(-0.3 * abs(layer - other_layer)) * rng.uniform(0.7, 1))
                    rows.append(
                        {"run_id": RUN, "model": "minilm-l6", "component": component, "layer": layer,
                         "partner_model": partner, "partner_store": None, "partner_component": other_component,
                         "partner_layer": other_layer, "measure": measure,
                         "value": None if layer == 6 and other_layer == 0 else value,
                         "null_value": float(rng.uniform(-0.01, 0.05)), "n_rows": 25_000,
                         "params": json.dumps({"seed": 0, "block": 64, "rank": int(rng.integers(9))})}
                    )  # fmt: skip
    return rows


def _matches(rng: np.random.Generator) -> Rows:
    rows = []
    for method in ("maxcorr", "linreg"):
        for i in range(len(NEURONS)):
            score = None if i in CONSTANT else float(rng.beta(4, 2))
            partner = f"{PARTNERS[i % 3 == 0]}:resid:{i % 6}:{i}"
            rows.append(
                {**_key(i), "concept": None, "method": method, "score": score, "sign": 1, "rank": i + 1,
                 "threshold": None, "n_rows": 25_000, "n_pos": 25_000, "base_rate": None, "p_value": None,
                 "q_value": None, "heldout_score": None, "unit": "word", "split": "all",
                 "params": json.dumps({"seed": 0, "null_median": 0.2 + 0.01 * (i % 3), "null_max": 0.3 + i / 1000}),
                 "partner": None if score is None else partner}
            )  # fmt: skip
    return rows


def _nulls(rankings: Rows, rng: np.random.Generator) -> Rows:
    """Of every line but those of `linreg` in layer 6; without a score there is no null."""
    same = ("run_id", "model", "component", "layer", "neuron", "method", "params")
    return [
        {name: row[name] for name in same}
        | {"null_score": None if row["score"] is None else float(rng.beta(2, 20))}
        for row in rankings
        if (row["method"], row["layer"]) != ("linreg", 6)
    ]  # fmt: skip


def _map(rng: np.random.Generator, neurons: Iterable[int] = range(len(NEURONS))) -> Rows:
    rows = []
    for i in neurons:
        group = None if i in CONSTANT or i % 9 == 0 else i % 4
        x, y = (None, None) if i in CONSTANT else (3.0 * (i % 4) + rng.normal(), rng.normal())
        rows.append({**_key(i), "x": x, "y": y, "map_group": group, "method": "kmeans", "params": json.dumps({"k": 4})})
    return rows


def make_hostile(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Put ``name`` wherever the tables of correlation have text of models, components and parameters."""
    params = json.dumps({name: name, "null_max": name})
    for table in ("clusters", "redundancy", "layer_dimensions", "layer_similarity", "neuron_map", "cluster_spans"):
        connection.execute(f"update {table} set component = ? where component = 'mlp'", [name])
    for end in ("component", "other_component"):
        connection.execute(f"update cluster_pairs set {end} = ? where {end} = 'mlp'", [name])
    for table in ("clusters", "cluster_pairs", "redundancy", "cluster_spans"):
        connection.execute(f"update {table} set linkage = ? where linkage = 'average'", [name])
    connection.execute("update cluster_spans set component = ? where signed", [name])
    connection.execute("delete from clusters where linkage = 'complete'")
    connection.execute(
        "update layer_similarity set partner_model = ?, partner_store = ?, params = ?", [name] * 2 + [params]
    )
    connection.execute("update layer_similarity set measure = ? where measure = 'cka'", [name])
    connection.execute("update neuron_map set method = ?, params = ?", [name, params])
    insert(connection, "neuron_map", _map(np.random.default_rng(1)))
    connection.execute(
        "update rankings set method = ?, params = ?, partner = replace(partner, 'mpnet', ?), component = ? "
        "where concept is null and method = 'linreg'",
        [name, params, name, name],
    )
    connection.execute(
        "update match_nulls set method = ?, params = ?, component = ? where method = 'linreg'", [name, params, name]
    )
