"""What the page shows of correlation is what the tables say; a store without these tables has the page it had."""

from __future__ import annotations

import json
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import pytest
from correlation_store import CONSTANT, NEURONS, insert, make_correlation_store, make_hostile
from report_store import BIDI_HOSTILE, HOSTILE, RUN, TEMPLATE_HOSTILE, make_store

from pipeline.report import load_report_data, load_top, render_page
from pipeline.report.cluster_map import N_CLUSTERS, layer_ranges
from pipeline.report.correlation_data import CorrelationData
from pipeline.report.correlation_figures import correlation_figures
from pipeline.report.model_similarity import N_BINS
from pipeline.report.neuron_scatter import MAX_POINTS
from pipeline.report.report_data import ReportData
from schemas.correlation_tables import CORRELATION_TABLES
from schemas.errors import UsageError

ORDER = ("resid", "mlp")
KEY = ["component", "layer", "neuron"]
PARTS = {
    "redundancy": "redundancy",
    "clusters": "clusters",
    "cluster_spans": "spans",
    "layer_dimensions": "dimensions",
    "layer_similarity": "similarity",
    "rankings": "matches",
    "neuron_map": "neuron-map",
}


@pytest.fixture(scope="module")
def store() -> duckdb.DuckDBPyConnection:
    return make_correlation_store()


@pytest.fixture(scope="module")
def report(store: duckdb.DuckDBPyConnection) -> ReportData:
    return load_report_data(store)


@pytest.fixture(scope="module")
def data(report: ReportData) -> CorrelationData:
    assert report.correlation is not None
    return report.correlation


@pytest.fixture(scope="module")
def figures(data: CorrelationData) -> dict[str, object]:
    return json.loads(json.dumps(correlation_figures(data, ORDER), allow_nan=False))


def frame(store: duckdb.DuckDBPyConnection, table: str) -> pd.DataFrame:
    return store.execute(f"from {table}").df()


def test_redundancy_curves_are_the_table_and_the_sum_of_each_components_layers(
    store: duckdb.DuckDBPyConnection, data: CorrelationData
) -> None:
    table = frame(store, "redundancy")
    keys = ["linkage", "signed", "scope", "component", "layer"]
    shown = {
        (*c.linkage, c.scope, c.component, c.layer): dict(zip(c.thresholds, c.shares, strict=True))
        for c in data.redundancy
    }
    for key, rows in table.groupby(keys, dropna=False):
        plain = tuple(None if pd.isna(value) else value for value in key)
        assert shown.pop(plain) == dict(zip(rows["threshold"], rows["share"], strict=True))
    layers = table[table["scope"] == "layer"].groupby(["linkage", "signed", "component", "threshold"])
    counts = layers[["n_neurons", "n_clusters"]].sum()
    expected = 1 - counts["n_clusters"] / counts["n_neurons"]
    for (linkage, signed, scope, component, layer), curve in shown.items():
        assert (scope, layer) == ("layers", None)
        assert curve == pytest.approx(expected[linkage, signed, component].to_dict())
    assert len(shown) == 3 * 2


def test_a_component_has_no_sum_where_a_layer_lacks_the_threshold(store: duckdb.DuckDBPyConnection) -> None:
    cut = store.cursor()
    cut.execute("begin")
    cut.execute("delete from redundancy where component = 'mlp' and layer = 2 and threshold = 0.25")
    curves = load_report_data(cut).correlation.redundancy
    cut.execute("rollback")
    [curve] = [c for c in curves if (*c.linkage, c.scope, c.component) == ("average", False, "layers", "mlp")]
    assert curve.thresholds == (0.1, 0.5)


def test_redundancy_panels_are_all_components_then_the_runs_order(figures: dict[str, object]) -> None:
    assert [one["linkage"] for one in figures["redundancy"]] == [
        "average linkage of 1 − |r|",
        "complete linkage of 1 − |r|",
        "average linkage of 1 − r",
    ]
    for one in figures["redundancy"]:
        assert [panel["component"] for panel in one["panels"]] == [None, "resid", "mlp"]
        assert [line["scope"] for line in one["panels"][0]["lines"]] == ["all", "layers"]
        assert sorted(line["scope"] for line in one["panels"][1]["lines"]) == ["layer"] * 7 + ["layers"]


def test_spans_are_the_table(store: duckdb.DuckDBPyConnection, figures: dict[str, object]) -> None:
    table = frame(store, "cluster_spans")
    for one, (linkage, signed) in zip(
        figures["spans"], (("average", False), ("complete", False), ("average", True)), strict=True
    ):
        [panel] = one["panels"]
        rows = table[(table["linkage"] == linkage) & (table["signed"] == signed)].sort_values("window_size")
        for line in panel["lines"]:
            own = rows[rows["threshold"] == line["threshold"]]
            assert line["points"] == own[["window_size", "n_clusters", "n_within"]].to_numpy().tolist()
        assert [line["threshold"] for line in panel["lines"]] == [0.1, 0.25, 0.5]


def test_dimensions_are_the_table_with_undefined_ones_null(
    store: duckdb.DuckDBPyConnection, figures: dict[str, object]
) -> None:
    table = frame(store, "layer_dimensions").set_index(["component", "layer"]).sort_index()
    names = ["n_neurons", "n_rows", "participation_ratio", "effective_rank", "n_90", "n_95", "n_99"]
    assert [one["component"] for one in figures["dimensions"]] == list(ORDER)
    for one in figures["dimensions"]:
        expected = table.loc[one["component"]][names].astype(float)
        shown = np.array([row[1:] for row in one["layers"]], float)
        assert [row[0] for row in one["layers"]] == expected.index.tolist()
        np.testing.assert_allclose(shown, expected.to_numpy(), atol=5e-5)
    assert figures["dimensions"][1]["layers"][-1][3:] == [None] * 5


def test_the_cluster_table_is_the_largest_clusters_nearest_to_the_papers_threshold(
    store: duckdb.DuckDBPyConnection, data: CorrelationData
) -> None:
    found = data.clusters
    assert (*found.linkage, found.threshold) == ("average", False, 0.25)
    table = frame(store, "clusters").query("linkage == 'average' and not signed and threshold == 0.25")
    large = table[table["size"] >= 2]
    assert (found.n_clusters, found.n_clustered) == (large["cluster"].nunique(), len(large))
    assert found.n_neurons == len(NEURONS)
    sizes = large.groupby("cluster").size().reset_index(name="n").sort_values(["n", "cluster"], ascending=[False, True])
    assert [(c.number, c.size) for c in found.clusters] == list(sizes.itertuples(index=False, name=None))[:N_CLUSTERS]
    ranked = frame(store, "rankings").query("method == 'ap' and rank <= 10").merge(large[[*KEY, "cluster"]], on=KEY)
    for cluster in found.clusters:
        own = large[large["cluster"] == cluster.number].sort_values("member_mean_r", ascending=False)
        [representative] = own[own["is_representative"]][KEY].itertuples(index=False, name=None)
        assert representative == cluster.representative == cluster.members[0]
        assert cluster.mean_r == pytest.approx(own["mean_r"].iloc[0])
        assert cluster.layers == layer_ranges(zip(own["component"], own["layer"], strict=True))
        assert set(cluster.members) == set(own[KEY].itertuples(index=False, name=None))
        best = ranked[ranked["cluster"] == cluster.number].groupby("concept")["rank"].agg(["size", "min"]).reset_index()
        best = best.sort_values(["size", "min", "concept"], ascending=[False, True, True])
        shown = [(c.concept, c.n_members, c.rank) for c in cluster.concepts]
        assert shown == list(best.itertuples(index=False, name=None))[:3]
    assert any(cluster.concepts for cluster in found.clusters)


def test_the_cluster_map_holds_every_pair_once(
    store: duckdb.DuckDBPyConnection, data: CorrelationData, figures: dict[str, object]
) -> None:
    found = data.clusters
    place = {neuron: i for i, neuron in enumerate(found.neurons)}
    assert len(place) == sum(c.size for c in found.clusters) > 80
    table = frame(store, "cluster_pairs").query("linkage == 'average' and not signed and threshold == 0.25")
    other = ["other_component", "other_layer", "other_neuron"]
    expected = {}
    for *ends, r in table[[*KEY, *other, "r"]].itertuples(index=False, name=None):
        a, b = tuple(ends[:3]), tuple(ends[3:])
        if a in place and b in place:
            expected[tuple(sorted((place[a], place[b])))] = r
    assert {(a, b): r for a, b, r in found.pairs} == expected
    assert len(found.pairs) == len(expected) == len(place) * (len(place) - 1) // 2
    assert any(r < 0 for *_, r in found.pairs)
    assert min(abs(r) for *_, r in found.pairs) < 0.01
    assert len(figures["clusters"]["neurons"]) == len(place)
    assert figures["clusters"]["pairs"] == [[a, b, round(r, 3)] for a, b, r in found.pairs]
    page = render_page(load_report_data(store))
    assert f"all {len(found.pairs):,} pairs of the {len(place)} neurons of the first {len(found.clusters)} clus" in page


def members(cluster: int, size: int, **how: object) -> list[dict[str, object]]:
    """A cluster in `clusters`, whose last member represents it."""
    return [
        {"run_id": RUN, "model": "minilm-l6", "component": "mlp", "layer": k % 5, "neuron": 100 * cluster + k,
         "linkage": "single", "signed": True, "threshold": 0.7, "cluster": cluster, "size": size, "n_layers": 5,
         "mean_r": None, "member_mean_r": k / size, "is_representative": k == size - 1, **how}
        for k in range(size)
    ]  # fmt: skip


def pair(first: dict[str, object], second: dict[str, object], r: float) -> dict[str, object]:
    """Two members in `cluster_pairs`."""
    kept = {name: first[name] for name in ("run_id", "model", *KEY, "linkage", "signed", "threshold")}
    return kept | {f"other_{name}": second[name] for name in KEY} | {"r": r}


def test_the_cluster_map_has_the_neurons_whose_pairs_there_are() -> None:
    store = make_store(2)
    groups = [members(cluster, size) for cluster, size in enumerate([70] * 3 + [2] * 60)]
    insert(store, "clusters", [row for rows in groups for row in rows])
    found = load_report_data(store).correlation.clusters
    assert [len(c.members) for c in found.clusters] == [0] * N_CLUSTERS
    assert (found.neurons, found.pairs) == ((), ())
    page = render_page(load_report_data(store))
    assert "The map needs the table <code>cluster_pairs</code>" in page
    assert 'id="cluster-chart"' not in page
    first, second, beside = groups[0][69], groups[0][3], groups[1][69]
    rows = [pair(first, second, 0.8), pair(first, beside, -0.1), pair(second, beside, 0.2)]
    elsewhere = [row | {"threshold": 0.1, "r": 1.0} for row in rows]
    insert(store, "cluster_pairs", [*rows, *elsewhere, pair(groups[0][9], first, 0.5) | {"run_id": "another"}])
    found = load_report_data(store).correlation.clusters
    assert found.neurons == (("mlp", 4, 69), ("mlp", 3, 3), ("mlp", 4, 169))
    assert found.pairs == ((0, 1, 0.8), (0, 2, -0.1), (1, 2, 0.2))
    page = render_page(load_report_data(store))
    assert "all 3 pairs of the 3 neurons of the first 2 clusters, of each at most 2" in page
    assert 'id="cluster-chart"' in page


def test_layer_ranges() -> None:
    assert layer_ranges([("a", 7), ("a", 3), ("B", 4), ("a", 4), ("a", 5), ("a", 3)]) == "B 4; a 3–5, 7"


def test_similarity_matrices_are_the_table(store: duckdb.DuckDBPyConnection, data: CorrelationData) -> None:
    table = frame(store, "layer_similarity")
    assert [(m.partner, m.measure) for m in data.similarity] == [
        ("minilm-l6", "cka_debiased"),
        ("mpnet", "cka"),
        ("mpnet", "maxcorr"),
    ]
    for matrix in data.similarity:
        own = table[(table["partner_model"] == matrix.partner) & (table["measure"] == matrix.measure)]
        for column, shown in (("value", matrix.scores), ("null_value", matrix.nulls)):
            own_layer, other_layer = ["component", "layer"], ["partner_component", "partner_layer"]
            pivot = own.set_index([*own_layer, *other_layer])[column]
            expected = [[pivot[(*row, *column)] for column in matrix.columns] for row in matrix.rows]
            np.testing.assert_array_equal(np.array(shown, float), expected)
        assert matrix.rows == tuple(dict.fromkeys(n[:2] for n in NEURONS))
        nulls = own["null_value"]
        assert matrix.null_range == pytest.approx((nulls.min(), nulls.median(), nulls.max()))
        assert matrix.params == "block=64, seed=0"
    assert None in [value for row in data.similarity[1].scores for value in row]
    assert data.n_similarity_left_out == 0


def test_similarity_without_nulls_in_another_store_and_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_correlation_store()
    store.execute("update layer_similarity set null_value = null, partner_store = 's3://b'")
    trivial = json.dumps({"seed": 0, "trivial": True})
    store.execute("update layer_similarity set params = ? where partner_layer = 2 and measure = 'cka'", [trivial])
    data = load_report_data(store).correlation
    assert [m.partner for m in data.similarity] == ["minilm-l6 (s3://b)", "mpnet", "mpnet"]
    assert data.similarity[1].null_range is None
    assert [m.n_trivial for m in data.similarity] == [0, 13, 0]
    assert data.similarity[1].params == "seed=0"
    store.execute("update layer_similarity set partner_store = null where measure = 'cka'")
    partners = [m.partner for m in load_report_data(store).correlation.similarity]
    assert partners == ["minilm-l6 (s3://b)", "mpnet", "mpnet (s3://b)"]
    monkeypatch.setattr("pipeline.report.model_similarity.MAX_CELLS", 13 * 13 + 13 * 5)
    report = load_report_data(store)
    assert [m.measure for m in report.correlation.similarity] == ["cka_debiased", "cka"]
    assert report.correlation.n_similarity_left_out == 1
    assert "1 further comparisons had no room" in render_page(report)


def test_matches_are_histograms_of_each_method(store: duckdb.DuckDBPyConnection, data: CorrelationData) -> None:
    table = frame(store, "rankings").query("concept.isna()")
    nulls = frame(store, "match_nulls")
    table = table.assign(other=table["partner"].str.split(":").str[0])
    assert [(m.method, m.params) for m in data.matches] == [("maxcorr", "seed=0"), ("linreg", "seed=0")]
    for scores in data.matches:
        own = table[table["method"] == scores.method]
        assert [h.component for h in scores.histograms] == list(ORDER)
        assert dict(scores.partners) == own["other"].value_counts().to_dict()
        for h in scores.histograms:
            rows = own[own["component"] == h.component]
            assert h.counts == tuple(np.histogram(rows["score"].dropna(), N_BINS, (0, 1))[0])
            assert h.n_undefined == rows["score"].isna().sum() == 1
            of = nulls[(nulls["method"] == scores.method) & (nulls["component"] == h.component)]["null_score"].dropna()
            assert h.null_counts == tuple(np.histogram(of, N_BINS, (0, 1))[0])
            assert sum(h.null_counts) == len(of) > 50
            assert h.null_max == rows["params"].map(json.loads).str["null_max"].max()
    names = [one["name"] for one in correlation_figures(data, ORDER)["matches"]]
    assert names == ["MaxCorr: mpnet, roberta", "LinReg: mpnet, roberta"]
    twice = correlation_figures(replace(data, matches=data.matches[:1] * 2), ORDER)["matches"]
    assert [one["name"] for one in twice] == ["MaxCorr: mpnet, roberta (seed=0)"] * 2
    shown = [one["components"] for one in correlation_figures(data, ORDER)["matches"]]
    assert [[(c["counts"], c["null_counts"]) for c in found] for found in shown] == [
        [(h.counts, h.null_counts) for h in scores.histograms] for scores in data.matches
    ]
    assert sum(sum(h.counts) for m in data.matches for h in m.histograms) == 2 * (len(NEURONS) - len(CONSTANT))


def test_matches_tell_parameters_from_figures_and_hold_scores_at_the_ends() -> None:
    store = make_store(2)
    nulls = ({"null_median": 0.125}, {"null_median": 0.25}, {"null_median": 0.75}, {"null_median": None})
    partners = ("mpnet:mlp:1:2", "mpnet:mlp:1", "mpnet", "s3://b:9000/x::mpnet:head_q:10:3")
    rows = [
        {"run_id": RUN, "model": "minilm-l6", "component": "mlp", "layer": 1, "neuron": i, "concept": None,
         "method": "linreg", "score": score, "sign": 1, "rank": 1, "n_rows": 9, "n_pos": 9, "unit": "word",
         "split": "all", "params": json.dumps({"with": ["mpnet"], "k": 1 / 3, "trivial": True} | null),
         "partner": partner}
        for i, (score, null, partner) in enumerate(zip((-0.5, 0.0, 1.0, 1.5), nulls, partners, strict=True))
    ]  # fmt: skip
    insert(store, "rankings", [*rows, rows[2] | {"neuron": 9, "score": None, "partner": None}])
    insert(store, "rankings", [rows[0] | {"params": "no json", "score": 0.5}])
    same = [{name: row[name] for name in ("run_id", "model", *KEY, "method", "params")} for row in rows]
    null_scores = (-1.5, 0.25, None, 0.26)
    insert(store, "match_nulls", [row | {"null_score": s} for row, s in zip(same, null_scores, strict=True)])
    other, found = load_report_data(store).correlation.matches
    [histogram] = found.histograms
    assert (found.low, found.high, found.params, found.is_trivial) == (-1.5, 1.5, "k=0.333", True)
    assert [i for i, n in enumerate(histogram.counts) if n] == [16, 25, 41, N_BINS - 1]
    assert {i: n for i, n in enumerate(histogram.null_counts) if n} == {0: 1, 29: 2}
    assert (histogram.n_undefined, histogram.null_median, histogram.null_max) == (1, 0.25, None)
    assert dict(found.partners) == {"mpnet": 3, "s3://b:9000/x::mpnet": 1}
    assert (other.params, other.is_trivial, sum(other.histograms[0].counts)) == ("no json", False, 1)
    assert other.histograms[0].null_counts == ()


def test_the_map_holds_placed_neurons_with_their_best_concept(
    store: duckdb.DuckDBPyConnection, data: CorrelationData, figures: dict[str, object]
) -> None:
    table = frame(store, "neuron_map")
    ranked = frame(store, "rankings").query("method == 'ap'")
    ranked = ranked.sort_values(["rank", "score", "concept"], ascending=[True, False, True]).groupby(KEY).first()
    [scatter] = data.maps
    assert (scatter.n_placed, scatter.n_neurons) == (len(NEURONS) - len(CONSTANT), len(NEURONS))
    placed = table.dropna(subset=["x"]).set_index(KEY)
    assert {tuple(p.neuron) for p in scatter.points} == set(placed.index)
    for p in scatter.points:
        row = placed.loc[tuple(p.neuron)]
        assert (p.x, p.y) == (row["x"], row["y"])
        assert p.group == (None if pd.isna(row["map_group"]) else row["map_group"])
        expected = ranked.loc[tuple(p.neuron)] if tuple(p.neuron) in ranked.index else None
        assert (p.concept, p.rank) == ((None, None) if expected is None else (expected["concept"], expected["rank"]))
    assert {p.concept is None for p in scatter.points} == {True, False}
    [shown] = figures["maps"]
    by_neuron = {tuple(p.neuron): p for p in scatter.points}
    for component, layer, neuron, x, _, group, *best in shown["points"]:
        point = by_neuron[shown["components"][component], layer, neuron]
        assert (x, group) == (round(point.x, 3), point.group)
        assert (shown["concepts"][best[0]] if best else None) == point.concept


def test_a_large_map_is_a_sample_that_is_the_same_every_time() -> None:
    store = make_store(2)
    store.execute(
        "insert into neuron_map by name select ? as run_id, 'm' as model, 'mlp' as component, "
        "cast(i // 1000 as integer) as layer, cast(i % 1000 as integer) as neuron, random() as x, random() as y, "
        "cast(i // 20000 as integer) as map_group, 'kmeans' as method, '{}' as params from range(40000) as t(i)",
        [RUN],
    )
    [scatter] = load_report_data(store).correlation.maps
    assert (len(scatter.points), scatter.n_placed) == (MAX_POINTS, 40_000)
    assert len({p.neuron for p in scatter.points}) == MAX_POINTS
    in_first_group = sum(p.group == 0 for p in scatter.points) / MAX_POINTS
    assert in_first_group == pytest.approx(0.5, abs=0.02)
    [again] = load_report_data(store).correlation.maps
    assert again == scatter
    page = render_page(load_report_data(store))
    assert len(page.encode()) < 10_000_000
    store.execute("insert into neuron_map select * replace ('hdbscan' as method) from neuron_map")
    assert [len(s.points) for s in load_report_data(store).correlation.maps] == [MAX_POINTS // 2] * 2


def test_a_store_without_the_tables_has_the_page_it_had() -> None:
    store = make_store(3)
    data = load_report_data(store)
    assert data.correlation is None
    page = render_page(data)
    assert "correlation" not in page.partition("plotly.js v")[0].replace("Correlation of the neuron", "")
    assert page.count("<script") == 3
    full = make_correlation_store(n_concepts=3)
    assert "correlation" in render_page(load_report_data(full))
    for table in CORRELATION_TABLES:
        full.execute(f"delete from {table.name}")
    full.execute("delete from rankings where concept is null")
    assert render_page(load_report_data(full)) == page


def test_another_runs_tables_are_not_shown() -> None:
    store = make_correlation_store(n_concepts=2)
    for table in CORRELATION_TABLES:
        store.execute(f"update {table.name} set run_id = 'ffff'")
    store.execute("update rankings set run_id = 'ffff' where concept is null")
    assert load_report_data(store).correlation is None


@pytest.mark.parametrize("table", PARTS)
def test_each_part_stands_alone(store: duckdb.DuckDBPyConnection, table: str) -> None:
    alone = make_store(2)
    condition = "where concept is null" if table == "rankings" else ""
    insert(alone, table, store.sql(f"from {table} {condition}").to_arrow_table().to_pylist())
    page = render_page(load_report_data(alone))
    assert {name for name in PARTS.values() if f'<section class="part" id="{name}">' in page} == {PARTS[table]}


def test_the_concept_charts_do_not_change_by_rankings_without_a_concept(report: ReportData) -> None:
    plain = load_report_data(make_store())
    assert (report.results, report.concepts, report.cards, report.columns) == (
        plain.results,
        plain.concepts,
        plain.cards,
        plain.columns,
    )


def test_a_run_with_no_ranking_of_a_concept_is_no_run_to_report() -> None:
    store = make_correlation_store(n_concepts=2)
    store.execute("insert into runs select * replace ('ffff' as run_id, 'other' as model) from runs")
    store.execute("update rankings set run_id = 'ffff' where concept is null")
    assert load_report_data(store).run.run_id == RUN
    assert load_top(store, "upos=NUM").run_id == RUN
    with pytest.raises(UsageError, match=f"'ffff' has no rankings in this store; it has minilm-l6 .run {RUN}"):
        load_report_data(store, run_id="ffff")


@pytest.mark.parametrize("name", [HOSTILE, TEMPLATE_HOSTILE, BIDI_HOSTILE])
def test_hostile_names_are_text(name: str) -> None:
    store = make_correlation_store(n_concepts=2)
    make_hostile(store, name)
    data = load_report_data(store)
    assert (data.correlation.similarity[0].partner, data.correlation.clusters.linkage.name) == (
        name,
        name,
    )
    page = render_page(data)
    ours = page[: page.rindex("<script>", 0, page.index("plotly.js v"))]
    assert "<img" not in ours
    if name != TEMPLATE_HOSTILE:
        assert name not in page
    assert ours.count("<script") == 2
    shown = {HOSTILE: "&lt;/script&gt;&lt;img src=x", TEMPLATE_HOSTILE: "{{ 7 * 7 }}", BIDI_HOSTILE: "�gnp.exe␛[2J"}
    assert ours.partition('id="correlation"')[2].count(shown[name]) > 5
